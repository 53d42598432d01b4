//! What all endpoints share: which callers are admitted, GitHub's refusals, and its headers.

use std::net::SocketAddr;

use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};

use super::faults::FaultKind;
use super::json::Object;
use super::limits::{LimitStanding, SimulatedCaller};
use super::state::{SharedWorld, Ticket};
use crate::model::window::Second;

/// The message of a refusal that asks for a pause.
pub(super) const SECONDARY: &str = "You have exceeded a secondary rate limit. Please wait.";

const API_VERSIONS: &[&str] = &["2022-11-28", "2026-03-10"];

/// Identifies the caller, if it is admitted.
pub(super) fn admit(
    shared: &SharedWorld,
    headers: &HeaderMap,
    peer: SocketAddr,
) -> Result<SimulatedCaller, SimulatedRefusal> {
    if headers.get(header::USER_AGENT).is_none_or(HeaderValue::is_empty) {
        let message = "Request forbidden by administrative rules. Please make sure your request \
                       has a User-Agent header.";
        return Err(SimulatedRefusal::new(StatusCode::FORBIDDEN, message));
    }
    if let Some(version) = headers.get("x-github-api-version")
        && !API_VERSIONS.iter().any(|known| version == *known)
    {
        let message = format!(
            "The version {version:?} is not supported; supported are {}.",
            API_VERSIONS.join(", ")
        );
        return Err(SimulatedRefusal::new(StatusCode::BAD_REQUEST, &message));
    }
    let Some(credentials) = headers.get(header::AUTHORIZATION) else {
        return Ok(SimulatedCaller::Address(peer.ip()));
    };
    let token = credentials.to_str().ok().and_then(|text| text.split_once(' '));
    match token.map(|(scheme, token)| (scheme.to_ascii_lowercase(), token.trim())) {
        Some((scheme, token))
            if ["bearer", "token"].contains(&&*scheme)
                && !token.is_empty()
                && shared.state().apps.accepts(token, shared.clock.now()) =>
        {
            Ok(SimulatedCaller::Token(token.to_owned()))
        }
        _ => Err(SimulatedRefusal::new(StatusCode::UNAUTHORIZED, "Bad credentials")),
    }
}

/// A refusal with GitHub's wording.
pub(super) struct SimulatedRefusal {
    status: StatusCode,
    message: String,
    standing: Option<LimitStanding>,
    retry_after: Option<u64>,
    fault: Option<&'static str>,
    outcome: Option<String>,
}

impl SimulatedRefusal {
    pub(super) fn new(status: StatusCode, message: &str) -> Self {
        let (message, fault, outcome) = (message.to_owned(), None, None);
        Self { status, message, standing: None, retry_after: None, fault, outcome }
    }

    pub(super) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub(super) fn standing(self, standing: LimitStanding) -> Self {
        Self { standing: Some(standing), ..self }
    }

    /// Counted by its status and the fault.
    pub(super) fn counted(self) -> Self {
        let outcome = outcome_of(self.status, self.fault);
        self.counted_as(outcome)
    }

    /// Counted by this word and its status.
    pub(super) fn counted_by(self, word: &str) -> Self {
        let outcome = format!("{word} {}", self.status.as_u16());
        self.counted_as(outcome)
    }

    /// Counted as this outcome.
    pub(super) fn counted_as(self, outcome: String) -> Self {
        Self { outcome: Some(outcome), ..self }
    }
}

/// What a response counts as, in [`Control::outcomes`](super::Control::outcomes).
#[derive(Clone)]
pub(super) struct SimulatedOutcome(pub(super) String);

/// The response, counted as this outcome when it is sent.
pub(super) fn counted(mut response: Response, outcome: String) -> Response {
    response.extensions_mut().insert(SimulatedOutcome(outcome));
    response
}

/// The outcome of a request for a page of the public feed.
pub(super) fn outcome_of(status: StatusCode, fault: Option<&'static str>) -> String {
    let status = status.as_u16();
    fault.map_or_else(|| status.to_string(), |fault| format!("{status} {fault}"))
}

impl IntoResponse for SimulatedRefusal {
    fn into_response(self) -> Response {
        let mut response = if self.status == StatusCode::BAD_GATEWAY {
            let page = "<html><head><title>Unicorn!</title></head><body>502</body></html>\n";
            (self.status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page)
                .into_response()
        } else {
            let body = Object::new()
                .text("message", &self.message)
                .text("documentation_url", "https://docs.github.com/rest")
                .text("status", self.status.as_str())
                .end();
            json(self.status, body)
        };
        if let Some(standing) = self.standing {
            set_limits(response.headers_mut(), standing);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.outcome {
            Some(outcome) => counted(response, outcome),
            None => response,
        }
    }
}

pub(super) fn limited(standing: LimitStanding) -> SimulatedRefusal {
    let message = "API rate limit exceeded. Check the x-ratelimit-reset header.";
    SimulatedRefusal::new(StatusCode::FORBIDDEN, message).standing(standing)
}

/// The first fault of this request that refuses it.
pub(super) fn fault_refusal(
    ticket: &Ticket,
    standing: LimitStanding,
    now: Second,
) -> Option<SimulatedRefusal> {
    ticket.faults.iter().find_map(|fault| {
        let seconds = fault.wait.as_secs_f64().ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let seconds = seconds as u64;
        let refusal = match fault.kind {
            FaultKind::Error500 => {
                SimulatedRefusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Server Error")
                    .standing(standing)
            }
            FaultKind::Error502 => SimulatedRefusal::new(StatusCode::BAD_GATEWAY, ""),
            FaultKind::Error503 => {
                SimulatedRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable")
            }
            FaultKind::Limited => {
                let reset = Second(now.0.saturating_add_unsigned(seconds));
                limited(LimitStanding { used: standing.limit, reset, ..standing })
            }
            FaultKind::Suspended => {
                SimulatedRefusal::new(StatusCode::FORBIDDEN, "Sorry. Your account was suspended.")
            }
            FaultKind::RetryAfter => {
                SimulatedRefusal::new(StatusCode::TOO_MANY_REQUESTS, SECONDARY).retry_after(seconds)
            }
            FaultKind::Revoked => {
                SimulatedRefusal::new(StatusCode::UNAUTHORIZED, "Bad credentials")
            }
            _ => return None,
        };
        Some(SimulatedRefusal { fault: Some(fault.kind.name()), ..refusal })
    })
}

pub(super) fn json(status: StatusCode, body: String) -> Response {
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    let mut response = (status, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Sets the rate-limit headers.
pub(super) fn set_limits(headers: &mut HeaderMap, standing: LimitStanding) {
    set_limits_of(headers, standing, "core");
}

/// Sets the rate-limit headers of one of GitHub's resources.
pub(super) fn set_limits_of(
    headers: &mut HeaderMap,
    standing: LimitStanding,
    resource: &'static str,
) {
    headers.insert("x-ratelimit-limit", HeaderValue::from(standing.limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(standing.remaining()));
    headers.insert("x-ratelimit-used", HeaderValue::from(standing.used));
    headers.insert("x-ratelimit-reset", HeaderValue::from(standing.reset.0));
    headers.insert("x-ratelimit-resource", HeaderValue::from_static(resource));
}
