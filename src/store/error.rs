//! What can go wrong with the store.

use std::path::{Path, PathBuf};

use crate::private;
use crate::sync::Stopping;

/// Why the store cannot be opened, read or written. All but [`Self::Closed`] end the appliance:
/// going on without the store would lose events.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
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
    /// It was written by another version of the layout.
    #[error(
        "the store in {dir} has version `{found}`, this ghpulse reads version {expected}: run \
         the ghpulse that wrote it, or give another directory with --data"
    )]
    Version {
        /// The data directory.
        dir: PathBuf,
        /// What its VERSION says.
        found: String,
        /// What this build reads.
        expected: u32,
    },
    /// It is a backup.
    #[error("{dir} is a backup, not a store: `ghpulse restore {dir}` makes a store of it")]
    IsBackup {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory or a file in it cannot be used.
    #[error("cannot {verb} {path}: {cause}{}", private::cure(cause))]
    File {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        cause: std::io::Error,
    },
    /// There was a store, and its database is missing.
    #[error(
        "{dir} has had a store (it has a file VERSION), and {missing} is missing: restore a backup \
         into an empty directory (`ghpulse restore BACKUP --data DIR`); or, to begin again with \
         nothing, remove VERSION and db from {dir}"
    )]
    NoDatabase {
        /// The data directory.
        dir: PathBuf,
        /// Which file of the database.
        missing: PathBuf,
    },
    /// `RocksDB` finds its files damaged.
    #[error(
        "the database in {dir} fails, it is damaged: {reason}; restore a backup into an empty \
         directory: `ghpulse restore BACKUP --data DIR`"
    )]
    Damaged {
        /// The data directory.
        dir: PathBuf,
        /// `RocksDB`'s own words.
        reason: String,
    },
    /// `RocksDB` refuses.
    #[error("the database in {dir} fails: {reason}")]
    Database {
        /// The data directory.
        dir: PathBuf,
        /// `RocksDB`'s own words, and what to do.
        reason: String,
    },
    /// There is no room on its disk.
    #[error("the disk of {dir} is full: make room, or give another directory with --data")]
    Full {
        /// The data directory.
        dir: PathBuf,
    },
    /// Our own data is not what we wrote.
    #[error("the store is damaged: {what}; restore a backup, or start with an empty directory")]
    Corrupt {
        /// Which row.
        what: String,
    },
    /// The store was closed, or an earlier write failed.
    #[error("the store is closed")]
    Closed,
}

/// What the system says of a disk without room; `RocksDB` passes it on as text.
const NO_SPACE: &str = "No space left on device";

impl From<Stopping> for StoreError {
    fn from(_: Stopping) -> Self {
        Self::Closed
    }
}

impl StoreError {
    /// The same for the next who asks: what closed the store is why everyone after is refused.
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

    /// Whether something that is stored cannot be read any more, while all else still can.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Corrupt { .. })
    }

    /// What `RocksDB` says of the database in `dir`, with what to do.
    pub(super) fn of_database(dir: &Path, error: &rocksdb::Error) -> Self {
        use rocksdb::ErrorKind;
        let (dir, reason) = (dir.to_owned(), error.to_string());
        let cure = match error.kind() {
            ErrorKind::IOError if reason.contains(NO_SPACE) => return Self::Full { dir },
            ErrorKind::Corruption => return Self::Damaged { dir, reason },
            // Files that it has listed and does not find.
            ErrorKind::IOError | ErrorKind::NotFound if reason.contains("No such file") => {
                return Self::Damaged { dir, reason };
            }
            ErrorKind::IOError => {
                "look at the disk, the room on it and who may write there; when the disk has lost \
                 data, restore a backup: `ghpulse restore BACKUP --data DIR`"
            }
            ErrorKind::InvalidArgument | ErrorKind::NotSupported => {
                "if a newer ghpulse has written it, run that one; otherwise restore a backup: \
                 `ghpulse restore BACKUP --data DIR`"
            }
            _ => {
                "start again; when that does not help, restore a backup: \
                 `ghpulse restore BACKUP --data DIR`"
            }
        };
        Self::Database { dir, reason: format!("{reason}; {cure}") }
    }

    /// A row of ours that does not decode.
    #[must_use]
    pub fn corrupt(family: &'static str, key: &[u8]) -> Self {
        use std::fmt::Write as _;
        let mut what = format!("a row of `{family}` under ");
        for byte in key.iter().take(64) {
            let _ = write!(what, "{byte:02x}");
        }
        Self::Corrupt { what }
    }
}
