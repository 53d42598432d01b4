//! How long the claims of a day are kept.
//!
//! Claims are stored under the day of receipt, and that day may be wrong: at the first start of a
//! node nothing contradicts a wrong `Date` of GitHub, and without a `Date` nothing contradicts a
//! wrong clock. So age alone does not say how long ago an event was claimed. Admission therefore
//! marks the day in the batch that claims, the first pass after it writes its own time there, which
//! comes from a trusted clock, and the claims are kept until `store.seenFor` after that. For days
//! that were right this is when they expire anyway. For wrong ones it makes the claims last as long
//! as others, across restarts, and not longer: also those of a day that is yet to come.
//!
//! Days without a mark expire by age: claims of other nodes' events, which may be read from a topic
//! long after their receipt, and those of versions that wrote no marks. Applying marks the day of
//! such an event only where its time of receipt cannot be true, because it is before the event or
//! still to come: then the event may have been received just now, and this node may be the next to
//! read GitHub's pages, which still show it. A pass marks days that are still to come itself.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::clock::witness::TOLERANCE;
use crate::model::window::{Day, Timestamp};
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::keys::{AppliedKey, MetaKey, SeenKey};

/// Rows of the days that are marked. Empty since the last claim, then the time of the first pass
/// after it.
const CLAIMED: &str = "claimed.";

fn row(day: i32) -> MetaKey {
    MetaKey(format!("{CLAIMED}{day}"))
}

/// Marks a day under which this batch claims events of GitHub.
pub fn mark(batch: &mut Batch<'_>, day: Day) {
    batch.put(&row(day.0), b"");
}

/// Marks the day of an event of another node, when its time of receipt cannot be true.
pub fn mark_impossible(batch: &mut Batch<'_>, received_at: Timestamp, created_at: Timestamp) {
    let is_after = |time: Timestamp, other: Timestamp| time > other.plus(TOLERANCE);
    if is_after(created_at, received_at) || is_after(received_at, batch.now) {
        mark(batch, received_at.day());
    }
}

/// Drops the claims of days outside `days`: of a marked day once they have been kept for
/// `seen_for`, of another if it is before them. `now` must come from a trusted clock.
pub(super) fn drop_due(
    batch: &mut Batch<'_>,
    days: RangeInclusive<i32>,
    now: Timestamp,
    seen_for: Duration,
) -> Result<(), StoreError> {
    let (first, last) = days.into_inner();
    let mut from = i32::MIN;
    let mut marked = marked(batch)?;
    for day in batch.days_of_seen(last)?.into_iter().filter(|day| *day > last) {
        marked.entry(day).or_insert(None);
    }
    for (day, passed) in marked {
        // A pass in the future was one of a clock that was wrong.
        let passed = passed.filter(|passed| *passed <= now);
        if passed.is_none() {
            batch.put(&row(day), &now.micros().to_be_bytes());
        }
        let is_kept = passed.is_none_or(|passed| passed.plus(seen_for) > now);
        if is_kept && day < first {
            drop_days(batch, from, day)?;
            from = day.saturating_add(1);
        } else if !is_kept && day > last {
            drop_days(batch, day, day.saturating_add(1))?;
            batch.delete(&row(day));
        } else if !is_kept && day < first {
            batch.delete(&row(day));
        }
    }
    drop_days(batch, from, first)
}

/// The marked days, ascending, with the time of the first pass after their last claim.
fn marked(batch: &Batch<'_>) -> Result<BTreeMap<i32, Option<Timestamp>>, StoreError> {
    let mut found = BTreeMap::new();
    batch.database.scan(&MetaKey(CLAIMED.to_owned()), |MetaKey(name), value| {
        let Some(day) = name.strip_prefix(CLAIMED) else { return Ok(false) };
        if let Ok(day) = day.parse() {
            let passed = value.try_into().ok().map(i64::from_be_bytes);
            found.insert(day, passed.map(Timestamp::from_micros));
        }
        Ok(true)
    })?;
    Ok(found)
}

/// Drops the claims of the days from `from` to before `until`.
fn drop_days(batch: &mut Batch<'_>, from: i32, until: i32) -> Result<(), StoreError> {
    if from >= until {
        return Ok(());
    }
    let (from, until) = (SeenKey::first_of(Day(from)), SeenKey::first_of(Day(until)));
    batch.delete_range(&from, &until)?;
    batch.delete_range(&AppliedKey(from), &AppliedKey(until))
}
