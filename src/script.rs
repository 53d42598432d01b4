//! The scripts: what `/language/latest` and the aggregates say is decided by files that users edit
//! while the appliance runs. Door to the `rhai` crate.
//!
//! Promises: a script computes and does nothing else; it can neither stop the tick nor run away
//! with time or memory; a broken one never takes the place of a working one; what is wrong is said
//! with file, line and column. The objects a script sees are native and immutable, the loop is
//! the script's: so the hour is merged in a few milliseconds and can still be read and changed.
//!
//! Read in this order: `sum` and `objects` (what a script sees), `engine` and `meter` (how far it
//! may go), `run` (one run), `host` (which one is in force), `watch` (saving), `report` (the
//! command line). The users' page is `scripts/README.md`.

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
pub use host::{InForce, Merged, ScriptHost, ScriptStatus};
pub use live::LiveWindow;
pub use report::{Benched, Checked, Cost, Trial, bench, check, check_aggregate, missing_paths};
pub use run::{Compiled, SOURCE_BYTES, ScriptKind, prepare};
pub use shipped::{MERGE_FILE, SHIPPED, SHIPPED_ALL, has_no_scripts, write_out};
pub use trials::Trials;
pub use watch::watch;

#[cfg(test)]
mod tests;
