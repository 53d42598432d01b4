//! From layers to the typed configuration: defaults filled in, keys checked against each other.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::complaint::{Complaint, Notice, Place};
use super::layers::Layers;
use super::secret::Secret;
use super::table;
use super::typed::{
    Config, DisableConfig, EnrichConfig, GitHubConfig, IntervalConfig, LogConfig, Network,
    ServerConfig, ServerLimits, StoreConfig, StoreSync, TlsConfig,
};
use super::value::{self, Value};

/// Ports that browsers refuse to connect to (fetch standard, "bad port").
const BLOCKED: &[u16] = &[
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
    103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465,
    512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993,
    995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668,
    6669, 6679, 6697, 10080,
];

/// Paths of endpoints that no other path may take.
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
    "/client.js",
    "/client.py",
    "/topics",
    "/docs",
    "/metrics",
    "/archive",
    "/asyncapi.json",
    "/store",
    "/window",
];
/// Below these is a path for each script, and for each page of the manual.
const FOLDERS: [&str; 2] = ["/aggregate/", "/docs/"];

/// Layers, read by key; what is missing comes from the table.
pub(super) struct Values {
    layers: Layers,
    /// Paths that were asked for, so that a test finds a key that nobody reads.
    pub(super) asked: RefCell<BTreeSet<&'static str>>,
}

impl Values {
    pub(super) fn new(layers: Layers) -> Self {
        Self { layers, asked: RefCell::default() }
    }

    /// The value in force; `None` when nothing is written and there is no default.
    fn find(&self, path: &str) -> Option<Value> {
        let key = table::find(path).expect("only keys of the table are asked for");
        self.asked.borrow_mut().insert(key.path);
        if let Some(given) = self.layers.given.get(key.path) {
            return Some(given.value.clone());
        }
        if key.default.is_empty() {
            return None;
        }
        Some(value::read(key, key.default).expect("a test reads every default"))
    }

    /// Whether somebody wrote it.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.layers.given.contains_key(path)
    }

    pub(super) fn place(&self, path: &str) -> Place {
        self.layers.given.get(path).map_or(Place::Nowhere, |given| given.place.clone())
    }

    pub(super) fn complain(&mut self, path: &str, message: impl Into<String>) {
        let complaint = Complaint::new(self.place(path), path, message);
        self.layers.complaints.push(complaint);
    }

    /// Complains about a key where another one was written.
    pub(super) fn complain_at(&mut self, written: &str, path: &str, message: impl Into<String>) {
        let complaint = Complaint::new(self.place(written), path, message);
        self.layers.complaints.push(complaint);
    }

    pub(super) fn warn(&mut self, path: &str, message: impl Into<String>) {
        let about = Complaint::new(self.place(path), path, message);
        self.layers.notices.push(Notice::warning(about));
    }

    /// Complains that a key is missing, unless what was written for it was refused already; the
    /// place is that of a key beside it.
    pub(super) fn need(&mut self, path: &str, message: impl Into<String>) {
        if !self.layers.refused.contains(&path) {
            let mut sections = path.match_indices('.').rev().map(|(end, _)| &path[..=end]);
            let beside = |section| self.layers.given.keys().find(|key| key.starts_with(section));
            let written = sections.find_map(beside).copied();
            self.complain_at(written.unwrap_or(path), path, message);
        }
    }

    /// Refuses a section whose keys (`keys`, or the beginning of their paths) are written while
    /// none of those that say where (`addresses`) is, not even empty. The complaint is about the
    /// first address, at the place of the key that can do nothing.
    pub(super) fn need_address(
        &mut self,
        keys: &[&str],
        addresses: &[&'static str],
        message: &str,
    ) {
        let is_known = |path: &&str| {
            let Layers { given, left_out, refused, .. } = &self.layers;
            given.contains_key(path) || left_out.contains(path) || refused.contains(path)
        };
        if addresses.iter().any(is_known) {
            return;
        }
        let is_of = |path: &&&str| keys.iter().any(|key| path.starts_with(key));
        if let Some(written) = self.layers.given.keys().find(is_of).copied() {
            self.complain_at(written, addresses[0], format!("{message} ({written} is set)"));
        }
    }

    pub(super) fn end(self) -> Layers {
        self.layers
    }
}

/// One reader for each form a value can have; the kind in the table decides which one fits.
macro_rules! readers {
    ($($name:ident $variant:ident $type:ty;)*) => {
        impl Values {
            $(pub(super) fn $name(&self, path: &str) -> Option<$type> {
                match self.find(path) {
                    None => None,
                    Some(Value::$variant(found)) => Some(found),
                    Some(other) => unreachable!("{path} is read as another kind: {other:?}"),
                }
            })*
        }
    };
}

readers! {
    switch Switch bool;
    whole Whole u64;
    share Share f64;
    text Text String;
    path Path PathBuf;
    secret Secret Secret;
    secrets Secrets Vec<Secret>;
    texts Texts Vec<String>;
    networks Networks Vec<Network>;
    address Address IpAddr;
    listen Listen Option<SocketAddr>;
    span Span Duration;
    sync Sync StoreSync;
}

/// A key with a default always has a value.
pub(super) const SET: &str = "the table has a default for it";

/// A whole number that its bounds keep inside the type.
pub(super) fn narrow<T: TryFrom<u64>>(number: u64) -> T {
    T::try_from(number).ok().expect("the table's bounds fit the type")
}

/// Builds the whole; complaints and notices are left in the values.
pub(super) fn build(values: &mut Values, host: &str) -> Config {
    let server = server(values);
    check_roles(values);
    let ops_listen = values.listen("ops.listen").expect(SET);
    if let Some(ops) = ops_listen {
        let clash = ops.port() == server.listen.port() && ops.port() != 0;
        let same = ops.ip() == server.listen.ip()
            || ops.ip().is_unspecified()
            || server.listen.ip().is_unspecified();
        if clash && same {
            let message = format!("port {} is server.port too; give it another", ops.port());
            let written = if values.is_given("ops.listen") { "ops.listen" } else { "server.port" };
            values.complain_at(written, "ops.listen", message);
        }
    }
    Config {
        api_version: values.whole("api.version").expect(SET),
        node_name: values.text("node.name").unwrap_or_else(|| host.to_owned()),
        data_dir: values.path("data.dir").expect(SET),
        scripts_dir: values.path("scripts.dir").expect(SET),
        log: LogConfig {
            level: values.text("log.level").expect(SET),
            file: values.path("log.file"),
            json: values.text("log.format").expect(SET) == "json",
        },
        server,
        ops_listen,
        disable: DisableConfig {
            producer: values.switch("disable.producer").expect(SET),
            interval: values.switch("disable.interval").expect(SET),
        },
        github: github(values),
        interval: interval(values),
        store: StoreConfig {
            sync: values.sync("store.sync").expect(SET),
            seen_for: values.span("store.seenFor").expect(SET),
            journal_for: values.span("store.journal.for").expect(SET),
            journal_bytes: values.whole("store.journal.bytes").expect(SET),
            outbox_bytes: values.whole("store.outboxBytes").expect(SET),
        },
        pulsar: super::joined::pulsar(values),
        tidb: super::joined::tidb(values),
        amqp: super::joined::amqp(values),
        alerts: super::joined::alerts(values),
        archive_dir: values.path("archive.dir"),
        backup: super::joined::backup(values),
    }
}

fn server(values: &mut Values) -> ServerConfig {
    let port = narrow(values.whole("server.port").expect(SET));
    if BLOCKED.contains(&port) {
        let message = format!(
            "browsers refuse to connect to port {port} (the fetch standard's blocked ports), so \
             pages cannot read from it; programs can. Our default is 8600"
        );
        values.warn("server.port", message);
    }
    let base_path = base_path(values);
    let health = route(values, "server.health", base_path.as_deref());
    let sync_event = route(values, "server.syncEvent", base_path.as_deref());
    if sync_event == health {
        // One of them may be a default, which has no place and can be no mistake.
        let keys = ["server.syncEvent", "server.health"];
        let key = keys.into_iter().find(|key| values.place(key) != Place::Nowhere);
        let message = "server.health and server.syncEvent are the same path; use another";
        values.complain(key.unwrap_or(keys[0]), message);
    }
    ServerConfig {
        listen: SocketAddr::new(values.address("server.bind").expect(SET), port),
        health,
        sync_event,
        base_path,
        allowed_origins: values.texts("server.allowedOrigins").unwrap_or_default(),
        admin_token: values.secret("server.adminToken"),
        trusted_proxies: values.networks("server.trustedProxies").unwrap_or_default(),
        client_header: values.text("server.clientHeader").expect(SET),
        keep_alive: values.span("server.keepAlive").expect(SET),
        flush_interval: values.span("server.flushInterval").expect(SET),
        tls: tls(values),
        grace: values.span("server.grace").expect(SET),
        limits: limits(values),
    }
}

/// Checks an admin token that no client can send, and URLs that are known to be wrong.
fn check_roles(values: &mut Values) {
    if let Some(token) = values.secret("server.adminToken")
        && let Some(why) = super::impossible::bearer(token.expose())
    {
        values.complain("server.adminToken", why);
    }
    let api = values.text("github.apiUrl").expect(SET);
    let site = ["https://github.com", "http://github.com", "https://www.github.com"];
    if site.iter().any(|site| api == *site || api.starts_with(&format!("{site}/"))) {
        let message = format!("{api} is GitHub's web site; its API is https://api.github.com");
        values.complain("github.apiUrl", message);
    }
    for key in ["github.apiUrl", "github.graphqlUrl"] {
        if values.text(key).is_some_and(|url| url.contains('?')) {
            values.complain(key, "holds a `?`: write the URL without a query");
        }
    }
}

fn base_path(values: &mut Values) -> Option<String> {
    let base = values.text("server.basePath").filter(|path| path != "/")?;
    let below = |path: &&&str| {
        path.strip_prefix(&base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(path) = TAKEN.iter().find(below) {
        let message = format!("{base} stands for the endpoint {path} already; use another");
        values.complain("server.basePath", message);
    }
    Some(base)
}

/// A path that is served with and without the prefix, however it was written.
fn route(values: &mut Values, key: &str, base: Option<&str>) -> String {
    let path = values.text(key).expect(SET);
    let below = base.and_then(|base| path.strip_prefix(base)).filter(|rest| rest.starts_with('/'));
    let path = below.map_or(path.clone(), str::to_owned);
    if TAKEN.contains(&path.as_str()) || FOLDERS.iter().any(|folder| path.starts_with(folder)) {
        values.complain(key, format!("{path} is the path of another endpoint; use another"));
    }
    path
}

fn tls(values: &mut Values) -> Option<TlsConfig> {
    match (values.path("server.tls.cert"), values.path("server.tls.key")) {
        (Some(cert), Some(key)) => Some(TlsConfig { cert, key }),
        (Some(_), None) => {
            values.need("server.tls.key", "missing: server.tls.cert needs its private key");
            None
        }
        (None, Some(_)) => {
            values.need("server.tls.cert", "missing: server.tls.key needs its certificate");
            None
        }
        (None, None) => None,
    }
}

fn limits(values: &Values) -> ServerLimits {
    let whole = |name: &str| values.whole(&format!("server.limits.{name}")).expect(SET);
    let span = |name: &str| values.span(&format!("server.limits.{name}")).expect(SET);
    ServerLimits {
        connections: narrow(whole("connections")),
        per_address: narrow(whole("perAddress")),
        lag: whole("lag"),
        message_bytes: narrow(whole("messageBytes")),
        params_per_minute: narrow(whole("paramsPerMinute")),
        handshake_timeout: span("handshakeTimeout"),
        write_timeout: span("writeTimeout"),
        filter_paths: narrow(whole("filterPaths")),
        patterns: narrow(whole("patterns")),
    }
}

fn github(values: &Values) -> GitHubConfig {
    let api_url = values.text("github.apiUrl").expect(SET);
    GitHubConfig {
        graphql_url: values.text("github.graphqlUrl").unwrap_or_else(|| graphql_of(&api_url)),
        api_url,
        tokens: values.secrets("github.tokens").unwrap_or_default(),
        tokens_file: values.path("github.tokensFile"),
        timeout: values.span("github.loop.timeout").expect(SET),
        pace: values.span("github.loop.break").expect(SET).max(Duration::from_millis(1)),
        pages: narrow(values.whole("github.pages").expect(SET)),
        enrich: EnrichConfig {
            enabled: values.switch("github.enrich.enabled").expect(SET),
            deadline: values.span("github.enrich.deadline").expect(SET),
            batch: narrow(values.whole("github.enrich.batch").expect(SET)),
            budget: values.share("github.enrich.budget").expect(SET),
        },
    }
}

/// GitHub Enterprise has REST under `/api/v3` and GraphQL under `/api`.
fn graphql_of(api_url: &str) -> String {
    format!("{}/graphql", api_url.strip_suffix("/v3").unwrap_or(api_url))
}

fn interval(values: &mut Values) -> IntervalConfig {
    let during = values.span("interval.latestDuring").expect(SET);
    if during.subsec_nanos() > 0 {
        values.complain("interval.latestDuring", "not whole seconds; use 3600 or 1h");
    }
    let daily = values.span("interval.daily").expect(SET);
    IntervalConfig {
        daily,
        day_count: values.span("interval.dayCount").unwrap_or(daily),
        year_count: values.span("interval.yearCount").unwrap_or(daily),
        retry: narrow(values.whole("interval.retry").expect(SET).max(1)),
        retry_wait: values.span("interval.retryWait").expect(SET),
        latest: values.span("interval.latest").expect(SET),
        latest_during: narrow(during.as_secs()),
    }
}
