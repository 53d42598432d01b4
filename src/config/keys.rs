//! All configuration keys, one row each.
//!
//! A row has the key's owner (`peer` or `ours`), its path, the field for its value, what may be
//! written, the default ("" for none), and its meaning. Everything else is generated from it:
//! `table` makes the list for the parser, the default file, the reference and the environment
//! names, `sections` the structs with their documentation.

/// Calls a macro with all rows. In a section, rows come first, then its subsections (`+`).
macro_rules! keys {
    ($make:ident) => {
        $make! {
            /// The whole configuration, checked. Relative paths count from the working directory.
            pub struct Config {
                peer "api.version" => api_version: u64, ValueKind::Whole(0, COUNT), "2",
                    "Value of `apiVersion` in the first messages.";
                ours "node.name" => node_name: String, ValueKind::Text, "",
                    "Name of this node in logs and alerts; without it the host name.";
                ours "data.dir" => data_dir: PathBuf, ValueKind::Path, "data",
                    "Directory of the store; one process at a time.";
                ours "scripts.dir" => scripts_dir: PathBuf, ValueKind::Path, "scripts",
                    "Directory of the Rhai scripts; read again when a file in it is saved.";
                ours "ops.listen" => ops_listen: Option<SocketAddr>,
                    ValueKind::Listen, "127.0.0.1:8602",
                    "Where metrics, backup, inspect and sync are served; `off` for nowhere. Keep \
it private.";
                ours "archive.dir" => archive_dir: Option<PathBuf>, ValueKind::Path, "",
                    "Directory to which each past hour is exported (`YYYY-MM-DD-H.json.gz`), and \
from which `/archive/` serves.";
                ours "archive.format" => archive_format: HourFormat,
                    ValueKind::Choice(HourFormat::WORDS), "json",
                    "How hours are exported there: `json` lines, `parquet` columns \
(`YYYY-MM-DD-H.parquet`), or both.";
                + server: ServerConfig, "The public server.";
                + disable: DisableConfig, "What is switched off.";
                + log: LogConfig, "The log.";
                + github: GitHubConfig, "The source of events.";
                + lists: ListsConfig, "Lists of names that queries select by.";
                + privacy: PrivacyConfig, "What of the events is not passed on.";
                + interval: IntervalConfig, "Ticks and TiDB syncs.";
                + store: StoreConfig, "State on disk.";
                + pulsar: Option<PulsarConfig>, "The bus; `None` for the embedded log.";
                + tidb: Option<TidbConfig>, "The base of this year's figures.";
                + amqp: Option<AmqpConfig>, "The RabbitMQ broker to publish to.";
                + backup: Option<BackupConfig>, "Backups on a schedule.";
                + alerts: Option<AlertsConfig>, "Where failures are reported.";
            }

            /// The public server.
            #[derive(Eq)]
            pub struct ServerConfig {
                ours "server.bind" => bind: IpAddr, ValueKind::Address, "0.0.0.0",
                    "IP address on which the public server listens; `::` is every address of both \
families.";
                peer "server.port" => port: u16, ValueKind::Port, "8600",
                    "Port of the public server. Browsers refuse some, the peer's 6000 among them.";
                peer "server.health" => health: String, ValueKind::Route, "/health",
                    "Path that answers 200 `OK` while the process serves.";
                peer "server.syncEvent" => sync_event: String, ValueKind::Route, "/sync-event",
                    "Path that runs the TiDB sync now, for loopback or with `server.adminToken`.";
                ours "server.basePath" => base_path: Option<String>, ValueKind::Route, "",
                    "Prefix under which all endpoints are served too (`/websocket`); the bare \
paths stay.";
                ours "server.allowedOrigins" => allowed_origins: Vec<String>,
                    ValueKind::Origins, "",
                    "Web pages that may connect (`https://example.org`); without it, any.";
                ours "server.frameAncestors" => frame_ancestors: Vec<String>,
                    ValueKind::Origins, "",
                    "Web pages that may show the pages of this server in a frame \
(`https://example.org`, or `*`); without it, none.";
                ours "server.adminToken" => admin_token: Option<Secret>, ValueKind::Secret, "",
                    "Bearer token for `server.syncEvent` from other hosts, and for details in \
`/readyz` and `/status`.";
                ours "server.trustedProxies" => trusted_proxies: Vec<Network>,
                    ValueKind::Networks, "",
                    "Proxies whose forwarding header names the client's address.";
                ours "server.clientHeader" => client_header: String,
                    ValueKind::Choice(&[
                        "X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP",
                        "True-Client-IP", "Fastly-Client-IP",
                    ]), "X-Forwarded-For",
                    "Header in which `server.trustedProxies` name the client; no other is \
believed.";
                ours "server.keepAlive" => keep_alive: Duration, span(S, H), "75s",
                    "Longest idle time between two requests of a connection; above that of any \
proxy before it.";
                ours "server.flushInterval" => flush_interval: Duration, span(0, S), "50ms",
                    "Longest wait of a frame for others to share its write under load; 0s writes \
each at once.";
                ours "server.grace" => grace: Duration, span(0, 10 * M), "10s",
                    "Longest graceful shutdown before connections are closed.";
                + tls: Option<TlsConfig>, "Certificate and key; `None` serves without TLS.";
                + limits: ServerLimits, "What one client may take.";
            }

            /// The files of a TLS server.
            #[derive(Eq)]
            pub struct TlsConfig {
                ours "server.tls.cert" => cert: PathBuf, ValueKind::Path, "",
                    "Certificate chain (PEM); with `server.tls.key` the public server speaks TLS.";
                ours "server.tls.key" => key: PathBuf, ValueKind::Path, "",
                    "Private key (PEM) of that certificate.";
            }

            /// Limits of the public server.
            #[derive(Eq)]
            pub struct ServerLimits {
                ours "server.limits.connections" => connections: usize,
                    ValueKind::Whole(1, 1_000_000), "10000",
                    "Connections open at once, in total.";
                ours "server.limits.perAddress" => per_address: usize,
                    ValueKind::Whole(1, 1_000_000), "200",
                    "Connections open at once from one address (IPv6: one /64; a /48 has four \
times as many).";
                ours "server.limits.lag" => lag: u64, ValueKind::Whole(1, 1_000_000), "5000",
                    "Events that a `/sampling` reader may lag behind before it skips ahead.";
                ours "server.limits.messageBytes" => message_bytes: usize,
                    ValueKind::Bytes(1024, 16 * MIB), "64 KiB",
                    "Largest message from a client.";
                ours "server.limits.paramsPerMinute" => params_per_minute: u32,
                    ValueKind::Whole(1, 100_000), "60",
                    "Messages with params that one connection may send per minute.";
                ours "server.limits.handshakeTimeout" => handshake_timeout: Duration,
                    span(100 * MS, 5 * M), "10s",
                    "Longest time from connecting to the end of the request's head.";
                ours "server.limits.writeTimeout" => write_timeout: Duration,
                    span(100 * MS, 10 * M), "30s",
                    "Longest time that one write to a client may take.";
                ours "server.limits.filterPaths" => filter_paths: usize,
                    ValueKind::Whole(1, 10_000), "100",
                    "Paths in one `filter` or `fields`.";
                ours "server.limits.downloads" => downloads: usize,
                    ValueKind::Whole(1, 100_000), "64",
                    "Files of `/archive/` sent at once, in total.";
                ours "server.limits.downloadsPerAddress" => downloads_per_address: usize,
                    ValueKind::Whole(1, 100_000), "8",
                    "Files of `/archive/` sent at once to one address.";
                ours "server.limits.downloadsPerMinute" => downloads_per_minute: u32,
                    ValueKind::Whole(1, 1_000_000), "3000",
                    "Requests to `/archive/` that one address may begin per minute. A query of \
columns asks for many parts of a file.";
                ours "server.limits.downloadBytes" => download_bytes: u64,
                    ValueKind::Bytes(MIB / 16, 16 * 1024 * MIB), "64 MiB",
                    "Bytes of `/archive/` sent in a second, over all downloads.";
                ours "server.limits.patterns" => patterns: usize,
                    ValueKind::Whole(1, 10_000), "100",
                    "Patterns and values in one query.";
            }

            /// What is switched off.
            #[derive(Eq)]
            pub struct DisableConfig {
                peer "disable.producer" => producer: bool, ValueKind::Switch, "false",
                    "true makes an edge: no fetching and no producing, only applying and serving.";
                peer "disable.interval" => interval: bool, ValueKind::Switch, "false",
                    "true stops the TiDB sync; language ticks continue.";
            }

            /// The log.
            #[derive(Eq)]
            pub struct LogConfig {
                peer "log.level" => level: String, ValueKind::Filter, "info",
                    "error, warn, info or debug, or directives \
(`info,ghpulse::store=debug`). debug adds a line for each response of GitHub, each poll, each batch \
that is counted and each write of the store; trace is the same.";
                peer "log.file" => file: Option<PathBuf>, ValueKind::Path, "",
                    "File to which log lines are appended; stderr by default.";
                peer "log.format" => format: LogFormat,
                    ValueKind::Choice(LogFormat::WORDS), "text",
                    "Form of a log line; console is the peer's other word for text.";
            }

            /// The source of events.
            pub struct GitHubConfig {
                ours "github.apiUrl" => api_url: String,
                    ValueKind::Url(HTTP), "https://api.github.com",
                    "URL of the REST API; for GitHub Enterprise `https://HOST/api/v3`.";
                ours "github.graphqlUrl" => graphql_url: String, ValueKind::Url(HTTP), "",
                    "URL of the GraphQL API; by default the one that belongs to \
`github.apiUrl`.";
                peer "github.tokens" => tokens: Vec<Secret>, ValueKind::Tokens, "",
                    "Read-only tokens, used in turn; without any, anonymous within 60 requests an \
hour.";
                ours "github.tokensFile" => tokens_file: Option<PathBuf>, ValueKind::Path, "",
                    "File with more tokens, one per line, and lines of comment that begin with #; \
read again when it changes, and on SIGHUP.";
                peer "github.loop.timeout" => timeout: Duration,
                    bare(BareUnit::Milliseconds, 10, 10 * M), "5000",
                    "Longest time that one request may take; a bare number is milliseconds.";
                peer "github.loop.break" => pace: Duration, bare(BareUnit::Milliseconds, 0, H), "1000",
                    "Pause between two fetches with tokens, at least 1ms; a bare number is \
milliseconds.";
                ours "github.pages" => pages: u8, ValueKind::Whole(1, 3), "3",
                    "Pages of `/events` to follow; pull requests are on the second and third.";
                + app: Option<GitHubAppConfig>, "The GitHub App whose installations are used \
beside the tokens; `None` for none.";
                + enrich: EnrichConfig, "What GraphQL is asked for.";
                + audit: AuditConfig, "What GitHub's totals are compared with.";
            }

            /// A GitHub App.
            #[derive(Eq)]
            pub struct GitHubAppConfig {
                ours "github.app.id" => id: String, ValueKind::Text, "",
                    "Id or client id of a GitHub App; GitHub limits each of its installations \
separately.";
                ours "github.app.keyFile" => key_file: PathBuf, ValueKind::Path, "",
                    "Private key of that app (PEM), as GitHub made it; read at each use.";
            }

            /// The enrichment: GraphQL queries for fields that the feed leaves out.
            pub struct EnrichConfig {
                ours "github.enrich.enabled" => enabled: bool, ValueKind::Switch, "true",
                    "Fetch missing fields of pull requests through GraphQL; needs a token.";
                ours "github.enrich.deadline" => deadline: Duration, span(100 * MS, 10 * M), "20s",
                    "Longest time that an event waits for them; then it is published without.";
                ours "github.enrich.batch" => batch: usize, ValueKind::Whole(1, 100), "100",
                    "Pull requests per query; of pushes as many, but at most 25.";
                ours "github.enrich.budget" => budget: f64, ValueKind::Share, "0.5",
                    "Share of each token's GraphQL limit that enrichment may use; a fifth of it is \
for pushes while a list names repositories.";
            }

            /// The audit: how much was seen, by GitHub's totals of sampled repositories.
            pub struct AuditConfig {
                ours "github.audit.budget" => budget: f64, ValueKind::Share, "0.05",
                    "Share of each token's GraphQL limit that the audit may use; 0 turns it off.";
                ours "github.audit.repositories" => repositories: usize,
                    ValueKind::Whole(100, 20_000), "5000",
                    "Repositories in the sample.";
                ours "github.audit.every" => every: Duration, span(S, DAY), "1h",
                    "Time between two looks at a repository; longer where the budget is small.";
                ours "github.audit.wait" => wait: Duration, span(S, DAY), "1h",
                    "How late an event may arrive and still count as seen, at most 24 looks.";
            }

            /// Lists of names that queries select by.
            pub struct ListsConfig {
                ours "lists.dir" => dir: PathBuf, ValueKind::Path, "lists",
                    "Directory of the lists (`NAME.txt`); read again when a file in it is saved.";
                ours "lists.within" => within: Duration, span(S, DAY), "1h",
                    "Longest time between two reads of the feed of a quiet name on a complete \
list.";
                ours "lists.budget" => budget: f64, ValueKind::Share, "0.2",
                    "Share of each token's REST limit for the feeds of complete lists; while there \
are any, the public feed has that much less.";
                ours "lists.commits" => commits: bool, ValueKind::Switch, "true",
                    "Whether pushes to repositories on lists get the commits back that GitHub \
leaves out; they are asked for within `github.enrich.budget`.";
            }

            /// What of the events is not passed on.
            #[derive(Eq)]
            pub struct PrivacyConfig {
                ours "privacy.exclude" => exclude: Vec<String>, ValueKind::Names, "",
                    "People, organizations and repositories whose events are left out from now \
on, everywhere: names or globs (`ann`, `spam-*`, `ann/secret`).";
                ours "privacy.excludeFile" => exclude_file: PathBuf, ValueKind::Path,
                    "exclude.txt",
                    "File of more such names, one per line; read again when it is saved.";
                ours "privacy.hashEmails" => hash_emails: HashEmails,
                    ValueKind::Choice(HashEmails::WORDS), "exports",
                    "Where addresses in commits are hashed as GH Archive does: in exported hours; \
`on` is everywhere.";
            }

            /// Ticks and TiDB syncs.
            #[derive(Eq)]
            pub struct IntervalConfig {
                peer "interval.daily" => daily: Duration, span(S, 7 * DAY), "1h",
                    "Pause between two TiDB syncs.";
                peer "interval.dayCount" => day_count: Duration, span(S, 7 * DAY), "",
                    "Pause between two daily queries; without it, `interval.daily`.";
                peer "interval.yearCount" => year_count: Duration, span(S, 7 * DAY), "",
                    "Pause between two yearly queries; without it, `interval.daily`.";
                peer "interval.retry" => retry: u32, ValueKind::Whole(0, 1000), "3",
                    "Attempts at a query before the sync has failed; 0 counts as 1.";
                peer "interval.retryWait" => retry_wait: Duration,
                    bare(BareUnit::Milliseconds, 0, H), "10000",
                    "Wait after each failed attempt; a bare number is milliseconds.";
                peer "interval.latest" => latest: Duration, span(50 * MS, H), "1s",
                    "Tick of the language endpoints.";
                peer "interval.latestDuring" => latest_during: u32,
                    bare(BareUnit::Seconds, S, DAY), "3600",
                    "Length of their rolling window, in whole seconds.";
            }

            /// State on disk.
            #[derive(Eq)]
            pub struct StoreConfig {
                ours "store.sync" => sync: Durability, ValueKind::Sync, "batch",
                    "`batch` syncs each write to the disk; a duration syncs that often and can \
lose that much at a power cut.";
                ours "store.seenFor" => seen_for: Duration, span(H, 30 * DAY), "72h",
                    "How long ids of events are kept for deduplication.";
                ours "store.journal.for" => journal_for: Duration, span(M, 365 * DAY), "48h",
                    "How long events are retained for replay.";
                ours "store.journal.bytes" => journal_bytes: u64,
                    ValueKind::Bytes(MIB, 64 * TIB), "32 GiB",
                    "Most bytes that they take on the disk, compressed: enough for 48 hours of 300 \
events a second. How far back they really reach is in `hello`, `/status` and \
a metric.";
                ours "store.outboxBytes" => outbox_bytes: u64,
                    ValueKind::Bytes(MIB, 64 * TIB), "4 GiB",
                    "Most bytes held for an unavailable broker; then polling pauses.";
            }

            /// The keys of [`PulsarConfig`], as written.
            #[derive(Eq)]
            pub(super) struct PulsarKeys {
                peer "pulsar.env" => env: Option<String>, ValueKind::Text, "",
                    "dev uses `pulsar.devHost` without authentication; anything else `pulsar.host` \
with it.";
                peer "pulsar.devHost" => dev_host: Option<String>, ValueKind::Url(PULSAR), "",
                    "Broker when `pulsar.env` is dev (`pulsar://localhost:6650`). Without the \
section, the embedded log is the bus.";
                peer "pulsar.host" => host: Option<String>, ValueKind::Url(PULSAR), "",
                    "Broker otherwise (`pulsar+ssl://HOST:6651`).";
                peer "pulsar.audience", ValueKind::Text, "",
                    "Audience of the OAuth2 client credentials.";
                peer "pulsar.keypath", ValueKind::Path, "",
                    "Key file of the OAuth2 client credentials.";
                ours "pulsar.ca" => ca: Option<PathBuf>, ValueKind::Path, "",
                    "Certificate authority (PEM) of the broker, when it is not a public one.";
                ours "pulsar.compression" => compression: Compression,
                    ValueKind::Choice(Compression::WORDS), "lz4",
                    "Compression of produced messages.";
                peer "pulsar.producer.topic" => producer_topic: Option<String>, ValueKind::Text, "",
                    "Topic to produce to; without it, `pulsar.consumer.topic`.";
                peer "pulsar.producer.retry", ValueKind::Unused(
                    "not needed: a message stays in the outbox until the broker has acknowledged \
it"), "",
                    "Accepted and not used.";
                peer "pulsar.consumer.topic" => consumer_topic: Option<String>, ValueKind::Text, "",
                    "Topic to consume; without it, `pulsar.producer.topic`.";
                peer "pulsar.consumer.name" => consumer_name: String, ValueKind::Text, "ghpulse",
                    "Beginning of the subscription's name; the store's id follows.";
                peer "pulsar.consumer.concurrency", ValueKind::Unused(
                    "not needed: one consumer applies messages in order, and faster than GitHub \
makes them"), "",
                    "Accepted and not used.";
            }

            /// The base of this year's figures. Of `tls`, `auto` is resolved.
            #[derive(Eq)]
            pub struct TidbConfig {
                peer "tidb.host" => host: String, ValueKind::Text, "",
                    "Host of TiDB; without it there is no base for this year's figures but our \
own.";
                peer "tidb.port" => port: u16, ValueKind::Whole(1, 65_535), "4000",
                    "Port of TiDB.";
                peer "tidb.user" => user: String, ValueKind::Text, "root",
                    "User to log in as.";
                peer "tidb.password" => password: Option<Secret>, ValueKind::Secret, "",
                    "Password of that user.";
                peer "tidb.db" => db: String, ValueKind::Text, "",
                    "Database to use.";
                ours "tidb.tls" => tls: bool, ValueKind::Choice(&["auto", "on", "off"]), "auto",
                    "Encryption; auto is on unless the host is loopback.";
                ours "tidb.ca" => ca: Option<PathBuf>, ValueKind::Path, "",
                    "Certificate authority (PEM) of the server, when it is not a public one.";
                ours "tidb.timeout" => timeout: Duration, span(S, DAY), "10m",
                    "Longest time for one query; a year of events is a long scan on a small \
server.";
                peer "tidb.sql.eventsDaily" => events_daily: String, ValueKind::Text, DAILY_SQL,
                    "Query of the day counts: day, developers, opened, closed, merged.";
                peer "tidb.sql.yearly" => yearly: String, ValueKind::Text, YEARLY_SQL,
                    "Query of the year's sums: developers, repositories, additions, deletions.";
                ours "tidb.sql.repoLanguages" => repo_languages: Option<String>,
                    ValueKind::Text, "",
                    "Query of languages that need not be asked of GitHub: repo_id, language and, \
if known, as_of (UTC); at most 100,000 rows, run with eventsDaily.";
                ours "tidb.sql.repoDays" => repo_days: Option<String>,
                    ValueKind::Text, "",
                    "Query of one past day, @ghpulse_day, that fills the ledger: repo_id, \
repo_name, day, and figures such as stars; at most 2,000,000 rows, run with eventsDaily.";
            }

            /// The keys of [`AmqpConfig`], as written.
            #[derive(Eq)]
            pub(super) struct AmqpKeys {
                ours "amqp.url" => url: Option<Secret>,
                    ValueKind::SecretUrl(&["amqp", "amqps"]), "",
                    "RabbitMQ to publish to (`amqp://USER:PASSWORD@HOST:5672/`, or \
`amqps://…:5671/` with TLS).";
                ours "amqp.exchange" => exchange: String, ValueKind::Text, "ght-streams",
                    "Topic exchange that readers bind to.";
                ours "amqp.source" => source: Option<String>, ValueKind::Text, "",
                    "Topic exchange to publish to, which `amqp.exchange` is then bound to: readers \
without the right to configure it cannot remove it. Without it: \
`amqp.exchange` itself.";
                ours "amqp.ca" => ca: Option<PathBuf>, ValueKind::Path, "",
                    "Certificate authority (PEM) of the broker, when it is not a public one.";
            }

            /// Scheduled backups.
            #[derive(Eq)]
            pub struct BackupConfig {
                ours "backup.dir" => dir: PathBuf, ValueKind::Path, "",
                    "Directory of online backups.";
                ours "backup.every" => every: Duration, span(M, 365 * DAY), "24h",
                    "Pause between two backups.";
                ours "backup.keep" => keep: usize, ValueKind::Whole(1, 10_000), "7",
                    "Number of backups to keep.";
            }

            /// Where alerts are sent. The peer's spelling of a key is used where ours is not
            /// written.
            #[derive(Eq)]
            pub struct AlertsConfig {
                ours "alerts.webhook" => webhook: Secret, ValueKind::SecretUrl(HTTP), "",
                    "URL to which alerts are posted.";
                ours "alerts.format" => format: AlertFormat,
                    ValueKind::Choice(AlertFormat::WORDS), "json",
                    "Format of an alert.";
                ours "alerts.tolerance" => tolerance: u32, ValueKind::Whole(0, 1_000_000), "3",
                    "Consecutive failures that are tolerated before an alert.";
                ours "alerts.pause" => pause: Duration, span(0, 7 * DAY), "10m",
                    "Shortest time between two alerts about the same condition.";
                peer "lark.webhook", ValueKind::SecretUrl(HTTP), "",
                    "The peer's spelling of `alerts.webhook`, with format lark.";
                peer "lark.signKey" => sign_key: Option<Secret>, ValueKind::Secret, "",
                    "Key that signs alerts to Lark.";
                peer "lark.minimumBreak",
                    bare(BareUnit::Minutes, 0, 7 * DAY), "",
                    "The peer's spelling of `alerts.pause`; a bare number is minutes.";
                peer "lark.errorTolerance",
                    ValueKind::Whole(0, 1_000_000), "",
                    "The peer's spelling of `alerts.tolerance`.";
                peer "lark.errorToleranceBreak" => within: Duration,
                    bare(BareUnit::Minutes, 0, 7 * DAY), "5",
                    "A failure that lasts this long is reported regardless of the tolerance; a \
bare number is minutes.";
            }
        }
    };
}

pub(super) use keys;
