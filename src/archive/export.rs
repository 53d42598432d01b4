//! Hours of the journal become files.
//!
//! The journal is in the order of arrival, files are by the hour of `created_at`: one reading of
//! the journal sorts its events into as many files as are open at once, and is repeated for hours
//! that found no place. An event that does not say when it was created is of the hour in which it
//! was received. Each pass of the stage begins behind the last event before the first of an hour
//! that was not settled; what it sees again, the files tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::draft::Draft;
use super::name::HourName;
use super::{ArchiveError, SETTLED, file_name};
use crate::clock::Clock;
use crate::model::envelope::Facts;
use crate::model::event::Event;
use crate::model::position::{Cursor, Position};
use crate::model::window::{Hour, Minute, Timestamp};
use crate::store::keys::{CursorKey, JournalKey, Key as _, MinuteKey};
use crate::store::retention::MinuteRow;
use crate::store::rows::{decode_cursor, encode_cursor};
use crate::store::{APPLIED, Reader, Store, StoreError};

/// Files that are written at the same time.
const OPEN: usize = 48;
/// GitHub's clock may be ahead of ours: so much earlier than it was created an event may have come.
const AHEAD: i64 = 15;
/// How often the stage looks whether an hour is due.
const EVERY: Duration = Duration::from_secs(30);
/// Name of the cursor behind which everything is exported.
const CURSOR: &str = "archive";

/// One at a time in a process: two would write under the same hidden names.
static WRITING: Mutex<()> = Mutex::new(());

/// What was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// The hours, oldest first.
    pub hours: Vec<WrittenHour>,
    /// The first hour of which the journal may lack the beginning, by name; `None` when the
    /// journal is older than what was asked for.
    pub begins_within: Option<String>,
}

/// The file of an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenHour {
    /// Its file.
    pub file: PathBuf,
    /// Events in it.
    pub events: u64,
    /// Events that it did not have before; with none the file was left alone.
    pub fresh: u64,
}

/// The first hour that is not settled: hours before it are exported.
#[must_use]
pub fn settled_until(now: Timestamp) -> Hour {
    now.minus(SETTLED).hour()
}

/// Writes the files of the hours from `from` to before `until` that the journal has events of.
/// Blocks.
pub fn export(
    store: &Store,
    from: Hour,
    until: Hour,
    dir: &Path,
) -> Result<Exported, ArchiveError> {
    let reader = store.reader();
    let Some(applied) = applied(reader)? else { return Ok(Exported::default()) };
    let minute = Minute(from.0.saturating_mul(60).saturating_sub(AHEAD));
    let Some((oldest, position)) = journal_from(reader, applied, minute)? else {
        return Ok(Exported::default());
    };
    let begins_within = (oldest.0 > minute.0 && oldest.0 < until.0.saturating_mul(60))
        .then(|| HourName(Hour(oldest.0.div_euclid(60))).to_string());
    let start = Cursor { tag: applied.tag, position };
    let hours = write(reader, start, |hour| from <= hour && hour < until, dir)?.0;
    Ok(Exported { hours, begins_within })
}

/// Exports each hour once it is settled, and what comes late, until `stop` is called. A disk that
/// fails is no reason to stop: it is said, and tried again.
pub async fn run(
    store: Store,
    dir: PathBuf,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut done = None;
    loop {
        let until = settled_until(clock.now());
        if done != Some(until) {
            match pass(&store, until, &dir).await {
                Ok(hours) => {
                    for hour in hours.iter().filter(|hour| hour.fresh > 0) {
                        let file = hour.file.display();
                        tracing::info!(%file, hour.events, hour.fresh, "an hour is exported");
                    }
                    done = Some(until);
                }
                Err(ArchiveError::Store(error)) => return Err(error.into()),
                Err(error) => tracing::error!(%error, "hours cannot be exported; trying again"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = clock.sleep(EVERY) => {}
        }
    }
}

async fn pass(store: &Store, until: Hour, dir: &Path) -> Result<Vec<WrittenHour>, ArchiveError> {
    let (reading, dir) = (store.clone(), dir.to_owned());
    let work = move || -> Result<_, ArchiveError> {
        std::fs::create_dir_all(&dir).map_err(ArchiveError::file("create", &dir))?;
        let reader = reading.reader();
        let Some(applied) = applied(reader)? else { return Ok((Vec::new(), None)) };
        let start = match cursor(reader, CURSOR)?.filter(|cursor| cursor.tag == applied.tag) {
            Some(cursor) => cursor,
            None => Cursor { tag: applied.tag, position: Position::default() },
        };
        write(reader, start, |hour| hour < until, &dir)
    };
    let (hours, behind) = match tokio::task::spawn_blocking(work).await {
        Ok(result) => result?,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => return Err(StoreError::Closed.into()),
    };
    if let Some(behind) = behind {
        let key = CursorKey(CURSOR.to_owned());
        let kept = store.commit(move |batch| {
            batch.put(&key, &encode_cursor(behind));
            Ok(())
        });
        kept.await?;
    }
    Ok(hours)
}

fn cursor(reader: Reader<'_>, name: &str) -> Result<Option<Cursor>, StoreError> {
    let row = reader.get(&CursorKey(name.to_owned()))?;
    row.map(|value| decode_cursor(name, &value)).transpose()
}

/// The end of the journal, and by its tag the bus that it is of.
fn applied(reader: Reader<'_>) -> Result<Option<Cursor>, StoreError> {
    cursor(reader, APPLIED)
}

/// The oldest minute from one on, and where the journal of it and all later ones begins.
fn journal_from(
    reader: Reader<'_>,
    applied: Cursor,
    minute: Minute,
) -> Result<Option<(Minute, Position)>, StoreError> {
    let mut found: Option<(Minute, Position)> = None;
    reader.scan(&MinuteKey { tag: applied.tag, minute }, |key, value| {
        if key.tag != applied.tag {
            return Ok(false);
        }
        let first = MinuteRow::decode(&key, value)?.first;
        // Minutes are of receiving, positions of the bus: they may overlap.
        found = Some(found.map_or((key.minute, first), |(oldest, at)| (oldest, at.min(first))));
        Ok(true)
    })?;
    Ok(found)
}

/// Writes the files of wanted hours from events at or behind `start`. Gives back the cursor behind
/// which no event of another hour is, when there is one.
fn write(
    reader: Reader<'_>,
    start: Cursor,
    is_wanted: impl Fn(Hour) -> bool,
    dir: &Path,
) -> Result<(Vec<WrittenHour>, Option<Cursor>), ArchiveError> {
    write_with(reader, start, is_wanted, dir, OPEN)
}

/// The same with so many files at the same time.
fn write_with(
    reader: Reader<'_>,
    start: Cursor,
    is_wanted: impl Fn(Hour) -> bool,
    dir: &Path,
    open: usize,
) -> Result<(Vec<WrittenHour>, Option<Cursor>), ArchiveError> {
    let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut done: BTreeMap<Hour, WrittenHour> = BTreeMap::new();
    let (mut behind, mut is_whole) = (None, true);
    loop {
        let mut drafts: BTreeMap<Hour, Draft> = BTreeMap::new();
        let mut later = BTreeSet::new();
        let is_first = done.is_empty();
        each_event(reader, start, |position, hour, event| {
            if !is_wanted(hour) {
                is_whole = false;
                return Ok(());
            }
            if is_first && is_whole {
                behind = Some(Cursor { tag: start.tag, position });
            }
            if done.contains_key(&hour) {
                return Ok(());
            }
            if drafts.len() >= open && !drafts.contains_key(&hour) {
                later.insert(hour);
                return Ok(());
            }
            let draft = match drafts.entry(hour) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(new) => {
                    new.insert(Draft::open(dir, hour)?)
                }
            };
            draft.add(event)
        })?;
        for (hour, draft) in drafts {
            let (events, fresh) = draft.finish()?;
            done.insert(hour, WrittenHour { file: dir.join(file_name(hour)), events, fresh });
        }
        if later.is_empty() {
            return Ok((done.into_values().collect(), behind));
        }
    }
}

/// Calls `take` with each event of the journal from a position on.
fn each_event(
    reader: Reader<'_>,
    start: Cursor,
    mut take: impl FnMut(Position, Hour, &Event<'_>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut failure = None;
    let first = JournalKey { tag: start.tag, position: start.position };
    reader.scan(&first, |key: JournalKey, value| {
        if key.tag != start.tag {
            return Ok(false);
        }
        let corrupt = || StoreError::corrupt("journal", &key.to_bytes());
        let (facts, text) = Facts::decode(value).ok_or_else(corrupt)?;
        let text = std::str::from_utf8(text).map_err(|_| corrupt())?;
        let event = Event::read(text).map_err(|_| corrupt())?;
        let hour = event.created_at.unwrap_or(facts.received_at).hour();
        if let Err(error) = take(key.position, hour, &event) {
            failure = Some(error);
            return Ok(false);
        }
        Ok(true)
    })?;
    failure.map_or(Ok(()), Err)
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
