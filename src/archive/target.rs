//! Where recorded hours are written, and how.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::config::HourFormat;
use crate::lists::ListSet;
use crate::model::event::Event;

/// Where files go, and what is not shown in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveTarget {
    /// Their directory.
    pub dir: PathBuf,
    /// Rows or columns.
    pub format: HourFormat,
    /// Whether e-mail addresses in commits are hashed, as GH Archive does.
    pub hashes_emails: bool,
    /// Only events on these lists are written.
    pub lists: ListSet,
}

impl ArchiveTarget {
    /// Whether an event is written.
    pub(super) fn takes(&self, event: &Event<'_>) -> bool {
        if self.lists.is_empty() {
            return true;
        }
        let lower = |name: &Option<Cow<'_, str>>| name.as_deref().map(str::to_ascii_lowercase);
        let (repo, actor) = (lower(&event.repo_name), lower(&event.actor_login));
        self.lists.takes(repo.as_deref(), actor.as_deref())
    }
}
