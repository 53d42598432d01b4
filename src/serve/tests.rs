//! Tests of the server through its sockets: clients in the same process, on free ports.
//!
//! No test waits for time to pass: a pong confirms that the parameters sent before the ping apply.

mod echo;
mod frames;
mod front;
mod http;
mod http2;
mod limits;
mod sampling;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_util::sync::CancellationToken;

use super::{
    ArchiveRequest, Audience, ClientReport, Listener, Operate, OpsAnswer, OpsError, ScriptState,
    ServeOptions, Status, StoreRequest, SyncAnswer, run,
};
use crate::clock::Clock;
use crate::config::{ConfigPath, Request};
use crate::hub::{Hub, HubOptions, TailEvent};
use crate::model::envelope::{Envelope, Facts};
use crate::model::event::Event;
use crate::model::part::{ListReport, Part, PartState};
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::Timestamp;

/// The deadline of every wait in a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// An appliance whose results each test sets.
#[derive(Clone, Default)]
struct Around {
    simulated: bool,
    down: Option<&'static str>,
}

impl Operate for Around {
    fn parts(&self) -> Vec<Part> {
        ["store", "source", "bus", "tidb"]
            .map(|name| Part {
                name: name.into(),
                state: if self.down == Some(name) { PartState::Down } else { PartState::Ok },
                since: Timestamp::from_seconds(0),
                error: (self.down == Some(name)).then(|| "</script><b>broken".to_owned()),
                note: None,
            })
            .to_vec()
    }

    fn sync(&self) -> BoxFuture<'static, SyncAnswer> {
        let message = "tidb is not configured".to_owned();
        async { SyncAnswer { synced: false, failed: false, message } }.boxed()
    }

    fn simulated(&self) -> bool {
        self.simulated
    }

    fn lists(&self) -> Vec<ListReport> {
        Vec::new()
    }

    fn status(&self, clients: usize) -> Status {
        Status {
            ready: self.down.is_none(),
            version: "</pre><b>broken".into(),
            clients: ClientReport { connections: clients },
            ..Status::default()
        }
    }

    fn script(&self) -> ScriptState {
        ScriptState { name: "merge_latest.rhai".to_owned(), current: true, error: None }
    }

    fn archive(&self, request: ArchiveRequest) -> BoxFuture<'static, OpsAnswer> {
        let answer = serde_json::value::to_raw_value(&request).expect("it is JSON");
        async move { Ok(answer) }.boxed()
    }

    fn store(&self, request: StoreRequest) -> BoxFuture<'static, OpsAnswer> {
        let refused = |is_io| OpsError { is_io, reason: "why".to_owned() };
        let answer = match &request {
            StoreRequest::Requeue {} => Err(refused(true)),
            StoreRequest::Inspect { family: Some(_), .. } => Err(refused(false)),
            asked => Ok(serde_json::value::to_raw_value(asked).expect("it is JSON")),
        };
        async move { answer }.boxed()
    }
}

/// A running server.
struct Served {
    public: SocketAddr,
    ops: SocketAddr,
    hub: Arc<Hub>,
    soft: CancellationToken,
    hard: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

/// The default options.
fn options() -> ServeOptions {
    let request = Request::of_process(ConfigPath::Nothing, Vec::new());
    let loaded = crate::config::load(&Request { environment: Vec::new(), ..request }).unwrap();
    ServeOptions::of(&loaded.config.server)
}

async fn served() -> Served {
    served_with(options(), HubOptions::default(), Around::default()).await
}

/// A server whose options differ from the default ones.
async fn served_by(change: impl FnOnce(&mut ServeOptions)) -> Served {
    let mut options = options();
    change(&mut options);
    served_with(options, HubOptions::default(), Around::default()).await
}

async fn served_with(options: ServeOptions, hub: HubOptions, around: Around) -> Served {
    let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (public, ops) = (bind().await, bind().await);
    let (at_public, at_ops) = (public.local_addr().unwrap(), ops.local_addr().unwrap());
    let listeners = vec![
        Listener { socket: public, audience: Audience::Public },
        Listener { socket: ops, audience: Audience::Ops },
    ];
    let hub = Arc::new(Hub::new(&hub, Clock::system()));
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let running = tokio::spawn(run(
        listeners,
        options,
        Arc::clone(&hub),
        Arc::new(around),
        soft.clone(),
        hard.clone(),
    ));
    Served { public: at_public, ops: at_ops, hub, soft, hard, running }
}

impl Served {
    async fn connect(&self, path: &str) -> Client {
        self.connect_with(path, &[]).await.expect("a WebSocket")
    }

    /// Connects with additional headers; returns the response status if the server refuses.
    async fn connect_with(
        &self,
        path: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Client, u16> {
        let mut request = format!("ws://{}{path}", self.public).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, ::http::HeaderValue::from_static(value));
        }
        let stream = TcpStream::connect(self.public).await.unwrap();
        match soon(tokio_tungstenite::client_async(request, stream)).await {
            Ok((socket, _)) => Ok(Client(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => {
                Err(answer.status().as_u16())
            }
            Err(error) => panic!("neither a WebSocket nor an answer: {error}"),
        }
    }

    /// Sends a raw request and reads the response to the end.
    async fn ask(&self, head: &str) -> String {
        ask(self.public, head).await
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1")).await
    }

    /// Appends events with these ids.
    fn append(&self, ids: impl IntoIterator<Item = u64>) {
        self.append_texts(
            ids.into_iter().map(|id| format!(r#"{{"id":"{id}","type":"PushEvent"}}"#)),
        );
    }

    fn append_texts(&self, texts: impl IntoIterator<Item = String>) {
        self.hub.append(texts.into_iter().map(|text| tail_event(&text)).collect());
    }
}

fn tail_event(text: &str) -> TailEvent {
    let event = Event::read(text).unwrap();
    let facts = Facts::of(&event, Timestamp::default());
    let cursor = Cursor { tag: BusTag(1), position: Position::default() };
    TailEvent::new(cursor, Envelope { facts, event: text.into() })
}

async fn ask(address: SocketAddr, head: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// The client end of a WebSocket.
struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn send(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        soon(self.0.next()).await.expect("a message").expect("a whole one")
    }

    /// The next text message.
    async fn text(&mut self) -> String {
        loop {
            match self.next().await {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a text: {other:?}"),
            }
        }
    }

    /// Sends parameters and waits until they apply.
    async fn follow(&mut self, params: &str) {
        self.send(params).await;
        self.settle().await;
    }

    /// Waits until the server has processed everything sent so far.
    async fn settle(&mut self) {
        self.0.send(Message::Ping("settled".into())).await.unwrap();
        loop {
            match self.next().await {
                Message::Pong(body) if body == "settled" => return,
                Message::Ping(_) => {}
                other => panic!("not a pong: {other:?}"),
            }
        }
    }

    /// The code and reason of the next close frame.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Message::Close(Some(frame)) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a close frame: {other:?}"),
            }
        }
    }

    /// The field of the next error object.
    async fn error_field(&mut self) -> Option<String> {
        let text = self.text().await;
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["error"]["code"], "invalid_params", "{text}");
        assert!(value["error"]["message"].as_str().unwrap().contains("such as {"), "{text}");
        value["error"]["field"].as_str().map(str::to_owned)
    }
}
