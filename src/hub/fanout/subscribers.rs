//! Subscribers with equal queries share filtering, encoding and the encoded bytes.
//!
//! Such subscribers form a group. A group has a log of the events that match its query; each event
//! is encoded once, when the first subscriber takes it. A subscriber is a cursor into that log,
//! never a queue. The log holds only what some subscriber has not taken yet, within limits. A
//! subscriber that falls behind the log is either moved forward or has to read the missing events
//! elsewhere; the query says which ([`LagPolicy`](super::subscriber_query::LagPolicy)).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::fair_queue::{FairQueue, Priority, SlicedWork};
use super::group_log::{GroupLog, LogEntry, Taken};
use super::notifier::Notifier;
use super::subscriber_query::SubscriberQuery;
use super::turn::Turn;
use crate::hub::log::tail::TailEvent;
use crate::model::position::Cursor;
use crate::sync::lock;

/// The most bytes that all logs of one kind hold together. Each group has an equal share of it, up
/// to its own limit.
const ALL_GROUPS_BYTES: usize = 64 << 20;
/// Large events that are encoded at the same time.
const ENCODERS: usize = 1;

/// All groups of one kind of query. A group exists from its first subscriber to its last.
#[derive(Debug)]
pub(in crate::hub) struct Subscribers<Q: SubscriberQuery> {
    groups: Mutex<HashMap<Q::Key, Arc<Group<Q>>>>,
    /// Whether groups were added or removed since the last [`Self::refresh`].
    changed: AtomicBool,
    count: AtomicUsize,
    /// The number of the next subscriber.
    next_id: AtomicU64,
    /// Encodes large events on a blocking thread.
    encoders: Arc<FairQueue>,
}

/// The subscribers of one query, and the events that they have not taken yet.
#[derive(Debug)]
pub(in crate::hub) struct Group<Q: SubscriberQuery> {
    key: Q::Key,
    pub(in crate::hub) query: Q,
    log: Mutex<GroupLog<Q>>,
}

/// One subscriber of a group. Dropping it unsubscribes.
#[derive(Debug)]
pub(in crate::hub) struct Subscriber<Q: SubscriberQuery> {
    all: Arc<Subscribers<Q>>,
    pub(in crate::hub) group: Arc<Group<Q>>,
    id: u64,
    pub(in crate::hub) notifier: Arc<Notifier>,
}

/// The encoding of a large event on a blocking thread.
struct Encoding<Q: SubscriberQuery> {
    group: Arc<Group<Q>>,
    entry: Arc<LogEntry<Q>>,
}

impl<Q: SubscriberQuery> Default for Subscribers<Q> {
    fn default() -> Self {
        let (changed, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        let encoders = Arc::new(FairQueue::new(ENCODERS));
        let next_id = AtomicU64::default();
        Self { groups: Mutex::default(), changed, count, next_id, encoders }
    }
}

impl<Q: SubscriberQuery> Subscribers<Q> {
    /// Joins the group of this key. `begin` makes the query of a new group and says with which
    /// number its log begins; `next` says, given the end of the log, with which number the
    /// subscriber begins. It takes one event in `rate`.
    pub(in crate::hub) fn subscribe(
        self: &Arc<Self>,
        key: Q::Key,
        begin: impl FnOnce(&Q::Key) -> (Q, u64),
        next: impl FnOnce(u64) -> u64,
        rate: u64,
        notifier: &Arc<Notifier>,
    ) -> Subscriber<Q> {
        let mut groups = lock(&self.groups);
        let group = groups.entry(key).or_insert_with_key(|key| {
            self.changed.store(true, Ordering::Release);
            let (query, end) = begin(key);
            Arc::new(Group { key: key.clone(), query, log: Mutex::new(GroupLog::new(end)) })
        });
        let group = Arc::clone(group);
        self.count.store(groups.len(), Ordering::Relaxed);
        let notifier = Arc::clone(notifier);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        group.change(|log, _| log.add(id, next(log.end()), rate, Arc::clone(&notifier)));
        Subscriber { all: Arc::clone(self), group, id, notifier }
    }

    /// Brings `list` up to date with the groups that exist.
    pub(in crate::hub) fn refresh(&self, list: &mut Vec<Arc<Group<Q>>>) {
        if self.changed.swap(false, Ordering::AcqRel) {
            *list = self.groups();
        }
    }

    /// The bytes that the log of each group may hold now: an equal share of the limit for all.
    pub(in crate::hub) fn group_bytes(&self) -> usize {
        (ALL_GROUPS_BYTES / self.count.load(Ordering::Relaxed).max(1)).min(Q::GROUP_BYTES)
    }

    /// Notifies all subscribers, also those that have nothing to take.
    pub(in crate::hub) fn notify_all(&self) {
        for group in self.groups() {
            lock(&group.log).notify_all();
        }
    }

    /// Drops what [`Subscriber::share`] has kept.
    pub(in crate::hub) fn forget_shared(&self) {
        for group in self.groups() {
            lock(&group.log).forget_joined();
        }
    }

    /// The events in the logs of all groups; one that is in several comes several times.
    pub(in crate::hub) fn held_events(&self) -> Vec<Arc<TailEvent>> {
        let mut events = Vec::new();
        for group in self.groups() {
            events.extend(lock(&group.log).events());
        }
        events
    }

    pub(in crate::hub) fn groups(&self) -> Vec<Arc<Group<Q>>> {
        lock(&self.groups).values().cloned().collect()
    }
}

impl<Q: SubscriberQuery> Group<Q> {
    /// Changes the log under its lock.
    pub(in crate::hub) fn change<R>(&self, change: impl FnOnce(&mut GroupLog<Q>, &Q) -> R) -> R {
        change(&mut lock(&self.log), &self.query)
    }

    /// Notifies the subscribers of this turn that have something to take. Returns their number.
    pub(in crate::hub) fn notify(&self, turn: Turn) -> usize {
        lock(&self.log).notify(turn)
    }

    pub(in crate::hub) fn encode(&self, entry: &LogEntry<Q>) -> Q::Encoded {
        self.query.encode(&entry.event, &entry.encoded)
    }

    fn is_ready(&self, entry: &LogEntry<Q>, deflates: bool) -> bool {
        !entry.is_large() || self.query.is_encoded(&entry.event, &entry.encoded, deflates)
    }

    /// How many events its log holds.
    #[cfg(test)]
    pub(in crate::hub) fn held(&self) -> usize {
        lock(&self.log).held()
    }
}

impl<Q: SubscriberQuery> SlicedWork for Encoding<Q> {
    fn run(self: Box<Self>) -> Option<Box<dyn SlicedWork>> {
        let (query, entry) = (&self.group.query, &self.entry);
        entry.waiters.serve(entry.bytes, |notifier| {
            query.prepare(&entry.event, &entry.encoded, notifier.deflates);
        });
        None
    }
}

impl<Q: SubscriberQuery> Subscriber<Q> {
    /// The next events, up to a limit; `None` if the subscriber is behind the log and has to read
    /// elsewhere. Never waits; a large event is encoded on another thread first.
    pub(in crate::hub) fn take(&mut self) -> Option<Taken<Q>> {
        let deflates = self.notifier.deflates;
        let is_ready = |entry: &LogEntry<Q>| self.group.is_ready(entry, deflates);
        let taken = lock(&self.group.log).take(self.id, deflates, is_ready)?;
        for entry in taken.entries.iter().filter(|entry| entry.is_large()) {
            entry.waiters.release(&self.notifier);
        }
        if let Some(entry) = &taken.large
            && entry.waiters.add(&self.notifier)
        {
            let (group, entry) = (Arc::clone(&self.group), Arc::clone(entry));
            let encoding = Box::new(Encoding { group, entry });
            self.all.encoders.push(self.notifier.client, Priority::First, encoding);
        }
        Some(taken)
    }

    /// Keeps taken entries, encoded as one piece, for the other subscribers that take the same
    /// ones, if `is_current` holds for each event. An event for which it stops to hold before
    /// [`Subscribers::forget_shared`] is called is never in what is kept after that call.
    pub(in crate::hub) fn share(
        &self,
        taken: &Taken<Q>,
        encoded: Q::Encoded,
        is_current: impl Fn(&TailEvent) -> bool,
    ) {
        let mut log = lock(&self.group.log);
        if taken.entries.iter().all(|entry| is_current(&entry.event)) {
            log.keep_joined(&taken.entries, encoded);
        }
    }

    /// Moves to the end of the log if only events that do not match are in between: nobody is
    /// notified of those. Returns the last event before the end.
    pub(in crate::hub) fn skip_unmatched(&mut self) -> Option<Cursor> {
        lock(&self.group.log).skip_unmatched(self.id)
    }

    /// The number of the next event to take.
    pub(in crate::hub) fn next(&self) -> u64 {
        lock(&self.group.log).next_of(self.id)
    }

    /// Continues with this number: the subscriber has read elsewhere what comes before it.
    pub(in crate::hub) fn advance(&mut self, next: u64) {
        lock(&self.group.log).move_to(self.id, next);
    }
}

impl<Q: SubscriberQuery> Drop for Subscriber<Q> {
    fn drop(&mut self) {
        // Under the lock of all groups, so that no subscriber joins a group that is being removed.
        let mut groups = lock(&self.all.groups);
        let (large, is_last) = self.group.change(|log, _| {
            let large = log.remove(self.id);
            (large, !log.has_subscribers())
        });
        for entry in large {
            entry.waiters.release(&self.notifier);
        }
        if is_last {
            groups.remove(&self.group.key);
            self.all.changed.store(true, Ordering::Release);
            self.all.count.store(groups.len(), Ordering::Relaxed);
        }
    }
}
