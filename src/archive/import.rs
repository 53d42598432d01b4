//! Imports a file as the counts of its hour: in one batch, or not at all.
//!
//! A file belongs to the hour in which most of its events were created; events of other hours are
//! strays, and are left to their own files. A hash of the file's contents is stored under its name,
//! so that a second run skips the files of the first.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::error::ArchiveError;
use super::lines::{self, BUFFER};
use super::recorded::{RecordedEvent, RecordedForRepo, RecordedPull};
use super::sidecar;
use crate::fault;
use crate::model::counts::counted_lines;
use crate::model::envelope::Flags;
use crate::model::hour_file::HourName;
use crate::model::window::{Hour, Timestamp};
use crate::private;
use crate::store::firsts::claim_firsts;
use crate::store::keys::{HourKey, HourMetric, HourSource, MetaKey};
use crate::store::ledger::import::LedgerHour;
use crate::store::periods::reopen;
use crate::store::{Batch, Store, StoreError};
use crate::sync::blocking;

/// The most events of a file: ten times what an hour of GitHub had in 2026.
const EVENTS: usize = 8_000_000;
/// The most hours of one file that are distinguished: its own, and those of strays.
const HOURS: usize = 64;
/// Hint for a file that is read line by line without finding an event.
const LIST: &str = "; it is a JSON array over several lines, but a file must have one event per \
                    line: convert it with `jq -c '.[]'`";
/// The most invalid lines that are listed; all are counted.
const NAMED: usize = 100;

/// The result of importing a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The file.
    pub file: PathBuf,
    /// Whether it was counted now.
    pub state: ImportOutcome,
    /// Name of its hour in UTC; `None` when it was not read again.
    pub hour: Option<String>,
    /// Days since 1970 of that hour, for stores of daily figures.
    pub day: Option<i32>,
    /// Distinct events of that hour.
    pub events: u64,
    /// Pull-request events among them.
    pub pull_requests: u64,
    /// Duplicate events in the file.
    pub doubles: u64,
    /// Events of other hours, which are not counted.
    pub strays: u64,
    /// Pieces that are not events.
    pub broken: u64,
    /// The first of them.
    pub complaints: Vec<BrokenLine>,
    /// Whether the file beside it says that it has events of the simulated GitHub.
    #[serde(default)]
    pub simulated: bool,
}

/// What was done with a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportOutcome {
    /// Its counts are now those of its hour.
    Imported,
    /// The same contents were imported before.
    #[default]
    Unchanged,
}

/// A piece of a file that is not an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenLine {
    /// Its line, from 1.
    pub line: u64,
    /// The error.
    pub reason: String,
}

/// Imports one file. Calls `read` with the number of bytes of each step; their sum is the file's
/// size. Writes nothing unless the whole file is readable, and its hour is over at `now`: an
/// imported hour replaces what is counted of it live.
pub async fn import(
    store: &Store,
    path: &Path,
    now: Timestamp,
    read: impl FnMut(u64) + Send + 'static,
) -> Result<Imported, ArchiveError> {
    let name = HourName::of(path).ok_or_else(|| ArchiveError::Name { path: path.to_owned() })?;
    expect_over(path, name.0, now)?;
    let marker = MetaKey(format!("archive.{name}"));
    let (looking, key, file) = (store.clone(), marker.clone(), path.to_owned());
    let found = blocking(move || look(&looking, &key, &file, name, read))
        .await
        .map_err(StoreError::from)??;
    let ReadFile { imported, counted: Some((hour, counts, digest)) } = found else {
        return Ok(found.imported);
    };
    // The name may be of Pacific time, which is earlier.
    expect_over(path, hour, now)?;
    store
        .commit(move |batch| {
            write(batch, hour, counts)?;
            batch.put(&marker, &digest);
            fault::point("archive.before_commit");
            Ok(())
        })
        .await?;
    fault::point("archive.after_commit");
    Ok(imported)
}

/// Refuses the file of an hour that is not over.
fn expect_over(path: &Path, hour: Hour, now: Timestamp) -> Result<(), ArchiveError> {
    if hour < now.hour() {
        return Ok(());
    }
    Err(ArchiveError::NotOver { path: path.to_owned(), hour: HourName(hour), now })
}

/// A file that was read.
struct ReadFile {
    imported: Imported,
    /// The counts to write; `None` when they were imported before.
    counted: Option<(Hour, ImportedHourCounts, [u8; 17])>,
}

fn look(
    store: &Store,
    marker: &MetaKey,
    path: &Path,
    name: HourName,
    mut read: impl FnMut(u64),
) -> Result<ReadFile, ArchiveError> {
    sidecar::expect_all_events(path)?;
    let digest = digest_of(path)?;
    let (file, simulated) = (path.to_owned(), sidecar::is_simulated(path));
    let mut imported = Imported { file, simulated, ..Imported::default() };
    if store.reader().get(marker)?.is_some_and(|before| before == digest) {
        read(std::fs::metadata(path).map_err(ArchiveError::file("read", path))?.len());
        return Ok(ReadFile { imported, counted: None });
    }
    let mut hours = EventsByHour::default();
    let ending = lines::read_file(path, read, |line, piece| {
        let event = piece.and_then(|text| RecordedEvent::read(text).map_err(|e| e.to_string()));
        match event {
            Ok(event) => hours.add(path, event)?,
            Err(reason) => {
                imported.broken += 1;
                if imported.complaints.len() < NAMED {
                    imported.complaints.push(BrokenLine { line, reason });
                }
            }
        }
        Ok(())
    })?;
    let hint = if ending.is_list { LIST } else { "" };
    let empty = || ArchiveError::Empty { path: path.to_owned(), broken: imported.broken, hint };
    let (hour, counts, strays) = hours.settle().ok_or_else(empty)?;
    if !name.fits(hour) {
        let found = HourName(hour).to_string();
        return Err(ArchiveError::OtherHour { path: path.to_owned(), found });
    }
    imported.state = ImportOutcome::Imported;
    imported.hour = Some(HourName(hour).to_string());
    imported.day = Some(hour.day().0);
    imported.events = counts.events;
    imported.pull_requests = counts.metrics[HourMetric::PullRequests as usize].unsigned_abs();
    (imported.doubles, imported.strays) = (counts.doubles, strays);
    Ok(ReadFile { imported, counted: Some((hour, counts, digest)) })
}

/// The value of a marker: a version, and a hash of the file on disk.
fn digest_of(path: &Path) -> Result<[u8; 17], ArchiveError> {
    let mut file = private::open_file(path).map_err(ArchiveError::file("open", path))?;
    let (mut hash, mut buffer) = (Xxh3::new(), vec![0; BUFFER]);
    loop {
        let n = file.read(&mut buffer).map_err(ArchiveError::file("read", path))?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    // 2: the hour is in the ledger too. Files that an older version imported are read once more.
    let mut marker = [2; 17];
    marker[1..].copy_from_slice(&hash.digest128().to_be_bytes());
    Ok(marker)
}

/// Counts of a file by created hour.
#[derive(Default)]
struct EventsByHour {
    seen: HashSet<u128, foldhash::fast::RandomState>,
    doubles: u64,
    by_hour: HashMap<Hour, ImportedHourCounts, foldhash::fast::RandomState>,
    /// Events without a creation time: they belong to the file's hour.
    timeless: ImportedHourCounts,
    /// Strays beyond the most hours that are distinguished.
    far: u64,
}

/// Counts of one hour.
#[derive(Default)]
struct ImportedHourCounts {
    events: u64,
    doubles: u64,
    /// Indexed by [`HourMetric`]; index 0 is unused.
    metrics: [i64; 8],
    actors: HashSet<u64, foldhash::fast::RandomState>,
    repos: HashSet<u64, foldhash::fast::RandomState>,
    /// By repository.
    ledger: LedgerHour,
}

impl EventsByHour {
    fn add(&mut self, path: &Path, event: RecordedEvent<'_>) -> Result<(), ArchiveError> {
        if !self.seen.insert(event.key) {
            self.doubles += 1;
            return Ok(());
        }
        if self.seen.len() > EVENTS {
            return Err(ArchiveError::TooMany { path: path.to_owned(), most: EVENTS });
        }
        let is_full = self.by_hour.len() >= HOURS;
        let counts = match event.created_at.map(Timestamp::hour) {
            None => &mut self.timeless,
            Some(hour) if is_full && !self.by_hour.contains_key(&hour) => {
                self.far += 1;
                return Ok(());
            }
            Some(hour) => self.by_hour.entry(hour).or_default(),
        };
        if let Some(RecordedForRepo { repo, metric, name, language }) = event.of_repo {
            counts.ledger.count(repo, metric, [name.as_deref(), language.as_deref()]);
        }
        counts.add(event.pull);
        Ok(())
    }

    /// The hour of most events, its counts, and the number of events of other hours.
    fn settle(mut self) -> Option<(Hour, ImportedHourCounts, u64)> {
        let size = |(hour, counts): &(&Hour, &ImportedHourCounts)| {
            (counts.events, std::cmp::Reverse(hour.0))
        };
        let hour = *self.by_hour.iter().max_by_key(size)?.0;
        let mut counts = self.by_hour.remove(&hour)?;
        counts.merge(self.timeless);
        counts.doubles = self.doubles;
        let others: u64 = self.by_hour.values().map(|counts| counts.events).sum();
        Some((hour, counts, others + self.far))
    }
}

impl ImportedHourCounts {
    fn add(&mut self, pull: Option<RecordedPull>) {
        self.events += 1;
        let Some(pull) = pull else { return };
        let mut count = |metric, n: i64| {
            let sum: &mut i64 = &mut self.metrics[metric as usize];
            *sum = sum.saturating_add(n);
        };
        count(HourMetric::PullRequests, 1);
        count(HourMetric::Opened, pull.flags.open.into());
        count(HourMetric::Merged, pull.flags.merge.into());
        count(HourMetric::Closed, pull.flags.close.into());
        count(HourMetric::Additions, counted_lines(Some(pull.additions)));
        count(HourMetric::Deletions, counted_lines(Some(pull.deletions)));
        self.actors.extend(pull.actor);
        self.repos.extend(pull.repo);
    }

    fn merge(&mut self, other: Self) {
        self.events += other.events;
        for (sum, n) in self.metrics.iter_mut().zip(other.metrics) {
            *sum = sum.saturating_add(n);
        }
        self.actors.extend(other.actors);
        self.repos.extend(other.repos);
        self.ledger.merge(other.ledger);
    }
}

/// Replaces the counts of an earlier import of the hour.
fn write(batch: &mut Batch<'_>, hour: Hour, counts: ImportedHourCounts) -> Result<(), StoreError> {
    let at = Timestamp::from_seconds(hour.0.saturating_mul(3_600));
    reopen(batch, at)?;
    let mut claim = |actor, repo| {
        let mut flags = Flags { pr: true, ..Flags::default() };
        claim_firsts(batch, &mut flags, at, actor, repo)
    };
    // In key order, so that lookups have locality.
    for actor in sorted(&counts.actors) {
        claim(Some(actor), None)?;
    }
    for repo in sorted(&counts.repos) {
        claim(None, Some(repo))?;
    }
    for metric in HourMetric::ALL {
        let key = HourKey { hour, origin: HourSource::Archive, metric };
        let wanted = match metric {
            HourMetric::Events => i64::try_from(counts.events).unwrap_or(i64::MAX),
            counted => counts.metrics[counted as usize],
        };
        let before = batch.add(&key, 0)?;
        batch.add(&key, wanted.saturating_sub(before))?;
    }
    if !counts.ledger.write(batch, hour)? {
        let hour = HourName(hour).to_string();
        tracing::warn!(hour, "the ledger keeps its counts of this hour: its month is folded");
    }
    Ok(())
}

fn sorted(ids: &HashSet<u64, foldhash::fast::RandomState>) -> Vec<u64> {
    let mut ids: Vec<u64> = ids.iter().copied().collect();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests;
