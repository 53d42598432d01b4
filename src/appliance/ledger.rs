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

use crate::clock::Clock;
use crate::collect::audit::AuditReading;
use crate::model::ledger::{MOST_RANKED, RankedWindow, RepoDay, RepoSeries, StatedTotals};
use crate::model::window::Day;
use crate::serve::{LedgerAnswer, LedgerQuery, OpsError};
use crate::store::ledger::rank::Ranking;
use crate::store::{Reader, Store, StoreError};
use crate::sync::lock;

/// A ranking is computed again after this many times the time it took: it takes at most 2 % of a
/// core.
const SHARE: u32 = 50;
/// How often the task looks what is due.
const LOOK: Duration = Duration::from_secs(1);

/// The last ranking of each window. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Rankings(Arc<Mutex<HashMap<RankedWindow, Arc<Ranking>>>>);

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

/// Computes the rankings until `stop` is cancelled.
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
            // Without the time in which it waits for a thread.
            let timed = move |reader: Reader<'_>| {
                let (ranking, took) = clock.time(|| Ranking::compute(reader, window, now));
                Ok((ranking?, took))
            };
            let (ranking, took) = store.read(timed).await?;
            let least = pause(window, ranking.is_empty());
            lock(&rankings.0).insert(window, Arc::new(ranking));
            due.insert(window, clock.instant() + least.max(took * SHARE));
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = clock.sleep(LOOK) => {}
        }
    }
}

/// Answers a query. What is left out now is unknown here, also where an archive counted it or it
/// was counted before it was left out.
pub(super) async fn answer(
    store: Store,
    (rankings, audit): (Rankings, Option<AuditReading>),
    query: LedgerQuery,
) -> Result<LedgerAnswer, OpsError> {
    let audited = audit.and_then(|audit| audit.borrow().clone());
    let excluded = store.privacy().excluded();
    let is_excluded = move |name: &str| excluded.hold(None, None, Some(name));
    let read = store.read(move |reader| match query {
        LedgerQuery::Repo { name, days } => {
            let series = series(reader, &name, days)?;
            let series = series.filter(|series| !is_excluded(&name) && !is_excluded(&series.name));
            let Some(mut series) = series else { return Ok(LedgerAnswer::Nothing) };
            let growth = audited.and_then(|report| report.repos.get(&series.id).copied());
            series.seen = growth.and_then(|growth| growth.seen);
            series.stated = growth.map(|growth| StatedTotals {
                stars: growth.stars.into(),
                forks: growth.forks.into(),
                at: growth.at,
            });
            Ok(LedgerAnswer::Repo(series))
        }
        LedgerQuery::Top { by, window, language, most } => {
            let ranking = lock(&rankings.0).get(&window).cloned();
            let Some(ranking) = ranking else { return Ok(LedgerAnswer::Nothing) };
            let mut top = ranking.top(reader, by, language.as_deref(), MOST_RANKED)?;
            top.repos.retain(|repo| !repo.name.as_deref().is_some_and(&is_excluded));
            top.repos.truncate(most);
            Ok(LedgerAnswer::Top(top))
        }
    });
    // The disk's error message is not exposed to clients.
    read.await.map_err(|error: StoreError| {
        tracing::error!(%error, "the ledger cannot be read");
        OpsError { is_io: true, reason: "the ledger cannot be read now".to_owned() }
    })
}

fn series(
    reader: Reader<'_>,
    name: &str,
    days: Range<i32>,
) -> Result<Option<RepoSeries>, StoreError> {
    let Some(id) = reader.repo_named(name)? else { return Ok(None) };
    let counts = reader.ledger_of(id, days.clone())?;
    let seen = reader.days_seen(days.clone())?;
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
