//! Types of the pool: its options, the verdict on a request, and its state.

use std::time::Duration;

use crate::config::Secret;
use crate::github::limits::DeadToken;
use crate::http::HttpError;
use crate::model::names::names;

/// Options of the pool.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// The tokens in the order of the configuration; empty ones and duplicates are left out.
    pub tokens: Vec<Secret>,
    /// The fraction of each token's limit that polling may use, above 0 and up to 1.
    pub share: f64,
    /// How many requests may go together: the pages of a round.
    pub burst: u32,
}

/// An account, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// The account of this token, and of no other as far as is known.
    Token(TokenSlotId),
    /// GitHub's user with this id.
    User(u64),
}

names! {
    /// Whether requests carry a token.
    pub enum TokenMode {
        /// No token is configured, or GitHub accepts none of them.
        Anonymous = "anonymous",
        /// At least one is not quarantined.
        Tokens = "tokens",
    }
}

/// The verdict on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenVerdict {
    /// It returned what was requested.
    Served,
    /// The page is unchanged; costs nothing.
    Unchanged,
    /// A limit was exceeded; how long to wait, where that was specified.
    Limited(Option<Duration>),
    /// The token is refused.
    Refused(DeadToken),
    /// No response, or one that says nothing about tokens.
    Failed,
    /// The request was never sent: costs nothing.
    Unsent,
}

impl TokenVerdict {
    /// The verdict on a request without a response.
    #[must_use]
    pub fn without_response(error: &HttpError) -> Self {
        if error.is_unsent() { Self::Unsent } else { Self::Failed }
    }
}

/// The state of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Whether requests carry a token now.
    pub mode: TokenMode,
    /// Number of tokens in the configuration.
    pub tokens: usize,
    /// Number of tokens that GitHub refuses.
    pub quarantined: usize,
    /// Number of tokens neither quarantined nor exhausted.
    pub usable: usize,
    /// Number of accounts that own the tokens: each has limits of its own. A token whose account
    /// GitHub has not reported counts as one.
    pub accounts: usize,
}

/// GitHub's answer about the account of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// The account with this id.
    User(u64),
    /// No user: an app installation, which has limits of its own.
    Nobody,
}

/// Identifies the token of a request; unchanged as long as the pool has the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenSlotId(pub(crate) u64);

/// The account of a token, as far as it is known: equal for tokens of one account once GitHub has
/// reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountId(pub(super) Owner);

#[cfg(test)]
impl AccountId {
    /// The account of GitHub's user with this id.
    pub(crate) const fn of_test(user: u64) -> Self {
        Self(Owner::User(user))
    }
}

/// What a query of the stream asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKind {
    /// Pull requests.
    Pulls,
    /// The commits of pushes.
    Pushes,
}

/// What a request counts against; GitHub has a limit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Pages,
    /// Feeds of single repositories, owners and people: GitHub counts them with the pages, and they
    /// have a share of their own.
    Feeds,
    /// Queries of the stream: GitHub counts both kinds together, and each has a share.
    Queries(QueryKind),
    /// Queries of the audit: GitHub counts them with the other queries, and they have a small share
    /// of that limit.
    Audits,
}

impl Resource {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [
        Self::Pages,
        Self::Feeds,
        Self::Queries(QueryKind::Pulls),
        Self::Queries(QueryKind::Pushes),
        Self::Audits,
    ];

    /// Whether a refusal for one says that the hourly limit for the other is used up too.
    pub(super) fn shares_hour_with(self, other: Self) -> bool {
        let is_rest = |it: Self| matches!(it, Self::Pages | Self::Feeds);
        let is_query = |it: Self| matches!(it, Self::Queries(_));
        let is_of = |group: &dyn Fn(Self) -> bool| group(self) && group(other);
        self == other || is_of(&is_rest) || is_of(&is_query)
    }
}
