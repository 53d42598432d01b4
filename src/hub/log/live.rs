//! Live subscribers of the stream: those near its head, in groups with equal queries.
//!
//! A group's log counts by the numbers of the ring ([`crate::hub::Tail`]): all matching events
//! between its two ends are in it. A subscriber that is further back than the log reads the ring
//! itself and returns when it reaches the log. Nothing is sent twice and nothing is left out,
//! because both count by the same numbers.

use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::Bytes;

use super::encoding::StreamEncoding;
use super::selector::{StreamSelection, StreamSelector};
use crate::hub::fanout::batch::ReaderBatch;
use crate::hub::fanout::notifier::Notifier;
use crate::hub::fanout::subscriber_query::{LagPolicy, SubscriberQuery};
use crate::hub::fanout::subscribers::{Group, Subscriber, Subscribers};
use crate::hub::log::streamed_event::StreamedEvent as _;
use crate::hub::log::tail::TailEvent;
use crate::model::position::{Cursor, Position};
use crate::sync::lock;

/// The most bytes that one group's log holds for its slow subscribers.
pub(super) const GROUP_BYTES: usize = 8 << 20;
/// The most bytes that a subscriber takes at once; one event is always taken.
pub(super) const TAKE_BYTES: usize = 128 << 10;

/// What a group of stream subscribers asked for.
#[derive(Debug)]
pub(in crate::hub) struct LiveQuery {
    selector: Arc<StreamSelector>,
    encoding: StreamEncoding,
}

pub(in crate::hub) type LiveGroup = Group<LiveQuery>;

/// One live subscriber. Dropping it unsubscribes.
pub(super) type LiveSubscriber = Subscriber<LiveQuery>;

/// All live subscribers of the stream.
#[derive(Debug, Default)]
pub(in crate::hub) struct LiveSubscribers {
    pub(in crate::hub) groups: Arc<Subscribers<LiveQuery>>,
    /// Connections that wait for a position that has not come yet.
    waiting: Mutex<Vec<(Position, Weak<Notifier>)>>,
}

impl SubscriberQuery for LiveQuery {
    type Key = (Arc<StreamSelection>, StreamEncoding);
    type Encoded = (Bytes, u64);

    const LAG: LagPolicy = LagPolicy::ReadElsewhere;
    const GROUP_BYTES: usize = GROUP_BYTES;
    const TAKE_BYTES: usize = TAKE_BYTES;

    fn bytes_of(&self, event: &TailEvent) -> usize {
        self.selector.bytes_of(event)
    }

    fn encode(&self, event: &TailEvent, cache: &OnceLock<(Bytes, u64)>) -> (Bytes, u64) {
        cache.get_or_init(|| self.selector.encode(self.encoding, event)).clone()
    }

    fn is_encoded(&self, _: &TailEvent, cache: &OnceLock<(Bytes, u64)>, _: bool) -> bool {
        cache.get().is_some()
    }

    fn prepare(&self, event: &TailEvent, cache: &OnceLock<(Bytes, u64)>, _: bool) {
        self.encode(event, cache);
    }
}

impl LiveSubscribers {
    /// Joins the group with an equal query, to take events from number `next` on. A new group
    /// begins with `end`, the end of the ring.
    pub(super) fn subscribe(
        &self,
        selector: &Arc<StreamSelector>,
        encoding: StreamEncoding,
        next: u64,
        end: impl FnOnce() -> u64,
        notifier: &Arc<Notifier>,
    ) -> LiveSubscriber {
        let begin = |_: &_| (LiveQuery { selector: Arc::clone(selector), encoding }, end());
        let key = (Arc::clone(&selector.selection), encoding);
        self.groups.subscribe(key, begin, |_| next, 1, notifier)
    }

    /// Gives a group the events of the ring from number `start` on. Returns the number of
    /// deliveries to come.
    pub(in crate::hub) fn dispatch(
        &self,
        group: &LiveGroup,
        start: u64,
        events: &[Arc<TailEvent>],
    ) -> u64 {
        let bytes = self.groups.group_bytes();
        group.change(|log, query| {
            let (known, end) = (log.end(), start + events.len() as u64);
            if end <= known {
                return 0;
            }
            if start > known {
                // The ring dropped what lies between before it was dispatched.
                log.restart(start);
            }
            let mut matching = 0;
            for (number, event) in (start..).zip(events) {
                if number >= known && query.selector.takes(&**event) {
                    log.push(query, number, event);
                    matching += 1;
                }
            }
            let newest = events.last().map(|event| event.cursor);
            log.finish(matching, (end, newest), (usize::MAX, bytes))
        })
    }

    /// Notifies this connection when an event at this position or after it has come. A connection
    /// waits only for the position that it named last.
    pub(super) fn wait_for(&self, position: Position, notifier: &Arc<Notifier>) {
        let notifier = Arc::downgrade(notifier);
        let mut waiting = lock(&self.waiting);
        waiting.retain(|(_, other)| other.strong_count() > 0 && !other.ptr_eq(&notifier));
        waiting.push((position, notifier));
    }

    /// Notifies the connections that waited for a position up to `newest`.
    pub(in crate::hub) fn arrived(&self, newest: Position) {
        lock(&self.waiting).retain(|(position, notifier)| {
            let Some(notifier) = notifier.upgrade() else { return false };
            if *position <= newest {
                notifier.notify();
            }
            *position > newest
        });
    }

    /// How many connections wait for a position.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.waiting).len()
    }
}

impl LiveSubscriber {
    /// Adds the next messages after position `after` to `batch`, up to a limit. Returns the cursor
    /// up to which everything was taken or does not match, and whether the next event is being
    /// encoded, after which the connection is notified; `None` for a subscriber that has to read
    /// the ring first.
    pub(super) fn take_after(
        &mut self,
        after: Position,
        batch: &mut ReaderBatch<Bytes>,
    ) -> Option<(Option<Cursor>, bool)> {
        let taken = self.take()?;
        batch.messages.reserve(taken.entries.len());
        let is_next = |event: &TailEvent| event.cursor.position > after && !event.is_left_out();
        for entry in taken.entries.iter().filter(|entry| is_next(&entry.event)) {
            let (bytes, count) = self.group.encode(entry);
            batch.count += count;
            batch.messages.push(bytes);
        }
        batch.more = taken.more;
        Some((taken.upto, taken.large.is_some()))
    }
}
