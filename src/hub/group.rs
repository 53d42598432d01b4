//! Groups: readers who asked for the same share the choosing, the writing and the bytes.
//!
//! A group has a log of its matching events, numbered without gaps. A member is a cursor into it,
//! never a queue: it takes every `rate`th number from the one at which it came. Who falls behind
//! further than the log reaches is moved forward, and what that cost it is counted. A log keeps
//! only what some member has not taken yet, within the limits below; the form is written by the
//! first member who takes an event, so that what nobody takes is never written.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::bell::Bell;
use super::frame::Frame;
use super::projection::Projection;
use super::query::{Form, Subscription};
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
/// The most bytes, by the events' text, that a member takes at once; one event always goes.
const TAKE_BYTES: usize = 256 << 10;

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    registry: Mutex<HashMap<Subscription, Arc<Group>>>,
    changed: AtomicBool,
    count: AtomicUsize,
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
    /// Whether more is there already; the bell does not ring again for it.
    pub more: bool,
}

impl Groups {
    pub(super) fn new(lag: usize) -> Self {
        Self {
            registry: Mutex::default(),
            changed: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            lag: lag.max(1),
        }
    }

    /// Joins the group of those who asked for the same, or begins it.
    pub(super) fn join(
        self: &Arc<Self>,
        subscription: Subscription,
        rate: u64,
        bell: &Arc<Bell>,
    ) -> Member {
        let mut registry = lock(&self.registry);
        let group = registry.entry(subscription).or_insert_with_key(|subscription| {
            self.changed.store(true, Ordering::Release);
            Arc::new(Group::new(subscription.clone()))
        });
        let group = Arc::clone(group);
        let seat = group.sit_down(rate.max(1), bell);
        self.count.store(registry.len(), Ordering::Relaxed);
        Member { groups: Arc::clone(self), group, seat }
    }

    fn leave(&self, group: &Group, seat: u64) {
        // Under the registry's lock, so that nobody joins a group that is being dropped.
        let mut registry = lock(&self.registry);
        let mut state = lock(&group.state);
        state.seats.remove(&seat);
        if state.seats.is_empty() {
            registry.remove(&group.subscription);
            self.changed.store(true, Ordering::Release);
            self.count.store(registry.len(), Ordering::Relaxed);
        }
    }

    /// Brings `list` up to date with the groups there are.
    pub(super) fn refresh(&self, list: &mut Vec<Arc<Group>>) {
        if self.changed.swap(false, Ordering::AcqRel) {
            list.clear();
            list.extend(lock(&self.registry).values().cloned());
        }
    }

    /// Puts the events that match into the group's log and tells its members. How many deliveries
    /// come of it is returned.
    pub(super) fn deal(&self, group: &Group, events: &[Arc<TailEvent>]) -> u64 {
        let share = GROUPS_BYTES / self.count.load(Ordering::Relaxed).max(1);
        group.append(events, self.lag, share.min(GROUP_BYTES))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.registry).len()
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
        let mut matching = events.iter().filter(|event| conditions.hold(&event.head)).peekable();
        if matching.peek().is_none() {
            return 0;
        }
        let mut state = lock(&self.state);
        let before = state.end();
        for event in matching {
            state.bytes += event.weight() + ENTRY_BYTES;
            let entry = Entry { event: Arc::clone(event), projected: OnceLock::new() };
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
        let frames = entries.iter().map(|entry| self.frame(entry)).collect();
        Taken { frames, more }
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
            self.bytes -= entry.event.weight() + ENTRY_BYTES;
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
            bytes += self.log[at].event.weight();
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::query::{Conditions, Path};
    use super::super::tail::tests::tail_event;
    use super::*;

    fn events(numbers: std::ops::RangeInclusive<u64>, kind: &str) -> Vec<Arc<TailEvent>> {
        numbers
            .map(|n| Arc::new(tail_event(n, &format!(r#"{{"id":"{n}","type":"{kind}"}}"#))))
            .collect()
    }

    fn ids() -> Subscription {
        let form = Form::List(vec![Path::read("event.id").unwrap()]);
        Subscription { form, ..Subscription::default() }
    }

    fn deal(groups: &Groups, events: &[Arc<TailEvent>]) -> u64 {
        let mut list = Vec::new();
        groups.changed.store(true, Ordering::Release);
        groups.refresh(&mut list);
        list.iter().map(|group| groups.deal(group, events)).sum()
    }

    /// The ids that a member has taken, until nothing is left.
    fn taken(member: &mut Member) -> Vec<u64> {
        let mut ids = Vec::new();
        loop {
            let taken = member.take();
            for frame in taken.frames {
                ids.push(frame.body().trim_matches(['[', ']', '"']).parse().unwrap());
            }
            if !taken.more {
                return ids;
            }
        }
    }

    #[test]
    fn each_member_counts_from_where_it_came() {
        let groups = Arc::new(Groups::new(1_000));
        let bell = Arc::new(Bell::default());
        let mut all = groups.join(ids(), 1, &bell);
        let mut thirds = groups.join(ids(), 3, &bell);
        deal(&groups, &events(1..=2, "A"));
        let mut late = groups.join(ids(), 3, &bell);
        assert_eq!(deal(&groups, &events(3..=8, "A")), 6 + 2 + 2);
        assert_eq!(taken(&mut all), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(taken(&mut thirds), [3, 6]);
        assert_eq!(taken(&mut late), [5, 8]);
        assert_eq!(groups.len(), 1);
    }

    #[test]
    fn only_matching_events_are_counted_and_an_empty_group_goes() {
        let groups = Arc::new(Groups::new(1_000));
        let bell = Arc::new(Bell::default());
        let conditions = Conditions { kind: Some("B".into()), ..Conditions::default() };
        let mut member = groups.join(Subscription { conditions, ..ids() }, 2, &bell);
        deal(&groups, &events(1..=3, "A"));
        deal(&groups, &events(4..=7, "B"));
        assert_eq!(taken(&mut member), [5, 7]);
        drop(member);
        assert_eq!(groups.len(), 0);
    }

    #[test]
    fn who_falls_behind_the_lag_is_moved_forward_and_keeps_its_phase() {
        let groups = Arc::new(Groups::new(10));
        let bell = Arc::new(Bell::default());
        let mut slow = groups.join(ids(), 1, &bell);
        let mut slow_thirds = groups.join(ids(), 3, &bell);
        for n in 1..=40 {
            deal(&groups, &events(n..=n, "A"));
        }
        assert_eq!(taken(&mut slow), (31..=40).collect::<Vec<_>>());
        assert_eq!(taken(&mut slow_thirds), [33, 36, 39]);
    }

    #[test]
    fn what_everyone_has_taken_is_not_held() {
        let groups = Arc::new(Groups::new(100_000));
        let bell = Arc::new(Bell::default());
        let mut member = groups.join(ids(), 1, &bell);
        let mut rare = groups.join(ids(), 1_000_000, &bell);
        for n in 1..=1_000 {
            deal(&groups, &events(n..=n, "A"));
            assert_eq!(taken(&mut member), [n]);
        }
        assert_eq!(taken(&mut rare), [] as [u64; 0]);
        assert!(lock(&member.group.state).log.len() <= TRIM_FROM);
    }

    #[test]
    fn members_share_the_bytes() {
        let groups = Arc::new(Groups::new(10));
        let bell = Arc::new(Bell::default());
        for subscription in [Subscription::default(), ids()] {
            let mut one = groups.join(subscription.clone(), 1, &bell);
            let mut two = groups.join(subscription, 1, &bell);
            deal(&groups, &events(1..=1, "A"));
            let (one, two) = (one.take().frames.remove(0), two.take().frames.remove(0));
            assert_eq!(one.bytes().as_ptr(), two.bytes().as_ptr());
        }
    }

    proptest! {
        #[test]
        fn a_member_gets_every_nth_of_its_own_count(
            rate in 1_u64..7,
            before in 0_u64..10,
            batches in prop::collection::vec(1_u64..9, 1..12),
        ) {
            let groups = Arc::new(Groups::new(1_000));
            let bell = Arc::new(Bell::default());
            let _first = groups.join(ids(), 1, &bell);
            deal(&groups, &events(1..=before, "A"));
            let mut member = groups.join(ids(), rate, &bell);
            let (mut at, mut got) = (before, Vec::new());
            for batch in batches {
                deal(&groups, &events(at + 1..=at + batch, "A"));
                at += batch;
                got.extend(taken(&mut member));
            }
            let wanted: Vec<u64> =
                (before + 1..=at).filter(|n| (n - before) % rate == 0).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
