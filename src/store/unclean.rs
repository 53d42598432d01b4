//! Whether the end of the write-ahead log was lost, and what is done about it.
//!
//! `RocksDB` replays its log up to the first record that it cannot read. So a log whose tail was
//! lost (a power cut with `store.sync` at intervals), cut or damaged looks like a shorter history,
//! and positions that readers hold would be given to other events. Therefore the number of the
//! last write is remembered beside the database, in the file `WRITTEN`, and compared with what the
//! log brings back:
//!
//! - Fewer writes than remembered: the difference is lost, whatever the reason.
//! - As many, after a process that was killed: nothing is lost. The file is written without a sync,
//!   as the log is; both are in the system's memory, which a killed process does not take away.
//! - As many, but the machine was started anew without a clean stop, and the log was synced at
//!   intervals: the last interval may be lost, and nothing can tell. It is taken for lost.
//!
//! With [`super::Durability::EveryBatch`] the number is remembered after the sync, so after a power
//! cut it is at most as far as the log.
//!
//! After a loss the entries of the embedded bus continue far behind every position that can have
//! been given away, as after a restore, and readers get a gap.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::database::Database;
use super::keys::MetaKey;
use super::{Batch, Durability, ENTRIES, StoreError, batch, gaps, lock};
use crate::model::gap::{Gap, GapReason};
use crate::model::position::{Cursor, Position};
use crate::model::window::Timestamp;

/// The file beside the database.
pub(super) const WRITTEN: &str = "WRITTEN";
/// The file is one line; more is not read.
const LINE_BYTES: u64 = 256;
/// Where Linux names this start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// A boot's name where the system has none: then every unclean end may have been a power cut.
const NO_BOOT: &str = "-";
/// After a loss the entries of the embedded bus continue this far behind: more than can have been
/// given away, so that no cursor ever names two events.
pub(super) const ENTRIES_APART: i64 = 1 << 32;

/// What was lost of the end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostTail {
    /// When it was found.
    pub noticed_at: Timestamp,
    /// How many writes of rows are missing; `None` where that is not known, and it may be none.
    pub writes: Option<u64>,
}

impl std::fmt::Display for LostTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.writes {
            Some(writes) => write!(
                f,
                "the end of the write-ahead log is lost: {writes} writes are missing (a damaged \
                 disk, a file that was cut, or a power cut); readers get a gap, and a backup \
                 may have what is missing"
            ),
            None => write!(
                f,
                "the machine stopped without warning, and the write-ahead log is synced at \
                 intervals (store.sync): the last interval may be lost; readers get a gap"
            ),
        }
    }
}

/// What the last process remembered.
#[derive(Debug, PartialEq, Eq)]
struct Remembered {
    boot: String,
    /// Whether the log was synced at intervals.
    at_intervals: bool,
    /// Whether it stopped well, with everything synced.
    is_clean: bool,
    sequence: u64,
}

impl Remembered {
    /// The line of the file. Always of the same length for a boot, so it is overwritten in place.
    fn line(&self) -> String {
        let Self { boot, at_intervals, is_clean, sequence } = self;
        let sync = if *at_intervals { "interval" } else { "batch" };
        let state = if *is_clean { "clean" } else { "running" };
        format!("ghpulse 1 {boot} {sync:<8} {state:<7} {sequence:020}\n")
    }

    /// Reads it; `None` for anything else.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.lines().next()?.split_ascii_whitespace();
        if (words.next(), words.next()) != (Some("ghpulse"), Some("1")) {
            return None;
        }
        let boot = words.next()?.to_owned();
        let at_intervals = match words.next()? {
            "interval" => true,
            "batch" => false,
            _ => return None,
        };
        let is_clean = match words.next()? {
            "clean" => true,
            "running" => false,
            _ => return None,
        };
        let sequence = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Self { boot, at_intervals, is_clean, sequence })
    }

    /// What was lost, when the log brought back this much in this boot of the machine.
    fn lost(&self, recovered: u64, boot: &str, now: Timestamp) -> Option<LostTail> {
        let lost = |writes| LostTail { noticed_at: now, writes };
        if self.sequence > recovered {
            return Some(lost(Some(self.sequence - recovered)));
        }
        let may_be_power = boot == NO_BOOT || boot != self.boot;
        (!self.is_clean && self.at_intervals && may_be_power).then(|| lost(None))
    }
}

/// The file, while the store is open.
pub(super) struct Written {
    file: File,
    path: PathBuf,
    boot: String,
    at_intervals: bool,
    has_failed: AtomicBool,
}

impl Written {
    /// Begins to remember, and tells what was lost since it was last remembered. To be called with
    /// a database that nothing was written to since it was opened. When something was lost, the
    /// database has room and a gap for it afterwards.
    pub(super) fn begin(
        dir: &Path,
        database: &Database,
        sync: Durability,
        now: Timestamp,
    ) -> Result<(Self, Option<LostTail>), StoreError> {
        let path = dir.join(WRITTEN);
        let boot = boot();
        let recovered = database.sequence();
        let lost = read(&path)?.and_then(|last| last.lost(recovered, &boot, now));
        if let Some(lost) = &lost {
            tracing::error!(recovered, "{lost}");
            let mut counters = batch::Counters::default();
            let mut batch = Batch::new(database, &mut counters);
            let applied = leave_room(&mut batch, database, now)?;
            if let Some(Cursor { tag, position }) = applied {
                let (after, until, reason) = (position, position, GapReason::Upstream);
                let gap = Gap { after, until, count: None, reason, noticed_at: now };
                gaps::record(&mut batch, tag, gap)?;
            }
            database.write(batch.finish())?;
            database.sync()?;
        }
        let at_intervals = matches!(sync, Durability::Every(_));
        if !path.exists() {
            lock::write_durably(&path, b"")?;
        }
        let open = OpenOptions::new().write(true).open(&path);
        let file = open.map_err(lock::file_error("open", &path))?;
        let written = Self { file, path, boot, at_intervals, has_failed: AtomicBool::new(false) };
        written.put(false, database.sequence(), true)?;
        Ok((written, lost))
    }

    /// Everything up to this write will be there when the process is killed; with a sync of every
    /// batch also when the power fails.
    pub(super) fn reach(&self, sequence: u64) {
        let Err(error) = self.put(false, sequence, false) else { return };
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "a lost end of the log would not be noticed at the next start");
        }
    }

    /// Everything is synced, and nothing more will be written.
    pub(super) fn end(&self, sequence: u64) {
        if let Err(error) = self.put(true, sequence, true) {
            tracing::warn!(%error, "that the store was closed well cannot be remembered");
        }
    }

    fn put(&self, is_clean: bool, sequence: u64, sync: bool) -> Result<(), StoreError> {
        let Self { boot, at_intervals, .. } = self;
        let (boot, at_intervals) = (boot.clone(), *at_intervals);
        let line = Remembered { boot, at_intervals, is_clean, sequence }.line();
        let put = || -> std::io::Result<()> {
            self.file.write_all_at(line.as_bytes(), 0)?;
            if sync {
                // What an earlier boot left behind a shorter line.
                self.file.set_len(line.len() as u64)?;
                self.file.sync_all()?;
            }
            Ok(())
        };
        put().map_err(lock::file_error("write", &self.path))
    }
}

/// What the last process remembered; `None` when none has, or by what cannot be read.
fn read(path: &Path) -> Result<Option<Remembered>, StoreError> {
    let mut text = Vec::new();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(lock::file_error("read", path)(error)),
    };
    file.take(LINE_BYTES).read_to_end(&mut text).map_err(lock::file_error("read", path))?;
    let remembered = std::str::from_utf8(&text).ok().and_then(Remembered::read);
    if remembered.is_none() && !text.is_empty() {
        tracing::warn!(file = %path.display(), "it does not say how far the store was written");
    }
    Ok(remembered)
}

/// The name of this start of the machine.
fn boot() -> String {
    let id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let id = id.trim();
    let is_id = id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if is_id { id.to_owned() } else { NO_BOOT.to_owned() }
}

/// Leaves room behind the last entry of the embedded bus and, where that is the bus in use, a gap
/// for those who read it across the room. Gives back the cursor of the bus in use where that is
/// another one, whose positions are the broker's.
pub(super) fn leave_room(
    batch: &mut Batch<'_>,
    database: &Database,
    now: Timestamp,
) -> Result<Option<Cursor>, StoreError> {
    let next = batch.add(&MetaKey(ENTRIES.to_owned()), ENTRIES_APART)?;
    let counted = |entry: i64| Position::counted(u64::try_from(entry).unwrap_or(0));
    let tag = super::bus_tag(database)?;
    let elsewhere = super::Reader { database }.applied()?.filter(|applied| applied.tag != tag);
    if elsewhere.is_none() {
        let (after, until) = (counted(next - ENTRIES_APART), counted(next));
        let reason = GapReason::Upstream;
        gaps::record(batch, tag, Gap { after, until, count: None, reason, noticed_at: now })?;
    }
    Ok(elsewhere)
}

#[cfg(test)]
mod tests;
