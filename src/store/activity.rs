//! Kept counts of events by time of receipt and type, and their completeness.
//!
//! A row holds the complete count of its minute or hour. It is written in the same batch that
//! applies the events, so it is exact across crashes. Minutes are retained for [`MINUTES_FOR`],
//! hours for [`HOURS_FOR`].

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::batch::Batch;
use super::database::{Database, read_count};
use super::error::StoreError;
use super::keys::activity::{ActivityKey, CoverageKey};
use super::keys::{HourKey, HourMetric, HourSource, Key as _};
use super::last_pass::CERTAINLY_AHEAD;
use crate::model::activity::{Activity, Coverage, SLOTS, Span};
use crate::model::window::{Hour, Timestamp};

/// Retention of counts by minute.
pub const MINUTES_FOR: Duration = Duration::from_secs(8 * 86_400);
/// Retention of counts by hour: five years and a day.
pub const HOURS_FOR: Duration = Duration::from_secs((5 * 365 + 2) * 86_400);

/// Counts of the events of one batch, before they are added to the rows.
#[derive(Debug, Default)]
pub struct BatchActivity {
    /// By span and its number since 1970.
    received: BTreeMap<ActivityKey, Activity>,
    /// By hour of `created_at`.
    created: BTreeMap<Hour, i64>,
}

impl BatchActivity {
    /// Counts one event; `column` is the column of its type.
    pub fn count(&mut self, received_at: Timestamp, created_at: Timestamp, column: usize) {
        for span in Span::ALL {
            let (at, slot) = span.locate(received_at);
            let slots = &mut self.received.entry(ActivityKey { span, at }).or_default().0;
            if let Some(count) = slots[slot.min(SLOTS - 1)].get_mut(column) {
                *count = count.saturating_add(1);
            }
        }
        *self.created.entry(created_at.hour()).or_default() += 1;
    }

    /// Adds the counts to the rows.
    pub fn write(self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        for (key, counted) in self.received {
            let mut row = batch.get_as(&key, decode)?.unwrap_or_default();
            for (slot, more) in row.0.iter_mut().zip(counted.0) {
                for (count, more) in slot.iter_mut().zip(more) {
                    *count = count.saturating_add(more);
                }
            }
            batch.put(&key, &row.encode());
        }
        for (hour, n) in self.created {
            let (origin, metric) = (HourSource::Live, HourMetric::Events);
            batch.add(&HourKey { hour, origin, metric }, n)?;
        }
        Ok(())
    }
}

fn decode(key: &ActivityKey, value: &[u8]) -> Result<Activity, StoreError> {
    Activity::decode(value).ok_or_else(|| StoreError::corrupt("activity", &key.to_bytes()))
}

/// Writes the completeness of a minute or an hour.
pub fn put_coverage(batch: &mut Batch<'_>, span: Span, at: i64, coverage: &Coverage) {
    batch.put(&CoverageKey { span, at }, &coverage.encode());
}

/// Sums the completeness of an hour over its minutes; `changed` holds minutes not yet written.
pub fn sum_hour(
    reader: &Database,
    hour: Hour,
    changed: &BTreeMap<i64, Coverage>,
) -> Result<Coverage, StoreError> {
    let minutes = hour.0 * 60..(hour.0 + 1) * 60;
    let mut known = reader.coverage(Span::Minute, minutes.clone())?;
    known.extend(changed.range(minutes.clone()).map(|(at, coverage)| (*at, *coverage)));
    let received = reader.activity(Span::Minute, minutes)?;
    let mut sum = Coverage::default();
    for (at, minute) in known {
        sum.add_minute(&minute, &received.get(&at).copied().unwrap_or_default());
    }
    Ok(sum)
}

/// Deletes rows past their retention, and rows in the future that a wrong clock left.
pub(super) fn drop_due(batch: &mut Batch<'_>, now: Timestamp) -> Result<(), StoreError> {
    for (span, kept) in [(Span::Minute, MINUTES_FOR), (Span::Hour, HOURS_FOR)] {
        let (oldest, _) = span.locate(now.minus(kept));
        let (newest, _) = span.locate(now.plus(CERTAINLY_AHEAD));
        for range in [i64::MIN..oldest, newest..i64::MAX] {
            let key = |at| ActivityKey { span, at };
            batch.delete_range(&key(range.start), &key(range.end))?;
            let key = |at| CoverageKey { span, at };
            batch.delete_range(&key(range.start), &key(range.end))?;
        }
    }
    Ok(())
}

impl Database {
    /// Reads the counts of these minutes or hours, by number. A missing row means that no event was
    /// received, or that this node did not run.
    pub fn activity(
        &self,
        span: Span,
        range: Range<i64>,
    ) -> Result<BTreeMap<i64, Activity>, StoreError> {
        let mut rows = BTreeMap::new();
        let key = |at| ActivityKey { span, at };
        self.scan_range(key(range.start)..key(range.end), |key, value| {
            rows.insert(key.at, decode(&key, value)?);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Reads the completeness of these minutes or hours, by number.
    pub fn coverage(
        &self,
        span: Span,
        range: Range<i64>,
    ) -> Result<BTreeMap<i64, Coverage>, StoreError> {
        let mut rows = BTreeMap::new();
        let key = |at| CoverageKey { span, at };
        self.scan_range(key(range.start)..key(range.end), |key, value| {
            let coverage = Coverage::decode(value);
            let corrupt = || StoreError::corrupt("coverage", &key.to_bytes());
            rows.insert(key.at, coverage.ok_or_else(corrupt)?);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Reads which of these hours of `created_at` were imported, oldest first.
    pub fn imported_hours(&self, range: Range<i64>) -> Result<Vec<Hour>, StoreError> {
        // An import always stores the number of events.
        let is_import = |(key, n): &(HourKey, i64)| {
            *n != 0 && (key.origin, key.metric) == (HourSource::Archive, HourMetric::Events)
        };
        Ok(self.hours(range)?.into_iter().filter(is_import).map(|(key, _)| key.hour).collect())
    }

    /// Reads the counts of these hours of `created_at`, by hour, origin and metric.
    pub fn hours(&self, range: Range<i64>) -> Result<Vec<(HourKey, i64)>, StoreError> {
        let (origin, metric) = (HourSource::Live, HourMetric::Opened);
        let first_of = |hour| HourKey { hour: Hour(hour), origin, metric };
        let mut rows = Vec::new();
        self.scan_range(first_of(range.start)..first_of(range.end), |key, value| {
            rows.push((key, read_count(&key, value)?));
            Ok(())
        })?;
        Ok(rows)
    }
}

#[cfg(test)]
mod tests;
