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
//! half written. The files are rows or columns ([`HourFormat`]), or both with the same events.

mod columns;
mod deliver;
mod error;
mod export;
mod import;
mod lines;
mod partial_file;
mod recorded;
mod sidecar;

use std::path::PathBuf;
use std::time::Duration;

use crate::config::HourFormat;
use crate::model::hour_file;
use crate::model::window::Hour;

pub use deliver::deliver;
pub use error::ArchiveError;
pub use export::{Exported, WrittenHour, export, run, settled_until};
pub use import::{BrokenLine, ImportOutcome, Imported, import};

/// How long after its end an hour's file is written: GitHub serves most events within minutes, some
/// hours late. Later events go into a file that replaces the first.
pub const SETTLED: Duration = Duration::from_secs(600);

/// Where files go, and what is not shown in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Their directory.
    pub dir: PathBuf,
    /// Rows or columns.
    pub format: HourFormat,
    /// Whether e-mail addresses in commits are hashed, as GH Archive does.
    pub hashes_emails: bool,
}

impl Target {
    /// The file of an hour; of both, that of the rows.
    fn file(&self, hour: Hour) -> PathBuf {
        let has_rows = self.format.has_rows();
        let name = if has_rows { hour_file::rows_name } else { hour_file::columns_name };
        self.dir.join(name(hour))
    }
}

/// Buffer size for reading and writing files, bytes.
const BUFFER: usize = 256 << 10;
