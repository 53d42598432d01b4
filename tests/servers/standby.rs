//! Two collectors on one topic.

use std::path::PathBuf;

use bytes::Bytes;
use ghpulse::bus::Grant;
use ghpulse::clock::Clock;
use ghpulse::collect::relay::WhenGranted;
use ghpulse::collect::source::{Body, EventSource, Page, Poll, SourceError};
use ghpulse::store::keys::{OutboxKey, Scope, SizeKey};
use tempfile::tempdir;

use crate::broker::shared;
use crate::flow::assert_same;
use crate::node::{Node, pull_request, pull_requests, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_collector_stands_by_and_takes_over_warm() {
    let topic = "two-collectors";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap()];
    let mut first = Node::collector(&dirs[0], &options).await;
    first.is(Grant::Granted).await;
    let mut second = Node::collector(&dirs[1], &options).await;
    second.is(Grant::Standby).await;
    let edge = Node::edge(&dirs[2], &options).await;
    let events = pull_requests(1, 400);
    for page in events.chunks(100) {
        first.admit(page).await;
    }
    second.holds(400).await;
    first.abort().await;
    second.is(Grant::Granted).await;
    // GitHub's page overlaps with what the first one had; the developers of the new events are
    // those of old ones, whom only the first collector saw come in.
    let overlap = second.admit(&events[300..]).await;
    assert_eq!((overlap.new, overlap.known), (0, 100));
    let known: Vec<_> =
        (401..=500).map(|id| pull_request(id, id - 400, id % 7, "closed", true)).collect();
    assert_eq!(second.admit(&known).await.new, 100);
    let rows = second.holds(500).await;
    assert_same(&rows, &edge.holds(500).await);
    for row in &rows[400..] {
        let flags = row.1.flags;
        assert!(flags.pr && !flags.dev_day && !flags.dev_year && !flags.repo_year, "{row:?}");
    }
    let year = SizeKey { scope: Scope::DeveloperYear, period: 2026 };
    assert_eq!((second.count(&year), edge.count(&year)), (400, 400));
    // The first comes back, applies what it missed, and now is the one that waits.
    let mut first = Node::collector(&dirs[0], &options).await;
    first.is(Grant::Standby).await;
    assert_same(&rows, &first.holds(500).await);
    for node in [first, second, edge] {
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_other_collector_produced_too_are_given_up_while_standing_by() {
    let topic = "left-behind";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let mut second = Node::collector(&dirs[1], &options).await;
    second.is(Grant::Granted).await;
    let mut first = Node::collector(&dirs[0], &options).await;
    first.is(Grant::Standby).await;
    // Both polled the same page before the first knew that it was not granted.
    let events = pull_requests(1, 20);
    assert_eq!(first.admit(&events).await.new, 20);
    assert_eq!(second.admit(&events).await.new, 20);
    assert_same(&first.holds(20).await, &second.holds(20).await);
    first.is_relayed().await;
    let left = || {
        let mut left = 0;
        let read = |_: OutboxKey, _: &[u8]| {
            left += 1;
            Ok(true)
        };
        first.store.reader().scan(&OutboxKey(0), read).unwrap();
        (left == 0).then_some(())
    };
    until("the outbox is empty", left).await;
    first.end().await;
    second.end().await;
}

/// A source that counts how often it is asked.
struct Counting(tokio::sync::watch::Sender<u32>);

impl EventSource for Counting {
    async fn next_poll(&mut self) -> Result<Option<Poll>, SourceError> {
        self.0.send_modify(|asked| *asked += 1);
        if *self.0.borrow() > 100 {
            let path = PathBuf::from("asked too often");
            return Err(SourceError::Recorded { path, reason: String::new() });
        }
        let body = Body::Lines(Bytes::new());
        let received_at = Clock::system().now();
        Ok(Some(Poll { pages: vec![Page { number: 1, body }], received_at }))
    }
}

#[tokio::test]
async fn a_source_is_asked_only_while_no_other_collector_produces() {
    let (asking, asked) = tokio::sync::watch::channel(0);
    let (granting, grant) = tokio::sync::watch::channel(Grant::Unasked);
    let mut source = WhenGranted::new(Counting(asking), grant);
    source.next_poll().await.unwrap();
    granting.send_replace(Grant::Standby);
    {
        let waiting = source.next_poll();
        tokio::pin!(waiting);
        let polled = futures_util::poll!(&mut waiting);
        assert!(polled.is_pending());
        assert_eq!(*asked.borrow(), 1);
        granting.send_replace(Grant::Granted);
        waiting.await.unwrap();
    }
    assert_eq!(*asked.borrow(), 2);
}
