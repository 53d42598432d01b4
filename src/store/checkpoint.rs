//! Backup of an open store, and restore of a backup.
//!
//! A backup is a directory: `db/` (RocksDB's checkpoint, whose large files are hard links where the
//! disk allows), `VERSION`, and `BACKUP`, which describes it. The directory gets its name only when
//! it is complete and on the disk. A restored store is a new store: it has its own id, so that it
//! reads a broker's topic by its own subscription, and the positions of its embedded bus continue
//! far after all that the original store, or another that was restored from it, can have given out
//! since.

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::database::{DAMAGED, Database, FEW_TABLES};
use super::error::StoreError;
use super::identity::fresh_id;
use super::identity::store_id_key;
use super::keys::MinuteKey;
use super::open::Store;
use super::reader::APPLIED;
use super::unclean::{WRITTEN, skip_positions};
use super::{batch, lock};
use crate::clock::Clock;
use crate::fault;
use crate::model::position::{BusTag, Cursor};
use crate::model::window::{Minute, Timestamp};
use crate::private::{self, LockWait};
use crate::sync::lock;

/// The file that describes a backup.
const NOTE: &str = "BACKUP";
/// The largest such file, in bytes.
const NOTE_BYTES: u64 = 64 << 10;
/// How long a command waits for another that delivers into the same directory.
const LOCK_WAIT: LockWait = LockWait { most: Duration::from_secs(600), is_logged: true };
/// Where a store is restored, in its data directory, until it is complete.
const RESTORING: &str = ".restoring";
/// Files that a data directory may have before a restore.
const NO_STORE: [&str; 10] = [
    "LOCK",
    "VERSION",
    "README.md",
    ".gitignore",
    "ops",
    "ops.secret",
    "lost+found",
    RESTORING,
    WRITTEN,
    DAMAGED,
];

/// Prefix of directories in the data directory through which the appliance and a command exchange
/// files, since neither may have access to the other's files.
pub const EXCHANGE: &str = ".exchange-";

/// Allows one backup at a time in a process: two would use the same hidden names.
static WRITING: Mutex<()> = Mutex::new(());

/// Why a backup cannot be made or restored.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The target exists.
    #[error("{} is not empty: use a directory that does not exist", dir.display())]
    NotEmpty {
        /// The target.
        dir: PathBuf,
    },
    /// The directory is not a backup.
    #[error("{} is not a backup of ghpulse: {why}", dir.display())]
    NotABackup {
        /// The directory.
        dir: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// The database in a backup is damaged.
    #[error("the backup {} is damaged: {reason}; take another one", dir.display())]
    DamagedBackup {
        /// The directory of the backup.
        dir: PathBuf,
        /// `RocksDB`'s error.
        reason: String,
    },
    /// The data directory of a restore is not empty.
    #[error("{} is not empty (it has {found}): use an empty directory with --data, or move its \
             content away", dir.display())]
    Occupied {
        /// The data directory.
        dir: PathBuf,
        /// A file in it.
        found: String,
    },
    /// A file or directory cannot be read or written.
    #[error("cannot {verb} {}: {source}{}", path.display(), private::cure(source))]
    File {
        /// The operation.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The store itself fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CheckpointError {
    /// Whether a file or the disk fails, and the request itself is valid.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(
            self,
            Self::File { .. }
                | Self::DamagedBackup { .. }
                | Self::Store(
                    StoreError::File { .. }
                        | StoreError::Database { .. }
                        | StoreError::Damaged { .. }
                )
        )
    }

    /// Whether another process has the store.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(StoreError::InUse { .. }))
    }
}

/// The description of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupNote {
    /// The id of its store.
    pub store_id: String,
    /// When it was made, RFC 3339, UTC.
    pub made_at: String,
    /// The version of ghpulse that made it.
    pub ghpulse: String,
}

/// A backup on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingBackup {
    /// Its directory.
    pub dir: PathBuf,
    /// Its description.
    #[serde(flatten)]
    pub note: BackupNote,
    /// Bytes of its files. On the store's own disk most files are shared with the store at first.
    pub bytes: u64,
}

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The data directory.
    pub data: PathBuf,
    /// The description of the backup.
    pub from: BackupNote,
    /// The new store's id.
    pub store_id: String,
    /// The cursor up to which the bus was applied; `None` when nothing was.
    pub applied: Option<String>,
    /// The minute in which its newest event was received, RFC 3339; `None` without events.
    pub newest: Option<String>,
}

/// Makes a backup of an open store in `to`, which must not exist or be empty. Missing parents are
/// created. Writes continue meanwhile. Blocks.
///
/// # Errors
/// When `to` is not empty, or a file or the database fails.
pub fn backup(store: &Store, to: &Path, clock: Clock) -> Result<ExistingBackup, CheckpointError> {
    let to = std::path::absolute(to).map_err(failed("find", to))?;
    expect_empty(&to)?;
    let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(CheckpointError::NotEmpty { dir: to });
    };
    private::create_open_dir_all(parent).map_err(failed("create", parent))?;
    backup_into(store, parent, name, clock)
}

/// The same as `name` in `parent`, which must exist: a command that ends while its backup waits for
/// another one removes the directory.
///
/// # Errors
/// As of [`backup`], and when `parent` does not exist.
pub fn backup_into(
    store: &Store,
    parent: &Path,
    name: &OsStr,
    clock: Clock,
) -> Result<ExistingBackup, CheckpointError> {
    let _one = lock(&WRITING);
    let to = parent.join(name);
    expect_empty(&to)?;
    let hidden = format!(".{}{}", name.to_string_lossy(), part_of(store.store_id()));
    let partial = PartialDir(parent.join(hidden));
    partial.begin()?;
    let note = BackupNote {
        store_id: store.store_id().to_owned(),
        made_at: clock.now().to_string(),
        ghpulse: env!("CARGO_PKG_VERSION").to_owned(),
    };
    store.shared.database.checkpoint(&partial.0.join("db"))?;
    lock::check_version(&partial.0, true)?;
    let text = serde_json::to_vec(&note).expect("a note is three texts");
    lock::write_durably(&partial.0.join(NOTE), &text)?;
    let bytes = size_of(&partial.0)?;
    fault::point("backup.before_rename");
    fs::rename(&partial.0, &to).map_err(not_named(&to))?;
    sync_dir(parent)?;
    Ok(ExistingBackup { dir: to, note, bytes })
}

/// The end of the hidden name of a backup of this store that is being made: a dot and the backup's
/// name are before it.
#[must_use]
pub fn part_of(store_id: &str) -> String {
    format!(".{store_id}.part")
}

/// Moves a backup to `to`, which must not exist or be empty. To another disk it is copied, first
/// under a hidden name that ends with `.copy`: an appliance removes `.part`, which it takes for
/// what a crash left. Blocks; waits up to ten minutes while another process delivers into the same
/// directory.
///
/// # Errors
/// When `to` is not empty, `made` is not a backup, the directory stays locked, or a file fails.
pub fn deliver(made: &Path, to: &Path) -> Result<ExistingBackup, CheckpointError> {
    let to = std::path::absolute(to).map_err(failed("find", to))?;
    let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(CheckpointError::NotEmpty { dir: to });
    };
    private::create_open_dir_all(parent).map_err(failed("create", parent))?;
    // Two commands with one target use one hidden name.
    let directory = fs::File::open(parent).map_err(failed("open", parent))?;
    // Where the file system has no locks, nothing can be waited for.
    if !private::lock_within(&directory, parent, LOCK_WAIT).unwrap_or(true) {
        let words = "another process has held its lock for ten minutes; retry when that process \
                     has ended";
        let source = std::io::Error::new(ErrorKind::ResourceBusy, words);
        return Err(failed("lock", parent)(source));
    }
    expect_empty(&to)?;
    let ExistingBackup { note, bytes, .. } = read(made)?;
    match fs::rename(made, &to) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let hidden = format!(".{}.{}.copy", name.to_string_lossy(), note.store_id);
            let partial = PartialDir(parent.join(hidden));
            partial.begin()?;
            copy_files(&made.join("db"), &partial.0.join("db"))?;
            for file in ["VERSION", NOTE] {
                copy_file(&made.join(file), &partial.0.join(file))?;
            }
            sync_dir(&partial.0)?;
            let copied = size_of(&partial.0)?;
            if copied != bytes {
                let source = std::io::Error::other(format!(
                    "the copy has {copied} bytes, the backup {bytes}: another program writes to \
                     it; run the command again"
                ));
                return Err(failed("copy", made)(source));
            }
            fs::rename(&partial.0, &to).map_err(not_named(&to))?;
        }
        Err(source) => return Err(not_named(&to)(source)),
    }
    sync_dir(parent)?;
    read(&to)
}

/// Checks that a backup can be made in `to`: it does not exist, or is an empty directory.
///
/// # Errors
/// When it is not empty, or cannot be read.
pub fn expect_empty(to: &Path) -> Result<(), CheckpointError> {
    let not_empty = || CheckpointError::NotEmpty { dir: to.to_owned() };
    match fs::read_dir(to) {
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| Err(not_empty())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(_) if to.is_file() => Err(not_empty()),
        Err(source) => Err(failed("read", to)(source)),
    }
}

/// Reads the description of a backup.
///
/// # Errors
/// When the directory is not a backup, or cannot be read.
pub fn read(dir: &Path) -> Result<ExistingBackup, CheckpointError> {
    let not_a_backup =
        |why: &str| CheckpointError::NotABackup { dir: dir.to_owned(), why: why.to_owned() };
    let path = dir.join(NOTE);
    let file = match private::open_file(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(not_a_backup("the file `BACKUP` is missing"));
        }
        Err(source) => return Err(failed("read", &path)(source)),
    };
    let mut text = Vec::new();
    file.take(NOTE_BYTES + 1).read_to_end(&mut text).map_err(failed("read", &path))?;
    if text.len() as u64 > NOTE_BYTES {
        return Err(not_a_backup("the file `BACKUP` is too large"));
    }
    let note: BackupNote = serde_json::from_slice(&text)
        .map_err(|error| not_a_backup(&format!("the file `BACKUP` is malformed: {error}")))?;
    if !dir.join("db").join("CURRENT").exists() {
        return Err(not_a_backup("the database is missing"));
    }
    Ok(ExistingBackup { dir: dir.to_owned(), note, bytes: size_of(dir)? })
}

/// Makes a store in `data` from a backup, which stays unchanged. `data` has a store only once it is
/// complete and on the disk. Blocks.
///
/// # Errors
/// When `from` is not a backup, `data` is not empty or in use, or a file fails.
pub fn restore(from: &Path, data: &Path, clock: Clock) -> Result<Restored, CheckpointError> {
    let backup = read(from)?;
    lock::check_version(from, true)?;
    let _lock = lock::Lock::take(data, clock)?;
    expect_no_store(data)?;
    let partial = PartialDir(data.join(RESTORING));
    partial.begin()?;
    copy_files(&from.join("db"), &partial.0.join("db"))?;
    let copied = make_independent(&partial.0, clock.now());
    let (store_id, applied, newest) = copied.map_err(|error| match error {
        StoreError::Damaged { reason, .. } | StoreError::Corrupt { what: reason } => {
            CheckpointError::DamagedBackup { dir: from.to_owned(), reason }
        }
        error => error.into(),
    })?;
    // The records of an earlier store in this directory do not apply to this one.
    for note in [WRITTEN, DAMAGED].map(|name| data.join(name)) {
        private::remove_if_there(&note).map_err(failed("remove", &note))?;
    }
    // A version without a database is refused and can be restored again; so is the reverse.
    lock::check_version(data, false)?;
    fault::point("restore.before_rename");
    let db = data.join("db");
    fs::rename(partial.0.join("db"), &db).map_err(failed("name", &db))?;
    sync_dir(data)?;
    private::give_to_owner(data).map_err(failed("change the owner of files in", data))?;
    Ok(Restored {
        data: data.to_owned(),
        from: backup.note,
        store_id,
        applied: applied.map(|cursor| cursor.to_string()),
        newest: newest.map(|at| at.to_string()),
    })
}

/// Gives the copy its own id. Returns the id, the applied cursor, and the newest minute.
fn make_independent(
    dir: &Path,
    now: Timestamp,
) -> Result<(String, Option<Cursor>, Option<Timestamp>), StoreError> {
    let database = Database::open(dir, Some(FEW_TABLES))?;
    let id = fresh_id();
    let mut counters = batch::CounterCache::default();
    let mut batch = Batch::new(&database, &mut counters);
    batch.put(&store_id_key(), id.as_bytes());
    // A broker's subscription needs nothing: the new id names a new one.
    skip_positions(&mut batch, &database, now)?;
    let applied = database.cursor(APPLIED)?;
    database.write(batch.finish())?;
    database.sync()?;
    let end = MinuteKey { tag: BusTag(u32::MAX), minute: Minute(i64::MAX) };
    let newest = database.last_before(&end)?;
    let newest = newest.map(|key| Timestamp::from_seconds(key.minute.0.saturating_mul(60)));
    database.close();
    Ok((id, applied, newest))
}

/// Checks that `data` has neither a store nor unknown files.
fn expect_no_store(data: &Path) -> Result<(), CheckpointError> {
    for entry in fs::read_dir(data).map_err(failed("read", data))? {
        let found = entry.map_err(failed("read", data))?.file_name();
        let found = found.to_string_lossy().into_owned();
        // A killed command may have left its exchange directory.
        if !NO_STORE.contains(&found.as_str()) && !found.starts_with(EXCHANGE) {
            return Err(CheckpointError::Occupied { dir: data.to_owned(), found });
        }
    }
    Ok(())
}

/// A directory that is filled under a hidden name. It is removed on drop, unless it was renamed.
struct PartialDir(PathBuf);

impl PartialDir {
    /// Creates the directory, removing what an earlier attempt left.
    fn begin(&self) -> Result<(), CheckpointError> {
        match fs::remove_dir_all(&self.0) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                return Err(failed("remove", &self.0)(source));
            }
            _ => {}
        }
        private::create_dir(&self.0).map_err(failed("create", &self.0))
    }
}

impl Drop for PartialDir {
    fn drop(&mut self) {
        // After a rename it no longer exists. What cannot be removed, the next attempt removes.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies files and never links them: a damaged store must not damage its backup.
fn copy_files(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    private::create_dir(to).map_err(failed("create", to))?;
    for entry in fs::read_dir(from).map_err(failed("read", from))? {
        let path = entry.map_err(failed("read", from))?.path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else { continue };
        copy_file(&path, &to.join(name))?;
    }
    sync_dir(to)
}

fn copy_file(from: &Path, to: &Path) -> Result<(), CheckpointError> {
    let mut file = private::open_plain(from).map_err(failed("read", from))?;
    let mut copy = private::fresh(to).map_err(failed("create", to))?;
    std::io::copy(&mut file, &mut copy).map_err(failed("copy", from))?;
    copy.sync_all().map_err(failed("write", to))
}

fn size_of(dir: &Path) -> Result<u64, CheckpointError> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let entry = entry.map_err(failed("read", dir))?;
        let about = entry.metadata().map_err(failed("read", &entry.path()))?;
        let more = if about.is_dir() { size_of(&entry.path())? } else { about.len() };
        bytes = bytes.saturating_add(more);
    }
    Ok(bytes)
}

/// The error of renaming a backup to `to`: another process may have created `to` after
/// [`expect_empty`].
fn not_named(to: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
    move |source| match source.kind() {
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            CheckpointError::NotEmpty { dir: to.to_owned() }
        }
        _ => failed("name", to)(source),
    }
}

fn sync_dir(dir: &Path) -> Result<(), CheckpointError> {
    private::sync_dir(dir).map_err(failed("write", dir))
}

fn failed<'p>(
    verb: &'static str,
    path: &'p Path,
) -> impl FnOnce(std::io::Error) -> CheckpointError + 'p {
    move |source| CheckpointError::File { verb, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
