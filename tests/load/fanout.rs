//! Readers of `/sampling` through the real server, beside a plain one: CPU a delivery, time from
//! admission to arrival, memory a connection.
//!
//! A case is a process that is the server, and a second one that is all its readers. What readers
//! cost is not in the server's figures, except that both share the machine's cores.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ghpulse::clock::Clock;
use ghpulse::hub::{Hub, HubOptions, TailEvent};
use ghpulse::model::envelope::{Envelope, Facts};
use ghpulse::model::event::Event;
use ghpulse::model::position::{BusTag, Cursor, Position};
use ghpulse::serve::{
    self, Audience, Listener, Operate, Part, Refusal, ScriptState, ServeOptions, StoreAnswer,
    StoreRequest,
};
use ghpulse::supervise::Stop;
use tokio::net::TcpListener;

use crate::measure::{Usage, defaults, events, resident_bytes};
use crate::plain::{self, Plain};
use crate::readers::{READERS, STAMP_DIGITS};

/// As what this program is started for one case.
pub const CASE: &str = "case-of-fanout";
/// Between two events: 100 a second.
const BETWEEN: Duration = Duration::from_millis(10);
/// Events before those that are measured.
const WARM_UP: usize = 100;
/// Events that are measured.
const MEASURED: usize = 500;
/// Long enough for what was sent last to arrive, and for buffers that are let go to be let go.
const SETTLE: Duration = Duration::from_secs(1);
/// Readers that come and go before memory is counted, so that it is the connections' own.
const FIRST_READERS: usize = 16;

const WHOLE: &str = r#"{"samplingRate":1}"#;
const LIST: &str = r#"{"samplingRate":1,"returnType":"list","filter":["event.sent_at","event.id",
"event.type","event.actor.login","event.repo.name",
"event.payload.pull_request.base.repo.language","payload.merge"]}"#;

/// Measures and prints.
pub fn run() {
    println!("fanout: 100 events a second through /sampling, beside a plain axum broadcast");
    for readers in ["200", "1000"] {
        for form in ["whole", "list"] {
            for server in ["ghpulse", "plain"] {
                let this = std::env::current_exe().expect("a program knows itself");
                let case = Command::new(this).args([CASE, server, form, readers]).status();
                assert!(case.expect("a process starts").success(), "a case failed");
            }
        }
    }
}

/// Runs `[server, form, readers]`.
pub fn case(recorded: Option<&Path>, args: &[String]) {
    let [server, form, count] = args else { panic!("three words, not {args:?}") };
    let params = if form == "list" { LIST } else { WHOLE };
    let count: usize = count.parse().expect("a number");
    let (_, events) = events(recorded);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let clock = Clock::system();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let mut server = Server::start(server, listener, clock);
        Readers::start(&address, FIRST_READERS, params).await.end();
        clock.sleep(SETTLE).await;
        let before = resident_bytes();
        let readers = Readers::start(&address, count, params).await;
        clock.sleep(SETTLE).await;
        let idle = resident_bytes();
        let mut at = clock.instant();
        let mut usage = Usage::now();
        for (n, event) in events.iter().cycle().take(WARM_UP + MEASURED).enumerate() {
            if n == WARM_UP {
                usage = Usage::now();
            }
            server.tell(event, if n < WARM_UP { 0 } else { clock.now().micros() });
            at += BETWEEN;
            clock.sleep(at.saturating_duration_since(clock.instant())).await;
        }
        clock.sleep(SETTLE).await;
        let busy = resident_bytes();
        let cpu = usage.figures(count * MEASURED);
        let [arrived, p50, p99, last] = readers.end();
        let connection_bytes = idle.saturating_sub(before) / count as u64;
        println!(
            "  {:<7} {count:>4} readers, {form:<5}: {:>5.2} us CPU a delivery, \
             p50 {:>3} ms, p99 {:>3} ms, last {:>3} ms, {} missing; \
             {:>2} KB a connection, {} MB resident in all",
            server.name(),
            cpu.cpu_micros_each(),
            p50 / 1_000,
            p99 / 1_000,
            last / 1_000,
            (cpu.count as u64).saturating_sub(arrived),
            connection_bytes / 1_000,
            busy / 1_000_000,
        );
    });
}

/// What is measured.
enum Server {
    Ours { hub: Arc<Hub>, told: u64, clock: Clock },
    Plain(Plain),
}

impl Server {
    fn start(which: &str, socket: TcpListener, clock: Clock) -> Self {
        if which == "plain" {
            return Self::Plain(plain::start(socket));
        }
        let mut options = ServeOptions::of(&defaults().server);
        // All readers have one address here.
        options.limits.per_address = options.limits.connections;
        let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
        let listener = Listener { socket, audience: Audience::Public };
        let Stop { soft, hard } = Stop::default();
        let nothing = Arc::new(NothingToOperate);
        tokio::spawn(serve::run(vec![listener], options, Arc::clone(&hub), nothing, soft, hard));
        Self::Ours { hub, told: 0, clock }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Ours { .. } => "ghpulse",
            Self::Plain(_) => "plain",
        }
    }

    fn tell(&mut self, event: &str, sent_at: i64) {
        let stamp = format!("{{\"sent_at\":\"{sent_at:0STAMP_DIGITS$}\",");
        let event = event.replacen('{', &stamp, 1);
        match self {
            Self::Plain(plain) => plain::tell(plain, &event),
            Self::Ours { hub, told, clock } => {
                *told += 1;
                let read = Event::read(&event).expect("recorded events are events");
                let facts = Facts::of(&read, clock.now());
                let cursor = Cursor { tag: BusTag(1), position: Position::counted(*told) };
                let envelope = Envelope { facts, event: event.into() };
                hub.append(vec![TailEvent::new(cursor, envelope)]);
            }
        }
    }
}

/// The process with the readers.
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

    /// Deliveries, and microseconds: median, 99th of a hundred, longest.
    pub fn end(mut self) -> [u64; 4] {
        drop(self.process.stdin.take());
        let mut line = String::new();
        self.said.read_to_string(&mut line).expect("it speaks");
        assert!(self.process.wait().expect("it ends").success(), "the readers failed");
        let numbers: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        numbers.try_into().unwrap_or_else(|_| panic!("four numbers, not {line}"))
    }
}

/// The appliance around the server, which no reader of `/sampling` asks for anything.
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

    fn status(&self, _: usize) -> serve::Status {
        serve::Status { json: serde_json::Value::Null, text: String::new() }
    }

    fn script(&self) -> ScriptState {
        ScriptState { name: String::new(), current: true, error: None }
    }

    fn archive(&self, _: serve::ArchiveRequest) -> BoxFuture<'static, serve::ArchiveAnswer> {
        let reason = "a benchmark has no archive".to_owned();
        Box::pin(async move { Err(Refusal { is_io: false, reason }) })
    }

    fn store(&self, _: StoreRequest) -> BoxFuture<'static, StoreAnswer> {
        let reason = "a benchmark has no store".to_owned();
        Box::pin(async move { Err(Refusal { is_io: false, reason }) })
    }
}
