//! Errors of the store.

use std::path::{Path, PathBuf};

use crate::private;
use crate::sync::Stopping;

/// Why the store cannot be opened, read or written. All but [`Self::Closed`] end the appliance,
/// which would lose events without a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store open.
    #[error(
        "the store in {dir} is in use by {holder}: stop that process, or give this one another \
         directory with --data"
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// What the other process wrote about itself.
        holder: String,
    },
    /// The store has another layout version.
    #[error(
        "the store in {dir} has version `{found}`, this ghpulse reads version {expected}: run \
         the ghpulse that wrote it, or give another directory with --data"
    )]
    Version {
        /// The data directory.
        dir: PathBuf,
        /// The content of its file VERSION.
        found: String,
        /// The version that this build reads.
        expected: u32,
    },
    /// The directory is a backup.
    #[error("{dir} is a backup, not a store: `ghpulse restore {dir}` makes a store of it")]
    IsBackup {
        /// The directory.
        dir: PathBuf,
    },
    /// A directory or file cannot be used.
    #[error("cannot {verb} {path}: {cause}{}", private::cure(cause))]
    File {
        /// The operation.
        verb: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        cause: std::io::Error,
    },
    /// The directory had a store, and its database is missing.
    #[error(
        "{missing} is missing, although {dir} had a store (there is a file VERSION): restore a \
         backup into an empty directory (`ghpulse restore BACKUP --data DIR`); or, to start with \
         an empty store, remove VERSION and db from {dir}"
    )]
    NoDatabase {
        /// The data directory.
        dir: PathBuf,
        /// The missing file of the database.
        missing: PathBuf,
    },
    /// The directory, or a part of it, was removed or replaced while the store was open.
    #[error(
        "{path} was removed or replaced while the store in {dir} was open: what is taken in now is \
         lost when the process stops; put the directory back, or restore a backup into an empty \
         one (`ghpulse restore BACKUP --data DIR`) and restart"
    )]
    Removed {
        /// The data directory.
        dir: PathBuf,
        /// The path that does not lead to what was opened.
        path: PathBuf,
    },
    /// `RocksDB` reports that its files are damaged.
    #[error(
        "the database in {dir} is damaged: {reason}; restore a backup into an empty directory: \
         `ghpulse restore BACKUP --data DIR`"
    )]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// `RocksDB`'s error.
        reason: String,
    },
    /// `RocksDB` reports another error.
    #[error("the database in {dir} fails: {reason}")]
    Database {
        /// The data directory.
        dir: PathBuf,
        /// `RocksDB`'s error, and what to do.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk of {dir} is full: free some space, or use another directory with --data")]
    Full {
        /// The data directory.
        dir: PathBuf,
    },
    /// A row does not decode.
    #[error("the store is damaged: {what}; restore a backup, or start with an empty directory")]
    Corrupt {
        /// The row.
        what: String,
    },
    /// The store was closed, or an earlier write failed.
    #[error("the store is closed")]
    Closed,
}

/// The system's error for a full disk, which `RocksDB` passes on as text.
const NO_SPACE: &str = "No space left on device";
/// Its error for a process with as many open files as it may have.
const TOO_MANY_FILES: &str = "Too many open files";

impl From<Stopping> for StoreError {
    fn from(_: Stopping) -> Self {
        Self::Closed
    }
}

impl StoreError {
    /// A copy for the next caller: later commits fail with the error that closed the store.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Database { dir, reason } => {
                Self::Database { dir: dir.clone(), reason: reason.clone() }
            }
            Self::Damaged { dir, reason } => {
                Self::Damaged { dir: dir.clone(), reason: reason.clone() }
            }
            Self::Corrupt { what } => Self::Corrupt { what: what.clone() },
            Self::Full { dir } => Self::Full { dir: dir.clone() },
            _ => Self::Closed,
        }
    }

    /// Whether stored data is unreadable, while everything else still works.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Corrupt { .. })
    }

    /// The error of the database in `dir`, with what to do.
    pub(super) fn of_database(dir: &Path, error: &rocksdb::Error) -> Self {
        use rocksdb::ErrorKind;
        let (dir, reason) = (dir.to_owned(), error.to_string());
        let cure = match error.kind() {
            ErrorKind::IOError if reason.contains(NO_SPACE) => return Self::Full { dir },
            ErrorKind::Corruption => return Self::Damaged { dir, reason },
            ErrorKind::ShutdownInProgress => return Self::Closed,
            // Files that it has listed are missing.
            ErrorKind::IOError | ErrorKind::NotFound if reason.contains("No such file") => {
                return Self::Damaged { dir, reason };
            }
            ErrorKind::IOError if reason.contains(TOO_MANY_FILES) => {
                "raise `ulimit -n` (LimitNOFILE= of a systemd unit) and restart"
            }
            ErrorKind::IOError => {
                "check the disk, its free space and the permissions; when the disk has lost data, \
                 restore a backup: `ghpulse restore BACKUP --data DIR`"
            }
            ErrorKind::InvalidArgument | ErrorKind::NotSupported => {
                "if a newer ghpulse has written it, run that version; otherwise restore a backup: \
                 `ghpulse restore BACKUP --data DIR`"
            }
            _ => {
                "restart; when that does not help, restore a backup: \
                 `ghpulse restore BACKUP --data DIR`"
            }
        };
        Self::Database { dir, reason: format!("{reason}; {cure}") }
    }

    /// The error of a row that does not decode.
    #[must_use]
    pub fn corrupt(family: &'static str, key: &[u8]) -> Self {
        let key = hex(&key[..key.len().min(64)]);
        Self::Corrupt { what: format!("a row of `{family}` under {key}") }
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
