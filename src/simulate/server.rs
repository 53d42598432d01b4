//! The HTTP server: the checks before a page, GitHub's headers and refusals.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::entrance::{AdmittedPage, SimulatedRequest};
use super::faults::FaultKind;
use super::feed::VISIBLE;
use super::json::Object;
use super::page::{self, SimulatedPage};
use super::refusal::{SimulatedOutcome, SimulatedRefusal, counted, json, outcome_of, set_limits};
use super::state::{RequestKind, SharedWorld, Ticket};

const DEFAULT_PER_PAGE: usize = 15;
const MAX_PER_PAGE: usize = 100;
pub(super) const POLL_INTERVAL: HeaderName = HeaderName::from_static("x-poll-interval");

/// Counts every response, and marks it, so that no client mistakes this server for GitHub.
pub(super) async fn mark(
    State(shared): State<Arc<SharedWorld>>,
    mut response: Response,
) -> Response {
    if let Some(SimulatedOutcome(outcome)) = response.extensions_mut().remove() {
        shared.count(outcome);
    }
    let headers = response.headers_mut();
    headers.insert("x-simulated", HeaderValue::from_static("ghpulse"));
    headers.insert("server", HeaderValue::from_static("ghpulse simulate"));
    headers.insert(header::DATE, value(shared.clock.now().http_date()));
    response
}

pub(super) async fn root(State(shared): State<Arc<SharedWorld>>) -> Response {
    let url = format!("http://{}", shared.address);
    let body = Object::new()
        .bare("simulated", true)
        .text("message", "this is ghpulse simulate, not GitHub")
        .text("events_url", &format!("{url}/events"))
        .text("rate_limit_url", &format!("{url}/rate_limit"))
        .text("graphql_url", &format!("{url}/graphql"))
        .end();
    json(StatusCode::OK, body)
}

pub(super) async fn rate_limit(request: SimulatedRequest) -> Result<Response, SimulatedRefusal> {
    let caller = request.admit()?;
    let shared = &request.shared;
    let standing = shared.state().limits.standing(&caller, shared.clock.now());
    let core = Object::new()
        .bare("limit", standing.limit)
        .bare("used", standing.used)
        .bare("remaining", standing.remaining())
        .bare("reset", standing.reset.0)
        .end();
    let resources = Object::new().raw("core", &core).end();
    let body = Object::new().raw("resources", &resources).raw("rate", &core).end();
    let mut response = json(StatusCode::OK, body);
    set_limits(response.headers_mut(), standing);
    Ok(response)
}

pub(super) async fn not_found() -> SimulatedRefusal {
    SimulatedRefusal::new(StatusCode::NOT_FOUND, "Not Found")
}

pub(super) async fn events(request: SimulatedRequest) -> Result<Response, SimulatedRefusal> {
    let admitted = request.enter(RequestKind::Page).await.map_err(SimulatedRefusal::counted)?;
    let AdmittedPage { caller, ticket, standing, now, at_once: _at_once } = admitted;
    let shared = &request.shared;
    let (page, per_page) = asked(request.uri.query().unwrap_or_default());
    if (page - 1).saturating_mul(per_page) >= VISIBLE {
        let standing = shared.state().limits.spend(&caller, 1, now);
        let message = "In order to keep the API fast for everyone, pagination is limited for this \
                       resource.";
        let refusal = SimulatedRefusal::new(StatusCode::UNPROCESSABLE_ENTITY, message);
        return Err(refusal.standing(standing).counted());
    }
    let found = page::take(shared, &ticket, (page, per_page));
    let mut response = answer(&request, &ticket, found);
    // A page that the client already has costs nothing.
    let standing = if response.status() == StatusCode::NOT_MODIFIED {
        standing
    } else {
        shared.state().limits.spend(&caller, 1, now)
    };
    let cache = if caller.token().is_some() { "private" } else { "public" };
    let cache = format!("{cache}, max-age=60, s-maxage=60");
    let all = response.headers_mut();
    set_limits(all, standing);
    all.insert(header::CACHE_CONTROL, value(cache));
    all.insert(header::LINK, value(links(shared.address, page, per_page)));
    all.insert(POLL_INTERVAL, HeaderValue::from(shared.poll_interval));
    all.insert("x-github-media-type", HeaderValue::from_static("github.v3; format=json"));
    Ok(response)
}

/// The requested page and size; values that are not numbers are ignored.
pub(super) fn asked(query: &str) -> (usize, usize) {
    let get = |name: &str| {
        let mut found = query.split('&').filter_map(|pair| pair.split_once('='));
        let last = found.rfind(|(key, _)| *key == name);
        last.and_then(|(_, text)| text.parse::<usize>().ok()).filter(|number| *number > 0)
    };
    let per_page = get("per_page").unwrap_or(DEFAULT_PER_PAGE).min(MAX_PER_PAGE);
    (get("page").unwrap_or(1), per_page)
}

/// The page, or a response that it is unchanged.
fn answer(request: &SimulatedRequest, ticket: &Ticket, page: SimulatedPage) -> Response {
    // A stale page is sent in full even to a client that has it: that is the fault.
    let is_stale = page.fault == Some(FaultKind::Stale.name());
    let is_known = |etag: &str| !is_stale && page::is_known(&request.headers, etag);
    let (mut response, fault) = if page.etag.as_deref().is_some_and(is_known) {
        (StatusCode::NOT_MODIFIED.into_response(), page.fault)
    } else if ticket.fault(FaultKind::CutOff).is_some() {
        (cut_off(&page.body), Some(FaultKind::CutOff.name()))
    } else {
        if request.method != Method::HEAD {
            request.shared.state().ledger.serve(&page.entries);
        }
        (json(StatusCode::OK, page.body), page.fault)
    };
    if let Some(etag) = page.etag {
        response.headers_mut().insert(header::ETAG, value(etag));
    }
    let outcome = outcome_of(response.status(), fault);
    counted(response, outcome)
}

/// Announces the whole body, sends half and closes the connection.
fn cut_off(body: &str) -> Response {
    let half = bytes::Bytes::copy_from_slice(&body.as_bytes()[..body.len() / 2]);
    let broken = stream::unfold(Some(half), |half| async move {
        if let Some(half) = half {
            return Some((Ok(half), None));
        }
        // Lets the first half be sent before the connection breaks.
        tokio::task::yield_now().await;
        let kind = std::io::ErrorKind::ConnectionAborted;
        Some((Err(std::io::Error::new(kind, "cut off on request")), None))
    });
    let mut response = json(StatusCode::OK, String::new());
    *response.body_mut() = Body::from_stream(broken);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len().max(1)));
    response
}

fn links(address: SocketAddr, page: usize, per_page: usize) -> String {
    let last = VISIBLE.div_ceil(per_page);
    let link = |page: usize, rel: &str| {
        format!("<http://{address}/events?per_page={per_page}&page={page}>; rel=\"{rel}\"")
    };
    let mut links = Vec::new();
    if page > 1 {
        links.extend([link(page - 1, "prev"), link(1, "first")]);
    }
    if page < last {
        links.extend([link(page + 1, "next"), link(last, "last")]);
    }
    links.join(", ")
}

pub(super) fn value(text: impl AsRef<str>) -> HeaderValue {
    HeaderValue::from_str(text.as_ref()).expect("made of visible characters")
}
