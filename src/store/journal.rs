//! The journal, read by who follows the stream.
//!
//! A stretch is read as of one moment, and with it how far retention has come: so whoever reads
//! from a place that is gone is told, and never led past a hole. Reading disturbs neither the
//! writing thread nor what is kept in memory for it. Blocks.

use super::database::{Database, Moment};
use super::keys::{CursorKey, JournalKey, MinuteKey};
use super::retention::MinuteRow;
use super::rows::{JournalRow, decode_cursor, decode_journal};
use super::{Reader, StoreError};
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::Minute;

/// Name of the cursor up to which retention has dropped the journal, that event included.
pub const DROPPED: &str = "dropped";

/// The journal of one bus at one moment.
pub struct Journal<'s> {
    moment: Moment<'s>,
    tag: BusTag,
    dropped: Option<Position>,
}

/// Reads how far retention has come, on whatever bus.
pub(super) fn dropped(database: &Database) -> Result<Option<Cursor>, StoreError> {
    let value = database.get(&CursorKey(DROPPED.to_owned()))?;
    value.map(|value| decode_cursor(DROPPED, &value)).transpose()
}

impl<'s> Reader<'s> {
    /// The journal of a bus as it is now.
    pub fn journal(&self, tag: BusTag) -> Result<Journal<'s>, StoreError> {
        let moment = self.database.moment();
        let value = moment.get(&CursorKey(DROPPED.to_owned()))?;
        let dropped = value.map(|value| decode_cursor(DROPPED, &value)).transpose()?;
        let dropped = dropped.filter(|cursor| cursor.tag == tag).map(|cursor| cursor.position);
        Ok(Journal { moment, tag, dropped })
    }
}

impl Journal<'_> {
    /// The last event that retention has dropped; `None` when it has dropped none.
    #[must_use]
    pub fn dropped(&self) -> Option<Position> {
        self.dropped
    }

    /// The events behind a position, oldest first, while `take` returns true.
    pub fn read_behind(
        &self,
        after: Position,
        mut take: impl FnMut(Position, JournalRow<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let from = JournalKey { tag: self.tag, position: after };
        self.moment.walk(&from, rocksdb::Direction::Forward, |key: JournalKey, value| {
            if key.tag != self.tag {
                return Ok(false);
            }
            if key.position == after {
                return Ok(true);
            }
            take(key.position, decode_journal(&key, value)?)
        })
    }

    /// The events before a position, newest first, while `take` returns true.
    pub fn read_before(
        &self,
        until: Position,
        mut take: impl FnMut(Position, JournalRow<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let from = JournalKey { tag: self.tag, position: until };
        self.moment.walk(&from, rocksdb::Direction::Reverse, |key: JournalKey, value| {
            if key.tag != self.tag {
                return Ok(false);
            }
            take(key.position, decode_journal(&key, value)?)
        })
    }

    /// The newest event's position.
    pub fn newest(&self) -> Result<Option<Position>, StoreError> {
        let end = Position { ledger: u64::MAX, entry: u64::MAX, index: u32::MAX };
        let mut newest = None;
        self.read_before(end, |position, _| {
            newest = Some(position);
            Ok(false)
        })?;
        Ok(newest)
    }

    /// The oldest minute in which an event that is kept was received.
    pub fn oldest_minute(&self) -> Result<Option<Minute>, StoreError> {
        let mut oldest = None;
        let from = MinuteKey { tag: self.tag, minute: Minute(i64::MIN) };
        self.moment.walk(&from, rocksdb::Direction::Forward, |key: MinuteKey, _| {
            oldest = Some(key.minute).filter(|_| key.tag == self.tag);
            Ok(false)
        })?;
        Ok(oldest)
    }

    /// The lowest position of an event received in that minute or later; `None` when there is no
    /// such event.
    pub fn first_since(&self, minute: Minute) -> Result<Option<Position>, StoreError> {
        let mut first: Option<Position> = None;
        let from = MinuteKey { tag: self.tag, minute };
        self.moment.walk(&from, rocksdb::Direction::Forward, |key: MinuteKey, value| {
            if key.tag != self.tag {
                return Ok(false);
            }
            let row = MinuteRow::decode(&key, value)?;
            first = Some(first.map_or(row.first, |first| first.min(row.first)));
            Ok(true)
        })?;
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::model::envelope::Facts;
    use crate::model::window::Timestamp;
    use crate::store::retention::{Retention, drop_due};
    use crate::store::{Store, Sync};

    const TAG: BusTag = BusTag(9);

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

    #[tokio::test]
    async fn what_is_dropped_is_known_with_what_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Sync::EveryBatch, Clock::system()).unwrap();
        for minute in 0..4 {
            let first = 1 + 3 * u64::try_from(minute).unwrap();
            put(&store, minute, first..first + 3).await;
        }
        let before = store.reader().journal(TAG).unwrap();
        let retention = Retention {
            tag: TAG,
            seen_for: Duration::from_secs(3_600),
            buckets: Duration::from_secs(3_600),
            journal_for: Duration::from_secs(60),
            journal_bytes: u64::MAX,
            held_by: None,
        };
        drop_due(&store, retention, Timestamp::from_seconds(3 * 60)).await.unwrap();
        let after = store.reader().journal(TAG).unwrap();

        assert_eq!((before.dropped(), behind(&before, 2)), (None, vec![3, 4, 5, 6]));
        assert_eq!(after.dropped(), Some(Position::counted(6)));
        assert_eq!(behind(&after, 0), [7, 8, 9, 10]);
        assert_eq!(behind(&after, 11), [12]);
        assert_eq!(after.first_since(Minute(3)).unwrap(), Some(Position::counted(10)));
        assert_eq!(after.first_since(Minute(4)).unwrap(), None);
        let cursor = Cursor { tag: TAG, position: Position::counted(6) };
        assert_eq!(*store.heads().dropped.borrow(), Some(cursor));
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
