//! Reads committed data.

use super::database::Database;
use super::error::StoreError;
use super::keys::{CounterKey, Key};
use crate::model::position::{BusTag, Cursor};
use crate::model::privacy::Privacy;

/// Name of the cursor up to which the bus is applied; kept for each bus.
pub const APPLIED: &str = "applied";

/// Reads committed data. Two reads may see different commits, but never a part of a batch.
#[derive(Clone, Copy)]
pub struct Reader<'s> {
    pub(super) database: &'s Database,
}

impl<'s> Reader<'s> {
    /// Which events are left out, and whether addresses are hashed.
    #[must_use]
    pub fn privacy(self) -> &'s Privacy {
        &self.database.privacy
    }

    /// Reads one row.
    pub fn get<K: Key>(&self, key: &K) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(key)
    }

    /// Reads one counter; 0 when it does not exist.
    pub fn count<K: CounterKey>(&self, key: &K) -> Result<i64, StoreError> {
        self.database.count(key)
    }

    /// The cursor up to which the bus in use is applied; `None` before the first event.
    pub fn applied(&self) -> Result<Option<Cursor>, StoreError> {
        self.cursor(APPLIED)
    }

    /// The same for one bus, also for one that is not in use.
    pub fn applied_on(&self, tag: BusTag) -> Result<Option<Cursor>, StoreError> {
        self.cursor_on(APPLIED, tag)
    }

    /// Passes the rows of a family from `from` on to `take`, in order, while it returns true.
    pub fn scan<K: Key>(
        &self,
        from: &K,
        take: impl FnMut(K, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.database.scan(from, take)
    }

    /// The last key of a family that is less than `until`.
    pub fn last_before<K: Key>(&self, until: &K) -> Result<Option<K>, StoreError> {
        self.database.last_before(until)
    }
}
