//! A real RabbitMQ: Debian's server on free ports in a temporary directory, with the definitions
//! from `config/` and one more user. Tests kill and restart it from outside.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use ghpulse::config::{AmqpConfig, Secret};
use tokio::sync::mpsc;

use crate::common::ports::free_port;

/// How long a started broker may take until it accepts connections; a minute on a loaded machine.
const READY: Duration = Duration::from_secs(180);
/// How long a message may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CONTROL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";
/// `ghpulse`, salted: the user that publishes in these tests.
const PUBLISHER: &str = "AQIDCte10wWSVHYM+9zwTdcYW2sQKeu+3ueTgxah/61utZe8";

/// The broker.
pub(crate) struct Broker {
    dir: PathBuf,
    port: u16,
    dist_port: u16,
    epmd_port: u16,
    process: Option<Child>,
}

/// A program that reads from the broker; its output is read line by line.
pub(crate) struct Reader {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
}

/// Whether there is a RabbitMQ to test with. Prints a message if the environment says that there is
/// none.
fn may_have_one(test: &str) -> bool {
    if std::env::var_os("GHPULSE_TEST_WITHOUT_SERVERS").is_some_and(|value| value == "1") {
        let mut out = std::io::stdout();
        let why = "GHPULSE_TEST_WITHOUT_SERVERS=1 is set, so there is no RabbitMQ";
        writeln!(out, "skipped: {test}: {why}").unwrap();
        return false;
    }
    assert!(
        Path::new(SERVER).exists(),
        "no RabbitMQ at {SERVER}: install rabbitmq-server, ruby-bunny and python3-pika (make test \
         does), or set GHPULSE_TEST_WITHOUT_SERVERS=1"
    );
    true
}

/// Starts a broker for a test; `None` if there is none.
pub(crate) async fn broker(test: &str) -> Option<Broker> {
    if !may_have_one(test) {
        return None;
    }
    let mut broker = Broker::new("");
    broker.start().await;
    Some(broker)
}

/// The same, with additional lines in its configuration.
pub(crate) async fn configured(test: &str, lines: &str) -> Option<Broker> {
    if !may_have_one(test) {
        return None;
    }
    let mut broker = Broker::new(lines);
    broker.start().await;
    Some(broker)
}

/// The same with TLS, by the certificate in `cert.pem` and `key.pem` of that directory; also
/// returns the TLS port.
pub(crate) async fn secured(test: &str, files: &Path) -> Option<(Broker, u16)> {
    if !may_have_one(test) {
        return None;
    }
    let (port, files) = (free_port(), files.display());
    let conf = format!(
        "listeners.ssl.default = 127.0.0.1:{port}\nssl_options.cacertfile = {files}/ca.pem\n\
         ssl_options.certfile = {files}/cert.pem\nssl_options.keyfile = {files}/key.pem\n\
         ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n"
    );
    let mut broker = Broker::new(&conf);
    broker.start().await;
    Some((broker, port))
}

impl Broker {
    fn new(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/rabbitmq.json");
        let shipped = std::fs::read_to_string(shipped).unwrap();
        let mut definitions: serde_json::Value = serde_json::from_str(&shipped).unwrap();
        let user = serde_json::json!({
            "name": "ghpulse", "password_hash": PUBLISHER, "tags": "",
            "hashing_algorithm": "rabbit_password_hashing_sha256",
        });
        definitions["users"].as_array_mut().unwrap().push(user);
        let rights = serde_json::json!({
            "user": "ghpulse", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*",
        });
        definitions["permissions"].as_array_mut().unwrap().push(rights);
        std::fs::write(dir.join("definitions.json"), definitions.to_string()).unwrap();
        std::fs::write(dir.join("enabled_plugins"), "[].").unwrap();
        let conf = format!(
            "load_definitions = {0}/definitions.json\ndisk_free_limit.absolute = 10MB\n\
             log.file.level = warning\n{more}",
            dir.display()
        );
        std::fs::write(dir.join("rabbitmq.conf"), conf).unwrap();
        let (port, dist_port, epmd_port) = (free_port(), free_port(), free_port());
        Self { dir, port, dist_port, epmd_port, process: None }
    }

    /// A command with the environment by which RabbitMQ's programs find the broker.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .env("RABBITMQ_NODENAME", format!("ghpulse{}@localhost", self.port))
            .env("ERL_EPMD_PORT", self.epmd_port.to_string());
        command
    }

    /// Runs `rabbitmqctl` with these arguments.
    pub(crate) async fn control(&self, arguments: &[&str]) {
        let mut command = self.command(CONTROL);
        command.args(arguments);
        let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{arguments:?}: {said}");
    }

    /// Pauses the process: the system still accepts bytes that are sent to it.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Resumes the process.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(self.dir.join("pid")).unwrap();
        assert!(Command::new("kill").args([name, pid.trim()]).status().unwrap().success());
    }

    /// Number of bytes sent to the broker that it has not read.
    pub(crate) fn unread(&self) -> u64 {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let ours = format!(":{:04X}", self.port);
        let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
        let ours = rows.filter(|row| row[1].ends_with(&ours));
        ours.map(|row| u64::from_str_radix(row[4].split(':').nth(1).unwrap(), 16).unwrap()).sum()
    }

    /// Starts it on its directory, empty or with existing data, and waits until it listens.
    pub(crate) async fn start(&mut self) {
        // The shell waits for its own input to end, which it does when this program ends in any
        // way, and then kills what it started: the server, and the name daemon on its port.
        let script = "set -m; \"$0\" >>log 2>&1 & read -r rest; kill -9 -- -$!; wait; \
            epmd -port \"$ERL_EPMD_PORT\" -kill >/dev/null 2>&1; \
            test \"$rest\" = keep || rm -rf \"$PWD\"";
        let file = |name: &str| self.dir.join(name);
        let shell = self
            .command("bash")
            .args(["-c", script, SERVER])
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", self.port.to_string())
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_MNESIA_BASE", file("mnesia"))
            .env("RABBITMQ_LOG_BASE", file("logs"))
            .env("RABBITMQ_PID_FILE", file("pid"))
            .env("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(shell);
        self.listens().await;
    }

    async fn listens(&self) {
        let mut tries = tokio::time::interval(Duration::from_millis(250));
        let port = self.port;
        let listens = async {
            loop {
                tries.tick().await;
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return;
                }
            }
        };
        if tokio::time::timeout(READY, listens).await.is_err() {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            panic!("RabbitMQ is not ready after {READY:?}; its log:\n{log}");
        }
    }

    /// Kills it as a power cut would, and keeps its directory.
    pub(crate) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.stdin.take().unwrap().write_all(b"keep\n").unwrap();
        process.wait().unwrap();
    }

    pub(crate) fn port(&self) -> String {
        self.port.to_string()
    }

    /// The options for an exchange on this broker.
    pub(crate) fn options(&self, exchange: &str) -> AmqpConfig {
        AmqpConfig {
            url: Secret::new(format!("amqp://ghpulse:ghpulse@127.0.0.1:{}/", self.port)),
            exchange: exchange.to_owned(),
            source: None,
            ca: None,
            node: "test".to_owned(),
        }
    }

    /// Starts a reader based on pika, as the publishing user, with a bound, durable queue.
    pub(crate) async fn reader(&self, queue: &str, keys: &[&str]) -> Reader {
        let port = self.port();
        let mut args = vec!["reader.py", &port, "ghpulse", "ghpulse", queue, "1"];
        args.extend(keys);
        let mut reader = Reader::new("/usr/bin/python3", &args);
        assert_eq!(reader.line().await, "\"bound\"");
        reader
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            let _ = process.wait();
        } else {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

impl Reader {
    /// Runs a program of this directory.
    pub(crate) fn new(program: &str, args: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/amqp"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
        let lines = forward(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line.
    pub(crate) async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.recv()).await;
        line.expect("a line in time").expect("the program continues")
    }

    /// The next line, if it is already there.
    pub(crate) fn line_now(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// The next message.
    pub(crate) async fn message(&mut self) -> serde_json::Value {
        serde_json::from_str(&self.line().await).unwrap()
    }

    /// All remaining lines.
    pub(crate) async fn rest(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Ok(Some(line)) = tokio::time::timeout(PATIENCE, self.lines.recv()).await {
            rest.push(line);
        }
        rest
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(out: ChildStdout) -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
