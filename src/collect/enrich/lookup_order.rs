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

/// The queued objects, by their keys.
pub(super) struct LookupOrder<K> {
    /// The last entry is fetched first.
    queue: BTreeMap<QueuePlace, K>,
    /// Objects limited to small queries, with the maximum size of the query.
    small: BTreeMap<QueuePlace, (K, usize)>,
}

impl<K> Default for LookupOrder<K> {
    fn default() -> Self {
        Self { queue: BTreeMap::new(), small: BTreeMap::new() }
    }
}

impl<K: Clone> LookupOrder<K> {
    /// Adds an object, to be fetched together with others up to `most`, or with any number.
    pub(super) fn insert(&mut self, place: QueuePlace, key: K, most: Option<usize>) {
        if let Some(most) = most {
            self.small.insert(place, (key, most));
        } else {
            self.queue.insert(place, key);
        }
    }

    /// Removes an object. Returns whether it was there.
    pub(super) fn remove(&mut self, place: QueuePlace) -> bool {
        self.queue.remove(&place).is_some() || self.small.remove(&place).is_some()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len() + self.small.len()
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.small.clear();
    }

    /// The object to fetch next.
    pub(super) fn first(&self) -> Option<&K> {
        let small = self.small.last_key_value().map(|(_, (key, _))| key);
        small.or_else(|| self.queue.last_key_value().map(|(_, key)| key))
    }

    /// The object that is fetched last of the queue that is fetched first.
    pub(super) fn last(&self) -> Option<&K> {
        let small = self.small.first_key_value().map(|(_, (key, _))| key);
        small.or_else(|| self.queue.first_key_value().map(|(_, key)| key))
    }

    /// Takes up to `most` of the next objects for which `may` holds, for one query.
    pub(super) fn take(&mut self, most: usize, may: impl Fn(&K) -> bool) -> Vec<K> {
        // Parts of different queries are not mixed.
        let small = || self.small.iter().rev().filter(|(_, (key, _))| may(key));
        let size = small().next().map_or(0, |(_, (_, size))| *size);
        let part = small().filter(|(_, (_, own))| *own == size).map(|(place, _)| *place);
        let places: Vec<QueuePlace> = part.take(size.min(most)).collect();
        if !places.is_empty() {
            let taken = places.iter().filter_map(|place| self.small.remove(place));
            return taken.map(|(key, _)| key).collect();
        }
        let all = self.queue.iter().rev().filter(|(_, key)| may(key));
        let places: Vec<QueuePlace> = all.take(most).map(|(place, _)| *place).collect();
        places.iter().filter_map(|place| self.queue.remove(place)).collect()
    }
}
