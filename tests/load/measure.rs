//! CPU and wall-clock time of a process, and events for benchmarks.

use std::fmt::Write as _;
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ghpulse::clock::Stopwatch;

use crate::report::Report;

/// Number of events of one size, used in rotation.
const SIZED: usize = 500;
/// Clock ticks per second in `/proc`, on every supported Linux.
const TICKS: f64 = 100.0;

/// The program. It refuses variables that look like settings, as those of the benchmark do.
pub fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    for name in ["GHPULSE_BENCH_RUNS", "GHPULSE_BENCH_LEFT"] {
        program.env_remove(name);
    }
    program
}

/// The start of a measurement.
pub struct Usage {
    watch: Stopwatch,
    process: Process,
    cpu: f64,
}

/// The measured process.
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

/// The result of a measured piece of work.
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

    /// Pieces per second.
    #[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
    pub fn each_second(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    /// Adds pieces per second and CPU per piece to a table.
    pub fn add(&self, report: &mut Report, section: &str, row: &str) {
        report.add(section, row, "a second", self.each_second());
        report.add(section, row, "CPU each, us", self.cpu_micros_each());
    }
}

/// User and system time of a process so far, over all threads.
fn cpu_seconds(process: Process) -> f64 {
    let stat = process.file("stat");
    // The name may contain anything, even spaces, so fields are counted after its closing bracket.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(12) + ticks(13)) / TICKS
}

/// Bytes that this process has written to the disk so far, as counted by the kernel.
pub fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux has it");
    let line = io.lines().find(|line| line.starts_with("write_bytes:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Resident memory of a process in bytes.
pub fn resident_bytes(process: Process) -> u64 {
    let status = process.file("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kilobytes = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    kilobytes.unwrap_or(0) << 10
}

/// Bytes of the files in a directory and in those below it, as the disk counts them.
pub fn bytes_on_disk(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    // A file may be removed meanwhile.
    let found = entries.flatten().filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)));
    let size = |(path, about): (PathBuf, Metadata)| {
        if about.is_dir() { bytes_on_disk(&path) } else { about.blocks() * 512 }
    };
    found.map(size).sum()
}

/// This percentile of some samples.
pub fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() * percent / 100]
}

/// Events of this size: shorter ones are padded with text of others, which compresses like events;
/// longer ones are omitted.
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

/// An hour of events and its origin: a recorded hour if available, otherwise the seeded world.
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
    // An hour that is over can be imported.
    let at = ghpulse::clock::Clock::system().now().minus(Duration::from_secs(3_600));
    let made = (0..7_700).map(|_| world.next_event(at).to_string());
    ("the seeded world, old shape".to_owned(), made.collect())
}
