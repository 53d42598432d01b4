//! Follows the script's file: what is saved is in force within two seconds.
//!
//! The folder is watched, not the file: editors replace a file by renaming another over it, and
//! deployments swap a symbolic link. Where the system tells nothing (no inotify left, a network
//! file system, a folder that appears later), a look at the text once a second does the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::host::ScriptHost;
use crate::clock::Clock;
use crate::model::tally::WindowSnapshot;

/// How long a save is left to finish before it is read: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(200);
/// How often the text is looked at when nobody tells of a change.
const LOOK: Duration = Duration::from_secs(1);

/// The stage that puts what is saved into force, until `stop`.
///
/// `live` gives the window as it is now, for the trial, if there is one; `keep` is told each text
/// that came into force, to store it as the last good one. Both are called on a blocking thread.
pub async fn watch<L, K>(
    host: Arc<ScriptHost>,
    path: PathBuf,
    live: L,
    keep: K,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()>
where
    L: Fn() -> Option<WindowSnapshot> + Send + Sync + 'static,
    K: Fn(&str) + Send + Sync + 'static,
{
    let changed = Arc::new(Notify::new());
    let tools = Arc::new((host, path, live, keep));
    let mut watcher = None;
    while !stop.is_cancelled() {
        let same = Arc::clone(&tools);
        // Attached before the text is read, so that nothing saved in between is missed.
        if watcher.is_none() {
            watcher = attach(&tools.1, &changed);
        }
        tokio::task::spawn_blocking(move || {
            let (host, path, live, keep) = &*same;
            if let Some(text) = host.refresh(path, live) {
                keep(&text);
            }
        })
        .await
        .context("looking at the merge script")?;
        tokio::select! {
            () = stop.cancelled() => break,
            () = clock.sleep(LOOK) => {}
            () = changed.notified() => clock.sleep(SETTLE).await,
        }
    }
    Ok(())
}

/// Begins to watch the folder; `None` when that is not possible now.
fn attach(path: &Path, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let told = Arc::clone(changed);
    let tell = move |event: notify::Result<Event>| {
        // Reading the file is told too; only what may have changed it is of interest.
        let written = AccessKind::Close(AccessMode::Write);
        if event.is_ok_and(|e| !e.kind.is_access() || e.kind == EventKind::Access(written)) {
            told.notify_one();
        }
    };
    let attached = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    attached.inspect_err(|error| debug!(folder = %folder.display(), %error, "not watched")).ok()
}
