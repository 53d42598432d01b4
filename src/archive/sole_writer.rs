//! One writer at a time in a directory of hours. A writer reads a file, adds to it under a hidden
//! name and renames that; two at once would use the same hidden name, and the later one would lose
//! what the other added. They may be threads, commands, or nodes that share the directory.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::error::ArchiveError;
use crate::private;
use crate::sync::lock;

/// Name of the file that a writer locks. It stays: removing it would let two writers lock two files
/// of that name.
const LOCK: &str = ".ghpulse.lock";
/// Attempts to lock it, and the pause between them: a minute in all. An hour is written in less.
const TRIES: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);

/// The writer in this process; it may write to several directories.
static WRITING: Mutex<()> = Mutex::new(());

/// The right to write to a directory, until it is dropped or the process ends.
#[must_use]
pub(super) struct SoleWriter {
    _process: MutexGuard<'static, ()>,
    /// `None` where the file system has no locks.
    _directory: Option<File>,
}

impl SoleWriter {
    /// Waits until no other writes to `dir`, which exists; fails after a minute. Blocks.
    pub(super) fn wait(dir: &Path) -> Result<Self, ArchiveError> {
        Self::wait_for(dir, TRIES)
    }

    fn wait_for(dir: &Path, tries: u32) -> Result<Self, ArchiveError> {
        let process = lock(&WRITING);
        let path = dir.join(LOCK);
        let file = private::open_lock(&path).map_err(ArchiveError::file("open", &path))?;
        for _ in 0..tries {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _process: process, _directory: Some(file) }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => {
                    tracing::debug!(path = %path.display(), %error, "cannot be locked");
                    return Ok(Self { _process: process, _directory: None });
                }
            }
        }
        Err(ArchiveError::Busy { dir: dir.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_that_writes_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let other = private::open_lock(&dir.path().join(LOCK)).unwrap();
        other.lock().unwrap();
        let refused = SoleWriter::wait_for(dir.path(), 2).map(drop).unwrap_err();
        assert!(refused.to_string().contains("another process"), "{refused}");
        let path = dir.path().to_owned();
        let waits = std::thread::spawn(move || SoleWriter::wait(&path).map(drop));
        drop(other);
        waits.join().unwrap().unwrap();
        let _again = SoleWriter::wait_for(dir.path(), 1).unwrap();
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, dir.path().join(LOCK)).unwrap();
        SoleWriter::wait_for(dir.path(), 1).map(drop).unwrap_err();
        assert!(!target.exists());
    }
}
