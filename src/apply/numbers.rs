//! The published numbers, in memory: language buckets, and the days of this year.
//!
//! The store is authoritative. Buckets are loaded at the start and updated after each commit. Only
//! days that a commit touched are read again, at the next tick.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use crate::clock::Clock;
use crate::logging::line_limit::LineLimit;
use crate::model::counts::{DayCounts, PullRequestCounts, YearCounts};
use crate::model::envelope::Facts;
use crate::model::tally::{Buckets, WindowSnapshot};
use crate::model::window::{Day, Second, Timestamp, Window, Year};
use crate::store::charts::counted_hours;
use crate::store::keys::{BucketKey, Scope, SizeKey};
use crate::store::{Reader, Store, StoreError, read_count};
use crate::sync::lock;

/// Lines about events that are not counted by language.
static UNCOUNTED: LineLimit = LineLimit::per_minute(10);

/// The numbers of this node.
#[derive(Debug)]
pub struct NodeCounters {
    /// Length of the rolling window in seconds (`interval.latestDuring`).
    seconds: u32,
    buckets: Mutex<Buckets>,
    year: Mutex<YearInMemory>,
}

#[derive(Debug, Default)]
struct YearInMemory {
    /// `None` before the first read.
    year: Option<Year>,
    days: BTreeMap<Day, DayFigures>,
    /// Days that have changed since they were read.
    touched: BTreeSet<Day>,
}

#[derive(Debug, Clone, Copy, Default)]
struct DayFigures {
    counts: DayCounts,
    additions: i64,
    deletions: i64,
}

impl NodeCounters {
    /// Loads the rolling windows of `seconds` seconds from the store. Blocks.
    ///
    /// Keeps the newest of the stored counts, whatever the clock says, because it may be corrected
    /// a moment later.
    pub fn load(store: &Store, seconds: u32, clock: Clock) -> Result<Self, StoreError> {
        let mut buckets = Buckets::default();
        let second = Second(i64::MIN);
        store.reader().scan(&BucketKey { second, language: String::new() }, |key, value| {
            let n = read_count(&key, value)?;
            if let Err(reason) = buckets.add(key.second, &key.language, n) {
                tracing::warn!(language = key.language, %reason, "a stored count is left out");
            }
            Ok(true)
        })?;
        let window = Window::ending_with(clock.now().second(), seconds);
        buckets.expire_window(window.previous().from, window.until);
        Ok(Self { seconds, buckets: Mutex::new(buckets), year: Mutex::default() })
    }

    /// Adds events that were just committed, each with the time it happened.
    pub fn add<'a>(&self, events: impl Iterator<Item = (&'a Facts, Timestamp)>) {
        let mut buckets = lock(&self.buckets);
        let mut year = lock(&self.year);
        for (facts, happened_at) in events.filter(|(facts, _)| facts.flags.pr) {
            year.touched.insert(happened_at.day());
            let Some(language) = facts.counted_language() else { continue };
            if let Err(reason) = buckets.add(facts.received_at.second(), language, 1) {
                UNCOUNTED.log(|left_out| {
                    let words = "an event is not counted by language";
                    tracing::warn!(language, %reason, left_out, "{words}");
                });
            }
        }
    }

    /// Marks a day to be read again at the next tick, because one of its hours was imported.
    pub fn touch(&self, day: Day) {
        lock(&self.year).touched.insert(day);
    }

    /// The rolling window that ends with this second, and the one before it.
    #[must_use]
    pub fn window(&self, now: Second) -> WindowSnapshot {
        let mut buckets = lock(&self.buckets);
        let window = Window::ending_with(now, self.seconds);
        buckets.expire_window(window.previous().from, window.until);
        buckets.snapshot(window)
    }

    /// The counts of `year`; `None` when they have not changed since the last call. Blocks.
    pub fn refresh(
        &self,
        store: &Store,
        year: Year,
    ) -> Result<Option<PullRequestCounts>, StoreError> {
        let mut memory = lock(&self.year);
        let mut touched = std::mem::take(&mut memory.touched);
        if memory.year != Some(year) {
            *memory = YearInMemory { year: Some(year), ..YearInMemory::default() };
            touched = year.days().map(Day).collect();
        }
        if touched.is_empty() {
            return Ok(None);
        }
        // Released before reading, because apply must never wait for the disk here.
        drop(memory);
        let inside = year.days();
        let reader = store.reader();
        let mut read = Vec::with_capacity(touched.len());
        for day in touched.into_iter().filter(|day| inside.contains(&day.0)) {
            read.push((day, day_figures(reader, day)?));
        }
        let size = |scope| reader.count(&SizeKey { scope, period: year.0 });
        let (developers, repositories) =
            (size(Scope::DeveloperYear)?, size(Scope::RepositoryYear)?);
        let mut memory = lock(&self.year);
        memory.days.extend(read);
        let sum = |lines: fn(&DayFigures) -> i64| {
            memory.days.values().map(lines).fold(0, i64::saturating_add)
        };
        let sums = YearCounts {
            additions: sum(|day| day.additions),
            deletions: sum(|day| day.deletions),
            developers,
            repositories,
        };
        let days = memory.days.iter().map(|(day, figures)| (*day, figures.counts)).collect();
        Ok(Some(PullRequestCounts { year, days, sums }))
    }
}

/// How long buckets are kept: twice the rolling window, for trends.
#[must_use]
pub fn bucket_span(seconds: u32) -> Duration {
    Duration::from_secs(2 * u64::from(seconds))
}

fn day_figures(reader: Reader<'_>, day: Day) -> Result<DayFigures, StoreError> {
    let first = day.start().hour().0;
    let mut figures = DayFigures::default();
    for hour in counted_hours(reader, first..first + 24)? {
        // An imported hour replaces whatever was counted live in it.
        let Some(counts) = hour.import.or(hour.live) else { continue };
        for (sum, n) in [
            (&mut figures.counts.open, counts.opened),
            (&mut figures.counts.merge, counts.merged),
            (&mut figures.counts.close, counts.closed),
            (&mut figures.additions, counts.additions),
            (&mut figures.deletions, counts.deletions),
        ] {
            *sum = sum.saturating_add(n);
        }
    }
    let size = SizeKey { scope: Scope::DeveloperDay, period: day.0 };
    figures.counts.developers = reader.count(&size)?;
    Ok(figures)
}
