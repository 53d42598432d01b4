//! One writer at a time in a directory of hours. A writer reads a file, adds to it under a hidden
//! name and renames that; two at once would use the same hidden name, and the later one would lose
//! what the other added. They may be threads, commands, or nodes that share the directory.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::error::ArchiveError;
use crate::logging::line_limit::LineLimit;
use crate::private;
use crate::sync::lock;

/// Name of the file that a writer locks. It stays: removing it would let two writers lock two files
/// of that name.
const LOCK: &str = ".ghpulse.lock";
/// Attempts to lock it, and the pause between them: ten minutes in all. A pass writes up to 48
/// hours, most of them in seconds.
const TRIES: u32 = 6_000;
const PAUSE: Duration = Duration::from_millis(100);

/// The writer in this process, where the file system has no locks.
static WRITING: Mutex<()> = Mutex::new(());

/// Lines that say so.
static UNLOCKED: LineLimit = LineLimit::per_minute(1);

/// The right to write to a directory, until it is dropped or the process ends.
#[must_use]
#[expect(dead_code, reason = "what it holds is only held")]
pub(super) enum SoleWriter {
    /// Of all writers.
    OfAll(File),
    /// Of those in this process.
    OfProcess(MutexGuard<'static, ()>),
}

impl SoleWriter {
    /// Waits until no other writes to `dir`, which exists; fails after ten minutes. Blocks.
    pub(super) fn wait(dir: &Path) -> Result<Self, ArchiveError> {
        Self::wait_for(dir, TRIES)
    }

    fn wait_for(dir: &Path, tries: u32) -> Result<Self, ArchiveError> {
        let path = dir.join(LOCK);
        let file = private::open_lock(&path).map_err(ArchiveError::file("open", &path))?;
        for _ in 0..tries {
            match file.try_lock() {
                Ok(()) => return Ok(Self::OfAll(file)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(error)) => {
                    UNLOCKED.log(|left_out| {
                        let words = "cannot lock a directory of hours: let no other write to it";
                        tracing::warn!(path = %path.display(), %error, left_out, "{words}");
                    });
                    return Ok(Self::OfProcess(lock(&WRITING)));
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
