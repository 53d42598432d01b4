//! Checks keys against each other, and adjusts values, once the sections are read.

use std::net::SocketAddr;
use std::time::Duration;

use super::diagnostic::ValueOrigin;
use super::sections::{Config, GitHubConfig, IntervalConfig, ServerConfig, TlsConfig};
use super::values::{ReadSection, Values};

/// Ports that browsers refuse to connect to (fetch standard, "bad port").
const BLOCKED: &[u16] = &[
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
    103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465,
    512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993,
    995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668,
    6669, 6679, 6697, 10080,
];

/// Paths of endpoints that cannot be used for others.
const TAKEN: &[&str] = &[
    "/",
    "/sampling",
    "/language/latest",
    "/language/watch",
    "/stream",
    "/stream/languages",
    "/stream/types",
    "/stream/activity",
    "/aggregate",
    "/readyz",
    "/status",
    "/openapi.json",
    "/play",
    "/history",
    "/days",
    "/now",
    "/completeness",
    "/hours",
    "/scripts",
    "/client.js",
    "/client.d.ts",
    "/client.py",
    "/favicon.ico",
    "/robots.txt",
    "/topics",
    "/top",
    "/docs",
    "/metrics",
    "/archive",
    "/recorded",
    "/asyncapi.json",
    "/store",
    "/window",
];
/// Prefixes of paths for each script, archived hour, page of the manual and repository.
const FOLDERS: [&str; 4] = ["/aggregate/", "/archive/", "/docs/", "/repo/"];

/// Builds the configuration; errors and warnings are collected in `values`.
pub(super) fn build(values: &mut Values, host: &str) -> Config {
    values.fill("node.name", host);
    values.follow("interval.dayCount", "interval.daily");
    values.follow("interval.yearCount", "interval.daily");
    let api = values.get::<String>("github.apiUrl");
    values.fill("github.graphqlUrl", &graphql_of(&api));
    let mut config = Config::read(values);
    check_server(&mut config.server, values);
    check_github(&mut config.github, values);
    check_interval(&mut config.interval, values);
    check_log(&config.log.level, values);
    if config.archive_dir.is_none() {
        let message = "missing: where the files go";
        values.need_address(&["archive."], &["archive.dir"], message);
    }
    if config.archive_format.has_columns() && !cfg!(feature = "parquet") {
        let message = "this build cannot write Parquet: build with --features parquet";
        values.report("archive.format", message);
    }
    if let Some(ops) = config.ops_listen {
        check_ops(ops, config.server.listen(), values);
    }
    config
}

/// The modules that write to the log, by which directives of `log.level` select.
pub(super) const LOGGING: &[&str] = &[
    "aggregates",
    "alerts",
    "amqp",
    "appliance",
    "apply",
    "archive",
    "bus",
    "cli",
    "collect",
    "github",
    "hub",
    "lists",
    "logging",
    "private",
    "script",
    "serve",
    "simulate",
    "store",
    "supervise",
    "tidb",
];

/// Warns of directives that print nothing more.
fn check_log(level: &str, values: &mut Values) {
    for directive in level.split(',') {
        let (target, level) = directive.rsplit_once('=').unwrap_or(("", directive));
        if level == "trace" {
            let message = format!("`{directive}` prints what `debug` does: nothing is below it");
            values.warn("log.level", message);
        }
        let module = target.strip_prefix("ghpulse::").and_then(|rest| rest.split("::").next());
        if let Some(module) = module.filter(|module| !LOGGING.contains(module)) {
            let known = LOGGING.join(", ");
            let message = format!("no module `ghpulse::{module}` writes to the log; {known} do");
            values.warn("log.level", message);
        }
    }
}

fn check_ops(ops: SocketAddr, public: SocketAddr, values: &mut Values) {
    let clash = ops.port() == public.port() && ops.port() != 0;
    let same = ops.ip() == public.ip() || ops.ip().is_unspecified() || public.ip().is_unspecified();
    if clash && same {
        let message = format!("port {} is already server.port; use another", ops.port());
        let written = if values.is_given("ops.listen") { "ops.listen" } else { "server.port" };
        values.report_at(written, "ops.listen", message);
    }
}

fn check_server(server: &mut ServerConfig, values: &mut Values) {
    let port = server.port;
    if BLOCKED.contains(&port) {
        let message = format!(
            "browsers refuse to connect to port {port} (the fetch standard's blocked ports), so \
             pages cannot read from it; programs can. Our default is 8600"
        );
        values.warn("server.port", message);
    }
    server.base_path = server.base_path.take().filter(|path| path != "/");
    let base = server.base_path.as_deref();
    if let Some(base) = base {
        check_base_path(base, values);
    }
    server.health = route(&server.health, "server.health", base, values);
    server.sync_event = route(&server.sync_event, "server.syncEvent", base, values);
    if server.sync_event == server.health {
        // One of them may be a default, which has no location and cannot be an error.
        let keys = ["server.syncEvent", "server.health"];
        let key = keys.into_iter().find(|key| values.place(key) != ValueOrigin::Nowhere);
        let message = "server.health and server.syncEvent are the same path; use another";
        values.report(key.unwrap_or(keys[0]), message);
    }
    if let Some(token) = &server.admin_token
        && let Some(why) = super::impossible::bearer(token.expose())
    {
        values.report("server.adminToken", why);
    }
}

fn check_base_path(base: &str, values: &mut Values) {
    let below = |path: &&&str| {
        path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(path) = TAKEN.iter().find(below) {
        let message = format!("{base} is already the endpoint {path}; use another");
        values.report("server.basePath", message);
    }
}

/// Normalises a path, which is served with and without the prefix.
fn route(path: &str, key: &str, base: Option<&str>, values: &mut Values) -> String {
    let below = base.and_then(|base| path.strip_prefix(base)).filter(|rest| rest.starts_with('/'));
    let path = below.unwrap_or(path);
    if TAKEN.contains(&path) || FOLDERS.iter().any(|folder| path.starts_with(folder)) {
        values.report(key, format!("{path} is the path of another endpoint; use another"));
    }
    path.to_owned()
}

impl ReadSection for Option<TlsConfig> {
    fn read(values: &mut Values) -> Self {
        let files = [("server.tls.cert", "its certificate"), ("server.tls.key", "its private key")];
        values.both(files).then(|| TlsConfig::read(values))
    }
}

/// Checks for URLs that are known to be wrong; the pause between two fetches is never zero.
fn check_github(github: &mut GitHubConfig, values: &mut Values) {
    let api = &github.api_url;
    let site = ["https://github.com", "http://github.com", "https://www.github.com"];
    if site.iter().any(|site| api == site || api.starts_with(&format!("{site}/"))) {
        let message = format!("{api} is GitHub's web site; its API is https://api.github.com");
        values.report("github.apiUrl", message);
    }
    for (key, url) in [("github.apiUrl", api), ("github.graphqlUrl", &github.graphql_url)] {
        if values.is_given(key) && url.contains('?') {
            values.report(key, "contains a `?`: write the URL without a query");
        }
    }
    github.pace = github.pace.max(Duration::from_millis(1));
}

/// GitHub Enterprise has REST under `/api/v3` and GraphQL under `/api`.
fn graphql_of(api_url: &str) -> String {
    format!("{}/graphql", api_url.strip_suffix("/v3").unwrap_or(api_url))
}

fn check_interval(interval: &mut IntervalConfig, values: &mut Values) {
    if values.get::<Duration>("interval.latestDuring").subsec_nanos() > 0 {
        values.report("interval.latestDuring", "not whole seconds; use 3600 or 1h");
    }
    interval.retry = interval.retry.max(1);
}
