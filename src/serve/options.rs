//! The options of the server.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Secret, ServerConfig, ServerLimits, TlsConfig};
use crate::serve::http::proxies::Proxies;
use crate::serve::http::tls::Certificate;

/// Enough for every client that pings once a second and answers pings.
const CHATTER_PER_MINUTE: u32 = 600;

/// Options of the server. The limits apply to the public listeners.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Path of the liveness check; begins with `/`.
    pub health: String,
    /// Path that starts the sync with TiDB; begins with `/`.
    pub sync_event: String,
    /// Prefix under which every path is served as well; begins with `/` and does not end with it.
    pub base_path: Option<String>,
    /// Origins that may connect, in lower case without a trailing `/`; empty or `*` is any.
    pub allowed_origins: Vec<String>,
    /// Origins whose pages may embed ours in a frame, as in `allowed_origins`; empty allows none.
    pub frame_ancestors: Vec<String>,
    /// Bearer token for the sync from other hosts.
    pub admin_token: Option<Secret>,
    /// Bearer token of POST requests to the ops listener; without one, none is accepted.
    pub ops_secret: Option<Secret>,
    /// Proxies whose header names the client.
    pub trusted_proxies: Proxies,
    /// Longest idle time between two requests on a connection.
    pub keep_alive: Duration,
    /// Certificate and key of the public listeners; `None` is plain text.
    pub tls: Option<TlsConfig>,
    /// The certificate and key, loaded and reloadable; `None` loads the files once.
    pub certificate: Option<Certificate>,
    /// `archive.dir`, which `/archive/` serves from.
    pub archive: Option<PathBuf>,
    /// Limits for clients.
    pub limits: ServerLimits,
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
}

impl ServeOptions {
    /// Options from a configuration, with the contract's intervals for pings and silence.
    #[must_use]
    pub fn of(server: &ServerConfig) -> Self {
        Self {
            health: server.health.clone(),
            sync_event: server.sync_event.clone(),
            base_path: server.base_path.clone(),
            allowed_origins: server.allowed_origins.clone(),
            frame_ancestors: server.frame_ancestors.clone(),
            admin_token: server.admin_token.clone(),
            ops_secret: None,
            trusted_proxies: Proxies {
                networks: server.trusted_proxies.clone(),
                header: server.client_header.clone(),
            },
            keep_alive: server.keep_alive,
            tls: server.tls.clone(),
            certificate: None,
            archive: None,
            limits: server.limits.clone(),
            ping_every: Duration::from_secs(30),
            silence: Duration::from_secs(75),
            message_within: Duration::from_secs(10),
            reply_within: Duration::from_secs(5),
            chatter_per_minute: CHATTER_PER_MINUTE,
        }
    }
}
