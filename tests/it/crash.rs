//! The process dies at every fault point, and by `kill -9` at any other moment, while the simulated
//! GitHub keeps serving. After the next start, nothing is lost and nothing is counted twice.

mod copies;
mod cuts;
mod errors;
mod full;
pub(crate) mod kills;
mod log;
mod pushed;

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use crate::common::model::{Expected, Truth};
use crate::common::stored;
use ghpulse::clock::Clock;
use ghpulse::fault;
use ghpulse::model::gap::GapReason;
use ghpulse::model::position::Position;
use ghpulse::simulate::{Control, Fault, FaultKind, Options, Shape, Simulation};
use ghpulse::store::{Durability, Store, gaps};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// The deadline of every wait; only a failure takes this long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Maximum number of restarts until all served events are applied.
const RESTARTS: usize = 8;

pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) control: Control,
    stop: CancellationToken,
    pub(crate) dir: tempfile::TempDir,
}

impl Site {
    pub(crate) async fn new(seed: u64, shape: Shape) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let options = Options { shape, ..Options::by_hand(seed) };
        let simulation =
            Simulation::start(listener, options, Clock::system(), stop.clone()).unwrap();
        let (url, control) = (simulation.url(), simulation.control());
        tokio::spawn(simulation.wait());
        Self { url, control, stop, dir: tempfile::tempdir().unwrap() }
    }

    /// Starts an appliance in its own process; `fault` names the fault point at which it dies.
    fn start(&self, fault: Option<&str>) -> Child {
        self.start_with(fault, &[])
    }

    /// Does the same with settings.
    pub(crate) fn start_with(&self, fault: Option<&str>, settings: &[(&str, &str)]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
        command.args(["run", "--listen", "127.0.0.1:0"]);
        self.start_as(command, self.dir.path(), fault, settings)
    }

    /// Does the same with a command that already names the program and its subcommand.
    fn start_as(
        &self,
        mut command: Command,
        dir: &Path,
        fault: Option<&str>,
        settings: &[(&str, &str)],
    ) -> Child {
        command
            .args(["--github", &self.url, "--data"])
            .arg(dir)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            // With a token, tests set the pace instead of waiting for poll intervals.
            .env("GHPULSE_GITHUB_TOKENS", "token-of-a-test")
            .env("GHPULSE_GITHUB_LOOP_BREAK", "20")
            // Every event is enriched before it is published: the model knows all fields.
            .env("GHPULSE_GITHUB_ENRICH_DEADLINE", "10m")
            .env("GHPULSE_OPS_LISTEN", "127.0.0.1:0")
            .env("GHPULSE_LOG_LEVEL", "warn")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(fault) = fault {
            command.env("GHPULSE_FAULT", fault);
        }
        command.spawn().unwrap()
    }

    /// Feeds events until the process has died. Returns how.
    async fn feed_until_death(&self, child: &mut Child) -> ExitStatus {
        let death = async {
            loop {
                self.control.emit(15);
                let requests = self.control.requests();
                tokio::select! {
                    died = child.wait() => break died.unwrap(),
                    () = self.control.until(|c| c.requests() > requests + 3) => {}
                }
            }
        };
        let status = tokio::time::timeout(PATIENCE, death).await.expect("it dies in time");
        assert!(!status.success(), "it was to die, and ended well");
        status
    }

    /// Runs the appliance until all served events are applied, and compares the store with the
    /// model.
    pub(crate) async fn finish(self) {
        self.finish_in(self.dir.path(), false).await;
        self.stop.cancel();
    }

    /// Does the same in any directory, which may have one gap although nothing was missed.
    async fn finish_in(&self, dir: &Path, may_have_gap: bool) {
        let truth = Truth::of(&self.control.pull_requests());
        let emitted = self.control.emitted();
        let completed: Vec<_> = emitted.iter().map(|event| truth.completed(event)).collect();
        let expected = Expected::of(completed.iter().map(AsRef::as_ref));
        for restart in 0..RESTARTS {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
            command.args(["run", "--listen", "127.0.0.1:0"]);
            let mut child = self.start_as(command, dir, None, &[]);
            let requests = self.control.requests();
            let served = self.control.until(|c| {
                c.unserved() == 0
                    && c.requests() > requests + 9 * (1 + restart as u64 * restart as u64)
            });
            tokio::time::timeout(PATIENCE, served).await.expect("all is served in time");
            end(&mut child).await;
            if stored::journal(dir).len() >= expected.events.len() {
                break;
            }
        }
        stored::assert_holds(dir, &expected);
        // A reader that was connected all the time missed nothing, and receives no gap.
        let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
        let missed = gaps::behind(store.reader(), store.bus_tag(), Position::default(), 9);
        let mut missed = missed.unwrap();
        if may_have_gap {
            let upstream = missed.extract_if(.., |gap| gap.reason == GapReason::Upstream).count();
            assert!(upstream <= 1, "{upstream} gaps although nothing was missed");
        }
        assert_eq!((missed, store.lost_tail()), (Vec::new(), None));
    }
}

/// Sends SIGTERM and expects exit code 0.
pub(crate) async fn end(child: &mut Child) {
    let pid = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    assert!(sent.success());
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it stops in time");
    assert!(status.unwrap().success(), "a stop that was asked for is exit 0");
}

/// Dies at a fault point the first time it is passed and, in a second run, the third time.
async fn dies_at(point: &str) {
    // Only today's events have missing fields and wait for enrichment.
    let shape = if point == "enrich.waiting" { Shape::Today } else { Shape::Old };
    let site = Site::new(7, shape).await;
    // Retention runs once a minute, so the test waits only for its first pass.
    let second = if point.starts_with("retention") { 1 } else { 3 };
    for times in [1, second] {
        let mut child = site.start(Some(&format!("{point}:{times}")));
        site.feed_until_death(&mut child).await;
    }
    site.finish().await;
}

/// Fault points of importing and exporting hours (covered by `archive`), and of copying stores and
/// retrying dead letters (covered by `copies`).
const ELSEWHERE: &[&str] = &[
    "archive.before_commit",
    "archive.after_commit",
    "export.before_rename",
    "export.columns_before_rename",
    "backup.before_rename",
    "restore.before_rename",
    "requeue.before_commit",
    "requeue.after_commit",
];

macro_rules! points {
    ($($name:ident $point:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            dies_at($point).await;
        })*

        #[test]
        fn every_named_place_has_its_test() {
            assert_eq!([[$($point),*].as_slice(), ELSEWHERE].concat(), fault::POINTS);
        }
    };
}

points! {
    death_before_the_commit_of_ingest "ingest.before_commit";
    death_after_the_commit_of_ingest "ingest.after_commit";
    death_while_events_wait_for_an_answer "enrich.waiting";
    death_before_the_commit_of_enrich "enrich.before_commit";
    death_after_the_commit_of_enrich "enrich.after_commit";
    death_before_the_commit_of_apply "apply.before_commit";
    death_after_the_commit_of_apply "apply.after_commit";
    death_between_write_and_sync "store.after_write";
    death_before_the_sync "store.before_sync";
    death_before_the_commit_of_retention "retention.before_commit";
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_any_time() {
    let site = Site::new(11, Shape::Old).await;
    for round in 0..6 {
        let mut child = site.start(None);
        let requests = site.control.requests();
        for step in 1..=round + 2 {
            site.control.emit(20);
            let asked = site.control.until(|c| c.requests() > requests + 4 * step);
            tokio::time::timeout(PATIENCE, asked).await.expect("it asks in time");
        }
        child.kill().await.unwrap();
    }
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_while_a_query_is_under_way() {
    let site = Site::new(17, Shape::Today).await;
    site.control.set_fault(Fault::always(FaultKind::QuerySlow));
    for _ in 0..4 {
        let mut child = site.start(None);
        let queries = site.control.queries();
        site.control.emit(40);
        let asked = site.control.until(|c| c.queries() > queries);
        tokio::time::timeout(PATIENCE, asked).await.expect("it asks in time");
        child.kill().await.unwrap();
    }
    site.control.clear_faults();
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_process_on_a_directory_exits_with_75() {
    let site = Site::new(13, Shape::Old).await;
    let mut first = site.start(None);
    let asked = site.control.until(|c| c.requests() > 0);
    tokio::time::timeout(PATIENCE, asked).await.expect("it asks in time");
    let second = Command::new(env!("CARGO_BIN_EXE_ghpulse"))
        .args(["run", "--listen", "127.0.0.1:0", "--github", &site.url, "--data"])
        .arg(site.dir.path() as &Path)
        .env("GHPULSE_OPS_LISTEN", "127.0.0.1:0")
        .output();
    let output = second.await.unwrap();
    assert_eq!(output.status.code(), Some(75));
    let words = String::from_utf8_lossy(&output.stderr);
    let holder = format!("process {}", first.id().expect("it runs"));
    assert!(words.contains(&holder), "{words}");
    end(&mut first).await;
}
