//! What the broker's users can do to each other and to the feed: delete the exchange, miss a right,
//! or set a limit that an event exceeds.

use std::collections::BTreeSet;

use ghpulse::amqp::{ReaderWarningKind, probe};
use ghpulse::clock::Clock;
use ghpulse::config::Secret;

use super::broker::{Broker, Reader, broker, configured};
use super::node::{Node, large_push, push};

/// The result of one attempt to delete an exchange.
async fn delete(broker: &Broker, user: &str, exchange: &str) -> String {
    let port = broker.port();
    let args = ["tried.py", &port, user, user, "delete", exchange];
    Reader::new("/usr/bin/python3", &args).line().await
}

async fn read(reader: &mut Reader, from: usize, until: usize) {
    for _ in from..until {
        reader.message().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_exchange_is_reported_to_the_operator() {
    let Some(broker) = broker("removed_exchange_is_reported").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &broker.options("ght-streams"));
    node.is_connected(true).await;
    let mut reader = broker.reader("pika_queue", &["#"]).await;
    node.admit(&[push(1)]).await;
    read(&mut reader, 0, 1).await;

    // No event is published now: a periodic check detects the missing exchange.
    assert_eq!(delete(&broker, "streamer", "ght-streams").await, "done");
    let said = node.has_noticed(ReaderWarningKind::Removed).await;
    assert!(said.contains("`ght-streams` was removed") && said.contains("bind again"), "{said}");
    node.is_connected(true).await;
    let mut reader = broker.reader("second_queue", &["#"]).await;
    node.admit(&[push(2)]).await;
    read(&mut reader, 0, 1).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_protected_source_outlive_the_public_exchange() {
    let Some(broker) = broker("readers_of_a_protected_source").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut options = broker.options("ght-streams");
    options.source = Some("ghpulse".to_owned());
    let mut node = Node::start(dir.path(), &options);
    node.is_connected(true).await;
    let port = broker.port();
    let args = ["reader.py", &port, "ghpulse", "ghpulse", "pika_queue", "1", "--at=ghpulse", "#"];
    let mut protected = Reader::new("/usr/bin/python3", &args);
    assert_eq!(protected.line().await, "\"bound\"");
    let mut public = broker.reader("other_queue", &["#"]).await;
    node.admit(&[push(1)]).await;
    read(&mut protected, 0, 1).await;
    read(&mut public, 0, 1).await;

    assert_eq!(delete(&broker, "streamer", "ghpulse").await, "403", "not to be removed");
    assert_eq!(delete(&broker, "streamer", "ght-streams").await, "done");
    node.has_noticed(ReaderWarningKind::Removed).await;
    node.is_connected(true).await;
    let mut public = broker.reader("third_queue", &["#"]).await;
    node.admit(&[push(2)]).await;
    read(&mut protected, 1, 2).await;
    read(&mut public, 0, 1).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_message_is_set_aside_and_the_rest_is_published() {
    let lines = "max_message_size = 12000\n";
    let Some(broker) = configured("refused_message_is_set_aside", lines).await else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &broker.options("ght-streams"));
    node.is_connected(true).await;
    let mut reader = broker.reader("pika_queue", &["#"]).await;
    let mut events: Vec<String> = (0..40).map(push).collect();
    events.insert(30, large_push(98, 20_000));
    events.insert(10, large_push(99, 20_000));
    node.admit(&events).await;

    let mut seen = BTreeSet::new();
    while seen.len() < 40 {
        seen.insert(reader.message().await["id"].as_str().unwrap().to_owned());
    }
    node.has_fed_all().await;
    let said = node.has_noticed(ReaderWarningKind::Refused).await;
    assert!(said.contains("evt.push.insert") && said.contains("12000"), "{said}");
    let rejected = node.rejected().await;
    assert_eq!(rejected.len(), 2, "{rejected:?}");
    assert!(rejected.iter().all(|entry| entry.contains("RabbitMQ refused message")));
    // Later events are published normally again.
    node.admit(&(100..110).map(push).collect::<Vec<_>>()).await;
    while seen.len() < 50 {
        seen.insert(reader.message().await["id"].as_str().unwrap().to_owned());
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_right_to_write_is_named() {
    let Some(broker) = broker("missing_right_to_write").await else { return };
    broker.control(&["add_user", "silent", "silent"]).await;
    broker.control(&["set_permissions", "silent", ".*", "^$", ".*"]).await;
    let mut options = broker.options("ght-streams");
    options.url = Secret::new(format!("amqp://silent:silent@127.0.0.1:{}/", broker.port()));
    let said = probe(&options, Clock::system()).await.unwrap_err().to_string();
    assert!(said.contains("write permission") && said.contains("403"), "{said}");

    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &options);
    node.admit(&(0..50).map(push).collect::<Vec<_>>()).await;
    // Each attempt reports the broker's reason, never the state of a closed channel.
    for _ in 0..3 {
        node.is_in_trouble("write permission").await;
        node.is_connected(true).await;
    }
    node.end().await;
}
