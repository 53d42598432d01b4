//! Tests with a healthy broker.

use ghpulse::bus::pulsar::PulsarOutlet;
use ghpulse::bus::{Outlet as _, ProducerAccess, ProducerGrant};
use ghpulse::clock::Clock;
use ghpulse::config::{Compression, PulsarConfig};
use ghpulse::model::envelope::{Envelope, Facts};
use ghpulse::model::event::Event;
use ghpulse::model::event_summary::EventSummary;
use ghpulse::model::message::Outgoing;
use ghpulse::model::window::{Day, Year};
use ghpulse::store::keys::{Scope, SizeKey};
use tempfile::tempdir;

use super::broker::{Broker, shared};
use super::node::{Node, Row, pull_request, pull_requests, soon, until};
use crate::common::running::until_some;

/// Waits until the broker has a node's acknowledgement of every message.
pub(crate) async fn is_acknowledged(broker: &Broker, topic: &str, node: &Node) {
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(100));
    let acknowledged = async {
        while broker.backlog(topic, &node.subscription).await > 0 {
            looks.tick().await;
        }
    };
    // A message acknowledged while its topic moved is redelivered and acknowledged again.
    soon("all is acknowledged", acknowledged).await;
}

/// Panics unless both have the same events, facts and cursors, and each event once.
pub(crate) fn assert_same(one: &[Row], other: &[Row]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert_eq!(one, other);
    }
    let mut ids: Vec<_> = one.iter().map(|row| Event::read(&row.2).unwrap().key).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), one.len(), "an event was applied twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_the_same_cursors_on_every_node() {
    let topic = "everywhere";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap()];
    let mut collector = Node::collector(&dirs[0], &options).await;
    let edge = Node::edge(&dirs[1], &options).await;
    collector.is(ProducerGrant::Granted).await;
    let events = pull_requests(1, 1_500);
    for page in events.chunks(100) {
        // Each page is served twice, because GitHub's pages overlap.
        assert_eq!(collector.admit(page).await.new, page.len() as u64);
        assert_eq!(collector.admit(page).await.new, 0);
    }
    let here = collector.holds(1_500).await;
    assert_same(&here, &edge.holds(1_500).await);
    let texts: Vec<_> = here.iter().map(|row| row.2.clone()).collect();
    assert_eq!(texts, events, "in the order of admission, as GitHub sent them");
    let later = Node::edge(&dirs[2], &options).await;
    assert_same(&here, &later.holds(1_500).await);
    until("readers receive each", || (later.applied() == 1_500).then_some(())).await;
    collector.is_relayed().await;
    let day = Day::parse("2026-03-01").unwrap();
    for node in [&collector, &edge, &later] {
        is_acknowledged(pulsar.broker, topic, node).await;
        let size = |scope, period| node.count(&SizeKey { scope, period });
        assert_eq!(size(Scope::DeveloperDay, day.0), 1_500);
        assert_eq!(size(Scope::RepositoryYear, Year(2026).0), 7);
    }
    assert!(here.windows(2).all(|pair| pair[0].0 < pair[1].0), "cursors ascend");
    let firsts = here.iter().filter(|row| row.1.flags.repo_year).count();
    assert_eq!(firsts, 7);
    for node in [collector, edge, later] {
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarted_node_continues_at_its_cursor() {
    let topic = "again";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let events = pull_requests(1, 900);
    let mut collector = Node::collector(&dirs[0], &options).await;
    let mut edge = Node::edge(&dirs[1], &options).await;
    for (i, page) in events.chunks(100).enumerate() {
        collector.admit(page).await;
        if i % 3 == 1 {
            edge.abort().await;
            edge = Node::edge(&dirs[1], &options).await;
        } else if i % 3 == 2 {
            collector.abort().await;
            collector = Node::collector(&dirs[0], &options).await;
        }
    }
    let here = collector.holds(900).await;
    assert_same(&here, &edge.holds(900).await);
    collector.is_relayed().await;
    collector.end().await;
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_is_read() {
    let Some(pulsar) = shared("compression").await else { return };
    for (topic, compression) in [
        ("compressed-lz4", Compression::Lz4),
        ("compressed-zstd", Compression::Zstd),
        ("compressed-zlib", Compression::Zlib),
    ] {
        let options = PulsarConfig { compression, ..pulsar.broker.options(topic) };
        let dir = tempdir().unwrap();
        let node = Node::collector(&dir, &options).await;
        node.admit(&pull_requests(1, 60)).await;
        assert_eq!(node.holds(60).await.len(), 60);
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_message_is_applied_once() {
    let topic = "twice";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let mut outlet = PulsarOutlet::new(&options, Clock::system()).unwrap();
    assert_eq!(outlet.ask(ProducerAccess::Free).await.unwrap(), ProducerGrant::Granted);
    let message = |id| {
        let text = pull_request(id, id, id, "opened", false);
        let event = Event::read(&text).unwrap();
        let facts = Facts::of(&event, Clock::system().now());
        let envelope = Envelope { facts, event: text.as_str().into() };
        Outgoing::new(&envelope, &EventSummary::of(event))
    };
    let together: Vec<_> = (1..=50).map(message).collect();
    // A producer that died after sending, before the confirmation, sends again in other batches.
    outlet.send(together.clone()).await.unwrap();
    for few in together.chunks(7) {
        outlet.send(few.to_vec()).await.unwrap();
    }
    outlet.send(vec![message(51)]).await.unwrap();
    let dir = tempdir().unwrap();
    let edge = Node::edge(&dir, &options).await;
    let rows = edge.holds(51).await;
    assert_same(&rows, &rows);
    assert_eq!(rows.len(), 51);
    is_acknowledged(pulsar.broker, topic, &edge).await;
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partitioned_topic_is_refused_by_name() {
    let Some(pulsar) = shared("partitioned").await else { return };
    pulsar.broker.to_topic("PUT", "parts", "/partitions", "3").await;
    let dir = tempdir().unwrap();
    let edge = Node::edge(&dir, &pulsar.broker.options("parts")).await;
    let why = edge.failure().await;
    assert!(why.contains("persistent://public/default/parts has 3 partitions"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_finds_the_topic_free_or_taken() {
    use ghpulse::bus::pulsar::probe;
    let topic = "checked";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let clock = Clock::system();
    let found = probe(&options, topic, true, clock).await.unwrap();
    assert_eq!(found.topic, "persistent://public/default/checked");
    assert_eq!((found.grant, found.oldest), (Some(ProducerGrant::Granted), None));
    let dir = tempdir().unwrap();
    let mut collector = Node::collector(&dir, &options).await;
    collector.is(ProducerGrant::Granted).await;
    assert_eq!(
        probe(&options, topic, true, clock).await.unwrap().grant,
        Some(ProducerGrant::Standby)
    );
    assert_eq!(probe(&options, topic, false, clock).await.unwrap().grant, None);
    until("the collector still produces", || Some(*collector.grant.borrow())).await;
    collector.admit(&pull_requests(1, 5)).await;
    collector.holds(5).await;
    // The check of the oldest message has a short time limit: a slow machine needs several
    // attempts.
    let oldest = async {
        loop {
            if let Some(oldest) = probe(&options, topic, false, clock).await.unwrap().oldest {
                return oldest;
            }
        }
    };
    let oldest = soon("the oldest message is found", oldest).await;
    assert!(clock.now().since(oldest).as_secs() < 3_600, "{oldest:?}");
    // The broker learns a moment later that the connections of the checks have ended.
    let left = async || {
        let stats = pulsar.broker.to_topic("GET", topic, "/stats", "").await;
        (!stats.contains("ghpulse-check")).then_some(())
    };
    until_some("nothing of the checks is left at the broker", left).await;
    collector.end().await;
}
