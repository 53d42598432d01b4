//! The parts of the configuration that combine several keys, and types of single values.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;

/// Gives enums their words in the configuration.
macro_rules! words {
    ($($of:ident { $($word:literal => $variant:ident),+ })*) => {$(
        impl $of {
            /// All words, in the order in which they are listed for users.
            pub const WORDS: &[&str] = &[$($word),+];

            /// Parses a word.
            #[must_use]
            pub fn of(word: &str) -> Option<Self> {
                let all = [$(($word, Self::$variant)),+];
                all.into_iter().find(|(known, _)| *known == word).map(|(_, found)| found)
            }
        }
    )*};
}

words! {
    LogFormat { "text" => Text, "json" => Json, "console" => Text }
    HourFormat { "json" => Json, "parquet" => Parquet, "both" => Both }
    HashEmails { "exports" => Exports, "on" => Everywhere, "off" => Nowhere }
    Compression { "none" => None, "lz4" => Lz4, "zstd" => Zstd, "zlib" => Zlib }
    AlertFormat { "json" => Json, "slack" => Slack, "lark" => Lark }
}

/// Format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// When the store's write-ahead log is synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before a commit returns: a power cut loses no batch whose commit has returned.
    EveryBatch,
    /// At intervals: a power cut loses at most one interval, a crash of the process nothing.
    Every(Duration),
}

/// The bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulsarConfig {
    /// Broker, `pulsar://…` or `pulsar+ssl://…`.
    pub url: String,
    /// Credentials; `None` with `pulsar.env: dev`, or without `pulsar.audience` and
    /// `pulsar.keypath`.
    pub oauth: Option<OAuthConfig>,
    /// Certificate authority of the broker.
    pub ca: Option<PathBuf>,
    /// Compression of produced messages.
    pub compression: Compression,
    /// Topic to produce to.
    pub producer_topic: String,
    /// Topic to consume.
    pub consumer_topic: String,
    /// Prefix of the subscription's name.
    pub consumer_name: String,
}

/// OAuth2 client credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthConfig {
    /// Audience of the token.
    pub audience: String,
    /// Key file in the format of `StreamNative` Cloud, not yet read.
    pub key_file: PathBuf,
}

/// Compression of produced messages. Consumed messages name their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// None.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
    /// Deflate.
    Zlib,
}

/// RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmqpConfig {
    /// Broker with user, password and virtual host.
    pub url: Secret,
    /// Topic exchange that readers bind to.
    pub exchange: String,
    /// Topic exchange to publish to, when it is another one: the readers' exchange is bound to it,
    /// and users who may not configure this one cannot remove it.
    pub source: Option<String>,
    /// Certificate authority of the broker (PEM), beside the public ones.
    pub ca: Option<PathBuf>,
    /// The name of this node, shown by the broker.
    pub node: String,
}

/// How hours are written to files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HourFormat {
    /// JSON lines in gzip, as GH Archive's: `2015-01-31-5.json.gz`.
    #[default]
    Json,
    /// Columns: `2015-01-31-5.parquet`.
    Parquet,
    /// Both, with the same events.
    Both,
}

impl HourFormat {
    /// Whether rows are kept.
    #[must_use]
    pub fn has_rows(self) -> bool {
        self != Self::Parquet
    }

    /// Whether columns are written.
    #[must_use]
    pub fn has_columns(self) -> bool {
        self != Self::Json
    }
}

/// Where e-mail addresses of commits are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashEmails {
    /// In exported hours.
    Exports,
    /// Before an event is kept at all, so everywhere.
    Everywhere,
    /// Nowhere.
    Nowhere,
}

impl HashEmails {
    /// Whether they are in exported hours.
    #[must_use]
    pub fn in_exports(self) -> bool {
        self != Self::Nowhere
    }
}

/// Format of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertFormat {
    /// A plain JSON object.
    Json,
    /// Slack's incoming webhook.
    Slack,
    /// Lark's custom bot.
    Lark,
}

/// An IP address or network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(ipnet::IpNet);

impl Network {
    /// Parses `10.0.0.0/8`, `2001:db8::/32` or a single address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let net = text.parse::<ipnet::IpNet>();
        net.ok().or_else(|| text.parse::<IpAddr>().ok().map(Into::into)).map(Self)
    }

    /// Whether it contains an address; an IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}
