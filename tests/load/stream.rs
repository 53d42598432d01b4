//! `/stream`: a thousand live readers with twenty queries, alone, and next to one reader that
//! replays the whole journal. `make bench ARGS="stream replay"` measures the replay alone.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ghpulse::clock::{Clock, Stopwatch};
use ghpulse::config;
use ghpulse::hub::{Hub, HubOptions, RetentionLimits, StreamJournal, TailEvent};
use ghpulse::model::envelope::{Envelope, Facts};
use ghpulse::model::event::Event;
use ghpulse::model::event_index::EventIndex;
use ghpulse::model::position::{BusTag, Cursor, Position};
use ghpulse::serve::{self, Audience, Listener, ServeOptions};
use ghpulse::store::keys::JournalKey;
use ghpulse::store::rows::push_journal;
use ghpulse::store::{Durability, Store, inspect};
use ghpulse::supervise::Stop;
use tokio::net::TcpListener;

use crate::fanout::{NothingToOperate, Readers};
use crate::measure::{Process, Usage, events, resident_bytes};
use crate::readers::STAMP_DIGITS;
use crate::report::Report;

/// The argument that starts this program as the case.
pub const CASE: &str = "case-of-stream";
/// Events in the replayed journal.
const KEPT: u64 = 200_000;
/// Events written per batch.
const BATCH: u64 = 1_000;
/// Live readers.
const READERS: usize = 1_000;
/// Interval between two live events: 100 a second.
const BETWEEN: Duration = Duration::from_millis(10);
/// Number of measured live events.
const MEASURED: usize = 1_000;
const SETTLE: Duration = Duration::from_secs(1);
/// Events sent to one reader, uncompressed and then deflated.
const FRAMES: u32 = 10_000;
const TAG: BusTag = BusTag(1);

const QUERIES: &str = "/stream
/stream?types=PushEvent
/stream?types=!PushEvent
/stream?types=PullRequestEvent
/stream?types=IssuesEvent,IssueCommentEvent
/stream?types=WatchEvent,ForkEvent
/stream?types=CreateEvent
/stream?keys=evt.push.*
/stream?keys=evt.pullrequest.*,evt.issues.*
/stream?keys=!evt.push.%23,evt.%23
/stream?sample=2
/stream?sample=10
/stream?repos=a*,b*,c*
/stream?repos=*/*.github.io,*/*-js
/stream?actors=!*bot*
/stream?actions=opened,closed
/stream?fields=event.sent_at,event.type,event.repo.name
/stream?types=PushEvent&fields=event.sent_at,event.actor.login
/stream?languages=Go,Rust,C*
/stream?types=*Comment*";

/// The argument that leaves out the live readers.
pub const ONLY_REPLAY: &str = "replay";
/// Replays without other readers, whose median counts: one takes less than a second.
const REPLAYS: usize = 5;
/// The row of a replay without other readers.
pub const REPLAY: &str = "replay alone, lines: ghpulse";
/// Prefix of a figure that the case prints.
const FIGURE: &str = "figure\t";
const COLUMNS: [&str; 8] = [
    "a second",
    "CPU each, us",
    "p50, ms",
    "p99, ms",
    "bytes an event",
    "of its JSON, %",
    "MB a second",
    "resident, MB",
];

/// Measures, in a separate process; with `args`, see [`case`].
pub fn run(report: &mut Report, args: &[&str]) {
    let about = format!(
        "{READERS} live readers with 20 queries at 100 events a second, and a reader that has a \
         journal of {KEPT} events replayed."
    );
    report.section("stream", &about);
    let this = std::env::current_exe().expect("a program knows itself");
    let case = Command::new(this).arg(CASE).args(args).stderr(Stdio::inherit()).output();
    let case = case.expect("a process starts");
    assert!(case.status.success(), "the case failed");
    for line in String::from_utf8_lossy(&case.stdout).lines() {
        let Some(figure) = line.strip_prefix(FIGURE) else { continue };
        let [row, column, value] = figure.split('\t').collect::<Vec<_>>()[..] else {
            panic!("three parts, not {figure}")
        };
        let column = COLUMNS.iter().find(|known| **known == column).expect("a known column");
        report.add("stream", row, column, value.parse().expect("a number"));
    }
}

fn figure(row: &str, column: &'static str, value: f64) {
    assert!(COLUMNS.contains(&column), "{column}");
    println!("{FIGURE}{row}\t{column}\t{value}");
}

/// Runs the case; with [`ONLY_REPLAY`] without live readers.
pub fn case(recorded: Option<&Path>, args: &[String]) {
    let (_, events) = events(recorded);
    let live: &[bool] =
        if args.iter().any(|arg| arg == ONLY_REPLAY) { &[] } else { &[false, true] };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let clock = Clock::system();
        let dir = tempfile::tempdir().expect("a directory can be made");
        let store = Store::open(dir.path(), Durability::Every(Duration::from_secs(1)), clock);
        let store = store.expect("the store opens");
        let bytes = fill(&store, &events).await;
        let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
        let kept = RetentionLimits { duration: Duration::from_secs(60), bytes };
        let (store_of, applied, simulated) = (store.clone(), Some(Position::counted(KEPT)), false);
        hub.attach_journal(StreamJournal { store: store_of, tag: TAG, applied, simulated, kept });
        let address = serve_hub(&hub).await;
        let mut told = KEPT;
        for &with_replay in live {
            let readers = Readers::start(&address, READERS, QUERIES).await;
            clock.sleep(SETTLE).await;
            let stop = Arc::new(AtomicBool::new(false));
            let replaying = with_replay.then(|| {
                let (address, stop) = (address.clone(), Arc::clone(&stop));
                std::thread::spawn(move || replay(&address, &stop))
            });
            let usage = Usage::now();
            let mut at = clock.instant();
            for event in events.iter().cycle().take(MEASURED) {
                told += 1;
                tell(&hub, event, told, clock);
                at += BETWEEN;
                clock.sleep(at.saturating_duration_since(clock.instant())).await;
            }
            clock.sleep(SETTLE).await;
            stop.store(true, Ordering::Relaxed);
            let cpu = usage.figures(1).cpu_seconds;
            let [arrived, p50, p99, ..] = readers.end();
            let row = if with_replay { "live beside a replay: ghpulse" } else { "live: ghpulse" };
            figure(row, "CPU each, us", cpu * 1e6 / arrived);
            figure(row, "p50, ms", p50 / 1_000.0);
            figure(row, "p99, ms", p99 / 1_000.0);
            figure(row, "resident, MB", float(resident_bytes(Process::This)) / 1e6);
            if let Some(replaying) = replaying {
                let [events, bytes] = replaying.join().expect("the replay does not panic");
                figure("replay beside live readers, lines: ghpulse", "a second", events);
                figure("replay beside live readers, lines: ghpulse", "MB a second", bytes / 1e6);
            }
        }
        let mut replays: Vec<[f64; 2]> =
            (0..REPLAYS).map(|_| replay(&address, &AtomicBool::new(true))).collect();
        replays.sort_by(|one, other| one[0].total_cmp(&other[0]));
        let [events, bytes_a_second] = replays[REPLAYS / 2];
        figure(REPLAY, "a second", events);
        figure(REPLAY, "MB a second", bytes_a_second / 1e6);
        stored(&store, bytes).await;
        for encoding in ["identity", "gzip", "zstd"] {
            on_the_wire(&address, encoding, bytes);
        }
        as_frames(&address);
    });
}

/// Serves a hub; returns the address.
pub async fn serve_hub(hub: &Arc<Hub>) -> String {
    let mut options = ServeOptions::of(&config::defaults().server);
    options.config.limits.per_address = options.config.limits.connections;
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = socket.local_addr().expect("it is bound").to_string();
    let listener = Listener { socket, audience: Audience::Public };
    let Stop { soft, hard } = Stop::default();
    let nothing = Arc::new(NothingToOperate);
    tokio::spawn(serve::run(vec![listener], options, Arc::clone(hub), nothing, soft, hard));
    address
}

/// The size of the journal on disk, after the background work done so far.
async fn stored(store: &Store, json: u64) {
    let families = store.read(inspect::families).await.expect("the store can be read");
    let journal = families.iter().find(|look| look.family == "journal").expect("it is there");
    let row = "in the journal on the disk: ghpulse";
    figure(row, "bytes an event", float(journal.about_bytes) / float(KEPT));
    figure(row, "of its JSON, %", float(journal.about_bytes) * 100.0 / float(json));
}

/// Bytes on the wire and CPU time of a replay, including its reader.
fn on_the_wire(address: &str, encoding: &str, json: u64) {
    let usage = Usage::now();
    let mut stream = ask(address, "", encoding);
    let mut bytes = 0;
    let mut space = vec![0; 1 << 20];
    loop {
        match stream.read(&mut space).expect("it is open") {
            0 => break,
            read => bytes += read as u64,
        }
    }
    let row = format!("replay as {encoding}, its reader included: ghpulse");
    figure(&row, "CPU each, us", usage.figures(1).cpu_seconds * 1e6 / float(KEPT));
    figure(&row, "bytes an event", float(bytes) / float(KEPT));
    figure(&row, "of its JSON, %", float(bytes) * 100.0 / float(json));
}

/// Requests what is in the journal now, all of it or what `params` choose.
pub fn ask(address: &str, params: &str, encoding: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let head = format!(
        "GET /stream?poll=1{params} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         accept: application/x-ndjson\r\naccept-encoding: {encoding}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it is open");
    stream
}

/// Size of the last events as frames, uncompressed and deflated, and the cost of deflating.
fn as_frames(address: &str) {
    const OFFER: &str = "sec-websocket-extensions: permessage-deflate\r\n";
    let [plain, deflated] = ["", OFFER].map(|headers| {
        let usage = Usage::now();
        let mut stream = TcpStream::connect(address).expect("the server listens");
        let head = format!(
            "GET /stream?poll=1&latest={FRAMES} HTTP/1.1\r\nhost: {address}\r\n\
             connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("it is open");
        let (mut bytes, mut space, mut end) = (0, vec![0; 1 << 20], Vec::new());
        // Up to the reason in its close frame.
        while !end.ends_with(b"that is all there is now") {
            let read = stream.read(&mut space).expect("it is open");
            assert!(read > 0, "it ends with a goodbye");
            bytes += read;
            end.extend_from_slice(&space[..read]);
            end.drain(..end.len().saturating_sub(64));
        }
        (f64::from(u32::try_from(bytes).expect("it is small")), usage.figures(1).cpu_seconds)
    });
    let frames = f64::from(FRAMES);
    figure("as WebSocket messages: ghpulse", "bytes an event", plain.0 / frames);
    let row = "deflated messages, what deflating costs: ghpulse";
    figure(row, "bytes an event", deflated.0 / frames);
    figure(row, "CPU each, us", (deflated.1 - plain.1) * 1e6 / frames);
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
fn float(count: u64) -> f64 {
    count as f64
}

async fn fill(store: &Store, events: &[String]) -> u64 {
    let mut bytes = 0;
    for first in (1..=KEPT).step_by(usize::try_from(BATCH).expect("it is small")) {
        let rows: Vec<(JournalKey, Vec<u8>)> = (first..first + BATCH)
            .map(|entry| {
                let at = usize::try_from(entry).expect("it is small") % events.len();
                let event = Event::read(&events[at]).expect("recorded events are events");
                let facts = Facts::of(&event, Clock::system().now());
                let mut row = Vec::new();
                push_journal(&mut row, &EventIndex::of(&event, &facts), &facts, event.text);
                bytes += event.text.len() as u64;
                (JournalKey { tag: TAG, position: Position::counted(entry) }, row)
            })
            .collect();
        let written = store.commit(move |batch| {
            for (key, row) in &rows {
                batch.put(key, row);
            }
            Ok(())
        });
        written.await.expect("the store takes it");
    }
    bytes
}

fn tell(hub: &Hub, event: &str, entry: u64, clock: Clock) {
    let stamp = format!("{{\"sent_at\":\"{:0STAMP_DIGITS$}\",", clock.now().micros());
    let event = event.replacen('{', &stamp, 1);
    let facts = Facts::of(&Event::read(&event).expect("it was one before"), clock.now());
    let cursor = Cursor { tag: TAG, position: Position::counted(entry) };
    hub.append(vec![TailEvent::new(cursor, Envelope { facts, event: event.into() })]);
}

/// Replays the journal at least once, and until it is stopped. Returns events and bytes per second.
fn replay(address: &str, stop: &AtomicBool) -> [f64; 2] {
    let watch = Stopwatch::start();
    let (mut lines, mut bytes, mut replays) = (0, 0, 0);
    let mut space = vec![0; 1 << 20];
    while replays == 0 || !stop.load(Ordering::Relaxed) {
        let mut stream = ask(address, "", "identity");
        loop {
            let read = stream.read(&mut space).expect("it is open");
            if read == 0 {
                break;
            }
            bytes += read;
            lines += memchr::memchr_iter(b'\n', &space[..read]).count();
        }
        replays += 1;
    }
    let seconds = watch.elapsed().as_secs_f64();
    [lines, bytes].map(|count| float(count as u64) / seconds)
}
