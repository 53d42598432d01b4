//! Queries many pull requests, or the commits of many pushes, at once and interprets GitHub's
//! response.
//!
//! Guarantees: every response becomes one [`QueryOutcome`]; nothing is retried here; the limits in
//! a response are applied to the token's budget before the outcome is returned. GitHub answers
//! almost everything with status 200: an exceeded limit, half of the data, only errors. So each
//! pull request gets its own [`PullLookup`], and only what GitHub itself reports as not found is
//! [`PullLookup::Gone`].

mod outcome;
mod pull;
mod push;
mod push_range;
mod queried;
mod query;
mod response;
mod totals;

use std::time::Duration;

pub use self::outcome::{QueryError, QueryOutcome};
pub use self::pull::{Language, MOST_PULLS, PullDetails, PullLookup, WantedPull};
pub use self::push::{PushDetails, PushLookup, WantedPush};
pub use self::queried::{AskedBy, ObjectLookup, Queried};
use self::response::Read;
pub use self::totals::{CountsLookup, MOST_REPOSITORIES, RepositoryCounts};

use crate::clock::Clock;
use crate::github::limits::{DeadToken, RateLimits, Reset};
use crate::github::tokens::{Lease, TokenVerdict};
use crate::http::{self, Http, HttpError, HttpOptions, HttpRequest, HttpResponse};
use crate::metrics;

/// GitHub aborts a query after ten seconds; a later response is lost.
const TIMEOUT: Duration = Duration::from_secs(12);
/// Maximum size of a response in bytes: many times that of a hundred titles of the greatest
/// length, and of the usual messages of the commits of 25 pushes. A longer one was too heavy.
const ANSWER_BYTES: usize = 4 << 20;

/// A client of GitHub's GraphQL API, as far as it is needed.
#[derive(Debug)]
pub struct GraphQl {
    http: Http,
    url: String,
    clock: Clock,
}

impl GraphQl {
    /// Creates a client of the API at `url`. Sends nothing yet.
    ///
    /// # Errors
    /// When the URL is invalid or TLS cannot be set up.
    pub fn new(url: &str, clock: Clock) -> Result<Self, HttpError> {
        let url = url.trim().to_owned();
        http::check_address(&url)?;
        let http = Http::new(HttpOptions { timeout: TIMEOUT, body_limit: ANSWER_BYTES })?;
        Ok(Self { http, url, clock })
    }

    /// Queries up to [`Queried::MOST`] objects and settles the lease with the outcome.
    pub async fn ask<W: Queried>(
        &self,
        form: AskedBy,
        wanted: &[W],
        lease: Lease,
    ) -> QueryOutcome<ObjectLookup<W::Details>> {
        let wanted = &wanted[..wanted.len().min(W::MOST)];
        let read = |body: &[u8]| response::read(form, wanted, body);
        self.send(W::write(form, wanted), read, lease).await.0
    }

    /// Queries the totals of up to [`MOST_REPOSITORIES`] repositories, `owner/name`, and settles
    /// the lease with the outcome. Also returns the points that GitHub says it has cost.
    pub async fn ask_totals(
        &self,
        names: &[String],
        lease: Lease,
    ) -> (QueryOutcome<CountsLookup>, Option<u64>) {
        let names = &names[..names.len().min(MOST_REPOSITORIES)];
        self.send(totals::write(names), |body| totals::read(names.len(), body), lease).await
    }

    async fn send<D>(
        &self,
        body: String,
        read: impl FnOnce(&[u8]) -> Read<ObjectLookup<D>>,
        lease: Lease,
    ) -> (QueryOutcome<ObjectLookup<D>>, Option<u64>) {
        let mut request = HttpRequest::post(&self.url, body.into())
            .header("content-type", "application/json")
            .header("accept", "application/json");
        if let Some(token) = lease.token() {
            request = request.bearer(token.expose());
        }
        let start = self.clock.instant();
        let result = self.http.send(request).await;
        let took = self.clock.instant() - start;
        let (outcome, limits) = match result {
            Ok(response) => self.read(read, &response),
            Err(error @ (HttpError::Timeout { .. } | HttpError::TooLarge { .. })) => {
                let is_reported = matches!(error, HttpError::TooLarge { .. });
                let outcome = QueryOutcome::TooHeavy { why: error.to_string(), is_reported };
                (outcome, RateLimits::default())
            }
            Err(error) => (QueryOutcome::Failed(error.into()), RateLimits::default()),
        };
        lease.settle(verdict(&outcome), &limits, took);
        metrics::QUERIES.add_for(outcome.name(), 1);
        (outcome, limits.cost)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&[u8]) -> Read<T>,
        response: &HttpResponse,
    ) -> (QueryOutcome<T>, RateLimits) {
        let now = self.clock.now();
        let mut limits = RateLimits::read(&response.headers, now);
        let outcome = match response.status {
            200 => {
                let read = read(&response.body);
                limits.cost = read.rate.and_then(|rate| rate.cost);
                if let Some(rate) = read.rate.filter(|_| limits.remaining.is_none()) {
                    limits.remaining = Some(rate.remaining);
                    limits.reset = Some(Reset::at(rate.reset, now));
                }
                match read.answer {
                    Ok(QueryOutcome::Limited { .. }) => {
                        QueryOutcome::Limited { wait: limits.wait() }
                    }
                    Ok(outcome) => outcome,
                    Err(why) => QueryOutcome::Failed(self.no_answer(200, why)),
                }
            }
            401 => QueryOutcome::TokenDead { reason: DeadToken::Revoked },
            403 | 429 => match limits.refusal(response.status, &response.body, true) {
                Ok(wait) => QueryOutcome::Limited { wait },
                Err(reason) => QueryOutcome::TokenDead { reason },
            },
            // Proxies in front of GitHub abort a query that takes too long in these two ways.
            502 | 504 => {
                let why = format!("answered {}", response.status);
                QueryOutcome::TooHeavy { why, is_reported: false }
            }
            status => {
                let said = response::words_of(&response.body);
                QueryOutcome::Failed(self.no_answer(status, said))
            }
        };
        (outcome, limits)
    }

    fn no_answer(&self, status: u16, said: String) -> QueryError {
        QueryError::Answer { host: http::shown(&self.url), status, said }
    }
}

fn verdict<T>(outcome: &QueryOutcome<T>) -> TokenVerdict {
    match outcome {
        // GitHub also worked on a query that was too heavy: its seconds count.
        QueryOutcome::Answered(_) | QueryOutcome::TooHeavy { .. } => TokenVerdict::Served,
        QueryOutcome::Limited { wait } => TokenVerdict::Limited(*wait),
        QueryOutcome::TokenDead { reason } => TokenVerdict::Refused(*reason),
        QueryOutcome::Failed(QueryError::Http(error)) => TokenVerdict::without_response(error),
        QueryOutcome::Failed(_) => TokenVerdict::Failed,
    }
}

#[cfg(test)]
mod tests;
