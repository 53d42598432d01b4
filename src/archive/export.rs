//! Exports hours of the journal as files.
//!
//! The journal is in the order of arrival, files are by the hour of `created_at`: one pass over the
//! journal distributes its events to as many files as may be open at once, and is repeated for the
//! remaining hours. An event without a creation time belongs to the hour in which it was received.
//! Each pass of the stage begins behind the last event before the first one of an unsettled hour;
//! events that it reads again are deduplicated against the files.
//!
//! An importer treats a file as the whole hour. So an hour whose beginning the journal does not
//! have is reported as cut, and the stage creates no file for one: neither for the hour in which it
//! was started, nor for older hours of late events, nor for one that begins in a gap. An hour with
//! a gap later than its beginning still gets its file. Late events are added to existing files.

mod missed;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch::Sender;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::missed::MissedTimes;
use super::error::ArchiveError;
use super::partial_file::PartialFile;
use super::sidecar::{self, WrittenHour};
use super::sole_writer::{COMMAND_WAIT, STAGE_WAIT, SoleWriter};
use super::target::ArchiveTarget;
use crate::clock::Clock;
use crate::clock::witness::{LOOK, Witness};
use crate::model::event::Event;
use crate::model::hour_file::HourName;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::{Hour, Minute, Timestamp};
use crate::private;
use crate::store::journal::JournalItem;
use crate::store::keys::{JournalKey, Key as _, MetaKey};
use crate::store::{Reader, Store, StoreError};
use crate::sync::blocking;

/// How long after its end an hour's file is written: GitHub serves most events within minutes, some
/// hours late. Later events go into a file that replaces the first.
pub const SETTLED: Duration = Duration::from_secs(600);

/// The most files that are written at the same time.
const OPEN: usize = 48;
/// The most passes of one export: 48 hours each, unless `privacy.exclude` changes meanwhile.
const PASSES: usize = 10_000;
/// GitHub's clock may be ahead of ours: an event may arrive up to this long before it was created.
const AHEAD: i64 = 15;
/// The most hours before a damaged range that are reported as cut: a year.
const DAMAGED_HOURS: i64 = 366 * 24;
/// How often the stage checks whether an hour is due.
const EVERY: Duration = Duration::from_secs(30);
/// Name of the cursor: everything up to it is exported.
const CURSOR: &str = "archive";
/// Key of the first unsettled hour when that cursor was stored: its events and later ones are
/// behind the cursor.
const UNTIL: &str = "exported_until";

/// The result of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exported {
    /// The hours, oldest first.
    pub hours: Vec<WrittenHour>,
    /// Name of the hour in which the journal begins; `None` when it begins before the requested
    /// range, or is empty.
    pub begins_within: Option<String>,
}

/// The first unsettled hour: earlier hours are exported.
#[must_use]
pub fn settled_until(now: Timestamp) -> Hour {
    now.minus(SETTLED).hour()
}

/// Writes the files of the hours in `from..until` that the journal has events of. Blocks.
pub fn export(
    store: &Store,
    from: Hour,
    until: Hour,
    to: &ArchiveTarget,
) -> Result<Exported, ArchiveError> {
    let reader = store.reader();
    let Some(applied) = reader.applied()? else { return Ok(Exported::default()) };
    let whole = reader.journal(applied.tag)?.complete_from()?;
    let whole = whole.filter(|whole| !is_before(*whole, from));
    let begins_within = whole.map(|whole| HourName(hour_of(whole)).to_string());
    let minute = Minute(first_minute(from).0.saturating_sub(AHEAD));
    let Some(position) = reader.journal(applied.tag)?.first_since(minute)? else {
        return Ok(Exported { hours: Vec::new(), begins_within });
    };
    let start = Cursor { tag: applied.tag, position };
    let wanted = WantedHours { hours: from..until, since: from, cut_too: true };
    let hours = write(reader, start, &wanted, to, OPEN)?.hours.into_values().collect();
    Ok(Exported { hours, begins_within })
}

/// Exports each hour once it is settled, and late events, until `stop` is cancelled. An hour counts
/// as settled only by a clock that GitHub's does not contradict. A failing disk does not end the
/// stage: the error is reported and the pass retried. An hour whose file is damaged is reported
/// with each pass, until the file can be extended or is removed; the others are written. `went`
/// receives the result of each pass, and `exported` the first hour that is not exported yet.
pub async fn run(
    store: Store,
    to: ArchiveTarget,
    witness: Arc<Witness>,
    (went, exported): (impl Fn(Option<&ArchiveError>) + Send, Sender<Option<Hour>>),
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (mut done, mut busy) = (None, BusyDirectory::default());
    let mut unusable = BTreeSet::new();
    loop {
        let until = witness.scheduled_now().map(settled_until);
        if let Some(until) = until.filter(|until| done != Some(*until)) {
            let passed = pass(&store, until, &to, &unusable).await;
            let is_busy = passed.as_ref().is_err_and(ArchiveError::is_busy);
            let now = clock.instant();
            busy.record(is_busy, now);
            let is_tolerated = busy.is_tolerated(now);
            if !is_tolerated {
                went(passed.as_ref().map_or_else(Some, |written| written.unusable.values().last()));
            }
            match passed {
                Ok(written) => {
                    for error in written.unusable.values() {
                        tracing::error!(%error, "the archive leaves events out");
                    }
                    for hour in written.hours.values().filter(|hour| hour.fresh > 0) {
                        let file = hour.file.display();
                        tracing::info!(%file, hour.events, hour.fresh, "exported an hour");
                    }
                    unusable = written.unusable.into_keys().collect();
                    done = Some(until);
                    exported.send_replace(done);
                }
                Err(ArchiveError::Store(error)) => return Err(error.into()),
                Err(error) if is_tolerated => {
                    tracing::info!(%error, "hours are exported later");
                }
                Err(error) => tracing::error!(%error, "cannot export hours; retrying"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = clock.sleep(until.map_or(LOOK, |_| EVERY)) => {}
        }
    }
}

/// Since when another program has written to the directory, so that passes have no result.
#[derive(Debug, Default)]
struct BusyDirectory {
    since: Option<Instant>,
}

impl BusyDirectory {
    /// Records what a pass found.
    fn record(&mut self, is_busy: bool, now: Instant) {
        self.since = is_busy.then(|| self.since.unwrap_or(now));
    }

    /// Whether it is busy and that is not a failure yet: for as long as a command would wait.
    fn is_tolerated(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < COMMAND_WAIT.most)
    }
}

/// Writes what has come since the last pass. `unusable` are the hours whose files the last pass
/// could not extend.
async fn pass(
    store: &Store,
    until: Hour,
    to: &ArchiveTarget,
    unusable: &BTreeSet<Hour>,
) -> Result<WrittenHours, ArchiveError> {
    let (reading, to, unusable) = (store.clone(), to.clone(), unusable.clone());
    let work = move || -> Result<_, ArchiveError> {
        private::create_open_dir_all(&to.dir).map_err(ArchiveError::file("create", &to.dir))?;
        let reader = reading.reader();
        let Some(applied) = reader.applied()? else { return Ok(WrittenHours::default()) };
        let known = reader.cursor_on(CURSOR, applied.tag)?;
        let (start, since) = match known.zip(exported_until(reader)?) {
            Some(known) => known,
            None => (Cursor { tag: applied.tag, position: Position::default() }, Hour(i64::MIN)),
        };
        let wanted = WantedHours { hours: Hour(i64::MIN)..until, since, cut_too: false };
        let mut written = write(reader, start, &wanted, &to, OPEN)?;
        for hour in unusable {
            match PartialFile::open(&to, hour) {
                Err(error) if error.is_of_one_file() => {
                    written.unusable.insert(hour, error.of_an_hour());
                }
                opened => drop(opened?),
            }
        }
        while written.unusable.len() > OPEN {
            written.unusable.pop_first();
        }
        Ok(written)
    };
    let written = blocking(work).await.map_err(StoreError::from)??;
    if let (Some(first), Some(last)) = (written.left_out.first(), written.left_out.last()) {
        let hours = written.left_out.len();
        let (first, last) = (HourName(*first), HourName(*last));
        let why = "incomplete hours, or those with files that cannot be extended, are not exported";
        tracing::info!(hours, %first, %last, "{why}");
    }
    if let Some(behind) = written.behind {
        let kept = store.commit(move |batch| {
            batch.put_cursor(CURSOR, behind)?;
            batch.put(&MetaKey(UNTIL.to_owned()), &until.0.to_be_bytes());
            Ok(())
        });
        kept.await?;
    }
    Ok(written)
}

/// The first hour that the last pass left unsettled.
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

/// Whether a journal that is complete from `since` on has the hour from its beginning: events are
/// received about when they are created, or later.
fn is_before(minute: Minute, hour: Hour) -> bool {
    minute < first_minute(hour)
}

/// The hours to write.
struct WantedHours {
    hours: Range<Hour>,
    /// The range holds everything the journal has of this hour and of later ones, and late events
    /// of earlier ones.
    since: Hour,
    /// Whether cut hours are written too: a command does, the stage does not.
    cut_too: bool,
}

impl WantedHours {
    /// Whether the range may be missing the beginning of an hour. Call this while the journal is
    /// read: rows that are dropped by then may still be visible to the reader.
    fn cuts(&self, reader: Reader<'_>, tag: BusTag, hour: Hour) -> Result<bool, StoreError> {
        let whole = reader.journal(tag)?.complete_from()?;
        Ok(hour < self.since || !whole.is_some_and(|whole| is_before(whole, hour)))
    }

    /// Starts or extends the file of an hour; `None` when the stage leaves the hour out. A file
    /// that was exported for lists into the directory of the stage must not end the archive.
    fn open(
        &self,
        to: &ArchiveTarget,
        hour: Hour,
        cut: bool,
    ) -> Result<Option<PartialFile>, ArchiveError> {
        let file = match PartialFile::open(to, hour) {
            Err(error @ ArchiveError::OtherLists { .. }) if !self.cut_too => {
                tracing::error!(%error, "the archive leaves an hour out; other hours are written");
                return Ok(None);
            }
            opened => opened?,
        };
        Ok((self.cut_too || !cut || file.is_there()).then_some(file))
    }

    /// Whether other hours are written although the file of one cannot be. A command fails.
    fn goes_on_after(&self, error: &ArchiveError) -> bool {
        !self.cut_too && error.is_of_one_file()
    }
}

/// The result of a pass.
#[derive(Default)]
struct WrittenHours {
    hours: BTreeMap<Hour, WrittenHour>,
    /// Cut hours without a file, and hours with files that cannot be extended.
    left_out: BTreeSet<Hour>,
    /// Hours whose files cannot be extended because they are damaged: their late events are left
    /// out.
    unusable: BTreeMap<Hour, ArchiveError>,
    /// Up to here are only events of the wanted hours; `None` when the first event is of another
    /// hour.
    behind: Option<Cursor>,
}

/// Writes the files of wanted hours from events at or behind `start`, up to `open` at the same
/// time.
fn write(
    reader: Reader<'_>,
    start: Cursor,
    wanted: &WantedHours,
    to: &ArchiveTarget,
    open: usize,
) -> Result<WrittenHours, ArchiveError> {
    let written = WrittenHours::default();
    let mut export = RunningExport { reader, start, wanted, to, written, is_whole: true };
    let wait = if wanted.cut_too { COMMAND_WAIT } else { STAGE_WAIT };
    for _ in 0..PASSES {
        let _alone = SoleWriter::wait(&to.dir, wait)?;
        let files = export.read(open)?;
        if export.finish(files)? {
            return Ok(export.written);
        }
    }
    Err(ArchiveError::Passes { most: PASSES })
}

/// An export that reads the journal pass by pass.
struct RunningExport<'e> {
    reader: Reader<'e>,
    start: Cursor,
    wanted: &'e WantedHours,
    to: &'e ArchiveTarget,
    written: WrittenHours,
    /// Whether all events so far are of wanted hours.
    is_whole: bool,
}

/// The files of a pass.
struct PassFiles {
    /// Each with whether its beginning may be missing.
    files: BTreeMap<Hour, (PartialFile, bool)>,
    /// Hours that unreadable events may belong to.
    damaged: BTreeSet<Hour>,
    /// Whether other hours need another pass.
    has_later: bool,
    /// How often the rules of privacy were replaced before the pass.
    rules: u64,
}

impl RunningExport<'_> {
    /// Distributes the events of the journal to up to `open` files.
    fn read(&mut self, open: usize) -> Result<PassFiles, ArchiveError> {
        let Self { reader, start, wanted, to, written, is_whole } = self;
        let WrittenHours { hours: done, left_out, unusable, behind } = written;
        let mut files: BTreeMap<Hour, (PartialFile, bool)> = BTreeMap::new();
        let (mut has_later, rules) = (false, reader.privacy().changes());
        let (is_first, mut missed) = (done.is_empty(), None);
        let damaged = each_event(reader, *start, |position, hour, event, is_simulated| {
            if !wanted.hours.contains(&hour) {
                *is_whole = false;
                return Ok(());
            }
            if is_first && *is_whole {
                *behind = Some(Cursor { tag: start.tag, position });
            }
            if done.contains_key(&hour) || left_out.contains(&hour) || !to.takes(event) {
                return Ok(());
            }
            if files.len() >= open && !files.contains_key(&hour) {
                has_later = true;
                return Ok(());
            }
            let (file, _) = match files.entry(hour) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    // After the journal began to be read: every gap in what is read is among them.
                    let missed = match &mut missed {
                        Some(missed) => missed,
                        none => none.insert(MissedTimes::find(reader, start.tag)?),
                    };
                    let cut =
                        missed.covers_start_of(hour) || wanted.cuts(reader, start.tag, hour)?;
                    let file = match wanted.open(to, hour, cut) {
                        Err(error) if wanted.goes_on_after(&error) => {
                            unusable.insert(hour, error.of_an_hour());
                            None
                        }
                        opened => opened?,
                    };
                    let Some(file) = file else {
                        left_out.insert(hour);
                        return Ok(());
                    };
                    new.insert((file, cut))
                }
            };
            file.is_simulated |= is_simulated;
            file.add(event)
        })?;
        Ok(PassFiles { files, damaged, has_later, rules })
    }

    /// Brings the files to their names. Returns whether all hours are done. A file that does not
    /// have its name when `privacy.exclude` changes is dropped, and written anew by the next pass:
    /// it may have events that are left out now.
    fn finish(&mut self, pass: PassFiles) -> Result<bool, ArchiveError> {
        let PassFiles { files, damaged, has_later, rules } = pass;
        let (reader, to) = (self.reader, self.to);
        let is_current = || reader.privacy().changes() == rules;
        for (hour, (file, mut cut)) in files {
            if !is_current() {
                return Ok(false);
            }
            if damaged.contains(&hour) {
                cut = true;
                if !self.wanted.cut_too && !file.is_there() {
                    self.written.left_out.insert(hour);
                    continue;
                }
            }
            let written = file.written(cut);
            let beside = || sidecar::write(reader, to, hour, &written);
            match file.finish_with(to, is_current, beside) {
                Ok(true) => drop(self.written.hours.insert(hour, written)),
                Ok(false) => return Ok(false),
                Err(error) if self.wanted.goes_on_after(&error) => {
                    self.written.left_out.insert(hour);
                    self.written.unusable.insert(hour, error.of_an_hour());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(!has_later)
    }
}

/// Calls `take` with each event of the journal from a position on, and whether it is simulated.
/// Returns the hours that unreadable events may belong to.
fn each_event(
    reader: Reader<'_>,
    start: Cursor,
    mut take: impl FnMut(Position, Hour, &Event<'_>, bool) -> Result<(), ArchiveError>,
) -> Result<BTreeSet<Hour>, ArchiveError> {
    let mut failure = None;
    let (mut damaged, mut received, mut was_damaged) = (BTreeSet::new(), None, false);
    let before = start.position.before().unwrap_or_default();
    reader.journal(start.tag)?.walk_behind(before, |step| {
        let (position, row) = match step {
            JournalItem::Event(position, row) => (position, row),
            JournalItem::LeftOut(..) => return Ok(true),
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
            // Events belong to the hour in which they were received, or to the one before it.
            let first = received.unwrap_or(now).0.max(now.0 - DAMAGED_HOURS) - 1;
            damaged.extend((first..=now.0).map(Hour));
        }
        received = Some(now);
        let hour = event.created_at.unwrap_or(row.facts.received_at).hour();
        if let Err(error) = take(position, hour, &event, row.facts.simulated) {
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
