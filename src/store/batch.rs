//! One arrow of the data's way: everything that has to happen together, or not at all.
//!
//! A batch exists only on the writing thread, one at a time, so what it reads cannot change
//! before it is written. `claim` is the one verb for whatever must happen once.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use super::database::Database;
use super::error::StoreError;
use super::families::Family;
use super::keys::{CounterKey, Key, MetaKey, SeenKey, SizeKey, day_bytes};
use super::periods::{self, Period};
use crate::model::window::Day;

/// Counters that the writing thread keeps in memory; beyond so many it begins afresh.
const COUNTERS: usize = 200_000;

/// Periods that a batch remembers; events of a batch are of a few.
const PERIODS: usize = 16;
/// Days of claims that are looked at. Only while retention waits, or another node's clock is wrong,
/// are there more than a few.
const DAYS_HELD: usize = 400;

/// The values of counters that were touched lately. Always equal to what is on disk between
/// batches.
#[derive(Debug, Default)]
pub(super) struct Counters {
    values: HashMap<(Family, Vec<u8>), Counter, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Counter {
    value: i64,
    /// Whether it is among those that the batch at hand touched.
    touched: bool,
}

/// Writes that are committed together. See [`super::Store::commit`].
pub struct Batch<'w> {
    pub(super) database: &'w Database,
    counters: &'w mut Counters,
    touched: Vec<(Family, Vec<u8>)>,
    writes: rocksdb::WriteBatch,
    claimed: HashSet<(Family, Vec<u8>), foldhash::fast::RandomState>,
    /// Periods that were looked at in this batch, and how they are.
    periods: Vec<(SizeKey, Period)>,
    key: Vec<u8>,
    /// Whether it is synced before it is answered, whatever the policy says.
    pub(super) is_awaited: bool,
    /// Whether a gap of the bus was found.
    pub(super) finds_gap: bool,
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
            periods: Vec::new(),
            key: Vec::with_capacity(64),
            is_awaited: false,
            finds_gap: false,
        }
    }

    /// Syncs this batch to the disk before it is answered, whatever [`super::Durability`] says: for
    /// data that a peer forgets once we have confirmed it.
    pub fn sync_first(&mut self) {
        self.is_awaited = true;
    }

    /// The counters' last values and all else, ready to be written.
    pub(super) fn finish(mut self) -> rocksdb::WriteBatch {
        self.touched.sort_unstable();
        for entry in &self.touched {
            let counter = self.counters.values.get_mut(entry).expect("it was touched");
            counter.touched = false;
            let (family, key) = entry;
            self.writes.put_cf(self.database.family(*family), key, counter.value.to_be_bytes());
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

    /// Removes all rows on disk from `from` to before `until`. Where there are none nothing is
    /// written: every reader has to step around what removes a range.
    pub fn delete_range<K: Key>(&mut self, from: &K, until: &K) -> Result<(), StoreError> {
        let (from, until) = (from.to_bytes(), until.to_bytes());
        let mut is_empty = true;
        let looked = self.database.scan_bytes(K::FAMILY, &from, |key, _| {
            is_empty = key >= until.as_slice();
            false
        });
        match looked {
            // Rows that cannot be read any more can still be removed.
            Err(error) if error.is_damage() => is_empty = false,
            looked => looked?,
        }
        if !is_empty {
            self.writes.delete_range_cf(self.database.family(K::FAMILY), from, until);
        }
        Ok(())
    }

    /// One counter as it is on disk; 0 when it was never touched.
    pub fn count<K: CounterKey>(&self, key: &K) -> Result<i64, StoreError> {
        self.database.count(key)
    }

    /// Removes a counter that this batch did not touch.
    pub(super) fn forget_counter<K: CounterKey>(&mut self, key: &K) {
        self.counters.values.remove(&(K::FAMILY, key.to_bytes()));
        self.delete(key);
    }

    /// Whether who is seen in a period is remembered.
    pub(super) fn period(&mut self, key: SizeKey) -> Result<Period, StoreError> {
        if let Some((_, period)) = self.periods.iter().find(|(known, _)| *known == key) {
            return Ok(*period);
        }
        let period = periods::state(self, key)?;
        self.set_period(key, period);
        Ok(period)
    }

    /// Remembers how a period is, for the rest of this batch.
    pub(super) fn set_period(&mut self, key: SizeKey, period: Period) {
        self.periods.retain(|(known, _)| *known != key);
        self.periods.truncate(PERIODS - 1);
        self.periods.push((key, period));
    }

    /// What is on disk; what this batch wrote is not seen yet.
    pub fn get<K: Key>(&self, key: &K) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(key)
    }

    /// True the first time, false ever after, also within this batch.
    pub fn claim<K: Key>(&mut self, key: &K) -> Result<bool, StoreError> {
        self.key.clear();
        key.encode(&mut self.key);
        if self.is_key_claimed(K::FAMILY)? {
            return Ok(false);
        }
        self.keep_claim(K::FAMILY);
        Ok(true)
    }

    /// The days under which events are claimed as seen, ascending, `today` among them; of more than
    /// `DAYS_HELD` the newest.
    pub fn days_of_seen(&self, today: i32) -> Result<Vec<i32>, StoreError> {
        let mut days = vec![today];
        let mut until = SeenKey::first_of(Day(i32::MAX));
        while days.len() < DAYS_HELD {
            let Some(last) = self.database.last_before(&until)? else { break };
            days.push(last.day.0);
            until = SeenKey::first_of(last.day);
        }
        days.sort_unstable();
        days.dedup();
        Ok(days)
    }

    /// The same over keys that begin with the day they were claimed: true when it was claimed on
    /// none of `days`; it is then claimed under `key_on(today)`.
    pub fn claim_within<K: Key>(
        &mut self,
        days: impl DoubleEndedIterator<Item = i32>,
        today: i32,
        key_on: impl Fn(i32) -> K,
    ) -> Result<bool, StoreError> {
        self.key.clear();
        key_on(today).encode(&mut self.key);
        let day_of_claim = day_bytes(today);
        debug_assert!(self.key.starts_with(&day_of_claim), "the day comes first");
        // The newest day first: what is served twice is mostly served twice at once.
        for day in days.rev() {
            self.key[..day_of_claim.len()].copy_from_slice(&day_bytes(day));
            if self.is_key_claimed(K::FAMILY)? {
                return Ok(false);
            }
        }
        self.key[..day_of_claim.len()].copy_from_slice(&day_of_claim);
        self.keep_claim(K::FAMILY);
        Ok(true)
    }

    /// True when it was claimed in none of `periods`. Whatever it was, it is claimed in the last of
    /// them afterwards: so it is remembered from the last time it was seen, not from the first.
    pub fn claim_again<K: Key>(
        &mut self,
        periods: RangeInclusive<i32>,
        key_in: impl Fn(i32) -> K,
    ) -> Result<bool, StoreError> {
        let last = *periods.end();
        let mut is_first = true;
        for period in periods.rev() {
            self.key.clear();
            key_in(period).encode(&mut self.key);
            if self.is_key_claimed(K::FAMILY)? {
                if period == last {
                    return Ok(false);
                }
                is_first = false;
                break;
            }
        }
        self.key.clear();
        key_in(last).encode(&mut self.key);
        self.keep_claim(K::FAMILY);
        Ok(is_first)
    }

    /// Of the key in `self.key`.
    fn is_key_claimed(&mut self, family: Family) -> Result<bool, StoreError> {
        if !self.claimed.is_empty() {
            let entry = (family, std::mem::take(&mut self.key));
            let pending = self.claimed.contains(&entry);
            self.key = entry.1;
            if pending {
                return Ok(true);
            }
        }
        self.database.contains(family, &self.key)
    }

    /// Claims the key in `self.key`.
    fn keep_claim(&mut self, family: Family) {
        self.writes.put_cf(self.database.family(family), &self.key, b"");
        self.claimed.insert((family, self.key.clone()));
    }

    /// Adds to a counter and gives its new value. It sticks at the ends of its range.
    pub fn add<K: CounterKey>(&mut self, key: &K, n: i64) -> Result<i64, StoreError> {
        self.key.clear();
        key.encode(&mut self.key);
        let entry = (K::FAMILY, std::mem::take(&mut self.key));
        let counter = if let Some(counter) = self.counters.values.get_mut(&entry) {
            counter
        } else {
            let counter = Counter { value: self.database.count(key)?, touched: false };
            self.counters.values.entry(entry.clone()).or_insert(counter)
        };
        counter.value = counter.value.saturating_add(n);
        let value = counter.value;
        if counter.touched {
            self.key = entry.1;
        } else {
            counter.touched = true;
            self.touched.push(entry);
        }
        Ok(value)
    }

    /// The next of a series that continues over restarts; the first is 1.
    pub fn next_number(&mut self, series: &str) -> Result<u64, StoreError> {
        let number = self.add(&MetaKey(series.to_owned()), 1)?;
        u64::try_from(number).map_err(|_| StoreError::corrupt("meta", series.as_bytes()))
    }

    /// Forgets counters whose rows were deleted in a range, and that this batch did not touch.
    pub fn forget_counters<K: CounterKey>(&mut self, gone: impl Fn(&K) -> bool) {
        self.counters.values.retain(|(family, key), counter| {
            counter.touched || *family != K::FAMILY || !K::decode(key).is_some_and(|key| gone(&key))
        });
    }
}
