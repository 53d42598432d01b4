//! Two collectors on one topic.

use ghpulse::bus::ProducerGrant;
use ghpulse::clock::Clock;
use ghpulse::collect::entries::Entries;
use ghpulse::collect::relay::WhenGranted;
use ghpulse::collect::source::{EventSource, Poll, PolledPage};
use ghpulse::model::gap::{GapReason, Outage};
use ghpulse::model::window::Timestamp;
use ghpulse::simulate::Options;
use ghpulse::store::keys::{OutboxKey, Scope, SizeKey};
use ghpulse::store::outages::{self, PendingOutage};
use ghpulse::store::{Durability, Store};
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use super::broker::shared;
use super::flow::assert_same;
use super::missing::gaps_of;
use super::node::{Node, Row, pull_request, pull_requests, until};
use crate::common::client::request;
use crate::common::running::{GitHub, Running, until_some};

#[tokio::test(flavor = "multi_thread")]
async fn standby_collector_takes_over_warm() {
    let topic = "two-collectors";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap()];
    let mut first = Node::collector(&dirs[0], &options).await;
    first.is(ProducerGrant::Granted).await;
    let mut second = Node::collector(&dirs[1], &options).await;
    second.is(ProducerGrant::Standby).await;
    let edge = Node::edge(&dirs[2], &options).await;
    let events = pull_requests(1, 400);
    for page in events.chunks(100) {
        first.admit(page).await;
    }
    second.holds(400).await;
    first.abort().await;
    second.is(ProducerGrant::Granted).await;
    // GitHub's page overlaps with what the first collector had. The developers of the new events
    // appear in old ones, which only the first collector admitted.
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
    // The first collector returns, applies what it missed, and is on standby now.
    let mut first = Node::collector(&dirs[0], &options).await;
    first.is(ProducerGrant::Standby).await;
    assert_same(&rows, &first.holds(500).await);
    for node in [first, second, edge] {
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_drops_rows_that_the_producer_sent() {
    let topic = "left-behind";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let mut second = Node::collector(&dirs[1], &options).await;
    second.is(ProducerGrant::Granted).await;
    let mut first = Node::collector(&dirs[0], &options).await;
    first.is(ProducerGrant::Standby).await;
    // Both polled the same page before the first collector learned that it has no grant.
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

/// Waits until nothing is left to send, and compares what the nodes have: the events, the distinct
/// counts, and the flags of first occurrences.
async fn agree(nodes: &[&Node], events: usize) -> Vec<Row> {
    let rows = nodes[0].holds(events).await;
    assert_eq!(rows.len(), events);
    let mut ids: Vec<_> = rows.iter().map(|row| &row.2).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events, "an event came twice");
    let sizes = |node: &Node| {
        let day = Timestamp::parse("2026-03-01T10:00:00Z").unwrap().day().0;
        [(Scope::DeveloperDay, day), (Scope::DeveloperYear, 2026), (Scope::RepositoryYear, 2026)]
            .map(|(scope, period)| node.count(&SizeKey { scope, period }))
    };
    let flags = |flag: fn(&Row) -> bool| {
        i64::try_from(rows.iter().filter(|row| flag(row)).count()).unwrap()
    };
    let first = [
        flags(|row| row.1.flags.dev_day),
        flags(|row| row.1.flags.dev_year),
        flags(|row| row.1.flags.repo_year),
    ];
    for node in nodes {
        assert_same(&rows, &node.holds(events).await);
        assert_eq!(sizes(node), first);
        node.is_relayed().await;
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_killed_collector_are_handed_over_once() {
    let topic = "handed-over";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap()];
    Node::admit_and_die(&dirs[0], &pull_requests(1, 30)).await;
    let mut second = Node::collector(&dirs[1], &options).await;
    second.is(ProducerGrant::Granted).await;
    // The other collector has seen ten of these too, and more events of the same developers.
    second.admit(&pull_requests(21, 20)).await;
    let again: Vec<_> = (1..=10).map(|n| pull_request(100 + n, n, n % 7, "closed", true)).collect();
    second.admit(&again).await;
    let edge = Node::edge(&dirs[2], &options).await;
    edge.holds(30).await;
    let mut first = Node::collector(&dirs[0], &options).await;
    first.is(ProducerGrant::Standby).await;
    let rows = agree(&[&second, &first, &edge], 50).await;
    assert_eq!(rows[..30].iter().filter(|row| row.1.flags.dev_day).count(), 30);
    // The original holder has the topic again, and the other collector is on standby.
    second.admit(&pull_requests(41, 20)).await;
    agree(&[&second, &first, &edge], 70).await;
    second.is(ProducerGrant::Granted).await;
    first.is(ProducerGrant::Standby).await;
    let waiting = first.waiting.clone();
    until("no rows are said to wait", || (*waiting.borrow() == 0).then_some(())).await;
    for node in [first, second, edge] {
        node.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_collector_that_became_an_edge_are_handed_over() {
    let topic = "became-an-edge";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    // No other node produces.
    Node::admit_and_die(&dirs[0], &pull_requests(1, 30)).await;
    let edge = Node::edge(&dirs[0], &options).await;
    agree(&[&edge], 30).await;
    edge.end().await;
    // A collector does.
    let mut collector = Node::collector(&dirs[1], &options).await;
    collector.is(ProducerGrant::Granted).await;
    collector.admit(&pull_requests(31, 10)).await;
    Node::admit_and_die(&dirs[0], &pull_requests(41, 700)).await;
    let edge = Node::edge(&dirs[0], &options).await;
    agree(&[&collector, &edge], 740).await;
    collector.admit(&pull_requests(741, 10)).await;
    agree(&[&collector, &edge], 750).await;
    collector.end().await;
    edge.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_a_gap_at_the_same_place_on_every_node() {
    let topic = "outage";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap()];
    let mut collector = Node::collector(&dirs[0], &options).await;
    collector.is(ProducerGrant::Granted).await;
    let mut standby = Node::collector(&dirs[1], &options).await;
    standby.is(ProducerGrant::Standby).await;
    let edge = Node::edge(&dirs[2], &options).await;
    let events = pull_requests(1, 60);
    collector.admit(&events[..20]).await;
    let before = collector.holds(20).await;
    let at = |second: i64| Timestamp::from_seconds(1_800_000_000 + second);
    let found = collector.store.commit(move |batch| {
        let outage = Outage { since: at(0), until: at(45) };
        // The 21st event is the first after the outage.
        outages::keep_pending(batch, PendingOutage { outage, before: 21 })
    });
    found.await.unwrap();
    for page in events[20..].chunks(20) {
        collector.admit(page).await;
        collector.is_relayed().await;
    }
    for node in [&collector, &standby, &edge] {
        node.holds(60).await;
        let [gap] = gaps_of(node, topic)[..] else { panic!("{:?}", gaps_of(node, topic)) };
        let last = before[19].0.position;
        assert_eq!((gap.after, gap.until, gap.reason), (last, last, GapReason::Upstream));
        assert_eq!(outages::pending(node.store.reader()).unwrap(), []);
    }
    // A node that starts later learns it from the topic.
    let dir = tempdir().unwrap();
    let late = Node::edge(&dir, &options).await;
    late.holds(60).await;
    assert_eq!(gaps_of(&late, topic)[0].after, before[19].0.position);
    for node in [collector, standby, edge, late] {
        node.end().await;
    }
}

/// When GitHub was last polled, as the store of [`polled_at_nine`] knows.
fn nine() -> Timestamp {
    Timestamp::from_seconds(9)
}

async fn polled_at_nine() -> (TempDir, Store) {
    let dir = tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    store.commit(|batch| outages::keep_polled_elsewhere(batch, nine())).await.unwrap();
    (dir, store)
}

/// A source that counts how often it is polled.
struct Counting(tokio::sync::watch::Sender<u32>);

impl EventSource for Counting {
    async fn next_poll(&mut self) -> Poll {
        self.0.send_modify(|asked| *asked += 1);
        assert!(*self.0.borrow() <= 100, "polled too often");
        let page = PolledPage { number: 1, entries: Entries::default() };
        Poll { pages: vec![page], received_at: Clock::system().now() }
    }
}

#[tokio::test]
async fn collector_polls_only_while_it_produces() {
    let (asking, asked) = tokio::sync::watch::channel(0);
    let (granting, grant) = tokio::sync::watch::channel(ProducerGrant::Unasked);
    let (_dir, store) = polled_at_nine().await;
    let mut source = WhenGranted::new(Counting(asking), grant, store);
    for refused in [ProducerGrant::Unasked, ProducerGrant::Standby] {
        granting.send_replace(refused);
        let before = *asked.borrow();
        let waiting = source.next_poll();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(*asked.borrow(), before);
        granting.send_replace(ProducerGrant::Unanswered);
        waiting.await;
    }
    assert_eq!(*asked.borrow(), 2);
    assert_eq!((source.polled_before(), source.polled_before()), (Some(nine()), None));
}

#[tokio::test]
async fn collector_on_standby_from_its_start_was_suspended() {
    let (asking, _asked) = tokio::sync::watch::channel(0);
    let (granting, grant) = tokio::sync::watch::channel(ProducerGrant::Unasked);
    let (_dir, store) = polled_at_nine().await;
    let mut source = WhenGranted::new(Counting(asking), grant, store);
    {
        // The same round waits from the start until the topic is granted.
        let waiting = source.next_poll();
        tokio::pin!(waiting);
        for refused in [ProducerGrant::Unasked, ProducerGrant::Standby] {
            granting.send_replace(refused);
            assert!(futures_util::poll!(&mut waiting).is_pending());
        }
        granting.send_replace(ProducerGrant::Granted);
        waiting.await;
    }
    assert_eq!(source.polled_before(), Some(nine()));
}

/// The JSON at this path of the ops listener.
async fn read(node: &Running, path: &str) -> Value {
    let answer = request(node.ops, "GET", path, &[]).await;
    serde_json::from_str(&answer.body).unwrap()
}

/// The part as `/readyz` shows it.
async fn part(node: &Running, name: &str) -> Value {
    let Value::Array(parts) = read(node, "/readyz").await else { panic!("not a list") };
    parts.into_iter().find(|part| part["name"] == name).unwrap()
}

/// The settings of a collector on this topic.
fn on_topic<'a>(url: &'a str, topic: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("GHPULSE_PULSAR_ENV", "dev"),
        ("GHPULSE_PULSAR_DEVHOST", url),
        ("GHPULSE_PULSAR_PRODUCER_TOPIC", topic),
        ("GHPULSE_PULSAR_CONSUMER_TOPIC", topic),
    ]
}

/// A collector that has produced 20 events, and another one that was started then.
async fn two_collectors(
    dirs: &[TempDir; 2],
    github: &GitHub,
    settings: &[(&str, &str)],
) -> [Running; 2] {
    let first = Running::start(dirs[0].path(), &github.url, settings).await;
    github.control.emit(20);
    until_some("the first collector has produced", async || {
        let bus = &read(&first, "/status?format=json").await["bus"];
        (bus["admitted"] == 20 && bus["backlog_bytes"] == 0).then_some(())
    })
    .await;
    let second = Running::start(dirs[1].path(), &github.url, settings).await;
    [first, second]
}

#[tokio::test(flavor = "multi_thread")]
async fn standby_is_shown_until_the_collector_takes_over() {
    let topic = "shown-standby";
    let Some(pulsar) = shared(topic).await else { return };
    let github = GitHub::start(Options::by_hand(21)).await;
    let url = pulsar.broker.url();
    let settings = on_topic(&url, topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let [first, second] = two_collectors(&dirs, &github, &settings).await;
    let note = until_some("the second collector is on standby", async || {
        part(&second, "bus").await["note"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(note, "on standby: another collector produces");
    for listener in [second.public, second.ops] {
        let shown = request(listener, "GET", "/readyz", &[]).await.body;
        assert_eq!(shown.matches("on standby").count(), 2, "{shown}");
    }
    let source = part(&second, "source").await;
    assert_eq!((&source["state"], &source["error"]), (&"off".into(), &Value::Null));
    // The store has been well since the start, before the topic was asked for.
    let since = |part: &Value| Timestamp::parse(part["since"].as_str().unwrap()).unwrap();
    assert!(since(&source) > since(&part(&second, "store").await), "{source}");
    assert_eq!(part(&second, "bus").await["error"], Value::Null);
    until_some("the second collector is ready", async || {
        let status = read(&second, "/status?format=json").await;
        assert_eq!(status["source"], Value::Null);
        (status["ready"] == true).then_some(())
    })
    .await;
    assert_eq!(part(&first, "source").await["note"], Value::Null);
    first.end().await;
    until_some("the second collector takes over", async || {
        let source = part(&second, "source").await;
        (source["state"] == "ok" && source["note"].is_null()).then_some(())
    })
    .await;
    assert_eq!(read(&second, "/status?format=json").await["source"]["mode"], "tokens");
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_topic_is_named_and_polling_continues() {
    let topic = "terminated";
    let Some(pulsar) = shared(topic).await else { return };
    let github = GitHub::start(Options::by_hand(23)).await;
    let url = pulsar.broker.url();
    let settings = on_topic(&url, topic);
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let edge_dir = tempdir().unwrap();
    let [first, second] = two_collectors(&dirs, &github, &settings).await;
    until_some("the second collector is on standby", async || {
        part(&second, "bus").await["note"].as_str().map(str::to_owned)
    })
    .await;
    pulsar.broker.to_topic("POST", topic, "/terminate", "").await;
    // The producer learns it when it sends, and then the other one.
    github.control.emit(20);
    for node in [&first, &second] {
        is_terminated(node, "ok").await;
        until_some("its events are kept", async || {
            let kept = read(node, "/status?format=json").await["bus"]["backlog_bytes"].as_u64();
            (kept > Some(0)).then_some(())
        })
        .await;
    }
    // The broker tells no consumer of theirs again, and names another producer to a new one.
    let mut again = Vec::new();
    for (node, dir) in [(first, &dirs[0]), (second, &dirs[1])] {
        node.end().await;
        let node = Running::start(dir.path(), &github.url, &settings).await;
        is_terminated(&node, "ok").await;
        again.push(node);
    }
    // It tells a subscription twice; an edge never asks to produce.
    for _ in 0..3 {
        let edge = [&settings[..], &[("GHPULSE_DISABLE_PRODUCER", "true")]].concat();
        let node = Running::start(edge_dir.path(), &github.url, &edge).await;
        is_terminated(&node, "off").await;
        node.end().await;
    }
    for node in again {
        node.end().await;
    }
}

/// Waits until a node says that its topic was terminated, and its source is in this state.
async fn is_terminated(node: &Running, source_state: &str) {
    until_some("the bus says that the topic was terminated", async || {
        let (bus, source) = (part(node, "bus").await, part(node, "source").await);
        let error = bus["error"].as_str().unwrap_or_default();
        let is_named = error.contains("the topic was terminated: use another one");
        (bus["state"] == "down" && is_named && source["state"] == source_state).then_some(())
    })
    .await;
}

/// A source whose rounds never end on their own, as when GitHub's pages do not change.
struct Unchanged;

impl EventSource for Unchanged {
    async fn next_poll(&mut self) -> Poll {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_round_under_way_is_left_when_the_topic_is_refused() {
    let (granting, grant) = tokio::sync::watch::channel(ProducerGrant::Granted);
    let (_dir, store) = polled_at_nine().await;
    let mut source = WhenGranted::new(Unchanged, grant, store);
    {
        let waiting = source.next_poll();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        granting.send_replace(ProducerGrant::Standby);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        granting.send_replace(ProducerGrant::Granted);
        assert!(futures_util::poll!(&mut waiting).is_pending());
    }
    assert_eq!(source.polled_before(), Some(nine()), "it asked on");
}
