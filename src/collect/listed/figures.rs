//! The figures of lists and their feeds, for `/status` and `/completeness`.

use crate::model::window::Timestamp;
use crate::store::feeds::ListCounts;

/// A list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFigures {
    /// Its name.
    pub name: String,
    /// Number of names on it.
    pub names: usize,
    /// Whether it is marked `complete: true`.
    pub complete: bool,
    /// Its events.
    pub counts: ListCounts,
    /// Its feeds; all zero unless it is complete.
    pub feeds: FeedFigures,
}

/// Feeds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedFigures {
    /// Number of feeds that were read.
    pub read: usize,
    /// Number of feeds that were not read yet.
    pub waiting: usize,
    /// Number of feeds that GitHub does not show.
    pub closed: usize,
    /// The first of the feeds that are not complete.
    pub named: Vec<ClosedName>,
}

/// A name whose feed is not complete, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedName {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
    /// Since when, where it is known.
    pub since: Option<Timestamp>,
}
