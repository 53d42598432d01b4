//! Faults of a broker with messages in flight: it dies with them, or accepts none for a while.

use std::collections::BTreeSet;
use std::time::Duration;

use ghpulse::simulate::Options;
use serde_json::Value;

use super::broker::{Broker, PATIENCE, Reader, broker};
use super::node::{Node, push};
use crate::common::client::request;
use crate::common::running::{GitHub, Running};

/// Polls until `look` returns a value.
async fn until<F: Future<Output = Option<T>>, T>(what: &str, look: impl Fn() -> F) -> T {
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let looking = async {
        loop {
            looks.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, looking).await;
    waited.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain until {what}"))
}

/// Reads until this many different events have arrived, in any order and any number of times.
async fn read(reader: &mut Reader, seen: &mut BTreeSet<String>, events: usize) {
    while seen.len() < events {
        seen.insert(id(&reader.line().await));
    }
}

/// The `message_id` in a reader's line.
fn id(line: &str) -> String {
    let message: Value = serde_json::from_str(line).unwrap();
    message["id"].as_str().unwrap().to_owned()
}

async fn bound(broker: &Broker) -> Reader {
    broker.reader("pika_queue", &["evt.push.*"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unconfirmed_messages_of_a_killed_broker_are_republished() {
    let Some(mut broker) = broker("what_a_broker_had_not_confirmed").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &broker.options("ght-streams"));
    node.is_connected(true).await;
    let mut reader = bound(&broker).await;
    let mut seen = BTreeSet::new();
    node.admit(&(0..100).map(push).collect::<Vec<_>>()).await;
    read(&mut reader, &mut seen, 100).await;

    // From here on it confirms nothing. What is sent stays in its socket buffers, and is lost with
    // them.
    broker.pause();
    node.admit(&(100..1_000).map(push).collect::<Vec<_>>()).await;
    let some = || async { (broker.unread() > 32 << 10).then_some(()) };
    until("messages are on their way", some).await;
    broker.kill();
    assert!(!node.is_connected(false).await.is_empty());
    assert_eq!(reader.line_now().filter(|line| line != "\"gone\""), None, "none had arrived");

    broker.start().await;
    let mut reader = bound(&broker).await;
    read(&mut reader, &mut seen, 1_000).await;
    node.is_connected(true).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_alarm_is_reported_and_delays_only_publishing() {
    let Some(broker) = broker("an_alarm_of_the_broker").await else { return };
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let options = broker.options("ght-streams");
    let settings = [("GHPULSE_AMQP_URL", options.url.expose())];
    let running = Running::start(dir.path(), &github.url, &settings).await;
    let part = async || {
        let answer = request(running.ops, "GET", "/readyz", &[]).await;
        assert_eq!(answer.status, 200, "what needs no RabbitMQ continues");
        let parts: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
        let part = parts.into_iter().find(|part| part["name"] == "amqp").unwrap();
        let word = |name: &str| part[name].as_str().unwrap_or_default().to_owned();
        (word("state"), word("error"))
    };
    let state = |state: &'static str| {
        let part = &part;
        move || async move {
            let (now, error) = part().await;
            (now == state).then_some(error)
        }
    };
    until("it is connected", state("ok")).await;
    let mut reader = bound(&broker).await;
    let mut seen = BTreeSet::new();
    let give = |ids: std::ops::Range<usize>| ids.for_each(|id| github.control.push_raw(&push(id)));
    give(0..50);
    read(&mut reader, &mut seen, 50).await;

    broker.control(&["set_vm_memory_high_watermark", "0.0000001"]).await;
    // The broker stops reading at the first message after the alarm, and reports the alarm then.
    give(50..51);
    let said = until("the alarm is reported", state("degraded")).await;
    assert!(said.contains("its memory or disk alarm is on"), "{said}");
    give(51..300);
    let journal = || async {
        let accept = ["accept: application/x-ndjson"];
        let path = "/stream?poll=1&types=PushEvent&fields=event.id";
        let answer = request(running.public, "GET", path, &accept).await;
        let events = answer.body.lines().filter(|line| line.contains(r#""type":"event""#));
        (events.count() == 300).then_some(())
    };
    until("other readers have everything", journal).await;
    while let Some(line) = reader.line_now() {
        seen.insert(id(&line));
    }
    assert!(seen.len() <= 51, "{} of 249 messages went through an alarm", seen.len() - 51);

    broker.control(&["set_vm_memory_high_watermark", "0.6"]).await;
    read(&mut reader, &mut seen, 300).await;
    until("it is over", state("ok")).await;
    running.end().await;
}
