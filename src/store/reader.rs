//! Reads committed data.

use super::database::Database;
use super::error::StoreError;
use super::keys::Key;
use crate::model::position::{BusTag, Cursor};

/// Name of the cursor up to which the bus is applied; kept for each bus.
pub const APPLIED: &str = "applied";

/// Reads committed data. Two reads may see different commits, but never a part of a batch.
pub type Reader<'s> = &'s Database;

impl Database {
    /// Reads one row, decoded.
    pub fn get_as<K: Key, R>(
        &self,
        key: &K,
        decode: impl FnOnce(&K, &[u8]) -> Result<R, StoreError>,
    ) -> Result<Option<R>, StoreError> {
        self.get(key)?.map(|value| decode(key, &value)).transpose()
    }

    /// The cursor up to which the bus in use is applied; `None` before the first event.
    pub fn applied(&self) -> Result<Option<Cursor>, StoreError> {
        self.cursor(APPLIED)
    }

    /// The same for one bus, also for one that is not in use.
    pub fn applied_on(&self, tag: BusTag) -> Result<Option<Cursor>, StoreError> {
        self.cursor_on(APPLIED, tag)
    }
}
