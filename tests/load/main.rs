//! `make bench`: what is measured, each beside something else in the same run. Nothing here passes
//! or fails; compare figures of one machine and one run.
//!
//! `cargo bench --bench load -- pipeline` runs one of: pipeline, start.

#![expect(unreachable_pub, reason = "a program of its own: public is what other files use")]

mod measure;
mod pipeline;

use std::path::PathBuf;

/// The recorded hour, when it is at hand.
const RECORDED: &str = "../shared/data/gharchive-2015-01-01-0.json.gz";

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let recorded = PathBuf::from(RECORDED);
    let recorded = recorded.exists().then_some(recorded);
    let runs: [(&str, &dyn Fn()); 2] =
        [("pipeline", &|| pipeline::run(recorded.as_deref())), ("start", &pipeline::start)];
    for (name, run) in runs {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run();
        }
    }
}
