//! Recorded hours in and out, in the naming and shape of GH Archive: `YYYY-MM-DD-H.json.gz`, an
//! event a line, each in the file of the hour it was created in.
//!
//! **In**: a file becomes the counts of one created hour, under an origin of their own, in one
//! batch. Where an hour has such counts they stand for it, whatever the live feed has counted; so
//! importing twice, in any order, or over an hour that was seen live, changes nothing. Imported
//! events never enter the journal or the language buckets.
//!
//! **Out**: from the journal. An hour's file is written when the hour has been over for
//! [`SETTLED`]; events of it that come later are added to the file, which is replaced as a whole.
//! There is never half a file under a name.

mod deliver;
mod error;
mod export;
mod import;
mod lines;
mod name;
mod partial_file;
mod recorded;

use std::time::Duration;

pub use deliver::deliver;
pub use error::ArchiveError;
pub use export::{Exported, WrittenHour, export, run, settled_until};
pub use import::{BrokenLine, ImportOutcome, Imported, import};
pub use name::{HourName, file_name};

/// How long after its end an hour's file is written: GitHub serves most events within minutes,
/// some hours late. Those that come later go into a file that replaces the first.
pub const SETTLED: Duration = Duration::from_secs(600);

/// Buffers for reading and writing files, bytes.
const BUFFER: usize = 256 << 10;
