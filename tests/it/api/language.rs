//! `/language/latest` and `/language/watch`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use ghpulse::clock::Clock;
use ghpulse::simulate::Options;
use serde_json::Value;

use super::events::opened;
use super::site::Site;
use crate::common::client::Client;
use crate::common::running::{GitHub, Running, steps};

type Map = BTreeMap<String, i64>;

/// This many events of each language, with ids from `from` on.
fn events(from: u64, counts: &[(&str, u64)]) -> Vec<String> {
    let names = counts.iter().flat_map(|(name, n)| (0..*n).map(move |_| *name));
    names.zip(from..).map(|(name, id)| opened(id, name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_sends_a_sorted_map_at_each_tick() {
    let site = Site::start(&[("GHPULSE_INTERVAL_LATEST", "100ms")]).await;
    let mut all = site.latest("{}").await;
    let mut two = site.latest(r#"{"language":null,"top":2}"#).await;
    let mut some = site.latest(r#"{"Language":["Go","Rust","Nothing"],"TOP":0}"#).await;
    let mut first = site.latest(r#"{"language":["Rust","Java"],"top":1.0}"#).await;
    for client in [&mut all, &mut two, &mut some, &mut first] {
        assert_eq!(client.text().await, "{}");
    }
    site.push(&events(1, &[("Rust", 2), ("C#", 2), ("Go", 3), ("Java", 1), ("A \"b\"", 1)]));
    site.push(&[opened(90, "Java").replace("PullRequestEvent", "IssuesEvent")]);
    all.until(r#"{"A \"b\"":1,"C#":2,"Go":3,"Java":1,"Rust":2}"#).await;
    // Ties at the cutoff are broken by name.
    two.until(r#"{"C#":2,"Go":3}"#).await;
    some.until(r#"{"Go":3,"Rust":2}"#).await;
    first.until(r#"{"Rust":2}"#).await;
    // A message at each tick, even without changes.
    for _ in 0..3 {
        assert_eq!(first.text().await, r#"{"Rust":2}"#);
    }
    first.subscribe(r#"{"language":["Java"]}"#).await;
    first.until(r#"{"Java":1}"#).await;
    site.end().await;
}

fn read(value: &Value) -> Map {
    let members = value.as_object().expect("always an object");
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().expect("a number as text"),
        other => other.as_i64().expect("a number"),
    };
    members.iter().map(|(name, n)| (name.clone(), number(n))).collect()
}

/// Applies the changes to a first map.
struct Follower {
    client: Client,
    map: Map,
    messages: usize,
}

impl Follower {
    async fn new(site: &Site) -> Self {
        let mut client = site.connect("/language/watch").await;
        let first = client.text().await;
        let value: Value = serde_json::from_str(&first).unwrap();
        let map = value["languageMap"].to_string();
        let wanted = format!(r#"{{"firstMessageTag":true,"apiVersion":2,"languageMap":{map}}}"#);
        assert_eq!(first, wanted);
        let map = read(&value["languageMap"]);
        Self { client, map, messages: 0 }
    }

    async fn follow(&mut self) {
        let text = self.client.text().await;
        let value: Value = serde_json::from_str(&text).unwrap();
        let (deletions, additions) = (&value["deletions"], &value["additions"]);
        let wanted = format!(
            concat!(
                r#"{{"Deletions":{0},"Additions":{1},"#,
                r#""deletions":{0},"additions":{1}}}"#
            ),
            deletions, additions
        );
        assert_eq!(text, wanted, "both spellings, both objects");
        let (deletions, additions) = (read(deletions), read(additions));
        assert!(!deletions.is_empty() || !additions.is_empty(), "nothing when there is none");
        assert!(deletions.values().chain(additions.values()).all(|n| *n > 0), "{text}");
        assert!(deletions.keys().all(|name| !additions.contains_key(name)), "the net: {text}");
        for (name, n) in additions {
            *self.map.entry(name).or_default() += n;
        }
        for (name, n) in deletions {
            *self.map.entry(name).or_default() -= n;
        }
        self.map.retain(|_, n| *n != 0);
        assert!(self.map.values().all(|n| *n > 0), "{text}");
        self.messages += 1;
    }

    /// Follows until the map equals `wanted`.
    async fn until(&mut self, wanted: &Map) {
        while &self.map != wanted {
            assert!(self.messages < 1_000, "{wanted:?} was to come, not {:?}", self.map);
            self.follow().await;
        }
    }
}

fn map(counts: &[(&str, i64)]) -> Map {
    counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_sends_the_map_and_then_its_changes() {
    let time = steps();
    let clock = Clock::stepped(time);
    let settings = [("GHPULSE_INTERVAL_LATEST", "100ms"), ("GHPULSE_INTERVAL_LATESTDURING", "600")];
    let (github, dir) =
        (GitHub::start_at(Options::by_hand(1), clock).await, tempfile::tempdir().unwrap());
    let running = Running::start_at(dir.path(), &github.url, &settings, clock).await;
    let site = Site { github, dir, running };
    let mut early = Follower::new(&site).await;
    assert_eq!(early.map, Map::new());
    early.client.subscribe(r#"{"language":[]}"#).await;
    // Late parameters, after the map has changed several times.
    let mut late = Follower::new(&site).await;
    site.push(&events(1, &[("Go", 3), ("C", 1)]));
    early.until(&map(&[("Go", 3), ("C", 1)])).await;
    let mut middle = Follower::new(&site).await;
    assert_eq!(middle.map, map(&[("Go", 3), ("C", 1)]));
    middle.client.subscribe("{}").await;
    late.client.subscribe("{}").await;
    late.until(&early.map.clone()).await;
    assert_eq!(late.messages, 1, "the change since its first map, as one");
    // The window passes: everything that was added is deleted again.
    time.store(700_000_000, Ordering::Relaxed);
    let mut latest = site.latest("{}").await;
    latest.until("{}").await;
    for follower in [&mut early, &mut late, &mut middle] {
        follower.until(&Map::new()).await;
    }
    // A subscriber to one language receives no others, and catches up when it asks for more.
    early.client.subscribe(r#"{"language":["Go"]}"#).await;
    site.push(&events(100, &[("C", 1), ("Go", 2)]));
    early.until(&map(&[("Go", 2)])).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_changes_add_up_to_the_latest_over_many_ticks() {
    let site = Site::start(&[("GHPULSE_INTERVAL_LATEST", "50ms")]).await;
    let mut latest = site.latest("{}").await;
    let mut watch = Follower::new(&site).await;
    watch.client.subscribe("{}").await;
    let mut late = Follower::new(&site).await;
    let mut total = Map::new();
    let mut next = 1;
    for round in 0_u64..25 {
        let counts = [("Go", 1 + round % 3), ("C", round % 2), ("Java", (round + 1) % 4)];
        for (name, n) in counts.iter().filter(|(_, n)| *n > 0) {
            *total.entry((*name).to_owned()).or_default() += n.cast_signed();
        }
        let made = events(next, &counts);
        next += made.len() as u64;
        site.push(&made);
        latest.until(&serde_json::to_string(&total).unwrap()).await;
        watch.until(&total).await;
    }
    assert!(watch.messages >= 25, "{}", watch.messages);
    late.client.subscribe("{}").await;
    late.until(&total).await;
    assert_eq!(late.messages, 1, "late params: the change since the first map, as one");
    site.end().await;
}
