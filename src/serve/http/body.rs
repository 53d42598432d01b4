//! A stream as an answer over HTTP: server-sent events, or lines of JSON.
//!
//! The HTTP library asks for more when the connection has taken what it was given; so a slow
//! reader holds one portion. Who takes nothing for as long as a write may take is cut off: the
//! library waits without end, so a task beside it looks.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream};
use http::{HeaderValue, Request, StatusCode, header};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::admission::Slot;
use super::encoding::Packer;
use super::peer::Peer;
use super::problem::Problem;
use crate::clock::Clock;
use crate::hub::{MemoryCharge, Notifier, StreamEncoding, retry_after};
use crate::metrics;
use crate::serve::pace::Timer;
use crate::serve::readers::{HEARTBEAT, Reader};
use crate::serve::server::Server;
use crate::serve::ws::connection::Counted;
use crate::serve::ws::handshake;
use crate::sync::lock;

/// The most bytes that are given to the HTTP library at once.
const CHUNK_BYTES: usize = 32 << 10;

/// One answer.
pub(crate) struct Pump<R> {
    reader: R,
    encoding: StreamEncoding,
    notifier: Arc<Notifier>,
    queue: VecDeque<Bytes>,
    /// What the queue counts for its client.
    charge: Option<MemoryCharge>,
    more: bool,
    ended: bool,
    clock: Clock,
    beat: Timer,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    given: Arc<Given>,
    packer: Option<Packer>,
    /// Ends the task that looks after this, so that nobody waits for it when this is over.
    _watched: DropGuard,
    /// What the connection holds while this lives.
    _held: (Peer, Option<Slot>, Counted),
}

/// Since when the connection has been given something and not asked for more.
#[derive(Debug, Default)]
struct Given(Mutex<Option<Instant>>);

impl Given {
    fn set(&self, at: Option<Instant>) {
        *lock(&self.0) = at;
    }

    fn get(&self) -> Option<Instant> {
        *lock(&self.0)
    }
}

impl<R: Reader> Pump<R> {
    /// For the client of this request.
    pub(crate) fn new(
        server: &Arc<Server>,
        request: &Request<Body>,
        mut reader: R,
        notifier: Arc<Notifier>,
        encoding: StreamEncoding,
    ) -> Result<Self, Problem> {
        if server.soft.is_cancelled() {
            return Err(handshake::stopping());
        }
        let peer = request.extensions().get::<Peer>().cloned().ok_or_else(|| {
            let detail = "this connection is not known";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        })?;
        let behind = handshake::place_behind_proxy(server, &peer, request.headers())?;
        // Without a place for it, it goes as it is.
        let permit = Arc::clone(&server.packing).try_acquire_owned().ok();
        let packer = permit.and_then(|permit| Packer::new(request.headers(), permit));
        let clock = server.clock;
        let given = Arc::new(Given::default());
        let timeout = server.options.limits.write_timeout;
        let over = CancellationToken::new();
        let ends = (over.clone(), peer.cut.clone());
        server.tracker.spawn(watch(Arc::clone(&given), clock, timeout, ends));
        let first = reader.first().map(Into::into);
        let queue = retry(encoding, retry_after()).into_iter().chain(first).collect();
        Ok(Self {
            reader,
            encoding,
            notifier,
            queue,
            charge: None,
            more: true,
            ended: false,
            clock,
            beat: Timer::new(clock, clock.instant() + HEARTBEAT),
            stop: Box::pin(server.soft.clone().cancelled_owned()),
            given,
            packer,
            _watched: over.drop_guard(),
            _held: (peer, behind, Counted::new(R::NAME)),
        })
    }

    /// As an answer.
    pub(crate) fn into_response(self) -> Response {
        let encoding = self.packer.as_ref().map(Packer::name);
        let mut response = Body::from_stream(self).into_response();
        if let Some(encoding) = encoding {
            let encoding = HeaderValue::from_static(encoding);
            response.headers_mut().insert(header::CONTENT_ENCODING, encoding);
        }
        response
    }

    /// The next piece as it leaves.
    fn poll_packed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let piece = ready!(self.poll_piece(cx));
        Poll::Ready(match (piece, &mut self.packer) {
            (Some(piece), Some(packer)) => Some(packer.pack(&piece)),
            (None, packer) => packer.take().map(Packer::finish),
            (piece, None) => piece,
        })
    }

    /// The next piece: what is small is put together, what is large is cut.
    fn next_piece(&mut self) -> Option<Bytes> {
        let first = self.queue.front_mut()?;
        if first.len() > CHUNK_BYTES {
            return Some(first.split_to(CHUNK_BYTES));
        }
        let first = self.queue.pop_front()?;
        let fits = |bytes: usize, next: &Bytes| bytes + next.len() <= CHUNK_BYTES;
        if !self.queue.front().is_some_and(|next| fits(first.len(), next)) {
            return Some(first);
        }
        let mut piece = BytesMut::from(first);
        while self.queue.front().is_some_and(|next| fits(piece.len(), next)) {
            piece.extend_from_slice(&self.queue.pop_front().expect("it was looked at"));
        }
        Some(piece.freeze())
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(piece) = self.next_piece() {
                return Poll::Ready(Some(piece));
            }
            self.charge = None;
            if self.ended {
                return Poll::Ready(None);
            }
            if self.stop.poll_unpin(cx).is_ready() {
                let reason = "the server is stopping: connect again in a while";
                let after = retry_after();
                self.queue.extend(retry(self.encoding, after));
                self.queue.extend(self.reader.bye(reason, after).map(Into::into));
                self.ended = true;
                continue;
            }
            if self.more || self.notifier.poll_notified(cx).is_ready() {
                let delivery = self.reader.take();
                metrics::DELIVERIES.add_for(R::NAME, delivery.count);
                self.queue.extend(delivery.messages.into_iter().map(Into::into));
                self.charge = delivery.charge;
                (self.more, self.ended) = (delivery.more, delivery.ended.is_some());
                continue;
            }
            if self.beat.sleep.poll_unpin(cx).is_ready() {
                self.beat = Timer::new(self.clock, self.clock.instant() + HEARTBEAT);
                self.queue.extend(self.reader.heartbeat().map(Into::into));
                continue;
            }
            return Poll::Pending;
        }
    }
}

/// The first line of a message that tells a reader of server-sent events how many milliseconds to
/// wait before it connects again: not all of them the same.
fn retry(form: StreamEncoding, after: u64) -> Option<Bytes> {
    (form == StreamEncoding::Sse).then(|| format!("retry: {after}\n").into())
}

/// An answer of this kind, or the refusal.
pub(crate) fn answer(kind: &'static str, body: Result<impl IntoResponse, Problem>) -> Response {
    let answer = body.map(|body| ([(header::CONTENT_TYPE, kind)], body).into_response());
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    // Proxies that gather answers would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl<R: Reader> Stream for Pump<R> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.poll_packed(cx);
        let is_given = matches!(piece, Poll::Ready(Some(_)));
        self.given.set(is_given.then(|| self.clock.instant()));
        piece.map(|piece| piece.map(Ok))
    }
}

/// Cuts a connection off that has taken nothing for so long; until the answer is over, or the
/// connection is cut by others.
async fn watch(
    given: Arc<Given>,
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
        if given.get().is_some_and(|at| clock.instant().duration_since(at) >= timeout) {
            metrics::REFUSED.add_for("write_timeout", 1);
            cut.cancel();
            return;
        }
    }
}
