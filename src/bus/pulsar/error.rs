//! Errors of Pulsar.

use std::path::PathBuf;

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
    Recreated {
        /// The topic.
        topic: String,
        /// Its last entry, as ledger:entry.
        last: String,
        /// The last entry that this store has applied.
        applied: String,
    },
    /// A message is larger than the broker accepts.
    #[error(
        "an event has {bytes} bytes as a message, more than the broker of {topic} accepts \
         (maxMessageSize {limit}): raise its limit"
    )]
    TooLarge {
        /// Which of the messages that were to be sent. Those before it are stored.
        index: usize,
        /// The topic.
        topic: String,
        /// Its bytes, packed.
        bytes: usize,
        /// The broker's limit, in bytes.
        limit: usize,
    },
    /// The topic was terminated: it can be read, but nobody can produce to it.
    #[error("{doing}: {why}")]
    Terminated {
        /// The operation, with its topic.
        doing: String,
        /// What the broker says, and what to do.
        why: String,
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
        matches!(self, Self::TooLarge { .. } | Self::Terminated { .. } | Self::Away { .. })
    }

    /// Whether only a change of the configuration, or of a file that it names, helps.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        !self.is_transient() && !matches!(self, Self::Recreated { .. })
    }
}
