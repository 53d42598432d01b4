//! Named places where a test lets the process die, to see that the next start goes on.
//!
//! `GHPULSE_FAULT=ingest.before_commit:3` ends the process, without any clean-up, the third time
//! that place is passed. Without the variable a place costs one load of a flag.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every place that can be named; `tests/it/crash.rs` goes through all of them.
pub const POINTS: &[&str] = &[
    "ingest.before_commit",
    "ingest.after_commit",
    "enrich.waiting",
    "enrich.before_commit",
    "enrich.after_commit",
    "apply.before_commit",
    "apply.after_commit",
    "store.after_write",
    "store.before_sync",
    "retention.before_commit",
    "archive.before_commit",
    "archive.after_commit",
    "export.before_rename",
    "backup.before_rename",
    "restore.before_rename",
    "requeue.before_commit",
    "requeue.after_commit",
];

struct Armed {
    point: String,
    left: AtomicU64,
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Dies here when this place is armed. The name must be one of [`POINTS`].
pub fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "unlisted fault point {name}");
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("GHPULSE_FAULT").ok()?;
        let (point, times) = text.split_once(':').unwrap_or((&text, "1"));
        let left = AtomicU64::new(times.parse().unwrap_or(1));
        Some(Armed { point: point.to_owned(), left })
    });
    if let Some(armed) = armed
        && armed.point == name
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}
