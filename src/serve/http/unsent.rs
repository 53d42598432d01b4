//! How many bytes of a connection the kernel holds that the client has no room for.
//!
//! Without a limit it accepts up to 4 MB, and more only after a third of that was read. To a client
//! that takes less than 40 KB/s no write would succeed within `server.limits.writeTimeout`, and
//! pings would arrive minutes late. On systems other than Linux there is no limit.

use std::io;

use tokio::net::TcpStream;
use tokio_util::either::Either;

use super::tls::Stream;

/// The limit.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES: u32 = 256 << 10;

/// Sets the limit.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn limit(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn limit(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// Lifts the limit from a connection that is being closed: the kernel sends what it has accepted
/// also after this process has ended.
pub(crate) fn lift(stream: &Stream) {
    let tcp = match stream {
        Either::Left(tcp) => tcp,
        Either::Right(tls) => tls.get_ref().0,
    };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = socket2::SockRef::from(tcp).set_tcp_notsent_lowat(0) {
        tracing::debug!(%error, "the limit on unsent bytes stays");
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = tcp;
}
