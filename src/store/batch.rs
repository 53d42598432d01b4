//! A write batch: changes that are committed together or not at all.
//!
//! Batches exist only on the writer thread, one at a time, so what a batch reads cannot change
//! before it is committed. `claim` decides everything that must happen exactly once.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use super::database::Database;
use super::error::StoreError;
use super::families::Family;
use super::keys::{AppliedKey, CounterKey, Key, MetaKey, SeenKey, SizeKey, day_bytes};
use super::last_pass::{CERTAINLY_AHEAD, last_pass_at};
use super::period::{Period, PeriodRow, row_key};
use crate::model::window::{Day, Timestamp};

/// Counters that are cached in memory; the cache is emptied when it has more.
const COUNTERS: usize = 200_000;
/// Names of repositories that are cached in memory; the cache is emptied when it has more.
const NAMES: usize = 200_000;
/// Periods that a batch caches; the events of a batch belong to a few.
const PERIODS: usize = 16;
/// Most days of claims that are checked up to tomorrow, and of those after it. There are only a
/// few, unless retention is waiting or another node's clock is wrong.
const DAYS_HELD: usize = 200;

/// The values of recently used counters. Between batches they always equal those on disk.
#[derive(Debug, Default)]
pub(super) struct CounterCache {
    values: HashMap<(Family, Vec<u8>), CachedCounter, foldhash::fast::RandomState>,
    /// Hashes of the current names of repositories, as they are on disk.
    names: HashMap<u64, u64, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct CachedCounter {
    value: i64,
    /// Whether the current batch has changed it.
    touched: bool,
}

/// Writes that are committed together. See [`super::open::Store::commit`]. What is read through it
/// is what is on disk: of the batch's writes only [`Self::claim`] and [`Self::add`] see something.
pub struct Batch<'w> {
    pub(super) database: &'w Database,
    counters: &'w mut CounterCache,
    touched: Vec<(Family, Vec<u8>)>,
    writes: rocksdb::WriteBatch,
    claimed: HashSet<(Family, Vec<u8>), foldhash::fast::RandomState>,
    /// The states of periods that this batch has read.
    periods: Vec<(SizeKey, Period)>,
    key: Vec<u8>,
    /// The machine's time when its commit was asked for; 1970 while the store is being opened.
    pub(super) now: Timestamp,
    /// Whether it is synced before its commit returns, whatever the durability is.
    pub(super) is_awaited: bool,
    /// Whether it records a gap of the bus.
    pub(super) finds_gap: bool,
}

impl Database {
    /// The days under which events are claimed as applied, descending.
    pub fn days_of_applied(&self, today: Day) -> Result<Vec<i32>, StoreError> {
        self.days_of(today, AppliedKey, |AppliedKey(seen)| seen.day)
    }

    /// The days of claims, descending: of those after tomorrow, which a wrong clock has left, the
    /// newest `DAYS_HELD`, and as many of the others.
    fn days_of<K: Key>(
        &self,
        today: Day,
        key_of: impl Fn(SeenKey) -> K,
        day_of: impl Fn(K) -> Day,
    ) -> Result<Vec<i32>, StoreError> {
        let mut days = Vec::new();
        let tomorrow = Day(today.0.saturating_add(1));
        for (from, last) in [(tomorrow, Day(i32::MAX)), (Day(i32::MIN), tomorrow)] {
            let mut until = key_of(SeenKey::first_of(Day(last.0.saturating_add(1))));
            for _ in 0..DAYS_HELD {
                let last = self.last_before(&until)?.map(&day_of).filter(|day| *day > from);
                let Some(day) = last else { break };
                days.push(day.0);
                until = key_of(SeenKey::first_of(day));
            }
        }
        Ok(days)
    }
}

impl std::ops::Deref for Batch<'_> {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database
    }
}

impl<'w> Batch<'w> {
    pub(super) fn new(database: &'w Database, counters: &'w mut CounterCache) -> Self {
        if counters.values.len() > COUNTERS {
            counters.values.clear();
        }
        if counters.names.len() > NAMES {
            counters.names.clear();
        }
        Self {
            database,
            counters,
            touched: Vec::new(),
            writes: rocksdb::WriteBatch::default(),
            claimed: HashSet::default(),
            periods: Vec::new(),
            key: Vec::with_capacity(64),
            now: Timestamp::default(),
            is_awaited: false,
            finds_gap: false,
        }
    }

    /// Syncs this batch to the disk before it is answered, whatever
    /// [`crate::config::Durability`] says: for data that a peer forgets once we have confirmed
    /// it.
    pub fn sync_first(&mut self) {
        self.is_awaited = true;
    }

    /// Adds the final values of the counters, and returns the writes.
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

    /// Whether a stored time is further ahead than [`CERTAINLY_AHEAD`], so that a wrong clock or a
    /// wrong event gave it. The machine's clock may be behind, so the time must be that far ahead
    /// of the last pass of retention, too.
    pub(super) fn is_ahead(&self, at: Timestamp) -> Result<bool, StoreError> {
        let is_after = |other: Timestamp| at > other.plus(CERTAINLY_AHEAD);
        Ok(is_after(self.now) && last_pass_at(self.database)?.is_some_and(is_after))
    }

    /// When an event was received, as far as that can be known. Where a wrong clock has stamped it
    /// with a time that is certainly still to come, that is the present; where the time is before
    /// `created_at`, it is `created_at`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn true_receipt(
        &self,
        received_at: Timestamp,
        created_at: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        if self.is_ahead(received_at)? {
            // This clock may be the wrong one, and behind.
            return Ok(last_pass_at(self.database)?.map_or(self.now, |pass| pass.max(self.now)));
        }
        Ok(if created_at <= self.now { received_at.max(created_at) } else { received_at })
    }

    /// Puts a row.
    pub fn put<K: Key>(&mut self, key: &K, value: &[u8]) {
        self.set_key(key);
        self.writes.put_cf(self.database.family(K::FAMILY), &self.key, value);
    }

    /// Deletes a row, if it exists.
    pub fn delete<K: Key>(&mut self, key: &K) {
        self.set_key(key);
        self.writes.delete_cf(self.database.family(K::FAMILY), &self.key);
    }

    /// Deletes all rows on disk from `from` to before `until`. Writes nothing when there are none,
    /// because each range deletion slows every reader down.
    pub fn delete_range<K: Key>(&mut self, from: &K, until: &K) -> Result<(), StoreError> {
        let (from, until) = (from.to_bytes(), until.to_bytes());
        let mut is_empty = true;
        let looked = self.database.scan_bytes(K::FAMILY, &from, |key, _| {
            is_empty = key >= until.as_slice();
            false
        });
        match looked {
            // Unreadable rows can still be deleted.
            Err(error) if error.is_damage() => is_empty = false,
            looked => looked?,
        }
        if !is_empty {
            self.writes.delete_range_cf(self.database.family(K::FAMILY), from, until);
        }
        Ok(())
    }

    /// Deletes a counter that this batch did not change.
    pub(super) fn forget_counter<K: CounterKey>(&mut self, key: &K) {
        self.counters.values.remove(&(K::FAMILY, key.to_bytes()));
        self.delete(key);
    }

    /// The state of a period.
    pub(super) fn period(&mut self, key: SizeKey) -> Result<Period, StoreError> {
        if let Some((_, period)) = self.periods.iter().find(|(known, _)| *known == key) {
            return Ok(*period);
        }
        let row = self.get_as(&row_key(key), PeriodRow::decode)?;
        let period = row.map_or(Period::Open, |row| row.period);
        self.set_period(key, period);
        Ok(period)
    }

    /// Caches the state of a period for the rest of this batch.
    pub(super) fn set_period(&mut self, key: SizeKey, period: Period) {
        self.periods.retain(|(known, _)| *known != key);
        self.periods.truncate(PERIODS - 1);
        self.periods.push((key, period));
    }

    /// Whether a hash is that of the current name of a repository. False when it is not cached.
    pub(super) fn is_name_cached(&self, repo: u64, hash: u64) -> bool {
        self.counters.names.get(&repo) == Some(&hash)
    }

    /// Caches the hash of the name that a repository has once this batch is written. A batch that
    /// is not written closes the store, so the cache never differs from the disk.
    pub(super) fn cache_name(&mut self, repo: u64, hash: u64) {
        self.counters.names.insert(repo, hash);
    }

    /// Claims a key: true the first time, false ever after, also within this batch.
    pub fn claim<K: Key>(&mut self, key: &K) -> Result<bool, StoreError> {
        self.set_key(key);
        if self.is_key_claimed(K::FAMILY)? {
            return Ok(false);
        }
        self.keep_claim(K::FAMILY);
        Ok(true)
    }

    /// The days under which events are claimed as seen, and `today`, ascending.
    pub fn days_of_seen(&self, today: i32) -> Result<Vec<i32>, StoreError> {
        let mut days = self.database.days_of(Day(today), |seen| seen, |seen| seen.day)?;
        days.push(today);
        days.sort_unstable();
        days.dedup();
        Ok(days)
    }

    /// Whether at most `n` events are claimed as seen, those of the current batch left out.
    pub fn has_seen_at_most(&self, n: usize) -> Result<bool, StoreError> {
        let mut found = 0;
        self.database.scan(&SeenKey::first_of(Day(i32::MIN)), |_, _| {
            found += 1;
            Ok(found <= n)
        })?;
        Ok(found <= n)
    }

    /// Claims a key that begins with the day of its claim: true when it was claimed on none of
    /// `days`. It is then claimed as `key_on(today)`.
    pub fn claim_within<K: Key>(
        &mut self,
        days: impl DoubleEndedIterator<Item = i32>,
        today: i32,
        key_on: impl Fn(i32) -> K,
    ) -> Result<bool, StoreError> {
        self.set_key(&key_on(today));
        let day_of_claim = day_bytes(today);
        debug_assert!(self.key.starts_with(&day_of_claim), "the day comes first");
        // The newest day first: most duplicates arrive shortly after the original.
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

    /// Claims a key in the last of `periods`: true when it was claimed in none of them. A repeated
    /// claim renews it, so that it expires after it was last seen, not after it was first seen.
    pub fn claim_again<K: Key>(
        &mut self,
        periods: RangeInclusive<i32>,
        key_in: impl Fn(i32) -> K,
    ) -> Result<bool, StoreError> {
        let last = *periods.end();
        let mut is_first = true;
        for period in periods.rev() {
            self.set_key(&key_in(period));
            if self.is_key_claimed(K::FAMILY)? {
                if period == last {
                    return Ok(false);
                }
                is_first = false;
                break;
            }
        }
        self.set_key(&key_in(last));
        self.keep_claim(K::FAMILY);
        Ok(is_first)
    }

    fn set_key<K: Key>(&mut self, key: &K) {
        self.key.clear();
        key.encode(&mut self.key);
    }

    /// Whether the key in `self.key` is claimed.
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

    /// Adds to a counter and returns its new value, which saturates at the ends of its range.
    pub fn add<K: CounterKey>(&mut self, key: &K, n: i64) -> Result<i64, StoreError> {
        self.set_key(key);
        let entry = (K::FAMILY, std::mem::take(&mut self.key));
        let counter = if let Some(counter) = self.counters.values.get_mut(&entry) {
            counter
        } else {
            let counter = CachedCounter { value: self.database.count(key)?, touched: false };
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

    /// The next number of a series that continues over restarts; the first is 1.
    pub fn next_number(&mut self, series: &str) -> Result<u64, StoreError> {
        let number = self.add(&MetaKey(series.to_owned()), 1)?;
        u64::try_from(number).map_err(|_| StoreError::corrupt("meta", series.as_bytes()))
    }

    /// Drops cached counters whose rows were deleted by a range, and that this batch did not
    /// change.
    pub fn forget_counters<K: CounterKey>(&mut self, gone: impl Fn(&K) -> bool) {
        self.counters.values.retain(|(family, key), counter| {
            counter.touched || *family != K::FAMILY || !K::decode(key).is_some_and(|key| gone(&key))
        });
    }
}
