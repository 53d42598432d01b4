//! `make bench`: measures ghpulse next to other programs in the same run, and writes
//! `target/bench/report.md` with charts. Nothing passes or fails here; compare only figures of one
//! report.
//!
//! `make bench ARGS="fanout 200 1000"` measures fan-out to these numbers of readers alone.
//! `make bench ARGS=fanout` runs one of: pipeline, script, fanout, enrich, plan, missed, start,
//! import, filter, stream, aggregates, attack, ledger, growth; start and the last two take numbers.
//! `GHPULSE_BENCH_RUNS=1` runs each once instead of three times, `GHPULSE_BENCH_LEFT=3600` looks at
//! the memory an hour after a crowd has left instead of a minute. A fan-out case, its readers, and
//! each opening of a store are separate processes, so that memory and CPU are attributed correctly;
//! this program starts itself for them.

#![expect(unreachable_pub, reason = "a program of its own: public is what other files use")]

mod aggregates;
mod archive;
mod attack;
mod enrich;
mod fanout;
mod filter;
mod growth;
mod ledger;
mod measure;
mod missed;
#[path = "../common/missed.rs"]
mod missing;
mod opponents;
mod pipeline;
mod plan;
#[path = "../common/plan.rs"]
mod planned;
mod readers;
mod report;
mod script;
mod start;
mod stream;

use std::path::PathBuf;

use report::{Aim, Bound, Report};

/// The same allocator as in the program.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A recorded hour, if available.
const RECORDED: &str = "../shared/data/gharchive-2015-01-01-0.json.gz";
/// Runs of each measurement.
const RUNS: usize = 3;

const WHOLE_200: &str = "200 readers, 100/s of 1300 B, whole: ghpulse";
const WHOLE_1000: &str = "1000 readers, 100/s of 1300 B, whole: ghpulse";

/// The targets, for a machine with two cores.
const AIMS: [Aim; 14] = [
    ("fanout", WHOLE_200, "CPU a delivery, us", Bound::AtMost(1.8)),
    ("fanout", WHOLE_1000, "CPU a delivery, us", Bound::AtMost(0.9)),
    (
        "fanout",
        WHOLE_200,
        "CPU a delivery, us",
        Bound::TimesRow(1.2, "200 readers, 100/s of 1300 B, whole: floor"),
    ),
    (
        "fanout",
        WHOLE_1000,
        "CPU a delivery, us",
        Bound::TimesRow(1.2, "1000 readers, 100/s of 1300 B, whole: floor"),
    ),
    (
        "fanout",
        "1000 readers, 100/s of 7000 B, whole: ghpulse",
        "CPU a delivery, us",
        Bound::TimesRow(1.2, "1000 readers, 100/s of 7000 B, whole: floor"),
    ),
    ("fanout", WHOLE_200, "p99, ms", Bound::AtMost(60.0)),
    ("fanout", WHOLE_1000, "p99, ms", Bound::AtMost(60.0)),
    ("fanout", WHOLE_1000, "a connection, KB", Bound::AtMost(7.0)),
    ("idle", "10000 readers, 0/s of 1300 B, idle: ghpulse", "CPU, % of a core", Bound::AtMost(1.0)),
    ("idle", "10000 readers, 0/s of 1300 B, idle: ghpulse", "a connection, KB", Bound::AtMost(7.0)),
    ("pipeline", pipeline::BATCH, "a second", Bound::AtLeast(40_000.0)),
    ("pipeline", pipeline::BATCH, "CPU each, us", Bound::AtMost(30.0)),
    ("stream", stream::REPLAY, "a second", Bound::AtLeast(250_000.0)),
    ("filter", "worst that is accepted: ghpulse", "an event, ns", Bound::AtMost(1_000.0)),
];

/// Ends the process unless the words name something to measure, or there are none.
fn expect_names(wanted: &[String], timed: &[&str], once: &[&str]) {
    let names = [timed, once].concat();
    let is_option = |word: &&String| **word == stream::ONLY_REPLAY || word.parse::<usize>().is_ok();
    let (options, others): (Vec<_>, Vec<_>) = wanted.iter().partition(is_option);
    let unknown = others.iter().find(|word| !names.contains(&word.as_str()));
    if unknown.is_some() || (others.is_empty() && !options.is_empty()) {
        let word = unknown.unwrap_or(&options[0]);
        eprintln!("`{word}` does not name what can be measured: {}", names.join(" "));
        std::process::exit(64);
    }
}

/// Measures once, and adds the results to the report.
type Measure<'a> = &'a dyn Fn(&mut Report);

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let recorded = PathBuf::from(RECORDED);
    let recorded = recorded.exists().then_some(recorded);
    let recorded = recorded.as_deref();
    match wanted.split_first() {
        Some((what, rest)) if what == fanout::CASE => return fanout::case(recorded, rest),
        Some((what, rest)) if what == stream::CASE => return stream::case(recorded, rest),
        Some((what, rest)) if what == start::CASE => return start::case(recorded, rest),
        Some((what, rest)) if what == readers::READERS => return readers::run(rest),
        _ => {}
    }
    let is_replay = wanted.iter().any(|word| word == stream::ONLY_REPLAY);
    let only: &[&str] = if is_replay { &[stream::ONLY_REPLAY] } else { &[] };
    let readers: Vec<usize> = wanted.iter().flat_map(|word| word.parse()).collect();
    let most = wanted.iter().find_map(|word| word.parse().ok());
    // First the measurements that vary between runs, then those that a second run would only
    // repeat.
    let timed: [(&str, Measure<'_>); 8] = [
        ("pipeline", &|report| pipeline::run(report, recorded)),
        ("script", &script::run),
        ("fanout", &|report| fanout::run(report, &readers)),
        ("start", &|report| start::run(report, most.unwrap_or(start::USUAL))),
        ("import", &|report| archive::run(report, recorded)),
        ("filter", &filter::run),
        ("stream", &|report| stream::run(report, only)),
        ("aggregates", &aggregates::run),
    ];
    let once: [(&str, &dyn Fn()); 6] = [
        ("enrich", &enrich::run),
        ("plan", &plan::run),
        ("missed", &missed::run),
        ("attack", &attack::run),
        ("ledger", &|| ledger::run(most)),
        ("growth", &|| growth::run(most)),
    ];
    expect_names(&wanted, &timed.map(|(name, _)| name), &once.map(|(name, _)| name));
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runs = std::env::var("GHPULSE_BENCH_RUNS").ok().and_then(|runs| runs.parse().ok());
    let mut report = Report::default();
    for _ in 0..runs.unwrap_or(RUNS) {
        for (name, measure) in timed {
            if is_wanted(name) {
                measure(&mut report);
            }
        }
    }
    if is_wanted("start") && most.is_none() {
        start::run(&mut report, start::LARGE);
    }
    for (name, run) in once {
        if is_wanted(name) {
            run();
        } else {
            report.not_measured(&format!("{name}: not asked for in this run"));
        }
    }
    for (name, _) in timed {
        if !is_wanted(name) {
            report.not_measured(&format!("{name}: not asked for in this run"));
        }
    }
    report.not_measured("the broker: `make bench-servers` measures it");
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let path = report.write(&PathBuf::from(target).join("bench"), &AIMS);
    println!("report: {}", path.expect("the target directory takes a file").display());
}
