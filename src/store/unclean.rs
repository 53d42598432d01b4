//! Detects a lost end of the write-ahead log, and records a gap for it.
//!
//! `RocksDB` replays its log up to the first unreadable record. So a log whose end was lost (a
//! power cut with `store.sync` at intervals), cut or damaged looks like a shorter history, and
//! positions that subscribers hold would be given to other events. Therefore the sequence number of
//! the last write is kept beside the database, in the file `WRITTEN`, and compared with the
//! replayed log:
//!
//! - Fewer writes than recorded: the difference is lost, whatever the reason.
//! - As many, after a killed process: nothing is lost. File and log are both written without a sync
//!   and are in the page cache, which survives a killed process.
//! - As many, after a reboot without a clean stop, with syncs at intervals: the last interval may
//!   be lost, and nothing can tell. It counts as lost.
//!
//! With [`Durability::EveryBatch`] the number is recorded after the sync, so
//! after a power cut it is never ahead of the log.
//!
//! After a loss the entries of the embedded bus continue far after every position that can have
//! been given out, as after a restore, and subscribers get a gap.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::batch::Batch;
use super::database::Database;
use super::error::StoreError;
use super::identity::bus_tag;
use super::keys::MetaKey;
use super::watermarks::ENTRIES;
use super::{batch, gaps, lock};
use crate::config::Durability;
use crate::model::gap::{Gap, GapReason};
use crate::model::position::{Cursor, Position};
use crate::model::window::Timestamp;
use crate::private;

/// The file's name.
pub(super) const WRITTEN: &str = "WRITTEN";
/// The file is one line; at most this much is read.
const LINE_BYTES: u64 = 256;
/// The file with Linux's id of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Used instead of a missing boot id: every unclean stop may then have been a power cut.
const NO_BOOT: &str = "-";
/// The least distance at which the entries of the embedded bus continue after a loss: more than can
/// have been given out, so that no cursor ever identifies two events.
pub(super) const ENTRIES_APART: i64 = 1 << 32;
/// After a loss the entries continue at least from the present time on, in microseconds times this:
/// two stores that are restored from one backup give out different ones, since neither takes this
/// many events in a microsecond. A random multiple of [`ENTRIES_APART`] is added, for clocks that
/// are wrong.
const ENTRIES_A_MICROSECOND: i64 = 1 << 8;
/// The largest entry that a wrong clock may give.
const MOST_BY_TIME: i64 = i64::MAX / 2;

/// A lost end of the write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostTail {
    /// When it was noticed.
    pub noticed_at: Timestamp,
    /// The number of missing row writes; `None` when it is unknown and may be 0.
    pub writes: Option<u64>,
}

impl std::fmt::Display for LostTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.writes {
            Some(writes) => write!(
                f,
                "the end of the write-ahead log is lost: {writes} writes are missing (a damaged \
                 disk, a truncated file, or a power cut); subscribers get a gap, and a backup may \
                 have the missing data"
            ),
            None => write!(
                f,
                "the machine stopped without warning, and the write-ahead log is synced at \
                 intervals (store.sync): the last interval may be lost; subscribers get a gap"
            ),
        }
    }
}

/// The record of the last process.
#[derive(Debug, PartialEq, Eq)]
struct WriteRecord<'a> {
    boot: &'a str,
    /// Whether the log was synced at intervals.
    at_intervals: bool,
    /// Whether it stopped cleanly, with everything synced.
    is_clean: bool,
    sequence: u64,
}

impl<'a> WriteRecord<'a> {
    /// The line of the file. Its length is constant within a boot, so it is overwritten in place.
    fn line(&self) -> String {
        let Self { boot, at_intervals, is_clean, sequence } = self;
        let sync = if *at_intervals { "interval" } else { "batch" };
        let state = if *is_clean { "clean" } else { "running" };
        format!("ghpulse 1 {boot} {sync:<8} {state:<7} {sequence:020}\n")
    }

    /// Parses a line; `None` for other text.
    fn read(text: &'a str) -> Option<Self> {
        let words: Vec<&str> = text.lines().next()?.split_ascii_whitespace().collect();
        let ["ghpulse", "1", boot, sync, state, sequence] = words[..] else { return None };
        let at_intervals = match sync {
            "interval" => true,
            "batch" => false,
            _ => return None,
        };
        let is_clean = match state {
            "clean" => true,
            "running" => false,
            _ => return None,
        };
        Some(Self { boot, at_intervals, is_clean, sequence: sequence.parse().ok()? })
    }

    /// The loss, when the replayed log ends at `recovered`, in the boot with the id `boot`.
    fn lost(&self, recovered: u64, boot: &str, now: Timestamp) -> Option<LostTail> {
        let lost = |writes| LostTail { noticed_at: now, writes };
        if self.sequence > recovered {
            return Some(lost(Some(self.sequence - recovered)));
        }
        let may_be_power = boot == NO_BOOT || boot != self.boot;
        (!self.is_clean && self.at_intervals && may_be_power).then(|| lost(None))
    }
}

/// The open file `WRITTEN`.
pub(super) struct LastWrite {
    file: File,
    path: PathBuf,
    boot: String,
    at_intervals: bool,
    has_failed: AtomicBool,
}

impl LastWrite {
    /// Checks the record of the last process for a loss, and starts a new one. The database must
    /// not have been written to since it was opened. After a loss, space for the lost positions is
    /// left and a gap is recorded.
    pub(super) fn begin(
        dir: &Path,
        database: &Database,
        sync: Durability,
        now: Timestamp,
    ) -> Result<(Self, Option<LostTail>), StoreError> {
        let path = dir.join(WRITTEN);
        let boot = boot();
        let recovered = database.sequence();
        let text = read(&path)?;
        let record = std::str::from_utf8(&text).ok().and_then(WriteRecord::read);
        if record.is_none() && !text.is_empty() {
            tracing::warn!(file = %path.display(), "malformed file: cannot tell whether the end of the log was lost");
        }
        let lost = record.and_then(|record| record.lost(recovered, &boot, now));
        if let Some(lost) = &lost {
            tracing::error!(recovered, "{lost}");
            let mut counters = batch::CounterCache::default();
            let mut batch = Batch::new(database, &mut counters);
            let applied = skip_positions(&mut batch, database, now)?;
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

    /// Records that everything up to this write survives a killed process, and with a sync of every
    /// batch also a power cut.
    pub(super) fn reach(&self, sequence: u64) {
        let Err(error) = self.put(false, sequence, false) else { return };
        if !self.has_failed.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "cannot write the file WRITTEN: the next start would not notice a lost end of the log");
        }
    }

    /// Records a clean stop: everything is synced, and nothing more will be written.
    pub(super) fn end(&self, sequence: u64) {
        if let Err(error) = self.put(true, sequence, true) {
            tracing::warn!(%error, "cannot record in the file WRITTEN that the store was closed cleanly");
        }
    }

    fn put(&self, is_clean: bool, sequence: u64, sync: bool) -> Result<(), StoreError> {
        let (boot, at_intervals) = (&*self.boot, self.at_intervals);
        let line = WriteRecord { boot, at_intervals, is_clean, sequence }.line();
        let put = || -> std::io::Result<()> {
            self.file.write_all_at(line.as_bytes(), 0)?;
            if sync {
                // The line of an earlier boot may have been longer.
                self.file.set_len(line.len() as u64)?;
                self.file.sync_all()?;
            }
            Ok(())
        };
        put().map_err(lock::file_error("write", &self.path))
    }
}

/// Reads the file; empty when there is none.
fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut text = Vec::new();
    let file = match private::open_file(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(text),
        Err(error) => return Err(lock::file_error("read", path)(error)),
    };
    file.take(LINE_BYTES).read_to_end(&mut text).map_err(lock::file_error("read", path))?;
    Ok(text)
}

/// The id of this boot.
fn boot() -> String {
    let id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    let id = id.trim();
    let is_id = id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if is_id { id.to_owned() } else { NO_BOOT.to_owned() }
}

/// Skips positions after the last entry of the embedded bus and, when it is the bus in use, records
/// a gap for them. Otherwise returns the cursor of the bus in use, whose positions are the
/// broker's.
pub(super) fn skip_positions(
    batch: &mut Batch<'_>,
    database: &Database,
    now: Timestamp,
) -> Result<Option<Cursor>, StoreError> {
    let entries = MetaKey(ENTRIES.to_owned());
    let last = batch.add(&entries, 0)?;
    let by_time = now.micros().saturating_mul(ENTRIES_A_MICROSECOND).min(MOST_BY_TIME);
    let apart = ENTRIES_APART * (1 + i64::from(fastrand::u16(..)));
    let next = batch.add(&entries, by_time.saturating_sub(last).max(0).saturating_add(apart))?;
    let counted = |entry: i64| Position::counted(u64::try_from(entry).unwrap_or(0));
    let tag = bus_tag(database)?;
    let elsewhere = database.applied()?.filter(|applied| applied.tag != tag);
    if elsewhere.is_none() {
        let (after, until) = (counted(last), counted(next));
        let reason = GapReason::Upstream;
        gaps::record(batch, tag, Gap { after, until, count: None, reason, noticed_at: now })?;
    }
    Ok(elsewhere)
}

#[cfg(test)]
mod tests;
