//! The figures of the history in memory and in the store, and how they are merged with ours.
//!
//! The result is `max(base + since, ours)`, figure by figure: the base is what TiDB returned,
//! `since` what we counted of events *received* after its query began. So an event that a node
//! applies late, from a backlog, is not counted twice, and an event received while the query ran is
//! not lost: counts from the start of a query are collected separately from the old `since`, and
//! replace it in the batch that writes the base.
//!
//! Memory changes only on the writing thread, inside a batch, so it always equals the store after
//! that batch; a batch that cannot be written closes the store for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use super::query::FigureQuery;
use crate::model::counts::{DayCounts, PullRequestCounts, counted_lines};
use crate::model::envelope::Facts;
use crate::model::window::{Timestamp, Year};
use crate::store::keys::history::{HistoryFigure, HistoryKey, HistoryMetric, SinceKey};
use crate::store::keys::{Key, MetaKey};
use crate::store::{Batch, Store, StoreError, read_count};

/// Base, since, and the merged figures.
#[derive(Debug)]
pub(super) struct HistoryFigures(Mutex<FigureState>);

type FigureValues = BTreeMap<HistoryFigure, i64>;

#[derive(Debug, Default)]
struct FigureState {
    base: FigureValues,
    since: FigureValues,
    /// By query.
    times: [QueryTimes; 2],
    /// Our own counts, as of the last tick.
    ours: Option<PullRequestCounts>,
    /// Whether the base changed since the last merge.
    is_new: bool,
}

/// Start times of a query.
#[derive(Debug, Default)]
struct QueryTimes {
    /// Start of the query that brought the base.
    base: Option<Timestamp>,
    /// Start of the running query.
    running: Option<RunningQuery>,
}

#[derive(Debug)]
struct RunningQuery {
    began: Timestamp,
    since: FigureValues,
}

impl HistoryFigures {
    /// Reads the stored figures. Blocks.
    pub(super) fn load(store: &Store) -> Result<Self, StoreError> {
        let reader = store.reader();
        let mut inner = FigureState::default();
        reader.scan(&HistoryKey(HistoryFigure::FIRST), |key, value| {
            inner.base.insert(key.0, read_count(&key, value)?);
            Ok(true)
        })?;
        reader.scan(&SinceKey(HistoryFigure::FIRST), |key, value| {
            inner.since.insert(key.0, read_count(&key, value)?);
            Ok(true)
        })?;
        for query in FigureQuery::ALL {
            let key = began_key(query);
            if let Some(value) = reader.get(&key)? {
                let micros = value.as_slice().try_into().map(i64::from_be_bytes);
                let micros = micros.map_err(|_| StoreError::corrupt("meta", &key.to_bytes()))?;
                inner.times[query as usize].base = Some(Timestamp::from_micros(micros));
            }
        }
        Ok(Self(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, FigureState> {
        crate::sync::lock(&self.0)
    }

    /// Whether the history ever returned figures.
    pub(super) fn has_base(&self) -> bool {
        self.lock().times.iter().any(|times| times.base.is_some())
    }

    /// Counts events that are committed with this batch, each with the time it happened.
    pub(super) fn count<'a>(
        &self,
        batch: &mut Batch<'_>,
        events: impl Iterator<Item = (&'a Facts, Timestamp)>,
    ) {
        let mut inner = self.lock();
        if inner.times.iter().all(|times| times.base.is_none() && times.running.is_none()) {
            return;
        }
        let mut touched = BTreeSet::new();
        for (facts, happened_at) in events {
            for (figure, n) in counted(facts, happened_at) {
                let times = &mut inner.times[query_of(figure.metric) as usize];
                if let Some(running) = &mut times.running
                    && facts.received_at > running.began
                {
                    add(&mut running.since, figure, n);
                }
                if times.base.is_some_and(|began| facts.received_at > began) {
                    add(&mut inner.since, figure, n);
                    touched.insert(figure);
                }
            }
        }
        for figure in touched {
            let n = inner.since.get(&figure).copied().unwrap_or(0);
            batch.put(&SinceKey(figure), &n.to_be_bytes());
        }
    }

    /// Marks the start of a query.
    pub(super) fn begin(&self, query: FigureQuery, now: Timestamp) {
        let running = RunningQuery { began: now, since: FigureValues::new() };
        self.lock().times[query as usize].running = Some(running);
    }

    /// The query failed.
    pub(super) fn give_up(&self, query: FigureQuery) {
        self.lock().times[query as usize].running = None;
    }

    /// The query returned these figures: writes them, their start time, and the counts since then.
    pub(super) fn replace(&self, batch: &mut Batch<'_>, query: FigureQuery, base: &FigureValues) {
        let mut inner = self.lock();
        let times = &mut inner.times[query as usize];
        let Some(running) = times.running.take() else { return };
        times.base = Some(running.began);
        batch.put(&began_key(query), &running.began.micros().to_be_bytes());
        swap(&mut inner.base, query, base, batch, HistoryKey);
        swap(&mut inner.since, query, &running.since, batch, SinceKey);
        inner.is_new = true;
    }

    /// The merged figures, if `ours` or the base changed.
    pub(super) fn merge(&self, ours: Option<PullRequestCounts>) -> Option<PullRequestCounts> {
        let mut inner = self.lock();
        let is_new = std::mem::take(&mut inner.is_new);
        if ours.is_some() {
            inner.ours = ours;
        } else if !is_new {
            return None;
        }
        let ours = inner.ours.clone()?;
        Some(shown(&inner.base, &inner.since, ours))
    }
}

fn began_key(query: FigureQuery) -> MetaKey {
    let name = match query {
        FigureQuery::Daily => "history_daily_began",
        FigureQuery::Yearly => "history_yearly_began",
    };
    MetaKey(name.to_owned())
}

fn query_of(metric: HistoryMetric) -> FigureQuery {
    if metric.is_daily() { FigureQuery::Daily } else { FigureQuery::Yearly }
}

fn add(numbers: &mut FigureValues, figure: HistoryFigure, n: i64) {
    let sum = numbers.entry(figure).or_default();
    *sum = sum.saturating_add(n);
}

/// Replaces the figures of one query, and writes each change.
fn swap<K: Key>(
    numbers: &mut FigureValues,
    query: FigureQuery,
    new: &FigureValues,
    batch: &mut Batch<'_>,
    key: fn(HistoryFigure) -> K,
) {
    numbers.retain(|figure, _| {
        let stays = query_of(figure.metric) != query || new.contains_key(figure);
        if !stays {
            batch.delete(&key(*figure));
        }
        stays
    });
    for (&figure, &n) in new {
        if numbers.insert(figure, n) != Some(n) {
            batch.put(&key(figure), &n.to_be_bytes());
        }
    }
}

/// The figures an event adds to. Only events of the year in which they are received (or of the
/// next, by GitHub's clock) are shown, so there are never more figures than two years have.
fn counted(facts: &Facts, happened_at: Timestamp) -> impl Iterator<Item = (HistoryFigure, i64)> {
    let (day, year) = (happened_at.day(), happened_at.year());
    let received = facts.received_at.year().0;
    let flags = facts.flags;
    let is_counted = flags.pr && (received..=received + 1).contains(&year.0);
    let lines = |n: Option<u64>| if flags.merge { counted_lines(n) } else { 0 };
    let numbers = [
        (HistoryMetric::Developers, i64::from(flags.dev_day)),
        (HistoryMetric::Opened, i64::from(flags.open)),
        (HistoryMetric::Closed, i64::from(flags.close)),
        (HistoryMetric::Merged, i64::from(flags.merge)),
        (HistoryMetric::YearDevelopers, i64::from(flags.dev_year)),
        (HistoryMetric::YearRepositories, i64::from(flags.repo_year)),
        (HistoryMetric::YearAdditions, lines(facts.additions)),
        (HistoryMetric::YearDeletions, lines(facts.deletions)),
    ];
    numbers.into_iter().filter(move |(_, n)| is_counted && *n > 0).map(move |(metric, n)| {
        let day = if metric.is_daily() { day } else { year.first_day() };
        (HistoryFigure { day, metric }, n)
    })
}

fn shown(
    base: &FigureValues,
    since: &FigureValues,
    mut ours: PullRequestCounts,
) -> PullRequestCounts {
    let mut theirs = PullRequestCounts::of(ours.year);
    add_year(&mut theirs, base);
    add_year(&mut theirs, since);
    for (day, counts) in theirs.days {
        let mine = ours.days.entry(day).or_default();
        *mine = mine.at_least(counts);
    }
    ours.sums = ours.sums.at_least(theirs.sums);
    ours
}

/// Adds the figures of the counts' year.
fn add_year(counts: &mut PullRequestCounts, numbers: &FigureValues) {
    let days = counts.year.days();
    let next = Year(counts.year.0 + 1).first_day();
    let from = HistoryFigure::of_day(counts.year.first_day(), HistoryMetric::Developers);
    for (figure, &n) in numbers.range(from..HistoryFigure::of_day(next, HistoryMetric::Developers))
    {
        debug_assert!(days.contains(&figure.day.0));
        let sums = &mut counts.sums;
        let sum = match figure.metric {
            HistoryMetric::YearDevelopers => &mut sums.developers,
            HistoryMetric::YearRepositories => &mut sums.repositories,
            HistoryMetric::YearAdditions => &mut sums.additions,
            HistoryMetric::YearDeletions => &mut sums.deletions,
            daily => of_day(counts.days.entry(figure.day).or_default(), daily),
        };
        *sum = sum.saturating_add(n);
    }
}

fn of_day(counts: &mut DayCounts, metric: HistoryMetric) -> &mut i64 {
    match metric {
        HistoryMetric::Opened => &mut counts.open,
        HistoryMetric::Closed => &mut counts.close,
        HistoryMetric::Merged => &mut counts.merge,
        _ => &mut counts.developers,
    }
}

#[cfg(test)]
mod tests;
