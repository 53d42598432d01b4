//! Gauge topics: `/aggregate/NAME`, `/stream/languages`, `/stream/types`, `/stream/activity`.
//!
//! Served as a WebSocket, as server-sent events, as JSON lines, or as the current value in a plain
//! response, with the same messages in each. A slow reader skips updates. Readers of the rolling
//! counts resume by cursor.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::params::{self, InvalidParams};
use super::{ClientReader, HEARTBEAT};
use crate::hub::{
    Frame, GaugeSubscriber, GaugeTopic, GaugeUpdate, Hub, Notifier, ReaderBatch, StreamEncoding,
    WINDOWS,
};
use crate::model::json;
use crate::model::resume_token::ResumeToken;
use crate::serve::http::body::{self, StreamBody};
use crate::serve::http::negotiation::{self, JSON, LAST_EVENT_ID, NDJSON, SSE};
use crate::serve::http::problem::{HttpResult, Problem};
use crate::serve::http::url_query::{PathParts, UrlQuery, known};
use crate::serve::server::{ServerState, SharedServer};
use crate::serve::ws::handshake;

const WINDOW: &str = "1h";
/// The close frame of an aggregate that is no longer counted.
const GONE: (u16, &str) = (1000, "it is not counted any more");
const AGGREGATE: &str = "/aggregate";
const ROLLING: &str = "/stream/languages";

/// Receives the updates of an aggregate, or of rolling counts.
struct GaugeReader<const IS_ROLLING: bool> {
    subscriber: GaugeSubscriber,
    hello: Option<GaugeUpdate>,
    hub: Arc<Hub>,
    notifier: Arc<Notifier>,
    /// `languages`, `types` or `activity`; `None` for an aggregate.
    of: Option<String>,
    encoding: StreamEncoding,
}

/// `/aggregate`: the list of all aggregates.
pub(crate) async fn list(State(server): SharedServer) -> Response {
    let topics = &server.hub.aggregates;
    let all: Vec<_> = topics.names().iter().filter_map(|name| topics.get(name)?.about()).collect();
    axum::Json(all.iter().map(|about| &**about).collect::<Vec<_>>()).into_response()
}

/// `/aggregate/NAME`.
pub(crate) async fn aggregate(
    State(server): SharedServer,
    PathParts(name): PathParts<String>,
    request: Request,
) -> HttpResult {
    let topics = &server.hub.aggregates;
    let topic = topics.get(&name).ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        let names = topics.names().join(", ");
        let there = if names.is_empty() {
            "there are none: put a script beside merge_latest.rhai (scripts.dir)".to_owned()
        } else {
            format!("there are: {names}")
        };
        let detail = format!("there is no aggregate `{shown}`; {there}");
        Problem::new(StatusCode::NOT_FOUND, detail)
    })?;
    answer::<false>(&server, request, &topic, None, None)
}

/// `/stream/languages`, `/stream/types`, `/stream/activity`.
pub(crate) async fn rolling(State(server): SharedServer, request: Request) -> HttpResult {
    let of = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let query = UrlQuery::of(request.uri())?;
    let window = known_window(query.last("window").unwrap_or(WINDOW))
        .map_err(|reason| Problem::parameter("window", reason))?;
    // An invalid `Last-Event-ID` is ignored, because an `EventSource` could not send another.
    let last_id = request.headers().get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let token = match last_id.and_then(|id| id.parse().ok()) {
        Some(token) => Some(token),
        None => query
            .last("cursor")
            .map(str::parse)
            .transpose()
            .map_err(|error| Problem::parameter("cursor", error))?,
    };
    let topic = server.hub.rolling.open(&format!("{of}/{window}"));
    answer::<true>(&server, request, &topic, Some(of), token)
}

/// The name of a window, or what is wrong with it.
fn known_window(text: &str) -> Result<&'static str, String> {
    known(text, &WINDOWS.map(|(name, _)| (name, name)))
}

/// Answers in the form that the request asks for. `of` names rolling counts, which can be resumed
/// by a token.
fn answer<const IS_ROLLING: bool>(
    server: &Arc<ServerState>,
    request: Request,
    topic: &Arc<GaugeTopic>,
    of: Option<String>,
    token: Option<ResumeToken>,
) -> HttpResult {
    let hello = IS_ROLLING.then(|| topic.hello(server.operate.simulated()));
    let hub = Arc::clone(&server.hub);
    let reader = |notifier: &Arc<Notifier>, encoding| {
        let mut subscriber = topic.subscribe(notifier);
        if let Some(token) = token {
            subscriber.resume(token);
        }
        let notifier = Arc::clone(notifier);
        GaugeReader::<IS_ROLLING> { subscriber, hello, hub, notifier, of, encoding }
    };
    if handshake::is_websocket(request.headers()) {
        let hint = "nothing else is needed";
        return handshake::open(server, request, hint, |_, notifier, _| {
            Ok(reader(notifier, StreamEncoding::WebSocket))
        });
    }
    let (encoding, kind) = match negotiation::choose(request.headers(), 2, &[SSE, NDJSON, JSON]) {
        Some(0) => (StreamEncoding::Sse, SSE),
        Some(1) => (StreamEncoding::Ndjson, NDJSON),
        Some(_) => return Ok(body::answer(JSON, value(topic))),
        None => {
            let detail = format!("it comes as {JSON}, as {SSE}, as {NDJSON}, or as a WebSocket");
            return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail));
        }
    };
    let notifier = Arc::new(Notifier::default());
    let reader = reader(&notifier, encoding);
    let stream = StreamBody::new(server, &request, reader, notifier, encoding);
    Ok(body::answer(kind, stream.map(StreamBody::into_response)))
}

fn value(topic: &GaugeTopic) -> Result<String, Problem> {
    topic.snapshot().map(|update| update.frame.body().to_owned()).ok_or_else(|| {
        let about = json::encoded(&topic.about().as_deref());
        Problem::unavailable(format!("nothing is counted yet; how it is: {about}"))
    })
}

impl<const IS_ROLLING: bool> GaugeReader<IS_ROLLING> {
    /// Encodes an update. Frames of a WebSocket are encoded once for all readers.
    fn message(&self, update: GaugeUpdate) -> Frame {
        if self.encoding == StreamEncoding::WebSocket {
            return update.frame;
        }
        let id = update.token.map(|token| token.to_string());
        self.encoding.message(id.as_deref(), update.frame.body()).into()
    }
}

impl<const IS_ROLLING: bool> ClientReader for GaugeReader<IS_ROLLING> {
    type Message = Frame;
    const NAME: &'static str = if IS_ROLLING { ROLLING } else { AGGREGATE };
    const EXAMPLE: &'static str = if IS_ROLLING { r#"{"window":"1m"}"# } else { "{}" };
    const HEARTBEAT: Option<Duration> = Some(HEARTBEAT);

    fn first(&mut self) -> Option<Frame> {
        self.hello.take().map(|hello| self.message(hello))
    }

    fn has_asked(&self) -> bool {
        true
    }

    /// Selects another window of the rolling counts; its snapshot follows.
    fn ask(&mut self, text: &str) -> Result<(), InvalidParams> {
        let Some(of) = &self.of else { return params::nothing(text) };
        let Some(window) = params::window(text)? else { return Ok(()) };
        let window = known_window(&window);
        let window = window.map_err(|reason| InvalidParams::of("window", reason))?;
        let topic = self.hub.rolling.open(&format!("{of}/{window}"));
        self.subscriber = topic.subscribe(&self.notifier);
        Ok(())
    }

    fn take(&mut self) -> ReaderBatch<Frame> {
        let update = self.subscriber.take().map(|update| self.message(update));
        let ended = self.subscriber.has_ended().then_some(GONE);
        ReaderBatch { ended, ..update.into() }
    }

    fn heartbeat(&mut self) -> Option<Frame> {
        let heartbeat = self.subscriber.heartbeat();
        Some(self.message(heartbeat))
    }

    fn bye(&mut self, reason: &str, retry_after: u64) -> Option<Frame> {
        let bye = self.subscriber.bye(reason, Some(retry_after));
        Some(self.message(bye))
    }
}
