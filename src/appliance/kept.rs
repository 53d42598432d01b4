//! Reads counts by time for the server.

use std::sync::Arc;

use crate::apply::numbers::NodeCounters;
use crate::model::activity::Span;
use crate::model::window::{Timestamp, Window};
use crate::serve::{KeptCounts, KeptQuery, LanguageCounts, OpsError};
use crate::store::{Reader, Store, StoreError, charts};

/// Maximum number of missing minutes for the counts of a window to count as complete.
const MISSING: usize = 2;

/// Answers a query. `since` is when this node began to run.
pub(super) async fn answer(
    (store, numbers): (Store, Arc<NodeCounters>),
    (now, since): (Timestamp, Timestamp),
    query: KeptQuery,
) -> Result<KeptCounts, OpsError> {
    let read = store.read(move |reader| match query {
        KeptQuery::Recent => charts::recent(reader, now, since).map(KeptCounts::Chart),
        KeptQuery::Day => charts::day(reader, now, since).map(KeptCounts::Chart),
        KeptQuery::Completeness(hours) => {
            let shares = reader.audit_shares(hours.clone())?;
            let hours = charts::completeness(reader, hours)?;
            Ok(KeptCounts::Completeness(hours, shares))
        }
        KeptQuery::Hours(hours) => charts::counted_hours(reader, hours).map(KeptCounts::Hours),
        KeptQuery::Imported(hours) => reader.imported_hours(hours).map(KeptCounts::Imported),
        KeptQuery::Languages => {
            let window = numbers.window(now.second());
            let (now, before) = (window.sum(), window.sum_previous());
            let whole = was_counted(reader, window.window().previous())?;
            let seconds = u32::try_from(window.window().len()).unwrap_or(u32::MAX);
            let before = whole.then_some(before);
            Ok(KeptCounts::Languages(LanguageCounts { seconds, now, before }))
        }
    });
    // The disk's error message is not exposed to clients.
    read.await.map_err(|error: StoreError| {
        tracing::error!(%error, "kept counts cannot be read");
        OpsError { is_io: true, reason: "the kept counts cannot be read now".to_owned() }
    })
}

/// Whether this node, or a collector before it, counted throughout a window.
fn was_counted(reader: Reader<'_>, window: Window) -> Result<bool, StoreError> {
    let minutes = window.from.0.div_euclid(60)..window.until.0.div_euclid(60);
    let watched = reader.coverage(Span::Minute, minutes.clone())?;
    let received = reader.activity(Span::Minute, minutes.clone())?;
    let missing = minutes.filter(|at| !watched.contains_key(at) && !received.contains_key(at));
    Ok(missing.count() <= MISSING)
}
