//! Opening a store against what it remembers: after a clean stop, and after the process was killed
//! in the midst of its work. Time until the first event could be admitted, resident memory, and
//! size on the disk.
//!
//! `make bench ARGS="start 1000000"` takes that many claims of events; without a number 10 million,
//! and once 100 million. Each opening is a process by itself. The files are in the page cache.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ghpulse::apply::numbers::NodeCounters;
use ghpulse::clock::{Clock, Stopwatch};
use ghpulse::model::event::{EventId, EventKey};
use ghpulse::model::window::Day;
use ghpulse::store::keys::SeenKey;
use ghpulse::store::{Durability, Store};

use crate::measure::{Process, bytes_on_disk, events, percentile, resident_bytes};
use crate::pipeline::{self, RunningStages};
use crate::report::Report;

/// The argument that starts this program as one process of a case.
pub const CASE: &str = "case-of-start";
/// Claims of the usual case, and of the large one, which runs once.
pub const USUAL: u64 = 10_000_000;
pub const LARGE: u64 = 100_000_000;
/// Claims of one batch.
const TOGETHER: u64 = 50_000;
/// Claims that are looked up.
const LOOKS: usize = 5_000;
/// Claims between two lines of progress.
const PROGRESS: u64 = 10_000_000;
/// The work of a process: to open a store, or to write until it is killed.
const OPEN: &str = "open";
const WRITE: &str = "write";
/// What the writing process says half-way.
const HALF: &str = "half";

/// Measures a store with this many claims.
pub fn run(report: &mut Report, claims: u64) {
    report.section("start", "Opening a store, until the first event could be admitted.");
    let dir = tempfile::tempdir().expect("a temporary directory");
    fill(dir.path(), claims);
    let row = format!("{claims} seen keys, after a clean stop: ghpulse");
    open_in_process(report, &row, dir.path(), claims);
    kill_while_it_writes(dir.path());
    let row = format!("{claims} seen keys, killed while it wrote: ghpulse");
    open_in_process(report, &row, dir.path(), claims);
}

/// Runs one process of a case.
pub fn case(recorded: Option<&Path>, arguments: &[String]) {
    match arguments {
        [work, dir, claims] if work == OPEN => {
            open(Path::new(dir), claims.parse().expect("a number"));
        }
        [work, dir] if work == WRITE => write(Path::new(dir), recorded),
        _ => panic!("not {arguments:?}"),
    }
}

fn command(work: &str, dir: &Path) -> Command {
    let this = std::env::current_exe().expect("a program knows itself");
    let mut command = Command::new(this);
    command.args([CASE, work]).arg(dir).stderr(Stdio::inherit());
    command
}

/// Claims events as admission does, and closes the store.
fn fill(dir: &Path, claims: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let clock = Clock::system();
    let interval = Durability::Every(Duration::from_secs(5));
    let store = Store::open(dir, interval, clock).expect("a new store opens");
    let (today, watch) = (clock.now().day(), Stopwatch::start());
    for first in (0..claims).step_by(usize::try_from(TOGETHER).expect("it is small")) {
        let put = store.commit(move |batch| {
            for number in first..claims.min(first + TOGETHER) {
                batch.put(&claim(today, number), b"");
            }
            Ok(())
        });
        runtime.block_on(put).expect("the store takes it");
        let done = first + TOGETHER;
        if done.is_multiple_of(PROGRESS) {
            println!("  {done} claims are written after {:.0} s", watch.elapsed().as_secs_f64());
        }
    }
}

/// Opens the store in a process, which then closes it.
fn open_in_process(report: &mut Report, row: &str, dir: &Path, claims: u64) {
    let log = log_bytes(dir);
    let opened = command(OPEN, dir).arg(claims.to_string()).output().expect("a process starts");
    assert!(opened.status.success(), "the store does not open");
    let printed = String::from_utf8_lossy(&opened.stdout);
    let figures: Vec<f64> = printed.split_whitespace().flat_map(str::parse).collect();
    let [seconds, resident, disk, p50, p99] = figures[..] else { panic!("not five: {printed}") };
    report.add("start", row, "until ready, s", seconds);
    report.add("start", row, "resident, MB", resident / 1e6);
    report.add("start", row, "on the disk, MB", disk / 1e6);
    report.add("start", row, "log to replay, MB", log / 1e6);
    report.add("start", row, "look-up of any claim, p50, us", p50);
    report.add("start", row, "look-up of any claim, p99, us", p99);
}

/// Prints seconds until ready, resident bytes then, bytes on the disk, and median and 99th
/// percentile of the microseconds that it takes to find any of the claims.
fn open(dir: &Path, claims: u64) {
    let clock = Clock::system();
    let watch = Stopwatch::start();
    let store = Store::open(dir, Durability::EveryBatch, clock).expect("it opens again");
    let numbers = NodeCounters::load(&store, 3_600, clock).expect("it is read");
    numbers.refresh(&store, clock.now().year()).expect("it is read");
    let seconds = watch.elapsed().as_secs_f64();
    let (resident, disk) = (resident_bytes(Process::This), bytes_on_disk(dir));
    let (today, mut random) = (clock.now().day(), fastrand::Rng::with_seed(7));
    let mut looks = |_| {
        let key = claim(today, random.u64(..claims));
        let watch = Stopwatch::start();
        let found = store.reader().get(&key).expect("it is read");
        let took = watch.elapsed().as_secs_f64() * 1e6;
        assert!(found.is_some(), "the claim was written");
        took
    };
    let mut took: Vec<f64> = (0..LOOKS).map(&mut looks).collect();
    let [p50, p99] = [50, 99].map(|percent| percentile(&mut took, percent));
    println!("{seconds} {resident} {disk} {p50} {p99}");
}

/// The claim of an event. Ids are spread like those of two sequences.
fn claim(today: Day, number: u64) -> SeenKey {
    let id = EventId::Number(number.wrapping_mul(0x9e37_79b9) | 1 << 33);
    SeenKey::new(today, &EventKey { id, kind: "PushEvent".to_owned() })
}

/// Kills a process without warning that sends events through the pipeline into the store.
fn kill_while_it_writes(dir: &Path) {
    let mut writing = command(WRITE, dir).stdout(Stdio::piped()).spawn().expect("it starts");
    let said = BufReader::new(writing.stdout.take().expect("it is piped"));
    let is_writing = said.lines().map_while(Result::ok).any(|line| line == HALF);
    writing.kill().expect("it runs");
    writing.wait().expect("it ends");
    assert!(is_writing, "it ended too early");
}

/// Sends events through the pipeline, and reports the middle.
fn write(dir: &Path, recorded: Option<&Path>) {
    let pages = pipeline::pages(&events(recorded).1);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let clock = Clock::system();
        let store = Store::open(dir, Durability::EveryBatch, clock).expect("it opens");
        let stages = RunningStages::start(&store, clock);
        for (n, together) in pages.chunks(3).enumerate() {
            if n == pages.len() / 3 / 2 {
                println!("{HALF}");
            }
            stages.admit(together).await;
        }
        std::future::pending::<()>().await;
    });
}

/// Bytes of the write-ahead log.
#[expect(clippy::cast_precision_loss, reason = "a size in bytes")]
fn log_bytes(dir: &Path) -> f64 {
    let files = std::fs::read_dir(dir.join("db")).expect("the store is there").flatten();
    let logs = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "log"));
    logs.map(|log| log.metadata().map_or(0, |about| about.len())).sum::<u64>() as f64
}
