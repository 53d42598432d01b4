//! The address under which a client reached this server, for documents and hints that show it.

use http::{Request, header};

use super::head::is_host;
use super::peer::{Audience, Peer};
use super::proxies::{ForwardedAddress, forwarded_address};
use crate::serve::server::ServerState;

/// The address under which a request came. It is taken from the request, so a response that shows
/// it must not be cached for other clients.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReachedAddress<'r> {
    /// Whether the client speaks TLS, with this server or with a trusted proxy.
    pub(crate) is_secure: bool,
    /// Name or address, with or without a port; `None` where the request has none, or has one with
    /// characters that are in no name and no address.
    pub(crate) host: Option<&'r str>,
    /// `server.basePath`, or nothing.
    pub(crate) base: &'r str,
}

impl<'r> ReachedAddress<'r> {
    pub(crate) fn of<B>(server: &'r ServerState, request: &'r Request<B>) -> Self {
        let config = &server.options.config;
        let is_public = Audience::of(request) == Audience::Public;
        let forwarded = match Peer::of(request) {
            Ok(peer) if is_public => forwarded_address(config, peer.address, request.headers()),
            _ => ForwardedAddress::default(),
        };
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        Self {
            is_secure: match forwarded.scheme {
                Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
                Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
                _ => is_public && server.options.certificate.is_some(),
            },
            host: forwarded.host.into_iter().chain(host).find(|host| is_plain(host)),
            base: config.base_path.as_deref().unwrap_or_default(),
        }
    }

    /// `ws` or `wss`.
    pub(crate) fn socket_scheme(&self) -> &'static str {
        if self.is_secure { "wss" } else { "ws" }
    }
}

/// Whether the host consists of characters of names and addresses, which mean nothing to a shell.
fn is_plain(host: &str) -> bool {
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b".:-_[]".contains(&c);
    is_host(host) && host.bytes().all(is_plain)
}
