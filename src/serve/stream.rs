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
use http::{HeaderMap, Request, StatusCode, header};

use self::feed::StreamFeed;
pub(super) use self::pack::PACKED;
pub(super) use self::params::NAMES;
use self::params::{Bounds, StreamParams};
use self::pump::{Pump, Source};
use super::params::BadParams;
use super::problem::Problem;
use super::server::Server;
use super::{handshake, wish};
use crate::hub::{Follower, Notifier, StreamBatch, StreamEncoding};
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
    Ok(handshake::open(server, request, hint, |server, notifier, deflates| {
        let form = if deflates { StreamEncoding::Deflated } else { StreamEncoding::WebSocket };
        StreamFeed::new(Arc::clone(server), notifier, form, asked)
    }))
}

/// As an answer that does not end, or with `poll=1` does.
fn flow(server: &Arc<Server>, request: &Request<Body>) -> Result<Response, Problem> {
    let (form, kind) = form_of(request.headers())?;
    let asked = asked(server, request).map_err(|bad| {
        metrics::REFUSED.add_for("invalid_params", 1);
        Problem::new(StatusCode::BAD_REQUEST, bad.message)
    });
    let body = asked.and_then(|asked| Ok(begin(server, request, form, asked)?.into_response()));
    Ok(pump::answer(kind, body))
}

fn begin(
    server: &Arc<Server>,
    request: &Request<Body>,
    form: StreamEncoding,
    asked: StreamParams,
) -> Result<Pump<Follower>, Problem> {
    let notifier = Arc::new(Notifier::for_client(handshake::client(server, request)));
    let mut follower = server.hub.follow(form, &notifier).ok_or_else(no_journal)?;
    let hello = follower.hello(server.operate.simulated());
    feed::ask(&mut follower, asked).map_err(|error| {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, error.to_string());
        problem.with(header::RETRY_AFTER, "2")
    })?;
    Pump::new(server, request, follower, notifier, Some(hello))
}

impl Source for Follower {
    const NAME: &'static str = NAME;

    fn take(&mut self) -> StreamBatch {
        Self::take(self)
    }

    fn heartbeat(&mut self) -> Bytes {
        Self::heartbeat(self)
    }

    fn bye(&mut self, reason: &str, retry_after: u64) -> Bytes {
        Self::bye(self, reason, retry_after)
    }

    fn form(&self) -> StreamEncoding {
        Self::encoding(self)
    }
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

/// The form that `Accept` asks for.
fn form_of(headers: &HeaderMap) -> Result<(StreamEncoding, &'static str), Problem> {
    // Someone looks at it in a browser, which would put the other kind into a file.
    const LOOKED_AT: &str = "text/plain; charset=utf-8";
    const FORMS: [(&str, StreamEncoding, &str); 5] = [
        (SSE, StreamEncoding::Sse, SSE),
        (NDJSON, StreamEncoding::Ndjson, NDJSON),
        ("text/html", StreamEncoding::Ndjson, LOOKED_AT),
        ("text/plain", StreamEncoding::Ndjson, LOOKED_AT),
        ("application/json", StreamEncoding::Ndjson, NDJSON),
    ];
    if let Some(chosen) = wish::choose(headers, 1, &FORMS.map(|(kind, ..)| kind)) {
        let (_, form, kind) = FORMS[chosen];
        return Ok((form, kind));
    }
    let detail = format!("the stream comes as {SSE}, as {NDJSON}, or as a WebSocket");
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail))
}

fn no_journal() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "there is no journal here to stream from")
}
