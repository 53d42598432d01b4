//! Time-outs for responses that a client does not take.
//!
//! hyper asks a body for more only when the connection, or the window of an HTTP/2 stream, has
//! room, and waits without limit. A watchdog cuts off a response of which one piece has waited for
//! `server.limits.writeTimeout`.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::Clock;
use crate::metrics;
use crate::serve::server::ServerState;
use crate::sync::lock;

/// Most bytes of a piece of a body.
pub(super) const PIECE_BYTES: usize = 32 << 10;

/// When hyper was given the newest piece; `None` once it has asked for another.
#[derive(Debug, Default)]
pub(super) struct OfferedAt(Mutex<Option<Instant>>);

impl OfferedAt {
    pub(super) fn set(&self, at: Option<Instant>) {
        *lock(&self.0) = at;
    }

    fn get(&self) -> Option<Instant> {
        *lock(&self.0)
    }
}

/// Starts the watchdog of a body, which cancels `cut`. It ends with the returned guard.
pub(super) fn watch(
    server: &ServerState,
    offered: Arc<OfferedAt>,
    cut: CancellationToken,
) -> DropGuard {
    let over = CancellationToken::new();
    let timeout = server.options.config.limits.write_timeout;
    server.tracker.spawn(cut_when_stuck(offered, server.clock, timeout, (over.clone(), cut)));
    over.drop_guard()
}

/// Cancels `cut` when a piece has waited for `timeout`. Ends with the body or the connection.
async fn cut_when_stuck(
    offered: Arc<OfferedAt>,
    clock: Clock,
    timeout: Duration,
    (over, cut): (CancellationToken, CancellationToken),
) {
    loop {
        tokio::select! {
            () = over.cancelled() => return,
            () = cut.cancelled() => return,
            () = clock.sleep(timeout / 2) => {}
        }
        if offered.get().is_some_and(|at| clock.instant().duration_since(at) >= timeout) {
            metrics::REFUSED.add_for("write_timeout", 1);
            cut.cancel();
            return;
        }
    }
}

/// Marks a response whose body has a watchdog already.
#[derive(Debug, Clone, Copy)]
pub(super) struct HasWatchdog;

/// A response over HTTP/2, sent in pieces: hyper holds one of them until the stream's window has
/// room, and the stream is cut off when that takes too long. This holds for the only or last piece
/// too, which hyper keeps with the body.
pub(super) fn watched(
    server: &Arc<ServerState>,
    response: Response,
    cut: &CancellationToken,
) -> Response {
    if response.extensions().get::<HasWatchdog>().is_some() {
        return response;
    }
    response.map(|body| {
        Body::new(WatchedBody {
            body,
            rest: Bytes::new(),
            offered: Arc::default(),
            watchdog: None,
            server: Arc::clone(server),
            cut: cut.clone(),
        })
    })
}

struct WatchedBody {
    body: Body,
    /// What is left of the last frame.
    rest: Bytes,
    offered: Arc<OfferedAt>,
    /// Runs from the first piece until hyper drops the body.
    watchdog: Option<DropGuard>,
    server: Arc<ServerState>,
    cut: CancellationToken,
}

impl hyper::body::Body for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.offered.set(None);
        if this.rest.is_empty() {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        this.offered.set(Some(this.server.clock.instant()));
        let Self { server, offered, cut, watchdog, .. } = this;
        watchdog.get_or_insert_with(|| watch(server, Arc::clone(offered), cut.clone()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
