//! Where recorded hours are written, and how.

use std::path::PathBuf;

/// Where files go, and what is not shown in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveTarget {
    /// Their directory.
    pub dir: PathBuf,
    /// Whether e-mail addresses in commits are hashed, as GH Archive does.
    pub hashes_emails: bool,
}
