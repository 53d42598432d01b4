//! The one table of all configuration keys: parser, defaults, reference and environment names are
//! made from it, so none of them can know a key that the others do not.
//!
//! A row says: whose key it is (`peer` or `ours`), path, kind, default ("" is none), meaning.

use std::time::Duration;

use super::units::Bare;

/// What may be written for a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// true or false; yes, no, on and off too.
    Switch,
    /// A whole number within bounds, both included.
    Whole(u64, u64),
    /// A TCP port; 0 takes a free one.
    Port,
    /// A number from 0 to 1.
    Share,
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A log level, or filter directives (`info,ghpulse::store=debug`).
    Filter,
    /// A file or a directory; relative ones count from the working directory.
    Path,
    /// An HTTP path that begins with `/`.
    Route,
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// A text that is never printed.
    Secret,
    /// A URL with one of these schemes that is never printed.
    SecretUrl(&'static [&'static str]),
    /// Tokens that are never printed.
    Tokens,
    /// Origins of web pages (`https://example.org`), or `*`.
    Origins,
    /// IP addresses or networks (`10.0.0.0/8`).
    Networks,
    /// An IP address.
    Address,
    /// Address and port, or `off`.
    Listen,
    /// A duration: what a bare number means; bounds, both included.
    Span(Bare, Duration, Duration),
    /// A size in bytes; bounds, both included.
    Bytes(u64, u64),
    /// `batch`, or a duration.
    Sync,
    /// Read and not used; the text says why not.
    Unused(&'static str),
}

impl Kind {
    /// Whether several values may be written: as a list, or as one text with commas.
    #[must_use]
    pub fn is_list(self) -> bool {
        matches!(self, Self::Tokens | Self::Origins | Self::Networks)
    }
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// Whether the peer has it too, under this name, with this unit and meaning.
    pub peer: bool,
    /// Sections and name joined by dots, as the reference spells it; matched in any case.
    pub path: &'static str,
    /// What may be written.
    pub kind: Kind,
    /// What holds when nothing is written, as one would write it; empty is none.
    pub default: &'static str,
    /// One or two sentences for whoever writes a config file.
    pub meaning: &'static str,
}

impl Key {
    /// Name of the environment variable: the path in capitals, each dot an underscore.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.replace('.', "_").to_ascii_uppercase())
    }

    /// Whether its value must never be shown.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::SecretUrl(_) | Kind::Tokens)
    }
}

/// What every variable of ours begins with.
pub const PREFIX: &str = "GHPULSE_";

/// Variables with our prefix that are no keys but the tests': `GHPULSE_FAULT` names a place to die
/// at, `GHPULSE_SIM_SEED` the world that a failing test printed, `GHPULSE_SIM_RUNS` how many run.
pub const OTHER_VARIABLES: &[&str] = &["GHPULSE_FAULT", "GHPULSE_SIM_SEED", "GHPULSE_SIM_RUNS"];

/// Sections of the peer that have no counterpart here: read, warned of once, not used.
pub(super) const RETIRED: &[(&str, &str)] = &[
    (
        "redis",
        "not used: ghpulse keeps its state in RocksDB under data.dir and needs no Redis; \
         the section can be deleted",
    ),
    (
        "risingwave",
        "not used: ghpulse counts by itself and needs no RisingWave; the section can be deleted",
    ),
];

/// The key of this path, without regard to case.
#[must_use]
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path.eq_ignore_ascii_case(path))
}

/// Whether keys lie below this path.
#[must_use]
pub(super) fn is_section(path: &str) -> bool {
    sections().any(|section| section.eq_ignore_ascii_case(path))
}

/// Every path that keys lie below, again for each key.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    let nested =
        KEYS.iter().flat_map(|key| key.path.match_indices('.').map(|(dot, _)| &key.path[..dot]));
    nested.chain(RETIRED.iter().map(|(section, _)| *section))
}

const MS: u64 = 1;
const S: u64 = 1000;
const M: u64 = 60 * S;
const H: u64 = 60 * M;
const DAY: u64 = 24 * H;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const COUNT: u64 = 1_000_000_000;

/// A duration with bounds in milliseconds; a bare number is refused.
const fn span(least: u64, most: u64) -> Kind {
    bare(Bare::Refused, least, most)
}

const fn bare(unit: Bare, least: u64, most: u64) -> Kind {
    Kind::Span(unit, Duration::from_millis(least), Duration::from_millis(most))
}

const HTTP: &[&str] = &["http", "https"];
const PULSAR: &[&str] = &["pulsar", "pulsar+ssl"];

/// The query of the day counts: one row a day of this year, columns in this order.
const DAILY_SQL: &str = "\
SELECT event_day,
       COUNT(DISTINCT actor_id) AS developers,
       COUNT(DISTINCT CASE WHEN action = 'opened' THEN pr_or_issue_id ELSE NULL END) AS opened_prs,
       COUNT(DISTINCT CASE WHEN action = 'closed' AND pr_merged = false
             THEN pr_or_issue_id ELSE NULL END) AS closed_prs,
       COUNT(DISTINCT CASE WHEN action = 'closed' AND pr_merged = true
             THEN pr_or_issue_id ELSE NULL END) AS merged_prs
FROM github_events ge
WHERE type = 'PullRequestEvent'
  AND action IN ('closed', 'opened')
  AND event_year = YEAR(NOW())
GROUP BY event_day
ORDER BY event_day
";

/// The query of the year's sums: one row, columns in this order.
const YEARLY_SQL: &str = "\
SELECT COUNT(DISTINCT actor_id) AS developers,
       COUNT(DISTINCT repo_id) AS repos,
       SUM(CASE WHEN action = 'closed' AND pr_merged = true
           THEN additions ELSE 0 END) AS additions,
       SUM(CASE WHEN action = 'closed' AND pr_merged = true
           THEN deletions ELSE 0 END) AS deletions
FROM github_events
WHERE type = 'PullRequestEvent'
  AND action IN ('closed', 'opened')
  AND event_year = YEAR(NOW())
";

macro_rules! keys {
    ($($whose:ident $path:literal, $kind:expr, $default:expr, $meaning:literal;)*) => {
        &[$(Key { peer: whose!($whose), path: $path, kind: $kind, default: $default,
                  meaning: $meaning }),*]
    };
}

macro_rules! whose {
    (peer) => {
        true
    };
    (ours) => {
        false
    };
}

/// All keys, by section, in the order in which they are printed.
pub const KEYS: &[Key] = keys! {
    peer "api.version", Kind::Whole(0, COUNT), "2",
        "Number that the first messages carry as `apiVersion`.";
    ours "node.name", Kind::Text, "",
        "Name of this node in logs and alerts; without it the host name.";
    ours "data.dir", Kind::Path, "data",
        "Directory of the store; one process at a time.";
    ours "scripts.dir", Kind::Path, "scripts",
        "Directory of the Rhai scripts; read again when a file in it is saved.";

    ours "server.bind", Kind::Address, "0.0.0.0",
        "IP address that the public server listens on; `::` is every address of both families.";
    peer "server.port", Kind::Port, "8600",
        "Port of the public server. Browsers refuse some, the peer's 6000 among them.";
    peer "server.health", Kind::Route, "/health",
        "Path that answers 200 `OK` while the process serves.";
    peer "server.syncEvent", Kind::Route, "/sync-event",
        "Path that runs the TiDB sync now, for loopback or with `server.adminToken`.";
    ours "server.basePath", Kind::Route, "",
        "Prefix under which all endpoints answer too (`/websocket`); the bare paths stay.";
    ours "server.allowedOrigins", Kind::Origins, "",
        "Web pages that may connect (`https://example.org`); without it, any.";
    ours "server.adminToken", Kind::Secret, "",
        "Bearer token for `server.syncEvent` from other hosts, and for details in `/readyz` and \
         `/status`.";
    ours "server.trustedProxies", Kind::Networks, "",
        "Proxies whose forwarding header names the client's address.";
    ours "server.clientHeader", Kind::Choice(&[
        "X-Forwarded-For", "Forwarded", "X-Real-IP", "CF-Connecting-IP", "True-Client-IP",
        "Fastly-Client-IP",
    ]), "X-Forwarded-For",
        "Header in which `server.trustedProxies` name the client; no other is believed.";
    ours "server.keepAlive", span(S, H), "75s",
        "Longest idle time between two requests of a connection; above that of any proxy before it.";
    ours "server.flushInterval", span(0, S), "50ms",
        "Longest wait of a frame for others to share its write under load; 0s writes each at once.";
    ours "server.tls.cert", Kind::Path, "",
        "Certificate chain (PEM); with `server.tls.key` the public server speaks TLS.";
    ours "server.tls.key", Kind::Path, "",
        "Private key (PEM) of that certificate.";
    ours "server.grace", span(0, 10 * M), "10s",
        "Longest time that stopping takes before connections are cut.";
    ours "server.limits.connections", Kind::Whole(1, 1_000_000), "10000",
        "Connections open at once, in all.";
    ours "server.limits.perAddress", Kind::Whole(1, 1_000_000), "200",
        "Connections open at once from one address (IPv6: one /64; a /48 has four times as many).";
    ours "server.limits.lag", Kind::Whole(1, 1_000_000), "5000",
        "Events that a `/sampling` reader may be behind before it is moved forward.";
    ours "server.limits.messageBytes", Kind::Bytes(1024, 16 * MIB), "64 KiB",
        "Largest message from a client.";
    ours "server.limits.paramsPerMinute", Kind::Whole(1, 100_000), "60",
        "Messages with params that one connection may send in a minute.";
    ours "server.limits.handshakeTimeout", span(100 * MS, 5 * M), "10s",
        "Longest time from connecting to the end of the request's head.";
    ours "server.limits.writeTimeout", span(100 * MS, 10 * M), "30s",
        "Longest time that one write to a client may take.";
    ours "server.limits.filterPaths", Kind::Whole(1, 10_000), "100",
        "Paths in one `filter` or `fields`.";
    ours "server.limits.patterns", Kind::Whole(1, 10_000), "100",
        "Patterns and values in one query.";
    ours "ops.listen", Kind::Listen, "127.0.0.1:8602",
        "Where metrics, backup, inspect and sync are served; `off` for nowhere. Keep it private.";

    peer "disable.producer", Kind::Switch, "false",
        "true makes an edge: no fetching and no producing, only applying and serving.";
    peer "disable.interval", Kind::Switch, "false",
        "true stops the TiDB sync; language ticks go on.";

    peer "log.level", Kind::Filter, "info",
        "error, warn, info, debug or trace, or directives (`info,ghpulse::store=debug`).";
    peer "log.file", Kind::Path, "",
        "File that log lines are appended to; without it, stderr.";
    peer "log.format", Kind::Choice(&["text", "json", "console"]), "text",
        "Form of a log line; console is the peer's other word for text.";

    ours "github.apiUrl", Kind::Url(HTTP), "https://api.github.com",
        "Where the REST interface is; for GitHub Enterprise `https://HOST/api/v3`.";
    ours "github.graphqlUrl", Kind::Url(HTTP), "",
        "Where the GraphQL interface is; without it, the one that belongs to `github.apiUrl`.";
    peer "github.tokens", Kind::Tokens, "",
        "Read-only tokens, used in turn; without any, anonymous within 60 requests an hour.";
    ours "github.tokensFile", Kind::Path, "",
        "File with more tokens, one a line; read again when it changes, and on SIGHUP.";
    peer "github.loop.timeout", bare(Bare::Milliseconds, 10, 10 * M), "5000",
        "Longest time that one request may take; a bare number is milliseconds.";
    peer "github.loop.break", bare(Bare::Milliseconds, 0, H), "1000",
        "Pause between two fetches with tokens, at least 1ms; a bare number is milliseconds.";
    ours "github.pages", Kind::Whole(1, 3), "3",
        "Pages of `/events` to follow; pull requests are on the second and third.";
    ours "github.enrich.enabled", Kind::Switch, "true",
        "Ask GraphQL for what the feed leaves out of pull requests; needs a token.";
    ours "github.enrich.deadline", span(100 * MS, 10 * M), "20s",
        "Longest time that an event waits for it; then it goes out without.";
    ours "github.enrich.batch", Kind::Whole(1, 100), "100",
        "Pull requests asked for in one query.";
    ours "github.enrich.budget", Kind::Share, "0.5",
        "Share of each token's GraphQL limit that may be used for it.";

    peer "interval.daily", span(S, 7 * DAY), "1h",
        "Pause between two TiDB syncs.";
    peer "interval.dayCount", span(S, 7 * DAY), "",
        "Pause between two daily queries; without it, `interval.daily`.";
    peer "interval.yearCount", span(S, 7 * DAY), "",
        "Pause between two yearly queries; without it, `interval.daily`.";
    peer "interval.retry", Kind::Whole(0, 1000), "3",
        "Attempts at a query before the sync has failed; 0 counts as 1.";
    peer "interval.retryWait", bare(Bare::Milliseconds, 0, H), "10000",
        "Wait after each failed attempt; a bare number is milliseconds.";
    peer "interval.latest", span(50 * MS, H), "1s",
        "Tick of the language endpoints.";
    peer "interval.latestDuring", bare(Bare::Seconds, S, DAY), "3600",
        "Length of their rolling window, in whole seconds.";

    ours "store.sync", Kind::Sync, "batch",
        "`batch` syncs each write to the disk; a duration syncs that often and can lose that much \
         at a power cut.";
    ours "store.seenFor", span(H, 30 * DAY), "72h",
        "How long an event is remembered, so that it counts once.";
    ours "store.journal.for", span(M, 365 * DAY), "48h",
        "How long events can be read again.";
    ours "store.journal.bytes", Kind::Bytes(MIB, 64 * TIB), "32 GiB",
        "Most bytes that they take on the disk, compressed: enough for 48 hours of 300 events a \
         second. How far back they really reach is in `hello`, `/status` and a metric.";
    ours "store.outboxBytes", Kind::Bytes(MIB, 64 * TIB), "4 GiB",
        "Most bytes that wait for a broker that is away; then fetching pauses.";

    peer "pulsar.env", Kind::Text, "",
        "dev uses `pulsar.devHost` without authentication; anything else `pulsar.host` with it.";
    peer "pulsar.devHost", Kind::Url(PULSAR), "",
        "Broker when `pulsar.env` is dev (`pulsar://localhost:6650`). Without the section, the \
         embedded log is the bus.";
    peer "pulsar.host", Kind::Url(PULSAR), "",
        "Broker otherwise (`pulsar+ssl://HOST:6651`).";
    peer "pulsar.audience", Kind::Text, "",
        "Audience of the OAuth2 client credentials.";
    peer "pulsar.keypath", Kind::Path, "",
        "Key file of the OAuth2 client credentials.";
    ours "pulsar.ca", Kind::Path, "",
        "Certificate authority (PEM) of the broker, when it is not a public one.";
    ours "pulsar.compression", Kind::Choice(&["none", "lz4", "zstd", "zlib"]), "lz4",
        "Compression of what is produced.";
    peer "pulsar.producer.topic", Kind::Text, "",
        "Topic to produce to; without it, `pulsar.consumer.topic`.";
    peer "pulsar.producer.retry", Kind::Unused(
            "not needed: a message stays in the outbox until the broker has acknowledged it"), "",
        "Accepted and not used.";
    peer "pulsar.consumer.topic", Kind::Text, "",
        "Topic to consume; without it, `pulsar.producer.topic`.";
    peer "pulsar.consumer.name", Kind::Text, "ghpulse",
        "Beginning of the subscription's name; the store's id follows.";
    peer "pulsar.consumer.concurrency", Kind::Unused(
            "not needed: one consumer applies messages in order, and faster than GitHub makes \
             them"), "",
        "Accepted and not used.";

    peer "tidb.host", Kind::Text, "",
        "Host of TiDB; without it there is no base for this year's figures but our own.";
    peer "tidb.port", Kind::Port, "4000",
        "Port of TiDB.";
    peer "tidb.user", Kind::Text, "root",
        "User to log in as.";
    peer "tidb.password", Kind::Secret, "",
        "Password of that user.";
    peer "tidb.db", Kind::Text, "",
        "Database to use.";
    ours "tidb.tls", Kind::Choice(&["auto", "on", "off"]), "auto",
        "Encryption; auto is on unless the host is loopback.";
    ours "tidb.ca", Kind::Path, "",
        "Certificate authority (PEM) of the server, when it is not a public one.";
    ours "tidb.timeout", span(S, DAY), "10m",
        "Longest time for one query; a year of events is a long scan on a small server.";
    peer "tidb.sql.eventsDaily", Kind::Text, DAILY_SQL,
        "Query of the day counts: day, developers, opened, closed, merged.";
    peer "tidb.sql.yearly", Kind::Text, YEARLY_SQL,
        "Query of the year's sums: developers, repositories, additions, deletions.";
    ours "tidb.sql.repoLanguages", Kind::Text, "",
        "Query of languages that need not be asked of GitHub: repo_id, language and, if known, \
         as_of (UTC); at most 100,000 rows, run with eventsDaily.";

    ours "amqp.url", Kind::SecretUrl(&["amqp", "amqps"]), "",
        "RabbitMQ to publish to (`amqp://USER:PASSWORD@HOST:5672/`, or `amqps://…:5671/` with TLS).";
    ours "amqp.exchange", Kind::Text, "ght-streams",
        "Topic exchange that readers bind to.";
    ours "amqp.source", Kind::Text, "",
        "Topic exchange to publish to, which `amqp.exchange` is then bound to: readers without the \
         right to configure it cannot remove it. Without it: `amqp.exchange` itself.";
    ours "amqp.ca", Kind::Path, "",
        "Certificate authority (PEM) of the broker, when it is not a public one.";

    ours "archive.dir", Kind::Path, "",
        "Directory that each past hour is exported to (`YYYY-MM-DD-H.json.gz`).";
    ours "backup.dir", Kind::Path, "",
        "Directory that online backups go to.";
    ours "backup.every", span(M, 365 * DAY), "24h",
        "Pause between two backups.";
    ours "backup.keep", Kind::Whole(1, 10_000), "7",
        "Backups that are kept.";

    ours "alerts.webhook", Kind::SecretUrl(HTTP), "",
        "URL that alerts are posted to.";
    ours "alerts.format", Kind::Choice(&["json", "slack", "lark"]), "json",
        "Form of an alert.";
    ours "alerts.tolerance", Kind::Whole(0, 1_000_000), "3",
        "Failures in a row that are tolerated before an alert.";
    ours "alerts.pause", span(0, 7 * DAY), "10m",
        "Shortest time between two alerts about the same thing.";
    peer "lark.webhook", Kind::SecretUrl(HTTP), "",
        "The peer's spelling of `alerts.webhook`, with format lark.";
    peer "lark.signKey", Kind::Secret, "",
        "Key that alerts to Lark are signed with.";
    peer "lark.minimumBreak", bare(Bare::Minutes, 0, 7 * DAY), "",
        "The peer's spelling of `alerts.pause`; a bare number is minutes.";
    peer "lark.errorTolerance", Kind::Whole(0, 1_000_000), "",
        "The peer's spelling of `alerts.tolerance`.";
    peer "lark.errorToleranceBreak", bare(Bare::Minutes, 0, 7 * DAY), "5",
        "A failure that lasts so long is told whatever the tolerance; a bare number is minutes.";
};
