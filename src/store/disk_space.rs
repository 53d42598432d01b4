//! Room on the disk: below a reserve nothing is fetched any more, and a write that finds none waits
//! until there is some.
//!
//! A full disk mends itself when somebody makes room, so it is a state and not an end. `RocksDB`
//! stops writing when the disk is full, keeps serving reads, looks at the disk every few seconds,
//! and resumes; the writing thread tries the batch again until then.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::database::FAMILY_BUFFER_BYTES;

/// What is kept free for `RocksDB` to tidy itself up, on large disks.
const RESERVE_BYTES: u64 = 1 << 30;
/// On small disks one part in this many.
const RESERVE_SHARE: u64 = 20;
/// The least reserve: `RocksDB` resumes writing only when a write buffer's size is free.
const LEAST_RESERVE: u64 = 2 * FAMILY_BUFFER_BYTES as u64;
/// What pauses below the reserve resumes when a quarter more than that is free.
const RESUME_SHARE: u64 = 4;
/// Time between two tries to write on a full disk.
const AGAIN: Duration = Duration::from_secs(1);

/// Attempts to write while there is room after which the database is taken for stuck, and the
/// process ends to open it again.
const STUCK_AFTER: u32 = 30;

/// Bytes of a disk that are kept free.
#[must_use]
pub fn reserve(all: u64) -> u64 {
    RESERVE_BYTES.min(all / RESERVE_SHARE).max(LEAST_RESERVE)
}

/// What is known of the room on the disk of a store.
#[derive(Debug, Default)]
pub struct DiskSpace {
    /// Why nothing is fetched, if so.
    low: watch::Sender<Option<String>>,
    /// Whether a write waits for room.
    is_full: watch::Sender<bool>,
    /// Writes that failed one after another although there is room.
    stuck_tries: AtomicU32,
    is_closing: Mutex<bool>,
    closes: Condvar,
}

impl DiskSpace {
    /// Tells how many bytes of the disk are free, of how many.
    pub fn measured(&self, dir: &Path, free: u64, all: u64) {
        let reserve = reserve(all);
        let is_low = self.low.borrow().is_some();
        let least = if is_low { reserve.saturating_add(reserve / RESUME_SHARE) } else { reserve };
        if free < least {
            let (free, reserve, dir) = (free >> 20, reserve >> 20, dir.display());
            let text = format!(
                "fetching is paused: {free} MiB are free on the disk of {dir}, and {reserve} MiB \
                 are kept in reserve; make room, or lower store.journal.bytes"
            );
            if !is_low {
                tracing::warn!("{text}");
            }
            self.low.send_replace(Some(text));
        } else if is_low {
            tracing::info!("there is room on the disk again: fetching resumed");
            self.low.send_replace(None);
        }
    }

    /// Waits until there is more room than the reserve.
    pub async fn wait(&self) {
        let mut low = self.low.subscribe();
        // The sender lives as long as this does.
        let _ = low.wait_for(Option::is_none).await;
    }

    /// Why something waits, for a person; `None` when there is room.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let low = self.low.borrow().clone();
        if *self.is_full.borrow() {
            let full = "the disk is full: writing waits, and resumes when there is room";
            return Some(low.map_or_else(|| full.to_owned(), |low| format!("{full}; {low}")));
        }
        low
    }

    /// Whether the free space is below the reserve.
    pub(super) fn is_low(&self) -> bool {
        self.low.borrow().is_some()
    }

    /// Whether a write found the disk full and none has succeeded since.
    pub(super) fn is_full(&self) -> bool {
        *self.is_full.borrow()
    }

    /// A write found the disk full.
    pub(super) fn found_full(&self) {
        if !self.is_full.send_replace(true) {
            tracing::error!("the disk is full: writing waits until there is room");
        }
    }

    /// Waits a moment before the next attempt to write. False when nothing waits for the write any
    /// more, because the store is being closed, or because the database does not write again
    /// although there is room: then the process has to end, and the next one loses nothing. Blocks.
    pub(super) fn wait_to_write(&self) -> bool {
        if self.is_low() {
            self.stuck_tries.store(0, Ordering::Relaxed);
        } else if self.stuck_tries.fetch_add(1, Ordering::Relaxed) >= STUCK_AFTER {
            tracing::error!(
                "there is room on the disk again, and the database does not write: starting again \
                 is the cure, and loses nothing"
            );
            return false;
        }
        self.wait_a_moment()
    }

    /// Waits a moment; false when the store is being closed. Blocks.
    pub(super) fn wait_a_moment(&self) -> bool {
        let closing = self.closing();
        let waited = self.closes.wait_timeout_while(closing, AGAIN, |closing| !*closing);
        let (closing, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*closing
    }

    /// A write found room.
    pub(super) fn wrote(&self) {
        self.stuck_tries.store(0, Ordering::Relaxed);
        if self.is_full() {
            self.is_full.send_replace(false);
            tracing::info!("there is room on the disk again: writing resumed");
        }
    }

    /// Ends the waiting of writes.
    pub(super) fn close(&self) {
        *self.closing() = true;
        self.closes.notify_all();
    }

    fn closing(&self) -> MutexGuard<'_, bool> {
        self.is_closing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
