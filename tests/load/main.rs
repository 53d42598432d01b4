//! `make bench`: what is measured, each beside something else in the same run. Nothing here passes
//! or fails; compare figures of one machine and one run.
//!
//! `cargo bench --bench load -- fanout` runs one of: pipeline, script, fanout, enrich, plan, start,
//! import.
//! A case of fan-out is a process of its own, and so are its readers, so that memory and CPU are
//! whose they are: this program starts itself again for both.

#![expect(unreachable_pub, reason = "a program of its own: public is what other files use")]

mod archive;
mod enrich;
mod fanout;
mod measure;
mod pipeline;
mod plain;
mod plan;
mod readers;
mod script;

use std::path::PathBuf;

/// The recorded hour, when it is at hand.
const RECORDED: &str = "../shared/data/gharchive-2015-01-01-0.json.gz";

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let recorded = PathBuf::from(RECORDED);
    let recorded = recorded.exists().then_some(recorded);
    let recorded = recorded.as_deref();
    match wanted.split_first() {
        Some((what, rest)) if what == fanout::CASE => return fanout::case(recorded, rest),
        Some((what, rest)) if what == readers::READERS => return readers::run(rest),
        _ => {}
    }
    let runs: [(&str, &dyn Fn()); 7] = [
        ("pipeline", &|| pipeline::run(recorded)),
        ("script", &script::run),
        ("fanout", &fanout::run),
        ("enrich", &enrich::run),
        ("plan", &plan::run),
        ("start", &pipeline::start),
        ("import", &|| archive::run(recorded)),
    ];
    for (name, run) in runs {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run();
        }
    }
}
