//! CPU and time of this process, and events to measure with.

use std::io::Read as _;
use std::path::Path;

use ghpulse::clock::Stopwatch;
use ghpulse::config::{self, Config, Lookup, Request};

/// Clock ticks a second of `/proc`, on every Linux that runs us.
const TICKS: f64 = 100.0;

/// A moment to measure from.
pub struct Usage {
    watch: Stopwatch,
    cpu: f64,
}

/// What a measured piece of work came to.
pub struct Figures {
    pub count: usize,
    pub seconds: f64,
    pub cpu_seconds: f64,
}

impl Usage {
    pub fn now() -> Self {
        Self { cpu: cpu_seconds(), watch: Stopwatch::start() }
    }

    pub fn figures(&self, count: usize) -> Figures {
        let seconds = self.watch.elapsed().as_secs_f64();
        Figures { count, seconds, cpu_seconds: cpu_seconds() - self.cpu }
    }
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
    pub fn cpu_micros_each(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.count as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
    pub fn print(&self, what: &str) {
        println!(
            "{what}: {:.0} a second, {:.1} us CPU each ({:.2} s, {:.2} s CPU)",
            self.count as f64 / self.seconds,
            self.cpu_micros_each(),
            self.seconds,
            self.cpu_seconds
        );
    }
}

/// User and system time of this process so far, all threads.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has it");
    // The name may hold anything, spaces too: fields are counted behind its closing bracket.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(12) + ticks(13)) / TICKS
}

/// Bytes that this process has given to the disk so far, by the kernel's own count.
pub fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux has it");
    let line = io.lines().find(|line| line.starts_with("write_bytes:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Memory that this process holds, bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kilobytes = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

/// The configuration that holds when nothing is configured.
pub fn defaults() -> Config {
    let request = Request {
        lookup: Lookup::Nothing,
        directory: env!("CARGO_MANIFEST_DIR").into(),
        environment: Vec::new(),
        flags: Vec::new(),
        host: "load".to_owned(),
    };
    config::load(&request).unwrap_or_else(|_| panic!("the defaults hold")).config
}

/// An hour of events, and where it is from: recorded when it is at hand, else of the seeded world.
pub fn events(recorded: Option<&Path>) -> (String, Vec<String>) {
    if let Some(path) = recorded {
        let file = std::fs::File::open(path).expect("it was seen to be there");
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("gzip of UTF-8");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        return ("a recorded hour of 2015".to_owned(), lines);
    }
    println!("no recorded hour is at hand: measured with simulated events");
    let mut world = ghpulse::simulate::World::new(1, ghpulse::simulate::Shape::Old);
    let at = ghpulse::clock::Clock::system().now();
    let made = (0..7_700).map(|_| world.next_event(at).to_string());
    ("the seeded world, old shape".to_owned(), made.collect())
}
