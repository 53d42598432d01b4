//! Fault points: named places where a test can kill the process, to check that the next start
//! recovers.
//!
//! `GHPULSE_FAULT=ingest.before_commit:3` aborts the process, without any clean-up, when it passes
//! that point for the third time. Without the variable a point costs one load of a flag.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// All fault points; `tests/it/crash.rs` goes through all of them.
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
    "export.columns_before_rename",
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

/// Aborts the process when this point is armed. The name must be one of [`POINTS`].
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
