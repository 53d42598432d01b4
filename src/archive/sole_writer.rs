//! One writer at a time in a directory of hours. A writer reads a file, adds to it under a hidden
//! name and renames that; two at once would use the same hidden name, and the later one would lose
//! what the other added. They may be threads, commands, or nodes that share the directory.

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::error::ArchiveError;
use crate::logging::line_limit::LineLimit;
use crate::private::{self, LockWait};
use crate::sync::lock;

/// Name of the file that a writer locks. It stays: removing it would let two writers lock two files
/// of that name.
const LOCK: &str = ".ghpulse.lock";
/// How long a command waits for the directory: another one may write a month.
pub(super) const COMMAND_WAIT: LockWait =
    LockWait { most: Duration::from_secs(600), is_logged: true };
/// How long the appliance waits: it retries automatically, and must be able to stop. Its stage
/// reports the result: another node may write to the directory at each of its passes.
pub(super) const STAGE_WAIT: LockWait = LockWait { most: Duration::from_secs(5), is_logged: false };

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
    /// Waits until no other writes to `dir`, which exists; fails when that takes longer than `wait`
    /// allows. Blocks.
    pub(super) fn wait(dir: &Path, wait: LockWait) -> Result<Self, ArchiveError> {
        let path = dir.join(LOCK);
        let file = private::open_lock(&path).map_err(ArchiveError::file("open", &path))?;
        match private::lock_within(&file, &path, wait) {
            Ok(true) => Ok(Self::OfAll(file)),
            Ok(false) => Err(ArchiveError::Busy { dir: dir.to_owned() }),
            Err(error) => {
                UNLOCKED.log(|left_out| {
                    let words = "cannot lock a directory of hours: let no other write to it";
                    tracing::warn!(path = %path.display(), %error, left_out, "{words}");
                });
                Ok(Self::OfProcess(lock(&WRITING)))
            }
        }
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
        let within = |most| LockWait { most, is_logged: false };
        let refused = SoleWriter::wait(dir.path(), within(Duration::from_millis(100)));
        let refused = refused.map(drop).unwrap_err();
        assert!(refused.to_string().contains("another process"), "{refused}");
        let path = dir.path().to_owned();
        let waits = std::thread::spawn(move || SoleWriter::wait(&path, COMMAND_WAIT).map(drop));
        drop(other);
        waits.join().unwrap().unwrap();
        let _again = SoleWriter::wait(dir.path(), within(Duration::ZERO)).unwrap();
    }

    #[test]
    fn a_link_in_place_of_the_lock_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::os::unix::fs::symlink(&target, dir.path().join(LOCK)).unwrap();
        SoleWriter::wait(dir.path(), STAGE_WAIT).map(drop).unwrap_err();
        assert!(!target.exists());
    }
}
