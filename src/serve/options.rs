//! The options of the server.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Secret, ServerConfig};
use crate::serve::http::tls::Certificate;

/// Enough for every client that pings once a second and answers pings.
const CHATTER_PER_MINUTE: u32 = 600;
/// Rejected connections that are kept open for a response.
const REFUSED: usize = 128;
/// Connections of the ops listeners.
const OPS_CONNECTIONS: usize = 256;

/// Options of the server. The limits of the configuration apply to the public listeners.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The section `server` of the configuration.
    pub config: ServerConfig,
    /// Bearer token of POST requests to the ops listener; without one, none is accepted.
    pub ops_secret: Option<Secret>,
    /// The certificate and key of `server.tls`, reloadable; without them, plain text is served.
    pub certificate: Option<Certificate>,
    /// `archive.dir`, which `/archive/` serves from.
    pub archive: Option<PathBuf>,
    /// Interval between pings of a WebSocket.
    pub ping_every: Duration,
    /// A WebSocket whose peer sends nothing for this long, not even a pong, is disconnected.
    pub silence: Duration,
    /// Longest time from the first byte of a message, or of its first fragment, to its last.
    pub message_within: Duration,
    /// Longest wait for the peer's close frame after ours.
    pub reply_within: Duration,
    /// Pings, pongs, binary messages and fragments that a WebSocket may send in a minute.
    pub chatter_per_minute: u32,
    /// Rejected connections that are kept open for a response, in all.
    pub refused: usize,
    /// Connections of the ops listeners. They are counted separately, so the public cannot exhaust
    /// them.
    pub ops_connections: usize,
}

impl ServeOptions {
    /// Options from a configuration, with the contract's intervals for pings and silence.
    #[must_use]
    pub fn of(config: &ServerConfig) -> Self {
        Self {
            config: config.clone(),
            ops_secret: None,
            certificate: None,
            archive: None,
            ping_every: Duration::from_secs(30),
            silence: Duration::from_secs(75),
            message_within: Duration::from_secs(10),
            reply_within: Duration::from_secs(5),
            chatter_per_minute: CHATTER_PER_MINUTE,
            refused: REFUSED,
            ops_connections: OPS_CONNECTIONS,
        }
    }
}
