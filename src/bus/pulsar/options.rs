//! Options of the connection to Pulsar.

use std::path::PathBuf;

/// What connecting needs. Safe to print: it holds the path of a secret, never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulsarOptions {
    /// The service: `pulsar://host:6650`, or `pulsar+ssl://host:6651` with TLS.
    pub url: String,
    /// The topic, short (`events`) or whole (`persistent://tenant/namespace/events`).
    pub topic: String,
    /// How to log in; `None` for a broker without authentication.
    pub oauth: Option<OAuthOptions>,
    /// A file of PEM certificates that are trusted in addition to the public ones.
    pub ca: Option<PathBuf>,
    /// Compression of produced messages.
    pub compression: PulsarCompression,
    /// The prefix of the subscription's name; the store's id follows.
    pub consumer_name: String,
}

/// `OAuth2` client credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthOptions {
    /// The audience that the token is requested for.
    pub audience: String,
    /// The key file, in the format of `StreamNative` Cloud.
    pub key_file: PathBuf,
}

/// Compression of produced messages. Consumed messages name their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PulsarCompression {
    /// No compression.
    #[default]
    None,
    /// LZ4: fast.
    Lz4,
    /// Zstandard: small.
    Zstd,
    /// Zlib: for old consumers.
    Zlib,
}
