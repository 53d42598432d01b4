//! `ghpulse import` of an hour beside `zcat FILE | jq -c .id`: whole processes, by turns, so that
//! both have the same machine; opening a new store and the sync at the end included.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use ghpulse::clock::Stopwatch;

use crate::measure::events;

/// Runs of each.
const RUNS: usize = 7;

/// Measures and prints.
pub fn run(recorded: Option<&Path>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (name, hour) = events(recorded);
    let file = recorded.map_or_else(|| simulated(dir.path(), &hour), Path::to_owned);
    println!("import: {} events, from {name}", hour.len());
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let mut import = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
        import.arg("import").arg("--data").arg(dir.path().join(format!("data{run}"))).arg(&file);
        ours.extend(seconds(&mut import));
        let mut jq = Command::new("sh");
        jq.args(["-c", "zcat \"$1\" | jq -c .id", "sh"]).arg(&file);
        theirs.extend(seconds(&mut jq));
    }
    print("ghpulse import, a new store each time", &mut ours, hour.len());
    print("zcat FILE | jq -c .id", &mut theirs, hour.len());
}

/// An hour of simulated events as a file; named after the hour of the first of them.
fn simulated(dir: &Path, events: &[String]) -> PathBuf {
    let at = events[0].rsplit("\"created_at\":\"").next().unwrap_or_default();
    let hour = at[11..13].trim_start_matches('0');
    let hour = if hour.is_empty() { "0" } else { hour };
    let path = dir.join(format!("{}-{hour}.json.gz", &at[..10]));
    let file = std::fs::File::create(&path).expect("a temporary directory");
    let mut gzip = GzEncoder::new(file, Compression::default());
    for event in events {
        std::io::Write::write_all(&mut gzip, format!("{event}\n").as_bytes()).expect("it is free");
    }
    gzip.finish().expect("it is free");
    path
}

/// How long a process took; nothing when it is not there or fails.
fn seconds(command: &mut Command) -> Option<f64> {
    let watch = Stopwatch::start();
    let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    ended.is_ok_and(|status| status.success()).then(|| watch.elapsed().as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
fn print(what: &str, seconds: &mut [f64], count: usize) {
    seconds.sort_by(f64::total_cmp);
    let (Some(best), Some(median)) = (seconds.first(), seconds.get(seconds.len() / 2)) else {
        return println!("  {what}: cannot be run here");
    };
    println!(
        "  {what}: {:.0} events a second, {median:.3} s (best of {}: {best:.3} s)",
        count as f64 / median,
        seconds.len()
    );
}
