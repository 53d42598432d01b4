//! A node that receives no messages although all other requests succeed, as from a broker that
//! cannot read its storage.

use std::time::Duration;

use ghpulse::config::PulsarConfig;
use tempfile::tempdir;

use super::broker::shared;
use super::flow::assert_same;
use super::node::{Node, pull_requests, soon};
use super::way::Way;

#[tokio::test(flavor = "multi_thread")]
async fn silent_consumer_subscribes_again() {
    let topic = "deaf";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let way = Way::to(&options.url).await;
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let collector = Node::collector(&dirs[0], &options).await;
    let around = PulsarConfig { url: way.url.clone(), ..options.clone() };
    let mut edge = Node::edge(&dirs[1], &around).await;
    let events = pull_requests(1, 400);
    collector.admit(&events[..50]).await;
    edge.holds(50).await;
    way.loses_messages(true);
    // The topic keeps growing, so its end differs at every check.
    let mut admitted = 50;
    let mut pause = tokio::time::interval(Duration::from_millis(500));
    let words = "the broker delivers nothing, though the topic extends to";
    {
        let noticed = edge.is_in_trouble(words);
        tokio::pin!(noticed);
        loop {
            tokio::select! {
                () = &mut noticed => break,
                _ = pause.tick() => {}
            }
            collector.admit(&events[admitted..=admitted]).await;
            admitted += 1;
        }
    }
    // Now it no longer grows.
    edge.is_connected(true).await;
    assert!(edge.state.borrow().stuck);
    edge.is_connected(false).await;
    way.loses_messages(false);
    let here = collector.holds(admitted).await;
    assert_same(&here, &edge.holds(admitted).await);
    let is_well = edge.state.wait_for(|state| !state.stuck && state.connected);
    soon("the edge is well again", is_well).await.unwrap();
    collector.end().await;
    edge.end().await;
}
