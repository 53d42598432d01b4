//! Opens the store, and commits batches through its writer thread.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::batch::Batch;
use super::database::Database;
use super::disk_space::DiskSpace;
use super::error::StoreError;
use super::identity::{bus_tag, store_id};
use super::journal::DROPPED;
use super::keys::MetaKey;
use super::paths::StorePaths;
use super::reader::Reader;
use super::unclean::{LastWrite, LostTail};
use super::watermarks::{ADMISSIONS, BACKLOG, ENTRIES, Watermarks};
use super::writer::{CloseReason, WriteJob};
use super::{lock, pressure, writer};
use crate::clock::Clock;
use crate::config::Durability;
use crate::model::position::BusTag;
use crate::model::privacy::Privacy;
use crate::private;
use crate::sync::{Stopping, blocking};

/// Time for other users of a store that is being closed.
const LET_GO: Duration = Duration::from_secs(5);

/// The open store. Clones share it; dropping the last one closes it.
#[derive(Clone)]
pub struct Store {
    pub(super) shared: Arc<OpenStore>,
}

pub(super) struct OpenStore {
    pub(super) database: Arc<Database>,
    jobs: Option<mpsc::Sender<WriteJob>>,
    thread: Option<std::thread::JoinHandle<()>>,
    bus_tag: BusTag,
    id: String,
    written: Arc<LastWrite>,
    lost: Option<LostTail>,
    watermarks: Watermarks,
    disk_space: Arc<DiskSpace>,
    paths: StorePaths,
    failure: CloseReason,
    clock: Clock,
    _lock: lock::Lock,
    /// Dropped last: what waits for it sees that the store is closed.
    is_open: watch::Sender<()>,
}

impl Store {
    /// Opens the store in `dir`, and creates both when they do not exist. Blocks.
    ///
    /// # Errors
    /// When another process has the store, it has another version, or the database fails.
    pub fn open(dir: &Path, sync: Durability, clock: Clock) -> Result<Self, StoreError> {
        Self::open_within(dir, sync, None, clock)
    }

    /// As [`Self::open`], and keeps about this many of its tables open at once; `None` means all.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_within(
        dir: &Path,
        sync: Durability,
        tables: Option<u32>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let lock = lock::Lock::take(dir, clock)?;
        lock::check_no_backup(dir)?;
        let data_dir = lock::expect_store(dir)?;
        let database = Arc::new(Database::open(dir, tables)?);
        let db = dir.join("db");
        private::hide_dir(&db).map_err(lock::file_error("hide", &db))?;
        let (written, lost) = LastWrite::begin(dir, &database, sync, clock.now())?;
        let written = Arc::new(written);
        let bus_tag = bus_tag(&database)?;
        let id = store_id(&database)?;
        data_dir.complete()?;
        let watermark = |name: &str| -> Result<watch::Sender<u64>, StoreError> {
            let count = database.count(&MetaKey(name.to_owned()))?;
            Ok(watch::Sender::new(u64::try_from(count).unwrap_or(0)))
        };
        let (inbox, outbox, backlog) =
            (watermark(ADMISSIONS)?, watermark(ENTRIES)?, watermark(BACKLOG)?);
        let dropped = database.cursors(DROPPED)?;
        let dropped = watch::Sender::new(dropped);
        let failure = Arc::new(OnceLock::new());
        let disk_space = Arc::new(DiskSpace::default());
        let log = (Arc::clone(&database), Arc::clone(&written), sync);
        let state = (Arc::clone(&failure), Arc::clone(&disk_space));
        let (jobs, thread) = writer::start(log, clock, state);
        let shared = OpenStore {
            database,
            jobs: Some(jobs),
            thread: Some(thread),
            bus_tag,
            id,
            written,
            lost,
            watermarks: Watermarks { inbox, outbox, backlog, dropped, ..Watermarks::default() },
            disk_space,
            paths: StorePaths::of(dir)?,
            failure,
            clock,
            _lock: lock,
            is_open: watch::Sender::new(()),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.shared.database.dir()
    }

    /// The tag of the embedded bus of this store.
    #[must_use]
    pub fn bus_tag(&self) -> BusTag {
        self.shared.bus_tag
    }

    /// What of the events is not passed on: nothing, until rules are set.
    #[must_use]
    pub fn privacy(&self) -> &Arc<Privacy> {
        &self.shared.database.privacy
    }

    /// The unique id of this store: 16 hexadecimal digits, chosen when it was created.
    #[must_use]
    pub fn store_id(&self) -> &str {
        &self.shared.id
    }

    /// The lost end of the write-ahead log, when a loss was noticed as the store was opened.
    #[must_use]
    pub fn lost_tail(&self) -> Option<&LostTail> {
        self.shared.lost.as_ref()
    }

    /// Free space on the disk, and whether polling or writing waits for it.
    #[must_use]
    pub fn disk_space(&self) -> &DiskSpace {
        &self.shared.disk_space
    }

    /// Whether the data directory is still the one that was opened.
    #[must_use]
    pub fn paths(&self) -> &StorePaths {
        &self.shared.paths
    }

    /// Whether `RocksDB` keeps up with the writes.
    #[must_use]
    pub fn pressure(&self) -> pressure::Pressure {
        pressure::of(&self.shared.database)
    }

    /// Allows the journal to be compacted: it has been read once.
    pub fn journal_was_read(&self) -> Result<(), StoreError> {
        self.shared.database.allow_journal_compaction()
    }

    /// Whether a part of the journal is damaged. Subscribers get a gap there.
    #[must_use]
    pub fn is_journal_damaged(&self) -> bool {
        self.shared.database.is_journal_damaged()
    }

    /// The progress of the stages. A stage advances its watermark after its commit.
    #[must_use]
    pub fn watermarks(&self) -> &Watermarks {
        &self.shared.watermarks
    }

    /// Runs `work` on the writer thread and commits what it wrote, all or nothing. Returns after
    /// the sync that [`Durability`] asks for.
    ///
    /// # Errors
    /// An error of `work` closes the store, since it means that the store itself is broken. Every
    /// later commit fails with the same error.
    pub async fn commit<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let gaps = self.shared.watermarks.gaps.clone();
        // The caller may have gone; the batch is committed all the same.
        let now = self.shared.clock.now();
        let job: WriteJob = Box::new(move |batch| {
            batch.now = now;
            match work(batch) {
                Ok(result) => {
                    let finds_gap = batch.finds_gap;
                    Ok(Box::new(move |written: Result<(), StoreError>| {
                        if finds_gap && written.is_ok() {
                            gaps.send_modify(|found| *found += 1);
                        }
                        let _ = sender.send(written.map(|()| result));
                    }))
                }
                Err(error) => {
                    let _ = sender.send(Err(error.again()));
                    Err(error)
                }
            }
        });
        let closed = || self.shared.failure.get().map_or(StoreError::Closed, StoreError::again);
        let jobs = self.shared.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(job).await.map_err(|_| closed())?;
        receiver.await.map_err(|_| closed())?
    }

    /// Runs `work`, which may block, on the blocking pool.
    pub async fn read<R: Send + 'static>(
        &self,
        work: impl FnOnce(Reader<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let store = self.clone();
        blocking(move || work(store.reader())).await?
    }

    /// Writes a row of the family `meta`, or removes it. Blocks: call it on the blocking pool.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn keep(&self, key: MetaKey, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let kept = self.commit(move |batch| {
            match value {
                Some(value) => batch.put(&key, &value),
                None => batch.delete(&key),
            }
            Ok(())
        });
        tokio::runtime::Handle::current().block_on(kept)
    }

    /// A reader for code that may block.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        &self.shared.database
    }

    /// Closes the store: gives up writes that wait for space, and waits up to five seconds for
    /// other users of the store, such as requests that were dropped.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn close(self) -> Result<(), Stopping> {
        // Users that wait for such a write would never let go of the store.
        self.shared.give_up_waiting();
        let mut is_open = self.shared.is_open.subscribe();
        // Closing waits for RocksDB's background work.
        blocking(move || drop(self)).await?;
        if tokio::time::timeout(LET_GO, is_open.changed()).await.is_err() {
            tracing::warn!("the store is in use until the process ends, and is not closed before");
        }
        Ok(())
    }
}

impl OpenStore {
    /// Ends the waiting of writes for space.
    fn give_up_waiting(&self) {
        self.disk_space.close();
        if self.disk_space.is_full() || self.disk_space.is_low() {
            // A write that RocksDB holds back until there is space would never end.
            self.database.stop_waiting();
        }
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        drop(self.jobs.take());
        self.give_up_waiting();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer thread of the store panicked");
        } else if self.failure.get().is_none() {
            self.written.end(self.database.sequence());
        }
        self.database.close();
    }
}

/// A new store for a test, in a directory that is removed when the first part is dropped.
#[cfg(test)]
pub(crate) fn new_store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system());
    (dir, store.expect("a new store opens"))
}
