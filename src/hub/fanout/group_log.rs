//! The events of one group that some subscriber has not taken yet, and where each subscriber is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use super::frame::LARGE_BYTES;
use super::notifier::Notifier;
use super::subscriber_query::{LagPolicy, SubscriberQuery};
use super::turn::Turn;
use super::waiters::EncodingWaiters;
use crate::hub::log::tail::TailEvent;
use crate::metrics;
use crate::model::position::Cursor;

/// Bytes counted for each entry in addition to the event.
const ENTRY_BYTES: usize = 256;
/// A log with fewer entries than this is not searched for entries that all subscribers have taken.
pub(in crate::hub) const TRIM_FROM: usize = 32;
/// The most subscribers of a small group. A small group drops entries right after a take of more
/// than [`TRIM_AT_ONCE_BYTES`]: many such groups would otherwise hold copies until the next event.
/// A larger one keeps the last batch as one piece of bytes.
const SMALL_GROUP: usize = 16;
const TRIM_AT_ONCE_BYTES: usize = 4 << 10;
/// The most bytes that are kept as one piece.
const JOINED_BYTES: usize = 128 << 10;
/// The most events in one take, so that no connection holds much or is served for long.
const TAKE_EVENTS: usize = 64;

/// Rounds of turns after an append in which subscribers are notified: an append in the middle of a
/// round comes after the turn of some subscribers, so the next round is needed too.
const ROUNDS: u8 = 2;

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
    /// Rounds of turns that are left to notify subscribers of the last append.
    rounds_left: u8,
    subscribers: BTreeMap<u64, SubscriberPosition>,
}

/// An event that matches the group's query.
#[derive(Debug)]
pub(in crate::hub) struct LogEntry<Q: SubscriberQuery> {
    number: u64,
    pub(in crate::hub) event: Arc<TailEvent>,
    pub(super) encoded: OnceLock<Q::Encoded>,
    pub(super) bytes: usize,
    /// Connections that wait until a large event is encoded.
    pub(super) waiters: EncodingWaiters,
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

/// The next events for a subscriber.
#[derive(Debug)]
pub(in crate::hub) struct Taken<Q: SubscriberQuery> {
    pub(in crate::hub) entries: Vec<Arc<LogEntry<Q>>>,
    /// The events instead of `entries`, if another subscriber took the same ones.
    pub(in crate::hub) joined: Option<Joined<Q::Encoded>>,
    /// Whether other subscribers will take the same entries, see
    /// [`Subscriber::share`](super::subscribers::Subscriber::share).
    pub(in crate::hub) is_shared: bool,
    /// Everything up to here is in `entries`, was taken before, or does not match.
    pub(in crate::hub) upto: Option<Cursor>,
    /// Whether more can be taken now.
    pub(in crate::hub) more: bool,
    /// The next event, if it has to be encoded first. The connection is notified after that.
    pub(in crate::hub) large: Option<Arc<LogEntry<Q>>>,
}

impl<Q: SubscriberQuery> LogEntry<Q> {
    /// Whether it is encoded on a blocking thread, before a connection takes it.
    pub(super) fn is_large(&self) -> bool {
        self.bytes > LARGE_BYTES
    }
}

impl<E: Clone> Joined<E> {
    /// The kept batch, if it begins with this number. It is kept no longer than for the last
    /// subscriber that may take it.
    fn take_at(number: u64, kept: &mut Option<Self>) -> Option<Self> {
        let joined = kept.as_mut().filter(|joined| joined.first == number)?;
        joined.left = joined.left.saturating_sub(1);
        if joined.left == 0 { kept.take() } else { kept.clone() }
    }
}

impl<Q: SubscriberQuery> GroupLog<Q> {
    /// An empty log; the next event has this number or a later one.
    pub(super) fn new(end: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            from: end,
            end,
            newest: None,
            bytes: 0,
            trim_at: TRIM_FROM,
            joined: None,
            rounds_left: 0,
            subscribers: BTreeMap::new(),
        }
    }

    /// The number behind the newest event.
    pub(in crate::hub) fn end(&self) -> u64 {
        self.end
    }

    /// Adds a subscriber that begins with number `next` and takes one event in `rate`.
    pub(super) fn add(&mut self, id: u64, next: u64, rate: u64, notifier: Arc<Notifier>) {
        self.subscribers.insert(id, SubscriberPosition { next, rate, notifier });
    }

    /// Removes a subscriber. Returns the large events that it has not taken.
    pub(super) fn remove(&mut self, id: u64) -> Vec<Arc<LogEntry<Q>>> {
        let Some(SubscriberPosition { next, .. }) = self.subscribers.remove(&id) else {
            return Vec::new();
        };
        let open = self.entries.iter().rev().take_while(|entry| entry.number >= next);
        open.filter(|entry| entry.is_large()).cloned().collect()
    }

    pub(super) fn has_subscribers(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// The number of the next event that this subscriber takes.
    pub(super) fn next_of(&self, id: u64) -> u64 {
        self.subscribers.get(&id).map_or(0, |position| position.next)
    }

    /// Moves a subscriber to this number.
    pub(super) fn move_to(&mut self, id: u64, next: u64) {
        if let Some(position) = self.subscribers.get_mut(&id) {
            position.next = next;
        }
    }

    pub(super) fn events(&self) -> impl Iterator<Item = Arc<TailEvent>> {
        self.entries.iter().map(|entry| Arc::clone(&entry.event))
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
    /// for which [`Self::notify`] has to be called in two rounds.
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
        (self.joined, self.rounds_left) = (None, ROUNDS);
        let positions = self.subscribers.values().filter(|position| position.next < end);
        let deliveries = positions.map(|position| {
            let ahead = position.next.saturating_sub(before);
            matching.saturating_sub(ahead).div_ceil(position.rate)
        });
        deliveries.sum()
    }

    /// Notifies the subscribers of this turn that have something to take, if rounds are left since
    /// the last append. Returns their number.
    pub(super) fn notify(&mut self, turn: Turn) -> usize {
        if self.rounds_left == 0 {
            return 0;
        }
        self.rounds_left -= u8::from(turn.is_last());
        let end = self.entries.back().map_or(self.from, |newest| newest.number + 1);
        let subscribers = self.subscribers.iter().filter(|(id, _)| turn.includes(**id));
        let behind = subscribers.filter(|(_, position)| position.next < end);
        behind.map(|(_, position)| position.notifier.notify()).count()
    }

    /// Notifies all subscribers, also those that have nothing to take.
    pub(super) fn notify_all(&self) {
        self.subscribers.values().for_each(|position| position.notifier.notify());
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
    pub(super) fn take(
        &mut self,
        id: u64,
        deflates: bool,
        is_ready: impl Fn(&LogEntry<Q>) -> bool,
    ) -> Option<Taken<Q>> {
        let position = self.subscribers.get_mut(&id)?;
        if position.next < self.from {
            match Q::LAG {
                LagPolicy::ReadElsewhere => return None,
                LagPolicy::Skip => position.skip_to(self.from),
            }
        }
        let takes_joined = position.rate == 1 && !deflates;
        if takes_joined && let Some(joined) = Joined::take_at(position.next, &mut self.joined) {
            position.next = joined.next;
            let more = self.entries.back().is_some_and(|entry| entry.number >= joined.next);
            let upto = if more {
                joined.upto
            } else {
                position.next = position.next.max(self.end);
                self.newest
            };
            let (entries, is_shared, large) = (Vec::new(), false, None);
            return Some(Taken { entries, joined: Some(joined), is_shared, upto, more, large });
        }
        let TakenEntries { entries, bytes, large, has_more } =
            position.take(&self.entries, is_ready);
        let upto = if has_more {
            entries.last().map(|entry| entry.event.cursor)
        } else {
            position.next = position.next.max(self.end);
            self.newest
        };
        let is_small_group = self.subscribers.len() <= SMALL_GROUP;
        if is_small_group && bytes > TRIM_AT_ONCE_BYTES {
            self.trim_to_needed();
        }
        // Each connection takes a large event itself, see [`EncodingWaiters::release`].
        let is_shared = takes_joined
            && !is_small_group
            && entries.len() > 1
            && bytes <= JOINED_BYTES
            && !entries.iter().any(|entry| entry.is_large());
        let more = has_more && large.is_none();
        Some(Taken { entries, joined: None, is_shared, upto, more, large })
    }

    /// Keeps taken entries, which `encoded` has as one piece, for the other subscribers.
    pub(super) fn keep_joined(&mut self, entries: &[Arc<LogEntry<Q>>], encoded: Q::Encoded) {
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            self.joined = Some(Joined {
                first: first.number,
                next: last.number + 1,
                events: entries.len() as u64,
                encoded,
                upto: Some(last.event.cursor),
                left: self.subscribers.len().saturating_sub(1),
            });
        }
    }

    /// Drops what [`Self::keep_joined`] has kept.
    pub(super) fn forget_joined(&mut self) {
        self.joined = None;
    }

    /// Moves a subscriber to the end if no matching event is in between. Returns the last event
    /// before the end.
    pub(super) fn skip_unmatched(&mut self, id: u64) -> Option<Cursor> {
        let position = self.subscribers.get_mut(&id)?;
        let has_more = self.entries.back().is_some_and(|entry| entry.number >= position.next);
        if position.next < self.from || has_more {
            return None;
        }
        position.next = self.end.max(position.next);
        self.newest
    }

    /// How many events the log holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.entries.len()
    }
}

/// What a subscriber takes from the entries of a log.
struct TakenEntries<Q: SubscriberQuery> {
    entries: Vec<Arc<LogEntry<Q>>>,
    bytes: usize,
    /// The next event, if it has to be encoded first.
    large: Option<Arc<LogEntry<Q>>>,
    /// Whether the log has further entries for this subscriber.
    has_more: bool,
}

impl SubscriberPosition {
    /// Moves over the numbers before `from`, which the log no longer has, and counts the events
    /// that the subscriber misses.
    fn skip_to(&mut self, from: u64) {
        let skipped = (from - self.next).div_ceil(self.rate);
        self.next = self.next.saturating_add(skipped.saturating_mul(self.rate));
        metrics::SKIPPED.add(skipped);
    }

    /// Takes what is ready, up to a limit, and moves behind it.
    fn take<Q: SubscriberQuery>(
        &mut self,
        log: &VecDeque<Arc<LogEntry<Q>>>,
        is_ready: impl Fn(&LogEntry<Q>) -> bool,
    ) -> TakenEntries<Q> {
        let step = usize::try_from(self.rate).unwrap_or(usize::MAX);
        let mut at = index_of(log, self.next);
        let (mut entries, mut bytes, mut large) = (Vec::new(), 0, None);
        while let Some(entry) = log.get(at) {
            self.next = entry.number;
            if entries.len() >= TAKE_EVENTS || bytes >= Q::TAKE_BYTES {
                break;
            }
            if !is_ready(entry) {
                large = Some(Arc::clone(entry));
                break;
            }
            bytes += entry.bytes;
            entries.push(Arc::clone(entry));
            self.next = entry.number.saturating_add(self.rate);
            at = at.saturating_add(step);
        }
        TakenEntries { entries, bytes, large, has_more: at < log.len() }
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
