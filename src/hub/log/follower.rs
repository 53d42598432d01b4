//! One subscriber of the stream: an offset, and the ways to continue from it.
//!
//! Near the head, a follower takes from the group with an equal query. Further back it reads the
//! ring of newest events, and behind that the journal. Its offset says what it has received;
//! everything it takes comes after the offset, and the offset moves with it. At most one page of
//! the journal is kept for a follower.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::answers::WaitingAnswers;
use super::control::{Retention, StreamMessage};
use super::encoding::StreamEncoding;
use super::event_log::{EventLog, JournalFeed, PageReader};
use super::filter::QueryWarning;
use super::live::{LiveSubscriber, TAKE_BYTES};
use super::page::{PageRequest, QueryStart, SearchProgress, StreamStart};
use super::pending_page::PendingPage;
use super::searches::{SearchPermit, TooManyWaiting};
use super::selector::{StreamSelection, StreamSelector};
use crate::hub::fanout::batch::ReaderBatch;
use crate::hub::fanout::fair_queue::Priority;
use crate::hub::fanout::memory;
use crate::hub::fanout::notifier::Notifier;
use crate::hub::fanout::retry_after;
use crate::logging::line_limit::LineLimit;
use crate::model::gap::GapReason;
use crate::model::offset::Offset;
use crate::model::position::{Cursor, Position};

/// The newest events of the ring in which `latest` is looked for before the journal is searched.
/// Fewer for a query with entities, because deriving them costs more.
const RING_SEARCH: usize = 1_024;
const RING_SEARCH_ENTITIES: usize = 128;
/// The most events of the ring that are matched before another connection gets its turn.
const RING_EVENTS: usize = 256;

/// The longest wait for a start time in the future.
const AHEAD: Duration = Duration::from_secs(60);
/// The close frame after everything was sent.
const ALL_SENT: (u16, &str) = (1000, "that is all there is now");
/// Lines that say that the journal cannot be read; each subscriber can cause one.
static UNREADABLE: LineLimit = LineLimit::per_minute(10);

/// A subscriber of the stream.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent flags")]
pub struct Follower {
    log: Arc<EventLog>,
    encoding: StreamEncoding,
    notifier: Arc<Notifier>,
    selector: Arc<StreamSelector>,
    offset: Offset,
    state: FollowerState,
    /// Whether it ends when it has caught up.
    once: bool,
    /// Number of messages after which it ends, if it ends at all.
    left: Option<u64>,
    has_caught_up: bool,
    /// Whether nothing was taken since the last query.
    is_fresh: bool,
    /// Whether events may be missing after the offset. The journal, which knows the gaps, is read
    /// next.
    needs_journal: bool,
    /// The number of gaps of the bus when it last read the journal.
    gaps_seen: u64,
    /// The newest event at the time of a query with `latest`: events are counted back from it, and
    /// a follower that ends when it has caught up ends there.
    head: Option<Position>,
    /// The start that is searched for, until it is found.
    pending_start: Option<StreamStart>,
    /// The permit for a search that has not started yet.
    search_permit: Option<SearchPermit>,
    /// The answers to queries until that start is found.
    answers: WaitingAnswers,
    /// Control messages to be sent before events.
    control: Vec<u8>,
}

#[derive(Debug)]
enum FollowerState {
    /// Begins with this start.
    Begin(StreamStart),
    /// Begins with this start, but not before this instant: the start is in the future.
    Later(Instant, StreamStart),
    /// Waits for a page of the journal.
    PendingPage(PendingPage),
    /// Follows the newest events.
    Live(LiveSubscriber),
    /// Waits for events up to its offset.
    Ahead,
    /// Has received everything up to its end.
    Complete,
    Ended,
}

impl Follower {
    pub(in crate::hub) fn new(
        log: Arc<EventLog>,
        encoding: StreamEncoding,
        offset: Offset,
        notifier: Arc<Notifier>,
    ) -> Self {
        let selector = Arc::new(StreamSelector::new(StreamSelection::default()));
        let state = FollowerState::Begin(StreamStart::Behind(offset));
        let mut follower = Self {
            log,
            encoding,
            notifier,
            selector,
            offset,
            state,
            once: false,
            left: None,
            has_caught_up: false,
            is_fresh: true,
            needs_journal: false,
            gaps_seen: 0,
            head: None,
            pending_start: None,
            search_permit: None,
            answers: WaitingAnswers::default(),
            control: Vec::new(),
        };
        follower.gaps_seen = follower.feed().gaps();
        follower
    }

    /// The first message. `simulated` says that the events are not GitHub's.
    #[must_use]
    pub fn hello(&self, simulated: bool) -> Bytes {
        let feed = self.feed();
        let cursor = Offset::after(self.log.newest(feed));
        let oldest = Offset::after(feed.oldest());
        let reach = *feed.journal.store.watermarks().reach.borrow();
        let now = self.log.clock.now();
        let reach_seconds = reach.oldest.map(|oldest| now.since(oldest).as_secs());
        let kept = feed.journal.kept;
        let retention = Retention {
            seconds: kept.duration.as_secs(),
            bytes: kept.bytes,
            reach_seconds,
            used_bytes: reach.bytes,
        };
        let version = env!("CARGO_PKG_VERSION");
        let hello = StreamMessage::Hello { version, cursor, retention, oldest, simulated };
        hello.encoded(self.encoding)
    }

    /// Sets a new query; an `ack` says after which offset it is in force. A start that is still
    /// searched for is kept if the new query names none: `latest` then counts back from the event
    /// that was the newest when that start was named. Nothing changes if the start has to be
    /// searched for and the client has too many searches waiting, or too many answers wait for one.
    pub fn ask(
        &mut self,
        selector: StreamSelector,
        start: StreamStart,
        warnings: Vec<QueryWarning>,
    ) -> Result<(), TooManyWaiting> {
        if self.answers.are_full() {
            return Err(TooManyWaiting::Answers);
        }
        let kept = self.pending_start.filter(|_| start == StreamStart::Here);
        let start = kept.unwrap_or(start);
        let head = self.head.filter(|_| kept.is_some());
        let head = head.unwrap_or_else(|| self.log.newest(self.feed()).position);
        let near = match start {
            StreamStart::Latest(most) => self.find_in_ring(&selector, most, head),
            _ => None,
        };
        let is_latest = matches!(start, StreamStart::Latest(_));
        let is_searched = matches!(start, StreamStart::Since(_)) || (is_latest && near.is_none());
        if !is_searched {
            self.search_permit = None;
        } else if self.search_permit.is_none() {
            let searches = Arc::clone(&self.feed().searches);
            self.search_permit = Some(searches.begin(self.notifier.client)?);
        }
        self.pending_start = is_searched.then_some(start);
        self.head = is_latest.then_some(head);
        // The gaps that a page would have had are counted as seen, and the page is not read.
        self.needs_journal |= matches!(self.state, FollowerState::PendingPage(_));
        self.skip_unmatched();
        self.selector = Arc::new(selector);
        self.answers.accept(warnings);
        (self.has_caught_up, self.is_fresh) = (false, true);
        let is_here = start == StreamStart::Here || near.is_some();
        let start = match near.map_or(start, StreamStart::Behind) {
            StreamStart::Here => StreamStart::Behind(self.offset),
            StreamStart::Oldest => StreamStart::Behind(self.selector.after(self.feed().oldest())),
            other => other,
        };
        let StreamStart::Behind(mut offset) = start else {
            self.state = self.begin_in_time(start);
            return Ok(());
        };
        let (asked, is_foreign) = (offset, self.feed().journal.is_foreign(offset.cursor));
        if is_foreign {
            offset = self.selector.after(self.feed().oldest());
        }
        self.answers.push(&mut self.control, self.encoding, offset, None);
        if is_foreign {
            let reason = GapReason::BusChanged;
            let gap = StreamMessage::Gap { from: asked, to: offset, count: None, reason };
            gap.push(&mut self.control, self.encoding);
        }
        // Keeps an earlier reason to read the journal, which was not done yet.
        self.needs_journal |= !is_here;
        self.offset = offset;
        self.state = FollowerState::Begin(StreamStart::Behind(offset));
        Ok(())
    }

    /// Answers a query that is not accepted by an `error`, after the answers to earlier ones, but
    /// at once when too many of these wait. The earlier query stays in force.
    pub fn refuse(&mut self, code: &str, field: Option<&str>, message: &str) {
        let error = self.error(code, field, message);
        if self.pending_start.is_some() && !self.answers.are_full() {
            self.answers.refuse(error);
        } else {
            self.control.extend_from_slice(&error);
        }
    }

    /// Where the last `most` matching events begin, if all of them are among the newest of the
    /// ring: then the journal need not be searched.
    fn find_in_ring(
        &self,
        selector: &StreamSelector,
        most: usize,
        head: Position,
    ) -> Option<Offset> {
        let wants_entities = selector.selection.filter.wants_entities();
        let searched = if wants_entities { RING_SEARCH_ENTITIES } else { RING_SEARCH };
        if most > searched {
            return None;
        }
        let newest = self.log.tail.newest_first(searched);
        let known = newest.iter().filter(|event| event.cursor.position <= head);
        let first = known.filter(|event| selector.takes(&***event)).nth(most.checked_sub(1)?)?;
        // Only the journal knows between which events the gaps of the bus are.
        let position = first.cursor.position.before()?;
        let has_no_gaps = self.feed().is_behind_all_gaps(position);
        has_no_gaps.then(|| selector.after(Cursor { position, ..first.cursor }))
    }

    /// Whether this follower ends at its head and `position` has reached it, or has received as
    /// many messages as it may.
    fn is_complete(&self, position: Position) -> bool {
        self.once && (self.left == Some(0) || self.head.is_some_and(|head| position >= head))
    }

    /// Begins now, or at the start time of the query if that is in the future.
    fn begin_in_time(&self, start: StreamStart) -> FollowerState {
        let clock = self.log.clock;
        let ahead = match start {
            StreamStart::Since(since) => since.since(clock.now()).min(AHEAD),
            _ => Duration::ZERO,
        };
        if ahead.is_zero() {
            return FollowerState::Begin(start);
        }
        let (until, notifier) = (clock.instant() + ahead, Arc::clone(&self.notifier));
        tokio::spawn(async move {
            clock.sleep(ahead).await;
            notifier.notify();
        });
        FollowerState::Later(until, start)
    }

    /// Sets whether it ends when it has caught up, or earlier, after `limit` events and documents;
    /// those of one event are not split. To be called after each query.
    pub fn only_once(&mut self, once: bool, limit: Option<u64>) {
        (self.once, self.left) = (once, limit);
    }

    /// The next messages, up to a limit. Never waits; the connection is notified when there is
    /// more.
    #[must_use]
    pub fn take(&mut self) -> ReaderBatch<Bytes> {
        let mut batch = ReaderBatch::from(None);
        if !self.control.is_empty() {
            batch.messages.push(std::mem::take(&mut self.control).into());
        }
        // A page that is read already needs no more memory; waiting with it would hold what it has.
        let is_paging = matches!(self.state, FollowerState::PendingPage(_));
        if is_paging || memory::has_room_for(&self.notifier) {
            self.take_behind(&mut batch);
            let bytes = batch.messages.iter().map(Bytes::len).sum();
            batch.charge = memory::charge(self.notifier.client, bytes);
        }
        batch
    }

    /// Takes what comes after the offset, up to a limit.
    fn take_behind(&mut self, batch: &mut ReaderBatch<Bytes>) {
        loop {
            self.state = match std::mem::replace(&mut self.state, FollowerState::Ended) {
                FollowerState::Ended => {
                    batch.ended = Some(ALL_SENT);
                    return;
                }
                FollowerState::Later(until, start) if self.log.clock.instant() < until => {
                    self.state = FollowerState::Later(until, start);
                    return;
                }
                FollowerState::Begin(start) | FollowerState::Later(_, start) => {
                    self.begin(start, None)
                }
                FollowerState::Ahead if self.is_ahead() && !self.once => {
                    self.state = FollowerState::Ahead;
                    return;
                }
                FollowerState::Ahead => FollowerState::Begin(StreamStart::Behind(self.offset)),
                FollowerState::Complete => {
                    self.catch_up(batch);
                    return;
                }
                FollowerState::PendingPage(paging) => {
                    self.take_page(paging, batch);
                    return;
                }
                FollowerState::Live(subscriber) => {
                    let has_all = self.take_live(subscriber, batch);
                    if has_all {
                        self.catch_up(batch);
                    }
                    return;
                }
            }
        }
    }

    /// The offset: everything up to it was taken, or does not match.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// A `heartbeat` with the current offset.
    #[must_use]
    pub fn heartbeat(&mut self) -> Bytes {
        self.skip_unmatched();
        StreamMessage::Heartbeat { cursor: self.resumable() }.encoded(self.encoding)
    }

    /// An `error`: a request was refused.
    #[must_use]
    pub fn error(&self, code: &str, field: Option<&str>, message: &str) -> Bytes {
        StreamMessage::Error { code, field, message }.encoded(self.encoding)
    }

    /// A `bye` with the offset to resume from, and after how many milliseconds to reconnect.
    #[must_use]
    pub fn bye(&mut self, reason: &str, retry_after: u64) -> Bytes {
        self.skip_unmatched();
        let bye = StreamMessage::Bye { reason, cursor: self.resumable(), retry_after };
        bye.encoded(self.encoding)
    }

    /// The offset to resume from. There is none while the start of the query is searched for: a
    /// reader that resumed where the search began would lose the events in between.
    fn resumable(&self) -> Option<Offset> {
        self.pending_start.is_none().then_some(self.offset)
    }

    fn feed(&self) -> &JournalFeed {
        self.log.journal().expect("a follower is made only with a journal")
    }

    fn is_ahead(&self) -> bool {
        let newest = self.log.newest(self.feed());
        newest.position < self.offset.cursor.position
    }

    /// Whether the offset is after the newest event. If so, the connection is notified when that
    /// has come.
    fn wait_if_ahead(&self) -> bool {
        if !self.is_ahead() {
            return false;
        }
        self.feed().live.wait_for(self.offset.cursor.position, &self.notifier);
        // It may have come before this connection was in the list.
        self.is_ahead()
    }

    /// The state that continues from a start.
    fn begin(&mut self, start: StreamStart, reading: Option<PageReader>) -> FollowerState {
        let StreamStart::Behind(offset) = start else { return self.page(start, reading) };
        self.offset = offset;
        if self.is_complete(offset.cursor.position) {
            return FollowerState::Complete;
        }
        if self.selector.is_partly_sent(offset) {
            if !self.once && self.wait_if_ahead() {
                return FollowerState::Ahead;
            }
            return self.page(start, reading);
        }
        let near = self.log.tail.number_after(offset.cursor.position);
        match near.filter(|_| !self.needs_journal) {
            Some(next) => FollowerState::Live(self.join(next)),
            None => self.page(start, reading),
        }
    }

    fn join(&self, next: u64) -> LiveSubscriber {
        let (feed, tail) = (self.feed(), &self.log.tail);
        self.wait_if_ahead();
        feed.live.subscribe(&self.selector, self.encoding, next, || tail.end(), &self.notifier)
    }

    /// Requests a page of the journal.
    fn page(&mut self, start: StreamStart, reading: Option<PageReader>) -> FollowerState {
        self.gaps_seen = self.feed().gaps();
        let feed = self.feed();
        let reason = if self.is_fresh { GapReason::Retention } else { GapReason::Slow };
        let priority = if self.is_fresh { Priority::First } else { Priority::Later };
        let reading = reading.unwrap_or_else(|| feed.begin_reading());
        let wanted = PageRequest {
            selector: Arc::clone(&self.selector),
            encoding: self.encoding,
            tag: feed.journal.tag,
            start,
            reason,
            bytes: reading.page_bytes(),
            head: self.head.unwrap_or_else(|| self.log.newest(feed).position),
            until: self.head.filter(|_| self.once),
            most: self.left,
            search: self.search_permit.take(),
            progress: SearchProgress::default(),
        };
        let feed = self.feed();
        let page = PendingPage::begin(feed, wanted, priority, reading, &self.notifier);
        FollowerState::PendingPage(page)
    }

    fn take_page(&mut self, paging: PendingPage, batch: &mut ReaderBatch<Bytes>) {
        let page = match paging.take() {
            None => {
                self.state = FollowerState::PendingPage(paging);
                return;
            }
            Some(Ok(page)) => page,
            Some(Err(error)) => {
                UNREADABLE.log(|left_out| {
                    let words = "cannot read the journal; the stream of a subscriber ends";
                    tracing::error!(%error, left_out, "{words}");
                });
                batch.messages.push(self.bye("the journal cannot be read", retry_after()));
                batch.ended = Some(ALL_SENT);
                return;
            }
        };
        (self.has_caught_up, self.is_fresh) = (false, false);
        self.needs_journal = page.is_before_a_gap;
        self.offset = page.offset;
        if self.pending_start.take().is_some() {
            let mut answers = Vec::new();
            let QueryStart { offset, warning, .. } = page.start;
            self.answers.push(&mut answers, self.encoding, offset, warning.map(|warning| *warning));
            batch.messages.push(answers.into());
        }
        batch.count += page.messages;
        self.count_down(page.messages);
        if !page.bytes.is_empty() {
            batch.messages.push(page.bytes);
        }
        // The next page is read while this one is sent.
        let next = StreamStart::Behind(page.offset);
        self.state = self.begin(next, Some(paging.reading.clone()));
        batch.more = !matches!(self.state, FollowerState::PendingPage(_) | FollowerState::Ahead);
    }

    /// Takes what the group has, or else the ring. Returns whether nothing is left.
    fn take_live(
        &mut self,
        mut subscriber: LiveSubscriber,
        batch: &mut ReaderBatch<Bytes>,
    ) -> bool {
        self.is_fresh = false;
        if self.gaps_seen != self.feed().gaps() {
            // The journal says where the new gap is; later events wait until then.
            self.needs_journal = true;
            return self.begin_again(batch);
        }
        let after = self.offset.cursor.position;
        // A follower that ends when it has caught up reads the ring, which is ahead of the groups.
        let taken = if self.once { None } else { subscriber.take_after(after, batch) };
        let Some((upto, is_waiting)) = taken else { return self.take_from_ring(subscriber, batch) };
        self.move_to(upto);
        self.state = FollowerState::Live(subscriber);
        !batch.more && !is_waiting
    }

    /// Takes from the ring, for a follower that is behind the log of its group, or that ends when
    /// it has caught up. Returns whether nothing is left.
    fn take_from_ring(
        &mut self,
        mut subscriber: LiveSubscriber,
        batch: &mut ReaderBatch<Bytes>,
    ) -> bool {
        let after = self.offset.cursor.position;
        let ring = self.log.tail.read(subscriber.next(), RING_EVENTS);
        if ring.missed > 0 {
            drop(subscriber);
            self.has_caught_up = false;
            return self.begin_again(batch);
        }
        let mut out = Vec::new();
        let first = ring.next - ring.events.len() as u64;
        let (mut had, mut is_complete) = (None, false);
        for (next, event) in (first + 1..).zip(&ring.events) {
            // Events after the end are not part of `latest`.
            is_complete = self.once && self.head.is_some_and(|head| event.cursor.position > head);
            is_complete |= self.left == Some(0);
            if is_complete {
                break;
            }
            if self.selector.is_large(event) && event.cursor.position > after {
                if had.is_none() {
                    // Large events come from a page, which is encoded on a blocking thread.
                    self.needs_journal = true;
                    return self.begin_again(batch);
                }
                break;
            }
            if event.cursor.position > after {
                let pushed = self.selector.push(&mut out, self.encoding, &**event, None);
                batch.count += pushed;
                self.count_down(pushed);
            }
            had = Some((next, event.cursor));
            if out.len() >= TAKE_BYTES {
                break;
            }
        }
        if !out.is_empty() {
            batch.messages.push(memory::hold(out));
        }
        self.move_to(had.map(|(_, cursor)| cursor));
        subscriber.advance(had.map_or(ring.next, |(next, _)| next));
        batch.more = !self.once || !(ring.events.is_empty() || is_complete);
        self.state = FollowerState::Live(subscriber);
        !batch.more
    }

    fn count_down(&mut self, messages: u64) {
        self.left = self.left.map(|left| left.saturating_sub(messages));
    }

    /// Chooses again how to continue from the offset. Returns false: more can be taken.
    fn begin_again(&mut self, batch: &mut ReaderBatch<Bytes>) -> bool {
        self.state = FollowerState::Begin(StreamStart::Behind(self.offset));
        batch.more = true;
        false
    }

    /// Moves the offset forward to this cursor.
    fn move_to(&mut self, cursor: Option<Cursor>) {
        let cursor = cursor.filter(|cursor| cursor.position > self.offset.cursor.position);
        if let Some(cursor) = cursor {
            self.offset = self.selector.after(cursor);
        }
    }

    /// Moves the offset over events that do not match, if only such events are left: connections
    /// are not notified of those.
    fn skip_unmatched(&mut self) {
        let FollowerState::Live(subscriber) = &mut self.state else { return };
        let passed = subscriber.skip_unmatched();
        // A new gap must not be skipped: the journal is read from the offset.
        if self.gaps_seen == self.feed().gaps() {
            self.move_to(passed);
        }
    }

    /// Sends `caught_up` once, and ends if it is to end here.
    fn catch_up(&mut self, batch: &mut ReaderBatch<Bytes>) {
        if !self.has_caught_up && (self.once || !self.is_ahead()) {
            self.has_caught_up = true;
            let caught_up = StreamMessage::CaughtUp { cursor: self.offset };
            batch.messages.push(caught_up.encoded(self.encoding));
        }
        if self.once {
            batch.ended = Some(ALL_SENT);
            self.state = FollowerState::Ended;
        }
    }
}
