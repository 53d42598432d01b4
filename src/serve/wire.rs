//! The wire of one WebSocket: what is read goes through, inflated where that was agreed to; what is
//! written goes in one order.
//!
//! Two write to it: the WebSocket library its pongs and close replies, and the connection's task
//! frames that others share. Both are queued whole and leave at frame boundaries, many in one
//! write. The queue is short: the task fetches more only when it is empty.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::inflow::Inflow;
use crate::hub::Frame;

/// The most pieces that leave in one write.
const WRITE_PIECES: usize = 64;
/// The most pieces in the queue: what is fetched at once, and as many replies.
const QUEUE_PIECES: usize = 2 * WRITE_PIECES;
/// Bytes that are read at once where messages may have to be inflated.
const READ_BYTES: usize = 1 << 10;

/// A connection as it was accepted.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection with its queue of what leaves.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    /// Where deflated messages were agreed to: what becomes of those that come.
    inflow: Option<Box<Inflow>>,
    queue: VecDeque<Bytes>,
    /// Whether the library's writes are dropped, because our own close frame was the last word.
    mute: bool,
    written: u64,
    /// Whether the connection keeps some of that to itself: TLS takes in more than has left.
    is_held: bool,
}

impl Wire {
    /// With an `inflow`, messages may be deflated both ways.
    pub(super) fn new(stream: Stream, inflow: Option<Inflow>) -> Self {
        let inflow = inflow.map(Box::new);
        let queue = VecDeque::new();
        Self { stream, inflow, queue, mute: false, written: 0, is_held: false }
    }

    /// Queues a frame.
    pub(super) fn push(&mut self, frame: Frame) {
        let deflates = self.inflow.is_some();
        self.queue.push_back(if deflates { frame.into_deflated() } else { frame.into_bytes() });
    }

    /// Queues the last frame; what the library wants to write after it is dropped.
    pub(super) fn push_last(&mut self, frame: Frame) {
        self.push(frame);
        self.mute = true;
    }

    /// Bytes that the connection has taken so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes what is queued; ready when all of it has left.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let mut pieces = [IoSlice::new(&[]); WRITE_PIECES];
            let count = self.queue.len().min(WRITE_PIECES);
            for (piece, bytes) in pieces.iter_mut().zip(&self.queue) {
                *piece = IoSlice::new(bytes);
            }
            let stream = Pin::new(&mut self.stream);
            let taken = ready!(stream.poll_write_vectored(cx, &pieces[..count]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += taken as u64;
            self.is_held = true;
            self.advance(taken);
        }
        if self.is_held {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_held = false;
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut taken: usize) {
        while let Some(front) = self.queue.front_mut() {
            if taken < front.len() {
                return front.advance(taken);
            }
            taken -= front.len();
            self.queue.pop_front();
        }
    }

    /// The connection itself, for who has nothing to say any more.
    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(inflow) = &mut this.inflow else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        loop {
            let next = inflow.next(buf.remaining()).map_err(io::Error::other)?;
            if !next.is_empty() {
                buf.put_slice(&next);
                return Poll::Ready(Ok(()));
            }
            let mut space = [MaybeUninit::uninit(); READ_BYTES];
            let mut came = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut came))?;
            if came.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            inflow.put(came.filled());
        }
    }
}

/// The library's side: it writes whole frames, which are queued.
impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.mute {
            return Poll::Ready(Ok(bytes.len()));
        }
        if self.queue.len() >= QUEUE_PIECES {
            // The task writes before it reads again, so the library is asked again in time.
            return Poll::Pending;
        }
        self.queue.push_back(Bytes::copy_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
