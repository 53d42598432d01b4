//! The optional parts: a GitHub App, Pulsar, TiDB, RabbitMQ, alerts, backups.
//!
//! Each is `None` until the key with its address is written. A key without the address has no
//! effect and is refused, unless the address is written too and left empty: so a config file that
//! spells out every default connects to nothing, and loads.

use std::net::IpAddr;

use super::impossible;
use super::sections::{
    AlertsConfig, AmqpKeys, BackupConfig, GitHubAppConfig, PulsarKeys, TidbConfig,
};
use super::typed::{AlertFormat, AmqpConfig, OAuthConfig, PulsarConfig};
use super::value::ConfigValue;
use super::values::{ReadSection, Values};

impl ReadSection for Option<GitHubAppConfig> {
    fn read(values: &mut Values) -> Self {
        let id = ("github.app.id", "the app's id");
        if !values.both([id, ("github.app.keyFile", "the app's private key")]) {
            return None;
        }
        let app = GitHubAppConfig::read(values);
        if let Some(why) = impossible::app_id(&app.id) {
            values.report("github.app.id", why);
        }
        Some(app)
    }
}

impl ReadSection for Option<PulsarConfig> {
    fn read(values: &mut Values) -> Self {
        let keys = PulsarKeys::read(values);
        let PulsarKeys { env, host, dev_host, producer_topic, consumer_topic, ca, .. } = keys;
        let (compression, consumer_name) = (keys.compression, keys.consumer_name);
        let topics = [&producer_topic, &consumer_topic];
        let asked = dev_host.is_some() || host.is_some() || topics.iter().any(|it| it.is_some());
        if !asked && env.is_none() {
            let login = ["pulsar.audience", "pulsar.keypath", "pulsar.ca"];
            let addresses = ["pulsar.host", "pulsar.devHost", "pulsar.env"];
            let message =
                "missing: the other pulsar keys need a broker, such as pulsar+ssl://HOST:6651";
            values.need_address(&login, &addresses, message);
            return None;
        }
        let is_dev = env.as_deref() == Some("dev");
        let (key, url) = if is_dev { ("pulsar.devHost", dev_host) } else { ("pulsar.host", host) };
        check_pulsar(values, is_dev, (key, url.as_deref()), topics);
        if ca.is_some() && url.as_ref().is_some_and(|url| url.starts_with("pulsar://")) {
            let message =
                format!("has no effect: {key} is pulsar://, without TLS; use pulsar+ssl://");
            values.warn("pulsar.ca", message);
        }
        let login = [("pulsar.audience", "an audience"), ("pulsar.keypath", "a key file")];
        let oauth = (!is_dev && values.both(login)).then(|| OAuthConfig {
            audience: values.get("pulsar.audience"),
            key_file: values.get("pulsar.keypath"),
        });
        if !is_dev && url.is_some() && oauth.is_none() {
            let message = "no credentials (pulsar.audience and pulsar.keypath): ghpulse connects \
                           without a login, which only a broker without authentication accepts";
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
}

/// Reports a missing broker or topic, and warns of two different topics.
fn check_pulsar(
    values: &mut Values,
    is_dev: bool,
    (key, url): (&str, Option<&str>),
    topics: [&Option<String>; 2],
) {
    if url.is_none() {
        let message = if is_dev {
            "missing: pulsar.env is dev, so name a broker as pulsar://localhost:6650 (without a \
             pulsar section the embedded log is used)"
        } else {
            "missing: pulsar.env is not dev, so name a broker as pulsar+ssl://HOST:6651, or set \
             pulsar.env: dev to use pulsar.devHost"
        };
        values.need(key, message);
    }
    match topics {
        [None, None] => {
            let message = "missing: Pulsar needs a topic to carry the events";
            values.need("pulsar.producer.topic", message);
        }
        [Some(producer), Some(consumer)] if producer != consumer => {
            let message = format!(
                "{consumer} differs from pulsar.producer.topic ({producer}): this node does not \
                 receive the events it produces unless the broker forwards them"
            );
            values.warn("pulsar.consumer.topic", message);
        }
        _ => {}
    }
}

impl ReadSection for Option<TidbConfig> {
    fn read(values: &mut Values) -> Self {
        let Some(host) = values.get::<Option<String>>("tidb.host") else {
            let message = "missing: the other tidb keys need a host";
            if values.has("tidb.password") || values.has("tidb.db") {
                values.need("tidb.host", message);
            } else {
                values.need_address(&["tidb."], &["tidb.host"], message);
            }
            return None;
        };
        if let Some(why) = impossible::host(&host) {
            values.report("tidb.host", why);
        }
        if values.get::<u16>("tidb.port") == 0 {
            values.report("tidb.port", "0 is not a port to connect to; TiDB's default is 4000");
        }
        if !values.has("tidb.db") {
            values.need("tidb.db", "missing: the database that holds the table github_events");
            return None;
        }
        let tls = match values.get::<String>("tidb.tls").as_str() {
            "on" => true,
            "off" => false,
            _ => !is_loopback(&host),
        };
        values.set("tidb.tls", ConfigValue::Switch(tls));
        if values.has("tidb.ca") && !tls {
            let message = "has no effect without TLS; set tidb.tls: on";
            values.warn("tidb.ca", message);
        }
        Some(TidbConfig::read(values))
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl ReadSection for Option<AmqpConfig> {
    fn read(values: &mut Values) -> Self {
        let AmqpKeys { url, exchange, source, ca } = AmqpKeys::read(values);
        let Some(url) = url else {
            let message =
                "missing: the other amqp keys need a broker, such as amqp://USER:PASSWORD@HOST/";
            values.need_address(&["amqp."], &["amqp.url"], message);
            return None;
        };
        if ca.is_some() && url.expose().starts_with("amqp://") {
            let message = "has no effect: amqp.url is amqp://, without TLS; use amqps://";
            values.warn("amqp.ca", message);
        }
        let source = source.filter(|source| *source != exchange);
        Some(AmqpConfig { url, exchange, source, ca, node: values.get("node.name") })
    }
}

impl ReadSection for Option<AlertsConfig> {
    fn read(values: &mut Values) -> Self {
        let is_ours = values.has("alerts.webhook");
        let is_peers = values.has("lark.webhook");
        if is_ours && is_peers {
            let message = "not used: alerts.webhook is set too, and only one receives alerts";
            values.warn("lark.webhook", message);
        }
        if !is_ours && !is_peers {
            let addresses = ["alerts.webhook", "lark.webhook"];
            let message = "missing: where alerts are posted";
            values.need_address(&["alerts.", "lark."], &addresses, message);
            return None;
        }
        if !is_ours {
            values.set("alerts.format", ConfigValue::Text("lark".to_owned()));
        }
        values.follow("alerts.webhook", "lark.webhook");
        values.follow("alerts.tolerance", "lark.errorTolerance");
        values.follow("alerts.pause", "lark.minimumBreak");
        let alerts = AlertsConfig::read(values);
        if alerts.sign_key.is_some() && alerts.format != AlertFormat::Lark {
            values.warn("lark.signKey", "not used: only alerts of format lark are signed");
        }
        Some(alerts)
    }
}

impl ReadSection for Option<BackupConfig> {
    fn read(values: &mut Values) -> Self {
        if !values.has("backup.dir") {
            let message = "missing: without a directory no backups are made";
            values.need_address(&["backup."], &["backup.dir"], message);
            return None;
        }
        Some(BackupConfig::read(values))
    }
}
