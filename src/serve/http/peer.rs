//! The peer of a connection, and the audience of its listener.

use std::net::IpAddr;
use std::sync::Arc;

use http::{Request, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::admission::{ConnectionSlot, Rejection};
use super::problem::Problem;

/// A bound socket and its audience.
#[derive(Debug)]
pub struct Listener {
    /// Bound and listening.
    pub socket: TcpListener,
    /// Its audience.
    pub audience: Audience,
}

/// The clients that a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everyone; limits and TLS apply.
    Public,
    /// The operator: metrics and sync as well, in plain text.
    Ops,
}

/// The peer of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    pub(crate) audience: Audience,
    /// Ends the connection at once.
    pub(crate) cut: CancellationToken,
    /// Why the connection was rejected, if it was.
    pub(super) refusal: Option<Rejection>,
    /// The connection's slot, which is free when the last clone is dropped.
    pub(super) _slot: Option<Arc<ConnectionSlot>>,
}

impl Peer {
    /// The peer that a request came from.
    pub(crate) fn of<B>(request: &Request<B>) -> Result<&Self, Problem> {
        request.extensions().get().ok_or_else(|| {
            let detail = "the connection of this request is not known";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
        })
    }

    /// A public peer without a slot.
    #[cfg(test)]
    pub(crate) fn of_test(address: IpAddr) -> Self {
        let cut = CancellationToken::new();
        Self { address, audience: Audience::Public, cut, refusal: None, _slot: None }
    }
}

impl Audience {
    /// Whether an endpoint for this audience is served on a listener for that one.
    pub(crate) fn includes(self, listener: Self) -> bool {
        self == Self::Public || listener == Self::Ops
    }

    /// The audience of the listener that a request came to.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        Peer::of(request).map_or(Self::Public, |peer| peer.audience)
    }
}
