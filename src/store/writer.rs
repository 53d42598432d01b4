//! The one writing thread, and the one that syncs behind it.
//!
//! Stages send work; the first thread runs each piece on a batch of its own and writes the batch,
//! the second syncs the write-ahead log as the policy says and answers. While it does, the next
//! pieces are written; those that wait together share one sync. The log keeps their order, so what
//! is there after a power cut is always the first part of what was written. One writing thread, so
//! that a claim is safe and counters can stay in memory.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Durability;
use super::batch::{Batch, Counters};
use super::database::Database;
use super::disk_space::DiskSpace;
use super::error::StoreError;
use super::unclean::Written;
use crate::clock::Clock;
use crate::{fault, metrics};

/// Pieces of work that may wait; a stage sends one and waits for it, so this is a formality.
const QUEUE: usize = 64;
/// Pieces that share one sync at most.
const GROUP: usize = 32;

/// Tells the sender what came of its work.
pub(super) type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// A piece of work; it gives back how to answer once the batch is written.
pub(super) type Job = Box<dyn FnOnce(&mut Batch<'_>) -> Result<Answer, StoreError> + Send>;
/// What closed the store, once something has.
pub(super) type Failure = Arc<OnceLock<StoreError>>;

/// The database with its log, and how far that is remembered.
#[derive(Clone)]
struct Log {
    database: Patient,
    reached: Arc<Written>,
    sync: Durability,
}

/// A piece that is written and waits for its sync.
struct Unsynced {
    answer: Answer,
    began: Instant,
    /// Whether it is answered only after a sync.
    is_awaited: bool,
}

pub(super) fn start(
    (database, reached, sync): (Arc<Database>, Arc<Written>, Durability),
    clock: Clock,
    (failure, room): (Failure, Arc<DiskSpace>),
) -> (mpsc::Sender<Job>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (written, to_sync) = std::sync::mpsc::sync_channel(QUEUE);
    let turn = Arc::default();
    let log = Log { database: Patient { database, room, turn }, reached, sync };
    let syncing = {
        let (log, failure) = (log.clone(), Arc::clone(&failure));
        spawn("store-sync", move || bring_to_disk(&log, clock, &to_sync, &failure))
    };
    let writing = spawn("store", move || {
        write(&log, clock, receiver, &written, &failure);
        drop(written);
        if syncing.join().is_err() {
            tracing::error!("the syncing thread panicked");
        }
    });
    (sender, writing)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.expect("a process that starts can start a thread")
}

/// The database, whose writes wait while the disk is full.
///
/// `RocksDB` resumes by itself when there is room, unless its log is synced after a write to it has
/// failed: then it writes no more until it is opened again. So a sync never begins while a write
/// runs or waits for room.
#[derive(Clone)]
struct Patient {
    database: Arc<Database>,
    room: Arc<DiskSpace>,
    /// Held by a write, and by a sync until it has begun.
    turn: Arc<Mutex<()>>,
}

impl Patient {
    /// Writes a batch. One that found no room was not written at all, so it can be tried again.
    fn write(&self, batch: rocksdb::WriteBatch) -> Result<(), StoreError> {
        // Writing takes the batch away; a copy costs little beside the log and the tables.
        let copy = batch.data().to_vec();
        let mut batch = Some(batch);
        loop {
            let batch = batch.take().unwrap_or_else(|| rocksdb::WriteBatch::from_data(&copy));
            match self.try_write(batch) {
                Err(StoreError::Full { .. }) if self.room.wait_to_write() => {}
                result => return result,
            }
        }
    }

    fn try_write(&self, batch: rocksdb::WriteBatch) -> Result<(), StoreError> {
        let turn = self.turn();
        let result = self.database.write(batch);
        match &result {
            Ok(()) => self.room.wrote(),
            Err(StoreError::Full { .. }) => self.room.found_full(),
            Err(_) => {}
        }
        drop(turn);
        result
    }

    /// Syncs the log. While the disk is full it waits until a write has succeeded: what was written
    /// before is in tables by then.
    fn sync(&self) -> Result<(), StoreError> {
        let mut was_full_here = false;
        loop {
            let turn = self.turn();
            if self.room.is_full() {
                drop(turn);
            } else {
                // Near the end of the disk the next write may fail while the sync begins.
                let _turn = self.room.is_low().then_some(turn);
                match self.database.sync() {
                    Err(StoreError::Full { .. }) => self.room.found_full(),
                    result => return result,
                }
                was_full_here = true;
            }
            let waited =
                if was_full_here { self.room.wait_to_write() } else { self.room.wait_a_moment() };
            if !waited {
                return Err(StoreError::Full { dir: self.database.dir().to_owned() });
            }
            if self.room.is_full() {
                // An empty batch shows whether the database has resumed.
                match self.try_write(rocksdb::WriteBatch::default()) {
                    Ok(()) | Err(StoreError::Full { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until nobody sends work any more, or something fails.
fn write(
    log: &Log,
    clock: Clock,
    mut jobs: mpsc::Receiver<Job>,
    written: &SyncSender<Unsynced>,
    failure: &OnceLock<StoreError>,
) {
    let mut counters = Counters::default();
    while let Some(job) = jobs.blocking_recv() {
        if failure.get().is_some() {
            return;
        }
        let began = clock.instant();
        match commit(log, &mut counters, job) {
            Ok((answer, is_awaited)) => {
                if written.send(Unsynced { answer, began, is_awaited }).is_err() {
                    return;
                }
            }
            Err(error) => {
                // Nothing that came after may be written: it would not know of this one.
                tracing::error!(%error, "a write to the store failed; the store is closed");
                let _ = failure.set(error);
                return;
            }
        }
    }
}

/// Syncs what was written, and answers, until nothing more is written or a sync fails.
fn bring_to_disk(
    log: &Log,
    clock: Clock,
    written: &Receiver<Unsynced>,
    failure: &OnceLock<StoreError>,
) {
    let Log { database, reached, sync } = log;
    let sync = *sync;
    let mut unsynced_since: Option<Instant> = None;
    loop {
        let next = match (sync, unsynced_since) {
            (Durability::Every(interval), Some(since)) => {
                written.recv_timeout(interval.saturating_sub(since.elapsed()))
            }
            _ => written.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let group: Vec<Unsynced> = match next {
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
        for Unsynced { answer, began, .. } in group {
            metrics::COMMIT_SECONDS.record(began.elapsed());
            answer(synced.as_ref().map_or_else(|error| Err(error.again()), |()| Ok(())));
        }
        if let Err(error) = synced {
            tracing::error!(%error, "the write-ahead log cannot be synced; the store is closed");
            let _ = failure.set(error);
            return;
        }
    }
    if let Err(error) = database.sync() {
        tracing::error!(%error, "the write-ahead log cannot be synced at the end");
    }
}

/// Writes a batch; gives how to answer, and whether only after a sync.
fn commit(log: &Log, counters: &mut Counters, job: Job) -> Result<(Answer, bool), StoreError> {
    let Log { database, reached, sync } = log;
    let mut batch = Batch::new(&database.database, counters);
    let answer = job(&mut batch)?;
    let is_awaited = batch.is_awaited;
    if let Err(error) = database.write(batch.finish()) {
        if error.is_damage() {
            // A compaction has come to it. The next process leaves the journal alone.
            database.database.spare_journal(&error);
        }
        answer(Err(error.again()));
        return Err(error);
    }
    if *sync != Durability::EveryBatch {
        // Readers may see it from now on, though it is not synced yet.
        reached.reach(database.database.sequence());
    }
    fault::point("store.after_write");
    Ok((answer, is_awaited))
}
