//! Where recorded hours are written, and how.

use std::path::PathBuf;

use crate::config::HourFormat;
use crate::model::hour_file;
use crate::model::window::Hour;

/// Where files go, and what is not shown in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveTarget {
    /// Their directory.
    pub dir: PathBuf,
    /// Rows or columns.
    pub format: HourFormat,
    /// Whether e-mail addresses in commits are hashed, as GH Archive does.
    pub hashes_emails: bool,
}

impl ArchiveTarget {
    /// The file of an hour; of both, that of the rows.
    pub(super) fn file(&self, hour: Hour) -> PathBuf {
        let has_rows = self.format.has_rows();
        let name = if has_rows { hour_file::rows_name } else { hour_file::columns_name };
        self.dir.join(name(hour))
    }
}
