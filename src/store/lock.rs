//! Ensures one process per data directory, and the right layout version.
//!
//! The system holds the lock on `LOCK` while the process lives, so a crash leaves no lock behind.
//! The content of the file is only for the error message that another process shows.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::StoreError;
use crate::clock::Clock;
use crate::private;

/// The layout version that this build reads and writes.
const VERSION: u32 = 1;
/// What is read of `LOCK` and `VERSION`, in bytes.
const START_BYTES: u64 = 200;

pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(dir: &Path, clock: Clock) -> Result<Self, StoreError> {
        private::create_dir_all(dir).map_err(file_error("create", dir))?;
        let path = dir.join("LOCK");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(file_error("open", &path))?;
        with_retries(|| file.try_lock()).map_err(|error| refused(dir, &path, &file, error))?;
        let now = clock.now().to_string();
        let since = now.split('.').next().unwrap_or_default();
        let text = format!("ghpulse, process {} (since {since} UTC)\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(file_error("write", &path))?;
        Ok(Self { _file: file })
    }

    /// Takes a shared lock, which keeps other processes from opening the store. Writes nothing.
    pub(super) fn take_shared(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("LOCK");
        let file = private::open_file(&path).map_err(file_error("open", &path))?;
        with_retries(|| file.try_lock_shared())
            .map_err(|error| refused(dir, &path, &file, error))?;
        Ok(Self { _file: file })
    }
}

fn refused(dir: &Path, path: &Path, file: &File, error: TryLockError) -> StoreError {
    match error {
        TryLockError::WouldBlock => {
            let mut holder = String::new();
            // The content is only informative, so errors are ignored.
            let _ = file.take(START_BYTES).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                text => text.to_owned(),
            };
            StoreError::InUse { dir: dir.to_owned(), holder }
        }
        TryLockError::Error(cause) => file_error("lock", path)(cause),
    }
}

/// Whether a process has the store in `dir` open now. Changes nothing.
#[must_use]
pub fn is_in_use(dir: &Path) -> bool {
    let file = private::open_file(&dir.join("LOCK"));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Whether there is a store in this directory that this process can look at.
#[must_use]
pub fn is_readable(dir: &Path) -> bool {
    private::open_file(&dir.join("LOCK")).is_ok()
}

/// The start of a small file.
fn read_start(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    private::open_file(path)?.take(START_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Attempts to take a lock, and the pause between them: one second in all.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Retries for a moment: a process that has just ended keeps the lock until the system has closed
/// its files, also those that a child inherited while it was being started.
fn with_retries(try_lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    try_lock()
}

/// Refuses a backup, which must not be written to.
pub(super) fn check_no_backup(dir: &Path) -> Result<(), StoreError> {
    if dir.join("BACKUP").exists() {
        return Err(StoreError::IsBackup { dir: dir.to_owned() });
    }
    Ok(())
}

/// Checks the version without writing; a database without one is refused.
pub(super) fn expect_version(dir: &Path) -> Result<(), StoreError> {
    if dir.join("VERSION").exists() {
        return check_version(dir, false);
    }
    let found = "none".to_owned();
    Err(StoreError::Version { dir: dir.to_owned(), found, expected: VERSION })
}

/// The marker of a directory whose first store is being created, before it has a VERSION.
const CREATING: &str = ".creating";

/// A data directory: with a store, or with one that is still being created.
#[must_use]
pub(super) struct DataDir {
    dir: PathBuf,
    is_new: bool,
}

/// Refuses a directory of another layout, and one whose database is missing: a new store must never
/// replace an old one.
pub(super) fn expect_store(dir: &Path) -> Result<DataDir, StoreError> {
    let (creating, db) = (dir.join(CREATING), dir.join("db"));
    let data_dir = |is_new| DataDir { dir: dir.to_owned(), is_new };
    if dir.join("VERSION").exists() {
        check_version(dir, false)?;
        let missing = [db.clone(), db.join("CURRENT")].into_iter().find(|path| !path.exists());
        return missing.map_or(Ok(data_dir(creating.exists())), |missing| {
            Err(StoreError::NoDatabase { dir: dir.to_owned(), missing })
        });
    }
    if creating.exists() {
        // An earlier process ended while it created the store, which was still empty.
        return Ok(data_dir(true));
    }
    if db.exists() {
        let found = "none".to_owned();
        return Err(StoreError::Version { dir: dir.to_owned(), found, expected: VERSION });
    }
    write_durably(&creating, b"")?;
    Ok(data_dir(true))
}

impl DataDir {
    /// Marks the directory as having a store: the database exists now.
    pub(super) fn complete(self) -> Result<(), StoreError> {
        if !self.is_new {
            return Ok(());
        }
        check_version(&self.dir, true)?;
        let creating = self.dir.join(CREATING);
        private::remove_if_there(&creating).map_err(file_error("remove", &creating))
    }
}

/// Refuses a directory of another layout, and writes the version into a new one. `ours` is whether
/// a database without a version can only have been created by us.
pub(super) fn check_version(dir: &Path, ours: bool) -> Result<(), StoreError> {
    let path = dir.join("VERSION");
    match read_start(&path) {
        Ok(found) if found.trim() == VERSION.to_string() => Ok(()),
        Ok(found) => {
            let found = found.trim().chars().take(40).collect();
            Err(StoreError::Version { dir: dir.to_owned(), found, expected: VERSION })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if dir.join("db").exists() && !ours {
                let found = "none".to_owned();
                return Err(StoreError::Version { dir: dir.to_owned(), found, expected: VERSION });
            }
            write_durably(&path, format!("{VERSION}\n").as_bytes())
        }
        Err(cause) => Err(file_error("read", &path)(cause)),
    }
}

pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = private::write_whole(path, &path.with_extension("new"), bytes);
    written.map_err(file_error("write", path))
}

pub(super) fn file_error<'p>(
    verb: &'static str,
    path: &'p Path,
) -> impl FnOnce(std::io::Error) -> StoreError + 'p {
    move |cause| StoreError::File { verb, path: PathBuf::from(path), cause }
}
