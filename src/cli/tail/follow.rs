//! The connection: opened, read line by line, and opened again behind the last line.

use std::borrow::Cow;
use std::time::Duration;

use super::super::{Exit, output};
use super::show::{Message, Show, Shown};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::http::streaming::Streaming;
use crate::http::{self, Http, HttpError, HttpOptions, HttpRequest};
use crate::model::json;

/// Longest time for the head of an answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A heartbeat comes every 15 seconds: what is silent for so long is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// The longest line, bytes: an event is a few KiB.
const LINE_BYTES: usize = 16 << 20;
/// Waits between two attempts.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Longest wait that a server may ask for.
const ASKED_WAIT: u64 = 300;

/// Why it ended.
pub(super) enum Ended {
    /// All that was asked for was shown.
    Asked,
    /// Nobody reads stdout any more, or it cannot be written.
    Stdout(Exit),
    /// The server does not take the query.
    Refused(String),
    /// There never was a connection.
    Away(String),
}

/// Why a connection ended.
enum Broken {
    For(Ended),
    Again { reason: String, wait: Option<Duration> },
}

/// A reader of the stream.
pub(super) struct Follower {
    http: Http,
    url: String,
    query: Vec<(&'static str, String)>,
    since: Option<String>,
    cursor: Option<String>,
    connected: bool,
    backoff: Backoff,
}

impl Follower {
    pub(super) fn new(
        base: &str,
        query: Vec<(&'static str, String)>,
        cursor: Option<String>,
        since: Option<String>,
    ) -> Result<Self, HttpError> {
        let http = Http::new(HttpOptions { timeout: TIMEOUT, body_limit: LINE_BYTES })?;
        let url = format!("{base}/stream");
        let backoff = Backoff::new(WAITS.0, WAITS.1);
        Ok(Self { http, url, query, since, cursor, connected: false, backoff })
    }

    /// Behind what it would go on.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Reads until there is a reason to end.
    pub(super) async fn run(&mut self, show: &mut Show) -> Ended {
        let clock = Clock::system();
        loop {
            match self.read(show).await {
                Broken::For(ended) => return ended,
                Broken::Again { reason, .. } if !self.connected => return Ended::Away(reason),
                Broken::Again { reason, wait } => {
                    let wait = wait.unwrap_or_else(|| self.backoff.next_wait());
                    if self.backoff.times() == 1 {
                        let reason = output::plain(&reason);
                        output::complain(&format!("note: {reason}; connecting again"));
                    }
                    clock.sleep(wait).await;
                }
            }
        }
    }

    /// One connection.
    async fn read(&mut self, show: &mut Show) -> Broken {
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
                            return Broken::For(ended);
                        }
                        line.clear();
                    }
                    line.extend_from_slice(rest);
                    if line.len() > LINE_BYTES {
                        return again("what comes is no stream: its lines do not end");
                    }
                }
                Ok(None) => return again("the server ended the stream"),
                Err(error) => return again(&error.to_string()),
            }
        }
    }

    async fn open(&mut self) -> Result<Streaming, Broken> {
        let place = match (&self.cursor, &self.since) {
            (Some(cursor), _) => Some(("cursor", cursor.as_str())),
            (None, Some(since)) => Some(("since", since.as_str())),
            (None, None) => None,
        };
        let pairs = self.query.iter().map(|(name, value)| (*name, value.as_str()));
        let pairs: Vec<_> = pairs.chain(place).collect();
        let url = http::with_query(&self.url, &pairs);
        let url = url.map_err(|error| Broken::For(Ended::Away(error.to_string())))?;
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
            400 | 403 | 406 | 414 | 422 => Broken::For(Ended::Refused(reason)),
            429 | 500..=599 => Broken::Again { reason, wait },
            status => Broken::For(Ended::Away(format!("it answered {status}: {reason}"))),
        })
    }

    /// One line; `Some` is a reason to end.
    fn take(&mut self, line: &[u8], show: &mut Show) -> Option<Ended> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return None;
        }
        let text = String::from_utf8_lossy(line);
        let Some(message) = Message::read(&text) else {
            return Some(Ended::Away("what answers there is no ghpulse".to_owned()));
        };
        let shown = show.message(&message, line);
        // hello's is where the newest event is, not where this reader is.
        let place = match &*message.kind {
            "hello" => None,
            "gap" => message.text(&["to"]),
            _ => message.text(&["cursor"]),
        };
        if let Some(place) = place {
            self.cursor = Some(place.into_owned());
            self.backoff.reset();
        }
        match shown {
            Shown::On => None,
            Shown::Enough => Some(Ended::Asked),
            Shown::Stdout(exit) => Some(Ended::Stdout(exit)),
        }
    }
}

fn again(reason: &str) -> Broken {
    Broken::Again { reason: reason.to_owned(), wait: None }
}

/// What a refusal says of itself.
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
