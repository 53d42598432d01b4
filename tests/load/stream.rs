//! `/stream`: a thousand live readers with twenty queries, alone, and beside one reader that has
//! the whole journal replayed to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ghpulse::clock::{Clock, Stopwatch};
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
use crate::measure::{Usage, defaults, events, resident_bytes};
use crate::readers::STAMP_DIGITS;

/// As what this program is started for the case.
pub const CASE: &str = "case-of-stream";
/// Events of the journal that is replayed.
const KEPT: u64 = 200_000;
/// Events written at once.
const BATCH: u64 = 1_000;
/// Live readers.
const READERS: usize = 1_000;
/// Between two live events: 100 a second.
const BETWEEN: Duration = Duration::from_millis(10);
/// Live events that are measured.
const MEASURED: usize = 1_000;
const SETTLE: Duration = Duration::from_secs(1);
/// Events that are told to one reader as they are, and deflated.
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

/// Measures and prints, in a process of its own.
pub fn run() {
    println!("stream: {READERS} readers with 20 queries at 100 events a second, and a replay");
    let this = std::env::current_exe().expect("a program knows itself");
    let case = Command::new(this).arg(CASE).status();
    assert!(case.expect("a process starts").success(), "the case failed");
}

/// The case.
pub fn case(recorded: Option<&Path>) {
    let (_, events) = events(recorded);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let clock = Clock::system();
        let dir = tempfile::tempdir().expect("a directory can be made");
        let store = Store::open(dir.path(), Durability::Every(Duration::from_secs(1)), clock);
        let store = store.expect("the store opens");
        let bytes = fill(&store, &events).await;
        println!("  a journal of {KEPT} events, {} MB as JSON", bytes / 1_000_000);
        let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
        let kept = RetentionLimits { duration: Duration::from_secs(60), bytes };
        let applied = Some(Position::counted(KEPT));
        hub.attach_journal(StreamJournal { store: store.clone(), tag: TAG, applied, kept });
        let mut options = ServeOptions::of(&defaults().server);
        options.limits.per_address = options.limits.connections;
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = socket.local_addr().expect("it is bound").to_string();
        let listener = Listener { socket, audience: Audience::Public };
        let Stop { soft, hard } = Stop::default();
        let nothing = Arc::new(NothingToOperate);
        tokio::spawn(serve::run(vec![listener], options, Arc::clone(&hub), nothing, soft, hard));
        let mut told = KEPT;
        for with_replay in [false, true] {
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
            let [arrived, p50, p99, last] = readers.end();
            println!(
                "  {} {arrived} deliveries: {:.2} us CPU each, p50 {} ms, p99 {} ms, last {} ms; \
                 {} MB resident",
                if with_replay { "beside a replay:" } else { "live alone:" },
                cpu * 1e6 / f64::from(u32::try_from(arrived).unwrap_or(u32::MAX)),
                p50 / 1_000,
                p99 / 1_000,
                last / 1_000,
                resident_bytes() / 1_000_000,
            );
            if let Some(replaying) = replaying {
                println!("  {}", replaying.join().expect("the replay does not panic"));
            }
        }
        println!(
            "  {}",
            replay(&address, &AtomicBool::new(true)).replace("replay", "replay alone")
        );
        stored(&store, bytes).await;
        for encoding in ["identity", "gzip", "zstd"] {
            on_the_wire(&address, encoding, bytes);
        }
        as_frames(&address);
    });
}

/// What the journal takes on the disk, with what its background work has made of it so far.
async fn stored(store: &Store, json: u64) {
    let families = store.read(inspect::families).await.expect("the store can be read");
    let journal = families.iter().find(|look| look.family == "journal").expect("it is there");
    println!(
        "  the journal takes {} bytes an event of {} bytes of JSON",
        journal.about_bytes / KEPT,
        json / KEPT,
    );
}

/// What a replay takes on the wire, and of the processor, its reader included.
fn on_the_wire(address: &str, encoding: &str, json: u64) {
    let usage = Usage::now();
    let mut stream = ask(address, encoding);
    let mut bytes = 0;
    let mut space = vec![0; 1 << 20];
    loop {
        match stream.read(&mut space).expect("it is open") {
            0 => break,
            read => bytes += read as u64,
        }
    }
    println!(
        "  a replay as {encoding}: {} bytes an event on the wire ({} % of its JSON), {:.1} us CPU",
        bytes / KEPT,
        bytes * 100 / json,
        usage.figures(1).cpu_seconds * 1e6 / f64::from(u32::try_from(KEPT).expect("it is small")),
    );
}

/// Asks for the whole journal.
fn ask(address: &str, encoding: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let head = format!(
        "GET /stream?poll=1 HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         accept: application/x-ndjson\r\naccept-encoding: {encoding}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("it is open");
    stream
}

/// What the last events take as frames, as they are and deflated, and what deflating costs.
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
        // Up to the reason of its close frame.
        while !end.ends_with(b"that is all there is now") {
            let read = stream.read(&mut space).expect("it is open");
            assert!(read > 0, "it ends with a goodbye");
            bytes += read;
            end.extend_from_slice(&space[..read]);
            end.drain(..end.len().saturating_sub(64));
        }
        (f64::from(u32::try_from(bytes).expect("it is small")), usage.figures(1).cpu_seconds)
    });
    println!(
        "  as frames: {:.0} bytes an event, deflated {:.0} ({:.1} times less), for {:.1} us CPU each",
        plain.0 / f64::from(FRAMES),
        deflated.0 / f64::from(FRAMES),
        plain.0 / deflated.0,
        (deflated.1 - plain.1) * 1e6 / f64::from(FRAMES),
    );
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

/// Has the journal replayed at least once, and until it is stopped.
fn replay(address: &str, stop: &AtomicBool) -> String {
    let watch = Stopwatch::start();
    let (mut lines, mut bytes, mut replays) = (0, 0, 0);
    let mut space = vec![0; 1 << 20];
    while replays == 0 || !stop.load(Ordering::Relaxed) {
        let mut stream = ask(address, "identity");
        loop {
            let read = stream.read(&mut space).expect("it is open");
            if read == 0 {
                break;
            }
            bytes += read;
            lines += space[..read].windows(2).filter(|two| *two == b"}\n").count();
        }
        replays += 1;
    }
    let seconds = watch.elapsed().as_secs_f64();
    let rate = |n: usize| f64::from(u32::try_from(n / 1_000).unwrap_or(u32::MAX)) / seconds;
    format!(
        "replay: {lines} events in {seconds:.1} s, {:.0} thousand events/s, {:.0} MB/s",
        rate(lines),
        rate(bytes) / 1_000.0
    )
}
