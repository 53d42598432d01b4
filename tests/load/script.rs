//! The merge script on an hour: 3,600 seconds of 20 languages, next to the native sum and a naive
//! implementation with maps of names.

use std::collections::HashMap;
use std::path::Path;

use ghpulse::clock::Stopwatch;
use ghpulse::script;

use crate::report::Report;

/// The shipped script.
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/merge_latest.rhai");
/// Runs of the naive implementation; as many as of the script.
const RUNS: usize = 50;

/// Measures the script.
pub fn run(report: &mut Report) {
    let benched = script::bench(Path::new(SHIPPED)).expect("the shipped script holds");
    let (seconds, languages) = (benched.seconds as usize, benched.languages);
    let about = format!("{seconds} seconds of {languages} languages, {} times.", benched.runs);
    report.section("script", &about);
    let mut add = |row: &str, micros| report.add("script", row, "a tick, ms", millis(micros));
    add("merge_latest.rhai: ghpulse", benched.script.median_micros);
    add("native sum", benched.native.median_micros);
    add("a HashMap<String, i64> a second, added up in Rust", maps(seconds, languages));
}

/// The median time of summing maps of names, in microseconds.
fn maps(seconds: usize, languages: usize) -> u64 {
    let bucket = |second: usize| -> HashMap<String, i64> {
        // As many distinct names as in the script's sample.
        (0..languages).map(|nth| (format!("Language {}", (second + nth * 13) % 32), 3)).collect()
    };
    let window: Vec<HashMap<String, i64>> = (0..seconds).map(bucket).collect();
    let mut times: Vec<u64> = (0..RUNS)
        .map(|_| {
            let watch = Stopwatch::start();
            let mut sum: HashMap<String, i64> = HashMap::new();
            for (name, n) in std::hint::black_box(&window).iter().flatten() {
                match sum.get_mut(name) {
                    Some(total) => *total += n,
                    None => drop(sum.insert(name.clone(), *n)),
                }
            }
            std::hint::black_box(sum);
            u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX)
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}

#[expect(clippy::cast_precision_loss, reason = "times of a benchmark are short")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}
