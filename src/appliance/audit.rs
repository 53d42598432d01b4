//! The audit, and the repositories that it watches because people look at them.

use std::sync::Arc;

use super::ledger::Rankings;
use crate::clock::Clock;
use crate::collect::audit::Audit;
use crate::collect::poller::Poller;
use crate::config::Config;
use crate::lists::{ListedName, Lists};
use crate::model::ledger::{RankedBy, RankedWindow};
use crate::model::position::BusTag;
use crate::model::privacy::Privacy;
use crate::store::{Reader, Store, StoreError};

/// The first of each ranking whose totals are asked for.
const FIRST: usize = 10;
/// The most repositories whose totals are asked for.
const WATCHED: usize = 500;
/// The most names on lists that are looked up for it.
const LOOKUPS: usize = 5_000;

/// The audit; only a collector that polls with tokens has one.
pub(super) fn of(
    config: &Config,
    poller: Option<&Poller>,
    bus: (Store, BusTag),
    (rankings, lists): (Rankings, Arc<Lists>),
    clock: Clock,
) -> anyhow::Result<Option<Audit>> {
    let github = &config.github;
    let Some(poller) = poller.filter(|_| github.audit.budget > 0.0) else { return Ok(None) };
    let privacy = Arc::clone(bus.0.privacy());
    let options = (&*github.graphql_url, &github.audit);
    let audit = Audit::new(options, bus, poller.pool(), clock)?;
    let watched = move |reader: Reader<'_>| watched(reader, (&rankings, &lists, &privacy));
    Ok(Some(audit.watching(Arc::new(watched))))
}

/// The repositories whose totals people look at: the first of each ranking, then those that lists
/// name, complete ones first. Ids and names.
fn watched(
    reader: Reader<'_>,
    (rankings, lists, privacy): (&Rankings, &Lists, &Privacy),
) -> Result<Vec<(u64, String)>, StoreError> {
    let mut watched = Vec::new();
    let mut add = |id: u64, name: String| {
        let is_new = watched.iter().all(|(known, _)| *known != id);
        if is_new && !privacy.leaves_out(None, None, Some(&name)) {
            watched.push((id, name));
        }
        watched.len() < WATCHED
    };
    for (window, by) in RankedWindow::ALL
        .into_iter()
        .flat_map(|window| RankedBy::ALL.into_iter().map(move |by| (window, by)))
    {
        let Some(ranking) = rankings.of(window) else { continue };
        for repo in ranking.top(reader, by, None, FIRST)?.repos {
            repo.name.map(|name| add(repo.id, name));
        }
    }
    let mut lists = lists.all();
    lists.sort_by_key(|list| !list.names().is_complete());
    let mut looked = 0;
    for list in lists {
        let names = list.names();
        let mut repos: Vec<_> = names.iter().filter_map(ListedName::into_repo).collect();
        repos.sort_unstable();
        for name in repos {
            looked += 1;
            if looked > LOOKUPS {
                return Ok(watched);
            }
            let Some(id) = reader.repo_named(&name)? else { continue };
            let name = reader.name_of_repo(id)?.unwrap_or_else(|| name.into());
            if !add(id, name) {
                return Ok(watched);
            }
        }
    }
    Ok(watched)
}
