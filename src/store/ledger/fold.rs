//! Folds days into months.
//!
//! A month is folded once its last day is [`HOURS_FOR`] past: the rows of its days become one row
//! for each repository, with counts by day. Each step is one batch that writes months and deletes
//! the rows of their days, so a crash between two steps loses and doubles nothing. The sums by
//! language and in all keep their hours: they are few.

use std::time::Duration;

use super::merged::merged;
use super::rows::{decode_counts, decode_hours, put_counts, put_hours};
use crate::model::ledger::{DayHours, DaySlot, LedgerMetric, LedgerOrigin, SlotCounts, month_slot};
use crate::model::window::{Day, Month, Timestamp};
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::families::Family;
use crate::store::keys::Key as _;
use crate::store::keys::ledger::{LedgerKey, LedgerMonthKey};
use crate::store::open::Store;
use crate::store::reader::Reader;
use crate::sync::lock;

/// How long the hours of a day are kept, at least: longer than the longest window of a ranking.
pub const HOURS_FOR: Duration = Duration::from_secs(35 * 86_400);
/// Rows of days that one step folds, about.
const ROWS: usize = 3_000;
/// The bits of all hours of a day.
const ALL_HOURS: u32 = (1 << 24) - 1;
/// Steps of one pass of retention.
const STEPS: usize = 20;

/// Where folding continues. After a restart it begins at the first row again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FoldProgress(Option<(Month, u64)>);

/// Folds the next months that are due by `now`, in up to `STEPS` batches.
pub(crate) async fn fold_due(
    store: &Store,
    mut progress: FoldProgress,
    now: Timestamp,
) -> Result<FoldProgress, StoreError> {
    for _ in 0..STEPS {
        let (month, from) = match progress.0 {
            Some(next) => next,
            None => match store.read(move |reader| first_due(reader, now)).await? {
                Some(month) => (month, 0),
                None => break,
            },
        };
        let folded = store.commit(move |batch| {
            if lock(&batch.held_days).iter().any(|day| day.in_month().0 == month) {
                return Ok(None);
            }
            fold_some(batch, month, from).map(Some)
        });
        // A later pass folds a month of which a day is being filled.
        let Some(next) = folded.await? else { break };
        if next.is_none() {
            let compacted = move |reader: Reader<'_>| {
                compact(reader, month);
                Ok(())
            };
            store.read(compacted).await?;
        }
        progress = FoldProgress(next.map(|from| (month, from)));
    }
    Ok(progress)
}

/// The first month with rows of days, if it is due.
fn first_due(reader: Reader<'_>, now: Timestamp) -> Result<Option<Month>, StoreError> {
    let (current, _) = now.minus(HOURS_FOR).day().in_month();
    let mut first = None;
    reader.scan(&LedgerKey::Repo(Day(i32::MIN), 0), |key, _| {
        if let LedgerKey::Repo(day, _) = key {
            first = Some(day.in_month().0);
        }
        Ok(false)
    })?;
    Ok(first.filter(|month| *month < current))
}

/// Folds the rows of a month for some repositories from `from` on. Returns where to continue.
pub(super) fn fold_some(
    batch: &mut Batch<'_>,
    month: Month,
    from: u64,
) -> Result<Option<u64>, StoreError> {
    let days = month.days();
    let database = batch.database;
    let snapshot = database.snapshot();
    let hours = days.clone().map(|day| close(batch, Day(day))).collect::<Result<Vec<_>, _>>()?;
    let (mut folded, mut gone, mut next) = (Vec::new(), Vec::new(), None);
    merged(&snapshot, days.clone(), from, |repo, rows| {
        if gone.len() >= ROWS {
            next = Some(repo);
            return Ok(false);
        }
        let mut counts = SlotCounts::default();
        for (at, value) in rows {
            let day = Day(days.start.saturating_add(i32::try_from(*at).unwrap_or(i32::MAX)));
            let key = LedgerKey::Repo(day, repo);
            let row = decode_counts(Family::Ledger, &key.to_bytes(), Some(value))?;
            let number = u8::try_from(at + 1).unwrap_or(u8::MAX);
            for (metric, n) in LedgerMetric::ALL.into_iter().zip(hours[*at].sum(&row).0) {
                counts.add(month_slot(number, metric), n);
            }
            gone.push(key);
        }
        folded.push((LedgerMonthKey { month, repo }, counts));
        Ok(true)
    })?;
    drop(snapshot);
    for key in &gone {
        batch.delete(key);
    }
    let keys: Vec<_> = folded.iter().map(|(key, _)| key.to_bytes()).collect();
    let stored = batch.get_many(Family::LedgerMonths, &keys)?;
    for (((key, counts), bytes), stored) in folded.iter().zip(&keys).zip(stored) {
        let mut row = decode_counts(Family::LedgerMonths, bytes, stored.as_deref())?;
        for (slot, n) in counts.iter() {
            row.add(slot, n);
        }
        put_counts(batch, key, &row);
    }
    Ok(next)
}

/// Removes the deleted rows of a month's days from the disk.
fn compact(reader: Reader<'_>, month: Month) {
    let days = month.days();
    let key = |day| LedgerKey::Repo(Day(day), 0);
    reader.compact(&key(days.start), &key(days.end));
}

/// Makes the hours of a day final that have counts, and returns them.
fn close(batch: &mut Batch<'_>, day: Day) -> Result<DayHours, StoreError> {
    let key = LedgerKey::Hours(day);
    let hours = decode_hours(&key, batch.get(&key)?.as_deref())?;
    let all = LedgerKey::All(day);
    let row = decode_counts(Family::Ledger, &all.to_bytes(), batch.get(&all)?.as_deref())?;
    let live = row.iter().filter_map(|(slot, _)| DaySlot::of_number(slot));
    let live = live.filter(|slot| slot.origin == LedgerOrigin::Live);
    let counted = live.fold(hours.folded | hours.imported, |bits, slot| bits | 1 << slot.hour);
    let folded = if hours.are_filled() { ALL_HOURS } else { counted };
    let closed = DayHours { folded, ..hours };
    if closed != hours {
        put_hours(batch, &key, closed);
    }
    Ok(closed)
}
