//! A reader as a response body: server-sent events or JSON lines.
//!
//! hyper polls the body only when the socket is writable, so a slow client holds one batch. A
//! watchdog closes connections that make no progress.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream};
use http::{HeaderValue, Request, header};
use tokio_util::sync::DropGuard;

use super::admission::{ConnectionGauge, ConnectionSlot};
use super::encoding::Compressor;
use super::peer::Peer;
use super::problem::Problem;
use super::progress::{self, HasWatchdog, OfferedAt, PIECE_BYTES};
use crate::clock::Clock;
use crate::hub::{MemoryCharge, Notifier, StreamEncoding, retry_after};
use crate::metrics;
use crate::serve::readers::{ClientReader, HEARTBEAT};
use crate::serve::server::ServerState;
use crate::serve::timer::Timer;
use crate::serve::ws::handshake;

/// The body of one response.
pub(crate) struct StreamBody<R> {
    reader: R,
    encoding: StreamEncoding,
    notifier: Arc<Notifier>,
    queue: VecDeque<Bytes>,
    /// Counts the queued messages for their client.
    charge: Option<MemoryCharge>,
    more: bool,
    ended: bool,
    clock: Clock,
    beat: Timer,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    offered: Arc<OfferedAt>,
    compressor: Option<Compressor>,
    /// Ends the watchdog with the body.
    _watched: DropGuard,
    /// Held by the connection while the body lives.
    _held: (Peer, Option<ConnectionSlot>, ConnectionGauge),
}

impl<R: ClientReader> StreamBody<R> {
    /// A body for the client of this request.
    pub(crate) fn new(
        server: &Arc<ServerState>,
        request: &Request<Body>,
        mut reader: R,
        notifier: Arc<Notifier>,
        encoding: StreamEncoding,
    ) -> Result<Self, Problem> {
        if server.soft.is_cancelled() {
            return Err(handshake::stopping());
        }
        let peer = Peer::of(request)?.clone();
        let behind = handshake::slot_behind_proxy(server, &peer, request.headers())?;
        // Without a permit it is sent uncompressed.
        let permit = Arc::clone(&server.compressors).try_acquire_owned().ok();
        let compressor = permit.and_then(|permit| Compressor::new(request.headers(), permit));
        let clock = server.clock;
        let offered = Arc::new(OfferedAt::default());
        let watchdog = progress::watch(server, Arc::clone(&offered), peer.cut.clone());
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
            offered,
            compressor,
            _watched: watchdog,
            _held: (peer, behind, ConnectionGauge::new(R::NAME)),
        })
    }

    pub(crate) fn into_response(self) -> Response {
        let encoding = self.compressor.as_ref().map(|compressor| compressor.name);
        let mut response = Body::from_stream(self).into_response();
        response.extensions_mut().insert(HasWatchdog);
        if let Some(encoding) = encoding {
            let encoding = HeaderValue::from_static(encoding);
            response.headers_mut().insert(header::CONTENT_ENCODING, encoding);
        }
        response
    }

    /// The next chunk, compressed where that was negotiated.
    fn poll_compressed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let piece = ready!(self.poll_piece(cx));
        Poll::Ready(match (piece, &mut self.compressor) {
            (Some(piece), Some(compressor)) => Some(compressor.compress(&piece)),
            (None, compressor) => compressor.take().map(Compressor::finish),
            (piece, None) => piece,
        })
    }

    /// The next chunk: small messages are joined, large ones are split.
    fn next_piece(&mut self) -> Option<Bytes> {
        let first = self.queue.front_mut()?;
        if first.len() > PIECE_BYTES {
            return Some(first.split_to(PIECE_BYTES));
        }
        let first = self.queue.pop_front()?;
        let fits = |bytes: usize, next: &Bytes| bytes + next.len() <= PIECE_BYTES;
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

/// The `retry:` line of server-sent events: milliseconds, with jitter, after which the client
/// reconnects.
fn retry(form: StreamEncoding, after: u64) -> Option<Bytes> {
    (form == StreamEncoding::Sse).then(|| format!("retry: {after}\n").into())
}

/// A response of this media type, or the refusal.
pub(crate) fn answer(kind: &'static str, body: Result<impl IntoResponse, Problem>) -> Response {
    let answer = body.map(|body| ([(header::CONTENT_TYPE, kind)], body).into_response());
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    // nginx would buffer the events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl<R: ClientReader> Stream for StreamBody<R> {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.poll_compressed(cx);
        let is_offered = matches!(piece, Poll::Ready(Some(_)));
        self.offered.set(is_offered.then(|| self.clock.instant()));
        piece.map(|piece| piece.map(Ok))
    }
}
