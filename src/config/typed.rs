//! The configuration as the rest of the house reads it: checked, typed, with nothing left to ask.
//!
//! No type here has a `Default`: what holds when nothing is written is in the table, once.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::secret::Secret;

/// Everything. Relative paths count from the working directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Number that the first messages carry as `apiVersion`.
    pub api_version: u64,
    /// Name of this node in logs and alerts.
    pub node_name: String,
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// Directory of the Rhai scripts.
    pub scripts_dir: PathBuf,
    /// The log.
    pub log: LogConfig,
    /// The public server.
    pub server: ServerConfig,
    /// Where the private ops listener is; `None` for nowhere.
    pub ops_listen: Option<SocketAddr>,
    /// What is switched off.
    pub disable: DisableConfig,
    /// The source.
    pub github: GitHubConfig,
    /// Ticks and TiDB syncs.
    pub interval: IntervalConfig,
    /// State on the disk.
    pub store: StoreConfig,
    /// The bus; `None` for the embedded log.
    pub pulsar: Option<PulsarConfig>,
    /// The base of this year's figures.
    pub tidb: Option<TidbConfig>,
    /// RabbitMQ to publish to.
    pub amqp: Option<AmqpConfig>,
    /// Where failures are told.
    pub alerts: Option<AlertsConfig>,
    /// Directory that past hours are exported to.
    pub archive_dir: Option<PathBuf>,
    /// Backups on a schedule.
    pub backup: Option<BackupConfig>,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or filter directives.
    pub level: String,
    /// File to append to; `None` is stderr.
    pub file: Option<PathBuf>,
    /// JSON lines instead of text.
    pub json: bool,
}

/// The public server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Path of the health answer; begins with `/`.
    pub health: String,
    /// Path that runs the TiDB sync; begins with `/`.
    pub sync_event: String,
    /// Prefix under which endpoints answer too; begins with `/`, does not end with it.
    pub base_path: Option<String>,
    /// Origins that may connect; empty is any, as is `*`. Lower case, without a trailing `/`.
    pub allowed_origins: Vec<String>,
    /// Bearer token for the sync from other hosts.
    pub admin_token: Option<Secret>,
    /// Proxies whose forwarding header is believed.
    pub trusted_proxies: Vec<Network>,
    /// The header that they name the client in.
    pub client_header: String,
    /// Longest idle time between two requests of a connection.
    pub keep_alive: Duration,
    /// Longest wait of a frame for company; zero is none.
    pub flush_interval: Duration,
    /// Certificate and key; `None` is plain text.
    pub tls: Option<TlsConfig>,
    /// Longest time that stopping takes.
    pub grace: Duration,
    /// What one client may take.
    pub limits: ServerLimits,
}

/// Files of a TLS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// Limits of the public server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections in all.
    pub connections: usize,
    /// Connections from one address (IPv6: one /64; four times as many from one /48).
    pub per_address: usize,
    /// Events that a `/sampling` reader may be behind.
    pub lag: u64,
    /// Largest message from a client, bytes.
    pub message_bytes: usize,
    /// Messages with params of one connection in a minute.
    pub params_per_minute: u32,
    /// From connecting to the end of the request's head.
    pub handshake_timeout: Duration,
    /// One write to a client.
    pub write_timeout: Duration,
    /// Paths in one filter or projection.
    pub filter_paths: usize,
    /// Patterns and values in one query.
    pub patterns: usize,
}

/// What is switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisableConfig {
    /// No fetching, no producing: an edge.
    pub producer: bool,
    /// No TiDB sync.
    pub interval: bool,
}

/// The source.
#[derive(Debug, Clone, PartialEq)]
pub struct GitHubConfig {
    /// REST, without a trailing `/`.
    pub api_url: String,
    /// GraphQL, the whole URL.
    pub graphql_url: String,
    /// Placeholders are gone; empty is anonymous.
    pub tokens: Vec<Secret>,
    /// File with more of them, not read yet.
    pub tokens_file: Option<PathBuf>,
    /// Longest time of one request.
    pub timeout: Duration,
    /// Pause between two fetches with tokens (`github.loop.break`); never zero.
    pub pace: Duration,
    /// Pages to follow, 1 to 3.
    pub pages: u8,
    /// What the feed leaves out.
    pub enrich: EnrichConfig,
}

/// The enrichment.
#[derive(Debug, Clone, PartialEq)]
pub struct EnrichConfig {
    /// Whether it is done at all.
    pub enabled: bool,
    /// Longest time that an event waits.
    pub deadline: Duration,
    /// Pull requests in one query, 1 to 100.
    pub batch: usize,
    /// Share of each token's limit, 0 to 1.
    pub budget: f64,
}

/// Ticks and TiDB syncs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntervalConfig {
    /// Pause between two syncs.
    pub daily: Duration,
    /// Pause between two daily queries.
    pub day_count: Duration,
    /// Pause between two yearly queries.
    pub year_count: Duration,
    /// Attempts at a query in all, at least one.
    pub retry: u32,
    /// Wait after each failed attempt.
    pub retry_wait: Duration,
    /// Tick of the language endpoints.
    pub latest: Duration,
    /// Length of their window, whole seconds, at least one.
    pub latest_during: u32,
}

/// When the store's log is synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreSync {
    /// With each write.
    Batch,
    /// That often.
    Every(Duration),
}

/// State on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// When it is synced.
    pub sync: StoreSync,
    /// How long an event is remembered.
    pub seen_for: Duration,
    /// How long events can be read again.
    pub journal_for: Duration,
    /// Most bytes that they take.
    pub journal_bytes: u64,
    /// Most bytes that wait for a broker.
    pub outbox_bytes: u64,
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
