//! Subscribers with equal queries share filtering, encoding and the encoded bytes.
//!
//! Such subscribers form a group. A group has a log of the events that match its query; each event
//! is encoded once, when the first subscriber takes it. A subscriber is a cursor into that log,
//! never a queue. The log holds only what some subscriber has not taken yet, within limits. A
//! subscriber that falls behind the log is either moved forward or has to read the missing events
//! elsewhere; the query says which ([`LagPolicy`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::hub::fanout::fair_queue::{FairQueue, Priority, SlicedWork};
use crate::hub::fanout::frame::LARGE_BYTES;
use crate::hub::fanout::notifier::Notifier;
use crate::hub::fanout::turn::Turn;
use crate::hub::fanout::waiters::EncodingWaiters;
use crate::hub::log::tail::TailEvent;
use crate::metrics;
use crate::model::position::Cursor;
use crate::sync::lock;

/// The most bytes that all logs of one kind hold together. Each group has an equal share of it, up
/// to its own limit.
const ALL_GROUPS_BYTES: usize = 64 << 20;
/// Bytes counted for each entry in addition to the event.
const ENTRY_BYTES: usize = 256;
/// A log with fewer entries than this is not searched for entries that all subscribers have taken.
pub(in crate::hub) const TRIM_FROM: usize = 32;
/// Large events that are encoded at the same time.
const ENCODERS: usize = 1;
/// A group of up to this many subscribers drops entries right after a take, if that take had more
/// than [`TRIM_AT_ONCE_BYTES`]: many small groups would otherwise hold copies until the next event.
const TRIM_AT_ONCE_SUBSCRIBERS: usize = 16;
const TRIM_AT_ONCE_BYTES: usize = 4 << 10;
/// From this many subscribers on, a group keeps the last batch as one piece of bytes.
const JOIN_SUBSCRIBERS: usize = TRIM_AT_ONCE_SUBSCRIBERS + 1;
/// The most bytes that are kept as one piece.
const JOINED_BYTES: usize = 128 << 10;
/// The most events in one take, so that no connection holds much or is served for long.
const TAKE_EVENTS: usize = 64;

/// Rounds of notifying after an append, see [`GroupLog::notify`]: an append in the middle of one
/// comes after the turn of some, so one does not suffice.
const ROUNDS: u8 = 2;

/// What happens to a subscriber that is further behind than its group's log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum LagPolicy {
    /// It is moved forward; the metric of skipped events counts what it misses.
    Skip,
    /// [`Subscriber::take`] returns `None`, and it reads the missing events elsewhere.
    ReadElsewhere,
}

/// What a group's subscribers asked for: how an event is encoded, and the group's limits.
pub(in crate::hub) trait SubscriberQuery: Debug + Send + Sync + 'static {
    /// Equal for subscribers that share a group.
    type Key: Debug + Clone + Eq + Hash + Send + Sync;
    /// An encoded event; a clone shares the bytes.
    type Encoded: Debug + Clone + Send + Sync;

    /// What happens to a subscriber that is further behind than the log reaches.
    const LAG: LagPolicy;
    /// The most bytes that one group's log holds for its slow subscribers.
    const GROUP_BYTES: usize;
    /// The most bytes in one take; one event is always taken.
    const TAKE_BYTES: usize;

    /// The most bytes that the event and its encoding take.
    fn bytes_of(&self, event: &TailEvent) -> usize;

    /// The encoded event; `cache` belongs to this event and this query.
    fn encode(&self, event: &TailEvent, cache: &OnceLock<Self::Encoded>) -> Self::Encoded;

    /// Whether [`Self::encode`] would return at once, for a connection that takes messages deflated
    /// (or not).
    fn is_encoded(
        &self,
        event: &TailEvent,
        cache: &OnceLock<Self::Encoded>,
        deflates: bool,
    ) -> bool;

    /// Does all the work for which [`Self::is_encoded`] waits.
    fn prepare(&self, event: &TailEvent, cache: &OnceLock<Self::Encoded>, deflates: bool);
}

/// A batch of a group as one piece, for the other subscribers that take the same events: one clone
/// and one buffer to write instead of one an event.
#[derive(Debug, Clone)]
pub(in crate::hub) struct Joined<E> {
    /// The number of its first event, and the number behind its last.
    first: u64,
    next: u64,
    pub(in crate::hub) events: u64,
    pub(in crate::hub) encoded: E,
    upto: Option<Cursor>,
    /// Subscribers that may still take it.
    left: usize,
}

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

/// The matching events of a group, by ascending numbers.
#[derive(Debug)]
pub(in crate::hub) struct GroupLog<Q: SubscriberQuery> {
    entries: VecDeque<Arc<LogEntry<Q>>>,
    /// All matching events with a number from `from` up to, but without, `end` are in the log.
    from: u64,
    end: u64,
    /// The last event before `end`, also if it does not match.
    newest: Option<Cursor>,
    bytes: usize,
    /// The number of entries at which the log is trimmed next.
    trim_at: usize,
    /// The batch that was taken last, until the next events come.
    joined: Option<Joined<Q::Encoded>>,
    /// Rounds of notifying that ended since there was something new.
    notified_rounds: u8,
    subscribers: BTreeMap<u64, SubscriberPosition>,
}

#[derive(Debug)]
pub(in crate::hub) struct LogEntry<Q: SubscriberQuery> {
    number: u64,
    pub(in crate::hub) event: Arc<TailEvent>,
    encoded: OnceLock<Q::Encoded>,
    bytes: usize,
    /// Connections that wait until a large event is encoded.
    waiters: EncodingWaiters,
}

impl<Q: SubscriberQuery> LogEntry<Q> {
    /// Whether it is encoded on a blocking thread, before a connection takes it.
    fn is_large(&self) -> bool {
        self.bytes > LARGE_BYTES
    }
}

/// Where a subscriber is in its group's log.
#[derive(Debug)]
struct SubscriberPosition {
    /// The number of the next event to take.
    next: u64,
    /// Takes one event in this many.
    rate: u64,
    notifier: Arc<Notifier>,
}

/// One subscriber of a group. Dropping it unsubscribes.
#[derive(Debug)]
pub(in crate::hub) struct Subscriber<Q: SubscriberQuery> {
    all: Arc<Subscribers<Q>>,
    pub(in crate::hub) group: Arc<Group<Q>>,
    id: u64,
    pub(in crate::hub) notifier: Arc<Notifier>,
}

/// The next events for a subscriber.
#[derive(Debug)]
pub(in crate::hub) struct Taken<Q: SubscriberQuery> {
    pub(in crate::hub) entries: Vec<Arc<LogEntry<Q>>>,
    /// The events instead of `entries`, if another subscriber took the same ones.
    pub(in crate::hub) joined: Option<Joined<Q::Encoded>>,
    /// Whether other subscribers will take the same entries, see [`Subscriber::share`].
    pub(in crate::hub) is_shared: bool,
    /// Everything up to here is in `entries`, was taken before, or does not match.
    pub(in crate::hub) upto: Option<Cursor>,
    /// Whether more can be taken now.
    pub(in crate::hub) more: bool,
    /// The next event, if it has to be encoded first. The connection is notified after that.
    pub(in crate::hub) large: Option<Arc<LogEntry<Q>>>,
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
        group.change(|log, _| {
            let (next, notifier) = (next(log.end), Arc::clone(&notifier));
            log.subscribers.insert(id, SubscriberPosition { next, rate, notifier });
        });
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

    pub(in crate::hub) fn notify_all(&self) {
        for group in self.groups() {
            lock(&group.log).subscribers.values().for_each(|position| position.notifier.notify());
        }
    }

    /// Drops what [`Subscriber::share`] has kept.
    pub(in crate::hub) fn forget_shared(&self) {
        for group in self.groups() {
            lock(&group.log).joined = None;
        }
    }

    /// The events in the logs of all groups; one that is in several comes several times.
    pub(in crate::hub) fn held_events(&self) -> Vec<Arc<TailEvent>> {
        let mut events = Vec::new();
        for group in self.groups() {
            events.extend(lock(&group.log).entries.iter().map(|entry| Arc::clone(&entry.event)));
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
        lock(&self.log).entries.len()
    }
}

impl<Q: SubscriberQuery> GroupLog<Q> {
    fn new(end: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            from: end,
            end,
            newest: None,
            bytes: 0,
            trim_at: TRIM_FROM,
            joined: None,
            notified_rounds: ROUNDS,
            subscribers: BTreeMap::new(),
        }
    }

    /// The number behind the newest event.
    pub(in crate::hub) fn end(&self) -> u64 {
        self.end
    }

    /// Begins anew with this number: events before it will never be in the log.
    pub(in crate::hub) fn restart(&mut self, from: u64) {
        self.entries.clear();
        (self.bytes, self.from) = (0, from);
    }

    /// Appends a matching event; numbers ascend.
    pub(in crate::hub) fn push(&mut self, query: &Q, number: u64, event: &Arc<TailEvent>) {
        let (encoded, waiters) = (OnceLock::new(), EncodingWaiters::default());
        let (event, bytes) = (Arc::clone(event), query.bytes_of(event) + ENTRY_BYTES);
        self.bytes += bytes;
        self.entries.push_back(Arc::new(LogEntry { number, event, encoded, bytes, waiters }));
    }

    /// Ends an append of `matching` events: moves the end, and drops the oldest entries beyond the
    /// limits and those that all subscribers have taken. Returns the number of deliveries to come,
    /// for which [`Group::notify`] has to be called in two rounds.
    pub(in crate::hub) fn finish(
        &mut self,
        matching: u64,
        (end, newest): (u64, Option<Cursor>),
        (entries, bytes): (usize, usize),
    ) -> u64 {
        let before = std::mem::replace(&mut self.end, end);
        let has_news = matching > 0 || self.from > before;
        self.newest = newest;
        while self.entries.len() > entries || (self.bytes > bytes && self.entries.len() > 1) {
            self.drop_oldest();
        }
        self.trim();
        if !has_news {
            return 0;
        }
        (self.joined, self.notified_rounds) = (None, 0);
        let positions = self.subscribers.values().filter(|position| position.next < end);
        let deliveries = positions.map(|position| {
            let ahead = position.next.saturating_sub(before);
            matching.saturating_sub(ahead).div_ceil(position.rate)
        });
        deliveries.sum()
    }

    /// Notifies the subscribers of this turn that have something to take, in the first rounds after
    /// an append; a round ends with its last turn. Returns their number.
    fn notify(&mut self, turn: Turn) -> usize {
        if self.notified_rounds >= ROUNDS {
            return 0;
        }
        self.notified_rounds += u8::from(turn.is_last());
        let end = self.entries.back().map_or(self.from, |newest| newest.number + 1);
        let subscribers = self.subscribers.iter().filter(|(id, _)| turn.includes(**id));
        let behind = subscribers.filter(|(_, position)| position.next < end);
        behind.map(|(_, position)| position.notifier.notify()).count()
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes;
            self.from = entry.number + 1;
        }
    }

    /// Drops what every subscriber has taken. Done when the length has doubled, so the cost per
    /// event stays constant.
    fn trim(&mut self) {
        if self.entries.len() < self.trim_at {
            return;
        }
        self.trim_to_needed();
        self.trim_at = (2 * self.entries.len()).max(TRIM_FROM);
    }

    fn trim_to_needed(&mut self) {
        let needed = self.subscribers.values().map(|position| position.next).min();
        let needed = needed.unwrap_or(self.end);
        while self.entries.front().is_some_and(|entry| entry.number < needed) {
            self.drop_oldest();
        }
    }

    /// Takes what is there and ready, up to a limit; `None` for a subscriber that is behind the log
    /// and has to read elsewhere.
    fn take(
        &mut self,
        id: u64,
        deflates: bool,
        is_ready: impl Fn(&LogEntry<Q>) -> bool,
    ) -> Option<Taken<Q>> {
        let Self { entries: log, subscribers, .. } = self;
        let is_large_group = subscribers.len() >= JOIN_SUBSCRIBERS;
        let position = subscribers.get_mut(&id)?;
        if position.next < self.from {
            if Q::LAG == LagPolicy::ReadElsewhere {
                return None;
            }
            let skipped = (self.from - position.next).div_ceil(position.rate);
            let numbers = skipped.saturating_mul(position.rate);
            position.next = position.next.saturating_add(numbers);
            metrics::SKIPPED.add(skipped);
        }
        let takes_joined = position.rate == 1 && !deflates;
        let joined = self.joined.as_mut().filter(|joined| joined.first == position.next);
        if let Some(joined) = joined.filter(|_| takes_joined) {
            joined.left = joined.left.saturating_sub(1);
            position.next = joined.next;
            let more = log.back().is_some_and(|entry| entry.number >= joined.next);
            let upto = if more { joined.upto } else { self.newest };
            if !more {
                position.next = position.next.max(self.end);
            }
            let joined = if joined.left == 0 { self.joined.take() } else { self.joined.clone() };
            let (entries, is_shared, large) = (Vec::new(), false, None);
            return Some(Taken { entries, joined, is_shared, upto, more, large });
        }
        let step = usize::try_from(position.rate).unwrap_or(usize::MAX);
        let mut at = index_of(log, position.next);
        let (mut entries, mut bytes, mut large) = (Vec::new(), 0, None);
        while let Some(entry) = log.get(at) {
            position.next = entry.number;
            if entries.len() >= TAKE_EVENTS || bytes >= Q::TAKE_BYTES {
                break;
            }
            if !is_ready(entry) {
                large = Some(Arc::clone(entry));
                break;
            }
            bytes += entry.bytes;
            entries.push(Arc::clone(entry));
            position.next = entry.number.saturating_add(position.rate);
            at = at.saturating_add(step);
        }
        let has_more = at < log.len();
        let upto = if has_more {
            entries.last().map(|entry| entry.event.cursor)
        } else {
            position.next = position.next.max(self.end);
            self.newest
        };
        if bytes > TRIM_AT_ONCE_BYTES && self.subscribers.len() <= TRIM_AT_ONCE_SUBSCRIBERS {
            self.trim_to_needed();
        }
        let is_joined = entries.len() > 1 && bytes <= JOINED_BYTES;
        // Each connection takes a large event itself, see [`EncodingWaiters::release`].
        let is_shared = takes_joined
            && is_large_group
            && is_joined
            && !entries.iter().any(|entry| entry.is_large());
        let more = has_more && large.is_none();
        Some(Taken { entries, joined: None, is_shared, upto, more, large })
    }

    /// Moves a subscriber to the end if no matching event is in between. Returns the last event
    /// before the end.
    fn skip_unmatched(&mut self, id: u64) -> Option<Cursor> {
        let position = self.subscribers.get_mut(&id)?;
        let has_more = self.entries.back().is_some_and(|entry| entry.number >= position.next);
        if position.next < self.from || has_more {
            return None;
        }
        position.next = self.end.max(position.next);
        self.newest
    }
}

/// The index of the first entry with this number or a later one.
fn index_of<Q: SubscriberQuery>(log: &VecDeque<Arc<LogEntry<Q>>>, number: u64) -> usize {
    let Some(oldest) = log.front() else { return 0 };
    // Where the numbers have no holes, the index follows from the number.
    let guess = usize::try_from(number.saturating_sub(oldest.number)).unwrap_or(usize::MAX);
    match log.get(guess) {
        Some(entry) if entry.number == number => guess,
        _ => log.partition_point(|entry| entry.number < number),
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

    /// Keeps what was made of taken entries for the other subscribers that take the same ones, if
    /// each event is still `current`. An event that stops to be so before
    /// [`Subscribers::forget_shared`] is called is never in what is kept after that call.
    pub(in crate::hub) fn share(
        &self,
        taken: &Taken<Q>,
        encoded: Q::Encoded,
        is_current: impl Fn(&TailEvent) -> bool,
    ) {
        let (Some(first), Some(last)) = (taken.entries.first(), taken.entries.last()) else {
            return;
        };
        let mut log = lock(&self.group.log);
        if !taken.entries.iter().all(|entry| is_current(&entry.event)) {
            return;
        }
        log.joined = Some(Joined {
            first: first.number,
            next: last.number + 1,
            events: taken.entries.len() as u64,
            encoded,
            upto: Some(last.event.cursor),
            left: log.subscribers.len().saturating_sub(1),
        });
    }

    /// Moves to the end of the log if only events that do not match are in between: nobody is
    /// notified of those. Returns the last event before the end.
    pub(in crate::hub) fn skip_unmatched(&mut self) -> Option<Cursor> {
        lock(&self.group.log).skip_unmatched(self.id)
    }

    /// The number of the next event to take.
    pub(in crate::hub) fn next(&self) -> u64 {
        let log = lock(&self.group.log);
        log.subscribers.get(&self.id).map_or(0, |position| position.next)
    }

    /// Continues with this number: the subscriber has read elsewhere what comes before it.
    pub(in crate::hub) fn advance(&mut self, next: u64) {
        if let Some(position) = lock(&self.group.log).subscribers.get_mut(&self.id) {
            position.next = next;
        }
    }
}

impl<Q: SubscriberQuery> Drop for Subscriber<Q> {
    fn drop(&mut self) {
        // Under the lock of all groups, so that no subscriber joins a group that is being removed.
        let mut groups = lock(&self.all.groups);
        let (large, is_last) = self.group.change(|log, _| {
            let position = log.subscribers.remove(&self.id);
            let next = position.map_or(log.end, |position| position.next);
            let open = log.entries.iter().rev().take_while(|entry| entry.number >= next);
            let large = open.filter(|entry| entry.is_large()).cloned().collect::<Vec<_>>();
            (large, log.subscribers.is_empty())
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
