//! The groups there are, by what their members asked for: who joins, who leaves, who is dealt to.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::hub::lock::lock;

/// Groups by key. A group begins with its first member and goes with its last.
#[derive(Debug)]
pub(in crate::hub) struct Registry<K, G> {
    groups: Mutex<HashMap<K, Arc<G>>>,
    /// Whether groups began or went since somebody asked for all of them.
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
    /// The group of this key, begun when it is not there, after `sit_down` took a seat in it.
    pub(in crate::hub) fn join<S>(
        &self,
        key: K,
        begin: impl FnOnce(&K) -> G,
        sit_down: impl FnOnce(&G) -> S,
    ) -> (Arc<G>, S) {
        let mut groups = lock(&self.groups);
        let group = groups.entry(key).or_insert_with_key(|key| {
            self.changed.store(true, Ordering::Release);
            Arc::new(begin(key))
        });
        let group = Arc::clone(group);
        let seat = sit_down(&group);
        self.count.store(groups.len(), Ordering::Relaxed);
        (group, seat)
    }

    /// `stand_up` leaves the seat in the group of this key, and says whether nobody is left.
    pub(in crate::hub) fn leave(&self, key: &K, stand_up: impl FnOnce() -> bool) {
        // Under the lock, so that nobody joins a group that is being dropped.
        let mut groups = lock(&self.groups);
        if stand_up() {
            groups.remove(key);
            self.changed.store(true, Ordering::Release);
            self.count.store(groups.len(), Ordering::Relaxed);
        }
    }

    /// Brings `list` up to date with the groups there are.
    pub(in crate::hub) fn refresh(&self, list: &mut Vec<Arc<G>>) {
        if self.changed.swap(false, Ordering::AcqRel) {
            list.clear();
            list.extend(lock(&self.groups).values().cloned());
        }
    }

    /// A group's equal share of what all may hold together.
    pub(in crate::hub) fn share_of(&self, all: usize) -> usize {
        all / self.count.load(Ordering::Relaxed).max(1)
    }

    /// All groups there are.
    pub(in crate::hub) fn all(&self) -> Vec<Arc<G>> {
        lock(&self.groups).values().cloned().collect()
    }
}
