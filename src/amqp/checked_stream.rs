//! A connection from which the client library receives only complete, checked frames, and the
//! library's runtime with that type of connection.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use bytes::{Buf as _, BytesMut};
use futures_util::Stream;
use futures_util::io::{AsyncRead, AsyncWrite};
use lapin::tcp::AsyncTcpStream;

use super::frames::checked_frame;

/// Bytes of one read.
const READ_BYTES: usize = 16 << 10;

/// A connection, with or without TLS, as the library makes it.
pub(super) type UncheckedStream = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;
/// The library's runtime with [`CheckedStream`] for its connections.
pub(super) type CheckedRuntime = Runtime<RuntimeParts<Tokio, CheckedReactor>>;

/// Returns the runtime on the current one of tokio.
pub(super) fn runtime() -> CheckedRuntime {
    Runtime::new(RuntimeParts::new(Tokio::current(), CheckedReactor(Tokio::current())))
}

/// A connection whose reader receives complete frames that [`checked_frame`] accepts. Reading a
/// refused one fails, every time.
pub(super) struct CheckedStream {
    inner: UncheckedStream,
    /// Received bytes: up to a frame and a read.
    held: BytesMut,
    /// Bytes at the beginning of `held` that are checked.
    checked: usize,
    chunk: Box<[u8]>,
}

impl CheckedStream {
    pub(super) fn new(inner: UncheckedStream) -> Self {
        let chunk = vec![0; READ_BYTES].into_boxed_slice();
        Self { inner, held: BytesMut::new(), checked: 0, chunk }
    }
}

impl AsyncRead for CheckedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while this.checked == 0 {
            if let Some(frame) = checked_frame(&this.held)? {
                this.checked = frame;
                // An error of a later frame is reported when everything before it is delivered.
                while let Ok(Some(frame)) = checked_frame(&this.held[this.checked..]) {
                    this.checked += frame;
                }
                break;
            }
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut this.chunk))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            this.held.extend_from_slice(&this.chunk[..read]);
        }
        let bytes = this.checked.min(out.len());
        this.held.copy_to_slice(&mut out[..bytes]);
        this.checked -= bytes;
        Poll::Ready(Ok(bytes))
    }
}

impl AsyncWrite for CheckedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// Tokio's reactor; connections are checked.
#[derive(Debug, Clone)]
pub(super) struct CheckedReactor(Tokio);

impl Reactor for CheckedReactor {
    type TcpStream = CheckedStream;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, period: Duration) -> Self::Sleep {
        self.0.sleep(period)
    }

    fn interval(&self, period: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(period)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<CheckedStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(CheckedStream::new(AsyncTcpStream::Plain(connecting.await?))) }
    }
}
