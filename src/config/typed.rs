//! The parts of the configuration that are made from several keys, and types of single values.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Files of a TLS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// When the store's log is synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreSync {
    /// With each write.
    Batch,
    /// That often.
    Every(Duration),
}

/// The bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulsarConfig {
    /// Broker, `pulsar://…` or `pulsar+ssl://…`.
    pub url: String,
    /// Credentials; `None` with `pulsar.env: dev`, or when neither of them is written.
    pub oauth: Option<OAuthConfig>,
    /// Certificate authority of the broker.
    pub ca: Option<PathBuf>,
    /// How what is produced is compressed.
    pub compression: Compression,
    /// Topic to produce to.
    pub producer_topic: String,
    /// Topic to consume.
    pub consumer_topic: String,
    /// Beginning of the subscription's name.
    pub consumer_name: String,
}

/// OAuth2 client credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthConfig {
    /// Who the token is for.
    pub audience: String,
    /// Key file, not read yet.
    pub key_file: PathBuf,
}

/// Compression of messages.
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

/// The base of this year's figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TidbConfig {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password; `None` logs in without.
    pub password: Option<Secret>,
    /// Database.
    pub db: String,
    /// Whether to encrypt (auto is decided).
    pub tls: bool,
    /// Certificate authority of the server.
    pub ca: Option<PathBuf>,
    /// Longest time for one query.
    pub timeout: Duration,
    /// Query of the day counts.
    pub events_daily: String,
    /// Query of the year's sums.
    pub yearly: String,
    /// Query of repositories' languages.
    pub repo_languages: Option<String>,
}

/// RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmqpConfig {
    /// Broker with user, password and virtual host.
    pub url: Secret,
    /// Topic exchange that readers bind to.
    pub exchange: String,
    /// Topic exchange to publish to, when it is another one.
    pub source: Option<String>,
    /// Certificate authority of the broker.
    pub ca: Option<PathBuf>,
}

/// Form of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertFormat {
    /// A plain JSON object.
    Json,
    /// Slack's incoming webhook.
    Slack,
    /// Lark's custom bot.
    Lark,
}

/// Where failures are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertsConfig {
    /// Where they are posted to.
    pub webhook: Secret,
    /// Their form.
    pub format: AlertFormat,
    /// Key that Lark's are signed with.
    pub sign_key: Option<Secret>,
    /// Failures in a row that are tolerated.
    pub tolerance: u32,
    /// A failure that lasts so long is told whatever the tolerance.
    pub within: Duration,
    /// Shortest time between two about the same thing.
    pub pause: Duration,
}

/// Backups on a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupConfig {
    /// Directory that holds them.
    pub dir: PathBuf,
    /// Pause between two.
    pub every: Duration,
    /// How many are kept.
    pub keep: usize,
}

/// An IP address or network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(ipnet::IpNet);

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` or a single address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let net = text.parse::<ipnet::IpNet>();
        net.ok().or_else(|| text.parse::<IpAddr>().ok().map(Into::into)).map(Self)
    }

    /// Whether an address lies in it; an IPv4 address in IPv6's clothes counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}
