//! The complete system: one collector and two edges in their own processes, on a simulated GitHub
//! and a real broker. An edge, the broker and the collector die in turn. All three nodes have the
//! same counts, which match GitHub's own list.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse::simulate::{Fault, FaultKind, Options, Shape};
use tempfile::{TempDir, tempdir};
use tokio::process::{Child, Command};

use super::broker::{alone, shared};
use crate::common::client::request;
use crate::common::model::{Expected, Truth};
use crate::common::ports::free_port;
use crate::common::running::{GitHub, soon, until_some};
use crate::common::stored;
use crate::crash::kills::number;

/// The deadline of every wait on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(150);

struct Process {
    name: &'static str,
    dir: TempDir,
    ops: SocketAddr,
    settings: Vec<(&'static str, String)>,
    child: Child,
    /// Events applied in earlier runs.
    before: usize,
}

impl Process {
    fn start(
        name: &'static str,
        github: &str,
        (pulsar, topic): (&str, &str),
        collects: bool,
    ) -> Self {
        let ops = format!("127.0.0.1:{}", free_port());
        let settings = vec![
            ("GHPULSE_GITHUB_APIURL", github.to_owned()),
            ("GHPULSE_GITHUB_TOKENS", "token-of-a-test".to_owned()),
            ("GHPULSE_GITHUB_LOOP_BREAK", "20".to_owned()),
            ("GHPULSE_GITHUB_ENRICH_DEADLINE", "10m".to_owned()),
            ("GHPULSE_OPS_LISTEN", ops.clone()),
            ("GHPULSE_LOG_LEVEL", "warn".to_owned()),
            ("GHPULSE_PULSAR_ENV", "dev".to_owned()),
            ("GHPULSE_PULSAR_DEVHOST", pulsar.to_owned()),
            ("GHPULSE_PULSAR_PRODUCER_TOPIC", topic.to_owned()),
            ("GHPULSE_PULSAR_CONSUMER_TOPIC", topic.to_owned()),
            ("GHPULSE_DISABLE_PRODUCER", (!collects).to_string()),
        ];
        let dir = tempdir().unwrap();
        let child = spawn(&dir, &settings);
        Self { name, dir, ops: ops.parse().unwrap(), settings, child, before: 0 }
    }

    async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    fn start_again(&mut self) {
        self.before = stored::journal(self.dir.path()).len();
        self.child = spawn(&self.dir, &self.settings);
    }

    /// Sends SIGTERM and expects exit code 0.
    async fn end(&mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        assert!(soon("it stops", self.child.wait()).await.unwrap().success(), "{}", self.name);
    }

    /// Waits until it has applied this many events.
    async fn has_applied(&self, events: usize) {
        self.counts("ghpulse_events_applied_total ", events.saturating_sub(self.before)).await;
    }

    /// Waits until nothing is left between admission and the topic. The topic may bring an event
    /// back before its row is deleted.
    async fn is_relayed(&self) {
        until_some("nothing is left to send", async || {
            stored::is_relayed(self.dir.path()).await.then_some(())
        })
        .await;
    }

    /// The value of a counter.
    async fn value(&self, counter: &str) -> u64 {
        let metrics = request(self.ops, "GET", "/metrics", &[]).await.body;
        let value = |line: &str| line.strip_prefix(counter)?.trim().parse().ok();
        metrics.lines().find_map(value).unwrap_or_else(|| panic!("no {counter} in {metrics}"))
    }

    /// Waits until a counter of the current run has reached this value.
    async fn counts(&self, counter: &str, events: usize) {
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        let looking = async {
            loop {
                looks.tick().await;
                if tokio::net::TcpStream::connect(self.ops).await.is_err() {
                    continue;
                }
                let metrics = request(self.ops, "GET", "/metrics", &[]).await.body;
                let count = metrics
                    .lines()
                    .find_map(|line| line.strip_prefix(counter))
                    .map_or(0, |count| count.parse::<usize>().unwrap());
                if count >= events {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, looking).await.is_err() {
            let parts = request(self.ops, "GET", "/readyz", &[]).await.body;
            panic!("{}: {counter}is not {events} in time: {parts}", self.name);
        }
    }
}

fn spawn(dir: &TempDir, settings: &[(&'static str, String)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ghpulse"))
        .args(["run", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn collector_and_edges_count_the_same_after_any_kill() {
    let Some(pulsar) = alone("processes").await else { return };
    let broker = pulsar.broker;
    let github = GitHub::start(Options { shape: Shape::Old, ..Options::by_hand(4) }).await;
    let url = broker.url();
    let at = (&*url, "processes");
    let start = |name, collects| Process::start(name, &github.url, at, collects);
    let mut collector = start("the collector", true);
    let (mut one, mut other) = (start("one edge", false), start("the other edge", false));
    let feed = async |batches: usize| {
        for _ in 0..batches {
            let requests = github.control.requests();
            github.control.emit(20);
            let asked = github.control.until(|control| control.requests() > requests + 3);
            soon("GitHub is asked", asked).await;
        }
    };
    feed(5).await;
    one.has_applied(100).await;
    // An edge asks no GitHub: the events themselves say that they are simulated.
    let ready = request(one.ops, "GET", "/readyz", &[]).await;
    assert_eq!(ready.header("x-simulated"), Some("ghpulse"), "{}", ready.head);
    one.kill().await;
    feed(5).await;
    broker.kill();
    feed(5).await;
    one.start_again();
    broker.start();
    broker.ready().await;
    feed(5).await;
    collector.kill().await;
    github.control.emit(20);
    collector.start_again();
    feed(5).await;
    let served = github.control.until(|control| control.unserved() == 0);
    soon("all is served", served).await;
    let emitted = github.control.emitted();
    let expected = Expected::of(emitted.iter().map(AsRef::as_ref));
    // The broker's one restart is not "again and again" (`GhpulseBusLost`).
    let lost = other.value("ghpulse_bus_lost_total").await;
    assert!((1..=5).contains(&lost), "lost {lost} times");
    other.counts("ghpulse_bus_up ", 1).await;
    collector.counts("ghpulse_bus_producing ", 1).await;
    let mut journals = Vec::new();
    for process in [&mut collector, &mut one, &mut other] {
        process.has_applied(expected.events.len()).await;
        process.is_relayed().await;
        process.end().await;
        stored::assert_holds(process.dir.path(), &expected);
        journals.push(stored::journal(process.dir.path()));
    }
    assert_eq!(journals[0], journals[1], "the same events at the same positions, the same facts");
    assert_eq!(journals[1], journals[2]);
}

/// Kills of two nodes in `make test`, and the part of a long run's kills that is made here.
const KILLS: u64 = 10;
const PART: u64 = 20;
/// Latest kill after the start of the process, in milliseconds.
const LATEST: u64 = 2_500;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_killed_at_seeded_moments_count_the_same() {
    let kills = number("TEST_KILLS").map_or(KILLS, |kills| kills.div_ceil(PART));
    let seed = number("TEST_KILLS_SEED").unwrap_or(1);
    println!("seed {seed}: TEST_KILLS_SEED={seed} make kills N={}", PART * kills);
    let topic = format!("processes-kills-{seed}");
    let Some(pulsar) = shared("nodes_killed_at_seeded_moments").await else { return };
    let mut rng = fastrand::Rng::with_seed(seed);
    let github = GitHub::start(Options { shape: Shape::Today, ..Options::by_hand(seed) }).await;
    let (url, clock) = (pulsar.broker.url(), Clock::system());
    let start = |name, collects| Process::start(name, &github.url, (&url, &topic), collects);
    let mut nodes = [start("the collector", true), start("the edge", false)];
    for _ in 0..kills {
        github.control.emit(3);
        clock.sleep(Duration::from_micros(rng.u64(..LATEST * 1_000))).await;
        let node = &mut nodes[usize::from(rng.u8(..3) == 0)];
        node.kill().await;
        node.start_again();
    }
    let served = github.control.until(|control| control.unserved() == 0);
    soon("all is served", served).await;
    let truth = Truth::of(&github.control.pull_requests());
    let emitted = github.control.emitted();
    let completed: Vec<_> = emitted.iter().map(|event| truth.completed(event)).collect();
    let expected = Expected::of(completed.iter().map(AsRef::as_ref));
    for node in &mut nodes {
        node.has_applied(expected.events.len()).await;
        node.is_relayed().await;
        node.end().await;
        stored::assert_holds(node.dir.path(), &expected);
    }
    let [one, other] = nodes.map(|node| stored::journal(node.dir.path()));
    assert_eq!(one, other, "the same events at the same positions, the same facts");
    println!("report: {kills} kills of two nodes: nothing lost, nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_wait_in_a_killed_collector_reach_every_node() {
    let topic = "processes-waiting";
    let Some(pulsar) = shared(topic).await else { return };
    let github = GitHub::start(Options { shape: Shape::Today, ..Options::by_hand(9) }).await;
    let url = pulsar.broker.url();
    let start = |name, collects| Process::start(name, &github.url, (&url, topic), collects);
    // Its pull requests wait for responses that do not arrive.
    github.control.set_fault(Fault::always(FaultKind::QuerySlow).wait(PATIENCE));
    let mut first = start("the first collector", true);
    github.control.emit(100);
    first.counts("ghpulse_events_admitted_total ", 100).await;
    first.kill().await;
    github.control.clear_faults();
    // The pages now show only some of these events, and not all of the new ones.
    github.control.emit(300);
    let (mut second, mut edge) = (start("the second", true), start("the edge", false));
    second.counts("ghpulse_events_admitted_total ", 300).await;
    first.start_again();
    let served = github.control.served();
    let expected = Expected::of(served.iter().map(AsRef::as_ref));
    assert!(expected.events.len() > 300, "nothing is left to the first collector alone");
    let mut journals = Vec::new();
    for process in [&mut first, &mut second, &mut edge] {
        process.has_applied(expected.events.len()).await;
        process.end().await;
        let journal = stored::journal(process.dir.path());
        assert_eq!(journal.len(), expected.events.len(), "each event once: {}", process.name);
        journals.push(journal);
    }
    assert_eq!(journals[0], journals[1], "the same events at the same positions, the same facts");
    assert_eq!(journals[1], journals[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitioned_topic_exits_with_78() {
    let Some(pulsar) = shared("processes_parts").await else { return };
    pulsar.broker.to_topic("PUT", "processes_parts", "/partitions", "3").await;
    let dir = tempdir().unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_ghpulse"))
        .args(["run", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .envs([
            ("GHPULSE_OPS_LISTEN", "127.0.0.1:0"),
            ("GHPULSE_PULSAR_ENV", "dev"),
            ("GHPULSE_PULSAR_DEVHOST", &pulsar.broker.url()),
            ("GHPULSE_PULSAR_PRODUCER_TOPIC", "processes_parts"),
            ("GHPULSE_PULSAR_CONSUMER_TOPIC", "processes_parts"),
            ("GHPULSE_DISABLE_PRODUCER", "true"),
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ran = soon("it ends", ran).await.unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(78), "{said}");
    assert!(
        said.contains("persistent://public/default/processes_parts has 3 partitions"),
        "{said}"
    );
}
