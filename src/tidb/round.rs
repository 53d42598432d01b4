//! The result of a sync.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::error::HistoryError;

/// The result of a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Synced {
    /// Whether a query ran; `false` without TiDB, or when too many requests wait.
    pub tried: bool,
    /// Number of daily figures, if they were written.
    pub daily: Option<usize>,
    /// Number of yearly figures, if they were written.
    pub yearly: Option<usize>,
    /// Number of repositories whose language changed, if it was queried.
    pub languages: Option<usize>,
    /// Number of days filled into the ledger, if they were queried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_days: Option<usize>,
    /// Duration in milliseconds.
    pub took_ms: u64,
    /// The error, if any.
    pub error: Option<String>,
}

impl Synced {
    /// Whether every query that ran returned its figures.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.tried && self.error.is_none()
    }

    pub(super) fn refused(why: &str) -> Self {
        let error = Some(why.to_owned());
        Self { tried: false, ..SyncRound::default().synced(Duration::ZERO, error) }
    }
}

/// One line: what was written, and the error.
impl fmt::Display for Synced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        let mut wrote = |what: &str, n: Option<usize>| {
            if let Some(n) = n {
                said.push(format!("wrote {n} {what}"));
            }
        };
        wrote("figures of the days", self.daily);
        wrote("figures of the year", self.yearly);
        wrote("languages of repositories", self.languages);
        wrote("days into the ledger", self.repo_days);
        said.extend(self.error.clone());
        write!(f, "{}", said.join("; "))
    }
}

/// The result of one round of queries.
#[derive(Debug, Default)]
pub(super) struct SyncRound {
    /// Number of figures that were written, by query.
    pub(super) figures: [Option<usize>; 2],
    pub(super) languages: Option<usize>,
    pub(super) repo_days: Option<usize>,
    pub(super) error: Option<HistoryError>,
}

impl SyncRound {
    /// The result for the requester.
    pub(super) fn synced(&self, took: Duration, error: Option<String>) -> Synced {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let Self { figures: [daily, yearly], languages, repo_days, .. } = *self;
        Synced { tried: true, daily, yearly, languages, repo_days, took_ms, error }
    }

    pub(super) fn is_transient(&self) -> bool {
        self.error.as_ref().is_some_and(HistoryError::is_transient)
    }
}
