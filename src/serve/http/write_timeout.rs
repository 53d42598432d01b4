//! A connection whose peer has to take what is written and to send what it began, as long as it
//! speaks HTTP.
//!
//! The HTTP library waits for a peer as long as that likes, and its place stays taken meanwhile.
//! Streams and `WebSocket`s look at their own progress; this is for all the other answers. The
//! library has one time-out for the head of a request and for the wait before it; here each has its
//! own.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tls::Stream;
use crate::clock::Clock;
use crate::metrics;

/// Something that is over after a time.
type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection that fails when nothing of what is written was taken for so long.
pub(crate) struct Patient {
    stream: Stream,
    limit: Duration,
    clock: Clock,
    /// Runs since the peer has not taken something.
    stuck: Option<Wait>,
    /// How long it may take the peer to ask; none where others see to that.
    asking: Option<Asking>,
}

/// How long a peer may take to ask.
struct Asking {
    head: Duration,
    idle: Duration,
    requests: Requests,
    /// Requests that had begun when this was last looked at.
    seen: usize,
    phase: Phase,
    wait: Option<Wait>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A request's head is coming, or the first one's is awaited.
    Head,
    /// A request is being answered.
    Busy,
    /// Between two requests.
    Idle,
}

/// The requests of one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    /// Those that are being answered.
    open: AtomicUsize,
    /// The connection's task, which is otherwise not polled at the end of an answer.
    connection: AtomicWaker,
}

/// A request while it is being answered.
#[derive(Debug)]
pub(crate) struct Answering(Requests);

impl Requests {
    /// One begins.
    pub(crate) fn begin(&self) -> Answering {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    fn are_open(&self) -> bool {
        self.0.open.load(Ordering::Acquire) > 0
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Self(Requests(counts)) = self;
        counts.open.fetch_sub(1, Ordering::Release);
        counts.connection.wake();
    }
}

impl Asking {
    /// Whether the peer has taken too long. `has_come` is whether something has just come from it.
    fn poll_over(&mut self, cx: &mut Context<'_>, clock: Clock, has_come: bool) -> Poll<()> {
        self.requests.0.connection.register(cx.waker());
        let begun = self.requests.begun();
        if begun != self.seen {
            (self.seen, self.phase, self.wait) = (begun, Phase::Busy, None);
        }
        let phase = match self.phase {
            _ if self.requests.are_open() => Phase::Busy,
            _ if has_come => Phase::Head,
            Phase::Busy => Phase::Idle,
            same => same,
        };
        if phase != self.phase {
            self.phase = phase;
            let wait = match phase {
                Phase::Head => Some(self.head),
                Phase::Idle => Some(self.idle),
                Phase::Busy => None,
            };
            self.wait =
                wait.map(|wait| -> Wait { Box::pin(async move { clock.sleep(wait).await }) });
        }
        match &mut self.wait {
            Some(wait) if !has_come => wait.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}

impl Patient {
    pub(crate) fn new(stream: Stream, limit: Duration, clock: Clock) -> Self {
        Self { stream, limit, clock, stuck: None, asking: None }
    }

    /// Ends when the peer takes longer than `head` for a request's head, or than `idle` between two
    /// requests.
    pub(crate) fn with_requests(self, head: Duration, idle: Duration, requests: Requests) -> Self {
        let clock = self.clock;
        let wait: Wait = Box::pin(async move { clock.sleep(head).await });
        let (phase, wait) = (Phase::Head, Some(wait));
        Self { asking: Some(Asking { head, idle, requests, seen: 0, phase, wait }), ..self }
    }

    /// The connection, for who looks at its progress himself.
    pub(crate) fn into_stream(self) -> Stream {
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
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let Some(asking) = &mut this.asking else { return read };
        let has_come = read.is_ready();
        if asking.poll_over(cx, this.clock, has_come).is_ready() {
            if asking.phase == Phase::Head {
                metrics::REFUSED.add_for("handshake_timeout", 1);
            }
            // As if the peer had ended it.
            buf.set_filled(before);
            return Poll::Ready(Ok(()));
        }
        read
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
