//! A page of the stream from the journal: what a reader gets that is further back than the ring.
//!
//! A page is one piece of bytes, written by a thread that may block: neither the async workers nor
//! the writing thread take part. It is read as of one moment together with how far retention had
//! come by then, so that what is missing is said at its place.

use std::sync::Arc;

use bytes::Bytes;

use super::control;
use super::encoding::StreamEncoding;
use super::searches::Search;
use super::selector::StreamSelector;
use crate::hub::fanout::fair_queue::Slice;
use crate::hub::fanout::memory;
use crate::hub::log::filter::QueryWarning;
use crate::hub::log::tail::TailEvent;
use crate::model::envelope::Envelope;
use crate::model::gap::{Gap, GapReason};
use crate::model::offset::Offset;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::Timestamp;
use crate::store::journal::{Journal, JournalItem};
use crate::store::rows::JournalRow;
use crate::store::{Reader, StoreError};

/// Events that are looked at for one page, so that a reader whom little concerns hears of its
/// place now and then, and a query can be changed.
const PAGE_EVENTS: usize = 8_192;
/// Bytes of events that are looked at for one page.
const PAGE_SCAN_BYTES: usize = 8 << 20;
/// Events that are searched for where `latest` or `since` begins. Those of a query with many `*`
/// cost more to look at: it gets as many for each [`CHEAP_GLOBS`] of them.
const SEARCH_EVENTS: usize = 200_000;
const CHEAP_GLOBS: usize = 8;

/// Gaps of the bus that are looked at for one page; there are few, and the next page has the rest.
const GAPS: usize = 1_000;

/// Where a query begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamStart {
    /// Where the reader is; at first, behind the newest event.
    Here,
    /// With the oldest event that is kept.
    Oldest,
    /// Behind this place.
    Behind(Offset),
    /// With the first event received then or later.
    Since(Timestamp),
    /// With the last so many that match, or with fewer where they are too far back.
    Latest(usize),
}

/// What a page is to hold.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) choice: Arc<StreamSelector>,
    pub(super) form: StreamEncoding,
    pub(super) tag: BusTag,
    pub(super) start: StreamStart,
    /// Warnings of an `ack` that could not be given before the start was found.
    pub(super) ack: Option<Vec<QueryWarning>>,
    /// Why events are missing, if they are.
    pub(super) reason: GapReason,
    /// Bytes after which it ends.
    pub(super) bytes: usize,
    /// The newest event that readers are given: `latest` counts back from it.
    pub(super) head: Position,
    /// The last event that is asked for, where it ends there.
    pub(super) until: Option<Position>,
    /// The place in line of a search for the start.
    pub(super) search: Option<Search>,
    pub(super) searched: Searched,
}

/// How far a search for the start has come.
#[derive(Debug, Default)]
pub(super) struct Searched {
    /// Events that were looked at.
    looked: usize,
    /// Those of them that match.
    found: usize,
    /// Up to where they were looked at.
    at: Option<Position>,
    /// Where the query would begin by what is known so far.
    begin: Option<Position>,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) bytes: Bytes,
    /// Events and entities in it.
    pub(super) messages: u64,
    /// Everything up to here is in it, or was before it.
    pub(super) place: Offset,
    /// Whether a gap lies further on: the ring, which may have all the rest, knows of none.
    pub(super) is_before_a_gap: bool,
}

/// Reads it, for about a slice of time and for as long as `is_waited_for`. `None` when its start
/// is not found yet: then the next call searches on.
pub(super) fn read(
    reader: Reader<'_>,
    wanted: &mut Wanted,
    is_waited_for: &dyn Fn() -> bool,
) -> Result<Option<Page>, StoreError> {
    let slice = Slice::begin();
    let goes_on = || !slice.is_over() && is_waited_for();
    let tag = wanted.tag;
    let journal = reader.journal(tag)?;
    let mut out = Vec::with_capacity(wanted.bytes.min(4 << 10));
    let begun = begin(&journal, wanted, &mut out, slice, is_waited_for)?;
    let Some(mut place) = begun else { return Ok(None) };
    let Wanted { ref choice, form, bytes, until, .. } = *wanted;
    let had = choice.is_partly_had(place).then_some(place);
    let after = match had {
        Some(place) => place.cursor.position.before().unwrap_or_default(),
        None => place.cursor.position,
    };
    let (known, known_up_to) = gaps_of_page(&journal, place.cursor.position)?;
    let mut known = known.into_iter().peekable();
    let mut push_gaps = |out: &mut Vec<u8>, place: Offset, before: Option<Position>| {
        while let Some(gap) = known.next_if(|gap| before.is_none_or(|before| gap.after < before)) {
            let last = gap.until.before().unwrap_or_default().max(gap.after);
            let from = Cursor { tag, position: gap.after }.to_string();
            // Behind all that was told before it: who comes back to it is not told that again.
            let to = choice.behind(Cursor { tag, position: last }).max(place).to_string();
            control::push_gap(out, form, &from, &to, gap.count, gap.reason);
        }
    };
    let (mut messages, mut events, mut scanned, mut is_end) = (0, 0, 0, true);
    journal.walk_behind(after, |step| {
        let (JournalItem::Event(position, _) | JournalItem::Damaged(position)) = step;
        let cursor = Cursor { tag, position };
        if let Some(until) = until.filter(|until| position > *until) {
            place = place.max(choice.behind(Cursor { tag, position: until }));
            is_end = false;
            return Ok(false);
        }
        if known_up_to.is_some_and(|known| position > known) {
            return Ok(false);
        }
        push_gaps(&mut out, place, Some(position));
        match step {
            JournalItem::Event(_, row) => {
                scanned += row.event.len();
                messages += choice.push(&mut out, form, &read_event(cursor, row), had);
                place = choice.behind(cursor);
            }
            JournalItem::Damaged(_) => {
                let from = std::mem::replace(&mut place, choice.behind(cursor)).to_string();
                let reason = GapReason::Retention;
                control::push_gap(&mut out, form, &from, &place.to_string(), None, reason);
            }
        }
        events += 1;
        is_end = out.len() < bytes && events < PAGE_EVENTS && scanned < PAGE_SCAN_BYTES;
        is_end &= goes_on();
        Ok(is_end)
    })?;
    if is_end {
        push_gaps(&mut out, place, None);
    }
    if events == 0 {
        // Who was told of entities there is not told of a place before them.
        place = place.max(choice.behind(place.cursor));
    }
    let is_before_a_gap = known.peek().is_some() || known_up_to.is_some();
    if let Some(position) = known_up_to.filter(|_| is_end) {
        place = choice.behind(Cursor { tag, position }).max(place);
    }
    Ok(Some(Page { bytes: memory::hold(out), messages, place, is_before_a_gap }))
}

/// Finds where the page begins, and writes what comes before its events: the `ack`, and the gap of
/// what retention has dropped. `None` when the slice is over before that is known.
fn begin(
    journal: &Journal<'_>,
    wanted: &mut Wanted,
    out: &mut Vec<u8>,
    slice: Slice,
    is_waited_for: &dyn Fn() -> bool,
) -> Result<Option<Offset>, StoreError> {
    let found = find(journal, wanted, slice, is_waited_for)?;
    let Some(Found { mut place, short, warning }) = found else { return Ok(None) };
    wanted.search = None;
    let Wanted { ref choice, form, reason, tag, .. } = *wanted;
    if let Some(mut warnings) = wanted.ack.take() {
        warnings.extend(warning);
        control::push_ack(out, form, place, &warnings);
    }
    // Of an event that is gone, what was still to come of it is missing too.
    let is_partly_had = choice.is_partly_had(place) && place != oldest(tag);
    let is_gone = |dropped: &Position| {
        *dropped > place.cursor.position || (is_partly_had && *dropped == place.cursor.position)
    };
    let dropped = journal.dropped().filter(is_gone);
    if dropped.is_some() || short {
        let position = dropped.unwrap_or(place.cursor.position);
        let from = if short { oldest(tag) } else { place };
        place = choice.behind(Cursor { tag, position });
        let (from, to) = (from.to_string(), place.to_string());
        control::push_gap(out, form, &from, &to, None, reason);
    }
    Ok(Some(place))
}

/// The gaps that a page which begins behind a place may come to, and, when there are more than one
/// page looks at, up to where they are known: the page ends there.
fn gaps_of_page(
    journal: &Journal<'_>,
    place: Position,
) -> Result<(Vec<Gap>, Option<Position>), StoreError> {
    let mut known = journal.gaps(place, GAPS)?;
    if known.len() < GAPS {
        return Ok((known, None));
    }
    // A gap is told with what comes behind it; those at the last place are the next page's.
    let up_to = known.last().map(|gap| gap.after);
    known.retain(|gap| Some(gap.after) != up_to);
    Ok((known, up_to))
}

fn read_event(cursor: Cursor, row: JournalRow<'_>) -> TailEvent {
    let head = row.index();
    let envelope = Envelope { facts: row.facts, event: row.event.into() };
    match head {
        Some(head) => TailEvent::with_index(cursor, envelope, head),
        None => TailEvent::new(cursor, envelope),
    }
}

/// Before everything that ever was.
fn oldest(tag: BusTag) -> Offset {
    Offset::after(Cursor { tag, position: Position::default() })
}

/// Where a query begins.
struct Found {
    place: Offset,
    /// Whether it was to begin earlier than anything is kept.
    short: bool,
    warning: Option<QueryWarning>,
}

/// Where the query begins; `None` when the slice is over before that is known.
fn find(
    journal: &Journal<'_>,
    wanted: &mut Wanted,
    slice: Slice,
    is_waited_for: &dyn Fn() -> bool,
) -> Result<Option<Found>, StoreError> {
    let (tag, start) = (wanted.tag, wanted.start);
    let found = |place| Some(Found { place, short: false, warning: None });
    match start {
        StreamStart::Behind(place) => Ok(found(place)),
        StreamStart::Here | StreamStart::Oldest => {
            let position = journal.dropped().unwrap_or_default();
            Ok(found(wanted.choice.behind(Cursor { tag, position })))
        }
        StreamStart::Since(since) => find_since(journal, wanted, since, slice, is_waited_for),
        StreamStart::Latest(most) => find_latest(journal, wanted, most, slice, is_waited_for),
    }
}

/// The place behind which everything was received then or later, but for what the clocks of two
/// machines disagree about; and whether there was more once.
fn find_since(
    journal: &Journal<'_>,
    wanted: &mut Wanted,
    since: Timestamp,
    slice: Slice,
    is_waited_for: &dyn Fn() -> bool,
) -> Result<Option<Found>, StoreError> {
    let Wanted { choice, tag, searched, .. } = wanted;
    let at = |position| choice.behind(Cursor { tag: *tag, position });
    let Some(first) = journal.first_since(since.minute())? else {
        let place = at(journal.newest()?.unwrap_or_default());
        return Ok(Some(Found { place, short: false, warning: None }));
    };
    let mut position = searched.at.or(first.before()).unwrap_or_default();
    let mut is_over = false;
    journal.read_behind(position, |at, row| {
        searched.looked += 1;
        if row.facts.received_at >= since || searched.looked > SEARCH_EVENTS {
            return Ok(false);
        }
        position = at;
        is_over = slice.is_over();
        Ok(!is_over && is_waited_for())
    })?;
    if is_over {
        searched.at = Some(position);
        return Ok(None);
    }
    // Before what is complete: then all that is kept is wanted, and there was more.
    let is_early = journal.complete_from()?.is_some_and(|from| since.minute() < from);
    let short = journal.dropped().filter(|_| is_early);
    let place = at(short.unwrap_or(position));
    Ok(Some(Found { place, short: short.is_some(), warning: None }))
}

fn find_latest(
    journal: &Journal<'_>,
    wanted: &mut Wanted,
    most: usize,
    slice: Slice,
    is_waited_for: &dyn Fn() -> bool,
) -> Result<Option<Found>, StoreError> {
    let Wanted { choice, tag, head, searched, .. } = wanted;
    let search_events = search_events(choice);
    let until = searched.at.unwrap_or_else(|| head.behind());
    let mut is_over = false;
    journal.read_before(until, |at, row| {
        // Without any that match, it begins behind the newest.
        searched.begin.get_or_insert(at);
        searched.looked += 1;
        searched.at = Some(at);
        let cursor = Cursor { tag: *tag, position: at };
        if choice.takes(&read_event(cursor, row)) {
            searched.found += 1;
            searched.begin = at.before();
        }
        let is_found = searched.found >= most || searched.looked >= search_events;
        is_over = !is_found && slice.is_over();
        Ok(!is_found && !is_over && is_waited_for())
    })?;
    if is_over {
        return Ok(None);
    }
    let Searched { looked, found, begin, .. } = *searched;
    let warning = (found < most && looked >= search_events).then(|| QueryWarning {
        field: "latest",
        value: most.to_string(),
        message: format!(
            "{found} of the last {search_events} events match: no more were looked at"
        ),
    });
    let position = begin.unwrap_or_default();
    let place = choice.behind(Cursor { tag: *tag, position });
    Ok(Some(Found { place, short: false, warning }))
}

/// How many events a search looks at.
fn search_events(choice: &StreamSelector) -> usize {
    SEARCH_EVENTS / choice.ask().filter.globs().div_ceil(CHEAP_GLOBS).max(1)
}
