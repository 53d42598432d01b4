//! Receives what is posted to a webhook.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Starts a small HTTP server; returns its URL and a channel of the JSON posted to it.
pub async fn webhook() -> (String, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, posts) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take_posts(stream, sender.clone()));
        }
    });
    (url, posts)
}

/// Receives posts until the connection ends.
async fn take_posts(mut stream: TcpStream, posts: mpsc::UnboundedSender<Value>) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
            if body.len() >= length {
                posts.send(serde_json::from_str(body).unwrap()).ok()?;
                bytes.clear();
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.ok()?;
                continue;
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
