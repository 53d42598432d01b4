//! Directories in the data directory through which an appliance and a command exchange files.
//!
//! The appliance may run in a sandbox with its own `/tmp`, without write access where the command
//! has it, or as a user without read access to the command's files. Both have access to the data
//! directory.
//!
//! Beside each directory is a lock file. The command locks it while it runs, and the appliance
//! while it works in the directory, both shared. The system releases a lock when its process ends,
//! even if it was killed. So a directory whose lock file nobody has locked is abandoned, whatever
//! the clock says.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use crate::serve::OpsError;
use crate::store::EXCHANGE;
use crate::{private, secrets};

/// Number of hexadecimal digits in a name.
const DIGITS: usize = 32;
/// The end of a lock file's name; before it is the name of the directory.
const LOCK: &str = ".lock";
/// Attempts to create a lock file that the appliance does not remove before it is locked.
const TRIES: usize = 10;
/// The name of a requested backup in the exchange directory.
pub(super) const BACKUP: &str = "backup";

/// A new name that cannot be guessed.
#[must_use]
pub fn new_name() -> String {
    format!("{EXCHANGE}{}", secrets::word())
}

/// The path of the exchange directory that a request names.
pub(super) fn path_of(data: &Path, name: &str) -> Result<PathBuf, OpsError> {
    let digits = name.strip_prefix(EXCHANGE).unwrap_or_default();
    if digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(data.join(name));
    }
    let shown: String = name.chars().take(80).collect();
    Err(wrong(format!("`{shown}` does not name an exchange directory: {EXCHANGE} and 32 digits")))
}

/// A shared lock on an exchange directory, which keeps it from being removed as abandoned.
pub struct ExchangeLock(File);

impl ExchangeLock {
    /// Takes the lock of a new exchange directory, for the command that chose its name.
    ///
    /// # Errors
    /// When the lock file cannot be created or locked.
    pub fn create(data: &Path, name: &str) -> io::Result<Self> {
        let path = lock_of(data, name);
        for _ in 0..TRIES {
            let file = private::fresh(&path)?;
            private::give_to_owner(data)?;
            file.lock_shared()?;
            // Between the two the appliance may have taken it for abandoned.
            if file.metadata()?.nlink() > 0 {
                return Ok(Self(file));
            }
        }
        Err(ErrorKind::ResourceBusy.into())
    }

    /// Takes the lock beside the command, for the appliance; `None` when the command has made no
    /// lock file, as older versions do. Fails when the command has ended meanwhile.
    fn join(data: &Path, name: &str) -> Result<Option<Self>, OpsError> {
        let ended = || wrong("the command has ended".to_owned());
        if remove_unused(data, name) {
            return Err(ended());
        }
        let failed = |error: io::Error| {
            let path = lock_of(data, name);
            let reason = format!("cannot lock {}: {error}", path.display());
            OpsError { is_io: true, reason }
        };
        let file = match private::open_file(&lock_of(data, name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        match file.try_lock_shared() {
            // Without a link it was removed in between.
            Ok(()) if file.metadata().map_err(failed)?.nlink() > 0 => Ok(Some(Self(file))),
            Ok(()) | Err(TryLockError::WouldBlock) => Err(ended()),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Ends the command's use: removes the directory, and the lock file unless the appliance still
    /// works in the directory. Then the appliance removes both later.
    pub fn end(&self, data: &Path, name: &str) {
        let _ = std::fs::remove_dir_all(data.join(name));
        if self.0.unlock().is_ok() {
            remove_unused(data, name);
        }
    }

    /// The same when a signal ends the command. Without a directory its request may not have
    /// arrived yet: then the lock file stays, by which the appliance sees that the command has
    /// ended. Otherwise it would make a directory that is never removed.
    pub fn interrupt(&self, data: &Path, name: &str) {
        match std::fs::remove_dir_all(data.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => self.end(data, name),
        }
    }
}

fn lock_of(data: &Path, name: &str) -> PathBuf {
    data.join(format!("{name}{LOCK}"))
}

/// Creates the exchange directory, and takes its lock; fails when it already exists.
pub(super) fn make(data: &Path, name: &str) -> Result<(PathBuf, Option<ExchangeLock>), OpsError> {
    let path = path_of(data, name)?;
    let lock = ExchangeLock::join(data, name)?;
    private::create_dir(&path).map_err(|error| {
        let reason = format!("cannot create {}: {error}{}", path.display(), private::cure(&error));
        OpsError { is_io: true, reason }
    })?;
    Ok((path, lock))
}

/// The path of a file in an exchange directory, and the lock of the directory.
pub(super) fn file_in(
    data: &Path,
    name: &str,
    file: &str,
) -> Result<(PathBuf, Option<ExchangeLock>), OpsError> {
    let mut parts = Path::new(file).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => {
            let path = path_of(data, name)?.join(file);
            Ok((path, ExchangeLock::join(data, name)?))
        }
        _ => Err(wrong("the name of a file has no `/`".to_owned())),
    }
}

/// Removes the directories that nobody uses any more, and at the start of the appliance also those
/// without a lock file, which commands of older versions have left.
pub(super) fn tidy(data: &Path, is_start: bool) {
    let entries = std::fs::read_dir(data).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: BTreeSet<String> =
        names.map(|name| name.strip_suffix(LOCK).unwrap_or(&name).to_owned()).collect();
    for name in names.iter().filter(|name| path_of(data, name).is_ok()) {
        let has_lock = lock_of(data, name).exists();
        if has_lock && remove_unused(data, name) {
            tracing::warn!(name, "removed what an ended command had left");
        } else if !has_lock && is_start {
            // A failed removal is retried at the next start.
            let _ = std::fs::remove_dir_all(data.join(name));
        }
    }
}

/// Removes a directory whose lock file nobody has locked. Returns whether it is gone; a failed
/// removal is retried soon.
fn remove_unused(data: &Path, name: &str) -> bool {
    let lock = lock_of(data, name);
    // A network file system locks only files that are open for writing.
    let opened = OpenOptions::new().read(true).write(true).open(&lock);
    let Ok(file) = opened else { return false };
    if file.try_lock().is_err() {
        return false;
    }
    match std::fs::remove_dir_all(data.join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => false,
        _ => std::fs::remove_file(&lock).is_ok(),
    }
}

fn wrong(reason: String) -> OpsError {
    OpsError { is_io: false, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_nothing_outside_of_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let name = new_name();
        assert!(make(dir.path(), &name).unwrap().0.is_dir());
        assert!(make(dir.path(), &name).err().unwrap().is_io, "it is there already");
        assert!(file_in(dir.path(), &name, "2015-01-01-1.json.gz").is_ok());
        for file in ["", "..", "/etc/passwd", "a/b", "../x", "."] {
            assert!(file_in(dir.path(), &name, file).is_err(), "{file}");
        }
        for name in
            ["", "/etc/cron.d/x", "..", ".exchange-", &format!("{EXCHANGE}{}", "../a".repeat(8))]
        {
            assert!(!make(dir.path(), name).err().unwrap().is_io, "{name}");
        }
        std::fs::write(dir.path().join("db"), "").unwrap();
        tidy(dir.path(), false);
        let taken = make(dir.path(), &name).err().unwrap();
        assert!(taken.is_io, "who has made it is not known: {}", taken.reason);
        tidy(dir.path(), true);
        assert_eq!(left(dir.path()), ["db"]);
    }

    /// The entries of a directory.
    fn left(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn directory_is_kept_while_its_command_or_a_request_uses_it() {
        let dir = tempfile::tempdir().unwrap();
        let name = new_name();
        let command = ExchangeLock::create(dir.path(), &name).unwrap();
        let (path, request) = make(dir.path(), &name).unwrap();
        std::fs::write(path.join("file"), "x").unwrap();
        for is_start in [false, true] {
            tidy(dir.path(), is_start);
            assert!(path.join("file").exists(), "the command lives");
        }
        // The command is interrupted, and the request still writes.
        command.end(dir.path(), &name);
        drop(command);
        std::fs::create_dir_all(&path).unwrap();
        tidy(dir.path(), false);
        assert!(path.exists(), "the request has not ended");
        drop(request);
        tidy(dir.path(), false);
        assert!(left(dir.path()).is_empty());
        // A command that was killed removes nothing itself.
        let command = ExchangeLock::create(dir.path(), &name).unwrap();
        let made = make(dir.path(), &name).unwrap();
        drop((command, made));
        assert_eq!(left(dir.path()).len(), 2);
        tidy(dir.path(), false);
        assert!(left(dir.path()).is_empty());
        // A command that has failed before it sent a request.
        let command = ExchangeLock::create(dir.path(), &name).unwrap();
        command.end(dir.path(), &name);
        assert!(left(dir.path()).is_empty());
    }

    #[test]
    fn request_that_arrives_after_its_command_was_interrupted_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let begin = || {
            let name = new_name();
            (ExchangeLock::create(dir.path(), &name).unwrap(), name)
        };
        let (command, name) = begin();
        command.interrupt(dir.path(), &name);
        drop(command);
        let refused = make(dir.path(), &name).err().unwrap();
        assert!(refused.reason.contains("the command has ended"), "{}", refused.reason);
        assert!(left(dir.path()).is_empty());
        // The request never arrives.
        let (command, name) = begin();
        command.interrupt(dir.path(), &name);
        drop(command);
        tidy(dir.path(), false);
        assert!(left(dir.path()).is_empty());
        // It has ended, and the command has not read the answer.
        let (command, name) = begin();
        drop(make(dir.path(), &name).unwrap());
        command.interrupt(dir.path(), &name);
        assert!(left(dir.path()).is_empty(), "at once");
    }
}
