//! A stream with timeouts for HTTP/1.1: for each write, for the head of a request, and between two
//! requests.
//!
//! hyper waits for a slow peer without limit while its slot is taken, and has only one time-out for
//! the head and the wait before it. Streams and WebSockets watch their own progress; this covers
//! all other responses.

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

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A stream whose writes fail after `limit` without progress.
pub(crate) struct WriteTimeoutStream {
    stream: Stream,
    limit: Duration,
    clock: Clock,
    /// Runs while the peer does not read.
    stuck: Option<Wait>,
    /// Timeouts for requests; `None` for HTTP/2, which has its own.
    timeouts: Option<RequestTimeouts>,
}

struct RequestTimeouts {
    head: Duration,
    idle: Duration,
    requests: ConnectionRequests,
    /// Requests begun at the last poll.
    seen: usize,
    phase: Phase,
    wait: Option<Wait>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waiting for the head of a request.
    Head,
    /// A response is in progress.
    Busy,
    /// Idle between two requests.
    Idle,
}

/// Counts the requests of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionRequests(Arc<RequestCounts>);

#[derive(Debug, Default)]
struct RequestCounts {
    begun: AtomicUsize,
    /// Requests whose response is in progress.
    open: AtomicUsize,
    /// Woken at the end of a response, when the connection is not polled otherwise.
    connection: AtomicWaker,
}

/// Counts a request as open until it is dropped.
#[derive(Debug)]
pub(crate) struct RequestGuard(ConnectionRequests);

impl ConnectionRequests {
    pub(crate) fn begin(&self) -> RequestGuard {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        RequestGuard(self.clone())
    }

    /// Number of requests so far.
    pub(super) fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Whether a response is in progress.
    pub(super) fn are_open(&self) -> bool {
        self.0.open.load(Ordering::Acquire) > 0
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let Self(ConnectionRequests(counts)) = self;
        counts.open.fetch_sub(1, Ordering::Release);
        counts.connection.wake();
    }
}

impl RequestTimeouts {
    /// Ready when a timeout has passed. `has_come` is whether the peer has just sent data.
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

impl WriteTimeoutStream {
    pub(crate) fn new(stream: Stream, limit: Duration, clock: Clock) -> Self {
        Self { stream, limit, clock, stuck: None, timeouts: None }
    }

    /// Ends the connection when a request's head takes longer than `head`, or the next request
    /// longer than `idle`.
    pub(crate) fn with_requests(
        self,
        head: Duration,
        idle: Duration,
        requests: ConnectionRequests,
    ) -> Self {
        let clock = self.clock;
        let wait: Wait = Box::pin(async move { clock.sleep(head).await });
        let (phase, wait) = (Phase::Head, Some(wait));
        Self {
            timeouts: Some(RequestTimeouts { head, idle, requests, seen: 0, phase, wait }),
            ..self
        }
    }

    /// The inner stream, without timeouts.
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

impl AsyncRead for WriteTimeoutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let Some(timeouts) = &mut this.timeouts else { return read };
        let has_come = read.is_ready();
        if timeouts.poll_over(cx, this.clock, has_come).is_ready() {
            if timeouts.phase == Phase::Head {
                metrics::REFUSED.add_for("handshake_timeout", 1);
            }
            // hyper treats it as the end of the connection.
            buf.set_filled(before);
            return Poll::Ready(Ok(()));
        }
        read
    }
}

impl AsyncWrite for WriteTimeoutStream {
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
