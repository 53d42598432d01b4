//! Groups: readers who asked for the same share the choosing, the writing and the bytes.
//!
//! A group has a log of its matching events, numbered without gaps. A member is a cursor into it,
//! never a queue: it takes every `rate`th number from the one at which it came. Who falls behind
//! further than the log reaches is moved forward, and what that cost it is counted. A log keeps
//! only what some member has not taken yet, within the limits below; the form is written by the
//! first member who takes an event, so that what nobody takes is never written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};

use crate::hub::fanout::fair_queue::{Job, Rank, Turns};
use crate::hub::fanout::frame::{Frame, LARGE_BYTES};
use crate::hub::fanout::memory::{self, MemoryCharge};
use crate::hub::fanout::notifier::Notifier;
use crate::hub::fanout::registry::Registry;
use crate::hub::fanout::waiters::Waiters;
use crate::hub::lock::lock;
use crate::hub::log::projection::Projection;
use crate::hub::log::query::{SamplingEncoding, SamplingQuery};
use crate::hub::log::tail::TailEvent;
use crate::metrics;

/// The most bytes of events that one group's log holds back for its slow members.
const GROUP_BYTES: usize = 16 << 20;
/// The most that all logs hold back together; each group has an equal share, up to its own limit.
const GROUPS_BYTES: usize = 64 << 20;
/// What an entry costs beside the event's text.
const ENTRY_BYTES: usize = 256;
/// A log shorter than this is not searched for what everyone has taken.
const TRIM_FROM: usize = 32;
/// Large events that are encoded at once.
const ENCODERS: usize = 1;
/// A group of so few members drops what all have taken at once, where it was this many bytes.
const SOON_SEATS: usize = 16;
const SOON_BYTES: usize = 4 << 10;
/// The most events that a member takes at once, so that no connection holds much or is served long.
const TAKE_EVENTS: usize = 64;
/// The most bytes, by what events take in its form, that a member takes at once; one event always
/// goes.
const TAKE_BYTES: usize = 256 << 10;

/// All groups.
#[derive(Debug)]
pub(in crate::hub) struct Groups {
    registry: Registry<Arc<SamplingQuery>, Group>,
    lag: usize,
    /// Who encodes what is large.
    encoders: Arc<Turns>,
}

#[derive(Debug)]
pub(in crate::hub) struct Group {
    subscription: Arc<SamplingQuery>,
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
    /// Who waits until it is encoded, where it is large.
    waiters: Waiters,
}

#[derive(Debug)]
struct Seat {
    /// The number of the next event it takes.
    next: u64,
    rate: u64,
    notifier: Arc<Notifier>,
}

/// One reader's place in a group. Leaving is dropping it.
#[derive(Debug)]
pub struct SamplingSubscriber {
    groups: Arc<Groups>,
    group: Arc<Group>,
    seat: u64,
    notifier: Arc<Notifier>,
}

/// The encoding of an event that is large, beside the async workers.
struct Encoding {
    group: Arc<Group>,
    entry: Arc<Entry>,
}

/// What a member took.
#[derive(Debug, Default)]
pub struct FrameBatch {
    /// In order, each to be sent as it is.
    pub frames: Vec<Frame>,
    /// How many events are in them, or values.
    pub messages: u64,
    /// Whether more is there already; the notifier does not ring again for it.
    pub more: bool,
    /// Why nothing comes any more: code and reason of the goodbye.
    pub ended: Option<(u16, &'static str)>,
    /// To be kept until the frames have left: they count for their client so long.
    pub charge: Option<MemoryCharge>,
}

impl Groups {
    pub(in crate::hub) fn new(lag: usize) -> Self {
        let encoders = Arc::new(Turns::new(ENCODERS));
        Self { registry: Registry::default(), lag: lag.max(1), encoders }
    }

    /// Joins the group of those who asked for the same, or begins it.
    pub(in crate::hub) fn join(
        self: &Arc<Self>,
        subscription: SamplingQuery,
        rate: u64,
        notifier: &Arc<Notifier>,
    ) -> SamplingSubscriber {
        let begin = |subscription: &Arc<SamplingQuery>| Group::new(Arc::clone(subscription));
        let sit_down = |group: &Group| group.sit_down(rate.max(1), notifier);
        let (group, seat) = self.registry.join(Arc::new(subscription), begin, sit_down);
        SamplingSubscriber { groups: Arc::clone(self), group, seat, notifier: Arc::clone(notifier) }
    }

    fn leave(&self, group: &Group, seat: u64) {
        self.registry.leave(&group.subscription, || {
            let seats = &mut lock(&group.state).seats;
            seats.remove(&seat);
            seats.is_empty()
        });
    }

    /// Brings `list` up to date with the groups there are.
    pub(in crate::hub) fn refresh(&self, list: &mut Vec<Arc<Group>>) {
        self.registry.refresh(list);
    }

    /// Puts the events that match into the group's log and tells its members. How many deliveries
    /// come of it is returned.
    pub(in crate::hub) fn dispatch(&self, group: &Group, events: &[Arc<TailEvent>]) -> u64 {
        let share = self.registry.share_of(GROUPS_BYTES);
        group.append(events, self.lag, share.min(GROUP_BYTES))
    }
}

impl Group {
    fn new(subscription: Arc<SamplingQuery>) -> Self {
        let projection = match &subscription.form {
            SamplingEncoding::Whole => None,
            SamplingEncoding::Map(paths) => Some(Projection::map(paths)),
            SamplingEncoding::List(paths) => Some(Projection::list(paths)),
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

    fn sit_down(&self, rate: u64, notifier: &Arc<Notifier>) -> u64 {
        let mut state = lock(&self.state);
        let seat = state.next_seat;
        state.next_seat += 1;
        // From here on the `rate`th event is the first one taken.
        let next = state.end().saturating_add(rate - 1);
        state.seats.insert(seat, Seat { next, rate, notifier: Arc::clone(notifier) });
        seat
    }

    fn append(&self, events: &[Arc<TailEvent>], lag: usize, bytes: usize) -> u64 {
        let conditions = &self.subscription.conditions;
        let mut matching = events.iter().filter(|event| conditions.hold(event.index())).peekable();
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
            let (projected, waiters) = (OnceLock::new(), Waiters::default());
            let bytes = bytes + ENTRY_BYTES;
            let entry = Entry { event: Arc::clone(event), projected, bytes, waiters };
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
            seat.notifier.notify();
        }
        deliveries
    }

    /// What a member takes, and what it has to wait for.
    fn take(&self, seat: u64, notifier: &Notifier) -> (FrameBatch, Option<Arc<Entry>>) {
        let (mut entries, mut large) = (Vec::new(), None);
        let more = lock(&self.state).take(seat, &mut entries, |entry| {
            let is_ready = entry.bytes <= LARGE_BYTES || self.is_made(entry, notifier.deflates());
            if !is_ready {
                large = Some(Arc::clone(entry));
            }
            is_ready
        });
        let frames: Vec<_> = entries.iter().map(|entry| self.frame(entry)).collect();
        let charge = memory::charge(notifier.client(), frames.iter().map(Frame::len).sum());
        let messages = frames.len() as u64;
        (FrameBatch { messages, frames, more, ended: None, charge }, large)
    }

    fn frame(&self, entry: &Entry) -> Frame {
        match &self.projection {
            None => entry.event.whole().clone(),
            Some(form) => entry
                .projected
                .get_or_init(|| form.encode(self.subscription.form.paths(), &entry.event))
                .clone(),
        }
    }

    /// Whether its frame is there, and deflated where that is asked for.
    fn is_made(&self, entry: &Entry, deflates: bool) -> bool {
        let made = match &self.projection {
            None => entry.event.made_whole(),
            Some(_) => entry.projected.get(),
        };
        made.is_some_and(|frame| !deflates || frame.is_deflated())
    }
}

impl Job for Encoding {
    fn run(self: Box<Self>) -> Option<Box<dyn Job>> {
        let (group, entry) = (&self.group, &self.entry);
        entry.waiters.serve(entry.bytes, |notifier| {
            let frame = group.frame(entry);
            if notifier.deflates() {
                frame.deflate();
            }
        });
        None
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
        self.trim_to_needed();
        self.trim_at = (2 * self.log.len()).max(TRIM_FROM);
    }

    fn trim_to_needed(&mut self) {
        let end = self.end();
        let needed = self.seats.values().map(|seat| seat.next).min().unwrap_or(end).min(end);
        while self.first < needed {
            self.drop_oldest();
        }
    }

    /// Takes what is there and ready, up to a limit; whether more of that is there.
    fn take(
        &mut self,
        seat: u64,
        entries: &mut Vec<Arc<Entry>>,
        mut is_ready: impl FnMut(&Arc<Entry>) -> bool,
    ) -> bool {
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
            if !is_ready(&self.log[at]) {
                return false;
            }
            bytes += self.log[at].bytes;
            entries.push(Arc::clone(&self.log[at]));
            seat.next = seat.next.saturating_add(seat.rate);
        }
        let has_more = seat.next < end;
        if bytes > SOON_BYTES && self.seats.len() <= SOON_SEATS {
            // Many small groups would hold as many copies until the next event comes.
            self.trim_to_needed();
        }
        has_more
    }
}

impl SamplingSubscriber {
    /// What is there for this member, up to a limit. Never waits.
    #[must_use]
    pub fn take(&mut self) -> FrameBatch {
        if !memory::has_room_for(&self.notifier) {
            return FrameBatch::default();
        }
        let (taken, large) = self.group.take(self.seat, &self.notifier);
        if let Some(entry) = large.filter(|entry| entry.waiters.add(&self.notifier)) {
            let encoding = Encoding { group: Arc::clone(&self.group), entry };
            self.groups.encoders.push(self.notifier.client(), Rank::First, Box::new(encoding));
        }
        taken
    }
}

impl Drop for SamplingSubscriber {
    fn drop(&mut self) {
        self.groups.leave(&self.group, self.seat);
    }
}

#[cfg(test)]
mod tests;
