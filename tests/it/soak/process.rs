//! An appliance in a process of its own, which can be killed and whose clock can be stepped: this
//! test program again, with the appliance in one of its tests.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::Ordering;

use ghpulse::clock::Clock;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::PATIENCE;
use crate::common::client::request;
use crate::common::ports::free_port;
use crate::common::running::{self, GitHub, Running, soon, steps, until_some};

/// The test in which the appliance runs.
const TEST: &str = "soak::process::appliance_in_a_process_follows_steps_of_its_clock";
/// Variables that a parent sets: the settings as JSON, and the first step of the clock.
const SETTINGS: &str = "TEST_SOAK_SETTINGS";
const OFFSET: &str = "TEST_SOAK_OFFSET";
/// Lines of its log that are shown when something fails.
const LOG_LINES: usize = 40;

/// The appliance.
pub(super) struct Process {
    pub(super) data: PathBuf,
    pub(super) public: SocketAddr,
    ops: SocketAddr,
    log: PathBuf,
    settings: BTreeMap<String, String>,
    child: Option<Child>,
    /// By how many seconds its clock is off.
    offset: i64,
}

impl Process {
    pub(super) fn new(data: &Path, log: &Path, github: &str, more: &[(&str, String)]) -> Self {
        let (port, ops) = (free_port(), format!("127.0.0.1:{}", free_port()));
        let own = [
            ("GHPULSE_DATA_DIR", data.display().to_string()),
            ("GHPULSE_GITHUB_APIURL", github.to_owned()),
            ("GHPULSE_SERVER_PORT", port.to_string()),
            ("GHPULSE_OPS_LISTEN", ops.clone()),
            ("GHPULSE_LOG_LEVEL", "info".to_owned()),
            ("GHPULSE_LOG_FILE", log.display().to_string()),
        ];
        let settings =
            own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone()));
        Self {
            data: data.to_owned(),
            public: SocketAddr::from(([127, 0, 0, 1], port)),
            ops: ops.parse().unwrap(),
            log: log.to_owned(),
            settings: settings.collect(),
            child: None,
            offset: 0,
        }
    }

    pub(super) fn start(&mut self) {
        let said = std::fs::File::options().append(true).create(true).open(&self.log).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(SETTINGS, serde_json::to_string(&self.settings).unwrap())
            .env(OFFSET, self.offset.to_string())
            .stdin(Stdio::piped())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Waits until it accepts connections; false if it ended before.
    pub(super) async fn listens(&mut self) -> bool {
        let clock = Clock::system();
        let listening = async {
            while self.is_running() {
                if tokio::net::TcpStream::connect(self.public).await.is_ok() {
                    return true;
                }
                clock.sleep(std::time::Duration::from_millis(50)).await;
            }
            false
        };
        let listens = tokio::time::timeout(PATIENCE, listening).await;
        listens.unwrap_or_else(|_| panic!("it does not listen"))
    }

    /// Whether the process has not ended.
    pub(super) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub(super) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    /// Stops it as a signal would, and waits until it has ended well.
    pub(super) async fn stop(&mut self) {
        self.tell("stop").await;
        let mut child = self.child.take().expect("it runs");
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it stops in time");
        assert!(ended.unwrap().success(), "a stop that was asked for is exit 0");
    }

    /// Sets its clock off by this many seconds, now and at later starts.
    pub(super) async fn step(&mut self, seconds: i64) {
        self.offset = seconds;
        self.tell(&seconds.to_string()).await;
    }

    async fn tell(&mut self, line: &str) {
        let Some(child) = &mut self.child else { return };
        let input = child.stdin.as_mut().expect("it is a pipe");
        // A process that has ended is noticed by `is_running`.
        let _ = input.write_all(format!("{line}\n").as_bytes()).await;
    }

    /// The state of all parts, for messages.
    pub(super) async fn status(&self) -> serde_json::Value {
        request(self.ops, "GET", "/status?format=json", &[]).await.json()
    }

    /// Memory of the process in MiB, from the system.
    pub(super) fn resident(&self) -> u64 {
        let pid = self.child.as_ref().and_then(Child::id).expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let from = log.lines().count().saturating_sub(LOG_LINES);
        log.lines().skip(from).collect::<Vec<_>>().join("\n")
    }
}

/// Runs an appliance until its parent says `stop` or ends; a number sets the clock.
async fn run_as_child(settings: &str) {
    let settings: BTreeMap<String, String> = serde_json::from_str(settings).unwrap();
    let time = steps();
    let set = |seconds: i64| time.store(seconds * 1_000_000, Ordering::Relaxed);
    set(std::env::var(OFFSET).unwrap().parse().unwrap());
    let named: Vec<_> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
    let data = PathBuf::from(&settings["GHPULSE_DATA_DIR"]);
    let github = &settings["GHPULSE_GITHUB_APIURL"];
    ghpulse::logging::install(&running::config(&data, github, &named).log).unwrap();
    let (sender, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut appliance = Running::start_at(&data, github, &named, Clock::stepped(time)).await;
    loop {
        tokio::select! {
            line = lines.recv() => match line.as_deref() {
                Some("stop") => return appliance.end().await,
                Some(seconds) => set(seconds.parse().unwrap()),
                None => return,
            },
            why = appliance.ended() => panic!("the appliance ended: {why}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appliance_in_a_process_follows_steps_of_its_clock() {
    if let Ok(settings) = std::env::var(SETTINGS) {
        return run_as_child(&settings).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let github = GitHub::start(ghpulse::simulate::Options::by_hand(3)).await;
    let token = ("GHPULSE_GITHUB_LOOP_BREAK", "20".to_owned());
    let log = dir.path().join("log");
    let mut process = Process::new(&dir.path().join("data"), &log, &github.url, &[token]);
    process.start();
    assert!(process.listens().await, "{}", process.last_words());
    github.control.emit(20);
    for (seconds, state) in [(7_200, "disagrees"), (0, "agrees")] {
        process.step(seconds).await;
        until_some("the clock is judged", async || {
            Some(process.status().await).filter(|status| status["clock"]["state"] == state)
        })
        .await;
    }
    process.kill().await;
    process.start();
    assert!(process.listens().await, "{}", process.last_words());
    let served = github.control.until(|control| control.unserved() == 0);
    soon("all is served", served).await;
    process.stop().await;
}
