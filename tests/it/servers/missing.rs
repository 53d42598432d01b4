//! Entries lost between the broker and a node, entries that expire while a node reads, entries that
//! cannot be decompressed, and how a node knows that it has all entries.

use std::collections::BTreeSet;

use ghpulse::bus::pulsar::tag_of;
use ghpulse::config::PulsarConfig;
use ghpulse::model::gap::{Gap, GapReason};
use ghpulse::model::position::Position;
use ghpulse::store::gaps;
use ghpulse::store::keys::DeadKey;
use ghpulse::store::rows::decode_rejected;
use tempfile::{TempDir, tempdir};

use super::broker::{Shared, shared};
use super::flow::{assert_same, is_acknowledged};
use super::formats::{peers, produce};
use super::node::{Node, PATIENCE, Row, pull_request, pull_requests, until};
use super::restored::is_trimmed;
use super::way::{DAMAGED, SPOILED, Way};

/// The gaps that a node has recorded.
pub(crate) fn gaps_of(node: &Node, topic: &str) -> Vec<Gap> {
    gaps::behind(node.store.reader(), tag_of(topic).unwrap(), Position::default(), 99).unwrap()
}

/// The entries that contained these rows.
fn entries(rows: &[Row]) -> BTreeSet<(u64, u64)> {
    rows.iter().map(|row| (row.0.position.ledger, row.0.position.entry)).collect()
}

/// A collector, and an edge that has the first 50 events and misses the next 20.
struct Lossy {
    pulsar: Shared,
    topic: &'static str,
    way: Way,
    collector: Node,
    edge: Node,
    events: Vec<String>,
    here: Vec<Row>,
    _dirs: [TempDir; 2],
}

impl Lossy {
    async fn on(topic: &'static str) -> Option<Self> {
        let pulsar = shared(topic).await?;
        let options = pulsar.broker.options(topic);
        let way = Way::to(&options.url).await;
        let dirs = [tempdir().unwrap(), tempdir().unwrap()];
        let collector = Node::collector(&dirs[0], &options).await;
        let around = PulsarConfig { url: way.url.clone(), ..options.clone() };
        let edge = Node::edge(&dirs[1], &around).await;
        let events = pull_requests(1, 90);
        collector.admit(&events[..50]).await;
        edge.holds(50).await;
        way.loses_messages(true);
        collector.admit(&events[50..70]).await;
        let here = collector.holds(70).await;
        let lost = entries(&here[50..]).len();
        until("all of them are lost", || (way.lost() >= lost).then_some(())).await;
        Some(Self { pulsar, topic, way, collector, edge, events, here, _dirs: dirs })
    }

    /// Delivers the rest. Stores all rows of the collector; returns all rows of the edge.
    async fn go_on(&mut self, events: usize) -> Vec<Row> {
        self.way.loses_messages(false);
        self.collector.admit(&self.events[70..]).await;
        self.here = self.collector.holds(90).await;
        self.edge.holds(events).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_entries_are_read_again_in_order() {
    let Some(mut lossy) = Lossy::on("lossy").await else { return };
    let there = lossy.go_on(90).await;
    assert_same(&lossy.here, &there);
    assert_eq!(gaps_of(&lossy.edge, lossy.topic), []);
    is_acknowledged(lossy.pulsar.broker, lossy.topic, &lossy.edge).await;
    lossy.collector.end().await;
    lossy.edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_expire_while_reading_become_a_gap() {
    let Some(mut lossy) = Lossy::on("expiring").await else { return };
    let subscription = &lossy.edge.subscription;
    let skip = format!("/subscription/{subscription}/skip_all");
    is_acknowledged(lossy.pulsar.broker, lossy.topic, &lossy.collector).await;
    lossy.pulsar.broker.to_topic("PUT", lossy.topic, "/unload", "").await;
    lossy.pulsar.broker.to_topic("POST", lossy.topic, &skip, "").await;
    is_trimmed(lossy.pulsar.broker, lossy.topic, lossy.here[69].0.position.ledger).await;
    let there = lossy.go_on(70).await;
    let here = &lossy.here;
    assert_same(&there, &[&here[..50], &here[70..]].concat());
    let seen = gaps_of(&lossy.edge, lossy.topic);
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].reason, GapReason::Retention);
    assert_eq!((seen[0].after, seen[0].until), (here[49].0.position, here[70].0.position));
    assert_eq!(here[70].0.position.entry, 0, "the numbers of entries show nothing");
    lossy.collector.end().await;
    lossy.edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_the_subscription_passed_over_are_read_from_the_topic() {
    let Some(mut lossy) = Lossy::on("passed-over").await else { return };
    let skip = format!("/subscription/{}/skip_all", lossy.edge.subscription);
    lossy.pulsar.broker.to_topic("POST", lossy.topic, &skip, "").await;
    let there = lossy.go_on(90).await;
    assert_same(&there, &lossy.here);
    assert_eq!(gaps_of(&lossy.edge, lossy.topic), []);
    is_acknowledged(lossy.pulsar.broker, lossy.topic, &lossy.edge).await;
    lossy.collector.end().await;
    lossy.edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_reports_that_it_caught_up_with_a_quiet_topic() {
    let topic = "quiet";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let collector = Node::collector(&dirs[0], &options).await;
    collector.admit(&pull_requests(1, 300)).await;
    collector.is_relayed().await;
    collector.end().await;
    let mut edge = Node::edge(&dirs[1], &options).await;
    // The lag of a delivery is reported before the delivery is applied.
    edge.holds(300).await;
    let has_all = edge.state.wait_for(|state| state.behind.is_none());
    let has_all = tokio::time::timeout(PATIENCE, has_all).await.is_ok();
    assert!(has_all, "still {:?}", *edge.state.borrow());
    edge.end().await;
}

/// The dead-letter queue: numbers and reasons.
fn dead(node: &Node) -> Vec<(u64, String)> {
    let mut rows = Vec::new();
    let read = |key: DeadKey, value: &[u8]| {
        rows.push((key.0, decode_rejected(value).unwrap().reason));
        Ok(true)
    };
    node.store.reader().scan(&DeadKey(0), read).unwrap();
    rows
}

/// Readable messages, and messages that the proxy makes undecompressable, one entry each.
fn good(id: usize) -> Vec<u8> {
    peers(&pull_request(id, id, id, "opened", false), "{}")
}

fn bad(count: usize) -> Vec<Vec<u8>> {
    vec![SPOILED.as_bytes().to_vec(); count]
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_entries_at_the_end_become_dead_letters() {
    // After a readable message, and alone.
    for (topic, before) in [("spoiled", 1), ("all-spoiled", 0)] {
        let Some(pulsar) = shared(topic).await else { return };
        let options = pulsar.broker.options(topic);
        let way = Way::to(&options.url).await;
        let bodies = (1..=before).map(good).chain(bad(3));
        produce(&options.url, topic, bodies.collect()).await;
        let dir = tempdir().unwrap();
        let edge = Node::edge(&dir, &PulsarConfig { url: way.url.clone(), ..options }).await;
        let rows = until("all three are put aside", || {
            let rows = dead(&edge);
            (rows.len() == 3).then_some(rows)
        });
        let cursors = rows.await.into_iter().map(|(_, reason)| {
            assert!(reason.contains("cannot unpack"), "{reason}");
            reason.rsplit_once(", at ").unwrap().1.parse().unwrap()
        });
        let cursors: Vec<ghpulse::model::position::Cursor> = cursors.collect();
        let first = u64::try_from(before).unwrap();
        let entries: Vec<_> = cursors.iter().map(|cursor| cursor.position.entry).collect();
        assert_eq!(entries, [first, first + 1, first + 2]);
        is_acknowledged(pulsar.broker, topic, &edge).await;
        produce(&pulsar.broker.url(), topic, vec![good(9)]).await;
        edge.holds(before + 1).await;
        assert_eq!((gaps_of(&edge, topic), dead(&edge).len()), (Vec::new(), 3));
        edge.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_after_unreadable_ones_are_applied() {
    for (topic, before) in [("spoiled-run", 1), ("spoiled-start", 0)] {
        let Some(pulsar) = shared(topic).await else { return };
        let options = pulsar.broker.options(topic);
        let way = Way::to(&options.url).await;
        let bodies = (1..=before).map(good).chain(bad(1_050)).chain([good(9)]);
        produce(&options.url, topic, bodies.collect()).await;
        let dir = tempdir().unwrap();
        let edge = Node::edge(&dir, &PulsarConfig { url: way.url.clone(), ..options }).await;
        edge.holds(before + 1).await;
        is_acknowledged(pulsar.broker, topic, &edge).await;
        let rows = dead(&edge);
        // As many as the queue holds.
        assert_eq!(rows.len(), 1_000);
        assert_eq!(gaps_of(&edge, topic), []);
        edge.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_damaged_on_their_way_are_read_again() {
    let topic = "damaged-way";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let way = Way::to(&options.url).await;
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let collector = Node::collector(&dirs[0], &options).await;
    let around = PulsarConfig { url: way.url.clone(), ..options };
    let edge = Node::edge(&dirs[1], &around).await;
    let events = pull_requests(1, 60);
    way.damages(3);
    collector.admit(&events).await;
    let there = edge.holds(60).await;
    assert_same(&collector.holds(60).await, &there);
    assert_eq!(way.still_damages(), 0);
    assert_eq!((gaps_of(&edge, topic), dead(&edge).len()), (Vec::new(), 0));
    is_acknowledged(pulsar.broker, topic, &edge).await;
    collector.end().await;
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_that_stays_damaged_becomes_a_gap() {
    let topic = "damaged-entry";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let way = Way::to(&options.url).await;
    let bodies = vec![good(1), DAMAGED.as_bytes().to_vec(), good(2)];
    produce(&options.url, topic, bodies).await;
    let dir = tempdir().unwrap();
    let edge = Node::edge(&dir, &PulsarConfig { url: way.url.clone(), ..options }).await;
    let rows = edge.holds(2).await;
    let [gap] = gaps_of(&edge, topic)[..] else { panic!("{:?}", gaps_of(&edge, topic)) };
    let position = |row: &Row| row.0.position;
    assert_eq!(
        (gap.after, gap.count, gap.reason),
        (position(&rows[0]), None, GapReason::Retention)
    );
    assert!(gap.until < position(&rows[1]), "{gap:?}");
    let [(_, reason)] = &dead(&edge)[..] else { panic!("{:?}", dead(&edge)) };
    assert!(reason.contains("wrong checksum"), "{reason}");
    is_acknowledged(pulsar.broker, topic, &edge).await;
    edge.end().await;
}
