//! The parts that are there only when the user has them: Pulsar, TiDB, RabbitMQ, alerts, backups.
//!
//! Each is `None` until the key that addresses it is written. A key beside a missing address can do
//! nothing and is refused, unless the address is written too and left empty: so a config file that
//! spells every default out joins nothing and loads.

use std::net::IpAddr;

use super::check::{SET, Values, narrow};
use super::impossible;
use super::typed::{
    AlertFormat, AlertsConfig, AmqpConfig, BackupConfig, Compression, OAuthConfig, PulsarConfig,
    TidbConfig,
};

pub(super) fn pulsar(values: &mut Values) -> Option<PulsarConfig> {
    let env = values.text("pulsar.env");
    let dev_host = values.text("pulsar.devHost");
    let host = values.text("pulsar.host");
    let (audience, key_file) = (values.text("pulsar.audience"), values.path("pulsar.keypath"));
    let producer_topic = values.text("pulsar.producer.topic");
    let consumer_topic = values.text("pulsar.consumer.topic");
    let ca = values.path("pulsar.ca");
    let compression = compression(&values.text("pulsar.compression").expect(SET));
    let consumer_name = values.text("pulsar.consumer.name").expect(SET);
    let topics = [&producer_topic, &consumer_topic];
    let asked = dev_host.is_some() || host.is_some() || topics.iter().any(|topic| topic.is_some());
    if !asked && env.is_none() {
        let login = ["pulsar.audience", "pulsar.keypath", "pulsar.ca"];
        let addresses = ["pulsar.host", "pulsar.devHost", "pulsar.env"];
        let message = "missing: the other keys of pulsar need a broker, as pulsar+ssl://HOST:6651";
        values.need_address(&login, &addresses, message);
        return None;
    }
    let dev = env.as_deref() == Some("dev");
    let (key, url) = if dev { ("pulsar.devHost", dev_host) } else { ("pulsar.host", host) };
    if url.is_none() {
        let message = if dev {
            "missing: pulsar.env is dev, so name a broker as pulsar://localhost:6650 (without a \
             pulsar section the embedded log is used)"
        } else {
            "missing: pulsar.env is not dev, so name a broker as pulsar+ssl://HOST:6651, or set \
             pulsar.env: dev to use pulsar.devHost"
        };
        values.need(key, message);
    }
    if topics.iter().all(|topic| topic.is_none()) {
        values.need("pulsar.producer.topic", "missing: Pulsar needs a topic to carry the events");
    }
    if let (Some(producer), Some(consumer)) = (&producer_topic, &consumer_topic)
        && producer != consumer
    {
        let message = format!(
            "{consumer} is another topic than pulsar.producer.topic ({producer}): this node will \
             not see what it produces unless something carries it over"
        );
        values.warn("pulsar.consumer.topic", message);
    }
    if ca.is_some() && url.as_ref().is_some_and(|url| url.starts_with("pulsar://")) {
        let message = format!("has no effect: {key} is pulsar://, without TLS; use pulsar+ssl://");
        values.warn("pulsar.ca", message);
    }
    let oauth = if dev { None } else { oauth(values, audience, key_file) };
    if !dev && url.is_some() && oauth.is_none() {
        let message = "no credentials (pulsar.audience and pulsar.keypath): it connects without a \
                       login, which only a broker without authentication accepts";
        values.warn("pulsar.host", message);
    }
    let producer_topic = producer_topic.or_else(|| consumer_topic.clone())?;
    let consumer_topic = consumer_topic.unwrap_or_else(|| producer_topic.clone());
    let url = url?;
    Some(PulsarConfig {
        url,
        oauth,
        ca,
        compression,
        producer_topic,
        consumer_topic,
        consumer_name,
    })
}

fn oauth(
    values: &mut Values,
    audience: Option<String>,
    key_file: Option<std::path::PathBuf>,
) -> Option<OAuthConfig> {
    match (audience, key_file) {
        (Some(audience), Some(key_file)) => Some(OAuthConfig { audience, key_file }),
        (Some(_), None) => {
            values.need("pulsar.keypath", "missing: pulsar.audience needs the key file beside it");
            None
        }
        (None, Some(_)) => {
            values.need("pulsar.audience", "missing: pulsar.keypath needs the audience beside it");
            None
        }
        (None, None) => None,
    }
}

fn compression(word: &str) -> Compression {
    match word {
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        "zlib" => Compression::Zlib,
        _ => Compression::None,
    }
}

pub(super) fn tidb(values: &mut Values) -> Option<TidbConfig> {
    let host = values.text("tidb.host");
    let port = narrow(values.whole("tidb.port").expect(SET));
    let user = values.text("tidb.user").expect(SET);
    let password = values.secret("tidb.password");
    let db = values.text("tidb.db");
    let tls = values.text("tidb.tls").expect(SET);
    let ca = values.path("tidb.ca");
    let timeout = values.span("tidb.timeout").expect(SET);
    let events_daily = values.text("tidb.sql.eventsDaily").expect(SET);
    let yearly = values.text("tidb.sql.yearly").expect(SET);
    let repo_languages = values.text("tidb.sql.repoLanguages");
    let Some(host) = host else {
        if password.is_some() || db.is_some() {
            values.need("tidb.host", "missing: the other keys of tidb need a host");
        } else {
            let message = "missing: the other keys of tidb need a host";
            values.need_address(&["tidb."], &["tidb.host"], message);
        }
        return None;
    };
    if let Some(why) = impossible::host(&host) {
        values.complain("tidb.host", why);
    }
    if port == 0 {
        values.complain("tidb.port", "0 is no port to connect to; TiDB's own is 4000");
    }
    let Some(db) = db else {
        values.need("tidb.db", "missing: the database that holds the table github_events");
        return None;
    };
    let tls = match tls.as_str() {
        "on" => true,
        "off" => false,
        _ => !is_loopback(&host),
    };
    if ca.is_some() && !tls {
        values.warn("tidb.ca", "has no effect: the connection is without TLS; set tidb.tls: on");
    }
    Some(TidbConfig {
        host,
        port,
        user,
        password,
        db,
        tls,
        ca,
        timeout,
        events_daily,
        yearly,
        repo_languages,
    })
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn amqp(values: &mut Values) -> Option<AmqpConfig> {
    let exchange = values.text("amqp.exchange").expect(SET);
    let ca = values.path("amqp.ca");
    let source = values.text("amqp.source").filter(|source| *source != exchange);
    let Some(url) = values.secret("amqp.url") else {
        let message =
            "missing: the other keys of amqp need a broker, as amqp://USER:PASSWORD@HOST/";
        values.need_address(&["amqp."], &["amqp.url"], message);
        return None;
    };
    if ca.is_some() && url.expose().starts_with("amqp://") {
        values.warn("amqp.ca", "has no effect: amqp.url is amqp://, without TLS; use amqps://");
    }
    Some(AmqpConfig { url, exchange, source, ca })
}

pub(super) fn alerts(values: &mut Values) -> Option<AlertsConfig> {
    let ours = values.secret("alerts.webhook");
    let lark = values.secret("lark.webhook");
    let sign_key = values.secret("lark.signKey");
    let format = values.text("alerts.format").expect(SET);
    let tolerance = values.whole("alerts.tolerance").expect(SET);
    let pause = values.span("alerts.pause").expect(SET);
    let lark_tolerance = values.whole("lark.errorTolerance");
    let lark_pause = values.span("lark.minimumBreak");
    let within = values.span("lark.errorToleranceBreak").expect(SET);
    if ours.is_some() && lark.is_some() {
        values.warn("lark.webhook", "not used: alerts.webhook is set too, and one is told");
    }
    let from_lark = ours.is_none();
    let format = match format.as_str() {
        _ if from_lark => AlertFormat::Lark,
        "lark" => AlertFormat::Lark,
        "slack" => AlertFormat::Slack,
        _ => AlertFormat::Json,
    };
    // What is written under `alerts` goes before the peer's spelling of it.
    let tolerance = match lark_tolerance {
        Some(found) if !values.is_given("alerts.tolerance") => found,
        _ => tolerance,
    };
    let pause = match lark_pause {
        Some(found) if !values.is_given("alerts.pause") => found,
        _ => pause,
    };
    let Some(webhook) = ours.or(lark) else {
        let addresses = ["alerts.webhook", "lark.webhook"];
        values.need_address(&["alerts.", "lark."], &addresses, "missing: where alerts are posted");
        return None;
    };
    if sign_key.is_some() && format != AlertFormat::Lark {
        values.warn("lark.signKey", "not used: only alerts of format lark are signed");
    }
    Some(AlertsConfig { webhook, format, sign_key, tolerance: narrow(tolerance), within, pause })
}

pub(super) fn backup(values: &mut Values) -> Option<BackupConfig> {
    let every = values.span("backup.every").expect(SET);
    let keep = narrow(values.whole("backup.keep").expect(SET));
    let Some(dir) = values.path("backup.dir") else {
        let message = "missing: backups need a directory; without one none is made";
        values.need_address(&["backup."], &["backup.dir"], message);
        return None;
    };
    Some(BackupConfig { dir, every, keep })
}
