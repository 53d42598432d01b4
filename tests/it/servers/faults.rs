//! Tests with a faulty broker: killed, paused, its topic unloaded or deleted, its data gone.

use ghpulse::bus::ProducerGrant;
use ghpulse::config::PulsarConfig;
use tempfile::{TempDir, tempdir};

use super::broker::{Alone, alone};
use super::flow::{assert_same, is_acknowledged};
use super::node::{Node, pull_requests};

/// A collector and an edge on a broker that no other test uses.
struct Two {
    pulsar: Alone,
    topic: &'static str,
    collector: Node,
    edge: Node,
    events: Vec<String>,
    _dirs: [TempDir; 2],
}

impl Two {
    async fn on(topic: &'static str) -> Option<Self> {
        let pulsar = alone(topic).await?;
        let options = pulsar.broker.options(topic);
        let dirs = [tempdir().unwrap(), tempdir().unwrap()];
        let mut collector = Node::collector(&dirs[0], &options).await;
        let mut edge = Node::edge(&dirs[1], &options).await;
        collector.is(ProducerGrant::Granted).await;
        collector.is_connected(true).await;
        edge.is_connected(true).await;
        let events = pull_requests(1, 1_200);
        Some(Self { pulsar, topic, collector, edge, events, _dirs: dirs })
    }

    async fn admit(&self, range: std::ops::Range<usize>) {
        for page in self.events[range].chunks(50) {
            self.collector.admit(page).await;
        }
    }

    /// Both have applied all admitted events, once each, in the same order.
    async fn assert_whole(self) {
        let here = self.collector.holds(1_200).await;
        let there = self.edge.holds(1_200).await;
        assert_eq!((here.len(), there.len()), (1_200, 1_200));
        assert_same(&here, &there);
        self.collector.is_relayed().await;
        is_acknowledged(self.pulsar.broker, self.topic, &self.edge).await;
        self.collector.end().await;
        self.edge.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_broker_loses_and_doubles_nothing() {
    let Some(mut two) = Two::on("killed").await else { return };
    two.admit(0..200).await;
    // If the broker were killed with an empty ledger, its storage could not always reopen it
    // ("digest mismatch" of entry -1).
    two.edge.holds(1).await;
    two.admit(200..400).await;
    // Somewhere in the middle of these events.
    two.pulsar.broker.kill();
    two.admit(400..800).await;
    two.edge.is_in_trouble(&two.pulsar.broker.url()).await;
    two.pulsar.broker.start();
    two.pulsar.broker.ready().await;
    two.admit(800..1_200).await;
    two.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_takes_over_from_a_holder_that_died_with_the_broker() {
    let Some(two) = Two::on("died-together").await else { return };
    let dir = tempdir().unwrap();
    let mut standby = Node::collector(&dir, &two.pulsar.broker.options(two.topic)).await;
    standby.is(ProducerGrant::Standby).await;
    two.admit(0..400).await;
    standby.holds(400).await;
    two.pulsar.broker.kill();
    standby.is_connected(false).await;
    two.collector.abort().await;
    two.pulsar.broker.start();
    two.pulsar.broker.ready().await;
    standby.is(ProducerGrant::Granted).await;
    standby.end().await;
    two.edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_paused_is_noticed_and_waited_for() {
    let Some(mut two) = Two::on("paused").await else { return };
    two.admit(0..400).await;
    two.edge.holds(400).await;
    two.pulsar.broker.pause();
    two.admit(400..800).await;
    // Connections stay open and receive no response: only a request detects it.
    two.edge.is_connected(false).await;
    two.pulsar.broker.resume();
    two.admit(800..1_200).await;
    two.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeatedly_unloaded_topic_continues() {
    let Some(two) = Two::on("unloaded").await else { return };
    for part in 0..6 {
        two.admit(part * 200..(part + 1) * 200).await;
        two.pulsar.broker.to_topic("PUT", two.topic, "/unload", "").await;
    }
    two.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_topic_continues_after_its_last_position() {
    let Some(two) = Two::on("deleted").await else { return };
    two.admit(0..400).await;
    two.edge.holds(400).await;
    two.collector.holds(400).await;
    two.collector.is_relayed().await;
    two.pulsar.broker.to_topic("DELETE", two.topic, "?force=true", "").await;
    two.admit(400..1_200).await;
    two.assert_whole().await;
}

/// A topic with entries that an edge has applied, on a broker that then loses all of it; the topic
/// that replaces it is shorter, and has an older ledger.
async fn forgotten(topic: &str) -> Option<(Alone, PulsarConfig, TempDir, Node)> {
    let pulsar = alone(topic).await?;
    for n in 0..10 {
        // Each topic has a ledger, with ascending numbers.
        pulsar.broker.to_topic("PUT", &format!("before-{topic}-{n}"), "", "").await;
    }
    let options = pulsar.broker.options(topic);
    let [theirs, dir] = [tempdir().unwrap(), tempdir().unwrap()];
    let collector = Node::collector(&theirs, &options).await;
    let edge = Node::edge(&dir, &options).await;
    for page in pull_requests(1, 200).chunks(50) {
        collector.admit(page).await;
        // One entry each.
        collector.is_relayed().await;
    }
    edge.holds(200).await;
    collector.end().await;
    Some((pulsar, options, dir, edge))
}

/// Another collector, on a new topic.
async fn after_all(dir: &TempDir, options: &PulsarConfig) -> Node {
    let new = Node::collector(dir, options).await;
    new.admit(&pull_requests(1_000, 1)).await;
    new.holds(1).await;
    new
}

fn assert_anew(why: &str) {
    assert!(why.contains("it was created again under the same name"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_without_data_is_recognized() {
    let Some((pulsar, options, dir, edge)) = forgotten("forgotten").await else { return };
    edge.end().await;
    pulsar.broker.kill();
    pulsar.broker.forget();
    pulsar.broker.start();
    pulsar.broker.ready().await;
    let other = tempdir().unwrap();
    let new = after_all(&other, &options).await;
    let edge = Node::edge(&dir, &options).await;
    assert_anew(&edge.failure().await);
    new.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topic_without_data_is_recognized_before_new_events() {
    let Some((pulsar, options, _dir, mut edge)) = forgotten("forgotten-first").await else {
        return;
    };
    pulsar.broker.kill();
    edge.is_connected(false).await;
    pulsar.broker.forget();
    pulsar.broker.start();
    pulsar.broker.ready().await;
    // The edge is healthy: nothing shows yet that the empty topic is a different one.
    edge.is_connected(true).await;
    let other = tempdir().unwrap();
    let new = after_all(&other, &options).await;
    assert_anew(&edge.failure().await);
    new.end().await;
}
