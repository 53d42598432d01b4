//! Sets up the second stage.

use std::sync::Arc;

use crate::clock::Clock;
use crate::collect::enrich::{Enrich, EnrichLookup};
use crate::collect::poller::Poller;
use crate::config::Config;
use crate::lists::Lists;
use crate::store::Store;

/// The second stage. A node that only follows a bus has no lookups.
pub(super) fn enrich_of(
    config: &Config,
    (store, lists): (&Store, &Arc<Lists>),
    poller: Option<&Poller>,
    clock: Clock,
) -> anyhow::Result<Enrich> {
    let github = &config.github;
    let asking = poller.filter(|_| github.enrich.enabled && github.enrich.budget > 0.0);
    let asking = asking
        .map(|poller| EnrichLookup::new(&github.graphql_url, &github.enrich, poller.pool(), clock));
    let lists = config.lists.commits.then(|| Arc::clone(lists));
    let lookup = asking.transpose()?;
    Ok(Enrich { lookup, lists, ..Enrich::without_asking(store.clone(), clock) })
}
