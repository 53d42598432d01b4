//! An echo over the WebSocket module, and Autobahn's test suite on it.
//!
//! The echo exists in tests only. It is a [`ClientReader`] behind the real handshake, so
//! decompressor, frames, limits and closing are those of every endpoint. `make autobahn` runs the
//! suite: it sets `TEST_AUTOBAHN`, the command that runs `wstest`.

use std::collections::BTreeMap;
use std::path::Path;

use axum::body::Body;
use axum::response::IntoResponse as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::*;
use crate::hub::{Frame as SharedFrame, ReaderBatch};
use crate::serve::http::peer::Peer;
use crate::serve::http::write_timeout::WriteTimeoutStream;
use crate::serve::readers::ClientReader;
use crate::serve::readers::params::InvalidParams;
use crate::serve::server::ServerState;
use crate::serve::ws::handshake;

/// The suite's longest message has 16 MiB.
const MESSAGE_BYTES: usize = 32 << 20;
/// More than the suite sends in a minute of one connection.
const PER_MINUTE: u32 = 100_000_000;
/// How long the suite's slow client may take for one message, or to read one.
const SLOW: Duration = Duration::from_secs(600);
/// The cases of autobahntestsuite 25.10.
const CASES: usize = 517;
const BINARY: u8 = 0x82;

/// Returns every message to the client that sent it.
#[derive(Default)]
struct Echo(Vec<SharedFrame>);

impl ClientReader for Echo {
    type Message = SharedFrame;
    const NAME: &'static str = "/echo";
    const EXAMPLE: &'static str = "{}";

    fn first(&mut self) -> Option<SharedFrame> {
        None
    }

    fn ask(&mut self, text: &str) -> Result<(), InvalidParams> {
        self.0.push(SharedFrame::text(&[text]));
        Ok(())
    }

    fn take(&mut self) -> ReaderBatch<SharedFrame> {
        let messages = std::mem::take(&mut self.0);
        ReaderBatch { messages, count: 0, more: false, ended: None, charge: None }
    }

    fn echoes(&mut self, bytes: &[u8]) -> bool {
        self.0.push(binary(bytes));
        true
    }
}

fn binary(payload: &[u8]) -> SharedFrame {
    let mut bytes = vec![BINARY];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => bytes.push(short),
        (_, Ok(medium)) => {
            bytes.push(126);
            bytes.extend(medium.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes::Bytes::from(bytes).into()
}

/// Starts the echo on a free port, with limits that the suite does not reach.
async fn start() -> SocketAddr {
    let mut options = options();
    options.config.limits.message_bytes = MESSAGE_BYTES;
    options.config.limits.params_per_minute = PER_MINUTE;
    options.config.limits.write_timeout = SLOW;
    options.chatter_per_minute = PER_MINUTE;
    options.message_within = SLOW;
    let hub = Arc::new(Hub::new(&HubOptions::default(), Clock::system()));
    let (soft, hard) = (CancellationToken::new(), CancellationToken::new());
    let server = Arc::new(ServerState::new(options, hub, Arc::new(Around::default()), soft, hard));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            tokio::spawn(speak(Arc::clone(&server), stream, from));
        }
    });
    address
}

async fn speak(server: Arc<ServerState>, stream: TcpStream, from: SocketAddr) {
    let service = service_fn(|request: ::http::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer::of_test(from.ip()));
        let answer = handshake::open(&server, request, "", |_, _, _| Ok(Echo::default()));
        async { Ok::<_, std::convert::Infallible>(answer.into_response()) }
    });
    let stream = crate::serve::http::tls::Stream::Left(stream);
    let stream = WriteTimeoutStream::new(stream, SLOW, server.clock);
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // A case that ends before its handshake is a failure of that case.
    let _ = connection.await;
}

/// Runs the suite and returns its results by case.
async fn results(command: &str, address: SocketAddr, dir: &Path) -> BTreeMap<String, Value> {
    let wanted = std::env::var("TEST_AUTOBAHN_CASES").unwrap_or_else(|_| "*".to_owned());
    let cases: Vec<_> = wanted.split(',').collect();
    let spec = dir.join("spec.json");
    let server = json!({"agent": "ghpulse", "url": format!("ws://{address}/echo")});
    let text = json!({
        "outdir": dir,
        "servers": [server],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    std::fs::write(&spec, text.to_string()).unwrap();
    let mut suite = tokio::process::Command::new(command);
    suite.args(["-m", "fuzzingclient", "-s"]).arg(&spec).kill_on_drop(true);
    assert!(suite.status().await.unwrap().success(), "{command} ended with an error");
    let text = std::fs::read_to_string(dir.join("index.json")).unwrap();
    let mut index: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_str(&text).unwrap();
    index.remove("ghpulse").expect("the report of this server")
}

/// Passed, passed less strictly than the suite prefers, only informational, or about a window of
/// permessage-deflate that the handshake declines (cases 13).
fn is_passed(case: &str, behaviour: &Value) -> bool {
    ["OK", "NON-STRICT", "INFORMATIONAL"].iter().any(|passed| behaviour == passed)
        || (case.starts_with("13.") && behaviour == "UNIMPLEMENTED")
}

/// Runs the suite; fails if one of its cases does.
async fn run_suite(command: &str, address: SocketAddr) {
    let dir = std::env::var("TEST_AUTOBAHN_REPORT").expect("a directory for the report");
    let results = results(command, address, Path::new(&dir)).await;
    let mut behaviours = BTreeMap::<&str, usize>::new();
    for result in results.values() {
        *behaviours.entry(result["behavior"].as_str().unwrap_or("?")).or_default() += 1;
    }
    let counts: Vec<_> = behaviours.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let is_failed = |case: &str, result: &Value| {
        ["behavior", "behaviorClose"].iter().any(|of| !is_passed(case, &result[of]))
    };
    let failed: Vec<_> = results
        .iter()
        .filter(|(case, result)| is_failed(case, result))
        .map(|(case, result)| format!("{case}: {} {}", result["behavior"], result["behaviorClose"]))
        .collect();
    println!("Autobahn: {} cases, {} failed ({})", results.len(), failed.len(), counts.join(", "));
    assert_eq!(failed, Vec::<String>::new());
    let is_all = std::env::var("TEST_AUTOBAHN_CASES").is_err();
    assert!(!is_all || results.len() == CASES, "{} cases instead of {CASES}", results.len());
}

/// A few cases by hand, in every run; with `TEST_AUTOBAHN` also those of the suite.
#[tokio::test(flavor = "multi_thread")]
async fn echo_passes_autobahn() {
    let address = start().await;
    let mut client = EchoClient::connect(address).await;
    for length in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        for message in [Message::text("ä".repeat(length)), Message::binary(vec![0xff; length])] {
            client.send(message.clone()).await;
            assert_eq!(client.0.next().await, message);
        }
    }
    let fragment = Frame::message("fragment ", OpCode::Data(Data::Text), false);
    client.send(Message::Frame(fragment)).await;
    client.0.settle().await;
    let last = Frame::message("and end", OpCode::Data(Data::Continue), true);
    client.send(Message::Frame(last)).await;
    assert_eq!(client.0.next().await, Message::text("fragment and end"));
    let invalid = Frame::message(&b"\xce\xba\xff"[..], OpCode::Data(Data::Text), true);
    client.send(Message::Frame(invalid)).await;
    assert_eq!(client.0.closed().await.0, 1007);
    if let Ok(command) = std::env::var("TEST_AUTOBAHN") {
        run_suite(&command, address).await;
    }
}

/// A client of the echo.
struct EchoClient(Client);

impl EchoClient {
    async fn connect(address: SocketAddr) -> Self {
        let request = format!("ws://{address}/echo").into_client_request().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (socket, _) = soon(tokio_tungstenite::client_async(request, stream)).await.unwrap();
        Self(Client(socket))
    }

    async fn send(&mut self, message: Message) {
        soon(self.0.0.send(message)).await.unwrap();
    }
}
