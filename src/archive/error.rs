//! What can go wrong with recorded hours.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::private;
use crate::store::StoreError;

/// Why a file was not imported, or hours not exported.
#[derive(Debug, Error)]
pub enum ArchiveError {
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
    /// A name that stands for no hour.
    #[error("{}: no name of an hour; name it like 2015-01-31-5.json.gz", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Its contents end early or are no gzip; nothing of it was counted.
    #[error("{}: breaks off at line {line} ({reason}); fetch it again", path.display())]
    BreaksOff {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What the decompressor says.
        reason: String,
    },
    /// Nothing in it says when it was created, so it stands for no hour.
    #[error("{}: holds no event with a time ({broken} broken lines); nothing is replaced by it{hint}",
            path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// Lines that were no events.
        broken: u64,
        /// What it looks like and what to do, a semicolon before it; or nothing.
        hint: &'static str,
    },
    /// It is named after another hour than its events are of.
    #[error("{}: its events were created in the hour {found}; rename it, or fetch it again",
            path.display())]
    OtherHour {
        /// The file.
        path: PathBuf,
        /// Name of the hour that most of its events are of.
        found: String,
    },
    /// More events than an hour of GitHub can have.
    #[error("{}: more than {most} events in one file; split it by hours", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: usize,
    },
    /// The store itself fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ArchiveError {
    /// Names the file in what the system says of it.
    pub(crate) fn file<'p>(
        verb: &'static str,
        path: &'p Path,
    ) -> impl Fn(std::io::Error) -> Self + 'p {
        move |source| Self::File { verb, path: path.to_owned(), source }
    }

    /// Whether it is a file, the disk or the store on it that fails, not what a file says.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Store(_))
    }
}
