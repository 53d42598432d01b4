//! The optional parts: a GitHub App, Pulsar, TiDB, RabbitMQ, alerts, backups.
//!
//! Each is `None` until the key with its address is written. A key without the address has no
//! effect and is refused, unless the address is written too and left empty: so a config file that
//! spells out every default connects to nothing, and loads.

use std::net::IpAddr;

use super::impossible;
use super::sections::{AlertsKeys, AmqpKeys, BackupKeys, GitHubAppKeys, PulsarKeys, TidbKeys};
use super::typed::{
    AlertFormat, AlertsConfig, AmqpConfig, BackupConfig, GitHubAppConfig, OAuthConfig,
    PulsarConfig, TidbConfig,
};
use super::values::{ReadSection, Values};

impl ReadSection for Option<GitHubAppConfig> {
    fn read(values: &mut Values) -> Self {
        let GitHubAppKeys { id, key_file } = GitHubAppKeys::read(values);
        let id = ("github.app.id", id, "the app's id");
        let key_file = ("github.app.keyFile", key_file, "the app's private key");
        let (id, key_file) = values.both(id, key_file)?;
        if let Some(why) = impossible::app_id(&id) {
            values.report("github.app.id", why);
        }
        Some(GitHubAppConfig { id, key_file })
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
        let oauth = if is_dev {
            None
        } else {
            let audience = ("pulsar.audience", keys.audience, "an audience");
            let login = values.both(audience, ("pulsar.keypath", keys.key_file, "a key file"));
            login.map(|(audience, key_file)| OAuthConfig { audience, key_file })
        };
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
        let keys = TidbKeys::read(values);
        let Some(host) = keys.host else {
            let message = "missing: the other tidb keys need a host";
            if keys.password.is_some() || keys.db.is_some() {
                values.need("tidb.host", message);
            } else {
                values.need_address(&["tidb."], &["tidb.host"], message);
            }
            return None;
        };
        if let Some(why) = impossible::host(&host) {
            values.report("tidb.host", why);
        }
        if keys.port == 0 {
            values.report("tidb.port", "0 is not a port to connect to; TiDB's default is 4000");
        }
        let Some(db) = keys.db else {
            values.need("tidb.db", "missing: the database that holds the table github_events");
            return None;
        };
        let tls = match keys.tls.as_str() {
            "on" => true,
            "off" => false,
            _ => !is_loopback(&host),
        };
        if keys.ca.is_some() && !tls {
            let message = "has no effect without TLS; set tidb.tls: on";
            values.warn("tidb.ca", message);
        }
        let TidbKeys { port, user, password, ca, timeout, .. } = keys;
        let (events_daily, yearly) = (keys.events_daily, keys.yearly);
        let (repo_languages, repo_days) = (keys.repo_languages, keys.repo_days);
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
            repo_days,
        })
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
        let keys = AlertsKeys::read(values);
        if keys.webhook.is_some() && keys.lark_webhook.is_some() {
            let message = "not used: alerts.webhook is set too, and only one receives alerts";
            values.warn("lark.webhook", message);
        }
        let format = if keys.webhook.is_none() { AlertFormat::Lark } else { keys.format };
        // The `alerts` section takes precedence over the peer's keys.
        let tolerance = match keys.lark_tolerance {
            Some(found) if !values.is_given("alerts.tolerance") => found,
            _ => keys.tolerance,
        };
        let pause = match keys.lark_pause {
            Some(found) if !values.is_given("alerts.pause") => found,
            _ => keys.pause,
        };
        let Some(webhook) = keys.webhook.or(keys.lark_webhook) else {
            let addresses = ["alerts.webhook", "lark.webhook"];
            let message = "missing: where alerts are posted";
            values.need_address(&["alerts.", "lark."], &addresses, message);
            return None;
        };
        if keys.sign_key.is_some() && format != AlertFormat::Lark {
            values.warn("lark.signKey", "not used: only alerts of format lark are signed");
        }
        let (sign_key, within) = (keys.sign_key, keys.within);
        Some(AlertsConfig { webhook, format, sign_key, tolerance, within, pause })
    }
}

impl ReadSection for Option<BackupConfig> {
    fn read(values: &mut Values) -> Self {
        let BackupKeys { dir, every, keep } = BackupKeys::read(values);
        let Some(dir) = dir else {
            let message = "missing: without a directory no backups are made";
            values.need_address(&["backup."], &["backup.dir"], message);
            return None;
        };
        Some(BackupConfig { dir, every, keep })
    }
}
