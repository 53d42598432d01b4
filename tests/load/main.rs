//! `make bench`: what is measured, each beside something else in the same run. Nothing here passes
//! or fails; compare figures of one machine and one run.
//!
//! `cargo bench --bench load -- fanout` runs one of: pipeline, script, fanout, enrich, plan,
//! missed, start, import, filter, stream, aggregates, attack.
//! A case of fan-out is a process of its own, and so are its readers, so that memory and CPU are
//! whose they are: this program starts itself again for both.

#![expect(unreachable_pub, reason = "a program of its own: public is what other files use")]

mod aggregates;
mod archive;
mod attack;
mod enrich;
mod fanout;
mod filter;
mod measure;
mod missed;
#[path = "../common/missed.rs"]
mod missing;
mod pipeline;
mod plain;
mod plan;
mod readers;
mod script;
mod stream;

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
        Some((what, _)) if what == stream::CASE => return stream::case(recorded),
        Some((what, rest)) if what == readers::READERS => return readers::run(rest),
        _ => {}
    }
    let runs: [(&str, &dyn Fn()); 12] = [
        ("pipeline", &|| pipeline::run(recorded)),
        ("script", &script::run),
        ("fanout", &fanout::run),
        ("enrich", &enrich::run),
        ("plan", &plan::run),
        ("missed", &missed::run),
        ("start", &pipeline::start),
        ("import", &|| archive::run(recorded)),
        ("filter", &filter::run),
        ("stream", &stream::run),
        ("aggregates", &aggregates::run),
        ("attack", &attack::run),
    ];
    for (name, run) in runs {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run();
        }
    }
}
