//! A file becomes the counts of its hour, in one batch, or nothing at all.
//!
//! A file stands for the hour in which most of its events were created; events of other hours in
//! it are strays, and are left to the files of theirs. What a file's content was is remembered
//! under its name, so a second run passes over what the first one finished.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::name::HourName;
use super::recorded::{RecordedEvent, RecordedPull};
use super::{ArchiveError, BUFFER, lines};
use crate::fault;
use crate::model::counts::counted_lines;
use crate::model::envelope::Flags;
use crate::model::window::Hour;
use crate::store::firsts::claim_firsts;
use crate::store::keys::{HourKey, HourMetric, HourSource, MetaKey};
use crate::store::periods::reopen;
use crate::store::{Batch, Store, StoreError};
use crate::sync::blocking;

/// The most events of a file: ten times what an hour of GitHub had in 2026.
const EVENTS: usize = 8_000_000;
/// Hours of one file that are told apart: its own, and those that strays are of.
const HOURS: usize = 64;
/// What a file is told that is read line by line, and that no line of has an event.
const LIST: &str = "; it is a JSON list over several lines, and an hour has an event a line: \
                    make it with `jq -c '.[]'`";
/// Broken lines of a file that are named; all are counted.
const NAMED: usize = 100;

/// What came of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The file.
    pub file: PathBuf,
    /// Whether it was counted now.
    pub state: ImportOutcome,
    /// The hour of UTC that it stands for, by name; `None` when it was not read again.
    pub hour: Option<String>,
    /// Days since 1970 of that hour, for who keeps figures of days.
    pub day: Option<i32>,
    /// Events of that hour, each once.
    pub events: u64,
    /// Pull-request events among them.
    pub pull_requests: u64,
    /// Events that were in the file before.
    pub doubles: u64,
    /// Events of other hours, which are not counted.
    pub strays: u64,
    /// Pieces that are no events.
    pub broken: u64,
    /// The first of them.
    pub complaints: Vec<BrokenLine>,
}

/// What was done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportOutcome {
    /// Its counts are those of its hour now.
    Imported,
    /// The same content was imported before.
    Unchanged,
}

/// A piece of a file that is no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenLine {
    /// Its line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Imports one file. `read` is told of bytes of the file that were dealt with; their sum is its
/// size. Nothing is written unless all of the file can be read.
pub async fn import(
    store: &Store,
    path: &Path,
    read: impl FnMut(u64) + Send + 'static,
) -> Result<Imported, ArchiveError> {
    let name = HourName::of(path).ok_or_else(|| ArchiveError::Name { path: path.to_owned() })?;
    let marker = MetaKey(format!("archive.{name}"));
    let (looking, key, file) = (store.clone(), marker.clone(), path.to_owned());
    let found = blocking(move || look(&looking, &key, &file, name, read))
        .await
        .map_err(StoreError::from)??;
    let ReadFile { imported, counted: Some((hour, counts, digest)) } = found else {
        return Ok(found.imported);
    };
    store
        .commit(move |batch| {
            write(batch, hour, &counts)?;
            batch.put(&marker, &digest);
            fault::point("archive.before_commit");
            Ok(())
        })
        .await?;
    fault::point("archive.after_commit");
    Ok(imported)
}

/// A file that was read.
struct ReadFile {
    imported: Imported,
    /// What is to be written; nothing when it was before.
    counted: Option<(Hour, HourCounts, [u8; 17])>,
}

fn look(
    store: &Store,
    marker: &MetaKey,
    path: &Path,
    name: HourName,
    mut read: impl FnMut(u64),
) -> Result<ReadFile, ArchiveError> {
    let digest = digest_of(path)?;
    let mut imported = Imported {
        file: path.to_owned(),
        state: ImportOutcome::Unchanged,
        hour: None,
        day: None,
        events: 0,
        pull_requests: 0,
        doubles: 0,
        strays: 0,
        broken: 0,
        complaints: Vec::new(),
    };
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

/// The value of a marker: a version, and a hash of the file as it is on the disk.
fn digest_of(path: &Path) -> Result<[u8; 17], ArchiveError> {
    let mut file = File::open(path).map_err(ArchiveError::file("open", path))?;
    let (mut hash, mut buffer) = (Xxh3::new(), vec![0; BUFFER]);
    loop {
        let n = file.read(&mut buffer).map_err(ArchiveError::file("read", path))?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    let mut marker = [1; 17];
    marker[1..].copy_from_slice(&hash.digest128().to_be_bytes());
    Ok(marker)
}

/// What a file holds, by created hour.
#[derive(Default)]
struct EventsByHour {
    seen: HashSet<u128, foldhash::fast::RandomState>,
    doubles: u64,
    by_hour: HashMap<Hour, HourCounts, foldhash::fast::RandomState>,
    /// Events that do not say when they were created: they are of the file's hour.
    timeless: HourCounts,
    /// Strays of so many hours that these are not told apart any more.
    far: u64,
}

/// What an hour comes to.
#[derive(Default)]
struct HourCounts {
    events: u64,
    doubles: u64,
    /// By [`HourMetric`]; the place of 0 is not used.
    metrics: [i64; 8],
    actors: HashSet<u64, foldhash::fast::RandomState>,
    repos: HashSet<u64, foldhash::fast::RandomState>,
}

impl EventsByHour {
    fn add(&mut self, path: &Path, event: RecordedEvent) -> Result<(), ArchiveError> {
        if !self.seen.insert(event.key) {
            self.doubles += 1;
            return Ok(());
        }
        if self.seen.len() > EVENTS {
            return Err(ArchiveError::TooMany { path: path.to_owned(), most: EVENTS });
        }
        let is_full = self.by_hour.len() >= HOURS;
        let counts = match event.created_at.map(crate::model::window::Timestamp::hour) {
            None => &mut self.timeless,
            Some(hour) if is_full && !self.by_hour.contains_key(&hour) => {
                self.far += 1;
                return Ok(());
            }
            Some(hour) => self.by_hour.entry(hour).or_default(),
        };
        counts.add(event.pull);
        Ok(())
    }

    /// The hour of most events, what it comes to, and how many events are of others.
    fn settle(mut self) -> Option<(Hour, HourCounts, u64)> {
        let size =
            |(hour, counts): &(&Hour, &HourCounts)| (counts.events, std::cmp::Reverse(hour.0));
        let hour = *self.by_hour.iter().max_by_key(size)?.0;
        let mut counts = self.by_hour.remove(&hour)?;
        counts.merge(self.timeless);
        counts.doubles = self.doubles;
        let others: u64 = self.by_hour.values().map(|counts| counts.events).sum();
        Some((hour, counts, others + self.far))
    }
}

impl HourCounts {
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
    }
}

/// Puts what an hour comes to in the place of what an import said of it before.
fn write(batch: &mut Batch<'_>, hour: Hour, counts: &HourCounts) -> Result<(), StoreError> {
    let at = crate::model::window::Timestamp::from_seconds(hour.0.saturating_mul(3_600));
    reopen(batch, at)?;
    let mut claim = |actor, repo| {
        let mut flags = Flags { pr: true, ..Flags::default() };
        claim_firsts(batch, &mut flags, at, actor, repo)
    };
    // In the order of their rows, so that neighbours are looked up together.
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
    Ok(())
}

fn sorted(ids: &HashSet<u64, foldhash::fast::RandomState>) -> Vec<u64> {
    let mut ids: Vec<u64> = ids.iter().copied().collect();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests;
