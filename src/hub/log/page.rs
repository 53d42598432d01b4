//! A page of the journal, for a follower that is further back than the ring.
//!
//! A page is one buffer of encoded messages, made on a blocking thread: neither the async workers
//! nor the writer thread take part. Events and the retention watermark are read from one snapshot,
//! so that an expired offset yields an explicit gap.

use std::iter::Peekable;
use std::sync::Arc;

use bytes::Bytes;

use super::control::StreamMessage;
use super::encoding::StreamEncoding;
use super::searches::SearchPermit;
use super::selector::StreamSelector;
use crate::hub::fanout::fair_queue::TimeSlice;
use crate::hub::fanout::memory;
use crate::hub::log::filter::QueryWarning;
use crate::hub::log::streamed_event::JournalEvent;
use crate::model::gap::{Gap, GapReason};
use crate::model::offset::Offset;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::Timestamp;
use crate::store::journal::{Journal, JournalItem};
use crate::store::{Reader, StoreError};

/// The most events that are matched for one page, so that the offset of a follower with few matches
/// moves on, and its query can be changed.
const PAGE_EVENTS: usize = 8_192;
/// The most bytes of events that are matched for one page.
const PAGE_SCAN_BYTES: usize = 8 << 20;
/// A page of this many bytes gets memory for all its bytes at once, and [`PAGE_REST`] more for its
/// last event: growing step by step would copy it several times.
const LONG_PAGE: usize = 64 << 10;
const PAGE_REST: usize = 32 << 10;
/// The most events that are searched for where `latest` or `since` begins.
const SEARCH_EVENTS: usize = 200_000;

/// The most gaps of the bus in one page. There are few, and the next page has the rest.
const GAPS: usize = 1_000;

/// Where a query begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStart {
    /// At the current offset, which is at first after the newest event.
    Here,
    /// With the oldest event of the journal.
    Oldest,
    /// After this offset.
    Behind(Offset),
    /// With the first event received at this time or later.
    Since(Timestamp),
    /// With the last N matching events; fewer if they are too far back.
    Latest(usize),
}

#[derive(Debug)]
pub(super) struct PageRequest {
    pub(super) selector: Arc<StreamSelector>,
    pub(super) encoding: StreamEncoding,
    pub(super) tag: BusTag,
    pub(super) start: StreamStart,
    /// The reason in the gap message, if retention has dropped events.
    pub(super) reason: GapReason,
    /// Number of bytes after which the page ends.
    pub(super) bytes: usize,
    /// The newest event: `latest` counts back from it.
    pub(super) head: Position,
    /// The last event to send, for a follower that ends when it has caught up.
    pub(super) until: Option<Position>,
    /// Number of messages after which the page ends.
    pub(super) most: Option<u64>,
    /// The permit for a search for the start.
    pub(super) search: Option<SearchPermit>,
    pub(super) progress: SearchProgress,
}

/// The progress of a search for the start.
#[derive(Debug, Default)]
pub(super) struct SearchProgress {
    /// Number of events that were matched so far.
    looked: usize,
    /// Number of those that match.
    found: usize,
    /// The last event that was matched.
    at: Option<Position>,
    /// Where the query begins if no more matching events are found.
    begin: Option<Position>,
}

#[derive(Debug)]
pub(super) struct StreamPage {
    /// Where it begins.
    pub(super) start: QueryStart,
    pub(super) bytes: Bytes,
    /// Number of events and entities in it.
    pub(super) messages: u64,
    /// Everything up to this offset is in this page or an earlier one.
    pub(super) offset: Offset,
    /// Whether a gap comes after it. Then the next page has to be read from the journal too,
    /// because the ring does not know gaps.
    pub(super) is_before_a_gap: bool,
}

/// Reads a page for about one slice of time, as long as `is_wanted` returns true. `None` if its
/// start is not found yet; the next call continues the search.
pub(super) fn read(
    reader: Reader<'_>,
    request: &mut PageRequest,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Option<StreamPage>, StoreError> {
    let slice = TimeSlice::begin();
    let journal = reader.journal(request.tag)?;
    let Some(start) = find(&journal, request, slice, is_wanted)? else { return Ok(None) };
    request.search = None;
    let mut out = Vec::with_capacity(request.bytes.min(4 << 10));
    let offset = skip_dropped(&journal, request, &start, &mut out);
    let (gaps, gaps_up_to) = gaps_of_page(&journal, offset.cursor.position)?;
    let until = request.until;
    let mut page = PageWriter::new(request, out, offset, gaps);
    // Whether a limit ended the page: then the journal has more behind it.
    let mut is_cut = false;
    journal.walk_behind(page.read_after(), |item| {
        let position = item.position();
        if let Some(until) = until.filter(|until| position > *until) {
            page.move_to(until);
            is_cut = true;
            return Ok(false);
        }
        if gaps_up_to.is_some_and(|up_to| position > up_to) {
            return Ok(false);
        }
        page.push_gaps(Some(position));
        page.push(item);
        is_cut = page.is_full() || slice.is_over() || !is_wanted();
        Ok(!is_cut)
    })?;
    Ok(Some(page.finish(start, is_cut, gaps_up_to)))
}

/// A page that is being written.
struct PageWriter<'r> {
    request: &'r PageRequest,
    out: Vec<u8>,
    /// Everything up to this offset is in this page or an earlier one.
    offset: Offset,
    /// The offset of an event of which only some entities were sent.
    partly_sent: Option<Offset>,
    /// The gaps that are not written yet.
    gaps: Peekable<std::vec::IntoIter<Gap>>,
    messages: u64,
    /// Number and bytes of the events that were matched.
    events: usize,
    scanned: usize,
}

impl<'r> PageWriter<'r> {
    fn new(request: &'r PageRequest, out: Vec<u8>, offset: Offset, gaps: Vec<Gap>) -> Self {
        let partly_sent = request.selector.is_partly_sent(offset).then_some(offset);
        let gaps = gaps.into_iter().peekable();
        Self { request, out, offset, partly_sent, gaps, messages: 0, events: 0, scanned: 0 }
    }

    /// The position after which the journal is read: an event that was sent in part is read again.
    fn read_after(&self) -> Position {
        let position = self.offset.cursor.position;
        if self.partly_sent.is_some() { position.before().unwrap_or_default() } else { position }
    }

    /// The offset after an event, or a damaged place, at this position.
    fn after(&self, position: Position) -> Offset {
        self.request.selector.after(Cursor { tag: self.request.tag, position })
    }

    /// Moves the offset forward to this position.
    fn move_to(&mut self, position: Position) {
        self.offset = self.offset.max(self.after(position));
    }

    /// Writes the gaps before a position, or all.
    fn push_gaps(&mut self, before: Option<Position>) {
        let is_before = |gap: &Gap| before.is_none_or(|before| gap.after < before);
        while let Some(gap) = self.gaps.next_if(is_before) {
            let last = gap.until.before().unwrap_or_default().max(gap.after);
            let from = Offset::after(Cursor { tag: self.request.tag, position: gap.after });
            // Not before the last message: a client that resumes here must not receive it again.
            let to = self.after(last).max(self.offset);
            let Gap { count, reason, .. } = gap;
            let gap = StreamMessage::Gap { from, to, count, reason };
            gap.push(&mut self.out, self.request.encoding);
        }
    }

    /// Writes what is wanted of an item of the journal.
    fn push(&mut self, item: JournalItem<'_>) {
        let position = item.position();
        let PageRequest { ref selector, encoding, tag, bytes, .. } = *self.request;
        match item {
            JournalItem::Event(_, row) => {
                self.scanned += row.event.len();
                let event = JournalEvent::new(Cursor { tag, position }, row);
                self.messages += selector.push(&mut self.out, encoding, &event, self.partly_sent);
                self.offset = self.after(position);
                grow(&mut self.out, bytes);
            }
            JournalItem::LeftOut(..) => self.offset = self.after(position),
            JournalItem::Damaged(_) => {
                let to = self.after(position);
                let from = std::mem::replace(&mut self.offset, to);
                let reason = GapReason::Retention;
                let gap = StreamMessage::Gap { from, to, count: None, reason };
                gap.push(&mut self.out, encoding);
            }
        }
        self.events += 1;
    }

    /// Whether the page has reached one of its limits.
    fn is_full(&self) -> bool {
        self.out.len() >= self.request.bytes
            || self.events >= PAGE_EVENTS
            || self.scanned >= PAGE_SCAN_BYTES
            || self.request.most.is_some_and(|most| self.messages >= most)
    }

    /// Ends the page. `is_cut` says that the journal has more behind it, `gaps_up_to` at which
    /// position it has to end because of further gaps.
    fn finish(
        mut self,
        start: QueryStart,
        is_cut: bool,
        gaps_up_to: Option<Position>,
    ) -> StreamPage {
        if !is_cut {
            self.push_gaps(None);
        }
        if self.events == 0 {
            // The offset never moves back behind entities that were sent.
            self.move_to(self.offset.cursor.position);
        }
        let is_before_a_gap = self.gaps.peek().is_some() || gaps_up_to.is_some();
        if let Some(position) = gaps_up_to.filter(|_| !is_cut) {
            self.move_to(position);
        }
        let Self { out, messages, offset, .. } = self;
        StreamPage { start, bytes: hold(out), messages, offset, is_before_a_gap }
    }
}

/// Gives a page that has become long memory for `bytes` bytes and its last event.
fn grow(out: &mut Vec<u8>, bytes: usize) {
    if out.len() >= LONG_PAGE && out.capacity() < bytes {
        out.reserve_exact((bytes + PAGE_REST).saturating_sub(out.len()));
    }
}

/// Counts a page. Memory is counted by what is written, so much that was only reserved is freed.
fn hold(mut out: Vec<u8>) -> Bytes {
    if out.capacity() / 2 > out.len() {
        out.shrink_to_fit();
    }
    memory::hold(out)
}

/// The offset after which the page has events: later than its start if retention has dropped
/// events, for which a gap is written.
fn skip_dropped(
    journal: &Journal<'_>,
    request: &PageRequest,
    &QueryStart { offset, short, .. }: &QueryStart,
    out: &mut Vec<u8>,
) -> Offset {
    let PageRequest { ref selector, encoding, reason, tag, .. } = *request;
    // Entities that were not sent are missing too if their event is gone.
    let is_partly_sent = selector.is_partly_sent(offset) && offset != oldest(tag);
    let is_gone = |dropped: &Position| {
        *dropped > offset.cursor.position || (is_partly_sent && *dropped == offset.cursor.position)
    };
    let dropped = journal.dropped().filter(is_gone);
    if dropped.is_none() && !short {
        return offset;
    }
    let position = dropped.unwrap_or(offset.cursor.position);
    let from = if short { oldest(tag) } else { offset };
    let to = selector.after(Cursor { tag, position });
    StreamMessage::Gap { from, to, count: None, reason }.push(out, encoding);
    to
}

/// The gaps after a position that belong to one page and, if there are more, the position at which
/// the page has to end.
fn gaps_of_page(
    journal: &Journal<'_>,
    offset: Position,
) -> Result<(Vec<Gap>, Option<Position>), StoreError> {
    let mut known = journal.gaps(offset, GAPS)?;
    if known.len() < GAPS {
        return Ok((known, None));
    }
    // All gaps at one position belong to the same page, so those at the last one are left out.
    let up_to = known.last().map(|gap| gap.after);
    known.retain(|gap| Some(gap.after) != up_to);
    Ok((known, up_to))
}

/// The offset before all events.
fn oldest(tag: BusTag) -> Offset {
    Offset::after(Cursor { tag, position: Position::default() })
}

/// The offset at which a query begins.
#[derive(Debug)]
pub(super) struct QueryStart {
    pub(super) offset: Offset,
    /// Whether the query asks for events older than the journal.
    short: bool,
    /// Boxed: it is rare, and a page that is read for the start holds it.
    pub(super) warning: Option<Box<QueryWarning>>,
}

/// Finds where a query begins; `None` if the slice ends before that.
fn find(
    journal: &Journal<'_>,
    request: &mut PageRequest,
    slice: TimeSlice,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Option<QueryStart>, StoreError> {
    let (tag, start) = (request.tag, request.start);
    let found = |offset| Some(QueryStart { offset, short: false, warning: None });
    match start {
        StreamStart::Behind(offset) => Ok(found(offset)),
        StreamStart::Here | StreamStart::Oldest => {
            let position = journal.dropped().unwrap_or_default();
            Ok(found(request.selector.after(Cursor { tag, position })))
        }
        StreamStart::Since(since) => find_since(journal, request, since, slice, is_wanted),
        StreamStart::Latest(most) => find_latest(journal, request, most, slice, is_wanted),
    }
}

/// The offset after which every event was received at `since` or later, except for differences
/// between the clocks of two machines.
fn find_since(
    journal: &Journal<'_>,
    request: &mut PageRequest,
    since: Timestamp,
    slice: TimeSlice,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Option<QueryStart>, StoreError> {
    let PageRequest { selector, tag, progress, .. } = request;
    let at = |position| selector.after(Cursor { tag: *tag, position });
    let Some(first) = journal.first_since(since.minute())? else {
        let offset = at(journal.newest()?.unwrap_or_default());
        return Ok(Some(QueryStart { offset, short: false, warning: None }));
    };
    let mut position = progress.at.or(first.before()).unwrap_or_default();
    let mut is_over = false;
    journal.read_behind(position, |at, row| {
        progress.looked += 1;
        if row.facts.received_at >= since || progress.looked > SEARCH_EVENTS {
            return Ok(false);
        }
        position = at;
        is_over = slice.is_over();
        Ok(!is_over && is_wanted())
    })?;
    if is_over {
        progress.at = Some(position);
        return Ok(None);
    }
    // Earlier than the journal is complete: then it begins with the oldest event, and a gap.
    let is_early = journal.complete_from()?.is_some_and(|from| since.minute() < from);
    let short = journal.dropped().filter(|_| is_early);
    let offset = at(short.unwrap_or(position));
    Ok(Some(QueryStart { offset, short: short.is_some(), warning: None }))
}

/// The offset after which the last `most` matching events come.
fn find_latest(
    journal: &Journal<'_>,
    request: &mut PageRequest,
    most: usize,
    slice: TimeSlice,
    is_wanted: &dyn Fn() -> bool,
) -> Result<Option<QueryStart>, StoreError> {
    let PageRequest { selector, tag, head, progress, .. } = request;
    let until = progress.at.unwrap_or_else(|| head.next());
    let mut is_over = false;
    journal.read_before(until, |at, row| {
        // Without any matching event, the query begins after the newest one.
        progress.begin.get_or_insert(at);
        progress.looked += 1;
        progress.at = Some(at);
        let cursor = Cursor { tag: *tag, position: at };
        if !journal.leaves_out(&row) && selector.takes(&JournalEvent::new(cursor, row)) {
            progress.found += 1;
            progress.begin = at.before();
        }
        let is_found = progress.found >= most || progress.looked >= SEARCH_EVENTS;
        is_over = !is_found && slice.is_over();
        Ok(!is_found && !is_over && is_wanted())
    })?;
    if is_over {
        return Ok(None);
    }
    let SearchProgress { looked, found, begin, .. } = *progress;
    let warning = (found < most && looked >= SEARCH_EVENTS).then(|| {
        let message =
            format!("{found} of the last {SEARCH_EVENTS} events match: no more were looked at");
        Box::new(QueryWarning { field: "latest", value: most.to_string(), message })
    });
    let position = begin.unwrap_or_default();
    let offset = selector.after(Cursor { tag: *tag, position });
    Ok(Some(QueryStart { offset, short: false, warning }))
}
