//! Nodes that need data which the topic no longer has.

use std::path::Path;

use ghpulse::bus::ProducerGrant;
use ghpulse::clock::Clock;
use ghpulse::model::gap::{Gap, GapReason};
use ghpulse::model::position::Position;
use ghpulse::store::keys::MetaKey;
use ghpulse::store::{Durability, Store, gaps};
use tempfile::tempdir;

use super::broker::{Broker, shared};
use super::flow::{assert_same, is_acknowledged};
use super::node::{Node, pull_requests, soon};

/// Copies an unused data directory, like a restored backup: under a new name.
async fn restore(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let here = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            std::fs::create_dir(&here).unwrap();
            Box::pin(restore(&file.path(), &here)).await;
        } else {
            std::fs::copy(file.path(), here).unwrap();
        }
    }
}

async fn forget_name(dir: &Path) {
    let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
    let forgotten = store.commit(|batch| {
        batch.delete(&MetaKey("store_id".to_owned()));
        Ok(())
    });
    forgotten.await.unwrap();
}

/// Waits until the topic has deleted a ledger.
pub(crate) async fn is_trimmed(broker: &Broker, topic: &str, ledger: u64) {
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(100));
    let ledger = format!("\"ledgerId\":{ledger},");
    let trimmed = async {
        while broker.to_topic("GET", topic, "/internalStats", "").await.contains(&ledger) {
            broker.to_topic("POST", topic, "/trim", "").await;
            looks.tick().await;
        }
    };
    soon("the ledger is gone", trimmed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_part_of_the_topic_becomes_one_gap() {
    let topic = "restored";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap()];
    let collector = Node::collector(&dirs[0], &options).await;
    let edge = Node::edge(&dirs[1], &options).await;
    let events = pull_requests(1, 500);
    collector.admit(&events[..100]).await;
    edge.holds(100).await;
    let subscription = format!("/subscription/{}", edge.subscription);
    edge.end().await;
    restore(dirs[1].path(), dirs[2].path()).await;
    forget_name(dirs[2].path()).await;
    pulsar.broker.to_topic("DELETE", topic, &format!("{subscription}?force=true"), "").await;
    // Produced after the backup, and deleted before the node needs it.
    collector.admit(&events[100..200]).await;
    let here = collector.holds(200).await;
    pulsar.broker.to_topic("PUT", topic, "/unload", "").await;
    collector.admit(&events[200..300]).await;
    let here = [here, collector.holds(300).await.split_off(200)].concat();
    is_acknowledged(pulsar.broker, topic, &collector).await;
    is_trimmed(pulsar.broker, topic, here[0].0.position.ledger).await;
    let edge = Node::edge(&dirs[2], &options).await;
    let rows = edge.holds(200).await;
    assert_same(&rows, &[&here[..100], &here[200..]].concat());
    let found = |node: &Node| {
        let tag = rows[0].0.tag;
        gaps::behind(node.store.reader(), tag, Position::default(), 9).unwrap()
    };
    let is_between = |gap: &Gap, after: usize, until: usize, rows: &[super::node::Row]| {
        assert_eq!((gap.after, gap.until), (rows[after].0.position, rows[until].0.position));
        assert_eq!(gap.reason, GapReason::Retention);
    };
    let seen = found(&edge);
    assert_eq!(seen.len(), 1, "{seen:?}");
    is_between(&seen[0], 99, 200, &here);
    is_acknowledged(pulsar.broker, topic, &edge).await;
    let subscription = format!("/subscription/{}", edge.subscription);
    edge.end().await;
    // Everything that the broker keeps for the node expires, up to the end of a ledger.
    collector.admit(&events[300..400]).await;
    let here = collector.holds(400).await;
    is_acknowledged(pulsar.broker, topic, &collector).await;
    pulsar.broker.to_topic("PUT", topic, "/unload", "").await;
    pulsar.broker.to_topic("POST", topic, &format!("{subscription}/skip_all"), "").await;
    is_trimmed(pulsar.broker, topic, here[399].0.position.ledger).await;
    collector.admit(&events[400..]).await;
    let here = collector.holds(500).await;
    let edge = Node::edge(&dirs[2], &options).await;
    edge.holds(300).await;
    let seen = found(&edge);
    assert_eq!(seen.len(), 2, "{seen:?}");
    is_between(&seen[1], 299, 400, &here);
    assert_eq!(here[400].0.position.entry, 0, "the numbers of entries show nothing");
    edge.end().await;
    collector.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_copy_of_a_data_directory_reads_again_what_the_topic_has() {
    let topic = "set-back";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap()];
    let mut collector = Node::collector(&dirs[0], &options).await;
    collector.is(ProducerGrant::Granted).await;
    // It reads nothing, so that the topic keeps everything.
    pulsar.broker.to_topic("PUT", topic, "/subscription/keeper", "").await;
    let edge = Node::edge(&dirs[1], &options).await;
    let events = pull_requests(1, 300);
    collector.admit(&events[..100]).await;
    edge.holds(100).await;
    edge.end().await;
    restore(dirs[1].path(), dirs[2].path()).await;
    // The later life of the store moves its subscription on, up to the end of a ledger.
    let edge = Node::edge(&dirs[1], &options).await;
    collector.admit(&events[100..200]).await;
    edge.holds(200).await;
    is_acknowledged(pulsar.broker, topic, &edge).await;
    edge.end().await;
    pulsar.broker.to_topic("PUT", topic, "/unload", "").await;
    let edge = Node::edge(&dirs[2], &options).await;
    collector.admit(&events[200..]).await;
    let here = collector.holds(300).await;
    assert_ne!(here[199].0.position.ledger, here[200].0.position.ledger);
    let rows = edge.holds(300).await;
    assert_same(&rows, &here);
    let seen = gaps::behind(edge.store.reader(), rows[0].0.tag, Position::default(), 9).unwrap();
    assert_eq!(seen, []);
    is_acknowledged(pulsar.broker, topic, &edge).await;
    edge.end().await;
    collector.end().await;
}
