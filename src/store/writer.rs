//! The one writing thread.
//!
//! Stages send it work; it runs each piece on a batch of its own, writes the batch, and answers
//! after the write-ahead log is synced as the policy says. Pieces that wait together share one
//! sync. One thread, so that a claim is safe and counters can stay in memory.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Sync;
use super::batch::{Batch, Counters};
use super::database::Database;
use super::error::StoreError;
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

pub(super) fn start(
    database: Arc<Database>,
    sync: Sync,
    clock: Clock,
    failure: Failure,
) -> (mpsc::Sender<Job>, std::thread::JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let thread = std::thread::Builder::new()
        .name("store".to_owned())
        .spawn(move || write(&database, sync, clock, receiver, &failure))
        .expect("a process that starts can start a thread");
    (sender, thread)
}

fn write(
    database: &Database,
    sync: Sync,
    clock: Clock,
    mut jobs: mpsc::Receiver<Job>,
    failure: &OnceLock<StoreError>,
) {
    let mut counters = Counters::default();
    let mut unsynced = false;
    let mut last_sync = clock.instant();
    while let Some(job) = next(&mut jobs, sync, unsynced) {
        let started = clock.instant();
        let mut answers = Vec::new();
        let mut waiting = job;
        loop {
            if let Some(job) = waiting.take() {
                match commit(database, &mut counters, job) {
                    Ok(answer) => answers.push(answer),
                    Err(error) => {
                        // Nothing that came after may be written: it would not know of this one.
                        tracing::error!(%error, "a write to the store failed; the store is closed");
                        let _ = failure.set(error);
                        break;
                    }
                }
                unsynced = true;
            }
            if answers.len() >= GROUP {
                break;
            }
            match jobs.try_recv() {
                Ok(job) => waiting = Some(job),
                Err(_) => break,
            }
        }
        let due = match sync {
            Sync::EveryBatch => true,
            Sync::Every(interval) => last_sync.elapsed() >= interval,
        };
        if unsynced && due {
            fault::point("store.before_sync");
            if let Err(error) = database.sync() {
                tracing::error!(%error, "the write-ahead log cannot be synced; the store is closed");
                let _ = failure.set(error);
            }
            unsynced = false;
            last_sync = clock.instant();
        }
        // Woken only to see whether a sync is due, nothing was written.
        if !answers.is_empty() {
            metrics::COMMIT_SECONDS.record(started.elapsed());
        }
        for answer in answers {
            answer(failure.get().map_or(Ok(()), |error| Err(error.again())));
        }
        if failure.get().is_some() {
            return;
        }
    }
    if let Err(error) = database.sync() {
        tracing::error!(%error, "the write-ahead log cannot be synced at the end");
    }
}

/// The next piece; with syncs at intervals also `Some(None)` when one may be due. `None` = end.
#[expect(clippy::option_option, reason = "woken without work, or ended")]
fn next(jobs: &mut mpsc::Receiver<Job>, sync: Sync, unsynced: bool) -> Option<Option<Job>> {
    let Sync::Every(_) = sync else { return jobs.blocking_recv().map(Some) };
    if !unsynced {
        return jobs.blocking_recv().map(Some);
    }
    // Rare: only in the seconds after the last write of a burst.
    match jobs.try_recv() {
        Ok(job) => Some(Some(job)),
        Err(mpsc::error::TryRecvError::Empty) => {
            std::thread::sleep(Duration::from_millis(5));
            Some(None)
        }
        Err(mpsc::error::TryRecvError::Disconnected) => None,
    }
}

fn commit(database: &Database, counters: &mut Counters, job: Job) -> Result<Answer, StoreError> {
    let mut batch = Batch::new(database, counters);
    let answer = job(&mut batch)?;
    if let Err(error) = database.write(batch.finish()) {
        answer(Err(error.again()));
        return Err(error);
    }
    fault::point("store.after_write");
    Ok(answer)
}
