//! Assembles kept counts for charts, `/completeness` and `/hours`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::error::StoreError;
use super::keys::{HourMetric, HourSource};
use super::reader::Reader;
use crate::model::activity::{
    Activity, Chart, ChartSlot, CountedHour, Coverage, HourCompleteness, SLOTS, Span,
};
use crate::model::window::{Hour, Minute, Second, Timestamp};

/// Events may be held this long for enrichment before they are counted, so younger slots are not
/// shown.
const SETTLED: Duration = Duration::from_secs(20);
/// Slots of the recent chart: 15 minutes in steps of ten seconds.
const RECENT: i64 = 90;
/// Slots of the day's chart: 24 hours in steps of ten minutes.
const DAY: i64 = 144;

/// Returns the last 15 minutes in steps of ten seconds. `since` is when this node started: from
/// then on, a slot without a row is a slot without events.
pub fn recent(reader: Reader<'_>, now: Timestamp, since: Timestamp) -> Result<Chart, StoreError> {
    let step = Span::Minute.slot_seconds();
    let until = now.minus(SETTLED).second().0.div_euclid(step) * step;
    let from = until - RECENT * step;
    let minutes = ChartMinutes::read(reader, from.div_euclid(60)..(until + 59).div_euclid(60))?;
    let slot = |at: i64| {
        let start = from + at * step;
        let (minute, slot) = Span::Minute.locate(Timestamp::from_seconds(start));
        let row = minutes.received.get(&minute).copied().unwrap_or_default().0[slot];
        let counts = row.map(u64::from);
        let ran = start >= since.second().0 || minutes.was_watched(minute);
        let is_known = ran || counts.iter().any(|count| *count > 0);
        is_known.then_some(ChartSlot { seconds: u32::try_from(step).unwrap_or(1), counts })
    };
    Ok(Chart {
        from: Second(from),
        step,
        slots: (0..RECENT).map(slot).collect(),
        first_minute: Minute(minutes.range.start),
        seen: minutes.seen(),
        imported: Vec::new(),
    })
}

/// Returns the last 24 hours in steps of ten minutes.
pub fn day(reader: Reader<'_>, now: Timestamp, since: Timestamp) -> Result<Chart, StoreError> {
    let step = Span::Hour.slot_seconds();
    let until = now.minus(SETTLED).second().0.div_euclid(step) * step;
    let from = until - DAY * step;
    let last = now.minus(SETTLED).minute().0;
    let minutes = ChartMinutes::read(reader, from.div_euclid(60)..last)?;
    let hours = from.div_euclid(3_600)..(until + 3_599).div_euclid(3_600);
    let received = reader.activity(Span::Hour, hours.clone())?;
    let slot = |at: i64| {
        let start = from + at * step;
        let (hour, slot) = Span::Hour.locate(Timestamp::from_seconds(start));
        let counts = received.get(&hour).copied().unwrap_or_default().0[slot].map(u64::from);
        let first = start.div_euclid(60);
        let ran = |minute: &i64| minute * 60 >= since.second().0 || minutes.has(*minute);
        let known = (first..first + step / 60).filter(ran).count();
        let seconds = u32::try_from(known * 60).unwrap_or(0);
        (seconds > 0).then_some(ChartSlot { seconds, counts })
    };
    let created = counted_hours(reader, hours)?;
    Ok(Chart {
        from: Second(from),
        step,
        slots: (0..DAY).map(slot).collect(),
        first_minute: Minute(minutes.range.start),
        seen: minutes.seen(),
        imported: created.iter().filter(|hour| hour.import.is_some()).map(|h| h.hour).collect(),
    })
}

/// Returns the hours of receipt with any known counts, oldest first.
pub fn completeness(
    reader: Reader<'_>,
    range: Range<i64>,
) -> Result<Vec<HourCompleteness>, StoreError> {
    let received = reader.activity(Span::Hour, range.clone())?;
    let mut hours: BTreeMap<i64, HourCompleteness> = BTreeMap::new();
    let none = |at| HourCompleteness::unknown(Hour(at));
    for (at, activity) in received {
        hours.entry(at).or_insert_with(|| none(at)).counts = activity.totals();
    }
    for (at, coverage) in reader.coverage(Span::Hour, range)? {
        hours.entry(at).or_insert_with(|| none(at)).coverage = coverage;
    }
    Ok(hours.into_values().collect())
}

/// Returns the hours of `created_at` with any counts, oldest first.
pub fn counted_hours(
    reader: Reader<'_>,
    range: Range<i64>,
) -> Result<Vec<CountedHour>, StoreError> {
    let mut hours: BTreeMap<i64, CountedHour> = BTreeMap::new();
    for (key, n) in reader.hours(range)?.into_iter().filter(|(_, n)| *n != 0) {
        let none = CountedHour { hour: key.hour, live: None, import: None };
        let hour = hours.entry(key.hour.0).or_insert(none);
        let counts = match key.origin {
            HourSource::Live => hour.live.get_or_insert_default(),
            HourSource::Archive => hour.import.get_or_insert_default(),
        };
        match key.metric {
            HourMetric::Opened => counts.opened = n,
            HourMetric::Merged => counts.merged = n,
            HourMetric::Closed => counts.closed = n,
            HourMetric::Additions => counts.additions = n,
            HourMetric::Deletions => counts.deletions = n,
            HourMetric::PullRequests => counts.pull_requests = n,
            HourMetric::Events => counts.events = Some(n),
        }
    }
    // An import always stores the number of events; rows without it are not an import.
    for hour in hours.values_mut() {
        hour.import = hour.import.filter(|counts| counts.events.is_some());
    }
    Ok(hours.into_values().filter(|hour| hour.live.or(hour.import).is_some()).collect())
}

/// The stored minutes of a chart.
struct ChartMinutes {
    range: Range<i64>,
    received: BTreeMap<i64, Activity>,
    coverage: BTreeMap<i64, Coverage>,
}

impl ChartMinutes {
    fn read(reader: Reader<'_>, range: Range<i64>) -> Result<Self, StoreError> {
        let received = reader.activity(Span::Minute, range.clone())?;
        let coverage = reader.coverage(Span::Minute, range.clone())?;
        Ok(Self { range, received, coverage })
    }

    fn was_watched(&self, minute: i64) -> bool {
        self.coverage.get(&minute).is_some_and(|coverage| coverage.watched > 0)
    }

    fn has(&self, minute: i64) -> bool {
        self.was_watched(minute) || self.received.contains_key(&minute)
    }

    fn seen(&self) -> Vec<Option<f64>> {
        let seen = |minute| {
            let missed = self.coverage.get(&minute)?.missed()?;
            let received = self.received.get(&minute).copied().unwrap_or_default();
            let received: u64 = received.by_sequence().iter().sum();
            Some(1.0 - missed.shares(received)[1])
        };
        self.range.clone().map(seen).collect()
    }
}

const _: () = assert!(SLOTS == 6, "charts cut minutes and hours into six");

#[cfg(test)]
mod tests;
