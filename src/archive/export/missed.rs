//! Times in which events are missing in the journal, by its gaps.
//!
//! A gap lies between two events of the journal. What GitHub created between the receipt of these
//! two may be missing, so an hour that begins there has no beginning. All gaps are looked at, also
//! those in front of the range that an export reads.

use crate::clock::witness::TOLERANCE;
use crate::model::gap::Gap;
use crate::model::position::{BusTag, Position};
use crate::model::window::{Hour, Timestamp};
use crate::store::journal::{Journal, JournalItem};
use crate::store::{Reader, StoreError};

/// Events before a gap whose latest receipt counts: one that was stuck on another node, or was a
/// dead letter, was received long before its neighbours.
const BEFORE: usize = 100;
/// Events behind a gap among which the first is searched that was received after those before it.
const BEHIND: usize = 100_000;

/// The times of a journal in which events are missing.
pub(super) struct MissedTimes(Vec<MissedTime>);

/// Between the receipts of two events.
struct MissedTime {
    /// `None` when the events before the gap are not in the journal.
    last: Option<Timestamp>,
    first: Timestamp,
}

impl MissedTimes {
    /// The times of all gaps that the journal has events behind. Where it was dropped up to the
    /// gap, everything before the first event behind it counts as missing.
    pub(super) fn find(reader: Reader<'_>, tag: BusTag) -> Result<Self, StoreError> {
        let journal = reader.journal(tag)?;
        let mut times = Vec::new();
        let gaps = journal.gaps(Position::default(), usize::MAX)?;
        // One event that is missing does not take the beginning of an hour.
        for gap in gaps.iter().filter(|gap| gap.count != Some(1)) {
            times.extend(time_of(&journal, gap)?);
        }
        Ok(Self(times))
    }

    /// Whether the beginning of an hour is in one of them.
    pub(super) fn covers_start_of(&self, hour: Hour) -> bool {
        let start = hour.start();
        let is_in =
            |time: &MissedTime| time.last.is_none_or(|last| last < start) && start <= time.first;
        self.0.iter().any(is_in)
    }
}

/// The time of a gap; `None` when no event is behind it.
fn time_of(journal: &Journal<'_>, gap: &Gap) -> Result<Option<MissedTime>, StoreError> {
    let (mut last, mut looked) = (None, 0);
    journal.read_before(gap.after.next(), |_, row| {
        last = last.max(Some(row.facts.received_at));
        looked += 1;
        Ok(looked < BEFORE)
    })?;
    let (mut first, mut goes_back, mut looked) = (None, false, 0);
    journal.walk_behind(gap.after, |item| {
        let received_at = match item {
            JournalItem::Event(_, row) => row.facts.received_at,
            JournalItem::LeftOut(_, received_at) => received_at,
            JournalItem::Damaged(_) => return Ok(true),
        };
        first = first.max(Some(received_at));
        goes_back |= first < last;
        looked += 1;
        Ok(first < last && looked < BEHIND)
    })?;
    Ok(first.map(|first| match last {
        // By another clock, or one that was set: each may be wrong by as much as is accepted.
        Some(last) if goes_back => {
            MissedTime { last: Some(last.minus(TOLERANCE)), first: first.max(last).plus(TOLERANCE) }
        }
        last => MissedTime { last, first },
    }))
}
