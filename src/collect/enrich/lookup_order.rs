//! The order in which objects are fetched: the newest poll first, and of a poll its oldest events.
//!
//! The objects of a query that was too heavy go before all others, in smaller queries without any
//! others, so that the heavy one is found soon. Each of these queries that is not answered before
//! GitHub's time limit delays those that were with it, at worst beyond their deadline.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::window::Timestamp;

/// A position in the queue: the poll, then its events with the oldest last. The last entry is
/// fetched first.
pub(super) type QueuePlace = (Timestamp, Reverse<u64>);

/// The queued objects: whether they are limited to small queries, and their places. The last entry
/// is fetched first.
pub(super) struct LookupOrder<K>(BTreeMap<(bool, QueuePlace), QueuedObject<K>>);

/// The key of an object, and the maximum size of its query, if that is limited.
type QueuedObject<K> = (K, Option<usize>);

impl<K> Default for LookupOrder<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Clone> LookupOrder<K> {
    /// Adds an object, to be fetched together with others up to `most`, or with any number.
    pub(super) fn insert(&mut self, place: QueuePlace, key: K, most: Option<usize>) {
        self.0.insert((most.is_some(), place), (key, most));
    }

    /// Removes an object. Returns whether it was there.
    pub(super) fn remove(&mut self, place: QueuePlace) -> bool {
        [false, true].into_iter().any(|is_small| self.0.remove(&(is_small, place)).is_some())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The object to fetch next.
    pub(super) fn first(&self) -> Option<&K> {
        self.0.last_key_value().map(|(_, (key, _))| key)
    }

    /// The object that is fetched last of those with a limit, or, where there are none, of all.
    pub(super) fn last(&self) -> Option<&K> {
        let ((is_small, _), _) = self.0.last_key_value()?;
        let oldest = (Timestamp::from_micros(i64::MIN), Reverse(u64::MAX));
        self.0.range((*is_small, oldest)..).next().map(|(_, (key, _))| key)
    }

    /// Takes up to `most` of the next objects for which `may` holds, for one query.
    pub(super) fn take(&mut self, most: usize, may: impl Fn(&K) -> bool) -> Vec<K> {
        let allowed = || self.0.iter().rev().filter(|(_, (key, _))| may(key));
        let Some((_, (_, size))) = allowed().next() else { return Vec::new() };
        // Parts of different queries are not mixed.
        let part = allowed().take_while(|((is_small, _), _)| *is_small == size.is_some());
        let part = part.filter(|(_, (_, own))| own == size).map(|(place, _)| *place);
        let places: Vec<_> = part.take(size.unwrap_or(most).min(most)).collect();
        let taken = places.iter().filter_map(|place| self.0.remove(place));
        taken.map(|(key, _)| key).collect()
    }
}
