//! Keys of the ledger.

use super::{Family, Key, KeyParts, push_i32, short_name};
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
        push_i32(out, day.0);
        match self {
            Self::Repo(_, repo) => out.extend_from_slice(&repo.to_be_bytes()),
            Self::Language(_, language) => out.extend_from_slice(language.as_bytes()),
            Self::All(_) | Self::Hours(_) => {}
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        let (scope, day) = (parts.u8()?, Day(parts.i32()?));
        match scope {
            1 => {
                let repo = parts.u64()?;
                parts.end(Self::Repo(day, repo))
            }
            2 => Some(Self::Language(day, parts.rest()?.to_owned())),
            3 => parts.end(Self::All(day)),
            4 => parts.end(Self::Hours(day)),
            _ => None,
        }
    }
}

impl Key for LedgerMonthKey {
    const FAMILY: Family = Family::LedgerMonths;

    fn encode(&self, out: &mut Vec<u8>) {
        push_i32(out, self.month.0);
        out.extend_from_slice(&self.repo.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        let (month, repo) = (Month(parts.i32()?), parts.u64()?);
        parts.end(Self { month, repo })
    }
}

impl Key for RepoNameKey {
    const FAMILY: Family = Family::RepoNames;

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Of(repo) => {
                out.push(1);
                out.extend_from_slice(&repo.to_be_bytes());
            }
            Self::Named(name) => {
                out.push(2);
                out.extend_from_slice(name.as_bytes());
            }
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        match parts.u8()? {
            1 => {
                let repo = parts.u64()?;
                parts.end(Self::Of(repo))
            }
            2 => parts.rest().map(|name| Self::Named(name.to_owned())),
            _ => None,
        }
    }
}
