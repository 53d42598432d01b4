//! The outcome of a query.

use std::time::Duration;

use thiserror::Error;

use super::pull::PullLookup;
use super::queried::ObjectLookup;
use crate::github::limits::DeadToken;
use crate::http::HttpError;

/// Why a query returned no data.
#[derive(Debug, Error)]
pub enum QueryError {
    /// No response came.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The response is not valid.
    #[error("{host} answered {status} to a query: {said}")]
    Answer {
        /// The host that was queried.
        host: String,
        /// The status.
        status: u16,
        /// The beginning of the response.
        said: String,
    },
}

/// The outcome of a query.
#[derive(Debug)]
pub enum QueryOutcome<T = PullLookup> {
    /// A response; one result per requested object, in the order of the query.
    Answered(Vec<T>),
    /// The query was too heavy for an answer: a timeout, or a resource limit.
    TooHeavy {
        /// What the response says, for the log.
        why: String,
        /// Whether the response names a resource limit, or is too long. Otherwise GitHub may only
        /// have an outage.
        is_reported: bool,
    },
    /// The token's limit was exceeded; its budget knows until when.
    Limited {
        /// How long to wait, where GitHub specified it.
        wait: Option<Duration>,
    },
    /// The token is refused and has been quarantined.
    TokenDead {
        /// The reason.
        reason: DeadToken,
    },
    /// The query failed.
    Failed(QueryError),
}

impl<D> QueryOutcome<ObjectLookup<D>> {
    /// Its label in the metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let is_unanswered = |one: &ObjectLookup<D>| matches!(one, ObjectLookup::Unanswered);
        match self {
            Self::Answered(found) if found.iter().any(is_unanswered) => "partial",
            Self::Answered(_) => "answered",
            Self::TooHeavy { .. } => "too_heavy",
            Self::Limited { .. } => "limited",
            Self::TokenDead { .. } => "token_refused",
            Self::Failed(_) => "failed",
        }
    }
}
