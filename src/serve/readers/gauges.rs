//! Gauge topics: `/aggregate/NAME`, `/stream/languages`, `/stream/types`, `/stream/activity`.
//!
//! Served as a WebSocket, as server-sent events, as JSON lines, or as the current value in a plain
//! response, with the same messages in each. A slow reader skips updates. Readers of the rolling
//! counts resume by cursor.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};

use super::params::{self, InvalidParams};
use super::{ClientReader, HEARTBEAT, ReaderBatch};
use crate::hub::{
    Frame, GaugeSubscriber, GaugeTopic, GaugeUpdate, Hub, Notifier, StreamEncoding, UpdateMode,
    WINDOWS,
};
use crate::model::json;
use crate::model::resume_token::ResumeToken;
use crate::serve::http::body::{self, StreamBody};
use crate::serve::http::negotiation::{self, JSON, LAST_EVENT_ID, NDJSON, SSE};
use crate::serve::http::path_parts::PathParts;
use crate::serve::http::problem::Problem;
use crate::serve::server::ServerState;
use crate::serve::ws::handshake;

/// The default window.
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
pub(crate) async fn list(State(server): State<Arc<ServerState>>) -> Response {
    let sheets = server.hub.aggregates();
    let all: Vec<_> = sheets.names().iter().filter_map(|name| sheets.get(name)?.about()).collect();
    axum::Json(all.iter().map(|about| &**about).collect::<Vec<_>>()).into_response()
}

/// `/aggregate/NAME`.
pub(crate) async fn aggregate(
    State(server): State<Arc<ServerState>>,
    PathParts(name): PathParts<String>,
    request: Request<Body>,
) -> Response {
    let sheets = server.hub.aggregates();
    let Some(sheet) = sheets.get(&name) else {
        let shown: String = name.chars().take(80).collect();
        let names = sheets.names().join(", ");
        let there = if names.is_empty() {
            "there are none: put a script beside merge_latest.rhai (scripts.dir)".to_owned()
        } else {
            format!("there are: {names}")
        };
        let detail = format!("there is no aggregate `{shown}`; {there}");
        return Problem::new(StatusCode::NOT_FOUND, detail).into_response();
    };
    answer::<false>(&server, request, &sheet, Asked::default())
}

/// The parameters of a request for rolling counts.
#[derive(Debug, Default)]
struct Asked {
    /// `languages`, `types` or `activity`; `None` for an aggregate.
    of: Option<String>,
    /// Where to resume.
    back: Option<ResumeToken>,
}

/// `/stream/languages`, `/stream/types`, `/stream/activity`.
pub(crate) async fn rolling(
    State(server): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response {
    let of = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let (window, back) = match asked(&request) {
        Ok(asked) => asked,
        Err(detail) => return Problem::new(StatusCode::BAD_REQUEST, detail).into_response(),
    };
    let sheet = server.hub.rolling().open(&format!("{of}/{window}"));
    answer::<true>(&server, request, &sheet, Asked { of: Some(of), back })
}

/// The window and the cursor of a request. The last of repeated parameters applies. `Last-Event-ID`
/// takes precedence over the URL, and an invalid one is ignored, because an `EventSource` could not
/// send another.
fn asked(request: &Request<Body>) -> Result<(&'static str, Option<ResumeToken>), String> {
    let pairs =
        negotiation::pairs(request.uri()).map_err(|error| format!("the URL's query: {error}"))?;
    let last = |name: &str| {
        let mut named = pairs.iter().rev().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| value.as_str())
    };
    let window = last("window").map_or(Ok(WINDOW), known_window)?;
    let last_id = request.headers().get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let back = match last_id.and_then(|id| id.parse().ok()) {
        Some(token) => Some(token),
        None => last("cursor")
            .filter(|text| !text.is_empty())
            .map(str::parse)
            .transpose()
            .map_err(|e| format!("cursor: {e}"))?,
    };
    Ok((window, back))
}

fn known_window(text: &str) -> Result<&'static str, String> {
    let known = WINDOWS.iter().find(|(name, _)| *name == text);
    known.map(|(name, _)| *name).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        let all: Vec<_> = WINDOWS.iter().map(|(name, _)| *name).collect();
        format!("window: `{shown}` is none; give one of {}", all.join(", "))
    })
}

fn answer<const IS_ROLLING: bool>(
    server: &Arc<ServerState>,
    request: Request<Body>,
    sheet: &Arc<GaugeTopic>,
    Asked { of, back }: Asked,
) -> Response {
    let mode = if IS_ROLLING { UpdateMode::Deltas } else { UpdateMode::Full };
    let hello = IS_ROLLING.then(|| sheet.hello(server.operate.simulated()));
    let hub = Arc::clone(&server.hub);
    let reader = |notifier: &Arc<Notifier>, encoding| {
        let mut subscriber = sheet.subscribe(mode, notifier);
        if let Some(token) = back {
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
        Some(_) => return json_answer(value(sheet)),
        None => {
            let detail = format!("it comes as {JSON}, as {SSE}, as {NDJSON}, or as a WebSocket");
            return Problem::new(StatusCode::NOT_ACCEPTABLE, detail).into_response();
        }
    };
    let notifier = Arc::new(Notifier::default());
    let reader = reader(&notifier, encoding);
    let pump = StreamBody::new(server, &request, reader, notifier, encoding);
    body::answer(kind, pump.map(StreamBody::into_response))
}

/// The current value.
fn value(sheet: &GaugeTopic) -> Result<String, Problem> {
    if let Some(note) = sheet.snapshot() {
        return Ok(note.frame.body().to_owned());
    }
    let about = json::encoded(&sheet.about().as_deref());
    let detail = format!("nothing is counted yet; how it is: {about}");
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    Err(problem.retry_within(1..=3))
}

fn json_answer(body: Result<String, Problem>) -> Response {
    body::answer(JSON, body.map(IntoResponse::into_response))
}

impl<const IS_ROLLING: bool> GaugeReader<IS_ROLLING> {
    /// Encodes an update. Frames of a WebSocket are encoded once for all readers.
    fn message(&self, update: GaugeUpdate) -> Frame {
        if self.encoding == StreamEncoding::WebSocket {
            return update.frame;
        }
        let id = update.token.map(|token| token.to_string());
        self.encoding.message(update.kind, id.as_deref(), update.frame.body()).into()
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
        let window = known_window(&window)
            .map_err(|message| InvalidParams { field: Some("window"), message })?;
        let topic = self.hub.rolling().open(&format!("{of}/{window}"));
        self.subscriber = topic.subscribe(UpdateMode::Deltas, &self.notifier);
        Ok(())
    }

    fn take(&mut self) -> ReaderBatch<Frame> {
        let update = self.subscriber.take().map(|update| self.message(update));
        let ended = self.subscriber.has_ended().then_some(GONE);
        ReaderBatch { ended, ..ReaderBatch::one(update) }
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
