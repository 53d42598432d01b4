//! The writer thread, and the thread that syncs.
//!
//! Stages send jobs. The writer thread runs each job on a batch of its own and writes the batch;
//! the sync thread syncs the write-ahead log as [`Durability`] asks, and then completes the
//! commits. Meanwhile the next batches are written, and those that wait together share one sync.
//! The log keeps their order, so a power cut always leaves a prefix of what was written. There is
//! only one writer thread, so that claims need no lock and counters can be cached.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::batch::{Batch, CounterCache};
use super::database::Database;
use super::disk_space::DiskSpace;
use super::error::StoreError;
use super::unclean::LastWrite;
use crate::clock::Clock;
use crate::config::Durability;
use crate::sync::lock;
use crate::{fault, metrics};

/// Jobs that may wait. A stage sends one and waits for it, so the queue is never full.
const QUEUE: usize = 64;
/// Most batches that share one sync.
const GROUP: usize = 32;

/// Reports the result of a commit to the caller.
pub(super) type OnWritten = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// A job of the writer thread. It returns the callback for when its batch is written.
pub(super) type WriteJob = Box<dyn FnOnce(&mut Batch<'_>) -> Result<OnWritten, StoreError> + Send>;
/// The error that closed the store, if there is one.
pub(super) type CloseReason = Arc<OnceLock<StoreError>>;

/// The database, its durability, and the record of the last write.
#[derive(Clone)]
struct SyncedLog {
    database: WaitingDatabase,
    reached: Arc<LastWrite>,
    sync: Durability,
}

/// A batch that is written and not yet synced.
struct UnsyncedBatch {
    answer: OnWritten,
    began: Instant,
    /// Number of rows.
    rows: usize,
    /// Whether its commit returns only after a sync.
    is_awaited: bool,
}

pub(super) fn start(
    (database, reached, sync): (Arc<Database>, Arc<LastWrite>, Durability),
    clock: Clock,
    (failure, disk_space): (CloseReason, Arc<DiskSpace>),
) -> (mpsc::Sender<WriteJob>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (written, to_sync) = std::sync::mpsc::sync_channel(QUEUE);
    let turn = Arc::default();
    let log = SyncedLog { database: WaitingDatabase { database, disk_space, turn }, reached, sync };
    let syncing = {
        let (log, failure) = (log.clone(), Arc::clone(&failure));
        spawn("store-sync", move || sync_batches(&log, clock, &to_sync, &failure))
    };
    let writing = spawn("store", move || {
        write(&log, clock, receiver, &written, &failure);
        drop(written);
        if syncing.join().is_err() {
            tracing::error!("the sync thread of the store panicked");
        }
    });
    (sender, writing)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.expect("a thread can be started")
}

/// A database whose writes wait while the disk is full.
///
/// `RocksDB` resumes automatically when there is space, unless its log is synced after a write to
/// it has failed: then it must be opened again before it writes. So a sync never begins while a
/// write runs or waits for space.
#[derive(Clone)]
struct WaitingDatabase {
    database: Arc<Database>,
    disk_space: Arc<DiskSpace>,
    /// Held by a write, and by a sync until it has begun.
    turn: Arc<Mutex<()>>,
}

impl WaitingDatabase {
    /// Writes a batch. On a full disk nothing of it is written, so it can be retried.
    fn write(&self, batch: rocksdb::WriteBatch) -> Result<(), StoreError> {
        // Writing consumes the batch. The copy is cheap compared with the write.
        let copy = batch.data().to_vec();
        let mut batch = Some(batch);
        loop {
            let batch = batch.take().unwrap_or_else(|| rocksdb::WriteBatch::from_data(&copy));
            match self.try_write(batch) {
                Err(StoreError::Full { .. }) if self.disk_space.wait_to_write() => {}
                result => {
                    self.disk_space.done();
                    return result;
                }
            }
        }
    }

    fn try_write(&self, batch: rocksdb::WriteBatch) -> Result<(), StoreError> {
        let turn = lock(&self.turn);
        let result = self.database.write(batch);
        match &result {
            Ok(()) => self.disk_space.wrote(),
            Err(StoreError::Full { .. }) => self.disk_space.found_full(),
            Err(_) => {}
        }
        drop(turn);
        result
    }

    /// Syncs the log. On a full disk it waits until a write has succeeded: earlier writes are in
    /// tables by then.
    fn sync(&self) -> Result<(), StoreError> {
        let mut was_full_here = false;
        loop {
            let turn = lock(&self.turn);
            if self.disk_space.is_full() {
                drop(turn);
            } else {
                // Near the end of the disk the next write may fail while the sync begins.
                let _turn = self.disk_space.is_low().then_some(turn);
                match self.database.sync() {
                    Err(StoreError::Full { .. }) => self.disk_space.found_full(),
                    result => {
                        self.disk_space.done();
                        return result;
                    }
                }
                was_full_here = true;
            }
            let waited = if was_full_here {
                self.disk_space.wait_to_write()
            } else {
                self.disk_space.wait_a_moment()
            };
            if !waited {
                return Err(StoreError::Full { dir: self.database.dir().to_owned() });
            }
            if self.disk_space.is_full() {
                // An empty batch shows whether the database has resumed.
                match self.try_write(rocksdb::WriteBatch::default()) {
                    Ok(()) | Err(StoreError::Full { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// Runs the writer thread until the channel is closed or a write fails.
fn write(
    log: &SyncedLog,
    clock: Clock,
    mut jobs: mpsc::Receiver<WriteJob>,
    written: &SyncSender<UnsyncedBatch>,
    failure: &OnceLock<StoreError>,
) {
    let mut counters = CounterCache::default();
    while let Some(job) = jobs.blocking_recv() {
        if failure.get().is_some() {
            return;
        }
        let began = clock.instant();
        match commit(log, &mut counters, job) {
            Ok((answer, rows, is_awaited)) => {
                if written.send(UnsyncedBatch { answer, began, rows, is_awaited }).is_err() {
                    return;
                }
            }
            Err(error) => {
                // Later jobs must not be written: they may depend on this one.
                tracing::error!(%error, "closing the store: a write failed");
                let _ = failure.set(error);
                return;
            }
        }
    }
}

/// Runs the sync thread: syncs and completes commits, until the writer stops or a sync fails.
fn sync_batches(
    log: &SyncedLog,
    clock: Clock,
    written: &Receiver<UnsyncedBatch>,
    failure: &OnceLock<StoreError>,
) {
    let SyncedLog { database, reached, sync } = log;
    let sync = *sync;
    let mut unsynced_since: Option<Instant> = None;
    loop {
        let next = match (sync, unsynced_since) {
            (Durability::Every(interval), Some(since)) => {
                written.recv_timeout(interval.saturating_sub(since.elapsed()))
            }
            _ => written.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let group: Vec<UnsyncedBatch> = match next {
            Ok(first) => std::iter::once(first).chain(written.try_iter()).take(GROUP).collect(),
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let since = *unsynced_since.get_or_insert_with(|| clock.instant());
        let due = match sync {
            Durability::EveryBatch => true,
            Durability::Every(interval) => {
                since.elapsed() >= interval || group.iter().any(|written| written.is_awaited)
            }
        };
        let mut synced = Ok(());
        if due {
            fault::point("store.before_sync");
            let sequence = database.database.sequence();
            synced = database.sync();
            unsynced_since = None;
            if synced.is_ok() && sync == Durability::EveryBatch {
                reached.reach(sequence);
            }
        }
        for UnsyncedBatch { answer, began, rows, .. } in group {
            let took = began.elapsed();
            metrics::COMMIT_SECONDS.record(took);
            tracing::debug!(rows, ?took, "batch committed");
            answer(synced.as_ref().map_or_else(|error| Err(error.again()), |()| Ok(())));
        }
        if let Err(error) = synced {
            tracing::error!(%error, "closing the store: cannot sync the write-ahead log");
            let _ = failure.set(error);
            return;
        }
    }
    if let Err(error) = database.sync() {
        tracing::error!(%error, "cannot sync the write-ahead log while closing the store");
    }
}

/// Writes the batch of a job; returns its callback, its number of rows, and whether to call back
/// only after a sync.
fn commit(
    log: &SyncedLog,
    counters: &mut CounterCache,
    job: WriteJob,
) -> Result<(OnWritten, usize, bool), StoreError> {
    let SyncedLog { database, reached, sync } = log;
    let mut batch = Batch::new(&database.database, counters);
    let answer = job(&mut batch)?;
    let is_awaited = batch.is_awaited;
    let writes = batch.finish();
    let rows = writes.len();
    if let Err(error) = database.write(writes) {
        if error.is_damage() {
            // A compaction met the damage. The next process does not compact the journal.
            database.database.mark_journal_damaged(&error);
        }
        answer(Err(error.again()));
        return Err(error);
    }
    if *sync != Durability::EveryBatch {
        // Visible to readers from now on, though not synced yet.
        reached.reach(database.database.sequence());
    }
    fault::point("store.after_write");
    Ok((answer, rows, is_awaited))
}
