//! A real Pulsar: its standalone broker, started on free ports in a temporary directory. Tests
//! kill, pause and query it from outside.
//!
//! One broker serves all tests of this program, each on its own topics. A test that disturbs the
//! broker has exclusive use of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ghpulse::config::{Compression, PulsarConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::common::ports::free_port;

/// How long a started broker may take until it is ready; a minute on a loaded machine.
const READY: Duration = Duration::from_secs(180);
/// The version that `pulsar.pom.xml` names.
const JARS: &str = "pulsar-3.3.2";

static BROKER: OnceLock<Result<Broker, String>> = OnceLock::new();
static SUFFERING: RwLock<()> = RwLock::const_new(());

/// The broker, and where it listens.
pub(crate) struct Broker {
    dir: PathBuf,
    port: u16,
    web_port: u16,
    /// Token for the admin interface of a broker that authenticates clients.
    bearer: Option<&'static str>,
    process: Mutex<Option<Process>>,
}

/// The process, started through a shell that kills it and removes its directory when this program
/// ends in any way: the shell's standard input is closed then.
struct Process {
    shell: Child,
    java: u32,
}

/// The broker, shared with other tests.
pub(crate) struct Shared {
    pub(crate) broker: &'static Broker,
    _guard: RwLockReadGuard<'static, ()>,
}

/// The broker, used exclusively.
pub(crate) struct Alone {
    pub(crate) broker: &'static Broker,
    _guard: RwLockWriteGuard<'static, ()>,
}

/// The broker for a test; `None`, with a message, if the environment says that there is none.
pub(crate) async fn shared(test: &str) -> Option<Shared> {
    let guard = SUFFERING.read().await;
    let broker = broker(test).await?;
    Some(Shared { broker, _guard: guard })
}

/// The same for a test that disturbs the broker.
pub(crate) async fn alone(test: &str) -> Option<Alone> {
    let guard = SUFFERING.write().await;
    let broker = broker(test).await?;
    Some(Alone { broker, _guard: guard })
}

async fn broker(test: &str) -> Option<&'static Broker> {
    if std::env::var_os("GHPULSE_TEST_WITHOUT_SERVERS").is_some_and(|value| value == "1") {
        // Not `println!`: the test harness hides its output when a test passes.
        let mut out = std::io::stdout();
        let why = "GHPULSE_TEST_WITHOUT_SERVERS=1 is set, so there is no Pulsar";
        writeln!(out, "skipped: {test}: {why}").unwrap();
        return None;
    }
    let start = || BROKER.get_or_init(|| Broker::new(None, |_| String::new())).as_ref();
    let broker = tokio::task::spawn_blocking(start).await.unwrap();
    let broker = broker.unwrap_or_else(|why| {
        panic!("no Pulsar: {why}; where none can be had, set GHPULSE_TEST_WITHOUT_SERVERS=1")
    });
    broker.ready().await;
    Some(broker)
}

/// A separate broker for a test that needs other settings; `settings` receives its directory.
pub(crate) async fn own(
    test: &str,
    bearer: &'static str,
    settings: impl FnOnce(&Path) -> String + Send + 'static,
) -> Option<Broker> {
    // After the shared broker, which has downloaded the program.
    broker(test).await?;
    let start = move || Broker::new(Some(bearer), settings).unwrap();
    let own = tokio::task::spawn_blocking(start).await.unwrap();
    own.ready().await;
    Some(own)
}

fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    base.unwrap_or_else(|| home.join(".cache")).join("ghpulse/servers")
}

impl Broker {
    fn new(
        bearer: Option<&'static str>,
        settings: impl FnOnce(&Path) -> String,
    ) -> Result<Self, String> {
        let jars = cache().join(JARS);
        let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/servers/setup");
        let ran = Command::new(&setup).arg("pulsar").arg(&jars).status();
        match ran {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("{} ended with {status}", setup.display())),
            Err(error) => return Err(format!("{} cannot be run: {error}", setup.display())),
        }
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?.keep();
        let (port, web_port) = (free_port(), free_port());
        let broker = Self { dir, port, web_port, bearer, process: Mutex::new(None) };
        let conf = [broker.conf(), settings(&broker.dir)].concat();
        std::fs::write(broker.dir.join("standalone.conf"), conf).unwrap();
        broker.start();
        Ok(broker)
    }

    /// A configuration with one storage node and only what tests need.
    fn conf(&self) -> String {
        let Self { port, web_port, .. } = self;
        let settings = "\
            clusterName=standalone\nbindAddress=127.0.0.1\nadvertisedAddress=127.0.0.1\n\
            managedLedgerDefaultEnsembleSize=1\nmanagedLedgerDefaultWriteQuorum=1\n\
            managedLedgerDefaultAckQuorum=1\nmanagedLedgerCacheSizeMB=64\n\
            loadBalancerEnabled=false\n\
            loadManagerClassName=org.apache.pulsar.broker.loadbalance.NoopLoadManager\n\
            functionsWorkerEnabled=false\nsystemTopicEnabled=false\n\
            topicLevelPoliciesEnabled=false\ndiskUsageThreshold=0.99\n\
            diskUsageWarnThreshold=0.98\ndbStorage_writeCacheMaxSizeMb=32\n\
            dbStorage_readAheadCacheMaxSizeMb=32\nbrokerDeleteInactiveTopicsEnabled=false\n";
        format!("brokerServicePort={port}\nwebServicePort={web_port}\n{settings}")
    }

    fn running(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes its directory. Only after a kill.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }

    /// Removes its data. Only after a kill.
    pub(crate) fn forget(&self) {
        for dir in ["data", "zk", "bk"] {
            let _ = std::fs::remove_dir_all(self.dir.join(dir));
        }
    }

    /// Removes what its storage node registered before the kill, as a metadata server does when a
    /// session ends. The file that replaces that server keeps it. Otherwise the restarted node
    /// registers again, sees the old registration disappear, takes it for its own, and repeats this
    /// without end, thousands of times a second (apache/pulsar issue 17759). A topic created
    /// meanwhile finds no storage.
    fn end_registration(&self) {
        let path = self.dir.join("data/metadata");
        if !path.exists() {
            return;
        }
        let mut options = rocksdb::Options::default();
        let mut tables = rocksdb::BlockBasedOptions::default();
        // The newest format version that the broker's RocksDB 7.9 reads.
        tables.set_format_version(5);
        options.set_block_based_table_factory(&tables);
        let db = rocksdb::DB::open(&options, path).unwrap();
        let registered = b"/ledgers/available/";
        let from = rocksdb::IteratorMode::From(registered, rocksdb::Direction::Forward);
        for row in db.iterator(from) {
            let (key, _) = row.unwrap();
            if !key.starts_with(registered) {
                break;
            }
            db.delete(key).unwrap();
        }
    }

    /// Starts it on its directories, empty or with existing data, also after a kill.
    pub(crate) fn start(&self) {
        self.end_registration();
        self.start_after_stop();
    }

    /// Starts it after [`Self::stop`].
    pub(crate) fn start_after_stop(&self) {
        let opens = [
            "java.base/java.nio",
            "java.base/jdk.internal.misc",
            "java.base/sun.net",
            "java.management/sun.management",
            "java.base/jdk.internal.platform",
        ];
        let mut java: Vec<String> =
            ["-Xms256m", "-Xmx512m", "-XX:MaxDirectMemorySize=512m"].map(str::to_owned).to_vec();
        for open in opens {
            java.extend(["--add-opens".to_owned(), format!("{open}=ALL-UNNAMED")]);
        }
        let jars = cache().join(JARS).join("*");
        java.extend(["-cp".to_owned(), jars.display().to_string()]);
        let rest = "org.apache.pulsar.PulsarStandaloneStarter -c standalone.conf -nfw -nss \
            -a 127.0.0.1 --zookeeper-dir zk --bookkeeper-dir bk";
        java.extend(rest.split_whitespace().map(str::to_owned));
        // The shell prints the broker's process id, waits for its own input to end, and kills the
        // broker.
        let script = "java \"$@\" >>log 2>&1 & echo $!; read -r rest; kill -9 $!; wait; \
            test \"$rest\" = keep || rm -rf \"$PWD\"";
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .args(java)
            .current_dir(&self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let java = line.trim().parse().unwrap();
        *self.running() = Some(Process { shell, java });
    }

    /// The id of its process. Only while it runs.
    pub(crate) fn pid(&self) -> u32 {
        self.running().as_ref().unwrap().java
    }

    /// Kills it as a power cut would, and keeps its directories.
    pub(crate) fn kill(&self) {
        let Some(mut process) = self.running().take() else { return };
        process.shell.stdin.take().unwrap().write_all(b"keep\n").unwrap();
        process.shell.wait().unwrap();
    }

    /// Stops it in order, so that nothing of it stays registered, and waits until it has ended.
    pub(crate) async fn stop(&self) {
        self.signal("-TERM");
        let java = format!("/proc/{}", self.pid());
        let mut looks = tokio::time::interval(Duration::from_millis(100));
        let ending = async {
            // The shell has not collected it yet, so it stays as a process that does nothing.
            while std::fs::read_to_string(format!("{java}/cmdline")).is_ok_and(|it| !it.is_empty())
            {
                looks.tick().await;
            }
        };
        tokio::time::timeout(READY, ending).await.expect("Pulsar ends in time");
        self.kill();
    }

    /// Pauses the process; connections stay open and receive no response.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Resumes the process.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits until the broker responds.
    pub(crate) async fn ready(&self) {
        let mut tries = tokio::time::interval(Duration::from_millis(250));
        let answers = async {
            loop {
                tries.tick().await;
                // Healthy, and with storage that accepts a new topic, which takes a little longer.
                let asked = async {
                    let health = self.ask("GET", "/admin/v2/brokers/health", "").await;
                    let new = format!("ready-{:x}", fastrand::u64(..));
                    let path = format!("/admin/v2/persistent/public/default/{new}");
                    let made = self.ask("PUT", &path, "").await;
                    matches!((health, made), (Ok((200, _)), Ok((204, _))))
                };
                if let Ok(true) = tokio::time::timeout(READY / 12, asked).await {
                    return;
                }
            }
        };
        if tokio::time::timeout(READY, answers).await.is_err() {
            let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            let from = log.lines().count().saturating_sub(30);
            let end: Vec<_> = log.lines().skip(from).collect();
            panic!("Pulsar is not ready after {READY:?}; its log ends:\n{}", end.join("\n"));
        }
    }

    /// Sends a request to the admin interface; returns status and body.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> std::io::Result<(u16, String)> {
        let address = ("127.0.0.1", self.web_port);
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let length = body.len();
        let bearer = self.bearer.map(|token| format!("authorization: Bearer {token}\r\n"));
        let bearer = bearer.unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{bearer}\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        Ok((status, answer))
    }

    /// Sends a request for a topic of the default namespace.
    pub(crate) async fn to_topic(
        &self,
        method: &str,
        topic: &str,
        what: &str,
        body: &str,
    ) -> String {
        let path = format!("/admin/v2/persistent/public/default/{topic}{what}");
        let (status, answer) = self.ask(method, &path, body).await.unwrap();
        assert!((200..300).contains(&status), "{method} {path}: {answer}");
        answer
    }

    /// The number of messages that a subscription has not acknowledged.
    pub(crate) async fn backlog(&self, topic: &str, subscription: &str) -> i64 {
        let answer = self.to_topic("GET", topic, "/stats", "").await;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let json = &body[body.find('{').unwrap()..=body.rfind('}').unwrap()];
        let stats: serde_json::Value = serde_json::from_str(json).unwrap();
        stats["subscriptions"][subscription]["msgBacklog"].as_i64().unwrap()
    }

    /// The broker's URL.
    pub(crate) fn url(&self) -> String {
        format!("pulsar://127.0.0.1:{}", self.port)
    }

    /// The configuration for a topic on this broker.
    pub(crate) fn options(&self, topic: &str) -> PulsarConfig {
        PulsarConfig {
            url: self.url(),
            oauth: None,
            ca: None,
            compression: Compression::None,
            producer_topic: topic.to_owned(),
            consumer_topic: topic.to_owned(),
            consumer_name: "test".to_owned(),
        }
    }
}
