//! Follows the merge script's file: a saved script is in force within two seconds.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::host::{self, ScriptHost};
use crate::clock::Clock;
use crate::model::tally::WindowSnapshot;
use crate::reload;

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);
/// Time for which a new text must stay the same: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(200);

/// The stage that puts saved scripts into force, until `stop` is cancelled.
///
/// `live` returns the current window for the trial, if there is one; `keep` receives each text that
/// came into force, to store it as the last good one. Both are called on the blocking pool.
pub async fn watch<L, K>(
    host: Arc<ScriptHost>,
    path: PathBuf,
    live: L,
    keep: K,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()>
where
    L: Fn() -> Option<WindowSnapshot> + Send + 'static,
    K: Fn(&str) + Send + 'static,
{
    let mut last = None;
    let look = move |_| {
        let now = host::read(&path);
        if last.as_ref() != Some(&now) {
            last = Some(now);
            return SETTLE;
        }
        if let Some(text) = host.refresh(&path, |_| live()) {
            keep(&text);
        }
        LOOK
    };
    reload::follow(look, clock, stop).await
}
