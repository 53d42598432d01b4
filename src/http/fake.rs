//! A small HTTP server for unit tests, which sends exactly what a test wants, malformed or not.
//!
//! It uses a bare socket, because server libraries refuse to cut a response off.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request that the server received.
#[derive(Debug, Clone)]
pub(crate) struct SentRequest {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl SentRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The number after `&page=`.
    pub(crate) fn page(&self) -> u8 {
        self.target.split("&page=").nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// A response to send.
pub(crate) enum FakeReply {
    /// A complete response: status, headers, body. The length is added.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, then the connection is closed.
    Cut(Vec<u8>),
    /// Nothing; the connection stays open.
    Hang,
}

impl FakeReply {
    pub(crate) fn new(status: u16, body: &str) -> Self {
        Self::Whole(status, Vec::new(), body.as_bytes().to_vec())
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString + Copy) -> Self {
        if let Self::Whole(_, headers, _) = &mut self {
            headers.push((name, value.to_string()));
        }
        self
    }
}

/// The server. It stops when it is dropped.
pub(crate) struct FakeServer {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<SentRequest>>>,
    accepting: JoinHandle<()>,
}

impl FakeServer {
    pub(crate) async fn start(
        answer: impl Fn(&SentRequest) -> FakeReply + Send + Sync + Clone + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, answer.clone(), Arc::clone(&seen)));
            }
        });
        Self { url, asked, accepting }
    }

    /// All requests so far, in order.
    pub(crate) fn asked(&self) -> Vec<SentRequest> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn converse(
    mut stream: TcpStream,
    answer: impl Fn(&SentRequest) -> FakeReply,
    seen: Arc<Mutex<Vec<SentRequest>>>,
) {
    while let Some(asked) = read(&mut stream).await {
        let reply = answer(&asked);
        seen.lock().unwrap().push(asked);
        match reply {
            FakeReply::Whole(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} x\r\n");
                for (name, value) in &headers {
                    head.extend([name, ": ", value, "\r\n"]);
                }
                let length = if status == 304 {
                    String::new()
                } else {
                    format!("content-length: {}\r\n", body.len())
                };
                let bytes = [head.as_bytes(), length.as_bytes(), b"\r\n", &body].concat();
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            FakeReply::Cut(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            FakeReply::Hang => std::future::pending().await,
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<SentRequest> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut asked = SentRequest { method, target, headers, body: bytes.split_off(end) };
    let length = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while asked.body.len() < length {
        stream.read_buf(&mut asked.body).await.ok().filter(|read| *read > 0)?;
    }
    Some(asked)
}
