//! A connection whose peer has to take what is written, as long as it speaks HTTP.
//!
//! The HTTP library waits for a peer as long as that likes, and its place stays taken meanwhile.
//! Streams and `WebSocket`s look at their own progress; this is for all the other answers.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Stream;
use crate::clock::Clock;
use crate::metrics;

/// Something that is over after a time.
type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection that fails when nothing of what is written was taken for so long.
pub(super) struct Patient {
    stream: Stream,
    limit: Duration,
    clock: Clock,
    /// Runs since the peer has not taken something.
    stuck: Option<Wait>,
}

impl Patient {
    pub(super) fn new(stream: Stream, limit: Duration, clock: Clock) -> Self {
        Self { stream, limit, clock, stuck: None }
    }

    /// The connection, for who looks at its progress himself.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        asked: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if asked.is_ready() {
            self.stuck = None;
            return asked;
        }
        let (limit, clock) = (self.limit, self.clock);
        let stuck =
            self.stuck.get_or_insert_with(|| Box::pin(async move { clock.sleep(limit).await }));
        match stuck.as_mut().poll(cx) {
            Poll::Ready(()) => {
                metrics::REFUSED.add_for("write_timeout", 1);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let asked = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, asked)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let asked = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.watch(cx, asked)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let asked = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, asked)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let asked = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, asked)
    }
}
