//! One reader of the stream: a place, and the ways to go on from it.
//!
//! It takes from the group of its equals while it is near the head, from the ring where it is
//! further back than the group, and from the journal where it is further back than the ring. The
//! place says what it has; everything that comes is behind the place, and the place moves with
//! what is given away. Nothing is queued for it but one page of the journal.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::choice::Choice;
use super::control;
use super::form::StreamForm;
use super::group::{Member, TAKE_BYTES};
use super::page::{StreamStart, Wanted};
use super::paging::Paging;
use super::{Reading, Streams};
use crate::hub::Hub;
use crate::hub::bell::Bell;
use crate::hub::filter::Warning;
use crate::hub::retry_after;
use crate::model::gap::GapReason;
use crate::model::place::Place;
use crate::model::position::Cursor;

/// Events of the ring that are looked at before the connection gets its turn.
const RING_EVENTS: usize = 256;

/// The longest wait for a time that a query names and that has still to come.
const AHEAD: Duration = Duration::from_secs(60);

/// A reader of the stream.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing to remember")]
pub struct Follower {
    hub: Arc<Hub>,
    form: StreamForm,
    bell: Arc<Bell>,
    choice: Arc<Choice>,
    place: Place,
    mode: Mode,
    /// Whether it ends when it has caught up.
    once: bool,
    told_caught_up: bool,
    /// Whether nothing was given of what is asked for now.
    is_fresh: bool,
    /// Whether something may be missing on its way: then the journal is asked, which says what.
    is_back: bool,
    /// How many gaps of the bus were known when it last asked the journal.
    gaps_seen: u64,
    /// Control messages that go first.
    front: Vec<u8>,
}

#[derive(Debug)]
enum Mode {
    /// Begins where the query says, or behind the place.
    Begin(StreamStart, Option<Vec<Warning>>),
    /// The same, not before then: what the query names as its start has still to come.
    Later(Instant, StreamStart, Option<Vec<Warning>>),
    /// A page is on its way.
    Paging(Paging),
    /// Follows the ring.
    Live(Member),
    /// Waits until its place is there.
    Ahead,
    /// Nothing comes any more.
    Ended,
}

/// What a reader is given.
#[derive(Debug, Default)]
pub struct Portion {
    /// To be sent as they are; each is one or more whole messages.
    pub chunks: Vec<Bytes>,
    /// Events and entities in them.
    pub messages: u64,
    /// Whether more is there already; the bell does not ring again for it.
    pub more: bool,
    /// Whether this was the last.
    pub ended: bool,
}

impl Follower {
    pub(super) fn new(
        hub: Arc<Hub>,
        form: StreamForm,
        choice: Arc<Choice>,
        place: Place,
        bell: Arc<Bell>,
    ) -> Self {
        let mode = Mode::Begin(StreamStart::Behind(place), None);
        let mut follower = Self {
            hub,
            form,
            bell,
            choice,
            place,
            mode,
            once: false,
            told_caught_up: false,
            is_fresh: true,
            is_back: false,
            gaps_seen: 0,
            front: Vec::new(),
        };
        follower.gaps_seen = follower.streams().gaps();
        follower
    }

    /// The first message; `simulated` where the events are made up.
    #[must_use]
    pub fn hello(&self, simulated: bool) -> Bytes {
        let streams = self.streams();
        let newest = Place::behind(streams.newest(&self.hub));
        let oldest = Place::behind(streams.oldest());
        let reach = *streams.journal.store.heads().reach.borrow();
        let now = self.hub.clock().now();
        let seconds = reach.oldest.map(|oldest| now.since(oldest).as_secs());
        let held = control::Held { seconds, bytes: reach.bytes };
        control::hello(self.form, newest, oldest, (streams.journal.kept, held), simulated)
    }

    /// Asks for something from here on; an `ack` says from which place on that holds.
    pub fn ask(&mut self, choice: Choice, start: StreamStart, warnings: Vec<Warning>) {
        self.pass_over();
        self.choice = Arc::new(choice);
        (self.told_caught_up, self.is_fresh) = (false, true);
        let tag = self.streams().journal.tag;
        let is_here = start == StreamStart::Here;
        let start = match start {
            StreamStart::Here => StreamStart::Behind(self.place),
            StreamStart::Oldest => StreamStart::Behind(self.choice.behind(self.streams().oldest())),
            other => other,
        };
        let StreamStart::Behind(mut place) = start else {
            self.mode = self.begin_in_time(start, warnings);
            return;
        };
        let asked = place;
        if place.cursor.tag != tag {
            place = self.choice.behind(self.streams().oldest());
        }
        control::push_ack(&mut self.front, self.form, place, &warnings);
        if asked.cursor.tag != tag {
            let (from, to) = (asked.to_string(), place.to_string());
            let reason = GapReason::BusChanged;
            control::push_gap(&mut self.front, self.form, &from, &to, None, reason);
        }
        // Who was to ask the journal for another reason has not been answered yet.
        self.is_back |= !is_here;
        self.place = place;
        self.mode = Mode::Begin(StreamStart::Behind(place), None);
    }

    /// Begins now, or when the time has come that the query names.
    fn begin_in_time(&self, start: StreamStart, warnings: Vec<Warning>) -> Mode {
        let clock = self.hub.clock;
        let ahead = match start {
            StreamStart::Since(since) => since.since(clock.now()).min(AHEAD),
            _ => Duration::ZERO,
        };
        if ahead.is_zero() {
            return Mode::Begin(start, Some(warnings));
        }
        let (until, bell) = (clock.instant() + ahead, Arc::clone(&self.bell));
        tokio::spawn(async move {
            clock.sleep(ahead).await;
            bell.ring();
        });
        Mode::Later(until, start, Some(warnings))
    }

    /// Whether it ends when it has caught up; each query says so anew.
    pub fn only_once(&mut self, once: bool) {
        self.once = once;
    }

    /// What is there now, up to a limit. Never waits; the bell rings when there is more.
    #[must_use]
    pub fn take(&mut self) -> Portion {
        let mut portion = Portion::default();
        if !self.front.is_empty() {
            portion.chunks.push(std::mem::take(&mut self.front).into());
        }
        loop {
            self.mode = match std::mem::replace(&mut self.mode, Mode::Ended) {
                Mode::Ended => {
                    portion.ended = true;
                    return portion;
                }
                Mode::Later(until, start, ack) if self.hub.clock.instant() < until => {
                    self.mode = Mode::Later(until, start, ack);
                    return portion;
                }
                Mode::Begin(start, ack) | Mode::Later(_, start, ack) => {
                    self.begin(start, ack, None)
                }
                Mode::Ahead if self.is_ahead() && !self.once => {
                    self.mode = Mode::Ahead;
                    return portion;
                }
                Mode::Ahead => Mode::Begin(StreamStart::Behind(self.place), None),
                Mode::Paging(paging) => {
                    self.take_page(paging, &mut portion);
                    return portion;
                }
                Mode::Live(member) => {
                    self.take_live(member, &mut portion);
                    if !portion.more {
                        self.catch_up(&mut portion);
                    }
                    return portion;
                }
            }
        }
    }

    /// Where it is: everything up to here was given, or was not asked for.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Says where it is, so that it is known to live.
    #[must_use]
    pub fn heartbeat(&mut self) -> Bytes {
        self.pass_over();
        control::at(self.form, "heartbeat", self.place)
    }

    /// Says that something was refused.
    #[must_use]
    pub fn error(&self, code: &str, field: Option<&str>, message: &str) -> Bytes {
        control::error(self.form, code, field, message)
    }

    /// Says goodbye, where to come back to, and after how many milliseconds.
    #[must_use]
    pub fn bye(&mut self, reason: &str, retry_after: u64) -> Bytes {
        self.pass_over();
        control::bye(self.form, reason, self.place, retry_after)
    }

    /// How its messages are written.
    #[must_use]
    pub fn form(&self) -> StreamForm {
        self.form
    }

    fn streams(&self) -> &Streams {
        self.hub.streams().expect("a follower is made where there is a journal")
    }

    fn is_ahead(&self) -> bool {
        let newest = self.streams().newest(&self.hub);
        newest.position < self.place.cursor.position
    }

    /// Whether its place has not come yet. The bell rings when it does.
    fn waits(&self) -> bool {
        if !self.is_ahead() {
            return false;
        }
        self.streams().groups.wait_for(self.place.cursor.position, &self.bell);
        // It may have come before that was known.
        self.is_ahead()
    }

    /// The way on from a start.
    fn begin(
        &mut self,
        start: StreamStart,
        ack: Option<Vec<Warning>>,
        reading: Option<Reading>,
    ) -> Mode {
        let StreamStart::Behind(place) = start else { return self.page(start, ack, reading) };
        self.place = place;
        if self.choice.is_partly_had(place) {
            if !self.once && self.waits() {
                return Mode::Ahead;
            }
            return self.page(start, ack, reading);
        }
        let near = self.hub.tail().place_behind(place.cursor.position);
        match near.filter(|_| !self.is_back) {
            Some(next) => Mode::Live(self.join(next)),
            None => self.page(start, ack, reading),
        }
    }

    fn join(&self, next: u64) -> Member {
        let (streams, tail) = (self.streams(), self.hub.tail());
        self.waits();
        streams.groups.join(&self.choice, self.form, next, || tail.end(), &self.bell)
    }

    /// Sends for a page.
    fn page(
        &mut self,
        start: StreamStart,
        ack: Option<Vec<Warning>>,
        reading: Option<Reading>,
    ) -> Mode {
        self.gaps_seen = self.streams().gaps();
        let streams = self.streams();
        let reason = if self.is_fresh { GapReason::Retention } else { GapReason::Slow };
        let reading = reading.unwrap_or_else(|| streams.begin_reading());
        let wanted = Wanted {
            choice: Arc::clone(&self.choice),
            form: self.form,
            tag: streams.journal.tag,
            start,
            ack,
            reason,
            bytes: reading.page_bytes(),
        };
        Mode::Paging(Paging::begin(streams, wanted, reading, &self.bell))
    }

    fn take_page(&mut self, paging: Paging, portion: &mut Portion) {
        let page = match paging.take() {
            None => {
                self.mode = Mode::Paging(paging);
                return;
            }
            Some(Ok(page)) => page,
            Some(Err(error)) => {
                tracing::error!(%error, "the journal cannot be read for a stream");
                portion.chunks.push(self.bye("the journal cannot be read", retry_after()));
                portion.ended = true;
                return;
            }
        };
        (self.told_caught_up, self.is_fresh) = (false, false);
        self.is_back = page.is_before_a_gap;
        self.place = page.place;
        portion.messages += page.messages;
        portion.more = true;
        if !page.bytes.is_empty() {
            portion.chunks.push(page.bytes);
        }
        // While this page is written, the next one is read.
        let next = StreamStart::Behind(page.place);
        self.mode = self.begin(next, None, Some(paging.reading().clone()));
        portion.more = !matches!(self.mode, Mode::Paging(_) | Mode::Ahead);
    }

    fn take_live(&mut self, mut member: Member, portion: &mut Portion) {
        self.is_fresh = false;
        if self.gaps_seen != self.streams().gaps() {
            // The journal says where; what comes meanwhile waits behind it.
            self.is_back = true;
            self.mode = Mode::Begin(StreamStart::Behind(self.place), None);
            portion.more = true;
            return;
        }
        let after = self.place.cursor.position;
        // Who goes when it has all takes from the ring, which has it before the groups do.
        let taken = if self.once { None } else { member.take(after) };
        if let Some(taken) = taken {
            portion.messages += taken.messages;
            portion.more = taken.more;
            portion.chunks.extend(taken.chunks);
            self.move_to(taken.upto);
            self.mode = Mode::Live(member);
            return;
        }
        let stretch = self.hub.tail().read(member.next(), RING_EVENTS);
        if stretch.missed > 0 {
            drop(member);
            self.told_caught_up = false;
            self.mode = Mode::Begin(StreamStart::Behind(self.place), None);
            portion.more = true;
            return;
        }
        let mut out = Vec::new();
        let first = stretch.next - stretch.events.len() as u64;
        let mut had = None;
        for (next, event) in (first + 1..).zip(&stretch.events) {
            if event.cursor.position > after {
                portion.messages += self.choice.push(&mut out, self.form, event, None);
            }
            had = Some((next, event.cursor));
            if out.len() >= TAKE_BYTES {
                break;
            }
        }
        if !out.is_empty() {
            portion.chunks.push(out.into());
        }
        self.move_to(had.map(|(_, cursor)| cursor));
        member.advance(had.map_or(stretch.next, |(next, _)| next));
        portion.more = !self.once || !stretch.events.is_empty();
        self.mode = Mode::Live(member);
    }

    /// Has everything up to there.
    fn move_to(&mut self, cursor: Option<Cursor>) {
        let cursor = cursor.filter(|cursor| cursor.position > self.place.cursor.position);
        if let Some(cursor) = cursor {
            self.place = self.choice.behind(cursor);
        }
    }

    /// Moves over what is not asked for, where nothing else is there: nobody rings for that.
    fn pass_over(&mut self) {
        let Mode::Live(member) = &mut self.mode else { return };
        let passed = member.pass();
        // A gap among it is not passed over: the journal is asked from the place.
        if self.gaps_seen == self.streams().gaps() {
            self.move_to(passed);
        }
    }

    /// Says once that from here on it is live.
    fn catch_up(&mut self, portion: &mut Portion) {
        if !self.told_caught_up && (self.once || !self.is_ahead()) {
            self.told_caught_up = true;
            portion.chunks.push(control::at(self.form, "caught_up", self.place));
        }
        if self.once {
            portion.ended = true;
            self.mode = Mode::Ended;
        }
    }
}
