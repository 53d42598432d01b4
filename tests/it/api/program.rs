//! The program in its own process: how it stops, its exit codes, and what it never prints.

use std::process::Stdio;

use ghpulse::clock::Clock;
use ghpulse::model::window::Timestamp;
use ghpulse::simulate::{Fault, FaultKind, Options};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::events::{opened, push};
use crate::common::client::{Came, Client, request};
use crate::common::model::Expected;
use crate::common::running::{GitHub, soon};
use crate::common::stored;

/// A running program with its output so far.
pub(crate) struct Program {
    child: Child,
    /// Its log, which is read all the time: on a full pipe the program would wait.
    said: mpsc::UnboundedReceiver<String>,
    log: String,
}

pub(super) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    command.args(arguments);
    prepared(command)
}

/// Runs below this project's directory, quietly, and as long as the test.
fn prepared(mut command: Command) -> Command {
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("GHPULSE_GITHUB_LOOP_BREAK", "20")
        .env("GHPULSE_OPS_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, said) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // After the end of the test nobody reads it.
                let _ = sender.send(line);
            }
        });
        Self { child, said, log: String::new() }
    }

    /// Reads the log until it reports the address of the server.
    pub(crate) async fn address(&mut self) -> std::net::SocketAddr {
        let line = self.until("serving").await;
        let (_, behind) = line.split_once("http://").expect("the log names the address");
        let end = behind.find('/').expect("the address ends with a slash");
        behind[..end].parse().unwrap()
    }

    pub(crate) async fn until(&mut self, word: &str) -> String {
        loop {
            let line = soon(word, self.said.recv()).await;
            let line = line.unwrap_or_else(|| panic!("it ended without `{word}`: {}", self.log));
            self.log += &line;
            self.log.push('\n');
            if line.contains(word) {
                return line;
            }
        }
    }

    pub(crate) async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([name, &pid]).status().await.unwrap().success());
    }

    /// Waits for the exit; returns exit code, log, standard output.
    pub(crate) async fn end(mut self) -> (Option<i32>, String, String) {
        let status = soon("it ends", self.child.wait()).await.unwrap();
        while let Some(line) = soon("its log ends", self.said.recv()).await {
            self.log += &line;
            self.log.push('\n');
        }
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).await.unwrap();
        (status.code(), self.log, stdout)
    }
}

pub(crate) fn run(dir: &tempfile::TempDir, github: &str) -> Command {
    let mut command = command(&["run", "--listen", "127.0.0.1:0", "--github", github, "--data"]);
    command.arg(dir.path()).env("GHPULSE_GITHUB_TOKENS", "token-of-a-test");
    command
}

/// As [`run`], with this limit of open files.
pub(crate) fn run_within(files: u32, dir: &tempfile::TempDir, github: &str) -> Command {
    let command = run(dir, github);
    let inner = command.as_std();
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!(r#"ulimit -n {files} && exec "$0" "$@""#)]);
    limited.arg(inner.get_program()).args(inner.get_args());
    limited.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    prepared(limited)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_closes_everyone_with_1001_and_ends_with_0() {
    let github = GitHub::start(Options::by_hand(1)).await;
    for (signal, path) in [("-TERM", "/sampling"), ("-INT", "/language/latest")] {
        let dir = tempfile::tempdir().unwrap();
        let mut program = Program::start(run(&dir, &github.url));
        let address = program.address().await;
        let mut asked = Client::connect(address, path).await;
        asked.subscribe(r#"{"samplingRate":1}"#).await;
        let mut silent = Client::connect(address, "/language/watch").await;
        program.signal(signal).await;
        for client in [&mut asked, &mut silent] {
            loop {
                match client.next().await {
                    Came::Closed(Some((1001, reason))) => break assert!(!reason.is_empty()),
                    Came::Closed(other) => panic!("1001 was to come, not {other:?}"),
                    _ => {}
                }
            }
        }
        drop((asked, silent));
        let (code, log, stdout) = program.end().await;
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_script_is_reported_since_it_broke() {
    const GOOD: &str = "the script is in force";
    let github = GitHub::start(Options::by_hand(1)).await;
    let (dir, scripts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = scripts.path().join("merge_latest.rhai");
    // Saves as editors do: the file is never incomplete.
    let save = |text: &str| {
        let new = scripts.path().join(".merge_latest.rhai.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &file).unwrap();
    };
    save("fn merge(window) { #{ Go: 1 } }");
    let mut command = run(&dir, &github.url);
    command.env("GHPULSE_SCRIPTS_DIR", scripts.path());
    let mut program = Program::start(command);
    let address = program.address().await;
    if !program.log.contains(GOOD) {
        program.until(GOOD).await;
    }
    let look = async || {
        let parts = request(address, "GET", "/readyz", &[]).await.json();
        let mut parts = parts.as_array().unwrap().clone().into_iter();
        parts.find(|part| part["name"] == "scripts").unwrap()
    };
    assert_eq!(look().await["state"], "ok");
    save("fn merge(window) { #{ Go: 2 } }");
    program.until(GOOD).await;
    let good_until = Clock::system().now();
    save("fn merge(window) {");
    program.until("the last good script remains in force").await;
    let part = look().await;
    assert_eq!(part["state"], "degraded", "{part}");
    let since = Timestamp::parse(part["since"].as_str().unwrap()).unwrap();
    assert!(since >= good_until, "{part} was good until {good_until}");
    program.signal("-TERM").await;
    assert_eq!(program.end().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_port_ends_the_start_before_scripts_are_tried() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    for (public, ops, key) in
        [(taken.as_str(), free, "server.port (or --listen)"), (free, taken.as_str(), "ops.listen")]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(&["run", "--github", "http://127.0.0.1:1", "--listen", public]);
        command.arg("--data").arg(dir.path()).env("GHPULSE_OPS_LISTEN", ops);
        let (code, log, _) = Program::start(command).end().await;
        let is_named = log.contains(&format!("cannot listen on {taken}; set {key} to a free one"));
        assert!(code == Some(74) && is_named, "{log}");
        assert!(!log.contains("the script is in force"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let mut command = run(&dir, &github.url);
    // Longer than the test's deadline: only the second signal can end the program.
    command.env("GHPULSE_SERVER_GRACE", "10m").env("GHPULSE_SERVER_LIMITS_WRITETIMEOUT", "10m");
    let mut program = Program::start(command);
    let address = program.address().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(address).await.unwrap();
    let mut stuck = Client::over(stream, "/sampling", &[]).await.unwrap();
    stuck.text().await;
    stuck.subscribe(r#"{"samplingRate":1}"#).await;
    let mut reader = Client::connect(address, "/sampling").await;
    reader.text().await;
    reader.subscribe(r#"{"samplingRate":1,"filter":["event.id"]}"#).await;
    // More than the system buffers for a client that does not read: its close frame cannot be sent.
    let pad = format!(r#""pad":"{}","public""#, "x".repeat(100_000));
    for id in 1..=80 {
        github.control.push_raw(&push(id).replace("\"public\"", &pad));
    }
    for _ in 0..80 {
        reader.text().await;
    }
    program.signal("-TERM").await;
    program.until("send the signal again to stop at once").await;
    assert!(matches!(reader.next().await, Came::Closed(Some((1001, _)))));
    assert!(program.child.try_wait().unwrap().is_none(), "it waits for the one who is stuck");
    program.signal("-TERM").await;
    program.until("the process ends when the store is closed").await;
    let (code, log, _) = program.end().await;
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_events_pass_from_simulate_to_run_once() {
    // As many as GitHub's pages hold, so that none disappears, however late they are read.
    const EVENTS: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("made-up.ndjson");
    let lines: Vec<String> =
        (1..=EVENTS).map(|id| opened(id, ["Go", "C"][usize::from(id % 4 == 0)])).collect();
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let mut simulate =
        command(&["simulate", "--listen", "127.0.0.1:0", "--rate", "150", "--events"]);
    simulate.arg(&file);
    let mut simulation = Program::start(simulate);
    let line = simulation.until("simulated GitHub at http://").await;
    let at = line.find("http://").unwrap();
    let url: String = line[at..].chars().take_while(|c| !c.is_whitespace()).collect();
    let data = tempfile::tempdir().unwrap();
    let mut appliance = Program::start(run(&data, &url));
    let address = appliance.address().await;
    let mut latest = Client::connect(address, "/language/latest").await;
    latest.subscribe("{}").await;
    latest.until(r#"{"C":75,"Go":225}"#).await;
    drop(latest);
    appliance.signal("-TERM").await;
    assert_eq!(appliance.end().await.0, Some(0));
    simulation.signal("-TERM").await;
    assert_eq!(simulation.end().await.0, Some(0));
    stored::assert_holds(data.path(), &Expected::of(lines.iter().map(String::as_str)));
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_is_marked_as_simulated_and_removes_its_data() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = command(&["demo", "--listen", "127.0.0.1:0", "--rate", "200"]);
    command.env("TMPDIR", temporary.path()).env("GHPULSE_GITHUB_TOKENS", "ghp_never_used");
    let mut demo = Program::start(command);
    demo.until("simulated").await;
    let address = demo.address().await;
    let mut reader = Client::connect(address, "/sampling").await;
    reader.text().await;
    reader.subscribe(r#"{"samplingRate":1,"eventType":"PullRequestEvent"}"#).await;
    assert_eq!(reader.json().await["payload"]["pr"], 1);
    let mut latest = Client::connect(address, "/language/latest").await;
    latest.subscribe("{}").await;
    while latest.json().await.as_object().unwrap().len() < 5 {}
    let ready = request(address, "GET", "/readyz", &[]).await;
    assert!(ready.head.contains("x-simulated: ghpulse"), "{}", ready.head);
    drop((reader, latest));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
    demo.signal("-INT").await;
    let (code, log, _) = demo.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_never_printed() {
    const SECRETS: [&str; 4] =
        ["ghp_secretofatest1", "ghp_secretofatest2", "sesame-of-a-test", "password-of-a-test"];
    let github = GitHub::start(Options::by_hand(1)).await;
    github.control.set_fault(Fault {
        token: Some(SECRETS[0].to_owned()),
        ..Fault::new(FaultKind::Suspended)
    });
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(&["run", "--listen", "127.0.0.1:0", "--github", &github.url]);
    command
        .arg("--data")
        .arg(dir.path())
        .env("GHPULSE_GITHUB_TOKENS", SECRETS[..2].join(","))
        .env("GHPULSE_SERVER_ADMINTOKEN", SECRETS[2])
        .env("GHPULSE_TIDB_HOST", "127.0.0.1")
        .env("GHPULSE_TIDB_DB", "test")
        .env("GHPULSE_TIDB_PASSWORD", SECRETS[3])
        .env("GHPULSE_ALERTS_WEBHOOK", "http://127.0.0.1:1/hook/password-of-a-test")
        .env("GHPULSE_LOG_LEVEL", "trace")
        .env("GHPULSE_LOG_FORMAT", "json");
    let mut program = Program::start(command);
    let address = program.address().await;
    let mut said = String::new();
    let refused = github.control.until(|control| control.requests() > 20);
    soon("both tokens are used", refused).await;
    let bearer = format!("authorization: Bearer {}x", SECRETS[2]);
    for path in ["/", "/readyz", "/health", "/sync-event", "/nothing", "/metrics", "/sampling"] {
        let answer = request(address, "GET", path, &["via: proxy", &bearer]).await;
        said += &answer.head;
        said += &answer.body;
    }
    let mut client = Client::connect(address, "/sampling").await;
    said += &client.text().await;
    program.signal("-TERM").await;
    let (code, log, stdout) = program.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.lines().all(|line| line.starts_with('{')), "JSON lines: {log}");
    said += &log;
    said += &stdout;
    let checked = self::command(&["check", "--offline"])
        .env("GHPULSE_GITHUB_TOKENS", SECRETS[..2].join(","))
        .env("GHPULSE_TIDB_HOST", "x")
        .env("GHPULSE_TIDB_DB", "test")
        .env("GHPULSE_TIDB_PASSWORD", SECRETS[3])
        .output()
        .await
        .unwrap();
    said += &String::from_utf8_lossy(&checked.stdout);
    said += &String::from_utf8_lossy(&checked.stderr);
    for secret in SECRETS {
        let found = said.find(secret).map(|at| &said[at.saturating_sub(200)..at]);
        assert_eq!(found, None, "a secret was said");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_starts_have_exit_codes_and_name_the_cure() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let end = async |command: Command| Program::start(command).end().await;

    let (code, log, stdout) = end(command(&["run", "--lissten", "x"])).await;
    assert_eq!((code, stdout.as_str()), (Some(64), ""), "{log}");

    let mut wrong = run(&dir, &github.url);
    wrong.env("GHPULSE_SERVER_PORT", "many").env("GHPULSE_INTERVAL_LATESTT", "1s");
    let (code, log, _) = end(wrong).await;
    assert_eq!(code, Some(78), "{log}");
    let nearest = "did you mean GHPULSE_INTERVAL_LATEST?";
    for word in ["server.port", "many", "GHPULSE_INTERVAL_LATESTT", nearest] {
        assert!(log.contains(word), "all at once, with the nearest known name: {word}: {log}");
    }

    let mut secret = run(&dir, &github.url);
    secret.env("GHPULSE_SERVER_TLS_CERT", "no.pem").env("GHPULSE_SERVER_TLS_KEY", "no.key");
    let (code, log, _) = end(secret).await;
    assert_eq!(code, Some(78), "{log}");
    assert!(log.contains("server.tls.cert") && log.contains("no.pem"), "{log}");
    assert!(!log.contains("serving"), "before a port is bound: {log}");

    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, "no certificate").unwrap();
    for (key, value, word) in [
        ("GHPULSE_PULSAR_CA", ca.to_str().unwrap(), "no certificate in PEM form"),
        ("GHPULSE_PULSAR_DEVHOST", "pulsar://me:secret@x:6650", "pulsar.audience"),
        ("GHPULSE_PULSAR_CONSUMER_TOPIC", "non-persistent://a/b/c", "not persistent"),
    ] {
        let mut wrong = run(&dir, &github.url);
        wrong.env("GHPULSE_PULSAR_ENV", "dev").env("GHPULSE_PULSAR_DEVHOST", "pulsar://127.0.0.1");
        wrong.env("GHPULSE_PULSAR_PRODUCER_TOPIC", "t").env("GHPULSE_PULSAR_CONSUMER_TOPIC", "t");
        wrong.env(key, value);
        let (code, log, _) = end(wrong).await;
        assert_eq!(code, Some(78), "{key}: {log}");
        assert!(log.contains(word) && !log.contains("serving"), "{key}: {log}");
    }

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut busy = command(&["run", "--listen", &address, "--github", &github.url, "--data"]);
    busy.arg(dir.path());
    let (code, log, _) = end(busy).await;
    assert_eq!(code, Some(74), "{log}");
    assert!(log.contains(&address) && log.contains("server.port"), "{log}");

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut no_folder = command(&["run", "--listen", "127.0.0.1:0", "--github", &github.url]);
    no_folder.arg("--data").arg(file.join("below"));
    let (code, log, _) = end(no_folder).await;
    assert_eq!(code, Some(74), "{log}");
    assert!(log.contains("below"), "{log}");

    let old = tempfile::tempdir().unwrap();
    std::fs::write(old.path().join("VERSION"), "999\n").unwrap();
    let (code, log, _) = end(run(&old, &github.url)).await;
    assert_eq!(code, Some(74), "{log}");
    assert!(log.contains("999") && log.contains("--data"), "{log}");

    let mut first = Program::start(run(&dir, &github.url));
    first.address().await;
    let (code, log, _) = end(run(&dir, &github.url)).await;
    assert_eq!(code, Some(75), "{log}");
    let holder = first.child.id().unwrap().to_string();
    assert!(log.contains(&holder), "it says who holds it: {log}");
    first.signal("-TERM").await;
    assert_eq!(first.end().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn start_says_whom_the_file_of_names_leaves_out() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = files.path().join("exclude.txt");
    let started = async || {
        let mut command = run(&dir, &github.url);
        command.env("GHPULSE_PRIVACY_EXCLUDEFILE", &file);
        let mut program = Program::start(command);
        let line = program.until("privacy.excludeFile").await;
        program.address().await;
        program.signal("-TERM").await;
        let (code, log, _) = program.end().await;
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(log.matches("privacy.excludeFile").count(), 1, "once: {log}");
        line
    };
    let line = started().await;
    assert!(line.contains("does not exist") && line.contains("exclude.txt"), "{line}");
    std::fs::write(&file, "ann\nspam-*  # both\n").unwrap();
    let line = started().await;
    assert!(line.contains("names=2") && line.contains("are left out"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_has_a_line_for_each_poll_and_batch() {
    let github = GitHub::start(Options::by_hand(1)).await;
    github.control.push_raw(&push(1));
    let dir = tempfile::tempdir().unwrap();
    let mut command = run(&dir, &github.url);
    command.env("GHPULSE_LOG_LEVEL", "debug");
    let mut program = Program::start(command);
    let line = program.until("batch applied").await;
    assert!(line.contains("DEBUG") && line.contains("new=1"), "{line}");
    // The response is logged before the poll, and the poll about when its events are applied.
    let answered = program.log.lines().find(|line| line.contains("GitHub answered"));
    let answered = answered.unwrap_or_else(|| panic!("{}", program.log));
    assert!(answered.contains("page=") && answered.contains("remaining="), "{answered}");
    if !program.log.contains("poll admitted") {
        program.until("poll admitted").await;
    }
    assert!(program.log.contains("pages="), "{}", program.log);
    program.signal("-TERM").await;
    assert_eq!(program.end().await.0, Some(0));
    // As the reference writes it.
    let mut command = run(&dir, &github.url);
    command.env("GHPULSE_LOG_LEVEL", "info,ghpulse::store=debug");
    let mut program = Program::start(command);
    let line = program.until("batch committed").await;
    assert!(line.contains("rows=") && line.contains("took="), "{line}");
    program.signal("-TERM").await;
    assert_eq!(program.end().await.0, Some(0));
}
