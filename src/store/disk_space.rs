//! Free space on the disk: below a reserve, polling pauses; on a full disk, writes wait.
//!
//! A full disk is a state and not a failure, because it ends when space is freed. `RocksDB`
//! stops writing, keeps serving reads, checks the disk every few seconds, and resumes; the writer
//! thread retries the batch until then.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::database::FAMILY_BUFFER_BYTES;
use crate::sync::lock;

/// The reserve on large disks, in bytes; `RocksDB` needs it for compaction.
const RESERVE_BYTES: u64 = 1 << 30;
/// The reserve on small disks is the disk's size divided by this.
const RESERVE_SHARE: u64 = 20;
/// The least reserve: `RocksDB` resumes writing only when a write buffer's size is free.
const LEAST_RESERVE: u64 = 2 * FAMILY_BUFFER_BYTES as u64;
/// Polling resumes when the reserve, and the reserve divided by this, is free.
const RESUME_SHARE: u64 = 4;
/// Time between two attempts to write on a full disk.
const AGAIN: Duration = Duration::from_secs(1);

/// Failed attempts to write while there is space after which the database counts as stuck, and the
/// process ends to open it again.
const STUCK_AFTER: u32 = 30;

/// The reserve of a disk of `all` bytes.
#[must_use]
pub fn reserve(all: u64) -> u64 {
    RESERVE_BYTES.min(all / RESERVE_SHARE).max(LEAST_RESERVE)
}

/// The state of the free space on the disk of a store.
#[derive(Debug, Default)]
pub struct DiskSpace {
    /// Why polling is paused, if it is.
    low: watch::Sender<Option<String>>,
    /// Whether a write waits for space.
    is_full: watch::Sender<bool>,
    /// Consecutive attempts to write or sync that failed although there is space.
    stuck_tries: AtomicU32,
    is_closing: Mutex<bool>,
    closes: Condvar,
}

impl DiskSpace {
    /// Records a measurement: `free` of `all` bytes of the disk that holds `dir`.
    pub fn measured(&self, dir: &Path, free: u64, all: u64) {
        let reserve = reserve(all);
        let is_low = self.low.borrow().is_some();
        let least = if is_low { reserve.saturating_add(reserve / RESUME_SHARE) } else { reserve };
        if free < least {
            let (free, reserve, dir) = (free >> 20, reserve >> 20, dir.display());
            let text = format!(
                "polling paused: {free} MiB are free on the disk of {dir}, below the reserve of \
                 {reserve} MiB; free some space, or lower store.journal.bytes"
            );
            if !is_low {
                tracing::warn!("{text}");
            }
            self.low.send_replace(Some(text));
        } else if is_low {
            tracing::info!("polling resumed: the disk has free space again");
            self.low.send_replace(None);
        }
    }

    /// Waits until more than the reserve is free.
    pub async fn wait(&self) {
        let mut low = self.low.subscribe();
        // The sender lives as long as this does.
        let _ = low.wait_for(Option::is_none).await;
    }

    /// Why polling or writing waits, for operators; `None` when neither does.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let low = self.low.borrow().clone();
        if *self.is_full.borrow() {
            let full = "the disk is full: writes wait, and resume when there is free space";
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

    /// Records that a write found the disk full.
    pub(super) fn found_full(&self) {
        if !self.is_full.send_replace(true) {
            tracing::error!("the disk is full: writes wait until there is free space");
        }
    }

    /// Waits a moment before the next attempt to write. Returns false to give the write up: when
    /// the store is being closed, or when the database does not write although there is space, so
    /// that the process has to restart, which loses nothing. Blocks.
    pub(super) fn wait_to_write(&self) -> bool {
        if self.is_low() {
            self.stuck_tries.store(0, Ordering::Relaxed);
        } else if self.stuck_tries.fetch_add(1, Ordering::Relaxed) >= STUCK_AFTER {
            tracing::error!(
                "the database does not write, though the disk seems to have free space: stopping, \
                 so that a restart reopens it; nothing is lost; if this repeats, look for a quota \
                 or a lack of inodes"
            );
            return false;
        }
        self.wait_a_moment()
    }

    /// Waits a moment; false when the store is being closed. Blocks.
    pub(super) fn wait_a_moment(&self) -> bool {
        let closing = lock(&self.is_closing);
        let waited = self.closes.wait_timeout_while(closing, AGAIN, |closing| !*closing);
        let (closing, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*closing
    }

    /// Records that what waited, a batch or a sync, is done. An empty batch that only shows whether
    /// the database writes again is not: a sync may fail after it, again and again.
    pub(super) fn done(&self) {
        self.stuck_tries.store(0, Ordering::Relaxed);
    }

    /// Records that the database writes.
    pub(super) fn wrote(&self) {
        if self.is_full() {
            self.is_full.send_replace(false);
            tracing::info!("writes resumed: the disk has free space again");
        }
    }

    /// Ends the waiting of writes, because the store is being closed.
    pub(super) fn close(&self) {
        *lock(&self.is_closing) = true;
        self.closes.notify_all();
    }
}

#[cfg(test)]
mod tests;
