//! The words of the pool: how it is used, what came of a request, how it stands.

use std::fmt;
use std::time::Duration;

use super::account::Owner;
use crate::config::Secret;

/// How the pool is used.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// The tokens in the order of the configuration; empty ones and doubles are left out.
    pub tokens: Vec<Secret>,
    /// The part of each token's limit that polling may use, above 0 and up to 1.
    pub share: f64,
    /// How many requests may go together: the pages of a round.
    pub burst: u32,
}

/// Whether requests carry a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenMode {
    /// There is none, or none that GitHub takes.
    Anonymous,
    /// At least one is not quarantined.
    Tokens,
}

/// Why a token is quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadToken {
    /// 401: revoked, expired or mistyped.
    Revoked,
    /// 403 without a word about limits: its account is suspended.
    Suspended,
}

impl fmt::Display for DeadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => "401: it is revoked, expired or mistyped",
            Self::Suspended => "403: its account is suspended",
        })
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenVerdict {
    /// What was asked for.
    Served,
    /// The page is the same as before; costs nothing.
    Unchanged,
    /// Too much was asked; how long to wait, where that was said.
    Limited(Option<Duration>),
    /// The token is no good.
    Refused(DeadToken),
    /// No answer, or one that says nothing of tokens.
    Failed,
    /// The request never left: costs nothing.
    Unsent,
}

/// How the pool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Whether requests carry a token now.
    pub mode: TokenMode,
    /// Tokens in the configuration.
    pub tokens: usize,
    /// Tokens that GitHub refuses.
    pub quarantined: usize,
    /// Tokens neither quarantined nor used up for now.
    pub usable: usize,
    /// Accounts that the tokens are of: each has limits of its own. A token whose account GitHub
    /// has not told counts as one.
    pub accounts: usize,
}

/// What GitHub says of whose a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Of the account with this number.
    User(u64),
    /// Of no user: an installation of an app, which has limits of its own.
    Nobody,
}

/// Which token a request goes with; stays the same for a token as long as the pool has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenSlotId(pub(crate) u64);

/// The account that a token is of, as far as is known: tokens of one account have equal ones once
/// GitHub has told whose they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountId(pub(super) Owner);

#[cfg(test)]
impl AccountId {
    /// That of GitHub's user of this number.
    pub(crate) const fn of_test(user: u64) -> Self {
        Self(Owner::User(user))
    }
}

/// What a request counts against; GitHub has a limit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Pages,
    Queries,
}
