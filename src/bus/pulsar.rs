//! Adapter for `pulsar`: several nodes share a topic of Apache Pulsar as their bus.
//!
//! [`PulsarBus`] reads the topic through this store's own durable subscription and acknowledges
//! what is on disk here. [`PulsarOutlet`] writes the outbox to the topic as its only producer.
//!
//! The client library gives up in many ways: its stream ends, its receipts time out, its connection
//! goes silent. So each end has a client of its own, bounds every wait, and on any error drops the
//! client and reconnects with backoff. Messages that are delivered or sent twice are applied once.
//! The library also decompresses entries without a limit; therefore `reader` reads the socket
//! itself and uses only the library's commands and topic look-up.

mod consumer;
mod delivery;
mod diagnosis;
mod entry;
mod frames;
mod link;
mod oauth;
mod outlet;
mod probe;
mod progress;
mod protobuf;
mod reader;
mod session;
mod topic;

use std::path::PathBuf;

pub use self::consumer::PulsarBus;
pub use self::delivery::PulsarReceipt;
pub use self::oauth::{check_key, local as key_path};
pub use self::outlet::PulsarOutlet;
pub use self::probe::{Probed, probe};
pub use self::topic::tag_of;

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

/// Why Pulsar cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PulsarError {
    /// The configured address is invalid.
    #[error(
        "invalid pulsar.url `{url}`: {why}; write pulsar://host:6650, or pulsar+ssl://host:6651 \
         with TLS"
    )]
    Address {
        /// As it was configured.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The configured topic name is invalid.
    #[error(
        "invalid topic `{topic}`: {why}; write a name such as `events` or \
         `persistent://public/default/events`"
    )]
    Topic {
        /// As it was configured.
        topic: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file that the configuration names is unusable.
    #[error("cannot use the {what} {path}: {why}")]
    File {
        /// What the file is for.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it; never its content.
        why: String,
    },
    /// The topic is partitioned, so its messages have no total order.
    #[error(
        "the topic {topic} has {partitions} partitions, so its events have no order: use a topic \
         without partitions"
    )]
    Partitioned {
        /// The topic.
        topic: String,
        /// The number of its partitions.
        partitions: u32,
    },
    /// The topic ends before the position up to which this store has applied it.
    #[error(
        "the topic {topic} ends at {last}, but this store has applied it up to {applied}: it was \
         created again under the same name (the broker's data is gone); start with an empty data \
         directory, or use another topic"
    )]
    Anew {
        /// The topic.
        topic: String,
        /// Its last entry, as ledger:entry.
        last: String,
        /// The last entry that this store has applied.
        applied: String,
    },
    /// The broker is unreachable, or refuses, or answers with an error.
    #[error("{doing}: {why}")]
    Away {
        /// The operation, with its host or topic.
        doing: String,
        /// The cause, and what to do.
        why: String,
    },
}

impl PulsarError {
    /// Whether a retry may succeed without a change of the configuration.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// Whether only a change of the configuration, or of a file that it names, helps.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Address { .. }
            | Self::Topic { .. }
            | Self::File { .. }
            | Self::Partitioned { .. } => true,
            Self::Anew { .. } | Self::Away { .. } => false,
        }
    }
}
