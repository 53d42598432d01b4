//! The ports that are bound, and what is served on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use super::files::{self, FileShares};
use crate::config::{Config, ServerConfig};
use crate::serve::{Audience, Listener, ServeOptions};

/// Default address of the ops endpoints (`ops.listen`).
pub const DEFAULT_OPS: &str = "127.0.0.1:8602";

/// The URL of the page.
pub(super) fn url_of(server: &ServerConfig, public: SocketAddr) -> String {
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    let base = server.base_path.as_deref().unwrap_or_default();
    format!("{scheme}://{public}{base}/")
}

/// The configured options, within the limit of open files.
///
/// # Errors
/// When that is too low.
pub(super) fn serve_options(config: &Config) -> anyhow::Result<ServeOptions> {
    let mut options = ServeOptions::of(&config.server);
    options.archive.clone_from(&config.archive_dir);
    let Some(shares) = files::shares(config)? else { return Ok(options) };
    let FileShares { files, connections, small_share, downloads, tables } = shares;
    let limits = &mut options.config.limits;
    let wanted = std::mem::replace(&mut limits.connections, connections);
    if connections < wanted {
        tracing::warn!(
            wanted,
            allowed = connections,
            files,
            "server.limits.connections is lowered, the store needs its share of the open files: \
             raise `ulimit -n`"
        );
    }
    if let Some(tables) = tables {
        tracing::warn!(
            tables,
            files,
            "the store may have more tables than it keeps open, and is then slower to read: raise \
             `ulimit -n`"
        );
    }
    limits.downloads = downloads;
    options.refused = options.refused.min(small_share);
    options.ops_connections = options.ops_connections.min(small_share);
    Ok(options)
}

/// The local address at which a listener on all addresses is reachable.
#[must_use]
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// What to set the key of an address to that cannot be listened on.
#[must_use]
pub fn cannot_listen(error: &std::io::Error, address: SocketAddr) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "a port from 1024 on, with a proxy in front if need be: lower ones need root or \
             CAP_NET_BIND_SERVICE"
        }
        std::io::ErrorKind::AddrNotAvailable => "an address of this machine",
        _ => "a free one",
    }
}

/// Checks that the configured ports can be bound, so that a start that must fail does so before its
/// slow parts. They are bound, by [`bind`], when everything else is ready: until then clients are
/// refused, and do not wait for an answer.
pub(super) fn check_free(config: &Config) -> anyhow::Result<()> {
    try_bind(config.server.listen(), Audience::Public)?;
    // In place of the default one [`bind_ops`] takes another.
    let ops = config.ops_listen.filter(|address| address.to_string() != DEFAULT_OPS);
    ops.map_or(Ok(()), |address| try_bind(address, Audience::Ops))
}

/// Binds a port as [`bind`] does, but does not listen, and lets go of it.
fn try_bind(address: SocketAddr, audience: Audience) -> anyhow::Result<()> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    };
    bound().map_err(|error| not_bound(error, address, audience))
}

/// The error of a port that cannot be bound. It names the key to set.
fn not_bound(error: std::io::Error, address: SocketAddr, audience: Audience) -> anyhow::Error {
    let key = match audience {
        Audience::Public => "server.port (or --listen)",
        Audience::Ops => "ops.listen",
    };
    let cure = cannot_listen(&error, address);
    anyhow::Error::new(error).context(format!("cannot listen on {address}; set {key} to {cure}"))
}

/// Binds a port.
pub(super) async fn bind(
    address: SocketAddr,
    audience: Audience,
) -> anyhow::Result<(SocketAddr, Listener)> {
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|error| not_bound(error, address, audience))?;
    Ok((listener.local_addr()?, Listener { socket: listener, audience }))
}

/// Binds the ops port. A second appliance on one machine, with another data directory, must not
/// fail over a port that was not configured: when the default one is taken, a free one is used,
/// and this is logged.
pub(super) async fn bind_ops(address: SocketAddr) -> anyhow::Result<(SocketAddr, Listener)> {
    let taken = match bind(address, Audience::Ops).await {
        Err(error) if address.to_string() == DEFAULT_OPS => error,
        bound => return bound,
    };
    let bound = bind(SocketAddr::new(address.ip(), 0), Audience::Ops).await?;
    tracing::warn!(error = %format!("{taken:#}"), ops = %bound.0, "the ops endpoints are elsewhere");
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn low_port_needs_more_than_to_be_free() {
        let cure = |kind: ErrorKind, port| {
            cannot_listen(&Error::from(kind), SocketAddr::from(([127, 0, 0, 1], port)))
        };
        assert!(cure(ErrorKind::PermissionDenied, 80).contains("CAP_NET_BIND_SERVICE"));
        assert_eq!(cure(ErrorKind::PermissionDenied, 8600), "a free one");
        assert_eq!(cure(ErrorKind::AddrInUse, 80), "a free one");
        assert_eq!(cure(ErrorKind::AddrNotAvailable, 80), "an address of this machine");
    }
}
