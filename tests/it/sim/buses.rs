//! A node's bus is changed, by mistake or for good, and changed back.

use super::*;
use crate::common::client::request;

/// A broker that does not exist.
const AWAY: &[(&str, &str)] = &[
    ("GHPULSE_PULSAR_ENV", "dev"),
    ("GHPULSE_PULSAR_DEVHOST", "pulsar://127.0.0.1:1"),
    ("GHPULSE_PULSAR_PRODUCER_TOPIC", "persistent://public/default/events"),
    ("GHPULSE_PULSAR_CONSUMER_TOPIC", "persistent://public/default/events"),
    ("GHPULSE_PULSAR_CONSUMER_NAME", "reader"),
];

async fn lines(appliance: &Running, query: &str) -> Vec<Value> {
    let path = format!("/stream?poll=1{query}");
    let answer = request(appliance.public, "GET", &path, &["accept: application/x-ndjson"]).await;
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'m>(messages: &'m [Value], kind: &str) -> Vec<&'m Value> {
    messages.iter().filter(|message| message["type"] == kind).collect()
}

/// Emits this many more events, and waits until readers can receive them.
async fn feed(github: &GitHub, appliance: &Running, more: usize, in_all: usize) {
    github.control.emit(more);
    let all = async {
        while of(&lines(appliance, "").await, "event").len() < in_all {
            let requests = github.control.requests();
            github.control.until(|c| c.requests() > requests).await;
        }
    };
    soon("all is applied", all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bus_that_never_connected_leaves_no_gap() {
    let github = GitHub::start(Options { shape: Shape::Old, ..Options::by_hand(31) }).await;
    let dir = tempfile::tempdir().unwrap();
    let appliance = Running::start(dir.path(), &github.url, PATIENT).await;
    feed(&github, &appliance, 60, 60).await;
    let before = lines(&appliance, "").await;
    let cursor = of(&before, "event")[9]["cursor"].as_str().unwrap().to_owned();
    appliance.end().await;

    let appliance = Running::start(dir.path(), &github.url, AWAY).await;
    until_some("the broker is tried", async || {
        let parts = request(appliance.public, "GET", "/readyz", &[]).await.body;
        let parts: Value = serde_json::from_str(&parts).unwrap();
        let bus = parts.as_array().unwrap().iter().find(|part| part["name"] == "bus").unwrap();
        bus["error"].is_string().then_some(())
    })
    .await;
    appliance.end().await;

    let appliance = Running::start(dir.path(), &github.url, PATIENT).await;
    let after = lines(&appliance, "").await;
    assert_eq!(of(&after, "event"), of(&before, "event"));
    let from = lines(&appliance, &format!("&cursor={cursor}")).await;
    assert_eq!(of(&from, "event"), of(&before, "event")[10..]);
    assert_eq!(of(&from, "gap"), Vec::<&Value>::new());
    feed(&github, &appliance, 20, 80).await;
    appliance.end().await;
}
