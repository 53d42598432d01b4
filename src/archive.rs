//! Import and export of recorded hours, in the naming and form of GH Archive:
//! `YYYY-MM-DD-H.json.gz`, one event per line, each in the file of the hour in which it was
//! created.
//!
//! **Import**: a file becomes the counts of one created hour, under a separate origin, in one
//! batch. Where such counts exist they replace the live ones of that hour; so importing twice, in
//! any order, or over an hour that was seen live, changes nothing. Imported events never enter the
//! journal or the language buckets.
//!
//! **Export**: from the journal. An hour's file is written [`SETTLED`] after the end of the hour;
//! later events of it are added to the file, which is replaced as a whole. A file is never visible
//! half written. The files are rows or columns ([`crate::config::HourFormat`]), or both with the
//! same events.

mod columns;
mod deliver;
mod error;
mod export;
mod import;
mod lines;
mod partial_file;
mod recorded;
mod sidecar;
mod sole_writer;
mod target;

pub use deliver::deliver;
pub use error::ArchiveError;
pub use export::{Exported, SETTLED, export, run, settled_until};
pub use import::{BrokenLine, ImportOutcome, Imported, import};
pub use sidecar::{WrittenHour, expect_no_lists_beside, is_simulated};
pub use target::ArchiveTarget;
