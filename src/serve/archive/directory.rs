//! The hours in the directory of the archive.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use super::about::HourAbout;
use crate::clock::Clock;
use crate::model::hour_file::{ArchiveFile, FileKind, coverage_name};
use crate::model::window::{Hour, Timestamp};
use crate::sync::lock;

/// Names of a directory that are looked at: three files an hour for 38 years.
const NAMES: usize = 1_000_000;

/// How long a directory that was read is not read again, even when it has changed …
const SHORTEST_KEPT: Duration = Duration::from_secs(1);
/// … and when its time of change says that it has not.
const LONGEST_KEPT: Duration = Duration::from_secs(10);

/// The hours of a range.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct ListedHours {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// The first hour of all.
    pub(super) earliest: Option<Timestamp>,
    /// The last.
    pub(super) latest: Option<Timestamp>,
    pub(super) hours: Vec<ListedHour>,
}

/// An hour; `null` is not known.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct ListedHour {
    pub(super) hour: Timestamp,
    /// The part of all events of the known minutes that was seen, 0 to 1.
    pub(super) coverage: Option<f64>,
    /// Minutes of the hour for which `coverage` is known, 0 to 60.
    pub(super) minutes_known: Option<u8>,
    pub(super) cut: Option<bool>,
    /// Whether events of the simulated GitHub are in it.
    pub(super) simulated: bool,
    pub(super) files: Vec<ListedFile>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct ListedFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) modified: Timestamp,
}

/// The hours of the directory as they were last read, for all requests: to read it takes a tenth of
/// a second for the files of a year, which one client could ask for all the time.
#[derive(Debug, Default)]
pub(crate) struct ArchiveIndex {
    read: Mutex<Option<ReadArchive>>,
}

#[derive(Debug)]
struct ReadArchive {
    at: Instant,
    /// When the directory was last changed; `None` without one.
    changed: Option<(i64, i64)>,
    hours: BTreeMap<Hour, Vec<FileKind>>,
    /// The hours that were asked for.
    listed: BTreeMap<Hour, ListedHour>,
}

impl ArchiveIndex {
    /// The hours of a range. Blocks.
    pub(super) fn list(
        &self,
        dir: &Path,
        asked: Range<i64>,
        clock: Clock,
    ) -> io::Result<ListedHours> {
        let mut known = lock(&self.read);
        let (now, changed) = (clock.instant(), changed_at(dir)?);
        let current = known.take().filter(|read| {
            let age = now.saturating_duration_since(read.at);
            age < SHORTEST_KEPT || (age < LONGEST_KEPT && read.changed == changed)
        });
        let read = match current {
            Some(read) => known.insert(read),
            None => known.insert(ReadArchive::read(dir, now, changed)?),
        };
        Ok(read.list(dir, asked))
    }
}

impl ReadArchive {
    /// Reads the directory; a missing one counts as empty.
    fn read(dir: &Path, at: Instant, changed: Option<(i64, i64)>) -> io::Result<Self> {
        let mut hours: BTreeMap<Hour, Vec<FileKind>> = BTreeMap::new();
        let entries = if_there(std::fs::read_dir(dir))?;
        for entry in entries.into_iter().flatten().take(NAMES) {
            let name = entry?.file_name();
            let file = name.to_str().and_then(ArchiveFile::parse);
            if let Some(file) = file.filter(|file| file.kind != FileKind::Coverage) {
                hours.entry(file.hour).or_default().push(file.kind);
            }
        }
        for kinds in hours.values_mut() {
            kinds.sort_unstable();
        }
        Ok(Self { at, changed, hours, listed: BTreeMap::new() })
    }

    fn list(&mut self, dir: &Path, asked: Range<i64>) -> ListedHours {
        let Self { hours, listed, .. } = self;
        // `BTreeMap::range` panics when a range ends before it begins.
        let found = hours.range(Hour(asked.start)..Hour(asked.end.max(asked.start))).rev();
        let found = found.map(|(hour, kinds)| {
            let known = listed.entry(*hour);
            known.or_insert_with(|| listed_hour(dir, *hour, kinds)).clone()
        });
        ListedHours {
            from: Hour(asked.start).start(),
            until: Hour(asked.end).start(),
            hours: found.filter(|hour| !hour.files.is_empty()).collect(),
            earliest: hours.first_key_value().map(|(hour, _)| hour.start()),
            latest: hours.last_key_value().map(|(hour, _)| hour.start()),
        }
    }
}

/// Reads what is known of an hour.
fn listed_hour(dir: &Path, hour: Hour, kinds: &[FileKind]) -> ListedHour {
    let about = HourAbout::read(&dir.join(coverage_name(hour)));
    let HourAbout { coverage, minutes_known, cut, simulated } = about;
    let coverage = coverage.map(|share| (share * 1e4).round() / 1e4);
    let files = kinds.iter().filter_map(|kind| {
        let name = ArchiveFile { hour, kind: *kind }.name();
        // A file that went away meanwhile is not listed.
        let metadata = std::fs::symlink_metadata(dir.join(&name)).ok()?;
        let modified = Timestamp::from_seconds(metadata.mtime());
        metadata.is_file().then_some(ListedFile { name, bytes: metadata.len(), modified })
    });
    let (hour, files) = (hour.start(), files.collect());
    ListedHour { hour, coverage, minutes_known, cut, simulated, files }
}

/// When a name in a directory was last added, replaced or removed.
fn changed_at(dir: &Path) -> io::Result<Option<(i64, i64)>> {
    let about = if_there(std::fs::metadata(dir))?;
    Ok(about.map(|about| (about.mtime(), about.mtime_nsec())))
}

/// `None` for what does not exist.
fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn directory_is_read_again_only_after_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("2026-11-29-5.json.gz");
        let clock = Clock::starting_at(Timestamp::parse("2026-11-29T08:00:00Z").unwrap());
        let day = Timestamp::parse("2026-11-29T00:00:00Z").unwrap().hour().0;
        let index = ArchiveIndex::default();
        let bytes = |dir: &Path| -> Vec<u64> {
            let hours = index.list(dir, day..day + 24, clock).unwrap().hours;
            hours.iter().flat_map(|hour| &hour.files).map(|file| file.bytes).collect()
        };
        assert!(bytes(&dir.path().join("none")).is_empty());
        clock.sleep(SHORTEST_KEPT).await;
        std::fs::write(&path, "a").unwrap();
        assert_eq!(bytes(dir.path()), [1]);
        // Its content changes, and no name.
        std::fs::write(&path, "ab").unwrap();
        clock.sleep(SHORTEST_KEPT * 2).await;
        assert_eq!(bytes(dir.path()), [1]);
        clock.sleep(LONGEST_KEPT).await;
        assert_eq!(bytes(dir.path()), [2]);
        // The time of change may be the same within a few milliseconds.
        clock.sleep(LONGEST_KEPT).await;
        std::fs::remove_file(&path).unwrap();
        assert!(bytes(dir.path()).is_empty());
        let reversed = Range { start: day + 24, end: day };
        assert!(index.list(dir.path(), reversed, clock).unwrap().hours.is_empty());
    }
}
