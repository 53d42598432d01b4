//! The pull requests that a query asks for, and what GitHub reports of each.

use super::lookup::ObjectLookup;

/// Maximum number of pull requests in a query; GitHub accepts no more node ids.
pub const MOST_PULLS: usize = 100;

/// A pull request, with all names by which it can be queried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPull {
    /// GitHub's id of its base repository.
    pub base_repo_id: u64,
    /// GitHub's id of the pull request.
    pub pull_id: u64,
    /// `owner/name` of the base repository.
    pub repo: String,
    /// Its number in that repository.
    pub number: u64,
}

/// The names that a query uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedBy {
    /// Computed node ids: short, and still correct after a repository was renamed.
    NodeIds,
    /// Owner, name and number: always possible.
    Names,
}

/// The details of a pull request; a field missing from the response is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullDetails {
    /// GitHub's node id.
    pub node_id: Option<String>,
    /// Lines added.
    pub additions: Option<u64>,
    /// Lines deleted.
    pub deletions: Option<u64>,
    /// Files changed.
    pub changed_files: Option<u64>,
    /// The title.
    pub title: Option<String>,
    /// Whether it is a draft.
    pub draft: Option<bool>,
    /// The language of its base repository, as far as it is known.
    pub language: Language,
}

/// The language of a repository, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Language {
    /// Not known.
    #[default]
    Unknown,
    /// The repository has no language.
    Absent,
    /// The name of the language.
    Named(String),
}

/// The result for one pull request.
pub type PullLookup = ObjectLookup<Box<PullDetails>>;
