//! A config file of the peer, as it is and as its page prints it.

use super::tests::{SECONDS, loaded, only, warnings};
use super::*;

/// The peer's example, with the lines of its Lua script moved left by `by` columns.
fn peers_file(by: usize) -> String {
    let mut lua = false;
    let moved = include_str!("peer_example.yaml").lines().map(|line| {
        lua = (lua && line != "pulsar:") || line.ends_with("mergeLatest: |");
        let script = lua && line.starts_with("            ");
        format!("{}\n", if script { &line[by..] } else { line })
    });
    moved.collect()
}

#[test]
fn a_config_of_the_peer_loads_unchanged() {
    let found = loaded(&peers_file(0));
    let said = warnings(&found, Severity::Warning);
    let about = |text: &str| said.iter().filter(|line| line.contains(text)).count();
    assert_eq!(about(": redis: "), 1, "{said:#?}");
    assert_eq!(about("scripts/merge_latest.rhai"), 1, "{said:#?}");
    assert_eq!(about(": risingwave: "), 1);
    assert_eq!(about(": server.port: browsers refuse"), 1);
    assert_eq!(about(": github.tokens: a placeholder"), 1);
    for key in ["host", "audience", "keypath", "producer.topic", "consumer.topic"] {
        assert_eq!(about(&format!(": pulsar.{key}: ")), 1, "{key} {said:#?}");
    }
    assert_eq!(said.len(), 9, "{said:#?}");
    assert_eq!(warnings(&found, Severity::Info).len(), 2);
    let config = found.config;
    assert!(config.github.tokens.is_empty() && config.log.format == LogFormat::Json);
    assert_eq!(config.log.level, "debug");
    assert_eq!(config.interval.year_count, SECONDS(60));
    let pulsar = config.pulsar.unwrap();
    assert_eq!((&*pulsar.url, &*pulsar.producer_topic), ("pulsar://localhost:6650", "XXXXX"));
    assert_eq!(pulsar.consumer_name, "events-consumer");
    let tidb = config.tidb.unwrap();
    assert_eq!((&*tidb.user, tidb.password, tidb.tls), ("root", None, false));
    assert!(tidb.events_daily.starts_with("SELECT event_day,\n    COUNT(DISTINCT actor_id)"));
}

#[test]
fn the_peers_unindented_script_is_answered_with_the_cure() {
    for by in [4, 8, 12] {
        let error = only(&peers_file(by));
        assert!(error.contains("delete the redis section"), "{error}");
        assert!(error.contains("scripts/merge_latest.rhai"), "{error}");
    }
    let one_line = peers_file(0).replace('\n', " ");
    assert!(only(&one_line.replace('#', "")).contains("line breaks"));
}
