//! Numbers as streams: `/aggregate/NAME`, `/stream/languages` and its like.
//!
//! One reader in four forms: a WebSocket, server-sent events, lines of JSON, or the value of now as
//! a plain answer. A reader is a place in a sheet, so a slow one is told less often and costs no
//! more. Each form says the same messages. Of the rolling counts a reader comes back by cursor.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Request, StatusCode};

use super::params;
use super::params::BadParams;
use super::sampling::Feed;
use super::stream::websocket::BEAT;
use super::stream::{LAST_EVENT_ID, NDJSON, SSE};
use crate::hub::{
    Frame, FrameBatch, GaugeSubscriber, GaugeTopic, GaugeUpdate, Hub, Notifier, StreamBatch,
    StreamEncoding, UpdateMode, WINDOWS,
};
use crate::model::resume_token::ResumeToken;
use crate::serve::http::body;
use crate::serve::http::body::{Pump, Source};
use crate::serve::http::negotiation;
use crate::serve::http::problem::Problem;
use crate::serve::server::Server;
use crate::serve::ws::handshake;

/// The window that is meant when none is named.
const WINDOW: &str = "1h";
/// How a WebSocket ends whose aggregate was taken away.
const GONE: (u16, &str) = (1000, "it is not counted any more");
const AGGREGATE: &str = "/aggregate";
const ROLLING: &str = "/stream/languages";
const JSON: &str = "application/json";

/// As a WebSocket: of an aggregate, or of the rolling counts.
struct SheetFeed<const IS_ROLLING: bool> {
    follow: GaugeSubscriber,
    hello: Option<GaugeUpdate>,
    hub: Arc<Hub>,
    notifier: Arc<Notifier>,
    /// `languages`, `types` or `activity`; none of an aggregate.
    of: Option<String>,
}

/// The same as an answer over HTTP.
struct SheetSource<const IS_ROLLING: bool> {
    follow: GaugeSubscriber,
    form: StreamEncoding,
}

/// `/aggregate`: all of them.
pub(crate) async fn list(State(server): State<Arc<Server>>) -> Response {
    let sheets = server.hub.aggregates();
    let abouts = sheets.names().into_iter().filter_map(|name| sheets.get(&name));
    let abouts: Vec<String> = abouts.map(|sheet| sheet.about().to_string()).collect();
    json_answer(Ok(format!("[{}]", abouts.join(","))))
}

/// `/aggregate/NAME`.
pub(crate) async fn aggregate(
    State(server): State<Arc<Server>>,
    Path(name): Path<String>,
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

/// What is asked of the rolling counts.
#[derive(Debug, Default)]
struct Asked {
    /// `languages`, `types` or `activity`; none of an aggregate.
    of: Option<String>,
    /// What the reader comes back with.
    back: Option<ResumeToken>,
}

/// `/stream/languages`, `/stream/types`, `/stream/activity`.
pub(crate) async fn rolling(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let of = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let (window, back) = match asked(&request) {
        Ok(asked) => asked,
        Err(detail) => return Problem::new(StatusCode::BAD_REQUEST, detail).into_response(),
    };
    let sheet = server.hub.rolling().open(&format!("{of}/{window}"));
    answer::<true>(&server, request, &sheet, Asked { of: Some(of), back })
}

/// The window that a request names, and where its reader comes back from; the last of several
/// holds. What a page's `EventSource` brings goes before what the URL says, and is no reason to
/// refuse it.
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
    server: &Arc<Server>,
    request: Request<Body>,
    sheet: &Arc<GaugeTopic>,
    Asked { of, back }: Asked,
) -> Response {
    let telling = if IS_ROLLING { UpdateMode::Deltas } else { UpdateMode::Full };
    let hello = IS_ROLLING.then(|| hello(sheet, server.operate.simulated()));
    let follow = |notifier: &Arc<Notifier>| {
        let mut follow = sheet.subscribe(telling, notifier);
        if let Some(token) = back {
            follow.resume(token);
        }
        follow
    };
    if handshake::is_websocket(request.headers()) {
        return handshake::open(
            server,
            request,
            "nothing else is needed",
            |server, notifier, _| {
                let (hub, notifier) = (Arc::clone(&server.hub), Arc::clone(notifier));
                let follow = follow(&notifier);
                SheetFeed::<IS_ROLLING> { follow, hello, hub, notifier, of }
            },
        );
    }
    let (form, kind) = match negotiation::choose(request.headers(), 2, &[SSE, NDJSON, JSON]) {
        Some(0) => (StreamEncoding::Sse, SSE),
        Some(1) => (StreamEncoding::Ndjson, NDJSON),
        Some(_) => return json_answer(value(sheet)),
        None => {
            let detail = format!("it comes as {JSON}, as {SSE}, as {NDJSON}, or as a WebSocket");
            return Problem::new(StatusCode::NOT_ACCEPTABLE, detail).into_response();
        }
    };
    let notifier = Arc::new(Notifier::default());
    let source = SheetSource::<IS_ROLLING> { follow: follow(&notifier), form };
    let first = hello.map(|note| written(form, &note));
    let pump = Pump::new(server, &request, source, notifier, first);
    body::answer(kind, pump.map(Pump::into_response))
}

/// The value of now.
fn value(sheet: &GaugeTopic) -> Result<String, Problem> {
    if let Some(note) = sheet.snapshot() {
        return Ok(note.frame.body().to_owned());
    }
    let detail = format!("nothing is counted yet; how it is: {}", sheet.about());
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    Err(problem.retry_within(1..=3))
}

fn json_answer(body: Result<String, Problem>) -> Response {
    body::answer(JSON, body.map(IntoResponse::into_response))
}

fn hello(sheet: &GaugeTopic, simulated: bool) -> GaugeUpdate {
    let version = env!("CARGO_PKG_VERSION");
    let about = sheet.labels();
    let text =
        format!(r#"{{"type":"hello","version":"{version}","simulated":{simulated},{about}}}"#);
    GaugeUpdate { kind: "hello", token: None, frame: Frame::text(&[&text]) }
}

fn written(form: StreamEncoding, note: &GaugeUpdate) -> Bytes {
    let id = note.token.map(|token| token.to_string());
    form.message(note.kind, id.as_deref(), note.frame.body())
}

impl<const IS_ROLLING: bool> Feed for SheetFeed<IS_ROLLING> {
    const NAME: &'static str = if IS_ROLLING { ROLLING } else { AGGREGATE };
    const EXAMPLE: &'static str = if IS_ROLLING { r#"{"window":"1m"}"# } else { "{}" };
    const BEAT: Option<Duration> = Some(BEAT);

    fn first(&mut self) -> Option<Frame> {
        self.hello.take().map(|note| note.frame)
    }

    fn has_asked(&self) -> bool {
        true
    }

    /// Of the rolling counts another window, answered by its snapshot.
    fn ask(&mut self, text: &str) -> Result<(), BadParams> {
        let Some(of) = &self.of else { return params::nothing(text) };
        let Some(window) = params::window(text)? else { return Ok(()) };
        let window = known_window(&window)
            .map_err(|message| BadParams { field: Some("window"), message })?;
        let sheet = self.hub.rolling().open(&format!("{of}/{window}"));
        self.follow = sheet.subscribe(UpdateMode::Deltas, &self.notifier);
        Ok(())
    }

    fn take(&mut self) -> FrameBatch {
        let note = self.follow.take();
        FrameBatch {
            messages: u64::from(note.is_some()),
            frames: note.map(|note| note.frame).into_iter().collect(),
            more: false,
            ended: self.follow.has_ended().then_some(GONE),
            charge: None,
        }
    }

    fn beat(&mut self) -> Option<Frame> {
        Some(self.follow.heartbeat().frame)
    }

    fn bye(&mut self, reason: &str, retry_after: u64) -> Option<Frame> {
        Some(self.follow.bye(reason, Some(retry_after)).frame)
    }
}

impl<const IS_ROLLING: bool> Source for SheetSource<IS_ROLLING> {
    const NAME: &'static str = if IS_ROLLING { ROLLING } else { AGGREGATE };

    fn take(&mut self) -> StreamBatch {
        let note = self.follow.take();
        StreamBatch {
            messages: u64::from(note.is_some()),
            chunks: note.iter().map(|note| written(self.form, note)).collect(),
            more: false,
            ended: self.follow.has_ended(),
            charge: None,
        }
    }

    fn heartbeat(&mut self) -> Bytes {
        written(self.form, &self.follow.heartbeat())
    }

    fn bye(&mut self, reason: &str, retry_after: u64) -> Bytes {
        written(self.form, &self.follow.bye(reason, Some(retry_after)))
    }

    fn form(&self) -> StreamEncoding {
        self.form
    }
}
