//! `/stream`: one query in several forms. Which form a request gets: an upgrade becomes a
//! WebSocket, `Accept` decides between server-sent events and lines of JSON, and who does not say
//! gets lines.

pub(super) mod feed;
mod pack;
mod params;
pub(super) mod pump;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};

use self::feed::StreamFeed;
pub(super) use self::pack::PACKED;
pub(super) use self::params::NAMES;
use self::params::{Bounds, StreamParams};
use self::pump::{Pump, Source};
use super::params::BadParams;
use super::problem::Problem;
use super::server::Server;
use super::{handshake, wish};
use crate::hub::{Bell, Follower, Portion, StreamForm};
use crate::metrics;

/// As metrics and logs name it.
const NAME: &str = "/stream";
pub(super) const SSE: &str = "text/event-stream";
pub(super) const NDJSON: &str = "application/x-ndjson";
/// What a reader comes back with.
pub(super) const LAST_EVENT_ID: &str = "last-event-id";

pub(super) async fn stream(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let answer = if handshake::is_websocket(request.headers()) {
        open(&server, request)
    } else {
        flow(&server, &request)
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// As a WebSocket. A query that cannot be read is answered on it, where a page can see it.
fn open(server: &Arc<Server>, request: Request<Body>) -> Result<Response, Problem> {
    let asked = asked(server, &request);
    if !server.hub.has_journal() {
        return Err(no_journal());
    }
    let hint = "or ask for text/event-stream or application/x-ndjson with `Accept`";
    Ok(handshake::open(server, request, hint, |server, bell, deflates| {
        let form = if deflates { StreamForm::Deflated } else { StreamForm::WebSocket };
        StreamFeed::new(Arc::clone(server), bell, form, asked)
    }))
}

/// As an answer that does not end, or with `poll=1` does.
fn flow(server: &Arc<Server>, request: &Request<Body>) -> Result<Response, Problem> {
    let allowed = handshake::check_origin(&server.options.allowed_origins, request.headers())?;
    let (form, kind) = form_of(request.headers())?;
    let asked = asked(server, request).map_err(|bad| {
        metrics::REFUSED.add_for("invalid_params", 1);
        Problem::new(StatusCode::BAD_REQUEST, bad.message)
    });
    let body = asked.and_then(|asked| Ok(begin(server, request, form, asked)?.into_response()));
    Ok(pump::answer(kind, body, allowed))
}

fn begin(
    server: &Arc<Server>,
    request: &Request<Body>,
    form: StreamForm,
    asked: StreamParams,
) -> Result<Pump<Follower>, Problem> {
    let bell = Arc::new(Bell::of(handshake::party(server, request)));
    let mut follower = server.hub.follow(form, &bell).ok_or_else(no_journal)?;
    let hello = follower.hello(server.operate.simulated());
    feed::ask(&mut follower, asked).map_err(|error| {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, error.to_string());
        problem.with(header::RETRY_AFTER, "2")
    })?;
    Pump::new(server, request, follower, bell, Some(hello))
}

impl Source for Follower {
    const NAME: &'static str = NAME;

    fn take(&mut self) -> Portion {
        Self::take(self)
    }

    fn heartbeat(&mut self) -> Bytes {
        Self::heartbeat(self)
    }

    fn bye(&mut self, reason: &str) -> Bytes {
        Self::bye(self, reason)
    }
}

/// What a page asks before it sends a request with a header of its own.
pub(super) async fn preflight(
    State(server): State<Arc<Server>>,
    request: Request<Body>,
) -> Response {
    let allowed = match handshake::check_origin(&server.options.allowed_origins, request.headers())
    {
        Ok(allowed) => allowed,
        Err(refusal) => return refusal.into_response(),
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let methods = HeaderValue::from_static("GET");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let allowed = HeaderValue::from_static("accept, cache-control, last-event-id");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    response
}

/// The query of a request.
fn asked(server: &Server, request: &Request<Body>) -> Result<StreamParams, BadParams> {
    let pairs = wish::pairs(request.uri()).map_err(|error| BadParams {
        field: None,
        message: format!("the URL's query cannot be read: {error}"),
    })?;
    let last_id = request.headers().get(LAST_EVENT_ID);
    let last_id = last_id.map(|id| id.to_str().unwrap_or("no text"));
    params::of_url(&pairs, last_id, bounds(server))
}

fn bounds(server: &Server) -> Bounds {
    let limits = &server.options.limits;
    Bounds { values: limits.patterns, paths: limits.filter_paths, now: server.clock.now() }
}

/// The form that `Accept` asks for most; of several it likes alike, the first here.
fn form_of(headers: &HeaderMap) -> Result<(StreamForm, &'static str), Problem> {
    // Someone looks at it in a browser, which would put the other kind into a file.
    const LOOKED_AT: &str = "text/plain; charset=utf-8";
    if !headers.contains_key(header::ACCEPT) {
        return Ok((StreamForm::Ndjson, NDJSON));
    }
    let any: &[&str] = &["*/*", "application/*", "application/json"];
    let forms = [
        (StreamForm::Sse, SSE, &[SSE][..]),
        (StreamForm::Ndjson, NDJSON, &[NDJSON]),
        (StreamForm::Ndjson, LOOKED_AT, &["text/html", "text/plain"]),
        (StreamForm::Ndjson, NDJSON, any),
    ];
    let liked = |kinds: &[&str]| kinds.iter().map(|kind| wish::weight(headers, kind)).max();
    let weights = forms.map(|(form, kind, kinds)| (liked(kinds).unwrap_or_default(), form, kind));
    let most = weights.iter().map(|(weight, ..)| *weight).max().unwrap_or_default();
    let found = weights.into_iter().find(|(weight, ..)| *weight == most && most > 0);
    if let Some((_, form, kind)) = found {
        return Ok((form, kind));
    }
    let detail = format!("the stream comes as {SSE}, as {NDJSON}, or as a WebSocket");
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail))
}

fn no_journal() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "there is no journal here to stream from")
}
