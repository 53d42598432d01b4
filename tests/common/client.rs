//! A WebSocket client and an HTTP client.

use std::collections::VecDeque;
use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::running::{PATIENCE, soon};

/// A WebSocket connection to an endpoint.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    kept: VecDeque<Came>,
}

/// What the client received.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    Text(String),
    Pong(Vec<u8>),
    Closed(Option<(u16, String)>),
}

impl Client {
    pub async fn connect(address: SocketAddr, path: &str) -> Self {
        let opened = Self::open(address, path, &[]).await;
        opened.unwrap_or_else(|answer| panic!("no WebSocket: {answer:?}"))
    }

    /// Connects with these headers; returns the response if the server refuses the upgrade.
    pub async fn open(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Answer> {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::over(stream, path, headers).await
    }

    /// Does the same over an existing connection.
    pub async fn over(
        stream: TcpStream,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Answer> {
        let address = stream.peer_addr().unwrap();
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match soon("a handshake ends", client_async(request, stream)).await {
            Ok((socket, _)) => Ok(Self { socket, kept: VecDeque::new() }),
            Err(Error::Http(response)) => Err(Answer {
                status: response.status().as_u16(),
                head: format!("{:?}", response.headers()),
                body: String::from_utf8_lossy(response.body().as_deref().unwrap_or_default())
                    .into_owned(),
            }),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// Sends a message; returns false if the other side has already closed.
    pub async fn try_send(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).await.is_ok()
    }

    pub async fn send_message(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Sends a close frame with this code.
    pub async fn goodbye(&mut self, code: u16) {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.socket.close(Some(frame)).await.unwrap();
    }

    /// Sends parameters and waits until they apply: the server reads messages in order, so the pong
    /// for a ping sent after them arrives once they do.
    pub async fn subscribe(&mut self, params: &str) {
        self.send(params).await;
        self.send_message(Message::Ping(b"params".as_slice().into())).await;
        loop {
            match self.receive().await {
                Came::Pong(_) => return,
                other => self.kept.push_back(other),
            }
        }
    }

    /// The next item other than a ping.
    pub async fn next(&mut self) -> Came {
        match self.kept.pop_front() {
            Some(came) => came,
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Came {
        loop {
            match soon("a message comes", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return Came::Text(text.to_string()),
                Some(Ok(Message::Pong(bytes))) => return Came::Pong(bytes.to_vec()),
                Some(Ok(Message::Close(frame))) => {
                    let said = |f: CloseFrame| (f.code.into(), f.reason.to_string());
                    return Came::Closed(frame.map(said));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Came::Closed(None),
            }
        }
    }

    /// The next message, which must be a text message.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Came::Text(text) => text,
            other => panic!("a text was to come, not {other:?}"),
        }
    }

    /// Reads messages until this text arrives.
    pub async fn until(&mut self, wanted: &str) {
        let mut last = String::new();
        let came = tokio::time::timeout(PATIENCE, async {
            while last != wanted {
                last = self.text().await;
            }
        });
        let came = came.await.is_ok();
        assert!(came, "{wanted} was to come within {PATIENCE:?}, the last was {last}");
    }

    /// The next message, which must be JSON.
    pub async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// A response over HTTP/1.1.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }
}

/// Sends one request on a new connection; `headers` are complete header lines.
pub async fn request(address: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers = headers.iter().flat_map(|line| [line, "\r\n"]).collect::<String>();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    soon("an answer comes", stream.read_to_end(&mut bytes)).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&bytes)));
    let (head, body) = (String::from_utf8_lossy(&bytes[..end]), &bytes[end + 4..]);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    Answer { status, head: head.into_owned(), body }
}

/// Decodes chunked bytes; a chunk may end within a character.
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&body[..end]);
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        let rest = &body[end + 2..];
        whole.extend_from_slice(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}
