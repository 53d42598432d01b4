//! Door to `RocksDB`: opening, options, reading.
//!
//! Options suit a small machine: one block cache and one write buffer for all families, two
//! background jobs, filters on every family that is asked for what is not there.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DEFAULT_COLUMN_FAMILY_NAME, Direction, IteratorMode, Options, Range, ReadOptions,
};

use super::error::StoreError;
use super::families::{self, Access, Family};
use super::keys::{CounterKey, Key};
use super::lock;
use super::read_count;

/// Blocks of all families that are kept in memory, bytes.
const CACHE_BYTES: usize = 48 << 20;
/// Written and not yet flushed, all families, bytes.
const BUFFER_BYTES: usize = 64 << 20;
/// One family's write buffer, bytes. After a full disk `RocksDB` resumes writing only when the
/// largest buffer of all families is free.
pub(super) const FAMILY_BUFFER_BYTES: usize = 16 << 20;
/// The write-ahead log is cut down when it is larger, bytes.
const LOG_BYTES: u64 = 128 << 20;

/// The file beside the database that says that a part of the journal is damaged, and how.
pub(super) const DAMAGED: &str = "DAMAGED";

/// RocksDB's names for what [`Database::about`] asks.
const ROWS: &str = "rocksdb.estimate-num-keys";
const TABLES: &str = "rocksdb.live-sst-files-size";
const MEMORY: &str = "rocksdb.cur-size-active-mem-table";

pub(super) struct Database {
    db: DB,
    dir: PathBuf,
    /// Made once: an event is looked for a dozen times on its way.
    reads: ReadOptions,
    /// Whether a part of the journal is known to be damaged.
    is_journal_damaged: AtomicBool,
}

impl Database {
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let families = families::ALL.iter().map(|(family, name, access)| {
            let mut options = family_options(*access, &cache);
            options.set_disable_auto_compactions(*family == Family::Journal);
            ColumnFamilyDescriptor::new(*name, options)
        });
        // Not used, but its buffer counts in what has to be free after a full disk.
        let mut unused = Options::default();
        unused.set_write_buffer_size(FAMILY_BUFFER_BYTES);
        let unused = ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, unused);
        let families = families.chain(std::iter::once(unused));
        let db = DB::open_cf_descriptors(&database_options(), dir.join("db"), families)
            .map_err(|error| StoreError::of_database(dir, &error))?;
        let is_journal_damaged = AtomicBool::new(dir.join(DAMAGED).exists());
        let reads = ReadOptions::default();
        Ok(Self { db, dir: dir.to_owned(), reads, is_journal_damaged })
    }

    /// Opens it to read what is there. Writes nothing: what the log has and no table is read into
    /// memory. Fails when the store is older than one of the families.
    pub(super) fn open_to_look(dir: &Path) -> Result<Self, StoreError> {
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let (mut options, path) = (Options::default(), dir.join("db"));
        options.set_max_open_files(-1);
        let there =
            DB::list_cf(&options, &path).map_err(|error| StoreError::of_database(dir, &error))?;
        if let Some((_, name, _)) =
            families::ALL.iter().find(|(_, name, _)| !there.iter().any(|known| known == name))
        {
            let reason = format!("it has no family `{name}` yet: start this ghpulse on it once");
            return Err(StoreError::Database { dir: dir.to_owned(), reason });
        }
        let families = families::ALL.iter().map(|(_, name, access)| {
            ColumnFamilyDescriptor::new(*name, family_options(*access, &cache))
        });
        let db = DB::open_cf_descriptors_read_only(&options, path, families, false)
            .map_err(|error| StoreError::of_database(dir, &error))?;
        let is_journal_damaged = AtomicBool::new(dir.join(DAMAGED).exists());
        let reads = ReadOptions::default();
        Ok(Self { db, dir: dir.to_owned(), reads, is_journal_damaged })
    }

    pub(super) fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("all families are opened")
    }

    pub(super) fn get<K: Key>(&self, key: &K) -> Result<Option<Vec<u8>>, StoreError> {
        let family = self.family(K::FAMILY);
        self.db.get_cf_opt(family, key.to_bytes(), &self.reads).map_err(|e| self.error(&e))
    }

    pub(super) fn contains(&self, family: Family, key: &[u8]) -> Result<bool, StoreError> {
        let found = self.db.get_pinned_cf_opt(self.family(family), key, &self.reads);
        found.map(|row| row.is_some()).map_err(|e| self.error(&e))
    }

    /// A counter; one that was never touched is 0.
    pub(super) fn count<K: CounterKey>(&self, key: &K) -> Result<i64, StoreError> {
        self.get(key)?.map_or(Ok(0), |value| read_count(key, &value))
    }

    /// Rows from `from` on, in order, while `take` says so.
    pub(super) fn scan<K: Key>(
        &self,
        from: &K,
        mut take: impl FnMut(K, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let start = from.to_bytes();
        let mode = IteratorMode::From(&start, Direction::Forward);
        for row in self.db.iterator_cf(self.family(K::FAMILY), mode) {
            let (key, value) = row.map_err(|e| self.error(&e))?;
            let decoded =
                K::decode(&key).ok_or_else(|| StoreError::corrupt(K::FAMILY.name(), &key))?;
            if !take(decoded, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// The last row of a family whose key is before `until`.
    pub(super) fn last_before<K: Key>(&self, until: &K) -> Result<Option<K>, StoreError> {
        let end = until.to_bytes();
        let mode = IteratorMode::From(&end, Direction::Reverse);
        for row in self.db.iterator_cf(self.family(K::FAMILY), mode) {
            let (key, _) = row.map_err(|e| self.error(&e))?;
            if *key < *end {
                return K::decode(&key)
                    .map(Some)
                    .ok_or_else(|| StoreError::corrupt(K::FAMILY.name(), &key));
            }
        }
        Ok(None)
    }

    /// Reads of one moment, whatever is written meanwhile.
    pub(super) fn moment(&self) -> Moment<'_> {
        Moment { database: self, snapshot: self.db.snapshot() }
    }

    pub(super) fn write(&self, batch: rocksdb::WriteBatch) -> Result<(), StoreError> {
        self.db.write(batch).map_err(|e| self.error(&e))
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db.flush_wal(true).map_err(|e| self.error(&e))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number of the last write.
    pub(super) fn sequence(&self) -> u64 {
        self.db.latest_sequence_number()
    }

    /// A copy of this moment in `dir`, which must not be there.
    pub(super) fn checkpoint(&self, dir: &Path) -> Result<(), StoreError> {
        let checkpoint = Checkpoint::new(&self.db).map_err(|e| self.error(&e))?;
        // A full disk is that of the copy.
        checkpoint.create_checkpoint(dir).map_err(|error| StoreError::Database {
            dir: self.dir.clone(),
            reason: error.to_string(),
        })
    }

    /// Lets the journal be compacted, unless a part of it is damaged. Before this call it is not: a
    /// compaction that comes to a damaged block ends all writing, a reader only steps over it. So
    /// the stage that reads the journal at the start comes first.
    pub(super) fn compact_journal(&self) -> Result<(), StoreError> {
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

    /// A part of the journal is damaged: it is compacted no more, also after the next start.
    pub(super) fn spare_journal(&self, error: &StoreError) {
        if self.is_journal_damaged.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::error!(
            %error,
            "a part of the journal cannot be read: readers get a gap there, and it is not \
             compacted any more, so that it takes more room and is read more slowly; everything \
             else goes on"
        );
        let (journal, file) = (self.family(Family::Journal), self.dir.join(DAMAGED));
        let stopped = self.db.set_options_cf(journal, &[("disable_auto_compactions", "true")]);
        let words = error.to_string();
        let kept = stopped
            .map_err(|e| self.error(&e))
            .and_then(|()| lock::write_durably(&file, words.as_bytes()));
        if let Err(error) = kept {
            tracing::error!(%error, "that a part of the journal is damaged cannot be kept");
        }
    }

    /// Rows of a family as they are, from `from` on, in order, while `take` says so.
    pub(super) fn scan_bytes(
        &self,
        family: Family,
        from: &[u8],
        mut take: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let mode = IteratorMode::From(from, Direction::Forward);
        for row in self.db.iterator_cf(self.family(family), mode) {
            let (key, value) = row.map_err(|e| self.error(&e))?;
            if !take(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    /// About how many rows a family has, and how many bytes they take on the disk and in memory.
    pub(super) fn about(&self, family: Family) -> Result<(u64, u64), StoreError> {
        let of = |property| {
            let found = self.db.property_int_value_cf(self.family(family), property);
            found.map(Option::unwrap_or_default).map_err(|e| self.error(&e))
        };
        let bytes = of(TABLES)?.saturating_add(of(MEMORY)?);
        Ok((of(ROWS)?, bytes))
    }

    /// Bytes in tables on the disk between each two neighbours of these keys, which ascend.
    pub(super) fn sizes(&self, family: Family, keys: &[Vec<u8>]) -> Vec<u64> {
        let pairs = keys.windows(2);
        let ranges: Vec<Range<'_>> = pairs.map(|pair| Range::new(&pair[0], &pair[1])).collect();
        if ranges.is_empty() {
            return Vec::new();
        }
        self.db.get_approximate_sizes_cf(self.family(family), &ranges)
    }

    /// A number that `RocksDB` keeps of itself; 0 when it does not know it.
    pub(super) fn property(&self, family: Family, name: &str) -> u64 {
        let found = self.db.property_int_value_cf(self.family(family), name);
        found.ok().flatten().unwrap_or_default()
    }

    /// Brings what is only in memory of a family into a table on the disk.
    #[cfg(test)]
    pub(super) fn flush(&self, family: Family) -> Result<(), StoreError> {
        self.db.flush_cf(self.family(family)).map_err(|e| self.error(&e))
    }

    /// Ends background work; without it, closing during the process's end may abort.
    pub(super) fn close(&self) {
        self.db.cancel_all_background_work(true);
    }

    fn error(&self, error: &rocksdb::Error) -> StoreError {
        StoreError::of_database(&self.dir, error)
    }
}

/// The database as it was at one moment.
pub(super) struct Moment<'d> {
    database: &'d Database,
    snapshot: rocksdb::Snapshot<'d>,
}

impl Moment<'_> {
    pub(super) fn database(&self) -> &Database {
        self.database
    }

    pub(super) fn get<K: Key>(&self, key: &K) -> Result<Option<Vec<u8>>, StoreError> {
        let family = self.database.family(K::FAMILY);
        self.snapshot.get_cf(family, key.to_bytes()).map_err(|e| self.database.error(&e))
    }

    /// Rows in order from the first at or behind `from`, or backwards from the last before it,
    /// while `take` says so. Values are not copied, and what is read does not push what others
    /// read out of memory.
    pub(super) fn walk<K: Key>(
        &self,
        from: &K,
        direction: Direction,
        mut take: impl FnMut(K, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mut reads = ReadOptions::default();
        reads.fill_cache(false);
        let family = self.database.family(K::FAMILY);
        let mut rows = self.snapshot.raw_iterator_cf_opt(family, reads);
        let start = from.to_bytes();
        let forward = matches!(direction, Direction::Forward);
        if forward {
            rows.seek(&start);
        } else {
            rows.seek_for_prev(&start);
            if rows.key() == Some(&start) {
                rows.prev();
            }
        }
        while let Some((key, value)) = rows.item() {
            let corrupt = || StoreError::corrupt(K::FAMILY.name(), key);
            if !take(K::decode(key).ok_or_else(corrupt)?, value)? {
                break;
            }
            if forward { rows.next() } else { rows.prev() }
        }
        rows.status().map_err(|e| self.database.error(&e))
    }
}

fn database_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_db_write_buffer_size(BUFFER_BYTES);
    options.set_max_total_wal_size(LOG_BYTES);
    // Ranges are deleted; RocksDB advises to keep all files open then.
    options.set_max_open_files(-1);
    options.set_keep_log_file_num(3);
    options.set_max_log_file_size(4 << 20);
    options.set_stats_dump_period_sec(0);
    // A log that was synced and is gone or shorter is refused, not taken for a shorter history.
    options.set_track_and_verify_wals_in_manifest(true);
    options
}

fn family_options(access: Access, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);
    if matches!(access, Access::Membership | Access::Values) {
        table.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.set_write_buffer_size(FAMILY_BUFFER_BYTES);
    options.set_level_compaction_dynamic_level_bytes(true);
    match access {
        Access::Log => {
            table.set_block_size(32 << 10);
            options.set_compression_type(DBCompressionType::Lz4);
            options.set_bottommost_compression_type(DBCompressionType::Zstd);
        }
        Access::Membership => {
            options.set_compression_type(DBCompressionType::None);
            options.set_memtable_whole_key_filtering(true);
            options.set_memtable_prefix_bloom_ratio(0.05);
        }
        Access::Queue | Access::Values => options.set_compression_type(DBCompressionType::Lz4),
    }
    options.set_block_based_table_factory(&table);
    options
}
