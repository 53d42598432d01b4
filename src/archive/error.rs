//! Errors of import and export.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::model::hour_file::HourName;
use crate::model::window::Timestamp;
use crate::private;
use crate::store::StoreError;

/// Why a file was not imported, or hours were not exported.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// A file or directory cannot be read or written.
    #[error("cannot {verb} {}: {source}{}", path.display(), private::cure(source))]
    File {
        /// The operation.
        verb: &'static str,
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Another process has written to the directory all the time.
    #[error("another process writes hours to {}: wait until it has ended, or choose another \
             directory", dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// The file's name does not give an hour.
    #[error("{}: the name is not of an hour; rename it like 2015-01-31-5.json.gz", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// Its contents end early or are not gzip; none of it was counted.
    #[error("{}: truncated at line {line} ({reason}); {cure}", path.display())]
    BreaksOff {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The decompressor's message.
        reason: String,
        /// What to do.
        cure: &'static str,
    },
    /// The file of an hour cannot be extended. Other hours are exported.
    #[error(
        "late events of an hour are left out, and other hours exported; once its file can be \
             read, `ghpulse export` adds them: {source}"
    )]
    Unextended {
        /// Why.
        source: Box<ArchiveError>,
    },
    /// None of its events has a creation time, so its hour is unknown.
    #[error("{}: contains no event with a time ({broken} invalid lines); no counts are \
             replaced{hint}",
            path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// Lines that are not events.
        broken: u64,
        /// A hint with a leading semicolon, or empty.
        hint: &'static str,
    },
    /// Its name gives another hour than its events.
    #[error("{}: its events were created in the hour {found}; rename it, or download it again",
            path.display())]
    OtherHour {
        /// The file.
        path: PathBuf,
        /// Name of the hour of most of its events.
        found: String,
    },
    /// Its hour is not over, so events of it are still to come.
    #[error("{}: the hour {hour} (UTC) is not over: it is {now} by the clock of this machine; \
             import it when it is over", path.display())]
    NotOver {
        /// The file.
        path: PathBuf,
        /// Name of the hour.
        hour: HourName,
        /// The time.
        now: Timestamp,
    },
    /// More events than an hour of GitHub can have.
    #[error("{}: more than {most} events in one file; split it by hours", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// The limit.
        most: usize,
    },
    /// An existing file holds the events of other lists.
    #[error("{}: it was written for {found}, and would be extended for {wanted}; export to another \
             directory, or remove it", path.display())]
    OtherLists {
        /// The file.
        path: PathBuf,
        /// The lists of its events.
        found: String,
        /// The lists that were given.
        wanted: String,
    },
    /// It holds only events on lists, while an import replaces the whole hour.
    #[error("{}: has only events on the lists {lists}, and an import would replace the whole hour; \
             import a file of all its events", path.display())]
    OfLists {
        /// The file.
        path: PathBuf,
        /// The lists.
        lists: String,
    },
    /// The file beside it says that it holds only events on lists.
    #[error("{}: {} beside it names the lists {lists}, and an import would replace the whole hour; \
             if the file has all events of the hour, import it from another directory",
            path.display(), name_of(beside))]
    BesideLists {
        /// The file.
        path: PathBuf,
        /// The file beside it.
        beside: PathBuf,
        /// The lists.
        lists: String,
    },
    /// The hours were not done after the most passes over the journal.
    #[error("hours remain after {most} passes over the journal; export fewer hours at once")]
    Passes {
        /// The limit.
        most: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn name_of(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

impl ArchiveError {
    /// Adds the path to a system error.
    pub(crate) fn file<'p>(
        verb: &'static str,
        path: &'p Path,
    ) -> impl Fn(std::io::Error) -> Self + 'p {
        move |source| Self::File { verb, path: path.to_owned(), source }
    }

    /// Whether another process writes to the directory.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }

    /// The error of an hour that cannot be extended because of this one.
    pub(super) fn of_an_hour(self) -> Self {
        Self::Unextended { source: Box::new(self) }
    }

    /// Whether it concerns one existing file, so that other hours can be written: not where the
    /// disk fails, or the directory refuses.
    pub(super) fn is_of_one_file(&self) -> bool {
        use std::io::ErrorKind::{DirectoryNotEmpty, IsADirectory};
        match self {
            Self::Busy { .. } | Self::Passes { .. } | Self::Store(_) => false,
            Self::File { source, .. } => {
                let is_named = matches!(source.kind(), DirectoryNotEmpty | IsADirectory);
                is_named || source.raw_os_error().is_none()
            }
            _ => true,
        }
    }

    /// Whether the file system or the store failed, rather than the file's contents.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Store(_))
    }
}
