//! Keys of the ledger.

use super::part::KeyPart;
use super::{Family, Key, keys, short_name};
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

impl Key for LedgerKey {
    const FAMILY: Family = Family::Ledger;

    fn encode(&self, out: &mut Vec<u8>) {
        let (scope, day) = match self {
            Self::Repo(day, _) => (1, day),
            Self::Language(day, _) => (2, day),
            Self::All(day) => (3, day),
            Self::Hours(day) => (4, day),
        };
        out.push(scope);
        day.push(out);
        match self {
            Self::Repo(_, repo) => repo.push(out),
            Self::Language(_, language) => KeyPart::push(language, out),
            Self::All(_) | Self::Hours(_) => {}
        }
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes;
        let (scope, day) = (u8::take(rest)?, Day::take(rest)?);
        let key = match scope {
            1 => Self::Repo(day, u64::take(rest)?),
            2 => Self::Language(day, String::take(rest)?),
            3 => Self::All(day),
            4 => Self::Hours(day),
            _ => return None,
        };
        rest.is_empty().then_some(key)
    }
}

keys! {
    LedgerMonthKey LedgerMonths (month, repo);
}

impl Key for RepoNameKey {
    const FAMILY: Family = Family::RepoNames;

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Of(repo) => {
                out.push(1);
                repo.push(out);
            }
            Self::Named(name) => {
                out.push(2);
                KeyPart::push(name, out);
            }
        }
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes;
        let key = match u8::take(rest)? {
            1 => Self::Of(u64::take(rest)?),
            2 => Self::Named(String::take(rest)?),
            _ => return None,
        };
        rest.is_empty().then_some(key)
    }
}
