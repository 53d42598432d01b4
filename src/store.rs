//! What is kept, in one directory, by one process, in `RocksDB`.
//!
//! Reading is done from any thread that may block ([`Store::read`]); writing goes through one
//! thread, a batch at a time ([`Store::commit`]): all of a batch is there after a crash, or none
//! of it. With [`Durability::EveryBatch`] an answer means that it survives a power cut.

mod batch;
mod buses;
pub mod checkpoint;
mod cursors;
mod database;
pub mod disk_space;
mod error;
pub mod families;
pub mod firsts;
pub mod gaps;
pub mod inspect;
pub mod journal;
pub mod keys;
mod lock;
pub mod outages;
pub mod periods;
pub mod pressure;
pub mod reach;
pub mod rejects;
pub mod repos;
pub mod retention;
pub mod rows;
mod unclean;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

pub use batch::Batch;
pub use error::StoreError;
pub use lock::is_in_use;
pub use unclean::LostTail;

use self::database::Database;
use self::disk_space::DiskSpace;
use self::keys::{CounterKey, Key, MetaKey};
use self::reach::Reach;
use self::unclean::Written;
use self::writer::{Failure, Job};
use crate::clock::Clock;
use crate::model::position::{BusTag, Cursor, Position};
use crate::private;
use crate::sync::blocking;

/// When the write-ahead log is brought to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before a batch is answered: a power cut loses nothing that was answered.
    EveryBatch,
    /// At intervals: a power cut loses at most so much, a crash of the process nothing.
    Every(Duration),
}

/// The open store. Clones are the same store; the last one closes it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    database: Arc<Database>,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
    dir: PathBuf,
    bus_tag: BusTag,
    id: String,
    written: Arc<Written>,
    lost: Option<LostTail>,
    watermarks: Watermarks,
    room: Arc<DiskSpace>,
    failure: Failure,
    _lock: lock::Lock,
}

/// How far each arrow of the way has come: what the next stage waits for.
#[derive(Debug)]
pub struct Watermarks {
    /// The last admission.
    pub inbox: watch::Sender<u64>,
    /// The last entry of the outbox.
    pub outbox: watch::Sender<u64>,
    /// Bytes of bodies between admission and journal.
    pub backlog: watch::Sender<u64>,
    /// Counts commits of applied events; what counts is that it moves.
    pub applied: watch::Sender<u64>,
    /// Gaps of the bus that were found in this life; moves before any commit behind them is told.
    pub gaps: watch::Sender<u64>,
    /// How far the journal of each bus was dropped.
    pub dropped: watch::Sender<BTreeMap<BusTag, Position>>,
    /// How far the journal reaches, and how much of the disk it takes; measured every few seconds.
    pub reach: watch::Sender<Reach>,
}

/// The two may come in either order: what is applied before its admission is told makes the number
/// wrap around, and only until it is told. Whoever admits looks after it has told.
impl Watermarks {
    /// So many bytes were admitted.
    pub fn grow_backlog(&self, bytes: u64) {
        self.backlog.send_modify(|backlog| *backlog = backlog.wrapping_add(bytes));
    }

    /// So many bytes are in the journal, or the broker has them.
    pub fn shrink_backlog(&self, bytes: u64) {
        self.backlog.send_modify(|backlog| *backlog = backlog.wrapping_sub(bytes));
    }
}

/// The counters that [`Watermarks`] begin with.
pub const ADMISSIONS: &str = "admissions";
/// Entries given to the outbox so far.
pub const ENTRIES: &str = "entries";
/// Bytes of bodies between admission and journal.
pub const BACKLOG: &str = "backlog_bytes";

/// How directories in the data directory begin through which an appliance and a command pass each
/// other files: neither may be able to reach where the other's files are.
pub const EXCHANGE: &str = ".exchange-";

/// Name of the cursor up to which everything of the bus is applied; kept for each bus.
pub const APPLIED: &str = "applied";

/// Reads of one moment or of several, never of the middle of a batch.
#[derive(Clone, Copy)]
pub struct Reader<'s> {
    database: &'s Database,
}

impl Store {
    /// Opens the store in `dir`, making both when they are not there. Blocks.
    pub fn open(dir: &Path, sync: Durability, clock: Clock) -> Result<Self, StoreError> {
        let lock = lock::Lock::take(dir, clock)?;
        lock::check_no_backup(dir)?;
        let place = lock::expect_store(dir)?;
        let database = Arc::new(Database::open(dir)?);
        let db = dir.join("db");
        private::hide_dir(&db).map_err(lock::file_error("hide", &db))?;
        let (written, lost) = Written::begin(dir, &database, sync, clock.now())?;
        let written = Arc::new(written);
        let bus_tag = bus_tag(&database)?;
        let id = store_id(&database)?;
        place.complete()?;
        let head = |name: &str| -> Result<watch::Sender<u64>, StoreError> {
            let count = database.count(&MetaKey(name.to_owned()))?;
            Ok(watch::Sender::new(u64::try_from(count).unwrap_or(0)))
        };
        let (inbox, outbox, backlog) = (head(ADMISSIONS)?, head(ENTRIES)?, head(BACKLOG)?);
        let dropped = Reader { database: &database }.cursors(journal::DROPPED)?;
        let dropped = watch::Sender::new(dropped);
        let failure = Arc::new(OnceLock::new());
        let room = Arc::new(DiskSpace::default());
        let log = (Arc::clone(&database), Arc::clone(&written), sync);
        let state = (Arc::clone(&failure), Arc::clone(&room));
        let (jobs, thread) = writer::start(log, clock, state);
        let shared = Shared {
            database,
            jobs: Some(jobs),
            thread: Some(thread),
            dir: dir.to_owned(),
            bus_tag,
            id,
            written,
            lost,
            watermarks: Watermarks {
                inbox,
                outbox,
                backlog,
                gaps: watch::Sender::default(),
                applied: watch::Sender::new(0),
                dropped,
                reach: watch::Sender::default(),
            },
            room,
            failure,
            _lock: lock,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The tag of the embedded bus of this store.
    #[must_use]
    pub fn bus_tag(&self) -> BusTag {
        self.shared.bus_tag
    }

    /// The name of this store, unlike any other's: 16 hexadecimal digits, drawn when it was new.
    #[must_use]
    pub fn store_id(&self) -> &str {
        &self.shared.id
    }

    /// What was lost of the end of the log, as far as it was found when the store was opened.
    #[must_use]
    pub fn lost_tail(&self) -> Option<&LostTail> {
        self.shared.lost.as_ref()
    }

    /// The room on its disk: whether fetching and writing wait for some.
    #[must_use]
    pub fn disk_space(&self) -> &DiskSpace {
        &self.shared.room
    }

    /// How `RocksDB` keeps up with what is written.
    #[must_use]
    pub fn pressure(&self) -> pressure::Pressure {
        pressure::of(&self.shared.database)
    }

    /// The journal was read, and may be compacted from now on.
    pub fn journal_was_read(&self) -> Result<(), StoreError> {
        self.shared.database.compact_journal()
    }

    /// Whether a part of the journal is damaged: readers get a gap there.
    #[must_use]
    pub fn is_journal_damaged(&self) -> bool {
        self.shared.database.is_journal_damaged()
    }

    /// How far the stages have come. A stage moves its head after its commit.
    #[must_use]
    pub fn watermarks(&self) -> &Watermarks {
        &self.shared.watermarks
    }

    /// Runs `work` on the writing thread and commits what it wrote, all or nothing. Returns after
    /// the sync that the policy asks for. An error of `work` closes the store: it can only be
    /// that the store itself is broken. From then on every commit fails with what closed it.
    pub async fn commit<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Batch<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (sender, receiver) = oneshot::channel();
        let gaps = self.shared.watermarks.gaps.clone();
        // Who asked may have gone; the work is done all the same.
        let job: Job = Box::new(move |batch| match work(batch) {
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
        });
        let closed = || self.shared.failure.get().map_or(StoreError::Closed, StoreError::again);
        let jobs = self.shared.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(job).await.map_err(|_| closed())?;
        receiver.await.map_err(|_| closed())?
    }

    /// Runs `work`, which may block, beside the async workers.
    pub async fn read<R: Send + 'static>(
        &self,
        work: impl FnOnce(Reader<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let store = self.clone();
        blocking(move || work(store.reader())).await?
    }

    /// Reads here and now; only where blocking is right.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader { database: &self.shared.database }
    }
}

impl Reader<'_> {
    /// One row.
    pub fn get<K: Key>(&self, key: &K) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(key)
    }

    /// One counter; 0 when it was never touched.
    pub fn count<K: CounterKey>(&self, key: &K) -> Result<i64, StoreError> {
        self.database.count(key)
    }

    /// Up to where the bus in use is applied; `None` when nothing was yet.
    pub fn applied(&self) -> Result<Option<Cursor>, StoreError> {
        self.cursor(APPLIED)
    }

    /// The same of one bus, also of one that is not in use.
    pub fn applied_on(&self, tag: BusTag) -> Result<Option<Cursor>, StoreError> {
        self.cursor_on(APPLIED, tag)
    }

    /// Rows of a family from `from` on, in order, while `take` returns true.
    pub fn scan<K: Key>(
        &self,
        from: &K,
        take: impl FnMut(K, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.database.scan(from, take)
    }

    /// The last key of a family before `until`.
    pub fn last_before<K: Key>(&self, until: &K) -> Result<Option<K>, StoreError> {
        self.database.last_before(until)
    }
}

/// Reads a counter's value as [`Batch::add`] writes it.
pub fn read_count<K: CounterKey>(key: &K, value: &[u8]) -> Result<i64, StoreError> {
    let bytes = value.try_into();
    bytes
        .map(i64::from_be_bytes)
        .map_err(|_| StoreError::corrupt(K::FAMILY.name(), &key.to_bytes()))
}

/// The embedded bus's tag; drawn when the store is new.
fn bus_tag(database: &Database) -> Result<BusTag, StoreError> {
    let key = MetaKey("bus_tag".to_owned());
    let drawn = drawn_once(database, &key, || fastrand::u32(1..).to_be_bytes().to_vec())?;
    let bytes = drawn.as_slice().try_into();
    bytes
        .map(|bytes| BusTag(u32::from_be_bytes(bytes)))
        .map_err(|_| StoreError::corrupt("meta", &key.to_bytes()))
}

fn store_id_key() -> MetaKey {
    MetaKey("store_id".to_owned())
}

fn fresh_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

fn store_id(database: &Database) -> Result<String, StoreError> {
    let key = store_id_key();
    let drawn = drawn_once(database, &key, || fresh_id().into_bytes())?;
    String::from_utf8(drawn).map_err(|_| StoreError::corrupt("meta", &key.to_bytes()))
}

/// What is kept under a name; drawn and kept when there is nothing yet.
fn drawn_once(
    database: &Database,
    key: &MetaKey,
    draw: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>, StoreError> {
    if let Some(value) = database.get(key)? {
        return Ok(value);
    }
    let drawn = draw();
    let mut counters = batch::Counters::default();
    let mut batch = Batch::new(database, &mut counters);
    batch.put(key, &drawn);
    database.write(batch.finish())?;
    database.sync()?;
    Ok(drawn)
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.jobs.take());
        self.room.close();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writing thread panicked");
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

#[cfg(test)]
mod tests;
