//! Closes a WebSocket so that the peer reads everything that was sent (RFC 6455 §7.1.1).
//!
//! Browsers read synchronously. Node's WebSocket, undici and others inflate and dispatch messages
//! later than they arrive, and drop pending ones when the connection ends. They answer a close
//! frame only after all messages before it, so the connection ends after that answer.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::frames::FrameStream;
use crate::clock::Clock;
use crate::serve::http::unsent;

/// Longest wait for the end of the peer's data.
const LINGER: Duration = Duration::from_secs(2);

/// Writes what is queued within `timeout`, waits for the peer's close frame up to `reply_within`
/// (`None` if the peer has sent it), and closes the connection.
pub(crate) async fn leave(
    wire: &mut FrameStream,
    reply_within: Option<Duration>,
    clock: Clock,
    timeout: Duration,
) {
    unsent::lift(&wire.stream);
    let left = tokio::select! {
        left = poll_fn(|cx| wire.poll_drain(cx)) => left.is_ok(),
        () = clock.sleep(timeout) => false,
    };
    if !left {
        return;
    }
    if let Some(within) = reply_within {
        tokio::select! {
            () = poll_fn(|cx| wire.poll_closed(cx)) => {}
            () = clock.sleep(within) => {}
        }
    }
    // Closing a socket with unread data resets the connection, and the last messages are lost.
    let stream = &mut wire.stream;
    let gone = async {
        if stream.shutdown().await.is_ok() {
            // Fails when the connection is gone, which is as good.
            let _ = tokio::io::copy(stream, &mut tokio::io::sink()).await;
        }
    };
    tokio::select! {
        () = gone => {}
        () = clock.sleep(LINGER) => {}
    }
}
