//! The wire of one WebSocket: what is read goes through the [`Inflow`], what is written goes in one
//! order.
//!
//! Two write to it: the WebSocket library its pongs and close replies, and the connection's task
//! frames that others share. Both are queued whole and leave at frame boundaries, many in one
//! write. The queue is short: the task fetches more only when it is empty.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::decompressor::Inflow;
use crate::hub::Frame;
use crate::serve::http::tls::Stream;

/// The most pieces that leave in one write.
const WRITE_PIECES: usize = 64;
/// The most pieces in the queue: what is fetched at once, and as many replies.
const QUEUE_PIECES: usize = 2 * WRITE_PIECES;
/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 10;

/// A connection with its queue of what leaves.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    inflow: Box<Inflow>,
    queue: VecDeque<Bytes>,
    /// The library's task, where the queue was too long for another reply of its.
    refused: Option<Waker>,
    /// Whether the library's writes are dropped, because our own close frame was the last word.
    mute: bool,
    written: u64,
    /// Whether the connection keeps some of that to itself: TLS takes in more than has left.
    is_held: bool,
}

impl Wire {
    pub(crate) fn new(stream: Stream, inflow: Inflow) -> Self {
        let (inflow, queue) = (Box::new(inflow), VecDeque::new());
        Self { stream, inflow, queue, refused: None, mute: false, written: 0, is_held: false }
    }

    /// What is known of the messages that come.
    pub(crate) fn inflow(&mut self) -> &mut Inflow {
        &mut self.inflow
    }

    /// Queues a frame.
    pub(crate) fn push(&mut self, frame: Frame) {
        let deflates = self.inflow.deflates();
        self.queue.push_back(if deflates { frame.into_deflated() } else { frame.into_bytes() });
    }

    /// Queues the last frame; what the library wants to write after it is dropped.
    pub(crate) fn push_last(&mut self, frame: Frame) {
        self.push(frame);
        self.mute = true;
    }

    /// Bytes that the connection has taken so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Writes what is queued; ready when all of it has left.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
            if let Some(refused) = self.refused.take_if(|_| self.queue.len() < QUEUE_PIECES) {
                refused.wake();
            }
        }
        if self.is_held {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_held = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads on and keeps nothing until the peer's close frame has come, or the peer is gone.
    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.inflow.skim() {
            if !matches!(ready!(self.poll_fill(cx)), Ok(true)) {
                break;
            }
        }
        Poll::Ready(())
    }

    /// Takes in what has come; false at the peer's end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut came = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut came))?;
        self.inflow.put(came.filled());
        Poll::Ready(Ok(!came.filled().is_empty()))
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
    pub(crate) fn stream(&mut self) -> &mut Stream {
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
        loop {
            let next = this.inflow.next(buf.remaining()).map_err(io::Error::other)?;
            if !next.is_empty() {
                buf.put_slice(&next);
                return Poll::Ready(Ok(()));
            }
            if !ready!(this.poll_fill(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// The library's side: it writes whole frames, which are queued.
impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.mute {
            return Poll::Ready(Ok(bytes.len()));
        }
        if self.queue.len() >= QUEUE_PIECES {
            // The library asks again only when it is polled: draining wakes its task.
            self.refused = Some(cx.waker().clone());
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
