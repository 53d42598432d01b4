//! What retention drops of the journals: by age, by bytes, and journals of other buses.

use super::options::RetentionOptions;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::{Minute, Timestamp};
use crate::store::batch::Batch;
use crate::store::buses::{self, UnusedBus};
use crate::store::error::StoreError;
use crate::store::gaps::{self, GapKey};
use crate::store::journal::{self, DROPPED};
use crate::store::keys::{JournalKey, MinuteKey};
use crate::store::reach::{bytes_from, bytes_on_disk};
use crate::store::reader::Reader;
use crate::store::rows::MinuteRow;

/// Minutes by which events may be out of order on a bus.
const APART: i64 = 2;

/// The parts of the journals to drop.
pub(super) struct ExpiredJournal {
    cut: Option<Cut>,
    /// The last event that is dropped with `cut`, or was dropped before.
    dropped: Option<Cursor>,
    /// Gaps that no subscriber meets any more once `cut` is dropped.
    passed: Vec<GapKey>,
    unused: Vec<UnusedBus>,
}

impl ExpiredJournal {
    /// Finds what to drop: what is too old at `now`, which must come from a trusted clock, and what
    /// is beyond the limit of bytes. Without `now` age does not matter.
    pub(super) fn find(
        reader: Reader<'_>,
        retention: &RetentionOptions,
        now: Option<Timestamp>,
    ) -> Result<Self, StoreError> {
        let tag = retention.tag;
        let cut = journal_cut(reader, tag, retention, now)?;
        let dropped = cut.as_ref().map(|cut| last_dropped(reader, tag, cut.start)).transpose()?;
        let dropped = dropped.flatten();
        let passed = dropped.map(|dropped| gaps::passed(reader, tag, dropped.position));
        let passed = passed.transpose()?.unwrap_or_default();
        Ok(Self { cut, dropped, passed, unused: buses::unused(reader, tag)? })
    }

    /// Whether nothing is to be dropped.
    pub(super) fn is_empty(&self) -> bool {
        self.cut.is_none() && self.unused.is_empty()
    }

    /// Drops it. Returns the last event that is gone of each bus.
    pub(super) fn drop_rows(
        self,
        batch: &mut Batch<'_>,
        tag: BusTag,
    ) -> Result<Vec<Cursor>, StoreError> {
        let Self { cut, dropped, passed, unused } = self;
        if let Some(Cut { start, before, also, split, complete_from }) = cut {
            let minute_key = |minute| MinuteKey { tag, minute };
            if let Some(key) = split.map(minute_key)
                && let Some(value) = batch.get(&key)?
            {
                let row = MinuteRow { first: start, ..MinuteRow::decode(&key, &value)? };
                batch.put(&key, &row.encode());
            }
            batch.delete_range(&minute_key(Minute(i64::MIN)), &minute_key(before))?;
            for minute in also {
                batch.delete(&minute_key(minute));
            }
            let first = JournalKey { tag, position: Position::default() };
            batch.delete_range(&first, &JournalKey { tag, position: start })?;
            if let Some(dropped) = dropped {
                gaps::forget(batch, passed, dropped.position)?;
                batch.put_cursor(DROPPED, dropped)?;
            }
            journal::keep_complete_from(batch, tag, complete_from)?;
        }
        let mut all: Vec<Cursor> = dropped.into_iter().collect();
        for bus in unused {
            all.push(bus.drop_journal(batch)?);
        }
        Ok(all)
    }
}

/// The furthest position that is dropped now or was dropped before: an event that arrived late at
/// an old position may be dropped after newer ones.
fn last_dropped(
    reader: Reader<'_>,
    tag: BusTag,
    start: Position,
) -> Result<Option<Cursor>, StoreError> {
    let last = match reader.last_before(&JournalKey { tag, position: start }) {
        // Unreadable rows are dropped with the rest.
        Err(error) if error.is_damage() => start.before(),
        last => last?.filter(|key| key.tag == tag).map(|key| key.position),
    };
    let last = last.map(|position| Cursor { tag, position });
    Ok(last.max(reader.cursor_on(DROPPED, tag)?))
}

/// The part of the journal to drop.
struct Cut {
    /// The first position that stays.
    start: Position,
    /// All minutes before this one are dropped.
    before: Minute,
    /// Later minutes that are dropped too.
    also: Vec<Minute>,
    /// A minute of which a part is dropped: it is larger than the journal may be.
    split: Option<Minute>,
    /// The first minute of which the journal may be complete afterwards.
    complete_from: Minute,
}

/// The part of the journal to drop; `None` when all of it stays.
fn journal_cut(
    reader: Reader<'_>,
    tag: BusTag,
    retention: &RetentionOptions,
    now: Option<Timestamp>,
) -> Result<Option<Cut>, StoreError> {
    let mut minutes = Vec::new();
    reader
        .journal(tag)?
        .each_minute(Minute(i64::MIN), |minute, row| minutes.push((minute, row)))?;
    let Some((newest, _)) = minutes.last().copied() else { return Ok(None) };
    // Minutes are ordered by receipt, positions by the bus: minutes may overlap. Ages and sizes
    // are looked at by position: minutes that a wrong clock put into the future must not keep all
    // later events.
    minutes.sort_by_key(|(_, row)| row.first);
    let by_age = now.map_or_else(Position::default, |now| {
        // The newest minute always stays: it is still being written.
        let oldest = now.minus(retention.journal_for).minute().min(newest);
        first_young(&minutes, oldest, now.minute())
    });
    let held = retention.held_by.map(|name| reader.cursor_on(name, tag)).transpose()?.flatten();
    // The uncompressed size is an upper bound of the size on the disk.
    let raw: u64 = minutes.iter().map(|(_, row)| row.bytes).fold(0, u64::saturating_add);
    let kept = if raw <= retention.journal_bytes {
        minutes.len()
    } else {
        let mut bytes = 0_u64;
        let fits = |size: &&u64| {
            bytes = bytes.saturating_add(**size);
            bytes <= retention.journal_bytes
        };
        let firsts: Vec<MinuteRow> = minutes.iter().map(|(_, row)| *row).collect();
        let sizes = bytes_on_disk(reader, tag, &firsts);
        sizes.iter().rev().take_while(fits).count().max(1)
    };
    let by_bytes = minutes[minutes.len() - kept].1.first;
    let by_age = held.map_or(by_age, |held| {
        // Only whole minutes are dropped: the one that the cursor is in stays.
        let mut firsts = minutes.iter().rev().map(|(_, row)| row.first);
        let unread = firsts.find(|first| *first <= held.position);
        by_age.min(unread.unwrap_or_default())
    });
    let start = by_age.max(by_bytes);
    // Where a clock stands still, all events are of one minute.
    let split = match minutes.last() {
        Some((minute, row)) if kept == 1 => {
            let start = start_within(reader, tag, row.first, retention.journal_bytes)?;
            start.map(|start| (*minute, start))
        }
        _ => None,
    };
    let (gone, stays) = minutes.split_at(minutes.partition_point(|(_, row)| row.first < start));
    let newest = minutes_of(gone).max().max(split.map(|(minute, _)| minute));
    let (Some(before), Some(newest)) = (minutes_of(stays).min(), newest) else { return Ok(None) };
    let also = minutes_of(gone).filter(|minute| *minute >= before).collect();
    // A clock that was once ahead must not make the journal incomplete for good.
    let newest = now.map_or(newest, |now| newest.min(now.minute()));
    let complete_from = Minute(newest.0.saturating_add(1));
    let start = split.map_or(start, |(_, start)| start);
    let split = split.map(|(minute, _)| minute);
    Ok(Some(Cut { start, before, also, split, complete_from }))
}

fn minutes_of(part: &[(Minute, MinuteRow)]) -> impl Iterator<Item = Minute> {
    part.iter().map(|(minute, _)| *minute)
}

/// The first position from which on the last minute, which begins at `first`, has up to `most`
/// bytes on the disk; `None` where it has no more, or where its end is damaged.
fn start_within(
    reader: Reader<'_>,
    tag: BusTag,
    first: Position,
    most: u64,
) -> Result<Option<Position>, StoreError> {
    let last = match reader.last_before(&JournalKey { tag, position: gaps::LAST }) {
        Err(error) if error.is_damage() => return Ok(None),
        last => last?,
    };
    let Some(last) = last else { return Ok(None) };
    let number = |at: Position| (u128::from(at.ledger) << 64) | u128::from(at.entry);
    let entry = |number: u128| {
        let mut bytes = [0; 20];
        bytes[..16].copy_from_slice(&number.to_be_bytes());
        Position::from_bytes(bytes)
    };
    let is_over = |at: Position| bytes_from(reader, tag, at) > most;
    if last.tag != tag || !is_over(first) {
        return Ok(None);
    }
    let (mut low, mut high) = (number(first), number(last.position));
    while low < high {
        let middle = low + (high - low) / 2;
        if is_over(entry(middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(Some(entry(high)).filter(|start| *start > first))
}

/// The first position of the minutes from `oldest` on; at least the last minute stays. `minutes`
/// must be sorted by position. A minute of the future is judged by the next minute by position that
/// is not of the future, and at most [`APART`] minutes earlier than any in front of it.
pub(super) fn first_young(
    minutes: &[(Minute, MinuteRow)],
    oldest: Minute,
    now: Minute,
) -> Position {
    let is_ahead = |minute: Minute| minute.0 > now.0.saturating_add(1);
    let mut latest = Minute(i64::MIN);
    let in_order: Vec<bool> = minutes
        .iter()
        .map(|(minute, _)| {
            let is_behind = minute.0.saturating_add(APART) < latest.0;
            latest = if is_ahead(*minute) { latest } else { latest.max(*minute) };
            !is_ahead(*minute) && !is_behind
        })
        .collect();
    let mut first = minutes.last().map(|(_, row)| row.first).unwrap_or_default();
    let mut next = None;
    for ((minute, row), in_order) in minutes.iter().zip(in_order).rev() {
        if in_order {
            next = Some(*minute);
        }
        let counted = next.filter(|_| is_ahead(*minute)).unwrap_or(*minute);
        if counted >= oldest {
            first = row.first;
        }
    }
    first
}
