//! Options of the connection to Pulsar.

use std::path::PathBuf;

use crate::config::{Compression, OAuthConfig};

/// What connecting needs. Safe to print: it holds the path of a secret, never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulsarOptions {
    /// The service: `pulsar://host:6650`, or `pulsar+ssl://host:6651` with TLS.
    pub url: String,
    /// The topic, short (`events`) or whole (`persistent://tenant/namespace/events`).
    pub topic: String,
    /// How to log in; `None` for a broker without authentication.
    pub oauth: Option<OAuthConfig>,
    /// A file of PEM certificates that are trusted in addition to the public ones.
    pub ca: Option<PathBuf>,
    /// Compression of produced messages.
    pub compression: Compression,
    /// The prefix of the subscription's name; the store's id follows.
    pub consumer_name: String,
}
