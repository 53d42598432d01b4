//! The groups of subscribers by query: joining, leaving, and the list of all groups.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// Groups by key. A group exists from its first subscriber to its last.
#[derive(Debug)]
pub(in crate::hub) struct Registry<K, G> {
    groups: Mutex<HashMap<K, Arc<G>>>,
    /// Whether groups were added or removed since the last [`Self::refresh`].
    changed: AtomicBool,
    count: AtomicUsize,
}

impl<K, G> Default for Registry<K, G> {
    fn default() -> Self {
        let (changed, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        Self { groups: Mutex::default(), changed, count }
    }
}

impl<K: Eq + Hash, G> Registry<K, G> {
    /// Calls `subscribe` with the group of this key, which `begin` makes if it does not exist.
    pub(in crate::hub) fn join<S>(
        &self,
        key: K,
        begin: impl FnOnce(&K) -> G,
        subscribe: impl FnOnce(&G) -> S,
    ) -> (Arc<G>, S) {
        let mut groups = lock(&self.groups);
        let group = groups.entry(key).or_insert_with_key(|key| {
            self.changed.store(true, Ordering::Release);
            Arc::new(begin(key))
        });
        let group = Arc::clone(group);
        let subscriber = subscribe(&group);
        self.count.store(groups.len(), Ordering::Relaxed);
        (group, subscriber)
    }

    /// Calls `unsubscribe`, and removes the group if that returns true: no subscriber is left.
    pub(in crate::hub) fn leave(&self, key: &K, unsubscribe: impl FnOnce() -> bool) {
        // Under the lock, so that no subscriber joins a group that is being removed.
        let mut groups = lock(&self.groups);
        if unsubscribe() {
            groups.remove(key);
            self.changed.store(true, Ordering::Release);
            self.count.store(groups.len(), Ordering::Relaxed);
        }
    }

    /// Brings `list` up to date with the groups that exist.
    pub(in crate::hub) fn refresh(&self, list: &mut Vec<Arc<G>>) {
        if self.changed.swap(false, Ordering::AcqRel) {
            list.clear();
            list.extend(lock(&self.groups).values().cloned());
        }
    }

    /// The equal share of one group in a limit for all of them.
    pub(in crate::hub) fn share_of(&self, all: usize) -> usize {
        all / self.count.load(Ordering::Relaxed).max(1)
    }

    /// All groups.
    pub(in crate::hub) fn all(&self) -> Vec<Arc<G>> {
        lock(&self.groups).values().cloned().collect()
    }
}
