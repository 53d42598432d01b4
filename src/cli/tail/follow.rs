//! Reads the stream line by line, and reconnects behind the last printed event.

use std::borrow::Cow;
use std::time::Duration;

use super::super::output;
use super::show::{Printer, TailMessage};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::http::streaming::Streaming;
use crate::http::{self, Http, HttpError, HttpOptions, HttpRequest};
use crate::model::json;
use crate::supervise::Exit;

/// Timeout of the response's head.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A heartbeat comes every 15 seconds; a connection that is silent for this long is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// Longest line, bytes; an event has a few KiB.
const LINE_BYTES: usize = 16 << 20;
/// First and longest wait between two attempts.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Longest wait that a server may ask for.
const ASKED_WAIT: u64 = 300;

/// Why the command ended.
pub(super) enum TailEnd {
    /// The limit is reached, or stdout was closed or cannot be written.
    Done(Exit),
    /// The server rejects the query.
    Refused(String),
    /// There never was a stream.
    Away(String),
}

/// Why a connection ended.
enum Disconnect {
    For(TailEnd),
    Again { reason: String, wait: Option<Duration> },
}

/// A reader of the stream.
pub(super) struct TailConnection {
    http: Http,
    url: String,
    query: Vec<(&'static str, String)>,
    /// Where to begin, as a parameter of the query.
    start: Option<(&'static str, String)>,
    /// Behind the last printed event; takes the place of `start`.
    cursor: Option<String>,
    connected: bool,
    backoff: Backoff,
}

impl TailConnection {
    pub(super) fn new(
        base: &str,
        query: Vec<(&'static str, String)>,
        start: Option<(&'static str, String)>,
    ) -> Result<Self, HttpError> {
        let http = Http::new(HttpOptions { timeout: TIMEOUT, body_limit: LINE_BYTES })?;
        let url = format!("{base}/stream");
        let backoff = Backoff::new(WAITS.0, WAITS.1);
        let cursor = start.clone().filter(|(name, _)| *name == "cursor").map(|(_, cursor)| cursor);
        Ok(Self { http, url, query, start, cursor, connected: false, backoff })
    }

    /// The cursor to resume with.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Reads until the limit is reached or the stream is lost for good.
    pub(super) async fn run(&mut self, show: &mut Printer) -> TailEnd {
        let clock = Clock::system();
        loop {
            match self.read(show).await {
                Disconnect::For(ended) => return ended,
                Disconnect::Again { reason, .. } if !self.connected => {
                    return TailEnd::Away(reason);
                }
                Disconnect::Again { reason, wait } => {
                    let wait = wait.unwrap_or_else(|| self.backoff.next_wait());
                    if self.backoff.times() == 1 {
                        let reason = output::plain(&reason);
                        output::to_stderr(&format!("note: {reason}; reconnecting"));
                    }
                    clock.sleep(wait).await;
                }
            }
        }
    }

    /// One connection.
    async fn read(&mut self, show: &mut Printer) -> Disconnect {
        let mut answer = match self.open().await {
            Ok(answer) => answer,
            Err(broken) => return broken,
        };
        let mut line = Vec::new();
        loop {
            match answer.next().await {
                Ok(Some(piece)) => {
                    let mut rest = &piece[..];
                    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                        line.extend_from_slice(&rest[..end]);
                        rest = &rest[end + 1..];
                        if let Some(ended) = self.take(&line, show) {
                            return Disconnect::For(ended);
                        }
                        line.clear();
                    }
                    line.extend_from_slice(rest);
                    if line.len() > LINE_BYTES {
                        return again("received a line longer than 16 MiB: not a ghpulse stream");
                    }
                }
                Ok(None) => return again("the server ended the stream"),
                Err(error) => return again(&error.to_string()),
            }
        }
    }

    async fn open(&mut self) -> Result<Streaming, Disconnect> {
        let start = self.start.as_ref().map(|(name, value)| (*name, value.as_str()));
        let start = self.cursor.as_deref().map(|cursor| ("cursor", cursor)).or(start);
        let pairs = self.query.iter().map(|(name, value)| (*name, value.as_str()));
        let pairs: Vec<_> = pairs.chain(start).collect();
        let url = http::with_query(&self.url, &pairs);
        let url = url.map_err(|error| Disconnect::For(TailEnd::Away(error.to_string())))?;
        let request = HttpRequest::get(&url).header("accept", "application/x-ndjson");
        let mut answer =
            self.http.open(request, SILENCE).await.map_err(|error| again(&error.to_string()))?;
        if answer.status == 200 {
            self.connected = true;
            return Ok(answer);
        }
        let wait = answer.headers.number("retry-after");
        let wait = wait.map(|seconds| Duration::from_secs(seconds.min(ASKED_WAIT)));
        let reason = reason_of(&mut answer).await;
        Err(match answer.status {
            400 | 403 | 406 | 414 | 422 => Disconnect::For(TailEnd::Refused(reason)),
            429 | 500..=599 => Disconnect::Again { reason, wait },
            status => Disconnect::For(TailEnd::Away(format!("it answered {status}: {reason}"))),
        })
    }

    /// Prints one line. Returns why to end, if it should.
    fn take(&mut self, line: &[u8], show: &mut Printer) -> Option<TailEnd> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let text = String::from_utf8_lossy(line);
        let Some(message) = TailMessage::read(&text) else {
            return Some(TailEnd::Away("not a ghpulse server".to_owned()));
        };
        let ended = show.message(&message, line);
        // The cursor in `hello` is that of the newest event, not of this reader.
        let place = match &*message.kind {
            "hello" => None,
            "gap" => message.text(&["to"]),
            _ => message.text(&["cursor"]),
        };
        if let Some(place) = place {
            self.cursor = Some(place.into_owned());
            self.backoff.reset();
        }
        ended.map(TailEnd::Done)
    }
}

fn again(reason: &str) -> Disconnect {
    Disconnect::Again { reason: reason.to_owned(), wait: None }
}

/// The server's explanation of an error status.
async fn reason_of(answer: &mut Streaming) -> String {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.next().await {
        body.extend_from_slice(&piece);
        if body.len() > 64 << 10 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    let [detail] = json::pick(text.trim(), ["detail"]);
    let beginning = || text.lines().next().unwrap_or_default().chars().take(200).collect();
    detail.and_then(json::shown).map_or_else(beginning, Cow::into_owned)
}
