//! The store: a `RocksDB` database in one directory, used by one process.
//!
//! Any thread that may block can read ([`Store::read`]). All writes go through one thread, batch by
//! batch ([`Store::commit`]); after a crash either all of a batch is there or none of it. With
//! [`Durability::EveryBatch`], a batch whose commit has returned survives a power cut.

pub mod activity;
mod batch;
mod buses;
pub mod charts;
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
use self::unclean::LastWrite;
use self::writer::{CloseReason, WriteJob};
use crate::clock::Clock;
use crate::model::position::{BusTag, Cursor, Position};
use crate::private;
use crate::sync::blocking;

/// When the write-ahead log is synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before a commit returns: a power cut loses no batch whose commit has returned.
    EveryBatch,
    /// At intervals: a power cut loses at most one interval, a crash of the process nothing.
    Every(Duration),
}

/// The open store. Clones share it; dropping the last one closes it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<OpenStore>,
}

struct OpenStore {
    database: Arc<Database>,
    jobs: Option<mpsc::Sender<WriteJob>>,
    thread: Option<std::thread::JoinHandle<()>>,
    dir: PathBuf,
    bus_tag: BusTag,
    id: String,
    written: Arc<LastWrite>,
    lost: Option<LostTail>,
    watermarks: Watermarks,
    disk_space: Arc<DiskSpace>,
    failure: CloseReason,
    _lock: lock::Lock,
}

/// The progress of each stage, which the next stage waits for.
#[derive(Debug)]
pub struct Watermarks {
    /// The number of the last admission.
    pub inbox: watch::Sender<u64>,
    /// The number of the last entry of the outbox.
    pub outbox: watch::Sender<u64>,
    /// Bytes of events that are admitted and not yet in the journal.
    pub backlog: watch::Sender<u64>,
    /// Changes with each commit of applied events; the number has no other meaning.
    pub applied: watch::Sender<u64>,
    /// The number of gaps that were found since the start. It changes before a commit after the gap
    /// returns.
    pub gaps: watch::Sender<u64>,
    /// The position up to which the journal of each bus was dropped.
    pub dropped: watch::Sender<BTreeMap<BusTag, Position>>,
    /// The age of the journal's oldest event and the journal's size; measured every few seconds.
    pub reach: watch::Sender<Reach>,
}

/// The two calls for an event may come in either order: when it is applied before its admission is
/// reported, the backlog wraps around until then. Ingest reads the backlog only after its report.
impl Watermarks {
    /// Adds admitted bytes.
    pub fn grow_backlog(&self, bytes: u64) {
        self.backlog.send_modify(|backlog| *backlog = backlog.wrapping_add(bytes));
    }

    /// Subtracts bytes that are in the journal, or confirmed by the broker.
    pub fn shrink_backlog(&self, bytes: u64) {
        self.backlog.send_modify(|backlog| *backlog = backlog.wrapping_sub(bytes));
    }
}

/// Counter of admissions. Like the next two, it is where a field of [`Watermarks`] begins.
pub const ADMISSIONS: &str = "admissions";
/// Counter of entries that were ever written to the outbox.
pub const ENTRIES: &str = "entries";
/// Counter of bytes that are admitted and not yet in the journal.
pub const BACKLOG: &str = "backlog_bytes";

/// Prefix of directories in the data directory through which the appliance and a command exchange
/// files, since neither may have access to the other's files.
pub const EXCHANGE: &str = ".exchange-";

/// Name of the cursor up to which the bus is applied; kept for each bus.
pub const APPLIED: &str = "applied";

/// Reads committed data. Two reads may see different commits, but never a part of a batch.
#[derive(Clone, Copy)]
pub struct Reader<'s> {
    database: &'s Database,
}

impl Store {
    /// Opens the store in `dir`, and creates both when they do not exist. Blocks.
    ///
    /// # Errors
    /// When another process has the store, it has another version, or the database fails.
    pub fn open(dir: &Path, sync: Durability, clock: Clock) -> Result<Self, StoreError> {
        let lock = lock::Lock::take(dir, clock)?;
        lock::check_no_backup(dir)?;
        let data_dir = lock::expect_store(dir)?;
        let database = Arc::new(Database::open(dir)?);
        let db = dir.join("db");
        private::hide_dir(&db).map_err(lock::file_error("hide", &db))?;
        let (written, lost) = LastWrite::begin(dir, &database, sync, clock.now())?;
        let written = Arc::new(written);
        let bus_tag = bus_tag(&database)?;
        let id = store_id(&database)?;
        data_dir.complete()?;
        let head = |name: &str| -> Result<watch::Sender<u64>, StoreError> {
            let count = database.count(&MetaKey(name.to_owned()))?;
            Ok(watch::Sender::new(u64::try_from(count).unwrap_or(0)))
        };
        let (inbox, outbox, backlog) = (head(ADMISSIONS)?, head(ENTRIES)?, head(BACKLOG)?);
        let dropped = Reader { database: &database }.cursors(journal::DROPPED)?;
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
            disk_space,
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

    /// Whether `RocksDB` keeps up with the writes.
    #[must_use]
    pub fn pressure(&self) -> pressure::Pressure {
        pressure::of(&self.shared.database)
    }

    /// Allows the journal to be compacted: it has been read once.
    pub fn journal_was_read(&self) -> Result<(), StoreError> {
        self.shared.database.compact_journal()
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
        let job: WriteJob = Box::new(move |batch| match work(batch) {
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

    /// Runs `work`, which may block, on the blocking pool.
    pub async fn read<R: Send + 'static>(
        &self,
        work: impl FnOnce(Reader<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let store = self.clone();
        blocking(move || work(store.reader())).await?
    }

    /// A reader for code that may block.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader { database: &self.shared.database }
    }
}

impl Reader<'_> {
    /// Reads one row.
    pub fn get<K: Key>(&self, key: &K) -> Result<Option<Vec<u8>>, StoreError> {
        self.database.get(key)
    }

    /// Reads one counter; 0 when it does not exist.
    pub fn count<K: CounterKey>(&self, key: &K) -> Result<i64, StoreError> {
        self.database.count(key)
    }

    /// The cursor up to which the bus in use is applied; `None` before the first event.
    pub fn applied(&self) -> Result<Option<Cursor>, StoreError> {
        self.cursor(APPLIED)
    }

    /// The same for one bus, also for one that is not in use.
    pub fn applied_on(&self, tag: BusTag) -> Result<Option<Cursor>, StoreError> {
        self.cursor_on(APPLIED, tag)
    }

    /// Passes the rows of a family from `from` on to `take`, in order, while it returns true.
    pub fn scan<K: Key>(
        &self,
        from: &K,
        take: impl FnMut(K, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.database.scan(from, take)
    }

    /// The last key of a family that is less than `until`.
    pub fn last_before<K: Key>(&self, until: &K) -> Result<Option<K>, StoreError> {
        self.database.last_before(until)
    }
}

/// Decodes a counter's value, as [`Batch::add`] writes it.
pub fn read_count<K: CounterKey>(key: &K, value: &[u8]) -> Result<i64, StoreError> {
    let bytes = value.try_into();
    bytes
        .map(i64::from_be_bytes)
        .map_err(|_| StoreError::corrupt(K::FAMILY.name(), &key.to_bytes()))
}

/// The tag of the embedded bus; chosen at random when the store is created.
fn bus_tag(database: &Database) -> Result<BusTag, StoreError> {
    let key = MetaKey("bus_tag".to_owned());
    let drawn = get_or_create(database, &key, || fastrand::u32(1..).to_be_bytes().to_vec())?;
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
    let drawn = get_or_create(database, &key, || fresh_id().into_bytes())?;
    String::from_utf8(drawn).map_err(|_| StoreError::corrupt("meta", &key.to_bytes()))
}

/// The value of a name; made and stored when there is none yet.
fn get_or_create(
    database: &Database,
    key: &MetaKey,
    create: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>, StoreError> {
    if let Some(value) = database.get(key)? {
        return Ok(value);
    }
    let value = create();
    let mut counters = batch::CounterCache::default();
    let mut batch = Batch::new(database, &mut counters);
    batch.put(key, &value);
    database.write(batch.finish())?;
    database.sync()?;
    Ok(value)
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        drop(self.jobs.take());
        self.disk_space.close();
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

#[cfg(test)]
mod tests;
