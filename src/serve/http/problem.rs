//! Error responses: a JSON problem that names the reason and what to do (RFC 9457).

use std::fmt::Display;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use crate::serve::admin::operate::OpsError;
use crate::sync::Stopping;

/// What a handler returns.
pub(crate) type HttpResult = Result<Response, Problem>;

#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// What is wrong, and what to do.
    pub(crate) detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    endpoints: Option<&'static [&'static str]>,
    plain: bool,
}

/// The body of an error response (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemBody<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    /// What is wrong, and what to do.
    detail: &'a str,
    /// The public endpoints, if the path was unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<String>")]
    endpoints: Option<&'static [&'static str]>,
}

/// What a page shows of a problem, for the response to a browser.
#[derive(Debug, Clone)]
pub(crate) struct ProblemDetail(pub(crate) String);

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), headers: Vec::new(), endpoints: None, plain: false }
    }

    /// A refused parameter.
    pub(crate) fn parameter(name: &str, reason: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, format!("{name}: {reason}"))
    }

    /// Something that cannot be answered now; the client may try again within seconds.
    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason).retry_within(1..=3)
    }

    /// An error as one line of text, for a terminal.
    pub(crate) fn plain(status: StatusCode, line: &str) -> Self {
        Self { plain: true, ..Self::new(status, format!("{line}\n")) }
    }

    /// Adds `Retry-After` with a random number of seconds from this range, so that clients do not
    /// all return at once.
    pub(crate) fn retry_within(mut self, seconds: std::ops::RangeInclusive<u64>) -> Self {
        let after = HeaderValue::from(fastrand::u64(seconds));
        self.headers.push((header::RETRY_AFTER, after));
        self
    }

    pub(crate) fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// Lists the endpoints in the body.
    pub(crate) fn with_endpoints(mut self, endpoints: &'static [&'static str]) -> Self {
        self.endpoints = Some(endpoints);
        self
    }
}

/// Kept data that cannot be read now.
impl From<OpsError> for Problem {
    fn from(error: OpsError) -> Self {
        Self::unavailable(error.reason)
    }
}

/// The server is stopping, so the work was not started.
impl From<Stopping> for Problem {
    fn from(_: Stopping) -> Self {
        Self::unavailable("the server is stopping")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("refused"),
            status: self.status.as_u16(),
            detail: &self.detail,
            endpoints: self.endpoints,
        };
        let (mut response, kind) = if self.plain {
            ((self.status, self.detail.clone()).into_response(), "text/plain; charset=utf-8")
        } else {
            ((self.status, Json(body)).into_response(), "application/problem+json")
        };
        if !self.plain {
            response.extensions_mut().insert(ProblemDetail(self.detail));
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}
