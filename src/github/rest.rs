//! Fetches one page of the public events, or of the events of a single repository, organization or
//! person, and interprets GitHub's response; `identity` asks for the account of a token.
//!
//! Guarantees: every response becomes one [`PageOutcome`]; nothing is retried here; the limits in
//! a response are applied to the token's budget before the outcome is returned. `per_page=100` is
//! set explicitly because GitHub's default differs. The API version is pinned. An `ETag` is sent
//! back unchanged, including quotes and `W/`.
//!
//! Single feeds have the same form, limits and `ETag`s as the public one. A refusal that concerns
//! the feed (it does not exist, is private or blocked) is not a reason to quarantine the token.

pub mod identity;

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::clock::Clock;
use crate::config::Secret;
use crate::github::limits::{DeadToken, RateLimits};
use crate::github::shown::first_words;
use crate::github::tokens::{Lease, TokenVerdict};
use crate::http::{self, Headers, Http, HttpError, HttpOptions, HttpRequest, HttpResponse};
use crate::metrics;

/// Events per page; GitHub serves no more.
pub const PER_PAGE: u32 = 100;
/// Maximum size of a page in bytes, decompressed: 100 of the largest events ever observed.
const PAGE_BYTES: usize = 32 << 20;
/// Maximum length of an `ETag` that is sent back. GitHub's have 68 bytes; a request whose headers
/// are too long would be refused each time.
const ETAG_BYTES: usize = 1_024;
/// The version of GitHub's API that this client uses.
pub(super) const API_VERSION: &str = "2022-11-28";
pub(super) const MEDIA_TYPE: &str = "application/vnd.github+json";

/// Why a page could not be fetched.
#[derive(Debug, Error)]
pub enum RestError {
    /// No response came.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// GitHub, or a proxy in front of it, has a temporary failure.
    #[error("{what} answered {status}{said}")]
    Trouble {
        /// Page and host.
        what: String,
        /// The status.
        status: u16,
        /// The beginning of the body after a colon, or empty.
        said: String,
        /// How long no request should be sent.
        retry_after: Option<Duration>,
    },
    /// The response will be the same next time.
    #[error("{what} answered {status}{said}; {cure}")]
    Refused {
        /// Page and host.
        what: String,
        /// The status.
        status: u16,
        /// The beginning of the body after a colon, or empty.
        said: String,
        /// What to do.
        cure: &'static str,
    },
    /// GitHub does not show this feed: 404 (it does not exist, or is private), 410, 451, or 403
    /// for another reason than limits. Never the outcome for the public feed.
    #[error("GitHub does not show it ({status})")]
    Closed {
        /// The status.
        status: u16,
    },
}

impl RestError {
    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http(error) => error.is_transient(),
            Self::Trouble { .. } => true,
            Self::Refused { .. } | Self::Closed { .. } => false,
        }
    }

    /// How long the server asked the client to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Trouble { retry_after, .. } => *retry_after,
            Self::Http(_) | Self::Refused { .. } | Self::Closed { .. } => None,
        }
    }
}

/// The outcome of a request for a page.
#[derive(Debug)]
pub enum PageOutcome {
    /// A page, and its `ETag` unchanged.
    Fresh {
        /// The content, usually a JSON list.
        body: Bytes,
        /// The `ETag` to send next time.
        etag: Option<String>,
    },
    /// The page still has the `ETag` that was sent.
    NotModified,
    /// The limit of this token, or of requests without one, was exceeded; its budget knows until
    /// when.
    Limited {
        /// How long to wait, where GitHub specified it.
        wait: Option<Duration>,
    },
    /// The token is refused and has been quarantined.
    TokenDead {
        /// The reason.
        reason: DeadToken,
    },
    /// The request failed.
    Failed(RestError),
}

impl PageOutcome {
    /// Its label in the metrics and in the log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fresh { .. } => "fresh",
            Self::NotModified => "not_modified",
            Self::Limited { .. } => "limited",
            Self::TokenDead { .. } => "token_refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// An outcome, with the other information of the response.
#[derive(Debug)]
pub struct PageResponse {
    /// The outcome.
    pub outcome: PageOutcome,
    /// The limits that it reported.
    pub limits: RateLimits,
    /// Whether the server reports that it is simulated; `None` without a response.
    pub simulated: Option<bool>,
}

/// A client of GitHub's REST API, as far as it is needed.
#[derive(Debug)]
pub struct Rest {
    http: Http,
    base: String,
    clock: Clock,
}

impl Rest {
    /// Creates a client of the API at this base URL; `timeout` is that of a request. Sends nothing
    /// yet.
    ///
    /// # Errors
    /// When the URL is invalid or TLS cannot be set up.
    pub fn new(api_url: &str, timeout: Duration, clock: Clock) -> Result<Self, HttpError> {
        let base = api_url.trim().trim_end_matches('/').to_owned();
        http::check_address(&base)?;
        let http = Http::new(HttpOptions { timeout, body_limit: PAGE_BYTES })?;
        Ok(Self { http, base, clock })
    }

    /// Fetches a page of the public events and settles the lease with the outcome.
    pub async fn fetch_page(&self, number: u8, lease: Lease, etag: Option<&str>) -> PageResponse {
        let answer = self.fetch(PageOf::All, number, lease, etag).await;
        metrics::REQUESTS.add_for(answer.outcome.name(), 1);
        answer
    }

    /// Fetches a page of the feed at `path`, such as `repos/rust-lang/rust/events`, and settles the
    /// lease with the outcome. Follows GitHub's redirects of renamed repositories.
    pub async fn fetch_feed(
        &self,
        path: &str,
        number: u8,
        lease: Lease,
        etag: Option<&str>,
    ) -> PageResponse {
        let answer = self.fetch(PageOf::Feed(path), number, lease, etag).await;
        let label = match &answer.outcome {
            PageOutcome::Failed(RestError::Closed { .. }) => "closed",
            PageOutcome::Limited { .. } | PageOutcome::TokenDead { .. } => "refused",
            other => other.name(),
        };
        metrics::FEED_READS.add_for(label, 1);
        answer
    }

    async fn fetch(
        &self,
        of: PageOf<'_>,
        number: u8,
        lease: Lease,
        etag: Option<&str>,
    ) -> PageResponse {
        let path = of.path();
        let url = format!("{}/{path}?per_page={PER_PAGE}&page={number}", self.base);
        let request = HttpRequest::get(&url).within_origin();
        let (result, took) = self.send(request, lease.token(), etag).await;
        let answer = match result {
            Ok(response) => self.read(of, number, response, lease.token().is_some()),
            Err(error) => {
                let outcome = PageOutcome::Failed(error.into());
                PageResponse { outcome, limits: RateLimits::default(), simulated: None }
            }
        };
        lease.settle(verdict(&answer.outcome), &answer.limits, took);
        answer
    }

    /// Sends a request with this token. Returns also how long it took.
    async fn send<'a>(
        &self,
        mut request: HttpRequest<'a>,
        token: Option<&Secret>,
        etag: Option<&'a str>,
    ) -> (Result<HttpResponse, HttpError>, Duration) {
        request = request.header("accept", MEDIA_TYPE).header("x-github-api-version", API_VERSION);
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        if let Some(token) = token {
            request = request.bearer(token.expose());
        }
        let start = self.clock.instant();
        let result = self.http.send(request).await;
        (result, self.clock.instant() - start)
    }

    fn read(
        &self,
        of: PageOf<'_>,
        number: u8,
        response: HttpResponse,
        with_token: bool,
    ) -> PageResponse {
        let limits = RateLimits::read(&response.headers, self.clock.now());
        let simulated = Some(is_simulated(&response.headers));
        let (status, body) = (response.status, &response.body);
        let is_feed = matches!(of, PageOf::Feed(_));
        let outcome = match status {
            200 => {
                let etag = etag_of(&response);
                PageOutcome::Fresh { body: response.body, etag }
            }
            304 => PageOutcome::NotModified,
            401 if with_token => PageOutcome::TokenDead { reason: DeadToken::Revoked },
            404 | 410 | 451 if is_feed => PageOutcome::Failed(RestError::Closed { status }),
            403 if is_feed && limits.reports_budget() && !limits.is_about_limits(body) => {
                PageOutcome::Failed(RestError::Closed { status })
            }
            403 | 429 => match limits.refusal(status, body, with_token) {
                Ok(wait) => PageOutcome::Limited { wait },
                Err(reason) => PageOutcome::TokenDead { reason },
            },
            _ => PageOutcome::Failed(self.failure(of, number, &response, &limits)),
        };
        PageResponse { outcome, limits, simulated }
    }

    fn failure(
        &self,
        of: PageOf<'_>,
        number: u8,
        response: &HttpResponse,
        limits: &RateLimits,
    ) -> RestError {
        let (status, said) = (response.status, said(&response.body));
        let address = format!("{}/{}", http::shown(&self.base), of.path());
        let (what, is_passing) = match of {
            PageOf::Feed(_) => (address, true),
            // 5xx, and the statuses that proxies send instead.
            PageOf::All => {
                (format!("page {number} of {address}"), matches!(status, 500..=599 | 408 | 425))
            }
        };
        if is_passing {
            return RestError::Trouble { what, status, said, retry_after: limits.retry_after };
        }
        let cure = match status {
            401 => "it wants a token: set github.tokens",
            422 => "GitHub has no such page: set github.pages to 3",
            _ => "check github.apiUrl",
        };
        RestError::Refused { what, status, said, cure }
    }
}

/// Whose events a page shows.
#[derive(Clone, Copy)]
enum PageOf<'a> {
    /// All public ones.
    All,
    /// Those of the feed at this path.
    Feed(&'a str),
}

impl<'a> PageOf<'a> {
    fn path(self) -> &'a str {
        match self {
            Self::All => "events",
            Self::Feed(path) => path,
        }
    }
}

fn verdict(outcome: &PageOutcome) -> TokenVerdict {
    match outcome {
        PageOutcome::Fresh { .. } | PageOutcome::Failed(RestError::Closed { .. }) => {
            TokenVerdict::Served
        }
        PageOutcome::NotModified => TokenVerdict::Unchanged,
        PageOutcome::Limited { wait } => TokenVerdict::Limited(*wait),
        PageOutcome::TokenDead { reason } => TokenVerdict::Refused(*reason),
        PageOutcome::Failed(RestError::Http(error)) => TokenVerdict::without_response(error),
        PageOutcome::Failed(_) => TokenVerdict::Failed,
    }
}

/// The `ETag` of a page, to be sent back.
fn etag_of(response: &HttpResponse) -> Option<String> {
    response.headers.get("etag").filter(|etag| etag.len() <= ETAG_BYTES).map(str::to_owned)
}

fn is_simulated(headers: &Headers) -> bool {
    headers.get("x-simulated").is_some_and(|value| !matches!(value, "" | "0" | "false"))
}

/// The beginning of a body as one printable line after a colon; empty for an empty body.
pub(super) fn said(body: &[u8]) -> String {
    first_words(body).map_or_else(String::new, |words| format!(": {words}"))
}

#[cfg(test)]
mod tests;
