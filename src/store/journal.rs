//! Reads the journal of applied events.
//!
//! Events and the retention watermark are read from one snapshot, so that an expired offset yields
//! an explicit gap. Reading disturbs neither the writer thread nor the block cache. Blocks.

use std::sync::Arc;

use rocksdb::Direction;

use super::batch::Batch;
use super::database::{Database, Snapshot};
use super::error::StoreError;
use super::gaps;
use super::keys::{JournalKey, Key as _, MetaKey, MinuteKey};
use super::reader::APPLIED;
use super::rows::MinuteRow;
use super::rows::{JournalRow, decode_journal};
use crate::model::gap::Gap;
use crate::model::position::{BusTag, Position};
use crate::model::privacy::ExcludedNames;
use crate::model::window::{Minute, Timestamp};

/// Name of the cursor up to and including which the journal was dropped; kept for each bus.
pub const DROPPED: &str = "dropped";
/// Name, completed by the bus's tag, of the minute from which on the journal is complete.
const COMPLETE_FROM: &str = "journal_from";
/// Steps of the search for a readable event after a damaged one; the last skips 2^39 entries.
const DOUBLINGS: u32 = 40;
/// Most damaged places that one read steps over.
const DAMAGED_PLACES: usize = 1_000;

/// A snapshot of the journal of one bus.
pub struct Journal<'s> {
    snapshot: Snapshot<'s>,
    tag: BusTag,
    dropped: Option<Position>,
    /// Whose events are left out now; `None` for nobody.
    excluded: Option<Arc<ExcludedNames>>,
}

/// An item of the journal.
pub enum JournalItem<'v> {
    /// An event.
    Event(Position, JournalRow<'v>),
    /// An event that was kept before `privacy.exclude` left it out, and when it was received.
    LeftOut(Position, Timestamp),
    /// Unreadable events, up to and including this position.
    Damaged(Position),
}

impl JournalItem<'_> {
    /// Its position.
    #[must_use]
    pub fn position(&self) -> Position {
        let (Self::Event(position, _) | Self::LeftOut(position, _) | Self::Damaged(position)) =
            self;
        *position
    }
}

impl Database {
    /// A snapshot of the journal of a bus.
    pub fn journal(&self, tag: BusTag) -> Result<Journal<'_>, StoreError> {
        let snapshot = self.snapshot();
        let dropped = snapshot.cursor_on(DROPPED, tag)?;
        let excluded = Some(self.privacy.excluded()).filter(|names| !names.is_empty());
        let dropped = dropped.map(|cursor| cursor.position);
        Ok(Journal { snapshot, tag, dropped, excluded })
    }
}

fn complete_from_key(tag: BusTag) -> MetaKey {
    MetaKey(format!("{COMPLETE_FROM}.{:08x}", tag.0))
}

/// The minute in the row with this key, if there is one.
fn decode_complete_from(key: &MetaKey, row: Option<Vec<u8>>) -> Result<Option<Minute>, StoreError> {
    let Some(row) = row else { return Ok(None) };
    let minute = row.try_into().map(|bytes| Minute(i64::from_be_bytes(bytes)));
    minute.map(Some).map_err(|_| StoreError::corrupt("meta", &key.to_bytes()))
}

/// Records that the journal of a bus is complete from this minute on, and not before it. A later
/// minute that is recorded already stays.
pub(super) fn keep_complete_from(
    batch: &mut Batch<'_>,
    tag: BusTag,
    minute: Minute,
) -> Result<(), StoreError> {
    let key = complete_from_key(tag);
    let known = decode_complete_from(&key, batch.get(&key)?)?;
    let minute = known.map_or(minute, |known| known.max(minute));
    batch.put(&key, &minute.0.to_be_bytes());
    Ok(())
}

/// Corrects a minute that is still to come: the time of receipt of the bus's first event was wrong.
/// Nobody knows when that event came, but it was before `now`.
pub(super) fn correct_complete_from(
    batch: &mut Batch<'_>,
    tag: BusTag,
    now: Minute,
) -> Result<(), StoreError> {
    let key = complete_from_key(tag);
    let known = decode_complete_from(&key, batch.get(&key)?)?;
    let next = Minute(now.0.saturating_add(1));
    if known.is_some_and(|known| known > next) {
        batch.put(&key, &next.0.to_be_bytes());
    }
    Ok(())
}

/// Records that the journal of a bus begins in this minute, for the first time or after another bus
/// was in use.
pub fn begin_at(batch: &mut Batch<'_>, tag: BusTag, minute: Minute) {
    batch.put(&complete_from_key(tag), &minute.0.to_be_bytes());
}

impl Journal<'_> {
    /// The position of the last event that was dropped; `None` when none was.
    #[must_use]
    pub fn dropped(&self) -> Option<Position> {
        self.dropped
    }

    /// The gaps ahead of a subscriber that has everything up to `after`; see [`gaps::behind`].
    pub fn gaps(&self, after: Position, limit: usize) -> Result<Vec<Gap>, StoreError> {
        gaps::behind_at(&self.snapshot, self.tag, after, limit)
    }

    /// Whether an event was kept before `privacy.exclude` left it out.
    #[must_use]
    pub fn leaves_out(&self, row: &JournalRow<'_>) -> bool {
        self.excluded.as_ref().is_some_and(|excluded| row.is_among(excluded))
    }

    /// Passes the events after a position to `take`, oldest first, while it returns true.
    /// Unreadable events, and those that are left out, are passed over.
    pub fn read_behind(
        &self,
        after: Position,
        mut take: impl FnMut(Position, JournalRow<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.walk_behind(after, |step| match step {
            JournalItem::Event(position, row) => take(position, row),
            JournalItem::LeftOut(..) | JournalItem::Damaged(_) => Ok(true),
        })
    }

    /// The same, including the places of these: a damaged block on the disk costs the events in
    /// it, and no others.
    pub fn walk_behind(
        &self,
        after: Position,
        mut take: impl FnMut(JournalItem<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let (mut last, mut failure, mut ended) = (after, None, false);
        // Where the last retry began; when it fails too, the next one begins after it.
        let mut tried = after;
        for _ in 0..DAMAGED_PLACES {
            let from = JournalKey { tag: self.tag, position: last };
            let read = self.snapshot.walk(&from, Direction::Forward, |key: JournalKey, value| {
                if key.tag != self.tag {
                    return Ok(false);
                }
                if key.position <= last {
                    return Ok(true);
                }
                last = key.position;
                let step = match decode_journal(&key, value) {
                    Ok(row) if self.leaves_out(&row) => {
                        JournalItem::LeftOut(key.position, row.facts.received_at)
                    }
                    Ok(row) => JournalItem::Event(key.position, row),
                    Err(error) => self.damaged(&error, key.position),
                };
                let continues = take(step).unwrap_or_else(|error| {
                    failure = Some(error);
                    false
                });
                ended = !continues;
                Ok(continues)
            });
            if let Some(error) = failure {
                return Err(error);
            }
            let error = match read {
                Err(error) if error.is_damage() && !ended => error,
                read => return read,
            };
            let Some(next) = self.next_readable(last.max(tried))? else { return Err(error) };
            tried = next;
            last = next.before().unwrap_or_default().max(last);
            if !take(self.damaged(&error, last))? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A damaged place. The first read that meets it logs it.
    fn damaged(&self, error: &StoreError, last: Position) -> JournalItem<'static> {
        self.snapshot.database.mark_journal_damaged(error);
        JournalItem::Damaged(last)
    }

    /// Finds where reading works again after a position: an event, searched in doubling steps; else
    /// the beginning of the next minute; else the end of what was applied.
    fn next_readable(&self, after: Position) -> Result<Option<Position>, StoreError> {
        for doublings in 0..DOUBLINGS {
            let entry = after.entry.saturating_add(1 << doublings);
            match self.first_at(Position { entry, index: 0, ..after }) {
                Err(error) if error.is_damage() => {}
                Ok(None) => break,
                found => return found,
            }
        }
        let mut next: Option<Position> = None;
        self.each_minute(Minute(i64::MIN), |_, row| {
            if row.first > after {
                next = Some(next.map_or(row.first, |next| next.min(row.first)));
            }
        })?;
        if next.is_some() {
            return Ok(next);
        }
        let applied = self.snapshot.cursor_on(APPLIED, self.tag)?;
        let applied = applied.map(|cursor| cursor.position).filter(|applied| *applied > after);
        Ok(applied.map(|at| Position { index: at.index.saturating_add(1), ..at }))
    }

    /// The position of the first event at or after a position.
    fn first_at(&self, position: Position) -> Result<Option<Position>, StoreError> {
        let from = JournalKey { tag: self.tag, position };
        let mut first = None;
        self.snapshot.walk(&from, Direction::Forward, |key: JournalKey, _| {
            first = Some(key.position).filter(|_| key.tag == self.tag);
            Ok(false)
        })?;
        Ok(first)
    }

    /// Passes the events before a position to `take`, newest first, also those that are left out,
    /// while it returns true. Ends at the first unreadable event.
    pub fn read_before(
        &self,
        until: Position,
        mut take: impl FnMut(Position, JournalRow<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let from = JournalKey { tag: self.tag, position: until };
        let read = self.snapshot.walk(&from, Direction::Reverse, |key: JournalKey, value| {
            if key.tag != self.tag {
                return Ok(false);
            }
            take(key.position, decode_journal(&key, value)?)
        });
        match read {
            Err(error) if error.is_damage() => {
                self.damaged(&error, until);
                Ok(())
            }
            read => read,
        }
    }

    /// When the first readable event after a position was received, also if it is left out.
    pub fn first_received(&self, after: Position) -> Result<Option<Timestamp>, StoreError> {
        let mut first = None;
        self.walk_behind(after, |step| {
            first = match step {
                JournalItem::Event(_, row) => Some(row.facts.received_at),
                JournalItem::LeftOut(_, received_at) => Some(received_at),
                JournalItem::Damaged(_) => None,
            };
            Ok(first.is_none())
        })?;
        Ok(first)
    }

    /// The position of the newest event.
    pub fn newest(&self) -> Result<Option<Position>, StoreError> {
        let mut newest = None;
        self.read_before(gaps::LAST, |position, _| {
            newest = Some(position);
            Ok(false)
        })?;
        Ok(newest)
    }

    /// Whether the newest event comes from the simulated GitHub.
    pub fn is_simulated(&self) -> Result<bool, StoreError> {
        let mut is_simulated = false;
        self.read_before(gaps::LAST, |_, row| {
            is_simulated = row.facts.simulated;
            Ok(false)
        })?;
        Ok(is_simulated)
    }

    /// The minute from which on the journal has every event received on the bus; `None` when it is
    /// empty. It may be later than the minute of the oldest event, which may have arrived late,
    /// after the events around it were dropped.
    pub fn complete_from(&self) -> Result<Option<Minute>, StoreError> {
        let key = complete_from_key(self.tag);
        match decode_complete_from(&key, self.snapshot.get(&key)?)? {
            Some(minute) => Ok(Some(minute)),
            // Stores of older versions do not record it.
            None => self.oldest_minute(),
        }
    }

    fn oldest_minute(&self) -> Result<Option<Minute>, StoreError> {
        let mut oldest = None;
        let from = MinuteKey { tag: self.tag, minute: Minute(i64::MIN) };
        self.snapshot.walk(&from, Direction::Forward, |key: MinuteKey, _| {
            oldest = Some(key.minute).filter(|_| key.tag == self.tag);
            Ok(false)
        })?;
        Ok(oldest)
    }

    /// The lowest position of an event received in that minute or later; `None` when there is none.
    pub fn first_since(&self, minute: Minute) -> Result<Option<Position>, StoreError> {
        let mut first: Option<Position> = None;
        // Minutes are ordered by receipt, positions by the bus: minutes may overlap.
        self.each_minute(minute, |_, row| {
            first = Some(first.map_or(row.first, |first| first.min(row.first)));
        })?;
        Ok(first)
    }

    /// Passes the minutes of the journal from `from` on to `take`, by time of receipt.
    pub(super) fn each_minute(
        &self,
        from: Minute,
        mut take: impl FnMut(Minute, MinuteRow),
    ) -> Result<(), StoreError> {
        let from = MinuteKey { tag: self.tag, minute: from };
        self.snapshot.walk(&from, Direction::Forward, |key: MinuteKey, value| {
            if key.tag != self.tag {
                return Ok(false);
            }
            take(key.minute, MinuteRow::decode(&key, value)?);
            Ok(true)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::model::envelope::Facts;
    use crate::model::event::Event;
    use crate::model::event_index::EventIndex;
    use crate::store::retention::{RetentionOptions, drop_due};
    use crate::store::rows::push_journal;
    use crate::store::{Durability, Store};

    const TAG: BusTag = BusTag(9);
    /// Keeps the journal of the last minute.
    const LAST_MINUTE: RetentionOptions = RetentionOptions {
        tag: TAG,
        seen_for: Duration::from_secs(3_600),
        buckets: Duration::from_secs(3_600),
        journal_for: Duration::from_secs(60),
        journal_bytes: u64::MAX,
        held_by: None,
    };

    async fn put(store: &Store, minute: i64, entries: std::ops::Range<u64>) {
        let work = move |batch: &mut crate::store::Batch<'_>| {
            let received_at = Timestamp::from_seconds(minute * 60);
            let first = Position::counted(entries.start);
            for entry in entries {
                let mut row = Vec::new();
                Facts { received_at, ..Facts::default() }.encode(&mut row);
                row.extend_from_slice(format!("{{\"id\":\"{entry}\"}}").as_bytes());
                batch.put(&JournalKey { tag: TAG, position: Position::counted(entry) }, &row);
            }
            let row = MinuteRow { first, bytes: 10 };
            batch.put(&MinuteKey { tag: TAG, minute: Minute(minute) }, &row.encode());
            Ok(())
        };
        store.commit(work).await.unwrap();
    }

    fn open(dir: &Path) -> Store {
        Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap()
    }

    /// A new store with as many events, numbered from 1, in each of the minutes from 0 on.
    async fn filled(dir: &Path, minutes: i64, events: u64) -> Store {
        let store = open(dir);
        for minute in 0..minutes {
            let first = 1 + events * minute.cast_unsigned();
            put(&store, minute, first..first + events).await;
        }
        store
    }

    fn behind(journal: &Journal<'_>, after: u64) -> Vec<u64> {
        let mut found = Vec::new();
        let take = |position: Position, row: JournalRow<'_>| {
            assert_eq!(row.event, format!("{{\"id\":\"{}\"}}", position.entry));
            found.push(position.entry);
            Ok(found.len() < 4)
        };
        journal.read_behind(Position::counted(after), take).unwrap();
        found
    }

    /// Overwrites a part of the table that holds the oldest events.
    fn damage(dir: &Path) {
        let files = std::fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
        let tables = files.filter(|path| path.extension().is_some_and(|end| end == "sst"));
        let table = tables.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
        let mut bytes = std::fs::read(&table).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0);
        std::fs::write(&table, bytes).unwrap();
    }

    /// Whether `RocksDB` compacts the journal, according to the newest file of its options.
    fn is_compacted(dir: &Path) -> bool {
        let files = std::fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| {
            let number = path.file_name()?.to_str()?.strip_prefix("OPTIONS-")?;
            number.parse::<u64>().ok()
        };
        let newest = files.filter_map(|path| Some((named(&path)?, path))).max();
        let text = std::fs::read_to_string(newest.unwrap().1).unwrap();
        let (_, family) = text.split_once("[CFOptions \"journal\"]").unwrap();
        let (_, value) = family.split_once("disable_auto_compactions=").unwrap();
        value.starts_with("false")
    }

    #[tokio::test]
    async fn damaged_block_loses_only_its_events() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path(), 40, 500).await;
        assert!(!is_compacted(dir.path()), "it was not read");
        store.journal_was_read().unwrap();
        assert!(is_compacted(dir.path()));
        drop(store);
        // The write-ahead log is now in a table.
        drop(open(dir.path()));
        damage(dir.path());
        let store = open(dir.path());
        let journal = store.reader().journal(TAG).unwrap();
        let (mut read, mut missing, mut last) = (0, Vec::new(), 0);
        let walked = journal.walk_behind(Position::default(), |step| {
            match step {
                JournalItem::Event(position, _) => {
                    assert!(position.entry > last);
                    (read, last) = (read + 1, position.entry);
                }
                JournalItem::LeftOut(position, _) => panic!("{position:?} is left out"),
                JournalItem::Damaged(position) => {
                    missing.push(position.entry - last);
                    last = position.entry;
                }
            }
            Ok(true)
        });
        walked.unwrap();
        assert_eq!(read + missing.iter().sum::<u64>(), 20_000);
        assert!((1..=3).contains(&missing.len()), "{missing:?}");
        assert!(read > 15_000 && last == 20_000, "{read} up to {last}");
        store.journal_was_read().unwrap();
        assert!(!is_compacted(dir.path()), "a compaction would meet the damaged block");
        // Retention drops the damaged part.
        for minute in [20, 21, 40] {
            drop_due(&store, LAST_MINUTE, Timestamp::from_seconds(minute * 60)).await.unwrap();
        }
        let journal = store.reader().journal(TAG).unwrap();
        assert_eq!(journal.dropped(), Some(Position::counted(19_500)));
    }

    #[tokio::test]
    async fn events_that_are_left_out_now_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let text = |actor: &str| format!(r#"{{"type":"A","actor":{{"login":"{actor}"}}}}"#);
        let texts = ["bob", "Ann", "ann", "bob"].map(text);
        let work = move |batch: &mut crate::store::Batch<'_>| {
            for (number, text) in (1_u64..).zip(&texts) {
                let received_at = Timestamp::from_seconds(number.cast_signed());
                let facts = Facts { received_at, ..Facts::default() };
                let event = Event::read(text).unwrap();
                let mut row = Vec::new();
                if number == 2 {
                    // As an older version wrote it.
                    facts.encode(&mut row);
                    row.extend_from_slice(text.as_bytes());
                } else {
                    push_journal(&mut row, &EventIndex::of(&event, &facts), &facts, text);
                }
                batch.put(&JournalKey { tag: TAG, position: Position::counted(number) }, &row);
            }
            Ok(())
        };
        store.commit(work).await.unwrap();
        let walk = || {
            let (mut shown, mut left_out) = (Vec::new(), Vec::new());
            let journal = store.reader().journal(TAG).unwrap();
            let walked = journal.walk_behind(Position::default(), |step| {
                match step {
                    JournalItem::Event(at, _) => shown.push(at.entry),
                    JournalItem::LeftOut(at, _) => left_out.push(at.entry),
                    JournalItem::Damaged(at) => panic!("{at:?} is damaged"),
                }
                Ok(true)
            });
            walked.unwrap();
            (shown, left_out)
        };
        assert_eq!(walk(), (vec![1, 2, 3, 4], vec![]));
        store.privacy().set(&["ann".to_owned()], false);
        assert_eq!(walk(), (vec![1, 4], vec![2, 3]));
        store.privacy().set(&["bob".to_owned()], false);
        assert_eq!(walk(), (vec![2, 3], vec![1, 4]));
        // Its ends stay where they are.
        let journal = store.reader().journal(TAG).unwrap();
        assert_eq!(journal.newest().unwrap(), Some(Position::counted(4)));
        let first = journal.first_received(Position::default()).unwrap();
        assert_eq!(first, Some(Timestamp::from_seconds(1)));
        let first = journal.first_received(Position::counted(1)).unwrap();
        assert_eq!(first, Some(Timestamp::from_seconds(2)));
        let oldest = crate::store::reach::reach(store.reader(), TAG).unwrap().oldest;
        assert_eq!(oldest, Some(Timestamp::from_seconds(1)));
    }

    #[tokio::test]
    async fn snapshot_has_the_dropped_position_and_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path(), 4, 3).await;
        let before = store.reader().journal(TAG).unwrap();
        drop_due(&store, LAST_MINUTE, Timestamp::from_seconds(3 * 60)).await.unwrap();
        let after = store.reader().journal(TAG).unwrap();

        assert_eq!((before.dropped(), behind(&before, 2)), (None, vec![3, 4, 5, 6]));
        assert_eq!(after.dropped(), Some(Position::counted(6)));
        assert_eq!(behind(&after, 0), [7, 8, 9, 10]);
        assert_eq!(behind(&after, 11), [12]);
        assert_eq!(after.first_since(Minute(3)).unwrap(), Some(Position::counted(10)));
        assert_eq!(after.first_since(Minute(4)).unwrap(), None);
        let dropped = store.watermarks().dropped.borrow().get(&TAG).copied();
        assert_eq!(dropped, Some(Position::counted(6)));
        let other = store.reader().journal(BusTag(8)).unwrap();
        assert_eq!((other.dropped(), behind(&other, 0)), (None, Vec::new()));

        let mut newest = Vec::new();
        let take = |position: Position, _: JournalRow<'_>| {
            newest.push(position.entry);
            Ok(newest.len() < 3)
        };
        after.read_before(Position::counted(12), take).unwrap();
        assert_eq!(newest, [11, 10, 9]);
    }
}
