//! Fetches one page of the events of a single repository, organization or person.
//!
//! These feeds have the same form, limits and `ETag`s as the public one. A refusal that concerns
//! the feed (it does not exist, is private or blocked) is not a reason to quarantine the token.

use bytes::Bytes;

use super::{PER_PAGE, Rest, RestError, etag_of, said};
use crate::github::limits::{LimitRefusal, RateLimits};
use crate::github::tokens::{DeadToken, Lease, TokenVerdict};
use crate::http::{self, HttpRequest, HttpResponse};
use crate::metrics;

/// The outcome of a request for a page of a feed.
#[derive(Debug)]
pub enum FeedOutcome {
    /// A page, and its `ETag` unchanged.
    Fresh {
        /// The content, usually a JSON list.
        body: Bytes,
        /// The `ETag` to send next time.
        etag: Option<String>,
    },
    /// The page still has the `ETag` that was sent.
    NotModified,
    /// GitHub does not show this feed: 404 (it does not exist, or is private), 410, 451, or 403
    /// for another reason than limits.
    Closed {
        /// The status.
        status: u16,
    },
    /// A limit was exceeded, or the token is refused; the token's budget knows until when.
    Refused,
    /// The request failed.
    Failed(RestError),
}

/// The response to a request for a page of a feed.
#[derive(Debug)]
pub struct FeedResponse {
    /// The outcome.
    pub outcome: FeedOutcome,
    /// The limits that it reported.
    pub limits: RateLimits,
}

impl Rest {
    /// Fetches a page of the feed at `path`, such as `repos/rust-lang/rust/events`, and settles the
    /// lease with the outcome. Follows GitHub's redirects of renamed repositories.
    pub async fn fetch_feed(
        &self,
        path: &str,
        page: u8,
        lease: Lease,
        etag: Option<&str>,
    ) -> FeedResponse {
        let url = format!("{}/{path}?per_page={PER_PAGE}&page={page}", self.base);
        let request = HttpRequest::get(&url).within_origin();
        let (result, took) = self.send(request, &lease, etag).await;
        let (response, verdict) = match result {
            Ok(response) => self.read_feed(path, response, lease.token().is_some()),
            Err(error) => {
                let verdict =
                    if error.is_unsent() { TokenVerdict::Unsent } else { TokenVerdict::Failed };
                let outcome = FeedOutcome::Failed(error.into());
                (FeedResponse { outcome, limits: RateLimits::default() }, verdict)
            }
        };
        lease.settle(verdict, &response.limits, took);
        metrics::FEED_READS.add_for(response.outcome.name(), 1);
        response
    }

    fn read_feed(
        &self,
        path: &str,
        response: HttpResponse,
        with_token: bool,
    ) -> (FeedResponse, TokenVerdict) {
        let limits = RateLimits::read(&response.headers, self.clock.now());
        let (status, body) = (response.status, &response.body);
        let (outcome, verdict) = match status {
            200 => {
                let etag = etag_of(&response);
                (FeedOutcome::Fresh { body: response.body, etag }, TokenVerdict::Served)
            }
            304 => (FeedOutcome::NotModified, TokenVerdict::Unchanged),
            404 | 410 | 451 => (FeedOutcome::Closed { status }, TokenVerdict::Served),
            401 if with_token => (FeedOutcome::Refused, TokenVerdict::Refused(DeadToken::Revoked)),
            403 if limits.tells_budget() && !limits.is_about_limits(body) => {
                (FeedOutcome::Closed { status }, TokenVerdict::Served)
            }
            403 | 429 => {
                let verdict = match limits.refusal(status, body, with_token) {
                    LimitRefusal::Wait(wait) => TokenVerdict::Limited(Some(wait)),
                    LimitRefusal::WaitLonger => TokenVerdict::Limited(None),
                    LimitRefusal::Suspended => TokenVerdict::Refused(DeadToken::Suspended),
                };
                (FeedOutcome::Refused, verdict)
            }
            status => {
                let what = format!("{}/{path}", http::shown(&self.base));
                let (said, retry_after) = (said(body), limits.retry_after);
                let error = RestError::Trouble { what, status, said, retry_after };
                (FeedOutcome::Failed(error), TokenVerdict::Failed)
            }
        };
        (FeedResponse { outcome, limits }, verdict)
    }
}

impl FeedOutcome {
    /// Its label in the metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::Fresh { .. } => "fresh",
            Self::NotModified => "not_modified",
            Self::Closed { .. } => "closed",
            Self::Refused => "refused",
            Self::Failed(_) => "failed",
        }
    }
}
