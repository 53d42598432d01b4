//! Hours of the journal become files.
//!
//! The journal is in the order of arrival, files are by the hour of `created_at`: one reading of
//! the journal sorts its events into as many files as are open at once, and is repeated for hours
//! that found no place. An event that does not say when it was created is of the hour in which it
//! was received. Each pass of the stage begins behind the last event before the first of an hour
//! that was not settled; what it sees again, the files tell it.
//!
//! Whoever imports a file takes it for the whole hour. An hour that the journal does not hold from
//! its beginning is said to be cut, and the stage begins no file of one: not of the hour in which
//! it was started, not of older ones that a late event is of. A file that is there gets what is
//! late.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::name::HourName;
use super::partial_file::PartialFile;
use super::{ArchiveError, SETTLED, file_name};
use crate::clock::Clock;
use crate::clock::witness::{LOOK, Witness};
use crate::model::event::Event;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::{Hour, Minute, Timestamp};
use crate::store::journal::JournalItem;
use crate::store::keys::{JournalKey, Key as _, MetaKey};
use crate::store::{Reader, Store, StoreError};
use crate::sync::blocking;
use crate::sync::lock;

/// Files that are written at the same time.
const OPEN: usize = 48;
/// GitHub's clock may be ahead of ours: so much earlier than it was created an event may have come.
const AHEAD: i64 = 15;
/// Hours before the one behind a damaged place that are said to be cut at most: a year.
const DAMAGED_HOURS: i64 = 366 * 24;
/// How often the stage looks whether an hour is due.
const EVERY: Duration = Duration::from_secs(30);
/// Name of the cursor behind which everything is exported.
const CURSOR: &str = "archive";
/// Name of the first hour that was not settled when that cursor was put: what was received of it
/// and of later ones is behind the cursor.
const UNTIL: &str = "exported_until";

/// One at a time in a process: two would write under the same hidden names.
static WRITING: Mutex<()> = Mutex::new(());

/// What was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// The hours, oldest first.
    pub hours: Vec<WrittenHour>,
    /// The hour that the journal begins in, by name; `None` when it begins before what was asked
    /// for, or is empty.
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
    /// Whether the journal may lack the hour's beginning: then so does the file, unless it had it
    /// before.
    pub cut: bool,
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
    let whole = reader.journal(applied.tag)?.complete_from()?;
    let whole = whole.filter(|whole| !is_before(*whole, from));
    let begins_within = whole.map(|whole| HourName(hour_of(whole)).to_string());
    let minute = Minute(first_minute(from).0.saturating_sub(AHEAD));
    let Some(position) = reader.journal(applied.tag)?.first_since(minute)? else {
        return Ok(Exported { hours: Vec::new(), begins_within });
    };
    let start = Cursor { tag: applied.tag, position };
    let wanted = WantedHours { hours: from..until, since: from, cut_too: true };
    let hours = write(reader, start, &wanted, dir)?.hours;
    Ok(Exported { hours, begins_within })
}

/// Exports each hour once it is settled, and what comes late, until `stop` is called. Whether an
/// hour is settled is decided by a clock that is not contradicted. A disk that fails is not a
/// reason to stop: it is said, and tried again. `went` learns how each pass went.
pub async fn run(
    store: Store,
    dir: PathBuf,
    (witness, went): (Arc<Witness>, impl Fn(Option<&ArchiveError>) + Send),
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut done = None;
    loop {
        let until = witness.scheduled_now().map(settled_until);
        if let Some(until) = until.filter(|until| done != Some(*until)) {
            let passed = pass(&store, until, &dir).await;
            went(passed.as_ref().err());
            match passed {
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
            () = clock.sleep(until.map_or(LOOK, |_| EVERY)) => {}
        }
    }
}

async fn pass(store: &Store, until: Hour, dir: &Path) -> Result<Vec<WrittenHour>, ArchiveError> {
    let (reading, dir) = (store.clone(), dir.to_owned());
    let work = move || -> Result<_, ArchiveError> {
        std::fs::create_dir_all(&dir).map_err(ArchiveError::file("create", &dir))?;
        let reader = reading.reader();
        let Some(applied) = applied(reader)? else { return Ok(WrittenHours::default()) };
        let known = reader.cursor_on(CURSOR, applied.tag)?;
        let (start, since) = match known.zip(exported_until(reader)?) {
            Some(known) => known,
            None => (Cursor { tag: applied.tag, position: Position::default() }, Hour(i64::MIN)),
        };
        let wanted = WantedHours { hours: Hour(i64::MIN)..until, since, cut_too: false };
        write(reader, start, &wanted, &dir)
    };
    let written = blocking(work).await.map_err(StoreError::from)??;
    if let (Some(first), Some(last)) = (written.left_out.first(), written.left_out.last()) {
        let hours = written.left_out.len();
        let (first, last) = (HourName(*first), HourName(*last));
        tracing::info!(hours, %first, %last, "hours that are not whole here get no file");
    }
    if let Some(behind) = written.behind {
        let kept = store.commit(move |batch| {
            batch.put_cursor(CURSOR, behind)?;
            batch.put(&MetaKey(UNTIL.to_owned()), &until.0.to_be_bytes());
            Ok(())
        });
        kept.await?;
    }
    Ok(written.hours)
}

/// The end of the journal, and by its tag the bus that it is of.
fn applied(reader: Reader<'_>) -> Result<Option<Cursor>, StoreError> {
    reader.applied()
}

/// The first hour that the last pass took for one that was not settled.
fn exported_until(reader: Reader<'_>) -> Result<Option<Hour>, StoreError> {
    let row = reader.get(&MetaKey(UNTIL.to_owned()))?;
    Ok(row.and_then(|value| value.try_into().ok()).map(|hour| Hour(i64::from_be_bytes(hour))))
}

fn first_minute(hour: Hour) -> Minute {
    Minute(hour.0.saturating_mul(60))
}

fn hour_of(minute: Minute) -> Hour {
    Hour(minute.0.div_euclid(60))
}

/// Whether a journal that is complete from that minute on has the hour from its beginning: events
/// are received about when they are created, or later.
fn is_before(minute: Minute, hour: Hour) -> bool {
    minute < first_minute(hour)
}

/// Which hours are to be written.
struct WantedHours {
    hours: Range<Hour>,
    /// What the journal holds of this hour and of later ones is in what is read; of earlier ones
    /// it is what came late.
    since: Hour,
    /// Whether hours that are cut get files too.
    cut_too: bool,
}

impl WantedHours {
    /// Whether what is read may lack the beginning of an hour. To be asked while the journal is
    /// read: what has been dropped of it by then, the reading may still see.
    fn cuts(&self, reader: Reader<'_>, tag: BusTag, hour: Hour) -> Result<bool, StoreError> {
        let whole = reader.journal(tag)?.complete_from()?;
        Ok(hour < self.since || !whole.is_some_and(|whole| is_before(whole, hour)))
    }
}

/// What was written, and what was not.
#[derive(Default)]
struct WrittenHours {
    hours: Vec<WrittenHour>,
    /// Hours that are cut and have no file.
    left_out: BTreeSet<Hour>,
    /// Behind it is no event of another hour than the wanted ones; `None` when the first is of one.
    behind: Option<Cursor>,
}

/// Writes the files of wanted hours from events at or behind `start`.
fn write(
    reader: Reader<'_>,
    start: Cursor,
    wanted: &WantedHours,
    dir: &Path,
) -> Result<WrittenHours, ArchiveError> {
    write_with(reader, start, wanted, dir, OPEN)
}

/// The same with so many files at the same time.
fn write_with(
    reader: Reader<'_>,
    start: Cursor,
    wanted: &WantedHours,
    dir: &Path,
    open: usize,
) -> Result<WrittenHours, ArchiveError> {
    let _alone = lock(&WRITING);
    let mut done: BTreeMap<Hour, WrittenHour> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    let (mut behind, mut is_whole) = (None, true);
    loop {
        let mut drafts: BTreeMap<Hour, (PartialFile, bool)> = BTreeMap::new();
        let mut later = BTreeSet::new();
        let is_first = done.is_empty();
        let damaged = each_event(reader, start, |position, hour, event| {
            if !wanted.hours.contains(&hour) {
                is_whole = false;
                return Ok(());
            }
            if is_first && is_whole {
                behind = Some(Cursor { tag: start.tag, position });
            }
            if done.contains_key(&hour) || left_out.contains(&hour) {
                return Ok(());
            }
            if drafts.len() >= open && !drafts.contains_key(&hour) {
                later.insert(hour);
                return Ok(());
            }
            let (draft, _) = match drafts.entry(hour) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let cut = wanted.cuts(reader, start.tag, hour)?;
                    let draft = PartialFile::open(dir, hour)?;
                    if cut && !wanted.cut_too && !draft.is_there() {
                        left_out.insert(hour);
                        return Ok(());
                    }
                    new.insert((draft, cut))
                }
            };
            draft.add(event)
        })?;
        for (hour, (draft, mut cut)) in drafts {
            if damaged.contains(&hour) {
                cut = true;
                if !wanted.cut_too && !draft.is_there() {
                    left_out.insert(hour);
                    continue;
                }
            }
            let (events, fresh) = draft.finish()?;
            let file = dir.join(file_name(hour));
            done.insert(hour, WrittenHour { file, events, fresh, cut });
        }
        if later.is_empty() {
            return Ok(WrittenHours { hours: done.into_values().collect(), left_out, behind });
        }
    }
}

/// Calls `take` with each event of the journal from a position on. Gives back the hours of which
/// events may be among those that cannot be read.
fn each_event(
    reader: Reader<'_>,
    start: Cursor,
    mut take: impl FnMut(Position, Hour, &Event<'_>) -> Result<(), ArchiveError>,
) -> Result<BTreeSet<Hour>, ArchiveError> {
    let mut failure = None;
    let (mut damaged, mut received, mut was_damaged) = (BTreeSet::new(), None, false);
    let before = start.position.before().unwrap_or_default();
    reader.journal(start.tag)?.walk_behind(before, |step| {
        let (position, row) = match step {
            JournalItem::Event(position, row) => (position, row),
            JournalItem::Damaged(_) => {
                was_damaged = true;
                return Ok(true);
            }
        };
        let key = JournalKey { tag: start.tag, position };
        let corrupt = |_| StoreError::corrupt("journal", &key.to_bytes());
        let event = Event::read(row.event).map_err(corrupt)?;
        let now = row.facts.received_at.hour();
        if std::mem::take(&mut was_damaged) {
            // Events are of the hour in which they were received, or of the one before it.
            let first = received.unwrap_or(now).0.max(now.0 - DAMAGED_HOURS) - 1;
            damaged.extend((first..=now.0).map(Hour));
        }
        received = Some(now);
        let hour = event.created_at.unwrap_or(row.facts.received_at).hour();
        if let Err(error) = take(position, hour, &event) {
            failure = Some(error);
            return Ok(false);
        }
        Ok(true)
    })?;
    if was_damaged && let Some(last) = received {
        damaged.extend([Hour(last.0 - 1), last]);
    }
    failure.map_or(Ok(damaged), Err)
}

#[cfg(test)]
mod tests;
