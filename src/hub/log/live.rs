//! Live readers of the stream who asked for the same: they share choosing, writing, and the bytes.
//!
//! A group has a log of the messages that its readers are asked to be told, by the ring's numbers:
//! all that match between the two ends of the log are in it. A member is a cursor into it, never a
//! queue. Who is further back than the log reads the ring by itself, and comes back when it meets
//! the log; nothing is given twice and nothing left out, because both count by the same numbers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use bytes::Bytes;

use super::encoding::StreamEncoding;
use super::selector::{StreamSelection, StreamSelector};
use crate::hub::fanout::fair_queue::{Job, Rank, Turns};
use crate::hub::fanout::frame::LARGE_BYTES;
use crate::hub::fanout::notifier::Notifier;
use crate::hub::fanout::registry::Registry;
use crate::hub::fanout::waiters::Waiters;
use crate::hub::lock::lock;
use crate::hub::log::tail::TailEvent;
use crate::model::position::{Cursor, Position};

/// The most bytes, of events or of what is written of them, that one group's log holds for its
/// slow members.
pub(super) const GROUP_BYTES: usize = 8 << 20;
/// The most that all logs hold together; each group has an equal share, up to its own limit.
const GROUPS_BYTES: usize = 64 << 20;
/// What an entry costs beside what is written of it.
const ENTRY_BYTES: usize = 256;
/// A log shorter than this is not searched for what everyone has taken.
const TRIM_FROM: usize = 32;
/// Large events that are encoded at once.
const ENCODERS: usize = 1;
/// A group of so few members drops what all have taken at once, where it was this many bytes.
const SOON_SEATS: usize = 16;
const SOON_BYTES: usize = 4 << 10;
/// The most events that a member takes at once.
const TAKE_EVENTS: usize = 64;
/// The most bytes that a reader takes at once; one event always goes.
pub(super) const TAKE_BYTES: usize = 128 << 10;

/// All groups of the stream.
#[derive(Debug)]
pub(in crate::hub) struct StreamGroups {
    registry: Registry<Key, Group>,
    /// Who encodes what is large.
    encoders: Arc<Turns>,
    /// Who waits for a position that has not come yet.
    waiting: Mutex<Vec<(Position, Weak<Notifier>)>>,
}

impl Default for StreamGroups {
    fn default() -> Self {
        let encoders = Arc::new(Turns::new(ENCODERS));
        Self { registry: Registry::default(), encoders, waiting: Mutex::default() }
    }
}

type Key = (Arc<StreamSelection>, StreamEncoding);

#[derive(Debug)]
pub(in crate::hub) struct Group {
    key: Key,
    choice: Arc<StreamSelector>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    log: VecDeque<Arc<Entry>>,
    /// From here up to `upto`, numbers of the ring, all that match is in the log.
    from: u64,
    upto: u64,
    /// The last event before `upto`.
    newest: Option<Cursor>,
    bytes: usize,
    trim_at: usize,
    seats: BTreeMap<u64, Seat>,
    next_seat: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    event: Arc<TailEvent>,
    encoded: OnceLock<(Bytes, u64)>,
    /// What it takes at most: the event or, where that is more, what is written of it.
    bytes: usize,
    /// Who waits until it is encoded, where it is large.
    waiters: Waiters,
}

/// The encoding of an event that is large, beside the async workers.
struct Encoding {
    group: Arc<Group>,
    entry: Arc<Entry>,
}

#[derive(Debug)]
struct Seat {
    /// The number of the ring from which on it takes.
    next: u64,
    notifier: Arc<Notifier>,
}

/// A reader's place in a group. Leaving is dropping it.
#[derive(Debug)]
pub(super) struct Member {
    groups: Arc<StreamGroups>,
    group: Arc<Group>,
    seat: u64,
    notifier: Arc<Notifier>,
}

/// What a member took.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) chunks: Vec<Bytes>,
    pub(super) messages: u64,
    /// Everything up to here was taken, or does not match.
    pub(super) upto: Option<Cursor>,
    /// Whether more is there already.
    pub(super) more: bool,
    /// Whether more is there that is being encoded: the notifier rings when it is ready.
    pub(super) is_waiting: bool,
}

impl StreamGroups {
    /// Joins the group of those who asked for the same, to take from `next` on; `end` is the
    /// ring's end, at which a new group begins.
    pub(super) fn join(
        self: &Arc<Self>,
        choice: &Arc<StreamSelector>,
        form: StreamEncoding,
        next: u64,
        end: impl FnOnce() -> u64,
        notifier: &Arc<Notifier>,
    ) -> Member {
        let begin = |key: &Key| {
            let state = State::new(end());
            Group { key: key.clone(), choice: Arc::clone(choice), state: state.into() }
        };
        let key = (Arc::clone(choice.ask()), form);
        let sit_down = |group: &Group| lock(&group.state).sit_down(next, notifier);
        let (group, seat) = self.registry.join(key, begin, sit_down);
        Member { groups: Arc::clone(self), group, seat, notifier: Arc::clone(notifier) }
    }

    fn leave(&self, group: &Group, seat: u64) {
        self.registry.leave(&group.key, || {
            let seats = &mut lock(&group.state).seats;
            seats.remove(&seat);
            seats.is_empty()
        });
    }

    /// Brings `list` up to date with the groups there are.
    pub(in crate::hub) fn refresh(&self, list: &mut Vec<Arc<Group>>) {
        self.registry.refresh(list);
    }

    /// Tells a group of events of the ring, of which `start` is the first one's number. How many
    /// deliveries come of it is returned.
    pub(in crate::hub) fn dispatch(
        &self,
        group: &Group,
        start: u64,
        events: &[Arc<TailEvent>],
    ) -> u64 {
        let share = self.registry.share_of(GROUPS_BYTES);
        let mut state = lock(&group.state);
        state.append(&group.choice, start, events, share.min(GROUP_BYTES))
    }

    /// Rings for everyone.
    pub(in crate::hub) fn notify_all(&self) {
        for group in self.registry.all() {
            lock(&group.state).seats.values().for_each(|seat| seat.notifier.notify());
        }
    }

    /// Rings when an event at this position or behind it has come.
    pub(super) fn wait_for(&self, position: Position, notifier: &Arc<Notifier>) {
        let notifier = Arc::downgrade(notifier);
        let mut waiting = lock(&self.waiting);
        // Who asks again waits for that only.
        waiting.retain(|(_, other)| other.strong_count() > 0 && !other.ptr_eq(&notifier));
        waiting.push((position, notifier));
    }

    /// Rings for those who waited for what has come.
    pub(in crate::hub) fn arrived(&self, newest: Position) {
        lock(&self.waiting).retain(|(position, notifier)| {
            let Some(notifier) = notifier.upgrade() else { return false };
            if *position <= newest {
                notifier.notify();
            }
            *position > newest
        });
    }
}

impl State {
    fn new(end: u64) -> Self {
        Self {
            log: VecDeque::new(),
            from: end,
            upto: end,
            newest: None,
            bytes: 0,
            trim_at: TRIM_FROM,
            seats: BTreeMap::new(),
            next_seat: 0,
        }
    }

    fn sit_down(&mut self, next: u64, notifier: &Arc<Notifier>) -> u64 {
        let seat = self.next_seat;
        self.next_seat += 1;
        self.seats.insert(seat, Seat { next, notifier: Arc::clone(notifier) });
        seat
    }

    fn append(
        &mut self,
        choice: &StreamSelector,
        start: u64,
        events: &[Arc<TailEvent>],
        bytes: usize,
    ) -> u64 {
        let end = start + events.len() as u64;
        if end <= self.upto {
            return 0;
        }
        let is_passed_over = start > self.upto;
        if is_passed_over {
            // The ring let go of what lies between before it was dealt; members look elsewhere.
            self.log.clear();
            (self.bytes, self.from) = (0, start);
        }
        let mut matching = 0;
        for (number, event) in (start..).zip(events) {
            if number >= self.upto && choice.takes(event) {
                let (event, encoded) = (Arc::clone(event), OnceLock::new());
                let bytes = choice.bytes_of(&event) + ENTRY_BYTES;
                self.bytes += bytes;
                let waiters = Waiters::default();
                self.log.push_back(Arc::new(Entry { number, event, encoded, bytes, waiters }));
                matching += 1;
            }
        }
        self.upto = end;
        self.newest = events.last().map(|event| event.cursor);
        while self.bytes > bytes && self.log.len() > 1 {
            self.drop_oldest();
        }
        self.trim();
        if matching > 0 || is_passed_over {
            self.seats.values().for_each(|seat| seat.notifier.notify());
        }
        matching * self.seats.len() as u64
    }

    fn drop_oldest(&mut self) {
        if let Some(entry) = self.log.pop_front() {
            self.bytes -= entry.bytes;
            self.from = entry.number + 1;
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
        let needed = self.seats.values().map(|seat| seat.next).min().unwrap_or(self.upto);
        while self.log.front().is_some_and(|entry| entry.number < needed) {
            self.drop_oldest();
        }
    }

    /// Goes on to the end where nothing lies between; tells the last event before it.
    fn pass(&mut self, seat: u64) -> Option<Cursor> {
        let seat = self.seats.get_mut(&seat)?;
        let has_more = self.log.back().is_some_and(|entry| entry.number >= seat.next);
        if seat.next < self.from || has_more {
            return None;
        }
        seat.next = self.upto.max(seat.next);
        self.newest
    }

    /// `None` for who is further back than the log.
    fn take(&mut self, seat: u64) -> Option<TakenEntries> {
        let seat = self.seats.get_mut(&seat)?;
        if seat.next < self.from {
            return None;
        }
        let begin = self.log.partition_point(|entry| entry.number < seat.next);
        let (mut bytes, mut large) = (0, None);
        let mut entries = Vec::new();
        for entry in self.log.range(begin..).take(TAKE_EVENTS) {
            if bytes >= TAKE_BYTES {
                break;
            }
            if entry.bytes > LARGE_BYTES && entry.encoded.get().is_none() {
                large = Some(Arc::clone(entry));
                break;
            }
            bytes += entry.bytes;
            entries.push(Arc::clone(entry));
        }
        if let (true, Some(large)) = (entries.is_empty(), &large) {
            // Everything before it is had; itself and what is behind it is not.
            seat.next = large.number;
            return Some(TakenEntries {
                large: Some(Arc::clone(large)),
                ..TakenEntries::default()
            });
        }
        let more = begin + entries.len() < self.log.len();
        let last = entries.last().filter(|_| more);
        let upto = last.map(|entry| entry.event.cursor).or(self.newest);
        seat.next = last.map_or(self.upto.max(seat.next), |entry| entry.number + 1);
        if bytes > SOON_BYTES && self.seats.len() <= SOON_SEATS {
            // Many small groups would hold as many copies until the next event comes.
            self.trim_to_needed();
        }
        Some(TakenEntries { entries, upto, more: more && large.is_none(), large })
    }
}

/// What a seat took from a log.
#[derive(Debug, Default)]
struct TakenEntries {
    entries: Vec<Arc<Entry>>,
    upto: Option<Cursor>,
    more: bool,
    /// What has to be encoded before it takes more.
    large: Option<Arc<Entry>>,
}

impl Group {
    fn encode(&self, entry: &Entry) -> (Bytes, u64) {
        let (choice, form) = (&self.choice, self.key.1);
        entry.encoded.get_or_init(|| choice.encode(form, &entry.event)).clone()
    }
}

impl Job for Encoding {
    fn run(self: Box<Self>) -> Option<Box<dyn Job>> {
        self.entry.waiters.serve(self.entry.bytes, |_| drop(self.group.encode(&self.entry)));
        None
    }
}

impl Member {
    /// What is there behind `after`, up to a limit; `None` for who has to read the ring first.
    pub(super) fn take(&mut self, after: Position) -> Option<Taken> {
        let TakenEntries { entries, upto, more, large } =
            lock(&self.group.state).take(self.seat)?;
        let is_waiting = large.is_some();
        if let Some(entry) = large.filter(|entry| entry.waiters.add(&self.notifier)) {
            let encoding = Encoding { group: Arc::clone(&self.group), entry };
            self.groups.encoders.push(self.notifier.client(), Rank::First, Box::new(encoding));
        }
        let mut taken = Taken { upto, more, is_waiting, ..Taken::default() };
        for entry in entries.iter().filter(|entry| entry.event.cursor.position > after) {
            let (bytes, messages) = self.group.encode(entry);
            taken.messages += messages;
            taken.chunks.push(bytes);
        }
        Some(taken)
    }

    /// Goes on over what is not asked for, for which nobody rings, where nothing else is there;
    /// tells up to where.
    pub(super) fn pass(&mut self) -> Option<Cursor> {
        lock(&self.group.state).pass(self.seat)
    }

    /// From which number on it takes.
    pub(super) fn next(&self) -> u64 {
        lock(&self.group.state).seats.get(&self.seat).map_or(0, |seat| seat.next)
    }

    /// Has taken by itself what lies before that number.
    pub(super) fn advance(&mut self, next: u64) {
        if let Some(seat) = lock(&self.group.state).seats.get_mut(&self.seat) {
            seat.next = next;
        }
    }
}

#[cfg(test)]
impl StreamGroups {
    /// How many wait for a position.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.waiting).len()
    }
}

#[cfg(test)]
impl Group {
    /// How many events its log holds.
    pub(super) fn held(&self) -> usize {
        lock(&self.state).log.len()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.groups.leave(&self.group, self.seat);
    }
}
