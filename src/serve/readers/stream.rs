//! `/stream`: events and documents by cursor.
//!
//! An upgrade request becomes a WebSocket. Otherwise `Accept` selects server-sent events or JSON
//! lines; JSON lines are the default.

mod query;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

pub(crate) use self::query::StreamRequest;
use self::query::{Bounds, StreamParams};
use super::params::InvalidParams;
use super::{ClientReader, HEARTBEAT};
use crate::hub::{Follower, Frame, Notifier, ReaderBatch, StreamEncoding, TooManyWaiting};
use crate::metrics;
use crate::serve::http::body::{self, StreamBody};
use crate::serve::http::negotiation::{self, LAST_EVENT_ID, NDJSON, SSE};
use crate::serve::http::problem::{HttpResult, Problem};
use crate::serve::http::url_query::UrlQuery;
use crate::serve::server::{ServerState, SharedServer};
use crate::serve::ws::handshake;

const INVALID: (u16, &str) = (1008, "invalid query in the URL");
const BUSY: (u16, &str) = (1013, "too many searches of your address are waiting");
/// The code of the error for an invalid query.
const INVALID_QUERY: &str = "invalid_query";
/// The code of the error when too many searches of the client, or answers, are waiting.
const TOO_MANY: &str = "too_many_searches";

pub(crate) async fn stream(State(server): SharedServer, request: Request) -> HttpResult {
    if handshake::is_websocket(request.headers()) {
        open(&server, request)
    } else {
        flow(&server, &request)
    }
}

/// Serves a WebSocket. An invalid query is reported on it, where a page can read it.
fn open(server: &Arc<ServerState>, request: Request) -> HttpResult {
    let asked = asked(server, &request);
    let hint = "or ask for text/event-stream or application/x-ndjson with `Accept`";
    handshake::open(server, request, hint, |server, notifier, deflates| {
        let encoding = if deflates { StreamEncoding::Deflated } else { StreamEncoding::WebSocket };
        let mut reader = StreamReader::new(server, notifier, encoding)?;
        let asked = asked.map_err(QueryRefusal::invalid);
        reader.refused = asked.and_then(|asked| reader.select(asked)).err();
        Ok(reader)
    })
}

/// Serves a response body, which is endless unless `poll=1`.
fn flow(server: &Arc<ServerState>, request: &Request) -> HttpResult {
    let (encoding, kind) = encoding_of(request.headers())?;
    let asked = asked(server, request).map_err(|bad| {
        metrics::REFUSED.add_for("invalid_params", 1);
        Problem::new(StatusCode::BAD_REQUEST, bad.message)
    });
    let body = asked.and_then(|asked| begin(server, request, encoding, asked));
    Ok(body::answer(kind, body.map(StreamBody::into_response)))
}

fn begin(
    server: &Arc<ServerState>,
    request: &Request,
    encoding: StreamEncoding,
    asked: StreamParams,
) -> Result<StreamBody<StreamReader>, Problem> {
    let notifier = Arc::new(Notifier::new(handshake::client(server, request), false));
    let mut reader = StreamReader::new(server, &notifier, encoding)?;
    reader.select(asked).map_err(|busy| {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, busy.reason.message);
        problem.with(header::RETRY_AFTER, "2")
    })?;
    StreamBody::new(server, request, reader, notifier, encoding)
}

/// The query of a request.
fn asked(server: &ServerState, request: &Request) -> Result<StreamParams, InvalidParams> {
    let url = UrlQuery::of(request.uri())
        .map_err(|problem| InvalidParams { field: None, message: problem.detail })?;
    let last_id = request.headers().get(LAST_EVENT_ID);
    let last_id = last_id.map(|id| id.to_str().unwrap_or("no text"));
    query::of_url(&url.0, last_id, bounds(server))
}

fn bounds(server: &ServerState) -> Bounds<'_> {
    let (limits, now) = (&server.options.config.limits, server.clock.now());
    let lists = &server.hub.lists;
    Bounds { values: limits.patterns, paths: limits.filter_paths, now, lists }
}

/// The encoding and media type that `Accept` asks for.
fn encoding_of(headers: &HeaderMap) -> Result<(StreamEncoding, &'static str), Problem> {
    // A browser would download the other media type.
    const LOOKED_AT: &str = "text/plain; charset=utf-8";
    const FORMS: [(&str, StreamEncoding, &str); 5] = [
        (SSE, StreamEncoding::Sse, SSE),
        (NDJSON, StreamEncoding::Ndjson, NDJSON),
        ("text/html", StreamEncoding::Ndjson, LOOKED_AT),
        ("text/plain", StreamEncoding::Ndjson, LOOKED_AT),
        ("application/json", StreamEncoding::Ndjson, NDJSON),
    ];
    if let Some(chosen) = negotiation::choose(headers, 1, &FORMS.map(|(kind, ..)| kind)) {
        let (_, encoding, kind) = FORMS[chosen];
        return Ok((encoding, kind));
    }
    let detail = format!("the stream comes as {SSE}, as {NDJSON}, or as a WebSocket");
    Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail))
}

fn no_journal() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "there is no journal here to stream from")
}

/// Receives the events and documents that a query selects.
struct StreamReader {
    server: Arc<ServerState>,
    follower: Follower,
    /// Why the URL's query is not accepted.
    refused: Option<QueryRefusal>,
}

/// Why a query is not accepted.
struct QueryRefusal {
    /// The code of the `error`.
    code: &'static str,
    /// The close frame, if it is the URL's query.
    close: (u16, &'static str),
    reason: InvalidParams,
}

impl QueryRefusal {
    /// An invalid query, which is counted.
    fn invalid(reason: InvalidParams) -> Self {
        metrics::REFUSED.add_for("invalid_params", 1);
        Self { code: INVALID_QUERY, close: INVALID, reason }
    }

    /// One that cannot be accepted now; counted.
    fn busy(error: TooManyWaiting) -> Self {
        metrics::REFUSED.add_for("searches", 1);
        let reason = InvalidParams { field: None, message: error.to_string() };
        Self { code: TOO_MANY, close: BUSY, reason }
    }
}

impl StreamReader {
    fn new(
        server: &Arc<ServerState>,
        notifier: &Arc<Notifier>,
        encoding: StreamEncoding,
    ) -> Result<Self, Problem> {
        let follower = server.hub.follow(encoding, notifier).ok_or_else(no_journal)?;
        Ok(Self { server: Arc::clone(server), follower, refused: None })
    }

    /// Replaces the query. Fails when too many searches of the client, or answers, are waiting.
    fn select(&mut self, asked: StreamParams) -> Result<(), QueryRefusal> {
        let StreamParams { selector, start, once, limit, warnings } = asked;
        self.follower.ask(selector, start, warnings).map_err(QueryRefusal::busy)?;
        self.follower.only_once(once, limit);
        Ok(())
    }
}

impl ClientReader for StreamReader {
    type Message = Bytes;
    const NAME: &'static str = "/stream";
    const EXAMPLE: &'static str = r#"{"types":["PushEvent"]}"#;
    const HEARTBEAT: Option<Duration> = Some(HEARTBEAT);

    fn first(&mut self) -> Option<Bytes> {
        Some(self.follower.hello(self.server.operate.simulated()))
    }

    /// Always accepts: the `error` for a query that is not follows the answers to earlier ones.
    fn ask(&mut self, text: &str) -> Result<(), InvalidParams> {
        let asked = query::of_json(text, bounds(&self.server)).map_err(QueryRefusal::invalid);
        if let Err(QueryRefusal { code, reason, .. }) = asked.and_then(|asked| self.select(asked)) {
            self.follower.refuse(code, reason.field, &reason.message);
        }
        Ok(())
    }

    fn has_asked(&self) -> bool {
        true
    }

    fn take(&mut self) -> ReaderBatch<Bytes> {
        if let Some(QueryRefusal { code, close, reason }) = self.refused.take() {
            let error = self.follower.error(code, reason.field, &reason.message);
            return ReaderBatch { count: 0, ended: Some(close), ..Some(error).into() };
        }
        self.follower.take()
    }

    fn diagnostic(&self, code: &'static str, bad: &InvalidParams) -> Frame {
        let code = if code == "invalid_params" { INVALID_QUERY } else { code };
        self.follower.error(code, bad.field, &bad.message).into()
    }

    /// After the answers to earlier queries.
    fn refuse(&mut self, bad: &InvalidParams) -> Option<Frame> {
        self.follower.refuse(INVALID_QUERY, bad.field, &bad.message);
        None
    }

    fn heartbeat(&mut self) -> Option<Bytes> {
        Some(self.follower.heartbeat())
    }

    fn bye(&mut self, reason: &str, retry_after: u64) -> Option<Bytes> {
        Some(self.follower.bye(reason, retry_after))
    }
}
