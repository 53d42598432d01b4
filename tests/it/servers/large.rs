//! Events that are larger than the broker accepts.

use std::iter::repeat_with;

use ghpulse::bus::ProducerGrant;
use ghpulse::model::gap::GapReason;
use ghpulse::store::keys::RejectKey;
use ghpulse::store::outages;
use ghpulse::store::rows::decode_rejected;
use tempfile::tempdir;

use super::broker::own;
use super::flow::assert_same;
use super::missing::gaps_of;
use super::node::{Node, pull_request, pull_requests};

/// The broker's limit.
const MOST: usize = 64 << 10;

/// An event that has more bytes than that, also compressed.
fn large(id: usize, actor: usize) -> String {
    let text: String = repeat_with(fastrand::alphanumeric).take(2 * MOST).collect();
    pull_request(id, actor, 1, "opened", false)
        .replace(r#""title":"t""#, &format!(r#""title":"{text}""#))
}

/// The reasons in the reject log.
fn rejects(node: &Node) -> Vec<String> {
    let mut reasons = Vec::new();
    let read = |_: RejectKey, value: &[u8]| {
        reasons.push(decode_rejected(value).unwrap().reason);
        Ok(true)
    };
    node.store.reader().scan(&RejectKey(0), read).unwrap();
    reasons
}

#[tokio::test(flavor = "multi_thread")]
async fn event_larger_than_the_broker_accepts_is_set_aside_and_a_gap() {
    let topic = "large";
    let limit = move |_: &_| format!("maxMessageSize={MOST}\n");
    let Some(broker) = own(topic, "", limit).await else { return };
    let options = broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let mut collector = Node::collector(&dirs[0], &options).await;
    let edge = Node::edge(&dirs[1], &options).await;
    collector.is(ProducerGrant::Granted).await;
    // Between others in one batch, and the first event of its developer.
    let mut events = pull_requests(1, 10);
    events.push(large(11, 500));
    events.extend(pull_requests(12, 8));
    events.push(pull_request(20, 500, 2, "opened", false));
    collector.admit(&events).await;
    let here = collector.holds(19).await;
    assert_same(&here, &edge.holds(19).await);
    assert!(here[18].1.flags.dev_day, "the first event of its developer that is on the topic");
    for node in [&collector, &edge] {
        let [gap] = gaps_of(node, topic)[..] else { panic!("{:?}", gaps_of(node, topic)) };
        assert_eq!((gap.after, gap.reason), (here[9].0.position, GapReason::Upstream));
        assert_eq!(outages::pending(node.store.reader()).unwrap(), []);
    }
    let reasons = rejects(&collector);
    assert!(reasons.len() == 1 && reasons[0].contains("maxMessageSize 65536"), "{reasons:?}");
    assert_eq!(rejects(&edge), Vec::<String>::new());
    // Many of one poll, with others between them, and one at its end.
    let mut events = Vec::new();
    for id in (21..=40).step_by(2) {
        events.extend([pull_request(id, id, 1, "opened", false), large(id + 1, id)]);
    }
    collector.admit(&events).await;
    collector.is_relayed().await;
    assert_eq!(rejects(&collector).len(), 11);
    collector.admit(&pull_requests(41, 3)).await;
    assert_same(&collector.holds(32).await, &edge.holds(32).await);
    assert_eq!((gaps_of(&collector, topic).len(), gaps_of(&edge, topic).len()), (11, 11));
    // The topic was not given up for any of them.
    assert_eq!(
        (*collector.grant.borrow(), collector.unsent.borrow().clone()),
        (ProducerGrant::Granted, None)
    );
    collector.end().await;
    edge.end().await;
    broker.kill();
    broker.remove();
}
