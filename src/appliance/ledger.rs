//! Answers questions to the ledger, and keeps its rankings current.
//!
//! A ranking reads all rows of its window: some milliseconds for a small store, seconds for a month
//! of GitHub. One task computes them in turn, at most [`SHARE`] of the time for each, and the
//! answers of all clients come from the last one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::kept;
use crate::clock::{Clock, Stopwatch};
use crate::collect::audit::AuditReading;
use crate::model::audit::AuditReport;
use crate::model::ledger::{
    MOST_RANKED, RankedWindow, RepoDay, RepoSeries, StatedTotals, TopRepos,
};
use crate::model::window::Day;
use crate::serve::{StoreReading, TopQuery};
use crate::store::ledger::rank::{IsLeftOut, Ranking};
use crate::store::ledger::seen::SeenDays;
use crate::store::{Reader, Store, StoreError};
use crate::sync::lock;

/// A ranking is computed again after this many times the time it took: it takes at most 2 % of a
/// core.
const SHARE: u32 = 50;
/// How often the task looks what is due.
const LOOK: Duration = Duration::from_secs(1);
const LEDGER: &str = "the ledger";

/// The last ranking of each window, and how much of past days was seen. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Rankings(Arc<Mutex<HashMap<RankedWindow, Arc<Ranking>>>>, SeenDays);

impl Rankings {
    /// The last ranking of a window; `None` before the first one.
    pub(super) fn of(&self, window: RankedWindow) -> Option<Arc<Ranking>> {
        lock(&self.0).get(&window).cloned()
    }
}

/// The least time between two rankings of a window. One without repositories is computed again at
/// once: a new store has its first events a moment later.
fn pause(window: RankedWindow, is_empty: bool) -> Duration {
    match window {
        _ if is_empty => LOOK,
        RankedWindow::Day => Duration::from_secs(5),
        RankedWindow::Week => Duration::from_secs(20),
        RankedWindow::Month => Duration::from_secs(60),
    }
}

/// Computes the rankings until `stop` is cancelled, without what is left out.
pub(super) async fn run(
    store: Store,
    rankings: Rankings,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut due: HashMap<RankedWindow, Instant> = HashMap::new();
    loop {
        for window in RankedWindow::ALL {
            let began = clock.instant();
            if stop.is_cancelled() || due.get(&window).is_some_and(|due| began < *due) {
                continue;
            }
            let now = clock.now();
            let excluded = store.privacy().excluded();
            // Without the time in which it waits for a thread.
            let timed = move |reader: Reader<'_>| {
                let is_excluded = |name: &str| excluded.hold(None, None, Some(name));
                let is_left_out = (!excluded.is_empty()).then_some(&is_excluded as IsLeftOut<'_>);
                let watch = Stopwatch::start();
                let ranking = Ranking::compute(reader, window, now, is_left_out)?;
                Ok((ranking, watch.elapsed()))
            };
            let (ranking, took) = store.read(timed).await?;
            let least = pause(window, ranking.is_empty());
            lock(&rankings.0).insert(window, Arc::new(ranking));
            due.insert(window, clock.instant() + least.max(took * SHARE));
        }
        let Some(()) = stop.run_until_cancelled(clock.sleep(LOOK)).await else { return Ok(()) };
    }
}

/// A repository by day. What is left out now is unknown here, also where it was counted before, or
/// by an archive.
pub(super) fn repo(
    store: &Store,
    rankings: Rankings,
    audit: Option<&AuditReading>,
    name: String,
    (days, today): (Range<i32>, Day),
) -> StoreReading<Option<RepoSeries>> {
    let audited = audited(audit);
    let excluded = store.privacy().excluded();
    kept::read(store, LEDGER, move |reader| {
        let is_excluded = |name: &str| excluded.hold(None, None, Some(name));
        let series = series(reader, &rankings.1, &name, (days, today))?;
        let series = series.filter(|series| !is_excluded(&name) && !is_excluded(&series.name));
        Ok(series.map(|mut series| {
            (series.stated, series.seen) = stated_of(audited.as_deref(), series.id);
            series
        }))
    })
}

/// The first repositories of a window, without what is left out now.
pub(super) fn top(
    store: &Store,
    rankings: &Rankings,
    audit: Option<&AuditReading>,
    query: TopQuery,
) -> StoreReading<Option<TopRepos>> {
    let TopQuery { by, window, language, most } = query;
    let (ranking, audited) = (rankings.of(window), audited(audit));
    let excluded = store.privacy().excluded();
    kept::read(store, LEDGER, move |reader| {
        let Some(ranking) = ranking else { return Ok(None) };
        let mut top = ranking.top(reader, by, language.as_deref(), MOST_RANKED)?;
        // A repository may have an excluded name since the ranking was computed.
        let is_excluded = |name: &str| excluded.hold(None, None, Some(name));
        top.repos.retain(|repo| !repo.name.as_deref().is_some_and(is_excluded));
        top.repos.truncate(most);
        for repo in &mut top.repos {
            (repo.stated, repo.seen) = stated_of(audited.as_deref(), repo.id);
        }
        Ok(Some(top))
    })
}

fn audited(audit: Option<&AuditReading>) -> Option<Arc<AuditReport>> {
    audit.and_then(|audit| audit.borrow().clone())
}

/// What GitHub states of a repository, and how much of its growth was seen, by the audit.
fn stated_of(audited: Option<&AuditReport>, id: u64) -> (Option<StatedTotals>, Option<f64>) {
    let Some(growth) = audited.and_then(|report| report.repos.get(&id)) else {
        return (None, None);
    };
    let (stars, forks) = (growth.stars.into(), growth.forks.into());
    (Some(StatedTotals { stars, forks, at: growth.at }), growth.seen)
}

fn series(
    reader: Reader<'_>,
    seen: &SeenDays,
    name: &str,
    (days, today): (Range<i32>, Day),
) -> Result<Option<RepoSeries>, StoreError> {
    let Some(id) = reader.repo_named(name)? else { return Ok(None) };
    let counts = reader.ledger_of(id, days.clone())?;
    let seen = seen.read(reader, days.clone(), today)?;
    let day = |(day, seen)| RepoDay {
        day: Day(day),
        counts: counts.get(&Day(day)).copied().unwrap_or_default(),
        seen,
    };
    Ok(Some(RepoSeries {
        id,
        name: reader.name_of_repo(id)?.unwrap_or_else(|| name.to_owned()),
        language: reader.language_of_repo(id)?,
        stated: None,
        seen: None,
        days: days.zip(seen).map(day).collect(),
    }))
}
