//! Drops the journals of buses that are no longer in use.
//!
//! A configuration may name another bus for a moment, by mistake or for a trial. So the journal of
//! the previous bus stays until the new one has taken over: it has connected, and something of it
//! was applied. The dropped position is kept for the previous bus; a subscriber that resumes with
//! one of its cursors gets a gap when that bus is in use again.

use super::batch::Batch;
use super::error::StoreError;
use super::gaps::{self, GapKey};
use super::journal::DROPPED;
use super::keys::{JournalKey, MinuteKey};
use super::reader::Reader;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::Minute;

/// Most journals that are dropped in one pass of retention.
const AT_ONCE: usize = 16;

/// A bus that is not in use and has a journal.
pub(super) struct UnusedBus {
    /// The last event of its journal.
    last: Cursor,
    gaps: Vec<GapKey>,
}

/// The buses other than `tag` that have a journal; none before `tag` has taken over.
pub(super) fn unused(reader: Reader<'_>, tag: BusTag) -> Result<Vec<UnusedBus>, StoreError> {
    let mut unused = Vec::new();
    if reader.applied()?.is_none_or(|applied| applied.tag != tag) {
        return Ok(unused);
    }
    let mut from = BusTag(0);
    while unused.len() < AT_ONCE {
        let start = JournalKey { tag: from, position: Position::default() };
        let mut found = None;
        reader.scan(&start, |key: JournalKey, _| {
            found = Some(key.tag);
            Ok(false)
        })?;
        let Some(found) = found else { break };
        if found != tag {
            let last = gaps::LAST;
            let last = reader.last_before(&JournalKey { tag: found, position: last })?;
            let last = last.filter(|key| key.tag == found).map(|key| key.position);
            let last = Cursor { tag: found, position: last.unwrap_or_default() };
            let gaps = gaps::passed(reader, found, last.position)?;
            unused.push(UnusedBus { last, gaps });
        }
        let Some(next) = found.0.checked_add(1) else { break };
        from = BusTag(next);
    }
    Ok(unused)
}

impl UnusedBus {
    /// Drops the journal, keeps the position of its last event, and returns it.
    pub(super) fn drop_journal(self, batch: &mut Batch<'_>) -> Result<Cursor, StoreError> {
        let Self { last, gaps } = self;
        let tag = last.tag;
        let journal = |position| JournalKey { tag, position };
        batch.delete_range(&journal(Position::default()), &journal(gaps::LAST))?;
        let minute = |minute| MinuteKey { tag, minute };
        batch.delete_range(&minute(Minute(i64::MIN)), &minute(Minute(i64::MAX)))?;
        gaps::forget(batch, gaps, last.position)?;
        let known = batch.cursor_on(DROPPED, tag)?;
        let dropped = known.map_or(last, |known| known.max(last));
        batch.put_cursor_aside(DROPPED, dropped);
        Ok(dropped)
    }
}
