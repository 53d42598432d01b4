//! The I/O of one WebSocket: received bytes pass the [`Decompressor`], and written frames are
//! queued.
//!
//! Two write: tungstenite its pongs and close replies, the connection's task the shared frames.
//! Both are queued as whole frames, and one write sends many. The queue is short: the task takes
//! more only when it is empty.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::decompressor::Decompressor;
use crate::hub::Frame;
use crate::serve::http::tls::Stream;

/// Most buffers in one vectored write.
const WRITE_PIECES: usize = 64;
/// Most buffers in the queue: those taken at once, and as many replies.
const QUEUE_PIECES: usize = 2 * WRITE_PIECES;
/// Bytes of one read.
const READ_BYTES: usize = 1 << 10;

/// A connection with its send queue.
#[derive(Debug)]
pub(crate) struct FrameStream {
    pub(crate) stream: Stream,
    /// The receive side.
    pub(crate) decompressor: Box<Decompressor>,
    queue: VecDeque<Bytes>,
    /// tungstenite's task, waiting for room in the queue.
    refused: Option<Waker>,
    /// Whether tungstenite's writes are dropped, after the close frame.
    mute: bool,
    /// Bytes written so far.
    pub(crate) written: u64,
    /// Whether written bytes may still be buffered, as by TLS.
    is_held: bool,
}

impl FrameStream {
    pub(crate) fn new(stream: Stream, decompressor: Decompressor) -> Self {
        let (decompressor, queue) = (Box::new(decompressor), VecDeque::new());
        Self { stream, decompressor, queue, refused: None, mute: false, written: 0, is_held: false }
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.queue.push_back(if self.decompressor.deflates {
            frame.into_deflated()
        } else {
            frame.into()
        });
    }

    /// Queues the last frame; later writes of tungstenite are dropped.
    pub(crate) fn push_last(&mut self, frame: Frame) {
        self.push(frame);
        self.mute = true;
    }

    /// Writes the queue; ready when it is empty and flushed.
    pub(crate) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.queue.is_empty() {
            let taken = ready!(self.poll_write_some(cx))?;
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

    /// Writes once; the number of bytes.
    fn poll_write_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        // The usual case; a vectored write costs more.
        if let (Some(only), 1) = (self.queue.front(), self.queue.len()) {
            return stream.poll_write(cx, only);
        }
        let mut pieces = [IoSlice::new(&[]); WRITE_PIECES];
        let count = self.queue.len().min(WRITE_PIECES);
        for (piece, bytes) in pieces.iter_mut().zip(&self.queue) {
            *piece = IoSlice::new(bytes);
        }
        stream.poll_write_vectored(cx, &pieces[..count])
    }

    /// Reads and discards until the peer's close frame or the end of data.
    pub(crate) fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.decompressor.skim() {
            if !matches!(ready!(self.poll_fill(cx)), Ok(true)) {
                break;
            }
        }
        Poll::Ready(())
    }

    /// Reads once; false at the end of data.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut received = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut received))?;
        self.decompressor.put(received.filled());
        Poll::Ready(Ok(!received.filled().is_empty()))
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
}

impl AsyncRead for FrameStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let next = this.decompressor.next(buf.remaining()).map_err(io::Error::other)?;
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

/// tungstenite writes whole frames, which are queued.
impl AsyncWrite for FrameStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.mute {
            return Poll::Ready(Ok(bytes.len()));
        }
        if self.queue.len() >= QUEUE_PIECES {
            // tungstenite tries again only when it is polled, so draining the queue wakes its task.
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
