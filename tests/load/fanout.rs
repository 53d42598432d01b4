//! Readers of `/sampling` through the real server, next to other servers and the machine's minimum
//! cost: CPU per delivery, latency from admission to arrival, memory per connection.
//!
//! A case consists of two processes: the server, and all its readers. The server's figures exclude
//! the cost of the readers, except that both share the machine's cores.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ghpulse::clock::Clock;
use ghpulse::config;
use ghpulse::hub::{Hub, HubOptions, TailEvent};
use ghpulse::model::envelope::{Envelope, Facts};
use ghpulse::model::event::Event;
use ghpulse::model::part::{ListReport, Part};
use ghpulse::model::position::{BusTag, Cursor, Position};
use ghpulse::serve::{
    self, Audience, Listener, Operate, OpsAnswer, OpsError, ScriptState, ServeOptions, StoreRequest,
};
use ghpulse::supervise::Stop;
use tokio::net::TcpListener;

use crate::measure::{Process, Usage, events, resident_bytes, sized};
use crate::opponents::{floor, gorilla, plain, tuned};
use crate::readers::{DEFLATED, READERS, STAMP_DIGITS};
use crate::report::Report;

/// The argument that starts this program as one case.
pub const CASE: &str = "case-of-fanout";
/// Prefix of a figure that a case prints.
const FIGURE: &str = "figure\t";
/// How long events are sent before the measurement, and during it.
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
/// Long enough for the last message to arrive, and for unused buffers to be released.
const SETTLE: Duration = Duration::from_secs(1);
/// Readers that connect and leave before memory is measured, so that the result is that of
/// connections alone.
const FIRST_READERS: usize = 16;
/// How long idle connections are observed.
const IDLE: Duration = Duration::from_secs(30);
/// How long the server is observed after all readers have left, unless `GHPULSE_BENCH_LEFT` says
/// how many seconds.
const LEFT: Duration = Duration::from_secs(60);

const WHOLE: &str = r#"{"samplingRate":1}"#;
const LIST: &str = concat!(
    r#"{"samplingRate":1,"returnType":"list","filter":["event.sent_at","event.id","event.type","#,
    r#""event.actor.login","event.repo.name","#,
    r#""event.payload.pull_request.base.repo.language","payload.merge"]}"#
);
const FILTERED: &str = r#"{"samplingRate":1,"eventType":"PushEvent"}"#;

const ALL: &[&str] = &["ghpulse", "floor", "axum, tuned", "gorilla", "axum, plain"];
const BEST: &[&str] = &["ghpulse", "floor", "axum, tuned", "gorilla"];
const SELECTING: &[&str] = &["ghpulse", "axum, tuned"];
const DEFLATING: &[&str] = &["ghpulse", "gorilla"];

/// A workload, and the servers that support it.
struct Case {
    readers: usize,
    /// Events per second.
    rate: usize,
    bytes: usize,
    form: &'static str,
    servers: &'static [&'static str],
}

const CASES: [Case; 12] = [
    Case { readers: 200, rate: 100, bytes: 1_300, form: "whole", servers: ALL },
    Case { readers: 1_000, rate: 100, bytes: 1_300, form: "whole", servers: ALL },
    Case { readers: 5_000, rate: 100, bytes: 1_300, form: "whole", servers: BEST },
    Case { readers: 10_000, rate: 10, bytes: 1_300, form: "whole", servers: BEST },
    Case { readers: 200, rate: 10, bytes: 1_300, form: "whole", servers: BEST },
    Case { readers: 200, rate: 1_000, bytes: 1_300, form: "whole", servers: BEST },
    Case { readers: 200, rate: 100, bytes: 7_000, form: "whole", servers: BEST },
    Case { readers: 1_000, rate: 100, bytes: 7_000, form: "whole", servers: BEST },
    Case { readers: 1_000, rate: 100, bytes: 1_300, form: "filtered", servers: SELECTING },
    Case { readers: 1_000, rate: 100, bytes: 1_300, form: "list", servers: SELECTING },
    Case { readers: 1_000, rate: 100, bytes: 7_000, form: "deflated", servers: DEFLATING },
    Case { readers: 1_000, rate: 2_000, bytes: 1_300, form: "saturated", servers: BEST },
];

impl Case {
    fn name(&self) -> String {
        let Self { readers, rate, bytes, form, .. } = self;
        format!("{readers} readers, {rate}/s of {bytes} B, {form}")
    }
}

/// Measures, with these numbers of readers alone when any are given.
pub fn run(report: &mut Report, only: &[usize]) {
    report.section(
        "fanout",
        "Events through `/sampling`, the readers in another process. `floor`: frames encoded \
         before, gathered for 50 ms, one write a connection. `axum, tuned`: small read buffer, \
         shared text, writes gathered for 50 ms. `gorilla`: gorilla/websocket in Go, \
         PreparedMessage, pooled buffers, writes gathered for 50 ms. `axum, plain`: its defaults, \
         a write an event. `saturated`: more than the readers can take on this machine.",
    );
    let dir = tempfile::tempdir().expect("a temporary directory");
    let go = gorilla::build(dir.path());
    if go.is_none() {
        report.not_measured(
            "fan-out of gorilla/websocket: no Go here, or its module is not to be had",
        );
    }
    let is_wanted = |case: &&Case| only.is_empty() || only.contains(&case.readers);
    for case in CASES.iter().filter(is_wanted) {
        for server in case.servers {
            measure(report, "fanout", case, server, go.as_deref());
        }
    }
    if !only.is_empty() {
        let numbers = only.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return report.not_measured(&format!("fan-out to other numbers of readers than {numbers}"));
    }
    report.section("idle", "10,000 connections that get nothing but pings, watched for 30 s.");
    for server in BEST {
        let case = Case { readers: 10_000, rate: 0, bytes: 1_300, form: "idle", servers: BEST };
        measure(report, "idle", &case, server, go.as_deref());
    }
    report
        .section("crowd", "Memory before 5,000 readers came, with them, and a minute after them.");
    let case = Case { readers: 5_000, rate: 100, bytes: 1_300, form: "crowd", servers: BEST };
    measure(report, "crowd", &case, "ghpulse", None);
}

/// Runs a case in a separate process, and adds the figures it prints.
fn measure(report: &mut Report, section: &str, case: &Case, server: &str, go: Option<&Path>) {
    let Some(go) = go.or((server != "gorilla").then_some(Path::new(""))) else { return };
    let this = std::env::current_exe().expect("a program knows itself");
    let Case { readers, rate, bytes, form, .. } = case;
    let [readers, rate, bytes] = [readers, rate, bytes].map(ToString::to_string);
    let ran = Command::new(this)
        .args([CASE, server, form, &readers, &rate, &bytes])
        .arg(go)
        .stderr(Stdio::inherit())
        .output()
        .expect("a process starts");
    if !ran.status.success() {
        return report.not_measured(&format!("{section}: {}: {server}: it failed", case.name()));
    }
    for line in String::from_utf8_lossy(&ran.stdout).lines() {
        let Some((column, value)) = line.strip_prefix(FIGURE).and_then(|l| l.split_once('\t'))
        else {
            continue;
        };
        let column = COLUMNS.iter().find(|known| **known == column).expect("a known column");
        let row = format!("{}: {server}", case.name());
        report.add(section, &row, column, value.parse().expect("a number"));
    }
}

const COLUMNS: [&str; 10] = [
    "CPU a delivery, us",
    "deliveries a second",
    "p50, ms",
    "p99, ms",
    "missing or closed",
    "a connection, KB",
    "resident, MB",
    "CPU, % of a core",
    "before, MB",
    "after, MB",
];

fn figure(column: &'static str, value: f64) {
    assert!(COLUMNS.contains(&column), "{column}");
    println!("{FIGURE}{column}\t{value}");
}

/// Runs `[server, form, readers, rate, bytes, program]`.
pub fn case(recorded: Option<&Path>, args: &[String]) {
    let [server, form, readers, rate, bytes, go] = args else { panic!("six words, not {args:?}") };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let (readers, rate) = (number(readers), number(rate));
    // Idle connections get none, and the memory of theirs must not count.
    let events = if rate == 0 { Vec::new() } else { sized(&events(recorded).1, number(bytes)) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let clock = Clock::system();
        let server = Server::start(server, Path::new(go), clock).await;
        let run = Run { server, clock, form, readers, rate, events };
        match form.as_str() {
            "idle" => run.idle().await,
            "crowd" => run.crowd().await,
            _ => run.busy().await,
        }
    });
}

/// One case, in its own process.
struct Run<'a> {
    server: Server,
    clock: Clock,
    form: &'a str,
    readers: usize,
    rate: usize,
    events: Vec<String>,
}

impl Run<'_> {
    fn params(&self) -> String {
        match self.form {
            "list" => LIST.to_owned(),
            "filtered" => FILTERED.to_owned(),
            "deflated" => format!("{DEFLATED}{WHOLE}"),
            _ => WHOLE.to_owned(),
        }
    }

    async fn arrive(&self, count: usize) -> Readers {
        Readers::start(&self.server.address, count, &self.params()).await
    }

    /// Sends at the rate for this time; returns the number of events sent.
    async fn send(&mut self, span: Duration, stamped: bool) -> usize {
        let rate = u32::try_from(self.rate).expect("it is small");
        let between = Duration::from_secs(1) / rate;
        let count = self.rate * usize::try_from(span.as_secs()).expect("it is small");
        let mut at = self.clock.instant();
        for n in 0..count {
            let sent_at = if stamped { self.clock.now().micros() } else { 0 };
            let event = &self.events[n % self.events.len()];
            self.server.publish(event, sent_at, self.form);
            at += between;
            self.clock.sleep(at.saturating_duration_since(self.clock.instant())).await;
        }
        count
    }

    async fn busy(mut self) {
        self.arrive(FIRST_READERS).await.end();
        self.clock.sleep(SETTLE).await;
        let before = self.server.resident();
        let readers = self.arrive(self.readers).await;
        self.clock.sleep(SETTLE).await;
        let idle = self.server.resident();
        self.send(WARM_UP, false).await;
        let usage = Usage::of(self.server.measured());
        let sent = self.send(MEASURED, true).await;
        let sending = usage.figures(1).seconds;
        self.clock.sleep(SETTLE).await;
        let busy = self.server.resident();
        let cpu = usage.figures(1).cpu_seconds;
        let [arrived, p50, p99, _, closed] = readers.end();
        // Timestamps of the warm-up are zeros and not counted; in deflated messages they are
        // invisible.
        let deflated = self.form == "deflated";
        let warm = if deflated { float(self.readers * self.rate) } else { 0.0 };
        let arrived = arrived - warm;
        figure("CPU a delivery, us", cpu * 1e6 / arrived.max(1.0));
        figure("deliveries a second", arrived / sending);
        if !deflated {
            figure("p50, ms", p50 / 1_000.0);
            figure("p99, ms", p99 / 1_000.0);
        }
        if self.form != "filtered" {
            figure("missing or closed", float(sent * self.readers) - arrived + closed);
        }
        figure("a connection, KB", (idle - before) / 1e3 / float(self.readers));
        figure("resident, MB", busy / 1e6);
    }

    async fn idle(self) {
        self.arrive(FIRST_READERS).await.end();
        self.clock.sleep(SETTLE).await;
        let before = self.server.resident();
        let readers = self.arrive(self.readers).await;
        self.clock.sleep(SETTLE * 2).await;
        let usage = Usage::of(self.server.measured());
        self.clock.sleep(IDLE).await;
        let figures = usage.figures(1);
        figure("CPU, % of a core", figures.cpu_seconds / figures.seconds * 100.0);
        let resident = self.server.resident();
        figure("a connection, KB", (resident - before) / 1e3 / float(self.readers));
        figure("resident, MB", resident / 1e6);
        readers.end();
    }

    async fn crowd(mut self) {
        self.arrive(FIRST_READERS).await.end();
        self.clock.sleep(SETTLE).await;
        figure("before, MB", self.server.resident() / 1e6);
        let readers = self.arrive(self.readers).await;
        self.send(MEASURED, true).await;
        figure("resident, MB", self.server.resident() / 1e6);
        readers.end();
        let left =
            std::env::var("GHPULSE_BENCH_LEFT").ok().and_then(|seconds| seconds.parse().ok());
        self.clock.sleep(left.map_or(LEFT, Duration::from_secs)).await;
        figure("after, MB", self.server.resident() / 1e6);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
fn float(count: usize) -> f64 {
    count as f64
}

/// A server under test.
struct Server {
    address: String,
    kind: Kind,
}

enum Kind {
    Ours { hub: Arc<Hub>, published: u64, clock: Clock },
    Plain(plain::Plain),
    Tuned(tuned::Tuned),
    Floor(floor::Floor),
    Gorilla(gorilla::Gorilla),
}

impl Server {
    async fn start(which: &str, go: &Path, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let kind = match which {
            "axum, plain" => Kind::Plain(plain::start(listener)),
            "axum, tuned" => Kind::Tuned(tuned::start(listener)),
            "floor" => Kind::Floor(floor::start(listener)),
            "gorilla" => {
                let gorilla = gorilla::Gorilla::start(go);
                return Self { address: gorilla.address.clone(), kind: Kind::Gorilla(gorilla) };
            }
            _ => ours(listener, clock),
        };
        Self { address, kind }
    }

    fn measured(&self) -> Process {
        match &self.kind {
            Kind::Gorilla(gorilla) => Process::Other(gorilla.pid()),
            _ => Process::This,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes of a benchmark are few")]
    fn resident(&self) -> f64 {
        resident_bytes(self.measured()) as f64
    }

    fn publish(&mut self, event: &str, sent_at: i64, form: &str) {
        let stamp = format!("{{\"sent_at\":\"{sent_at:0STAMP_DIGITS$}\",");
        let event = event.replacen('{', &stamp, 1);
        match &mut self.kind {
            Kind::Ours { hub, published, clock } => {
                *published += 1;
                let read = Event::read(&event).expect("recorded events are events");
                let facts = Facts::of(&read, clock.now());
                let cursor = Cursor { tag: BusTag(1), position: Position::counted(*published) };
                let envelope = Envelope { facts, event: event.into() };
                hub.append(vec![TailEvent::new(cursor, envelope)]);
            }
            Kind::Plain(plain) => plain::tell(plain, &event),
            Kind::Tuned(tuned) => {
                let text = message(&event);
                let parts = (form == "list").then(|| serde_json::from_str(&text));
                let parts = parts.transpose().expect("events are JSON");
                tuned::publish(tuned, text, parts, kind_of(&event));
            }
            Kind::Floor(floor) => floor::publish(floor, &message(&event)),
            Kind::Gorilla(gorilla) => gorilla.publish(kind_of(&event), &message(&event)),
        }
    }
}

/// The message for a reader of all events.
fn message(event: &str) -> String {
    let flags = r#"{"pr":0,"open":0,"merge":0,"close":0,"devDay":0,"devYear":0,"repoYear":0}"#;
    format!(r#"{{"event":{event},"payload":{flags}}}"#)
}

fn kind_of(event: &str) -> &str {
    let behind = event.split_once("\"type\":\"").map_or("", |(_, behind)| behind);
    behind.split('"').next().unwrap_or_default()
}

fn ours(socket: TcpListener, clock: Clock) -> Kind {
    let mut options = ServeOptions::of(&config::defaults().server);
    // All readers share one address here, and may exceed the default limit.
    options.config.limits.connections = options.config.limits.connections.max(12_000);
    options.config.limits.per_address = options.config.limits.connections;
    let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
    let listener = Listener { socket, audience: Audience::Public };
    let Stop { soft, hard } = Stop::default();
    let nothing = Arc::new(NothingToOperate);
    tokio::spawn(serve::run(vec![listener], options, Arc::clone(&hub), nothing, soft, hard));
    Kind::Ours { hub, published: 0, clock }
}

/// The process that runs the readers.
pub struct Readers {
    process: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Readers {
    pub async fn start(address: &str, count: usize, params: &str) -> Self {
        let this = std::env::current_exe().expect("a program knows itself");
        let mut process = Command::new(this)
            .args([READERS, address, &count.to_string(), params])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process starts");
        let mut said = BufReader::new(process.stdout.take().expect("it is piped"));
        let waiting = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            said.read_line(&mut line).expect("it speaks");
            assert_eq!(line, "ready\n");
            said
        });
        Self { said: waiting.await.expect("no panic"), process }
    }

    /// Deliveries; median, 99th percentile and maximum latency in microseconds; closed connections.
    pub fn end(mut self) -> [f64; 5] {
        drop(self.process.stdin.take());
        let mut line = String::new();
        self.said.read_to_string(&mut line).expect("it speaks");
        assert!(self.process.wait().expect("it ends").success(), "the readers failed");
        let numbers: Vec<f64> = line.split_whitespace().flat_map(str::parse).collect();
        numbers.try_into().unwrap_or_else(|_| panic!("five numbers, not {line}"))
    }
}
/// The appliance behind the server; readers of `/sampling` never call it.
pub struct NothingToOperate;

impl Operate for NothingToOperate {
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }

    fn sync(&self) -> BoxFuture<'static, serve::SyncAnswer> {
        let message = "nothing is synced here".to_owned();
        Box::pin(async { serve::SyncAnswer { synced: false, failed: false, message } })
    }

    fn simulated(&self) -> bool {
        false
    }

    fn lists(&self) -> Vec<ListReport> {
        Vec::new()
    }

    fn status(&self, _: usize) -> serve::Status {
        serve::Status::default()
    }

    fn script(&self) -> ScriptState {
        ScriptState { name: String::new(), current: true, error: None }
    }

    fn archive(&self, _: serve::ArchiveRequest) -> BoxFuture<'static, serve::OpsAnswer> {
        let reason = "a benchmark has no archive".to_owned();
        Box::pin(async move { Err(OpsError { is_io: false, reason }) })
    }

    fn store(&self, _: StoreRequest) -> BoxFuture<'static, OpsAnswer> {
        let reason = "a benchmark has no store".to_owned();
        Box::pin(async move { Err(OpsError { is_io: false, reason }) })
    }
}
