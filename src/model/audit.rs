//! The audit: how much of what happened was seen here, measured by the totals that GitHub states
//! and by the numbers of issues and pull requests. Reported by `/status`, `/completeness`, metrics,
//! and beside exported hours.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::names;
use super::window::Timestamp;

/// How the shares are measured, in one sentence shown next to them.
pub const METHOD: &str = "seen: events received here; grown: what GitHub's totals of the same \
     repositories grew by in the same time; share: seen of all that happened, 95 % interval over \
     repositories; numbers: issues, pull requests and discussions of a repository share one \
     sequence, whose holes were not seen; null: not known yet";

names! {
    /// What is audited. Those of which GitHub states a total come first.
    #[derive(PartialOrd, Ord, Hash)]
    pub enum AuditedKind {
        /// Stars, by `stargazerCount`.
        Stars = "stars",
        /// Forks, by the number of direct forks.
        Forks = "forks",
        /// Published releases, by their number.
        Releases = "releases",
        /// Opened pull requests, by their number.
        PullRequests = "pull_requests",
        /// Opened issues, by their number.
        Issues = "issues",
        /// Opened issues, pull requests and discussions, by holes in their numbers.
        Numbers = "numbers",
    }
}

impl AuditedKind {
    /// Number of kinds of which GitHub states a total.
    pub const STATED: usize = 5;

    /// Whether what was counted can be taken back without an event: a star removed, a fork or an
    /// issue deleted. A pull request cannot be deleted, and its number is never given again.
    #[must_use]
    pub const fn can_be_undone(self) -> bool {
        !matches!(self, Self::PullRequests | Self::Numbers)
    }
}

/// The totals that GitHub states for a repository, in the order of [`AuditedKind::ALL`].
pub type AuditedTotals = [u32; AuditedKind::STATED];

/// How much of one kind was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditShare {
    /// Events of the sampled repositories that were received here in time.
    pub seen: u64,
    /// What the total of the same repositories grew by; of `numbers`: how many were given.
    pub grown: i64,
    /// Sampled repositories in which anything of it happened.
    pub repositories: u64,
    /// How much of what happened was undone, 0 to 1; `None` where that is not known or impossible.
    pub undone: Option<f64>,
    /// The seen share: lower bound, estimate, upper bound of the 95 % interval, 0 to 1. `None`
    /// until there is enough.
    pub share: Option<[f64; 3]>,
}

/// The share of each kind, as it is kept by hour.
pub type HourShares = BTreeMap<Cow<'static, str>, Option<[f64; 3]>>;

/// The sampled repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AuditPanel {
    /// Repositories in the sample.
    pub repositories: u64,
    /// Those of them of which an event was received since the round before the last.
    pub seen_lately: u64,
    /// Repositories that left the sample because they were deleted, made private or renamed away.
    pub gone: u64,
    /// Repositories whose totals are asked for besides the sample, because they are the first of a
    /// ranking or on a list; they enter no share.
    #[serde(default)]
    pub watched: u64,
}

/// That the audit contradicts the estimate from ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditConflict {
    /// Since when.
    pub since: Timestamp,
    /// A description for people.
    pub text: String,
}

/// What GitHub last stated of a sampled or watched repository, and how much of its growth was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RepoGrowth {
    /// Stars it has.
    pub stars: u32,
    /// Direct forks it has.
    pub forks: u32,
    /// When GitHub stated them.
    pub at: Timestamp,
    /// The fraction of the stars and forks that it gained over the last looks which were seen, 0 to
    /// 1; `None` when it gained none.
    pub seen: Option<f64>,
}

/// The result of the audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditReport {
    /// When it was made.
    pub at: Timestamp,
    /// How it was measured.
    pub method: Cow<'static, str>,
    /// The time that the shares are about; `None` before the first two looks at a repository.
    pub from: Option<Timestamp>,
    /// The end of that time.
    pub until: Option<Timestamp>,
    /// The sample.
    pub panel: AuditPanel,
    /// Points of GitHub's GraphQL limit spent in the last hour.
    pub points: u64,
    /// By kind.
    pub shares: BTreeMap<Cow<'static, str>, AuditShare>,
    /// Each sampled or watched repository by GitHub's id; not shown.
    #[serde(skip)]
    pub repos: Arc<HashMap<u64, RepoGrowth>>,
    /// When the audit and the estimate from ids have long contradicted each other.
    pub conflict: Option<AuditConflict>,
}

/// A report older than this says nothing about the present.
const OUTDATED: Duration = Duration::from_secs(2 * 3_600);

impl AuditReport {
    /// The report as shown at this time: without shares when it is outdated, as on a collector
    /// whose stage has stopped.
    #[must_use]
    pub fn shown_at(&self, now: Timestamp) -> Cow<'_, Self> {
        if now.since(self.at) <= OUTDATED {
            return Cow::Borrowed(self);
        }
        let mut report = self.clone();
        report.shares.values_mut().for_each(|share| share.share = None);
        report.conflict = None;
        Cow::Owned(report)
    }

    /// The share of each kind.
    #[must_use]
    pub fn all_shares(&self) -> HourShares {
        self.shares.iter().map(|(name, share)| (name.clone(), share.share)).collect()
    }

    /// The share of one kind: lower bound, estimate, upper bound; `None` while it is not known.
    #[must_use]
    pub fn share(&self, kind: AuditedKind) -> Option<[f64; 3]> {
        self.shares.get(kind.name())?.share
    }
}
