//! One process a directory, one layout a version.
//!
//! `LOCK` is held by the system for as long as the process lives, so a crash leaves nothing
//! behind; what it contains is only for the message that the next one gets.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::StoreError;
use crate::clock::Clock;
use crate::private;

/// The layout that this build reads and writes.
const VERSION: u32 = 1;

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
        match patiently(|| file.try_lock()) {
            Ok(()) => {}
            Err(error) => return Err(refused(dir, path, &file, error)),
        }
        let now = clock.now().to_string();
        let since = now.split('.').next().unwrap_or_default();
        let text = format!("ghpulse, process {} (since {since} UTC)\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(file_error("write", &path))?;
        Ok(Self { _file: file })
    }

    /// Makes sure that nobody has the store for as long as it is held, and writes nothing.
    pub(super) fn look(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("LOCK");
        let file = File::open(&path).map_err(file_error("open", &path))?;
        match patiently(|| file.try_lock_shared()) {
            Ok(()) => Ok(Self { _file: file }),
            Err(error) => Err(refused(dir, path, &file, error)),
        }
    }
}

fn refused(dir: &Path, path: PathBuf, file: &File, error: TryLockError) -> StoreError {
    match error {
        TryLockError::WouldBlock => {
            let mut holder = String::new();
            // Whatever it says, or nothing: the lock itself is what counts.
            let _ = file.take(200).read_to_string(&mut holder);
            let holder = match holder.trim() {
                "" => "another process".to_owned(),
                text => text.to_owned(),
            };
            StoreError::InUse { dir: dir.to_owned(), holder }
        }
        TryLockError::Error(cause) => StoreError::File { verb: "lock", path, cause },
    }
}

/// Whether a process has the store in `dir` now. Changes nothing.
#[must_use]
pub fn is_in_use(dir: &Path) -> bool {
    let file = File::open(dir.join("LOCK"));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// How often a lock that is held is tried again, and after which pause: together a second.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Who was just ended may hold the lock a moment longer: until the system has closed its files, or
/// until a child that it was starting has let go of them.
fn patiently(try_lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    try_lock()
}

/// A backup that were written to would be none any more.
pub(super) fn check_no_backup(dir: &Path) -> Result<(), StoreError> {
    if dir.join("BACKUP").exists() {
        return Err(StoreError::IsBackup { dir: dir.to_owned() });
    }
    Ok(())
}

/// The same without writing: a database that has no version is refused.
pub(super) fn expect_version(dir: &Path) -> Result<(), StoreError> {
    if dir.join("VERSION").exists() {
        return check_version(dir, false);
    }
    let found = "none".to_owned();
    Err(StoreError::Version { dir: dir.to_owned(), found, expected: VERSION })
}

/// What a directory has while its first store is being made. Then it has no VERSION yet.
const CREATING: &str = ".creating";

/// A directory that is used for a store: one that it has, or a new one that is not complete yet.
#[must_use]
pub(super) struct Place {
    dir: PathBuf,
    is_new: bool,
}

/// Refuses a directory of another layout, and one whose database is missing: a new store must
/// never replace one that was there.
pub(super) fn expect_store(dir: &Path) -> Result<Place, StoreError> {
    let (creating, db) = (dir.join(CREATING), dir.join("db"));
    let place = |is_new| Place { dir: dir.to_owned(), is_new };
    if dir.join("VERSION").exists() {
        check_version(dir, false)?;
        let missing = [db.clone(), db.join("CURRENT")].into_iter().find(|path| !path.exists());
        return missing.map_or(Ok(place(creating.exists())), |missing| {
            Err(StoreError::NoDatabase { dir: dir.to_owned(), missing })
        });
    }
    if creating.exists() {
        // It ended while it made the store: nothing was in it.
        return Ok(place(true));
    }
    if db.exists() {
        let found = "none".to_owned();
        return Err(StoreError::Version { dir: dir.to_owned(), found, expected: VERSION });
    }
    write_durably(&creating, b"")?;
    Ok(place(true))
}

impl Place {
    /// The database is there: from now on the directory has a store.
    pub(super) fn complete(self) -> Result<(), StoreError> {
        if !self.is_new {
            return Ok(());
        }
        check_version(&self.dir, true)?;
        let creating = self.dir.join(CREATING);
        match std::fs::remove_file(&creating) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(file_error("remove", &creating)(error))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a directory of another layout; marks a new one with ours. `ours` is whether a database
/// without a version can only have been put there by us.
pub(super) fn check_version(dir: &Path, ours: bool) -> Result<(), StoreError> {
    let path = dir.join("VERSION");
    match std::fs::read_to_string(&path) {
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
        Err(cause) => Err(StoreError::File { verb: "read", path, cause }),
    }
}

pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    // By another name first: half a file must never be taken for a version.
    let draft = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = private::fresh(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        // The name too: a database without a version would be refused.
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(file_error("write", path))
}

pub(super) fn file_error<'p>(
    verb: &'static str,
    path: &'p Path,
) -> impl FnOnce(std::io::Error) -> StoreError + 'p {
    move |cause| StoreError::File { verb, path: PathBuf::from(path), cause }
}
