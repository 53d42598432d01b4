//! How many bytes of a connection the kernel holds that the client has no room for.
//!
//! Without a limit it accepts up to 4 MB, and more only after a third of that was read. To a client
//! that takes less than 40 KB/s no write would succeed within `server.limits.writeTimeout`, and
//! pings would arrive minutes late. The limit exists on Linux only.

use tokio::net::TcpStream;
use tokio_util::either::Either;

use super::tls::Stream;

/// The limit.
const UNSENT_BYTES: u32 = 256 << 10;

pub(super) fn limit(stream: &TcpStream) {
    set(stream, UNSENT_BYTES);
}

/// Lifts the limit from a connection that is being closed: the kernel sends what it has accepted
/// also after this process has ended.
pub(crate) fn lift(stream: &Stream) {
    let tcp = match stream {
        Either::Left(tcp) => tcp,
        Either::Right(tls) => tls.get_ref().0,
    };
    // Zero stands for the system's own limit, by default none.
    set(tcp, 0);
}

/// A connection without the limit still serves clients that read fast enough.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn set(stream: &TcpStream, bytes: u32) {
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(bytes) {
        tracing::debug!(%error, bytes, "cannot limit the unsent bytes of a connection");
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set(_: &TcpStream, _: u32) {}
