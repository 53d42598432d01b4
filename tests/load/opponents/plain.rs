//! A baseline for fan-out: the simplest server. Axum's WebSocket with its defaults, a broadcast
//! channel, a task per reader, a write per event.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

/// Events queued for a reader before it misses some.
const WAITING: usize = 4_096;

/// An event, as text and parsed.
pub struct Told {
    whole: Utf8Bytes,
    parts: Value,
}

/// The sender of events.
pub type Plain = broadcast::Sender<Arc<Told>>;

/// Starts the server.
pub fn start(listener: TcpListener) -> Plain {
    let plain = Plain::new(WAITING);
    let router = Router::new()
        .route(
            "/sampling",
            get(|upgrade: WebSocketUpgrade, State(plain): State<Plain>| async move {
                upgrade.on_upgrade(move |socket| serve(socket, plain))
            }),
        )
        .with_state(plain.clone());
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("it is connected"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    plain
}

/// Sends an event to all readers.
pub fn tell(plain: &Plain, event: &str) {
    let flags = r#"{"pr":0,"open":0,"merge":0,"close":0,"devDay":0,"devYear":0,"repoYear":0}"#;
    let whole = format!(r#"{{"event":{event},"payload":{flags}}}"#);
    let parts = serde_json::from_str(&whole).expect("events are JSON");
    // An error only means that no reader is connected.
    let _ = plain.send(Arc::new(Told { whole: whole.into(), parts }));
}

async fn serve(mut socket: WebSocket, plain: Plain) {
    let Some(Ok(Message::Text(params))) = socket.recv().await else { return };
    let params: Value = serde_json::from_str(&params).expect("our own readers send it");
    let pointer = |path: &Value| format!("/{}", path.as_str().unwrap_or("").replace('.', "/"));
    let filter = params["filter"].as_array();
    let filter: Option<Vec<String>> = filter.map(|paths| paths.iter().map(pointer).collect());
    let mut told = plain.subscribe();
    loop {
        let event = tokio::select! {
            event = told.recv() => event,
            heard = socket.recv() => match heard {
                Some(Ok(_)) => continue,
                _ => return,
            },
        };
        let Ok(event) = event else { return };
        let text = match &filter {
            None => event.whole.clone(),
            Some(paths) => {
                let value = |path: &String| event.parts.pointer(path).unwrap_or(&Value::Null);
                let values: Vec<&Value> = paths.iter().map(value).collect();
                serde_json::to_string(&values).expect("values can be written").into()
            }
        };
        if socket.send(Message::Text(text)).await.is_err() {
            return;
        }
    }
}
