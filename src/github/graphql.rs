//! Many pull requests in one query, and what GitHub's answer to it means.
//!
//! Promises: every answer becomes one [`QueryOutcome`], nothing is retried here, and what was details of
//! limits has reached the token's budget before the outcome is told. GitHub answers 200 to almost
//! everything: over the limit, with half of the data, with nothing but errors. So each pull request
//! asked for gets its own [`PullLookup`], and only what GitHub itself says is not there is
//! [`PullLookup::Gone`].

mod query;
mod response;

use std::time::Duration;

use thiserror::Error;

use crate::clock::Clock;
use crate::github::limits::{LimitRefusal, RateLimits, Reset};
use crate::github::tokens::{DeadToken, Lease, TokenVerdict};
use crate::http::{self, Http, HttpError, HttpOptions, HttpRequest, HttpResponse};
use crate::metrics;

/// Pull requests in a query; GitHub takes no more node ids.
pub const MOST_PULLS: usize = 100;
/// GitHub ends a query after ten seconds; what takes longer is lost.
const TIMEOUT: Duration = Duration::from_secs(12);
/// The most an answer may weigh: a hundred titles of the greatest length, many times over.
const ANSWER_BYTES: usize = 4 << 20;

/// A pull request, by all the names it can be asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPull {
    /// GitHub's number of its base repository.
    pub base_repo_id: u64,
    /// GitHub's number of it.
    pub pull_id: u64,
    /// `owner/name` of the base repository.
    pub repo: String,
    /// Its number there.
    pub number: u64,
}

/// By which names a query asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedBy {
    /// By computed node ids: short, and right after a repository was renamed.
    NodeIds,
    /// By owner, name and number: always possible.
    Names,
}

/// What an answer says of a pull request; what it does not say is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullDetails {
    /// Its node id, as GitHub has it.
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
    /// What is known of its base repository's language.
    pub language: Language,
}

/// What is known of a repository's language.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Language {
    /// Nothing.
    #[default]
    Unknown,
    /// That it has none.
    Absent,
    /// Its name.
    Named(String),
}

/// What came of one pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullLookup {
    /// It is there.
    Pull(Box<PullDetails>),
    /// GitHub says that it is not there.
    Gone,
    /// The asker may not see it, in GitHub's words; a token of another account may.
    Forbidden(String),
    /// The answer says nothing of it.
    Unanswered,
}

impl WantedPull {
    /// Whose the base repository is: a user or an organisation.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.repo.split('/').next().unwrap_or_default()
    }
}

/// Why nothing was details.
#[derive(Debug, Error)]
pub enum QueryError {
    /// There was no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The answer is none.
    #[error("{host} answered {status} to a query: {said}")]
    Answer {
        /// Where it was asked.
        host: String,
        /// The status.
        status: u16,
        /// What it said.
        said: String,
    },
}

/// What came of a query.
#[derive(Debug)]
pub enum QueryOutcome {
    /// An answer; for each pull request in the order asked.
    Answered(Vec<PullLookup>),
    /// Nothing came, because it was too much at once: a time-out, or a limit of resources.
    TooHeavy(String),
    /// Too much was asked with this token; its budget knows until when.
    Limited {
        /// How long to wait, where GitHub said.
        wait: Option<Duration>,
    },
    /// The token is refused and has been quarantined.
    TokenDead {
        /// Why.
        reason: DeadToken,
    },
    /// No answer.
    Failed(QueryError),
}

impl QueryOutcome {
    /// Its name among the outcomes of the metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answered(found) if found.contains(&PullLookup::Unanswered) => "partial",
            Self::Answered(_) => "answered",
            Self::TooHeavy(_) => "too_heavy",
            Self::Limited { .. } => "limited",
            Self::TokenDead { .. } => "token_refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// GitHub's GraphQL interface, as far as it is needed.
#[derive(Debug)]
pub struct GraphQl {
    http: Http,
    url: String,
    clock: Clock,
}

impl GraphQl {
    /// A client of the interface at `url`; nothing is asked yet.
    ///
    /// # Errors
    /// When the address is none, or TLS cannot be set up.
    pub fn new(url: &str, clock: Clock) -> Result<Self, HttpError> {
        let url = url.trim().to_owned();
        http::check_address(&url)?;
        let http = Http::new(HttpOptions { timeout: TIMEOUT, body_limit: ANSWER_BYTES })?;
        Ok(Self { http, url, clock })
    }

    /// Asks for pull requests, at most [`MOST_PULLS`], and settles the lease with what came of it.
    pub async fn ask(&self, form: AskedBy, wanted: &[WantedPull], lease: Lease) -> QueryOutcome {
        let body = query::write(form, &wanted[..wanted.len().min(MOST_PULLS)]);
        let authorization = lease.token().map(|token| format!("Bearer {}", token.expose()));
        let mut request = HttpRequest::post(&self.url, body.into())
            .header("content-type", "application/json")
            .header("accept", "application/json");
        if let Some(authorization) = &authorization {
            request = request.secret("authorization", authorization);
        }
        let start = self.clock.instant();
        let result = self.http.send(request).await;
        let took = self.clock.instant() - start;
        let (outcome, limits) = match result {
            Ok(response) => self.read(form, wanted, &response),
            Err(error @ HttpError::Timeout { .. }) => {
                (QueryOutcome::TooHeavy(error.to_string()), RateLimits::default())
            }
            Err(error) => (QueryOutcome::Failed(error.into()), RateLimits::default()),
        };
        lease.settle(verdict(&outcome), &limits, took);
        metrics::QUERIES.add_for(outcome.name(), 1);
        outcome
    }

    fn read(
        &self,
        form: AskedBy,
        wanted: &[WantedPull],
        response: &HttpResponse,
    ) -> (QueryOutcome, RateLimits) {
        let now = self.clock.now();
        let mut limits = RateLimits::read(&response.headers, now);
        let said = || response::words_of(&response.body);
        let outcome = match response.status {
            200 => {
                let read = response::read(form, wanted, &response.body);
                if let Some((remaining, reset)) = read.rate.filter(|_| limits.remaining.is_none()) {
                    limits.remaining = Some(remaining);
                    limits.reset = Some(Reset::at(reset, now));
                }
                match read.answer {
                    response::GraphqlResponse::Found(found) => QueryOutcome::Answered(found),
                    response::GraphqlResponse::TooHeavy(why) => QueryOutcome::TooHeavy(why),
                    response::GraphqlResponse::Limited => {
                        QueryOutcome::Limited { wait: wait(&limits) }
                    }
                    response::GraphqlResponse::Nothing(why) => {
                        QueryOutcome::Failed(self.no_answer(200, why))
                    }
                }
            }
            401 => QueryOutcome::TokenDead { reason: DeadToken::Revoked },
            403 | 429 => match limits.refusal(response.status, &response.body, true) {
                LimitRefusal::Wait(wait) => QueryOutcome::Limited { wait: Some(wait) },
                LimitRefusal::WaitLonger => QueryOutcome::Limited { wait: None },
                LimitRefusal::Suspended => QueryOutcome::TokenDead { reason: DeadToken::Suspended },
            },
            // What stands before GitHub ends a query that takes too long in these two ways.
            502 | 504 => QueryOutcome::TooHeavy(format!("answered {}", response.status)),
            status => QueryOutcome::Failed(self.no_answer(status, said())),
        };
        (outcome, limits)
    }

    fn no_answer(&self, status: u16, said: String) -> QueryError {
        QueryError::Answer { host: http::shown(&self.url), status, said }
    }
}

/// How long a limit that came with status 200 lasts.
fn wait(limits: &RateLimits) -> Option<Duration> {
    let until_reset = || limits.reset.filter(|_| limits.remaining == Some(0));
    limits.retry_after.or_else(|| until_reset().map(|reset| reset.after))
}

fn verdict(outcome: &QueryOutcome) -> TokenVerdict {
    match outcome {
        // GitHub worked for what was too heavy, too: its seconds count.
        QueryOutcome::Answered(_) | QueryOutcome::TooHeavy(_) => TokenVerdict::Served,
        QueryOutcome::Limited { wait } => TokenVerdict::Limited(*wait),
        QueryOutcome::TokenDead { reason } => TokenVerdict::Refused(*reason),
        QueryOutcome::Failed(QueryError::Http(error)) if error.is_unsent() => TokenVerdict::Unsent,
        QueryOutcome::Failed(_) => TokenVerdict::Failed,
    }
}

#[cfg(test)]
mod tests;
