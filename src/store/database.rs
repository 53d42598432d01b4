//! Adapter for `RocksDB`: options, opening, reading and writing.
//!
//! The options suit a small machine: one block cache and one write buffer for all families, two
//! background jobs, and Bloom filters on every family that is often asked for missing keys.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, DBRawIterator, DEFAULT_COLUMN_FAMILY_NAME, Direction, Options, ReadOptions,
};

use super::error::StoreError;
use super::families::{self, Family, ReadPattern};
use super::keys::{CounterKey, Key};
use super::lock;
use crate::model::privacy::Privacy;
use crate::model::window::Day;

/// Size of the block cache of all families, in bytes.
const CACHE_BYTES: usize = 48 << 20;
/// Size of the write buffers of all families together, in bytes.
const BUFFER_BYTES: usize = 64 << 20;
/// Size of one family's write buffer, in bytes. After a full disk `RocksDB` resumes writing only
/// when that much space is free.
pub(super) const FAMILY_BUFFER_BYTES: usize = 16 << 20;
/// Size of the write-ahead log beyond which families are flushed, in bytes.
const LOG_BYTES: u64 = 128 << 20;

/// Tables that a command keeps open which needs few rows of a store: fewer than any limit of open
/// files allows, and soon opened.
pub(super) const FEW_TABLES: u32 = 128;

/// The file beside the database that marks the journal as damaged; it holds the error.
pub(super) const DAMAGED: &str = "DAMAGED";

/// RocksDB's properties that [`Database::estimate`] reads.
const ROWS: &str = "rocksdb.estimate-num-keys";
const TABLES: &str = "rocksdb.live-sst-files-size";
const MEMORY: &str = "rocksdb.cur-size-active-mem-table";

/// An open database. What it reads is committed.
pub struct Database {
    db: DB,
    dir: PathBuf,
    /// Made once, because each event causes a dozen reads.
    reads: ReadOptions,
    /// Whether the journal is known to be damaged.
    is_journal_damaged: AtomicBool,
    /// Events that are not passed on, including those in the journal.
    pub(super) privacy: Arc<Privacy>,
    /// Days of the ledger whose months are not folded now.
    pub(super) held_days: Mutex<Vec<Day>>,
}

impl Database {
    /// Opens the database, and keeps about `tables` of its tables open at once; `None` means all.
    pub(super) fn open(dir: &Path, tables: Option<u32>) -> Result<Self, StoreError> {
        // Not used, but its buffer counts in what has to be free after a full disk.
        let mut unused = Options::default();
        unused.set_write_buffer_size(FAMILY_BUFFER_BYTES);
        let unused = ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, unused);
        let families = descriptors().chain(std::iter::once(unused));
        let db = DB::open_cf_descriptors(&database_options(tables), dir.join("db"), families)
            .map_err(|error| StoreError::of_database(dir, &error))?;
        Ok(Self::of(db, dir))
    }

    fn of(db: DB, dir: &Path) -> Self {
        Self {
            db,
            dir: dir.to_owned(),
            reads: ReadOptions::default(),
            is_journal_damaged: AtomicBool::new(dir.join(DAMAGED).exists()),
            privacy: Arc::default(),
            held_days: Mutex::default(),
        }
    }

    /// Opens the database for reading only, and keeps about [`FEW_TABLES`] open at once. Writes
    /// nothing: the write-ahead log is replayed into memory. Fails when a family does not exist
    /// yet, because the store is older.
    pub(super) fn open_read_only(dir: &Path) -> Result<Self, StoreError> {
        let (mut options, path) = (Options::default(), dir.join("db"));
        options.set_max_open_files(FEW_TABLES.cast_signed());
        // As the writer: with another setting, RocksDB crashes here on a manifest that names logs.
        options.set_track_and_verify_wals_in_manifest(true);
        let there =
            DB::list_cf(&options, &path).map_err(|error| StoreError::of_database(dir, &error))?;
        if let Some((_, name, _)) =
            families::ALL.iter().find(|(_, name, _)| !there.iter().any(|known| known == name))
        {
            let reason = format!(
                "it has no column family `{name}` yet: start this version of ghpulse on it once"
            );
            return Err(StoreError::Database { dir: dir.to_owned(), reason });
        }
        let db = DB::open_cf_descriptors_read_only(&options, path, descriptors(), false)
            .map_err(|error| StoreError::of_database(dir, &error))?;
        Ok(Self::of(db, dir))
    }

    pub(super) fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("all families are opened")
    }

    /// Which events are left out, and whether addresses are hashed.
    #[must_use]
    pub fn privacy(&self) -> &Privacy {
        &self.privacy
    }

    /// Reads one row.
    pub fn get<K: Key>(&self, key: &K) -> Result<Option<Vec<u8>>, StoreError> {
        let family = self.family(K::FAMILY);
        self.db.get_cf_opt(family, key.to_bytes(), &self.reads).map_err(|e| self.error(&e))
    }

    pub(super) fn contains(&self, family: Family, key: &[u8]) -> Result<bool, StoreError> {
        let found = self.db.get_pinned_cf_opt(self.family(family), key, &self.reads);
        found.map(|row| row.is_some()).map_err(|e| self.error(&e))
    }

    /// Reads the rows of these keys, which ascend.
    pub(super) fn get_many(
        &self,
        family: Family,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.get_many_with(family, keys, &self.reads)
    }

    fn get_many_with(
        &self,
        family: Family,
        keys: &[Vec<u8>],
        reads: &ReadOptions,
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let rows = self.db.batched_multi_get_cf_opt(self.family(family), keys, true, reads);
        let copied = rows.into_iter().map(|row| row.map(|row| row.map(|bytes| bytes.to_vec())));
        copied.collect::<Result<_, _>>().map_err(|e| self.error(&e))
    }

    /// Reads a counter; 0 when it does not exist.
    pub fn count<K: CounterKey>(&self, key: &K) -> Result<i64, StoreError> {
        self.get(key)?.map_or(Ok(0), |value| read_count(key, &value))
    }

    /// Passes the rows of a family from `from` on to `take`, in order, while it returns true.
    pub fn scan<K: Key>(
        &self,
        from: &K,
        mut take: impl FnMut(K, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let rows = self.db.raw_iterator_cf(self.family(K::FAMILY));
        self.walk(rows, &from.to_bytes(), Direction::Forward, |key, value| {
            take(decoded(key)?, value)
        })
    }

    /// Passes the rows of these keys to `take`, in order.
    pub fn scan_range<K: Key + Ord>(
        &self,
        keys: Range<K>,
        mut take: impl FnMut(K, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Range { start, end } = keys;
        self.scan(&start, |key, value| {
            let is_in_range = key < end;
            if is_in_range {
                take(key, value)?;
            }
            Ok(is_in_range)
        })
    }

    /// The last key of a family that is less than `until`.
    pub fn last_before<K: Key>(&self, until: &K) -> Result<Option<K>, StoreError> {
        let rows = self.db.raw_iterator_cf(self.family(K::FAMILY));
        let mut last = None;
        self.walk(rows, &until.to_bytes(), Direction::Reverse, |key, _| {
            last = Some(decoded(key)?);
            Ok(false)
        })?;
        Ok(last)
    }

    /// Passes rows to `take` while it returns true: forward from the first row at or after `from`,
    /// or backward from the last before it. Keys and values are not copied.
    fn walk(
        &self,
        mut rows: DBRawIterator<'_>,
        from: &[u8],
        direction: Direction,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let is_forward = matches!(direction, Direction::Forward);
        if is_forward {
            rows.seek(from);
        } else {
            rows.seek_for_prev(from);
            if rows.key() == Some(from) {
                rows.prev();
            }
        }
        while let Some((key, value)) = rows.item() {
            if !take(key, value)? {
                break;
            }
            if is_forward { rows.next() } else { rows.prev() }
        }
        rows.status().map_err(|e| self.error(&e))
    }

    /// A snapshot, which later writes do not change.
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot { database: self, snapshot: self.db.snapshot() }
    }

    pub(super) fn write(&self, batch: rocksdb::WriteBatch) -> Result<(), StoreError> {
        self.db.write(batch).map_err(|e| self.error(&e))
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db.flush_wal(true).map_err(|e| self.error(&e))
    }

    /// The data directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The sequence number of the last write.
    pub(super) fn sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// Makes a checkpoint in `dir`, which must not exist.
    pub(super) fn checkpoint(&self, dir: &Path) -> Result<(), StoreError> {
        let checkpoint = Checkpoint::new(&self.db).map_err(|e| self.error(&e))?;
        // Not `of_database`: a full disk is the checkpoint's, not the store's.
        checkpoint.create_checkpoint(dir).map_err(|error| StoreError::Database {
            dir: self.dir.clone(),
            reason: error.to_string(),
        })
    }

    /// Allows compaction of the journal, unless it is damaged. It is off until this call: a
    /// compaction that meets a damaged block stops all writes, while a reader steps over the block.
    /// So the stage that reads the journal at the start comes first.
    pub(super) fn allow_journal_compaction(&self) -> Result<(), StoreError> {
        if self.is_journal_damaged() {
            return Ok(());
        }
        let journal = self.family(Family::Journal);
        let options = [("disable_auto_compactions", "false")];
        self.db.set_options_cf(journal, &options).map_err(|e| self.error(&e))
    }

    pub(super) fn is_journal_damaged(&self) -> bool {
        self.is_journal_damaged.load(Ordering::Relaxed)
    }

    /// Marks the journal as damaged, and disables its compaction for good.
    pub(super) fn mark_journal_damaged(&self, error: &StoreError) {
        if self.is_journal_damaged.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(
            %error,
            "a part of the journal is unreadable: subscribers get a gap there, and the journal is \
             no longer compacted, so it takes more space and is slower to read; nothing else is \
             affected"
        );
        let (journal, file) = (self.family(Family::Journal), self.dir.join(DAMAGED));
        let stopped = self.db.set_options_cf(journal, &[("disable_auto_compactions", "true")]);
        let words = error.to_string();
        let kept = stopped
            .map_err(|e| self.error(&e))
            .and_then(|()| lock::write_durably(&file, words.as_bytes()));
        if let Err(error) = kept {
            tracing::error!(%error, "cannot write the file DAMAGED, which marks the journal as damaged");
        }
    }

    /// Passes undecoded rows from `from` on to `take`, in order, while it returns true.
    pub(super) fn scan_bytes(
        &self,
        family: Family,
        from: &[u8],
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let rows = self.db.raw_iterator_cf(self.family(family));
        self.walk(rows, from, Direction::Forward, |key, value| Ok(take(key, value)))
    }

    /// Passes undecoded rows to `take`, the last one first, while it returns true.
    pub(super) fn scan_bytes_back(
        &self,
        family: Family,
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let rows = self.db.raw_iterator_cf(self.family(family));
        let behind = [0xff; 256];
        self.walk(rows, &behind, Direction::Reverse, |key, value| Ok(take(key, value)))
    }

    /// Compacts the rows from `from` to before `until`: after many deletions, so that they are not
    /// stepped over again and again.
    pub(super) fn compact<K: Key>(&self, from: &K, until: &K) {
        let family = self.family(K::FAMILY);
        self.db.compact_range_cf(family, Some(from.to_bytes()), Some(until.to_bytes()));
    }

    /// Estimates the rows of a family, and their bytes on the disk and in memory.
    pub(super) fn estimate(&self, family: Family) -> Result<(u64, u64), StoreError> {
        let of = |property| {
            let found = self.db.property_int_value_cf(self.family(family), property);
            found.map(Option::unwrap_or_default).map_err(|e| self.error(&e))
        };
        let bytes = of(TABLES)?.saturating_add(of(MEMORY)?);
        Ok((of(ROWS)?, bytes))
    }

    /// Bytes on the disk between each pair of neighbouring keys; the keys ascend.
    pub(super) fn sizes(&self, family: Family, keys: &[Vec<u8>]) -> Vec<u64> {
        let pairs = keys.windows(2);
        let ranges: Vec<_> = pairs.map(|pair| rocksdb::Range::new(&pair[0], &pair[1])).collect();
        if ranges.is_empty() {
            return Vec::new();
        }
        self.db.get_approximate_sizes_cf(self.family(family), &ranges)
    }

    /// A numeric property of `RocksDB`; 0 when it is unknown.
    pub(super) fn property(&self, family: Family, name: &str) -> u64 {
        let found = self.db.property_int_value_cf(self.family(family), name);
        found.ok().flatten().unwrap_or_default()
    }

    /// Flushes a family's write buffer to the disk.
    #[cfg(test)]
    pub(super) fn flush(&self, family: Family) -> Result<(), StoreError> {
        self.db.flush_cf(self.family(family)).map_err(|e| self.error(&e))
    }

    /// Ends writes that `RocksDB` holds back until there is space: the store is being closed.
    pub(super) fn stop_waiting(&self) {
        self.db.cancel_all_background_work(false);
    }

    /// Stops background work. Without it, closing while the process exits may abort.
    pub(super) fn close(&self) {
        self.db.cancel_all_background_work(true);
    }

    fn error(&self, error: &rocksdb::Error) -> StoreError {
        StoreError::of_database(&self.dir, error)
    }
}

/// A consistent view of the database.
pub(super) struct Snapshot<'d> {
    pub(super) database: &'d Database,
    snapshot: rocksdb::Snapshot<'d>,
}

impl Snapshot<'_> {
    pub(super) fn get<K: Key>(&self, key: &K) -> Result<Option<Vec<u8>>, StoreError> {
        let family = self.database.family(K::FAMILY);
        self.snapshot.get_cf(family, key.to_bytes()).map_err(|e| self.database.error(&e))
    }

    /// Reads the rows of these keys, which ascend.
    pub(super) fn get_many(
        &self,
        family: Family,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut reads = ReadOptions::default();
        reads.set_snapshot(&self.snapshot);
        self.database.get_many_with(family, keys, &reads)
    }

    /// The error of an iterator.
    pub(super) fn error(&self, error: &rocksdb::Error) -> StoreError {
        self.database.error(error)
    }

    /// An iterator over the rows of a family. The blocks that it reads do not enter the block
    /// cache.
    pub(super) fn rows(&self, family: Family) -> DBRawIterator<'_> {
        let mut reads = ReadOptions::default();
        reads.fill_cache(false);
        self.snapshot.raw_iterator_cf_opt(self.database.family(family), reads)
    }

    /// Passes rows to `take` while it returns true: forward from the first row at or after `from`,
    /// or backward from the last before it. Values are not copied, and the read blocks do not enter
    /// the block cache, so that they displace nothing.
    pub(super) fn walk<K: Key>(
        &self,
        from: &K,
        direction: Direction,
        mut take: impl FnMut(K, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let rows = self.rows(K::FAMILY);
        self.database
            .walk(rows, &from.to_bytes(), direction, |key, value| take(decoded(key)?, value))
    }
}

fn decoded<K: Key>(key: &[u8]) -> Result<K, StoreError> {
    K::decode(key).ok_or_else(|| StoreError::corrupt(K::FAMILY.name(), key))
}

/// Decodes a counter's value, as [`super::Batch::add`] writes it.
pub fn read_count<K: CounterKey>(key: &K, value: &[u8]) -> Result<i64, StoreError> {
    let bytes = value.try_into();
    bytes
        .map(i64::from_be_bytes)
        .map_err(|_| StoreError::corrupt(K::FAMILY.name(), &key.to_bytes()))
}

fn database_options(tables: Option<u32>) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_db_write_buffer_size(BUFFER_BYTES);
    options.set_max_total_wal_size(LOG_BYTES);
    // RocksDB recommends to keep all files open when ranges are deleted.
    options.set_max_open_files(tables.map_or(-1, |most| i32::try_from(most).unwrap_or(-1)));
    options.set_keep_log_file_num(3);
    options.set_max_log_file_size(4 << 20);
    options.set_stats_dump_period_sec(0);
    // A synced log that is missing or cut is an error, not a shorter history.
    options.set_track_and_verify_wals_in_manifest(true);
    options
}

/// All families with their options.
fn descriptors() -> impl Iterator<Item = ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    families::ALL.iter().map(move |(family, name, pattern)| {
        let mut options = family_options(*pattern, &cache);
        options.set_disable_auto_compactions(*family == Family::Journal);
        ColumnFamilyDescriptor::new(*name, options)
    })
}

fn family_options(pattern: ReadPattern, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);
    let is_large =
        matches!(pattern, ReadPattern::Membership | ReadPattern::Ledger | ReadPattern::Months);
    if is_large || pattern == ReadPattern::Values {
        table.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.set_write_buffer_size(FAMILY_BUFFER_BYTES);
    options.set_level_compaction_dynamic_level_bytes(true);
    if is_large {
        // Filters and indexes of a hundred million rows exceed the cache. As one block for each
        // file, megabytes would be read and checked for a row.
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_metadata_block_size(4 << 10);
        table.set_pin_top_level_index_and_filter(true);
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(0.05);
    }
    match pattern {
        ReadPattern::Log => {
            table.set_block_size(32 << 10);
            options.set_compression_type(DBCompressionType::Lz4);
            options.set_bottommost_compression_type(DBCompressionType::Zstd);
        }
        ReadPattern::Membership => options.set_compression_type(DBCompressionType::None),
        // Blocks of 4 KiB, with LZ4 in all levels: the rows of a day's repositories exceed the
        // cache, and then each row costs unpacking its block. With 16 KiB and zstd tables are up to
        // a third smaller, but an event takes a third more CPU.
        ReadPattern::Ledger => options.set_compression_type(DBCompressionType::Lz4),
        ReadPattern::Months => {
            table.set_block_size(16 << 10);
            options.set_compression_type(DBCompressionType::Lz4);
            options.set_bottommost_compression_type(DBCompressionType::Zstd);
        }
        ReadPattern::Queue | ReadPattern::Values => {
            options.set_compression_type(DBCompressionType::Lz4);
        }
    }
    options.set_block_based_table_factory(&table);
    options
}

#[cfg(test)]
mod tests {
    use rocksdb::WriteOptions;

    use super::*;

    #[test]
    fn store_with_tracked_logs_is_read_beside_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Database::open(dir.path(), None).unwrap();
        let [one, other] = [Family::Seen, Family::Meta].map(|family| writer.family(family));
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        writer.db.put_cf(one, "key", "value").unwrap();
        writer.db.put_cf(other, "key", "value").unwrap();
        // The log before the flush still has rows of the other family, and is named with the sync.
        writer.db.flush_cf(one).unwrap();
        writer.db.put_cf_opt(one, "later", "value", &synced).unwrap();
        let reader = Database::open_read_only(dir.path()).unwrap();
        assert!(reader.contains(Family::Meta, b"key").unwrap());
        assert!(reader.contains(Family::Seen, b"later").unwrap());
    }

    /// The tables of a database that this process has open.
    fn open_tables(dir: &Path) -> usize {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let open = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        open.filter(|path| path.starts_with(dir) && path.extension() == Some("sst".as_ref()))
            .count()
    }

    #[test]
    fn no_more_tables_are_open_than_allowed() {
        const TABLES: usize = 200;
        // The cache of tables has 64 parts, each with room for one at least. Some more are in use.
        const MOST: u32 = 64;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let keys: Vec<String> = (0..TABLES).map(|n| format!("{n:04}")).collect();
        let opened = |database: Database, least: usize, most: u32| {
            for key in &keys {
                assert!(database.contains(Family::Journal, key.as_bytes()).unwrap());
            }
            let open = open_tables(&path);
            assert!((least..=most as usize + 8).contains(&open), "{open} of {most}");
        };
        let database = Database::open(&path, None).unwrap();
        // The journal is not compacted while it is written.
        let family = database.family(Family::Journal);
        for key in &keys {
            database.db.put_cf(family, key, "row").unwrap();
            database.db.flush_cf(family).unwrap();
        }
        opened(database, TABLES, 200);
        opened(Database::open(&path, Some(MOST)).unwrap(), 1, MOST);
        opened(Database::open_read_only(&path).unwrap(), 1, FEW_TABLES);
    }

    #[test]
    fn store_of_an_older_version_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Database::open(dir.path(), None).unwrap();
        writer.db.drop_cf(Family::Gaps.name()).unwrap();
        drop(writer);
        let error = Database::open_read_only(dir.path()).map(drop).unwrap_err();
        assert!(error.to_string().contains("no column family `gaps` yet"), "{error}");
    }
}
