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

use super::control;
use super::encoding::StreamEncoding;
use super::live::{Member, TAKE_BYTES};
use super::page::{Searched, StreamStart, Wanted};
use super::pending_page::Paging;
use super::searches::{Search, TooManySearches};
use super::selector::StreamSelector;
use super::{Reading, Streams};
use crate::hub::Hub;
use crate::hub::fanout::fair_queue::Rank;
use crate::hub::fanout::memory::{self, MemoryCharge};
use crate::hub::fanout::notifier::Notifier;
use crate::hub::log::filter::QueryWarning;
use crate::hub::retry_after;
use crate::model::gap::GapReason;
use crate::model::offset::Offset;
use crate::model::position::{Cursor, Position};

/// The newest events of the ring that `latest` is looked for in before the journal is searched; of
/// a query that may take entities, fewer, because making them costs more.
const RING_SEARCH: usize = 1_024;
const RING_SEARCH_ENTITIES: usize = 128;
/// Events of the ring that are looked at before another connection gets its turn; of a query with
/// many `*`, which cost more to look at, fewer, down to [`RING_EVENTS_LEAST`].
const RING_EVENTS: usize = 256;
const RING_EVENTS_LEAST: usize = 8;

/// The longest wait for a time that a query names and that has still to come.
const AHEAD: Duration = Duration::from_secs(60);

/// A reader of the stream.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing to remember")]
pub struct Follower {
    hub: Arc<Hub>,
    form: StreamEncoding,
    notifier: Arc<Notifier>,
    choice: Arc<StreamSelector>,
    place: Offset,
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
    /// The newest event when `latest` was asked for: the events are counted back from it, and who
    /// ends when it has caught up ends there.
    head: Option<Position>,
    /// The place in line of a search that was not begun yet.
    search: Option<Search>,
    /// Control messages that go first.
    front: Vec<u8>,
}

#[derive(Debug)]
enum Mode {
    /// Begins where the query says, or behind the place.
    Begin(StreamStart, Option<Vec<QueryWarning>>),
    /// The same, not before then: what the query names as its start has still to come.
    Later(Instant, StreamStart, Option<Vec<QueryWarning>>),
    /// A page is on its way.
    Paging(Paging),
    /// Follows the ring.
    Live(Member),
    /// Waits until its place is there.
    Ahead,
    /// Has everything up to where it ends.
    Complete,
    /// Nothing comes any more.
    Ended,
}

/// What a reader is given.
#[derive(Debug, Default)]
pub struct StreamBatch {
    /// To be sent as they are; each is one or more whole messages.
    pub chunks: Vec<Bytes>,
    /// Events and entities in them.
    pub messages: u64,
    /// Whether more is there already; the notifier does not ring again for it.
    pub more: bool,
    /// Whether this was the last.
    pub ended: bool,
    /// To be kept until the chunks have left: they count for their client so long.
    pub charge: Option<MemoryCharge>,
}

impl Follower {
    pub(super) fn new(
        hub: Arc<Hub>,
        form: StreamEncoding,
        choice: Arc<StreamSelector>,
        place: Offset,
        notifier: Arc<Notifier>,
    ) -> Self {
        let mode = Mode::Begin(StreamStart::Behind(place), None);
        let mut follower = Self {
            hub,
            form,
            notifier,
            choice,
            place,
            mode,
            once: false,
            told_caught_up: false,
            is_fresh: true,
            is_back: false,
            gaps_seen: 0,
            head: None,
            search: None,
            front: Vec::new(),
        };
        follower.gaps_seen = follower.streams().gaps();
        follower
    }

    /// The first message; `simulated` where the events are made up.
    #[must_use]
    pub fn hello(&self, simulated: bool) -> Bytes {
        let streams = self.streams();
        let newest = Offset::after(streams.newest(&self.hub));
        let oldest = Offset::after(streams.oldest());
        let reach = *streams.journal.store.watermarks().reach.borrow();
        let now = self.hub.clock().now();
        let seconds = reach.oldest.map(|oldest| now.since(oldest).as_secs());
        let held = control::Held { seconds, bytes: reach.bytes };
        control::hello(self.form, newest, oldest, (streams.journal.kept, held), simulated)
    }

    /// Asks for something from here on; an `ack` says from which place on that holds. Where its
    /// start has to be searched for and its client has too many searches waiting, nothing changes.
    pub fn try_ask(
        &mut self,
        choice: StreamSelector,
        start: StreamStart,
        warnings: Vec<QueryWarning>,
    ) -> Result<(), TooManySearches> {
        let head = self.streams().newest(&self.hub).position;
        let near = match start {
            StreamStart::Latest(most) => self.find_in_ring(&choice, most, head),
            _ => None,
        };
        let is_latest = matches!(start, StreamStart::Latest(_));
        let is_searched = matches!(start, StreamStart::Since(_)) || (is_latest && near.is_none());
        let begin = || Arc::clone(&self.streams().searches).begin(self.notifier.client());
        self.search = is_searched.then(begin).transpose()?;
        self.head = is_latest.then_some(head);
        self.pass_over();
        self.choice = Arc::new(choice);
        (self.told_caught_up, self.is_fresh) = (false, true);
        let tag = self.streams().journal.tag;
        let is_here = start == StreamStart::Here || near.is_some();
        let start = match near.map_or(start, StreamStart::Behind) {
            StreamStart::Here => StreamStart::Behind(self.place),
            StreamStart::Oldest => StreamStart::Behind(self.choice.behind(self.streams().oldest())),
            other => other,
        };
        let StreamStart::Behind(mut place) = start else {
            self.mode = self.begin_in_time(start, warnings);
            return Ok(());
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
        Ok(())
    }

    /// Where the last `most` events that match begin, when all of them are among the newest of the
    /// ring: then nothing has to be searched for, and nobody waits in line.
    fn find_in_ring(&self, choice: &StreamSelector, most: usize, head: Position) -> Option<Offset> {
        let wants_entities = choice.ask().filter.wants_entities();
        let looked = if wants_entities { RING_SEARCH_ENTITIES } else { RING_SEARCH };
        if most > looked {
            return None;
        }
        let newest = self.hub.tail().newest_first(looked);
        let known = newest.iter().filter(|event| event.cursor.position <= head);
        let first = known.filter(|event| choice.takes(event)).nth(most.checked_sub(1)?)?;
        // Where the bus has gaps, the journal knows between which events they lie.
        let position = first.cursor.position.before()?;
        let has_no_gaps = self.streams().is_behind_all_gaps(position);
        has_no_gaps.then(|| choice.behind(Cursor { position, ..first.cursor }))
    }

    /// Whether a reader who ends when it has caught up has everything up to there.
    fn is_complete(&self, position: Position) -> bool {
        self.once && self.head.is_some_and(|head| position >= head)
    }

    /// [`Self::try_ask`] of a client that has few searches waiting.
    #[cfg(test)]
    pub(super) fn ask(
        &mut self,
        choice: StreamSelector,
        start: StreamStart,
        warnings: Vec<QueryWarning>,
    ) {
        self.try_ask(choice, start, warnings).expect("few searches are waiting");
    }

    /// Begins now, or when the time has come that the query names.
    fn begin_in_time(&self, start: StreamStart, warnings: Vec<QueryWarning>) -> Mode {
        let clock = self.hub.clock;
        let ahead = match start {
            StreamStart::Since(since) => since.since(clock.now()).min(AHEAD),
            _ => Duration::ZERO,
        };
        if ahead.is_zero() {
            return Mode::Begin(start, Some(warnings));
        }
        let (until, notifier) = (clock.instant() + ahead, Arc::clone(&self.notifier));
        tokio::spawn(async move {
            clock.sleep(ahead).await;
            notifier.notify();
        });
        Mode::Later(until, start, Some(warnings))
    }

    /// Whether it ends when it has caught up; each query says so anew.
    pub fn only_once(&mut self, once: bool) {
        self.once = once;
    }

    /// What is there now, up to a limit. Never waits; the notifier rings when there is more.
    #[must_use]
    pub fn take(&mut self) -> StreamBatch {
        let mut portion = StreamBatch::default();
        if !self.front.is_empty() {
            portion.chunks.push(std::mem::take(&mut self.front).into());
        }
        if memory::has_room_for(&self.notifier) {
            self.take_behind(&mut portion);
            let bytes = portion.chunks.iter().map(Bytes::len).sum();
            portion.charge = memory::charge(self.notifier.client(), bytes);
        }
        portion
    }

    /// What comes behind its place, up to a limit.
    fn take_behind(&mut self, portion: &mut StreamBatch) {
        loop {
            self.mode = match std::mem::replace(&mut self.mode, Mode::Ended) {
                Mode::Ended => {
                    portion.ended = true;
                    return;
                }
                Mode::Later(until, start, ack) if self.hub.clock.instant() < until => {
                    self.mode = Mode::Later(until, start, ack);
                    return;
                }
                Mode::Begin(start, ack) | Mode::Later(_, start, ack) => {
                    self.begin(start, ack, None)
                }
                Mode::Ahead if self.is_ahead() && !self.once => {
                    self.mode = Mode::Ahead;
                    return;
                }
                Mode::Ahead => Mode::Begin(StreamStart::Behind(self.place), None),
                Mode::Complete => {
                    self.catch_up(portion);
                    return;
                }
                Mode::Paging(paging) => {
                    self.take_page(paging, portion);
                    return;
                }
                Mode::Live(member) => {
                    let has_all = self.take_live(member, portion);
                    if has_all {
                        self.catch_up(portion);
                    }
                    return;
                }
            }
        }
    }

    /// Where it is: everything up to here was given, or was not asked for.
    #[must_use]
    pub fn place(&self) -> Offset {
        self.place
    }

    /// Says where it is, so that it is known to live.
    #[must_use]
    pub fn heartbeat(&mut self) -> Bytes {
        self.pass_over();
        control::heartbeat(self.form, self.place)
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
    pub fn form(&self) -> StreamEncoding {
        self.form
    }

    fn streams(&self) -> &Streams {
        self.hub.streams().expect("a follower is made where there is a journal")
    }

    fn is_ahead(&self) -> bool {
        let newest = self.streams().newest(&self.hub);
        newest.position < self.place.cursor.position
    }

    /// Whether its place has not come yet. The notifier rings when it does.
    fn waits(&self) -> bool {
        if !self.is_ahead() {
            return false;
        }
        self.streams().groups.wait_for(self.place.cursor.position, &self.notifier);
        // It may have come before that was known.
        self.is_ahead()
    }

    /// The way on from a start.
    fn begin(
        &mut self,
        start: StreamStart,
        ack: Option<Vec<QueryWarning>>,
        reading: Option<Reading>,
    ) -> Mode {
        let StreamStart::Behind(place) = start else { return self.page(start, ack, reading) };
        self.place = place;
        if self.is_complete(place.cursor.position) {
            return Mode::Complete;
        }
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
        streams.groups.join(&self.choice, self.form, next, || tail.end(), &self.notifier)
    }

    /// Sends for a page.
    fn page(
        &mut self,
        start: StreamStart,
        ack: Option<Vec<QueryWarning>>,
        reading: Option<Reading>,
    ) -> Mode {
        self.gaps_seen = self.streams().gaps();
        let streams = self.streams();
        let reason = if self.is_fresh { GapReason::Retention } else { GapReason::Slow };
        let rank = if self.is_fresh { Rank::First } else { Rank::Later };
        let reading = reading.unwrap_or_else(|| streams.begin_reading());
        let wanted = Wanted {
            choice: Arc::clone(&self.choice),
            form: self.form,
            tag: streams.journal.tag,
            start,
            ack,
            reason,
            bytes: reading.page_bytes(),
            head: self.head.unwrap_or_else(|| streams.newest(&self.hub).position),
            until: self.head.filter(|_| self.once),
            search: self.search.take(),
            searched: Searched::default(),
        };
        let streams = self.streams();
        Mode::Paging(Paging::begin(streams, wanted, rank, reading, &self.notifier))
    }

    fn take_page(&mut self, paging: Paging, portion: &mut StreamBatch) {
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

    /// Whether it has all there is.
    fn take_live(&mut self, mut member: Member, portion: &mut StreamBatch) -> bool {
        self.is_fresh = false;
        if self.gaps_seen != self.streams().gaps() {
            // The journal says where; what comes meanwhile waits behind it.
            self.is_back = true;
            return self.begin_again(portion);
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
            return !taken.more && !taken.is_waiting;
        }
        let globs = self.choice.ask().filter.globs();
        let most = (RING_EVENTS / (1 + globs)).max(RING_EVENTS_LEAST);
        let stretch = self.hub.tail().read(member.next(), most);
        if stretch.missed > 0 {
            drop(member);
            self.told_caught_up = false;
            return self.begin_again(portion);
        }
        let mut out = Vec::new();
        let first = stretch.next - stretch.events.len() as u64;
        let (mut had, mut is_complete) = (None, false);
        for (next, event) in (first + 1..).zip(&stretch.events) {
            // Its end was reached, and what is newer was not counted.
            is_complete = self.once && self.head.is_some_and(|head| event.cursor.position > head);
            if is_complete {
                break;
            }
            if self.choice.is_large(event) && event.cursor.position > after {
                if had.is_none() {
                    // A page of the journal has it: pages are written beside the async workers.
                    self.is_back = true;
                    return self.begin_again(portion);
                }
                break;
            }
            if event.cursor.position > after {
                portion.messages += self.choice.push(&mut out, self.form, event, None);
            }
            had = Some((next, event.cursor));
            if out.len() >= TAKE_BYTES {
                break;
            }
        }
        if !out.is_empty() {
            portion.chunks.push(memory::hold(out));
        }
        self.move_to(had.map(|(_, cursor)| cursor));
        member.advance(had.map_or(stretch.next, |(next, _)| next));
        portion.more = !self.once || !(stretch.events.is_empty() || is_complete);
        self.mode = Mode::Live(member);
        !portion.more
    }

    /// Looks anew for the way on from its place; it does not have all there is.
    fn begin_again(&mut self, portion: &mut StreamBatch) -> bool {
        self.mode = Mode::Begin(StreamStart::Behind(self.place), None);
        portion.more = true;
        false
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
    fn catch_up(&mut self, portion: &mut StreamBatch) {
        if !self.told_caught_up && (self.once || !self.is_ahead()) {
            self.told_caught_up = true;
            portion.chunks.push(control::caught_up(self.form, self.place));
        }
        if self.once {
            portion.ended = true;
            self.mode = Mode::Ended;
        }
    }
}
