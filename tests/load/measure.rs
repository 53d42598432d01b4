//! CPU and time of a process, and events to measure with.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use ghpulse::clock::Stopwatch;
use ghpulse::config::{self, Config, Lookup, Request};

use crate::report::Report;

/// Events of one size; they are used in turn.
const SIZED: usize = 500;
/// Clock ticks a second of `/proc`, on every Linux that runs us.
const TICKS: f64 = 100.0;

/// A moment to measure from.
pub struct Usage {
    watch: Stopwatch,
    process: Process,
    cpu: f64,
}

/// The process that is measured.
#[derive(Clone, Copy)]
pub enum Process {
    This,
    Other(u32),
}

impl Process {
    fn file(self, name: &str) -> String {
        let path = match self {
            Self::This => format!("/proc/self/{name}"),
            Self::Other(pid) => format!("/proc/{pid}/{name}"),
        };
        std::fs::read_to_string(path).expect("Linux has it")
    }
}

/// What a measured piece of work came to.
pub struct Figures {
    pub count: usize,
    pub seconds: f64,
    pub cpu_seconds: f64,
}

impl Usage {
    pub fn now() -> Self {
        Self::of(Process::This)
    }

    pub fn of(process: Process) -> Self {
        Self { cpu: cpu_seconds(process), process, watch: Stopwatch::start() }
    }

    pub fn figures(&self, count: usize) -> Figures {
        let seconds = self.watch.elapsed().as_secs_f64();
        Figures { count, seconds, cpu_seconds: cpu_seconds(self.process) - self.cpu }
    }
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
    pub fn cpu_micros_each(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.count as f64
    }

    /// Pieces a second.
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
    pub fn each_second(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    /// Adds pieces a second and CPU each to a table.
    pub fn add(&self, report: &mut Report, section: &str, row: &str) {
        report.add(section, row, "a second", self.each_second());
        report.add(section, row, "CPU each, us", self.cpu_micros_each());
    }
}

/// User and system time of a process so far, all threads.
fn cpu_seconds(process: Process) -> f64 {
    let stat = process.file("stat");
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

/// Memory that a process holds, bytes.
pub fn resident_bytes(process: Process) -> u64 {
    let status = process.file("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kilobytes = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

/// Events of that size: shorter ones get a string made of the text of others, which deflates as
/// events do; longer ones are left out.
pub fn sized(events: &[String], bytes: usize) -> Vec<String> {
    const FRAME: usize = 14; // "padding":"…",
    let text: String = events.iter().take(64).map(String::as_str).collect();
    let text: Vec<char> = text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').collect();
    let fitting = events.iter().filter(|event| event.len() + FRAME <= bytes).take(SIZED);
    let padded = fitting.enumerate().map(|(n, event)| {
        let room = bytes - event.len() - FRAME;
        let mut start = String::from("{\"padding\":\"");
        start.extend(text.iter().cycle().skip(n * 31 % text.len()).take(room));
        let _ = write!(start, "\",");
        event.replacen('{', &start, 1)
    });
    let padded: Vec<String> = padded.collect();
    assert!(!padded.is_empty(), "no event has fewer than {bytes} bytes");
    padded
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
