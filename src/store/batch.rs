//! One arrow of the data's way: everything that has to happen together, or not at all.
//!
//! A batch exists only on the writing thread, one at a time, so what it reads cannot change
//! before it is written. `claim` is the one verb for whatever must happen once.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use super::database::Database;
use super::error::StoreError;
use super::families::Family;
use super::keys::{CounterKey, Key, MetaKey};

/// Counters that the writing thread keeps in memory; beyond so many it begins afresh.
const COUNTERS: usize = 200_000;

/// The values of counters that were touched lately. Always equal to what is on disk between
/// batches.
#[derive(Debug, Default)]
pub(super) struct Counters {
    values: HashMap<(Family, Vec<u8>), i64, foldhash::fast::RandomState>,
}

/// Writes that are committed together. See [`super::Store::commit`].
pub struct Batch<'w> {
    database: &'w Database,
    counters: &'w mut Counters,
    touched: Vec<(Family, Vec<u8>)>,
    writes: rocksdb::WriteBatch,
    claimed: HashSet<(Family, Vec<u8>), foldhash::fast::RandomState>,
    key: Vec<u8>,
}

impl<'w> Batch<'w> {
    pub(super) fn new(database: &'w Database, counters: &'w mut Counters) -> Self {
        if counters.values.len() > COUNTERS {
            counters.values.clear();
        }
        Self {
            database,
            counters,
            touched: Vec::new(),
            writes: rocksdb::WriteBatch::default(),
            claimed: HashSet::default(),
            key: Vec::with_capacity(64),
        }
    }

    /// The counters' last values and all else, ready to be written.
    pub(super) fn finish(mut self) -> rocksdb::WriteBatch {
        self.touched.sort_unstable();
        self.touched.dedup();
        for (family, key) in &self.touched {
            let value = self.counters.values[&(*family, key.clone())];
            self.writes.put_cf(self.database.family(*family), key, value.to_be_bytes());
        }
        self.writes
    }

    /// Writes a row.
    pub fn put<K: Key>(&mut self, key: &K, value: &[u8]) {
        self.key.clear();
        key.encode(&mut self.key);
        self.writes.put_cf(self.database.family(K::FAMILY), &self.key, value);
    }

    /// Removes a row; nothing happens when there is none.
    pub fn delete<K: Key>(&mut self, key: &K) {
        self.key.clear();
        key.encode(&mut self.key);
        self.writes.delete_cf(self.database.family(K::FAMILY), &self.key);
    }

    /// Removes all rows from `from` to before `until`.
    pub fn delete_range<K: Key>(&mut self, from: &K, until: &K) {
        let family = self.database.family(K::FAMILY);
        self.writes.delete_range_cf(family, from.to_bytes(), until.to_bytes());
    }

    /// What is on disk; what this batch wrote is not seen yet.
    pub fn get<K: Key>(&mut self, key: &K) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(key)
    }

    /// True the first time, false ever after, also within this batch.
    pub fn claim<K: Key>(&mut self, key: &K) -> Result<bool, StoreError> {
        if self.is_claimed(key)? {
            return Ok(false);
        }
        self.keep_claim(key);
        Ok(true)
    }

    /// The same over keys that begin with the day they were claimed: true when it was claimed on
    /// none of `days`; it is then claimed under `key_on(today)`.
    pub fn claim_within<K: Key>(
        &mut self,
        days: RangeInclusive<i32>,
        today: i32,
        key_on: impl Fn(i32) -> K,
    ) -> Result<bool, StoreError> {
        // The newest day first: what is served twice is mostly served twice at once.
        for day in days.rev() {
            if self.is_claimed(&key_on(day))? {
                return Ok(false);
            }
        }
        self.keep_claim(&key_on(today));
        Ok(true)
    }

    fn is_claimed<K: Key>(&mut self, key: &K) -> Result<bool, StoreError> {
        self.key.clear();
        key.encode(&mut self.key);
        if !self.claimed.is_empty() {
            let entry = (K::FAMILY, std::mem::take(&mut self.key));
            let pending = self.claimed.contains(&entry);
            self.key = entry.1;
            if pending {
                return Ok(true);
            }
        }
        self.database.contains(K::FAMILY, &self.key)
    }

    fn keep_claim<K: Key>(&mut self, key: &K) {
        let bytes = key.to_bytes();
        self.writes.put_cf(self.database.family(K::FAMILY), &bytes, b"");
        self.claimed.insert((K::FAMILY, bytes));
    }

    /// Adds to a counter and gives its new value. It sticks at the ends of its range.
    pub fn add<K: CounterKey>(&mut self, key: &K, n: i64) -> Result<i64, StoreError> {
        let entry = (K::FAMILY, key.to_bytes());
        let value = if let Some(value) = self.counters.values.get_mut(&entry) {
            value
        } else {
            let stored = self.database.count(key)?;
            self.counters.values.entry(entry.clone()).or_insert(stored)
        };
        *value = value.saturating_add(n);
        let value = *value;
        self.touched.push(entry);
        Ok(value)
    }

    /// The next of a series that continues over restarts; the first is 1.
    pub fn next_number(&mut self, series: &str) -> Result<u64, StoreError> {
        let number = self.add(&MetaKey(series.to_owned()), 1)?;
        u64::try_from(number).map_err(|_| StoreError::corrupt("meta", series.as_bytes()))
    }

    /// Forgets counters whose rows were deleted in a range.
    pub fn forget_counters<K: CounterKey>(&mut self, gone: impl Fn(&K) -> bool) {
        self.counters.values.retain(|(family, key), _| {
            *family != K::FAMILY || !K::decode(key).is_some_and(|key| gone(&key))
        });
    }
}
