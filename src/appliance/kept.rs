//! Reads counts by time for the server.

use crate::apply::numbers::NodeCounters;
use crate::logging::line_limit::LineLimit;
use crate::model::activity::Span;
use crate::model::window::{Timestamp, Window};
use crate::serve::{LanguageCounts, OpsError, StoreReading};
use crate::store::{Reader, Store, StoreError};

/// Maximum number of missing minutes for the counts of a window to count as complete.
const MISSING: usize = 2;
/// Lines that say that something cannot be read; each request can cause one.
static UNREADABLE: LineLimit = LineLimit::per_minute(10);

/// Reads from the store. The disk's error message is not exposed to clients.
pub(super) fn read<T: Send + 'static>(
    store: &Store,
    what: &'static str,
    work: impl FnOnce(Reader<'_>) -> Result<T, StoreError> + Send + 'static,
) -> StoreReading<T> {
    let store = store.clone();
    Box::pin(async move {
        store.read(work).await.map_err(|error| {
            UNREADABLE.log(|left_out| tracing::error!(%error, left_out, "{what} cannot be read"));
            OpsError { is_io: true, reason: format!("{what} cannot be read now") }
        })
    })
}

/// Pull-request events by language, in the rolling window and the previous one.
pub(super) fn languages(
    reader: Reader<'_>,
    numbers: &NodeCounters,
    now: Timestamp,
) -> Result<LanguageCounts, StoreError> {
    let window = numbers.window(now.second());
    let (now, before) = (window.sum(), window.sum_previous());
    let whole = was_counted(reader, window.window().previous())?;
    let seconds = u32::try_from(window.window().len()).unwrap_or(u32::MAX);
    Ok(LanguageCounts { seconds, now, before: whole.then_some(before) })
}

/// Whether this node, or a collector before it, counted throughout a window.
fn was_counted(reader: Reader<'_>, window: Window) -> Result<bool, StoreError> {
    let minutes = window.from.0.div_euclid(60)..window.until.0.div_euclid(60);
    let watched = reader.coverage(Span::Minute, minutes.clone())?;
    let received = reader.activity(Span::Minute, minutes.clone())?;
    let missing = minutes.filter(|at| !watched.contains_key(at) && !received.contains_key(at));
    Ok(missing.count() <= MISSING)
}
