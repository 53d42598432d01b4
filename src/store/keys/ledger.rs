//! Keys of the ledger.

use super::{keys, short_name, tagged_keys};
use crate::model::window::{Day, Month};

/// A row of a day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LedgerKey {
    /// Counts of a repository, by GitHub's id.
    Repo(Day, u64),
    /// Counts of the repositories of a language.
    Language(Day, String),
    /// Counts of all repositories.
    All(Day),
    /// Which hours of the day were imported, and which are final.
    Hours(Day),
}

/// The row of a repository and a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedgerMonthKey {
    /// The month.
    pub month: Month,
    /// GitHub's id of the repository.
    pub repo: u64,
}

/// A row of the index of names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepoNameKey {
    /// The current name of a repository, by GitHub's id.
    Of(u64),
    /// The repository that last had a name, in lower case; see [`RepoNameKey::named`].
    Named(String),
}

impl RepoNameKey {
    /// The key of a name: names on GitHub do not distinguish upper and lower case.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::Named(short_name(&name.to_ascii_lowercase()))
    }
}

keys! {
    LedgerMonthKey LedgerMonths (month, repo);
}

tagged_keys! {
    LedgerKey Ledger { 1 Repo(day, repo); 2 Language(day, language); 3 All(day); 4 Hours(day); }
    RepoNameKey RepoNames { 1 Of(repo); 2 Named(name); }
}
