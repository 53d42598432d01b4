//! Readers that never give up: they reconnect after every cut, resume by cursor, and keep what they
//! received.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use ghpulse::clock::Clock;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::amqp::broker;
use crate::common::model::{Key, key_of};

/// Time between two connections.
const RETRY: Duration = Duration::from_millis(100);

/// How a reader of `/stream` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Lines,
    ServerSent,
    Socket,
}

/// What a reader of `/stream` has received, over all its connections.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) events: BTreeMap<Key, Value>,
    /// The keys of the events, in order.
    pub(super) order: Vec<Key>,
    pub(super) gaps: Vec<Value>,
    /// What must not happen.
    pub(super) wrong: Vec<String>,
    cursor: Option<String>,
}

impl Received {
    /// Whether it has a place to resume from.
    pub(super) fn is_connected(&self) -> bool {
        self.cursor.is_some()
    }

    /// Takes a message; the rules for the cursor are those of `/client.py`.
    fn take(&mut self, message: &Value) {
        let kind = message["type"].as_str().unwrap_or_default();
        match kind {
            "event" => {
                let key = key_of(&message["event"]);
                self.order.push(key.clone());
                if self.events.insert(key.clone(), message["event"].clone()).is_some() {
                    self.wrong.push(format!("{key:?} came twice, at {}", message["cursor"]));
                }
            }
            "gap" => self.gaps.push(message.clone()),
            "error" => self.wrong.push(format!("refused: {message}")),
            "ack" if self.cursor.is_some() => return,
            "bye" | "heartbeat" if self.cursor.is_none() => return,
            _ => {}
        }
        if let Some(cursor) = message["cursor"].as_str().or(message["to"].as_str()) {
            self.cursor = Some(cursor.to_owned());
        }
    }
}

/// A reader of `/stream`.
pub(super) struct StreamReader {
    pub(super) encoding: Encoding,
    received: Arc<Mutex<Received>>,
    task: JoinHandle<()>,
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StreamReader {
    pub(super) fn start(address: SocketAddr, encoding: Encoding) -> Self {
        let received = Arc::<Mutex<Received>>::default();
        let kept = Arc::clone(&received);
        let task = tokio::spawn(async move {
            loop {
                // `None` is the end of a connection, however it came.
                let _ = match encoding {
                    Encoding::Socket => read_socket(address, &kept).await,
                    _ => read_body(address, encoding, &kept).await,
                };
                Clock::system().sleep(RETRY).await;
            }
        });
        Self { encoding, received, task }
    }

    pub(super) fn received(&self) -> MutexGuard<'_, Received> {
        lock(&self.received)
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read_socket(address: SocketAddr, kept: &Mutex<Received>) -> Option<()> {
    let from = lock(kept).cursor.as_ref().map(|cursor| format!("?cursor={cursor}"));
    let mut socket = connect(address, &format!("/stream{}", from.unwrap_or_default())).await?;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            lock(kept).take(&serde_json::from_str(&text).ok()?);
        }
    }
    None
}

async fn connect(address: SocketAddr, path: &str) -> Option<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.ok()?;
    let url = format!("ws://{address}{path}");
    Some(tokio_tungstenite::client_async(url, stream).await.ok()?.0)
}

/// Reads a response of HTTP/1.0, which is not chunked.
async fn read_body(address: SocketAddr, encoding: Encoding, kept: &Mutex<Received>) -> Option<()> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let cursor = lock(kept).cursor.clone();
    let (accept, query, header) = match (encoding, cursor) {
        (Encoding::ServerSent, Some(at)) => {
            ("text/event-stream", String::new(), format!("last-event-id: {at}\r\n"))
        }
        (Encoding::ServerSent, None) => ("text/event-stream", String::new(), String::new()),
        (_, Some(at)) => ("application/x-ndjson", format!("?cursor={at}"), String::new()),
        (_, None) => ("application/x-ndjson", String::new(), String::new()),
    };
    let head = format!(
        "GET /stream{query} HTTP/1.0\r\nhost: {address}\r\naccept: {accept}\r\n{header}\r\n"
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next_line().await.ok()??;
    if !status.contains(" 200 ") {
        let is_temporary = status.contains(" 503 ") || status.contains(" 429 ");
        if !is_temporary {
            lock(kept).wrong.push(format!("a request was answered with {status}"));
        }
        return None;
    }
    while !lines.next_line().await.ok()??.is_empty() {}
    let mut data = None;
    while let Some(line) = lines.next_line().await.ok()? {
        if encoding == Encoding::Lines {
            take_line(&line, &mut lines, kept).await?;
        } else if let Some(text) = line.strip_prefix("data: ") {
            data = Some(text.to_owned());
        } else if line.is_empty()
            && let Some(text) = data.take()
        {
            take_line(&text, &mut lines, kept).await?;
        }
    }
    None
}

/// Takes a message. The last line of a connection that was cut may be a part of one.
async fn take_line(
    text: &str,
    lines: &mut Lines<BufReader<TcpStream>>,
    kept: &Mutex<Received>,
) -> Option<()> {
    match serde_json::from_str(text) {
        Ok(message) => lock(kept).take(&message),
        Err(error) => {
            if let Ok(Some(next)) = lines.next_line().await {
                lock(kept).wrong.push(format!("{error}: {text} before {next}"));
            }
            return None;
        }
    }
    Some(())
}

/// A reader of `/sampling`, which has no cursor: what each connection received, in order.
pub(super) struct SamplingReader {
    connections: Arc<Mutex<Vec<Vec<Key>>>>,
    task: JoinHandle<()>,
}

impl Drop for SamplingReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl SamplingReader {
    pub(super) fn start(address: SocketAddr) -> Self {
        let connections = Arc::<Mutex<Vec<Vec<Key>>>>::default();
        let kept = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            loop {
                let _ = read_sampling(address, &kept).await;
                Clock::system().sleep(RETRY).await;
            }
        });
        Self { connections, task }
    }

    /// Why the connections were not served right; `order` is that of the journal. Each received a
    /// part of it without a hole.
    pub(super) fn wrong(&self, order: &[Key]) -> Option<String> {
        let places: BTreeMap<&Key, usize> =
            order.iter().enumerate().map(|(at, key)| (key, at)).collect();
        for keys in lock(&self.connections).iter() {
            let first = keys.first().and_then(|key| places.get(key));
            let Some(first) = first.copied().filter(|_| !keys.is_empty()) else { continue };
            let expected = order.iter().skip(first).take(keys.len());
            if let Some((wrong, right)) = keys.iter().zip(expected).find(|(one, two)| one != two) {
                return Some(format!("/sampling sent {wrong:?}, and {right:?} was the next"));
            }
        }
        None
    }

    /// Number of events received on all connections.
    pub(super) fn count(&self) -> usize {
        lock(&self.connections).iter().map(Vec::len).sum()
    }
}

async fn read_sampling(address: SocketAddr, kept: &Mutex<Vec<Vec<Key>>>) -> Option<()> {
    let mut socket = connect(address, "/sampling").await?;
    socket.send(Message::text(r#"{"samplingRate":1}"#)).await.ok()?;
    lock(kept).push(Vec::new());
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).ok()?;
        if message.get("event").is_some() {
            lock(kept).last_mut()?.push(key_of(&message["event"]));
        }
    }
    None
}

/// A reader of RabbitMQ, through a durable queue.
pub(super) struct RabbitReader {
    reader: broker::Reader,
    pub(super) seen: BTreeSet<Key>,
}

impl RabbitReader {
    pub(super) async fn start(broker: &broker::Broker, queue: &str) -> Self {
        Self { reader: broker.reader(queue, &["evt.#"]).await, seen: BTreeSet::new() }
    }

    /// Continues on a broker that was started again.
    pub(super) async fn restart(&mut self, broker: &broker::Broker, queue: &str) {
        self.take();
        self.reader = broker.reader(queue, &["evt.#"]).await;
    }

    /// Takes what has arrived.
    pub(super) fn take(&mut self) {
        while let Some(line) = self.reader.line_now() {
            let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
            let body = message["body"].as_str().unwrap_or_default();
            if let Ok(event) = serde_json::from_str::<Value>(body) {
                self.seen.insert(key_of(&event));
            }
        }
    }
}
