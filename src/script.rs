//! Scripts: files that users edit while the appliance runs determine `/language/latest` and the
//! aggregates. The only module that uses the `rhai` crate.
//!
//! Guarantees: a script only computes; it can neither block the tick nor exhaust time or memory; a
//! broken script never replaces a working one; an error has file, line and column. The objects a
//! script sees are native and immutable, while the loop is the script's, so that an hour is merged
//! in a few milliseconds and the merge can be read and changed.
//!
//! Reading order: `sum` and `objects` (what a script sees), `engine` and `meter` (limits), `run`
//! (one run), `host` (the script in force), `watch` (saved files), `report` (the command line). The
//! users' page is `scripts/README.md`.

mod diagnostic;
mod engine;
mod host;
mod live;
mod meter;
mod metered;
mod objects;
mod report;
pub mod rule;
mod rules;
mod run;
mod sample;
mod shipped;
mod sum;
mod text;
mod trials;
pub(crate) mod usage;
mod watch;

pub use diagnostic::ScriptDiagnostic;
pub use host::{Merged, ScriptHost, ScriptStatus};
pub use live::LiveWindow;
pub use report::{Benched, Checked, Cost, TrialRun, bench, check, missing_paths};
pub use run::{Compiled, SOURCE_BYTES, ScriptKind, prepare};
pub use shipped::{MERGE_FILE, SHIPPED, SHIPPED_ALL, has_no_scripts, write_out};
pub use trials::Trials;
pub use watch::watch;

#[cfg(test)]
mod tests;
