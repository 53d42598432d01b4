//! Groups: readers who asked for the same share the choosing, the writing and the bytes.
//!
//! A group has a log of its matching events, numbered without gaps. A member is a cursor into it,
//! never a queue: it takes every `rate`th number from the one at which it came. Who falls behind
//! further than the log reaches is moved forward, and what that cost it is counted. A log keeps
//! only what some member has not taken yet, within the limits below; the form is written by the
//! first member who takes an event, so that what nobody takes is never written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};

use super::bell::Bell;
use super::frame::Frame;
use super::lock;
use super::projection::Projection;
use super::query::{Form, Subscription};
use super::registry::Registry;
use super::tail::TailEvent;
use crate::metrics;

/// The most bytes of events that one group's log holds back for its slow members.
const GROUP_BYTES: usize = 16 << 20;
/// The most that all logs hold back together; each group has an equal share, up to its own limit.
const GROUPS_BYTES: usize = 64 << 20;
/// What an entry costs beside the event's text.
const ENTRY_BYTES: usize = 256;
/// A log shorter than this is not searched for what everyone has taken.
const TRIM_FROM: usize = 32;
/// The most events that a member takes at once, so that no connection holds much or is served long.
const TAKE_EVENTS: usize = 64;
/// The most bytes, by what events take in its form, that a member takes at once; one event always
/// goes.
const TAKE_BYTES: usize = 256 << 10;

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    registry: Registry<Subscription, Group>,
    lag: usize,
}

#[derive(Debug)]
pub(super) struct Group {
    subscription: Subscription,
    /// How an event is written; the whole form is the event's own.
    projection: Option<Projection>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: VecDeque<Arc<Entry>>,
    /// The number of the log's oldest event.
    first: u64,
    bytes: usize,
    trim_at: usize,
    seats: BTreeMap<u64, Seat>,
    next_seat: u64,
}

#[derive(Debug)]
struct Entry {
    event: Arc<TailEvent>,
    projected: OnceLock<Frame>,
    /// What it takes at most: the event or, where that is more, what is written of it.
    bytes: usize,
}

#[derive(Debug)]
struct Seat {
    /// The number of the next event it takes.
    next: u64,
    rate: u64,
    bell: Arc<Bell>,
}

/// One reader's place in a group. Leaving is dropping it.
#[derive(Debug)]
pub struct Member {
    groups: Arc<Groups>,
    group: Arc<Group>,
    seat: u64,
}

/// What a member took.
#[derive(Debug, Default)]
pub struct Taken {
    /// In order, each to be sent as it is.
    pub frames: Vec<Frame>,
    /// How many events are in them, or values.
    pub messages: u64,
    /// Whether more is there already; the bell does not ring again for it.
    pub more: bool,
    /// Why nothing comes any more: code and reason of the goodbye.
    pub ended: Option<(u16, &'static str)>,
}

impl Groups {
    pub(super) fn new(lag: usize) -> Self {
        Self { registry: Registry::default(), lag: lag.max(1) }
    }

    /// Joins the group of those who asked for the same, or begins it.
    pub(super) fn join(
        self: &Arc<Self>,
        subscription: Subscription,
        rate: u64,
        bell: &Arc<Bell>,
    ) -> Member {
        let begin = |subscription: &Subscription| Group::new(subscription.clone());
        let (group, seat) =
            self.registry.join(subscription, begin, |group| group.sit_down(rate.max(1), bell));
        Member { groups: Arc::clone(self), group, seat }
    }

    fn leave(&self, group: &Group, seat: u64) {
        self.registry.leave(&group.subscription, || {
            let seats = &mut lock(&group.state).seats;
            seats.remove(&seat);
            seats.is_empty()
        });
    }

    /// Brings `list` up to date with the groups there are.
    pub(super) fn refresh(&self, list: &mut Vec<Arc<Group>>) {
        self.registry.refresh(list);
    }

    /// Puts the events that match into the group's log and tells its members. How many deliveries
    /// come of it is returned.
    pub(super) fn deal(&self, group: &Group, events: &[Arc<TailEvent>]) -> u64 {
        let share = self.registry.share_of(GROUPS_BYTES);
        group.append(events, self.lag, share.min(GROUP_BYTES))
    }
}

impl Group {
    fn new(subscription: Subscription) -> Self {
        let projection = match &subscription.form {
            Form::Whole => None,
            Form::Map(paths) => Some(Projection::map(paths)),
            Form::List(paths) => Some(Projection::list(paths)),
        };
        let state = State {
            log: VecDeque::new(),
            first: 1,
            bytes: 0,
            trim_at: TRIM_FROM,
            seats: BTreeMap::new(),
            next_seat: 0,
        };
        Self { subscription, projection, state: Mutex::new(state) }
    }

    fn sit_down(&self, rate: u64, bell: &Arc<Bell>) -> u64 {
        let mut state = lock(&self.state);
        let seat = state.next_seat;
        state.next_seat += 1;
        // From here on the `rate`th event is the first one taken.
        let next = state.end().saturating_add(rate - 1);
        state.seats.insert(seat, Seat { next, rate, bell: Arc::clone(bell) });
        seat
    }

    fn append(&self, events: &[Arc<TailEvent>], lag: usize, bytes: usize) -> u64 {
        let conditions = &self.subscription.conditions;
        let mut matching = events.iter().filter(|event| conditions.hold(event.head())).peekable();
        if matching.peek().is_none() {
            return 0;
        }
        let mut state = lock(&self.state);
        let before = state.end();
        for event in matching {
            let weight = event.weight();
            let bytes = match &self.projection {
                None => weight,
                Some(form) => form.bytes_of(weight).max(weight),
            };
            let projected = OnceLock::new();
            let entry = Entry { event: Arc::clone(event), projected, bytes: bytes + ENTRY_BYTES };
            state.bytes += entry.bytes;
            state.log.push_back(Arc::new(entry));
        }
        while state.log.len() > lag || (state.bytes > bytes && state.log.len() > 1) {
            state.drop_oldest();
        }
        state.trim();
        let end = state.end();
        let mut deliveries = 0;
        for seat in state.seats.values().filter(|seat| seat.next < end) {
            deliveries += (end - seat.next.max(before)).div_ceil(seat.rate);
            seat.bell.ring();
        }
        deliveries
    }

    fn take(&self, seat: u64) -> Taken {
        let mut entries = Vec::new();
        let more = lock(&self.state).take(seat, &mut entries);
        let frames: Vec<_> = entries.iter().map(|entry| self.frame(entry)).collect();
        Taken { messages: frames.len() as u64, frames, more, ended: None }
    }

    fn frame(&self, entry: &Entry) -> Frame {
        match &self.projection {
            None => entry.event.whole().clone(),
            Some(form) => entry.projected.get_or_init(|| form.encode(&entry.event)).clone(),
        }
    }
}

impl State {
    /// The number behind the newest event.
    fn end(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.log.pop_front() {
            self.bytes -= entry.bytes;
            self.first += 1;
        }
    }

    /// Drops what every member has taken. Done at doubled lengths, so an event costs a few looks.
    fn trim(&mut self) {
        if self.log.len() < self.trim_at {
            return;
        }
        let end = self.end();
        let needed = self.seats.values().map(|seat| seat.next).min().unwrap_or(end).min(end);
        while self.first < needed {
            self.drop_oldest();
        }
        self.trim_at = (2 * self.log.len()).max(TRIM_FROM);
    }

    fn take(&mut self, seat: u64, entries: &mut Vec<Arc<Entry>>) -> bool {
        let (first, end) = (self.first, self.end());
        let Some(seat) = self.seats.get_mut(&seat) else { return false };
        if seat.next < first {
            let skipped = (first - seat.next).div_ceil(seat.rate);
            seat.next = seat.next.saturating_add(skipped.saturating_mul(seat.rate));
            metrics::SKIPPED.add(skipped);
        }
        let mut bytes = 0;
        while seat.next < end && entries.len() < TAKE_EVENTS && bytes < TAKE_BYTES {
            let at = usize::try_from(seat.next - first).expect("an index into the log");
            bytes += self.log[at].bytes;
            entries.push(Arc::clone(&self.log[at]));
            seat.next = seat.next.saturating_add(seat.rate);
        }
        seat.next < end
    }
}

impl Member {
    /// What is there for this member, up to a limit. Never waits.
    #[must_use]
    pub fn take(&mut self) -> Taken {
        self.group.take(self.seat)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.groups.leave(&self.group, self.seat);
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
