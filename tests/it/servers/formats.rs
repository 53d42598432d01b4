//! The peer on the same topic: we consume its messages, it can read ours, and unreadable messages
//! go to the dead-letter queue.

use futures_util::StreamExt as _;
use ghpulse::model::window::{Day, Timestamp};
use ghpulse::store::keys::{DeadKey, Scope, SizeKey};
use ghpulse::store::rows::decode_rejected;
use pulsar::compression::{Compression, CompressionLz4, CompressionZlib, CompressionZstd};
use pulsar::consumer::InitialPosition;
use pulsar::{Consumer, ConsumerOptions, ProducerOptions, Pulsar, SubType, TokioExecutor};
use serde::Deserialize;
use tempfile::tempdir;

use super::broker::shared;
use super::flow::{assert_same, is_acknowledged};
use super::node::{Node, pull_request, pull_requests};

/// What the peer reads of a message, with the peer's own types, where a number is a number.
#[derive(Debug, Deserialize)]
struct PeerMessage {
    event: PeerEvent,
    payload: PeerPayload,
}

#[derive(Debug, Deserialize)]
struct PeerEvent {
    id: String,
    r#type: String,
    public: bool,
    payload: serde_json::Value,
    repo: PeerNamed,
    created_at: String,
}

#[derive(Debug, Deserialize)]
struct PeerNamed {
    id: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PeerPayload {
    pr: i64,
    open: i64,
    merge: i64,
    close: i64,
    dev_day: i64,
    dev_year: i64,
}

/// Produces as the peer does: shared access, without a key or properties.
pub(crate) async fn produce(url: &str, topic: &str, bodies: Vec<Vec<u8>>) {
    let client: Pulsar<_> = Pulsar::builder(url, TokioExecutor).build().await.unwrap();
    let mut producer = client.producer().with_topic(topic).build().await.unwrap();
    for body in bodies {
        producer.send_non_blocking(body).await.unwrap().await.unwrap();
    }
    producer.close().await.unwrap();
}

/// Produces one message, compressed by its producer.
async fn produce_packed(url: &str, topic: &str, body: Vec<u8>, compression: Compression) {
    let client: Pulsar<_> = Pulsar::builder(url, TokioExecutor).build().await.unwrap();
    let options = ProducerOptions { compression: Some(compression), ..ProducerOptions::default() };
    let producer = client.producer().with_topic(topic).with_options(options).build();
    let mut producer = producer.await.unwrap();
    producer.send_non_blocking(body).await.unwrap().await.unwrap();
    producer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_unpack_to_too_much_are_dead_letters() {
    const BOMB: usize = 100 << 20;
    let topic = "bombs";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let good = |id| peers(&pull_request(id, id, id, "opened", false), "{}");
    let (url, zlib, zstd, lz4) = (
        &options.url,
        || Compression::Zlib(CompressionZlib::default()),
        || Compression::Zstd(CompressionZstd::default()),
        || Compression::Lz4(CompressionLz4::default()),
    );
    produce_packed(url, topic, good(1), zlib()).await;
    for packing in [zlib(), zstd(), lz4()] {
        produce_packed(url, topic, vec![0; BOMB], packing).await;
    }
    produce_packed(url, topic, good(2), zstd()).await;
    produce_packed(url, topic, good(3), lz4()).await;
    let dir = tempdir().unwrap();
    let edge = Node::edge(&dir, &options).await;
    assert_eq!(edge.holds(3).await.len(), 3);
    is_acknowledged(pulsar.broker, topic, &edge).await;
    let mut reasons = Vec::new();
    let read = |_: DeadKey, value: &[u8]| {
        reasons.push(decode_rejected(value).unwrap().reason);
        Ok(true)
    };
    edge.store.reader().scan(&DeadKey(0), read).unwrap();
    assert_eq!(reasons.len(), 3);
    for reason in reasons {
        assert!(reason.contains("decompresses to"), "{reason}");
    }
    edge.end().await;
}

pub(crate) fn peers(event: &str, payload: &str) -> Vec<u8> {
    format!(r#"{{"event":{event},"payload":{payload}}}"#).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_the_peer_are_counted_alike_on_every_node() {
    let topic = "of-the-peer";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let events = [
        pull_request(1, 10, 5, "opened", false),
        pull_request(2, 10, 5, "closed", true),
        pull_request(3, 11, 6, "closed", false),
        // The peer received this event twice.
        pull_request(3, 11, 6, "closed", false),
        r#"{"id":"4","type":"WatchEvent","created_at":"2026-03-01T10:00:00Z"}"#.to_owned(),
    ];
    // Its own flags of first occurrences are ignored: its counters report them too rarely.
    let payloads = ["{}", r#"{"pr":1,"merge":1,"devDay":1}"#, r#"{"pr":1}"#, "{}", "{}"];
    let bodies = events.iter().zip(payloads).map(|(event, payload)| peers(event, payload));
    produce(&options.url, topic, bodies.collect()).await;
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let nodes = [Node::edge(&dirs[0], &options).await, Node::collector(&dirs[1], &options).await];
    let rows = nodes[0].holds(4).await;
    assert_same(&rows, &nodes[1].holds(4).await);
    let flags: Vec<_> = rows.iter().map(|row| row.1.flags.named().map(|(_, set)| set)).collect();
    let (t, f) = (true, false);
    assert_eq!(
        flags,
        [[t, t, f, f, t, t, t], [t, f, t, f, f, f, f], [t, f, f, t, t, t, t], [f; 7]],
        "pr, open, merge, close, devDay, devYear, repoYear"
    );
    assert_eq!(rows[1].1.language.as_deref(), Some("Rust"));
    assert!(rows[0].1.received_at > Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let day = Day::parse("2026-03-01").unwrap().0;
    for node in nodes {
        assert_eq!(node.count(&SizeKey { scope: Scope::DeveloperDay, period: day }), 2);
        is_acknowledged(pulsar.broker, topic, &node).await;
        // Events received over the topic are duplicates in a collector's own polls.
        assert_eq!(node.admit(&events[..2]).await.known, 2);
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_messages_are_read_by_the_peer() {
    let topic = "for-the-peer";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dir = tempdir().unwrap();
    let collector = Node::collector(&dir, &options).await;
    collector.admit(&pull_requests(1, 30)).await;
    collector.holds(30).await;
    let client: Pulsar<_> = Pulsar::builder(&options.url, TokioExecutor).build().await.unwrap();
    let mut consumer: Consumer<Vec<u8>, _> = client
        .consumer()
        .with_topic(topic)
        .with_subscription("events-consumer")
        .with_subscription_type(SubType::Shared)
        .with_options(ConsumerOptions::default().with_initial_position(InitialPosition::Earliest))
        .build()
        .await
        .unwrap();
    for n in 1..=30 {
        let message = consumer.next().await.unwrap().unwrap();
        let read: PeerMessage = serde_json::from_slice(&message.payload.data).unwrap();
        assert_eq!(read.event.id, n.to_string());
        assert_eq!(read.event.r#type, "PullRequestEvent");
        assert!(read.event.public && read.event.created_at.ends_with('Z'));
        assert_eq!(read.event.payload["pull_request"]["additions"], n);
        let PeerPayload { pr, open, merge, close, dev_day, dev_year } = read.payload;
        assert_eq!([pr, open, merge, close, dev_day, dev_year], [1, 1, 0, 0, 1, 1]);
        assert_eq!(message.key(), Some(read.event.repo.id.to_string()));
        let properties = &message.metadata().properties;
        let property = |name| properties.iter().find(|p| p.key == name).map(|p| p.value.as_str());
        assert_eq!(property("key"), Some("evt.pullrequest.insert"));
        assert_eq!(property("schema"), Some("1"));
        assert!(property("received").unwrap().parse::<i64>().unwrap() > 1_700_000_000_000_000);
        consumer.ack(&message).await.unwrap();
    }
    collector.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_message_becomes_a_dead_letter() {
    let topic = "poisoned";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let good = |id| peers(&pull_request(id, id, id, "opened", false), "{}");
    let bodies = vec![
        good(1),
        b"\xff\xfe".to_vec(),
        b"hello".to_vec(),
        good(2),
        br#"{"payload":{}}"#.to_vec(),
        peers("[]", "{}"),
        good(3),
        b"".to_vec(),
        [good(5), b"garbage".to_vec()].concat(),
    ];
    produce(&options.url, topic, bodies).await;
    let dir = tempdir().unwrap();
    let edge = Node::edge(&dir, &options).await;
    assert_eq!(edge.holds(3).await.len(), 3);
    is_acknowledged(pulsar.broker, topic, &edge).await;
    let mut dead = Vec::new();
    let read = |key: DeadKey, value: &[u8]| {
        let refused = decode_rejected(value).unwrap();
        dead.push((key.0, refused.reason, refused.text));
        Ok(true)
    };
    edge.store.reader().scan(&DeadKey(0), read).unwrap();
    let words = ["not UTF-8", "one JSON", "no member `event`", "not a JSON object"];
    let words = [&words[..], &["not exactly one JSON object"; 2]].concat();
    assert_eq!(dead.len(), words.len(), "{dead:?}");
    for (row, word) in dead.iter().zip(&words) {
        assert!(row.1.contains(word) && row.1.contains(", at "), "{row:?}");
    }
    assert_eq!(dead[1].2, b"hello");
    edge.end().await;
    // They are not delivered again.
    let edge = Node::edge(&dir, &options).await;
    produce(&options.url, topic, vec![good(4)]).await;
    edge.holds(4).await;
    let mut count = 0;
    let read = |_: DeadKey, _: &[u8]| {
        count += 1;
        Ok(true)
    };
    edge.store.reader().scan(&DeadKey(0), read).unwrap();
    assert_eq!(count, words.len());
    edge.end().await;
}
