//! A real database server on a free port, with its own directory: the TiDB named by
//! `GHPULSE_TEST_TIDB`, or else Debian's MariaDB 10.11, which speaks TiDB's protocol and is
//! reported as MariaDB.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ghpulse::config::{Secret, TidbConfig};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};

use crate::common::ports::free_port;
use crate::common::running::soon;

/// The deadline for a server to start on a busy machine.
const START: Duration = Duration::from_secs(90);
/// The password of the user that ghpulse logs in as.
pub const PASSWORD: &str = "a-very-secret-word";

/// The kind of server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Path of `mariadbd`.
    MariaDb(&'static str),
    /// Path of `tidb-server`.
    TiDb(PathBuf),
}

/// A running server; dropping it kills the server and removes its directory.
pub struct Database {
    kind: Kind,
    child: Option<Child>,
    pub port: u16,
    dir: tempfile::TempDir,
    extra: Vec<String>,
}

/// The server to test with. Without one the test fails, unless `GHPULSE_TEST_WITHOUT_SERVERS=1`
/// says that this machine has none.
pub fn kind(test: &str) -> Option<Kind> {
    if let Some(path) = std::env::var_os("GHPULSE_TEST_TIDB") {
        return Some(Kind::TiDb(path.into()));
    }
    let places = ["/usr/sbin/mariadbd", "/usr/bin/mariadbd", "/usr/local/sbin/mariadbd"];
    if let Some(path) = places.into_iter().find(|path| Path::new(path).exists()) {
        return Some(Kind::MariaDb(path));
    }
    let without = std::env::var_os("GHPULSE_TEST_WITHOUT_SERVERS").is_some_and(|set| set == "1");
    assert!(
        without,
        "mariadbd is missing: `apt-get install mariadb-server`, or GHPULSE_TEST_WITHOUT_SERVERS=1"
    );
    eprintln!("skipped: {test}: mariadbd is missing, and GHPULSE_TEST_WITHOUT_SERVERS=1");
    None
}

impl Database {
    /// Starts a server with the table of events, and a user with the right to read it.
    pub async fn start(kind: &Kind) -> Self {
        Self::start_with(kind, &[]).await
    }

    /// Does the same with options of the server.
    pub async fn start_with(kind: &Kind, extra: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        if let Kind::MariaDb(_) = kind {
            let copied = Command::new("cp")
                .args(["-a", &format!("{}/.", template().display())])
                .arg(dir.path())
                .status();
            assert!(copied.unwrap().success(), "the new data directory cannot be copied");
        }
        let port = free_port();
        let mut database =
            Self { kind: kind.clone(), child: None, port, dir, extra: extra.to_vec() };
        database.run();
        database.sql(SCHEMA).await;
        let users = format!(
            "CREATE USER 'ghpulse'@'%' IDENTIFIED BY '{PASSWORD}';
             GRANT SELECT ON gharchive.* TO 'ghpulse'@'%';
             CREATE USER 'stranger'@'%' IDENTIFIED BY '{PASSWORD}'"
        );
        database.sql(&users).await;
        database
    }

    /// Starts the server on its directory and port, and waits until it accepts connections.
    pub fn run(&mut self) {
        let dir = self.dir.path().display();
        let port = self.port;
        let mut command = match &self.kind {
            Kind::MariaDb(path) => {
                let mut command = Command::new(path);
                command
                    .arg("--no-defaults")
                    .arg(format!("--datadir={dir}"))
                    .arg(format!("--socket={dir}/s"))
                    .arg(format!("--port={port}"))
                    .arg(format!("--user={}", user()))
                    .args(["--bind-address=127.0.0.1", "--innodb-log-file-size=8M"])
                    .args(["--skip-name-resolve", "--innodb-buffer-pool-size=16M"]);
                command
            }
            Kind::TiDb(path) => {
                let mut command = Command::new(path);
                command
                    .args(["-store", "unistore", "-path", &format!("{dir}/tidb")])
                    .args(["-P", &port.to_string(), "-host", "127.0.0.1"])
                    .args(["-status", &free_port().to_string(), "-status-host", "127.0.0.1"])
                    .args(["-socket", &format!("{dir}/s"), "-temp-dir", &format!("{dir}/temp")]);
                command
            }
        };
        // TiDB's additional log files are unused and removed with the directory.
        command.args(&self.extra).stdin(Stdio::null()).current_dir(self.dir.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, ready) = mpsc::channel();
        watch(child.stdout.take().unwrap(), sender.clone());
        watch(child.stderr.take().unwrap(), sender);
        self.child = Some(child);
        let mut said = Vec::new();
        loop {
            let line = ready.recv_timeout(START);
            let line = line.unwrap_or_else(|_| panic!("the server does not start: {said:#?}"));
            let is_ready = line.contains("ready for connections")
                || line.contains("server is running MySQL protocol");
            if is_ready {
                return;
            }
            said.push(line);
        }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it runs")
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.child().kill().unwrap();
        self.child().wait().unwrap();
        self.child = None;
    }

    /// Pauses the process, or resumes it.
    pub fn freeze(&mut self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let pid = self.child().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Runs statements as root.
    pub async fn sql(&self, text: &str) {
        let mut conn = self.root().await;
        for statement in text.split(';').filter(|part| !part.trim().is_empty()) {
            let ran = conn.query_drop(statement).await;
            ran.unwrap_or_else(|error| panic!("{error}: {statement}"));
        }
        conn.disconnect().await.unwrap();
    }

    /// Waits until the server runs a query of ghpulse that contains `part`.
    pub async fn until_running(&self, part: &str) {
        let mut conn = self.root().await;
        let text = format!(
            "SELECT COUNT(*) FROM information_schema.processlist \
             WHERE user = 'ghpulse' AND info LIKE '%{part}%'"
        );
        let seen = async { while conn.query_first::<u64, _>(&*text).await.unwrap() != Some(1) {} };
        soon("the query runs", seen).await;
        conn.disconnect().await.unwrap();
    }

    /// A connection that holds a lock of this name until it is closed.
    pub async fn locked(&self, name: &str) -> Conn {
        let mut conn = self.root().await;
        let taken = conn.query_first::<u64, _>(format!("SELECT GET_LOCK('{name}', 60)")).await;
        assert_eq!(taken.unwrap(), Some(1));
        conn
    }

    async fn root(&self) -> Conn {
        let opts = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("root"))
            .prefer_socket(false);
        Conn::new(opts).await.unwrap()
    }

    /// The configuration of ghpulse for this server; the default queries are the peer's two.
    pub fn config(&self) -> TidbConfig {
        let (events_daily, yearly) = default_queries();
        TidbConfig {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: "ghpulse".to_owned(),
            password: Some(Secret::new(PASSWORD)),
            db: "gharchive".to_owned(),
            tls: false,
            ca: None,
            events_daily,
            yearly,
            timeout: Duration::from_secs(60),
            repo_languages: None,
            repo_days: None,
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Drains a server's output while it runs: a full pipe would block it.
fn watch(output: impl Read + Send + 'static, lines: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // The receiver is dropped once the server is ready.
            let _ = lines.send(line);
        }
    });
}

/// A new data directory, created once and copied for each server. Of several processes that create
/// it at the same time, the first one's is used.
fn template() -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb-data-1");
    if path.exists() {
        return path;
    }
    let new = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let made = Command::new("mariadb-install-db")
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .args(["--innodb-log-file-size=8M", &format!("--user={}", user())])
        .arg(format!("--datadir={}", new.path().display()))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    if let Err(error) = std::fs::rename(new.path(), &path) {
        assert!(path.exists(), "{}: {error}", path.display());
    }
    path
}

/// The user that runs the tests: MariaDB requires an explicit user when root starts it.
fn user() -> String {
    let said = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// The default queries of the configuration.
fn default_queries() -> (String, String) {
    let named = ["GHPULSE_TIDB_HOST", "GHPULSE_TIDB_DB"];
    let set = named.map(|name| (name.to_owned(), "x".to_owned())).into();
    let request = ghpulse::config::Request::of_variables(set);
    let Ok(loaded) = ghpulse::config::load(&request) else { panic!("the defaults do not load") };
    let tidb = loaded.config.tidb.expect("it is configured");
    (tidb.events_daily, tidb.yearly)
}

/// The table of the peer's database, with the columns that its queries read.
const SCHEMA: &str = "CREATE DATABASE gharchive;
    CREATE TABLE gharchive.github_events (
        id BIGINT, type VARCHAR(29), created_at DATETIME, repo_id BIGINT, repo_name VARCHAR(140),
        actor_id BIGINT, actor_login VARCHAR(40), language VARCHAR(26), additions BIGINT,
        deletions BIGINT, action VARCHAR(11), number INT, pr_merged BOOLEAN,
        pr_or_issue_id BIGINT, event_day DATE, event_month DATE, event_year INT)";
