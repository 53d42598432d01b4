//! Door to `pulsar`: the bus of several nodes is a topic of Apache Pulsar.
//!
//! [`PulsarBus`] reads it by a subscription of this store's own and acknowledges what is durable
//! here; [`PulsarOutlet`] writes the outbox to it as its one producer. The client library gives up
//! in many places (its stream ends, its receipts time out, its connection is silent), so nothing
//! of it is trusted for long: each end keeps one client to itself, bounds every wait, and on any
//! doubt drops all of it and connects anew, with growing pauses. What that delivers or sends twice
//! is applied once. The library unpacks entries without a limit, so they are read by `reader`,
//! which shares only the commands and the look-up with it.

mod arrived;
mod consumer;
mod course;
mod entry;
mod fields;
mod frames;
mod link;
mod oauth;
mod outlet;
mod probe;
mod reader;
mod session;
mod topic;
mod words;

use std::path::PathBuf;

pub use self::arrived::Receipt;
pub use self::consumer::PulsarBus;
pub use self::oauth::{check_key, local as key_path};
pub use self::outlet::PulsarOutlet;
pub use self::probe::{Probed, probe};
pub use self::topic::tag_of;

/// What connecting needs. Printing it shows no secret: it holds none, only where one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulsarOptions {
    /// The service: `pulsar://host:6650`, or `pulsar+ssl://host:6651` with TLS.
    pub url: String,
    /// The topic, short (`events`) or whole (`persistent://tenant/namespace/events`).
    pub topic: String,
    /// How to log in; `None` for a broker that asks nobody who they are.
    pub oauth: Option<OAuthOptions>,
    /// A file of PEM certificates that are trusted beside the public ones.
    pub ca: Option<PathBuf>,
    /// How what is produced is compressed.
    pub compression: PulsarCompression,
    /// What the subscription's name begins with; the store's id follows.
    pub consumer_name: String,
}

/// `OAuth2` client credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthOptions {
    /// Who the token is for.
    pub audience: String,
    /// The key file, as `StreamNative` Cloud gives it out.
    pub key_file: PathBuf,
}

/// Compression of what is produced; what is consumed says its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PulsarCompression {
    /// None.
    #[default]
    None,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
    /// For old readers.
    Zlib,
}

/// What can be wrong between us and Pulsar.
#[derive(Debug, thiserror::Error)]
pub enum PulsarError {
    /// The address cannot be one.
    #[error(
        "pulsar's address `{url}` cannot be used: {why}; write pulsar://host:6650, or \
         pulsar+ssl://host:6651 with TLS"
    )]
    Address {
        /// As it was configured.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The topic's name cannot be one of ours.
    #[error(
        "the topic `{topic}` cannot be used: {why}; write a name such as `events` or \
         `persistent://public/default/events`"
    )]
    Topic {
        /// As it was configured.
        topic: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file that is needed.
    #[error("the {what} {path} cannot be used: {why}")]
    File {
        /// Which one.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What is wrong with it; never what is in it.
        why: String,
    },
    /// A topic that has no one order.
    #[error(
        "the topic {topic} has {partitions} partitions, and events need one order: name a topic \
         that is not partitioned"
    )]
    Partitioned {
        /// The topic.
        topic: String,
        /// How many.
        partitions: u32,
    },
    /// A topic that ends before what was applied from it.
    #[error(
        "the topic {topic} ends at {last}, but this store has applied it up to {applied}: it is \
         a new topic under the old name (the broker's data is gone); start with an empty data \
         directory, or use another topic"
    )]
    Anew {
        /// The topic.
        topic: String,
        /// Its last entry, as ledger:entry.
        last: String,
        /// The entry up to which this store has it.
        applied: String,
    },
    /// The broker, or the way to it, or its answer.
    #[error("{doing}: {why}")]
    Away {
        /// What was tried, with its host or topic.
        doing: String,
        /// What came of it, and what to do.
        why: String,
    },
}

impl PulsarError {
    /// Whether it may be over later without anyone changing our configuration.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Away { .. })
    }
    /// Whether only another configuration helps, or another file in the place it names.
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
