//! Copies of a store: a backup of one that goes on being written, and a store made from a backup.
//!
//! A backup is a directory of its own: `db/` (RocksDB's checkpoint, its large files hard links
//! where the disk allows), `VERSION`, and `BACKUP`, which says what it is. It has its name when it
//! is whole and on the disk, and not before. A restored store is another store: it gets an id of
//! its own, so that it reads a broker's topic by a subscription of its own, and its embedded bus
//! goes on far behind every position that the store of the backup can have given away since.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::database::{DAMAGED, Database};
use super::keys::MinuteKey;
use super::unclean::{WRITTEN, leave_room};
use super::{APPLIED, Batch, Store, StoreError, batch, fresh_id, lock, store_id_key};
use crate::clock::Clock;
use crate::fault;
use crate::model::position::{BusTag, Cursor};
use crate::model::window::{Minute, Timestamp};
use crate::private;
use crate::sync::lock;

/// What makes a directory a backup.
const NOTE: &str = "BACKUP";
/// A note is a few hundred bytes.
const NOTE_BYTES: u64 = 64 << 10;
/// Where a store grows that is being restored, in its data directory.
const RESTORING: &str = ".restoring";
/// What a directory may have that a store is restored to.
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

/// One at a time in a process: two would write under the same hidden names.
static WRITING: Mutex<()> = Mutex::new(());

/// Why a backup was not made, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Something is there already.
    #[error("{} is not empty: name a directory that is not there yet", dir.display())]
    NotEmpty {
        /// Where the backup was to be.
        dir: PathBuf,
    },
    /// A directory that is no backup.
    #[error("{} is no backup of ghpulse: {why}", dir.display())]
    NoBackup {
        /// The directory.
        dir: PathBuf,
        /// What it lacks.
        why: String,
    },
    /// There is a store where one was to be restored.
    #[error("{} is not empty (it has {found}): name an empty directory with --data, or move away \
             what is in it", dir.display())]
    Occupied {
        /// The data directory.
        dir: PathBuf,
        /// One of the things that are in it.
        found: String,
    },
    /// A file or directory cannot be read or written.
    #[error("cannot {verb} {}: {source}{}", path.display(), private::cure(source))]
    File {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store itself fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CheckpointError {
    /// Whether it is a file or the disk that fails, not what was asked for.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(
            self,
            Self::File { .. }
                | Self::Store(
                    StoreError::File { .. }
                        | StoreError::Database { .. }
                        | StoreError::Damaged { .. }
                )
        )
    }

    /// Whether it is another process that has the store.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(StoreError::InUse { .. }))
    }
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupNote {
    /// Of which store it is.
    pub store_id: String,
    /// When it was made, RFC 3339, UTC.
    pub made_at: String,
    /// The ghpulse that made it.
    pub ghpulse: String,
}

/// A backup that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingBackup {
    /// Its directory.
    pub dir: PathBuf,
    /// What it says of itself.
    #[serde(flatten)]
    pub note: BackupNote,
    /// Bytes of its files. On the store's own disk most of them are shared with it for now.
    pub bytes: u64,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The data directory.
    pub data: PathBuf,
    /// The backup.
    pub from: BackupNote,
    /// The new store's id.
    pub store_id: String,
    /// Up to where the bus was applied, as a cursor; `None` when nothing ever was.
    pub applied: Option<String>,
    /// The minute in which its newest event was received, RFC 3339; `None` without events.
    pub newest: Option<String>,
}

/// Makes a backup of an open store in `to`, which must not be there or be empty. Blocks; writing
/// goes on meanwhile.
pub fn backup(store: &Store, to: &Path, clock: Clock) -> Result<ExistingBackup, CheckpointError> {
    let _one = lock(&WRITING);
    let to = std::path::absolute(to).map_err(failed("find", to))?;
    expect_room(&to)?;
    let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(CheckpointError::NotEmpty { dir: to });
    };
    fs::create_dir_all(parent).map_err(failed("create", parent))?;
    let part = Part(parent.join(format!(".{}.{}.part", name.to_string_lossy(), store.store_id())));
    part.begin()?;
    let note = BackupNote {
        store_id: store.store_id().to_owned(),
        made_at: clock.now().to_string(),
        ghpulse: env!("CARGO_PKG_VERSION").to_owned(),
    };
    store.shared.database.checkpoint(&part.0.join("db"))?;
    lock::check_version(&part.0, true)?;
    let text = serde_json::to_vec(&note).expect("a note is three texts");
    lock::write_durably(&part.0.join(NOTE), &text)?;
    let bytes = size_of(&part.0)?;
    fault::point("backup.before_rename");
    fs::rename(&part.0, &to).map_err(failed("name", &to))?;
    sync_dir(parent)?;
    Ok(ExistingBackup { dir: to, note, bytes })
}

/// Moves a backup to `to`, which must not be there or be empty; copies it where another disk is.
/// Blocks.
pub fn deliver(made: &Path, to: &Path) -> Result<ExistingBackup, CheckpointError> {
    let to = std::path::absolute(to).map_err(failed("find", to))?;
    let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(CheckpointError::NotEmpty { dir: to });
    };
    fs::create_dir_all(parent).map_err(failed("create", parent))?;
    expect_room(&to)?;
    let ExistingBackup { note, .. } = read(made)?;
    match fs::rename(made, &to) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            let hidden = format!(".{}.{}.part", name.to_string_lossy(), note.store_id);
            let part = Part(parent.join(hidden));
            part.begin()?;
            copy_files(&made.join("db"), &part.0.join("db"))?;
            for file in ["VERSION", NOTE] {
                copy_file(&made.join(file), &part.0.join(file))?;
            }
            sync_dir(&part.0)?;
            fs::rename(&part.0, &to).map_err(failed("name", &to))?;
        }
        Err(source) => return Err(failed("name", &to)(source)),
    }
    sync_dir(parent)?;
    read(&to)
}

/// Whether a backup can be made in `to`: nothing is there, or an empty directory.
pub fn expect_room(to: &Path) -> Result<(), CheckpointError> {
    let not_empty = || CheckpointError::NotEmpty { dir: to.to_owned() };
    match fs::read_dir(to) {
        Ok(mut entries) => entries.next().map_or(Ok(()), |_| Err(not_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) if to.is_file() => Err(not_empty()),
        Err(source) => Err(failed("read", to)(source)),
    }
}

/// Reads what a backup says of itself.
pub fn read(dir: &Path) -> Result<ExistingBackup, CheckpointError> {
    let no_backup =
        |why: &str| CheckpointError::NoBackup { dir: dir.to_owned(), why: why.to_owned() };
    let path = dir.join(NOTE);
    let size = match fs::metadata(&path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(no_backup("it has no file `BACKUP`"));
        }
        Err(source) => return Err(failed("read", &path)(source)),
    };
    if size > NOTE_BYTES {
        return Err(no_backup("its file `BACKUP` is too large"));
    }
    let text = fs::read(&path).map_err(failed("read", &path))?;
    let note: BackupNote = serde_json::from_slice(&text)
        .map_err(|error| no_backup(&format!("its file `BACKUP` is wrong: {error}")))?;
    if !dir.join("db").join("CURRENT").exists() {
        return Err(no_backup("it has no database"));
    }
    Ok(ExistingBackup { dir: dir.to_owned(), note, bytes: size_of(dir)? })
}

/// Makes a store in `data` from a backup. Blocks. The backup stays as it is; `data` has a store
/// when all of it is there and on the disk, and not before.
pub fn restore(from: &Path, data: &Path, clock: Clock) -> Result<Restored, CheckpointError> {
    let backup = read(from)?;
    lock::check_version(from, true)?;
    let _lock = lock::Lock::take(data, clock)?;
    expect_no_store(data)?;
    let part = Part(data.join(RESTORING));
    part.begin()?;
    copy_files(&from.join("db"), &part.0.join("db"))?;
    let (store_id, applied, newest) = make_another(&part.0, clock.now())?;
    // What an earlier store in this directory remembered does not hold for this one.
    for note in [WRITTEN, DAMAGED].map(|name| data.join(name)) {
        match fs::remove_file(&note) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove", &note)(error));
            }
            _ => {}
        }
    }
    // A version without a database is refused by name, and restored again; so is the reverse.
    lock::check_version(data, false)?;
    fault::point("restore.before_rename");
    let db = data.join("db");
    fs::rename(part.0.join("db"), &db).map_err(failed("name", &db))?;
    sync_dir(data)?;
    private::give_to_owner(data).map_err(failed("give to its owner what is in", data))?;
    Ok(Restored {
        data: data.to_owned(),
        from: backup.note,
        store_id,
        applied: applied.map(|cursor| cursor.to_string()),
        newest: newest.map(|at| at.to_string()),
    })
}

/// Gives the copy an identity of its own, and looks what it has.
fn make_another(
    dir: &Path,
    now: Timestamp,
) -> Result<(String, Option<Cursor>, Option<Timestamp>), StoreError> {
    let database = Database::open(dir)?;
    let id = fresh_id();
    let mut counters = batch::Counters::default();
    let mut batch = Batch::new(&database, &mut counters);
    batch.put(&store_id_key(), id.as_bytes());
    // A subscription of the broker's is another matter: the restored store gets one of its own.
    leave_room(&mut batch, &database, now)?;
    let applied = database.cursor(APPLIED)?;
    database.write(batch.finish())?;
    database.sync()?;
    let end = MinuteKey { tag: BusTag(u32::MAX), minute: Minute(i64::MAX) };
    let newest = database.last_before(&end)?;
    let newest = newest.map(|key| Timestamp::from_seconds(key.minute.0.saturating_mul(60)));
    database.close();
    Ok((id, applied, newest))
}

/// A store is restored where none is, nor anything that we do not know.
fn expect_no_store(data: &Path) -> Result<(), CheckpointError> {
    for entry in fs::read_dir(data).map_err(failed("read", data))? {
        let found = entry.map_err(failed("read", data))?.file_name();
        let found = found.to_string_lossy().into_owned();
        // What a command left that was killed between an appliance and its own directory.
        if !NO_STORE.contains(&found.as_str()) && !found.starts_with(super::EXCHANGE) {
            return Err(CheckpointError::Occupied { dir: data.to_owned(), found });
        }
    }
    Ok(())
}

/// A directory that grows under a hidden name; what is left of it at the end is removed.
struct Part(PathBuf);

impl Part {
    /// Empty, whatever an earlier attempt left.
    fn begin(&self) -> Result<(), CheckpointError> {
        match fs::remove_dir_all(&self.0) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove", &self.0)(source));
            }
            _ => {}
        }
        private::create_dir(&self.0).map_err(failed("create", &self.0))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It is gone when it got its name; what cannot be removed, the next attempt removes.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies, never links: what happens to a store must not happen to its backup.
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

fn sync_dir(dir: &Path) -> Result<(), CheckpointError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("write", dir))
}

fn failed<'p>(
    verb: &'static str,
    path: &'p Path,
) -> impl FnOnce(std::io::Error) -> CheckpointError + 'p {
    move |source| CheckpointError::File { verb, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
