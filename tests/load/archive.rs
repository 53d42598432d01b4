//! `ghpulse import` of an hour next to `zcat FILE | jq -c .id`: complete processes, alternating, so
//! that both see the same machine. Includes opening a new store and the final sync.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use ghpulse::clock::Stopwatch;

use crate::measure::{events, program};
use crate::report::Report;

/// Runs of each program.
const RUNS: usize = 3;
/// Loads the same file into a `DuckDB` table, with inferred types.
const DUCKDB: &str = "import duckdb, sys
duckdb.sql(f\"create table events as from read_json('{sys.argv[1]}', \
format='newline_delimited', union_by_name=true, ignore_errors=true)\")";

/// Measures the import.
pub fn run(report: &mut Report, recorded: Option<&Path>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (name, hour) = events(recorded);
    let file = recorded.map_or_else(|| simulated(dir.path(), &hour), Path::to_owned);
    let about = format!("{} events, from {name}; whole processes, by turns.", hour.len());
    report.section("import", &about);
    let [mut ours, mut jq_took, mut duck_took] = [const { Vec::new() }; 3];
    for run in 0..RUNS {
        let mut import = program();
        import.arg("import").arg("--data").arg(dir.path().join(format!("data{run}"))).arg(&file);
        ours.extend(seconds(&mut import));
        let mut jq = Command::new("sh");
        jq.args(["-c", "zcat \"$1\" | jq -c .id", "sh"]).arg(&file);
        jq_took.extend(seconds(&mut jq));
        let mut duck = Command::new("python3");
        duck.args(["-c", DUCKDB]).arg(&file);
        duck_took.extend(seconds(&mut duck));
    }
    add(report, "a new store each time: ghpulse", &ours, hour.len());
    add(report, "zcat FILE | jq -c .id", &jq_took, hour.len());
    add(report, "DuckDB, read_json into a table", &duck_took, hour.len());
}

/// Writes an hour of simulated events to a file, named after the hour of the first event.
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

/// Duration of a process in seconds; `None` if it is not installed or fails.
fn seconds(command: &mut Command) -> Option<f64> {
    let watch = Stopwatch::start();
    let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    ended.is_ok_and(|status| status.success()).then(|| watch.elapsed().as_secs_f64())
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
fn add(report: &mut Report, row: &str, seconds: &[f64], count: usize) {
    if seconds.is_empty() {
        return report.not_measured(&format!("import: {row}: it is not there or fails"));
    }
    for seconds in seconds {
        report.add("import", row, "events a second", count as f64 / *seconds);
    }
}
