//! What the server is told once.

use std::time::Duration;

use crate::config::{Secret, ServerConfig, ServerLimits, TlsConfig};
use crate::serve::http::proxies::Proxies;
use crate::serve::http::tls::Certificate;

/// How the server behaves. The limits hold for the public listeners.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Path of the health answer; begins with `/`.
    pub health: String,
    /// Path that runs the sync; begins with `/`.
    pub sync_event: String,
    /// Prefix under which everything answers too; begins with `/`, does not end with it.
    pub base_path: Option<String>,
    /// Origins that may connect; empty is any, as is `*`. Lower case, without a trailing `/`.
    pub allowed_origins: Vec<String>,
    /// Origins whose pages may show ours in a frame, as `allowed_origins`; empty is none.
    pub frame_ancestors: Vec<String>,
    /// Bearer token for the sync from other hosts.
    pub admin_token: Option<Secret>,
    /// What a POST on the ops listener must bring; without one none is taken.
    pub ops_secret: Option<Secret>,
    /// Proxies that are believed whom they name as the client.
    pub trusted_proxies: Proxies,
    /// Longest idle time between two requests of a connection.
    pub keep_alive: Duration,
    /// Certificate and key of the public listeners; `None` is plain text.
    pub tls: Option<TlsConfig>,
    /// The same, read and renewable; without it the files are read once.
    pub certificate: Option<Certificate>,
    /// What clients may take.
    pub limits: ServerLimits,
    /// A WebSocket is pinged that often.
    pub ping_every: Duration,
    /// A WebSocket whose peer says nothing for so long, not even a pong, is dropped.
    pub silence: Duration,
    /// Longest time from a message's first byte, or first fragment, to its last.
    pub message_within: Duration,
}

impl ServeOptions {
    /// As the configuration has it; pings and silence as the contract has them.
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
            limits: server.limits.clone(),
            ping_every: Duration::from_secs(30),
            silence: Duration::from_secs(75),
            message_within: Duration::from_secs(10),
        }
    }
}
