//! The plain server, optimised: axum's WebSocket with a small read buffer, messages that are
//! gathered briefly and sent in one write, text shared by all readers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

/// Events queued for a reader before it misses some.
const WAITING: usize = 8_192;
/// Messages gather for as long as ghpulse gathers them.
const FLUSH: Duration = Duration::from_millis(50);
/// Buffer for gathered messages; a flush writes it.
const WRITE_BYTES: usize = 512 << 10;

/// An event: its message, and the fields by which a reader may select.
pub struct Published {
    text: Utf8Bytes,
    parts: Option<Value>,
    kind: String,
}

/// The sender of events.
pub type Tuned = broadcast::Sender<Arc<Published>>;

/// Starts the server.
pub fn start(listener: TcpListener) -> Tuned {
    let tuned = Tuned::new(WAITING);
    let router = Router::new()
        .route(
            "/sampling",
            get(|upgrade: WebSocketUpgrade, State(tuned): State<Tuned>| async move {
                let upgrade = upgrade.read_buffer_size(4_096).write_buffer_size(WRITE_BYTES);
                upgrade.on_upgrade(move |socket| serve(socket, tuned))
            }),
        )
        .with_state(tuned.clone());
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("it is connected"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    tuned
}

/// Publishes a message; `parts` if some reader selects parts of it.
pub fn publish(tuned: &Tuned, text: String, parts: Option<Value>, kind: &str) {
    let message = Published { text: text.into(), parts, kind: kind.to_owned() };
    // An error only means that no reader is connected.
    let _ = tuned.send(Arc::new(message));
}

async fn serve(socket: WebSocket, tuned: Tuned) {
    let (mut sink, mut stream) = socket.split();
    let Some(Ok(Message::Text(params))) = stream.next().await else { return };
    let params: Value = serde_json::from_str(&params).expect("our own readers send it");
    let pointer = |path: &Value| format!("/{}", path.as_str().unwrap_or("").replace('.', "/"));
    let filter = params["filter"].as_array();
    let filter: Option<Vec<String>> = filter.map(|paths| paths.iter().map(pointer).collect());
    let kind = params["eventType"].as_str().map(str::to_owned);
    let mut messages = tuned.subscribe();
    let mut flush = tokio::time::interval(FLUSH);
    loop {
        tokio::select! {
            _ = flush.tick() => {}
            heard = stream.next() => match heard {
                // The library answers pings with the next flush.
                Some(Ok(_)) => {}
                _ => return,
            },
        }
        loop {
            let message = match messages.try_recv() {
                Ok(message) => message,
                Err(broadcast::error::TryRecvError::Empty) => break,
                Err(_) => return,
            };
            if kind.as_ref().is_some_and(|kind| *kind != message.kind) {
                continue;
            }
            let text = match (&filter, &message.parts) {
                (Some(paths), Some(parts)) => {
                    let value = |path: &String| parts.pointer(path).unwrap_or(&Value::Null);
                    let values: Vec<&Value> = paths.iter().map(value).collect();
                    serde_json::to_string(&values).expect("values can be written").into()
                }
                _ => message.text.clone(),
            };
            if sink.feed(Message::Text(text)).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}
