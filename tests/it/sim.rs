//! Seeded runs against a simulated GitHub that fails in every possible way: a reader receives what
//! it served, exactly once, and the store matches a model that counts from the world's list.
//!
//! A failing run prints its seed; `GHPULSE_SIM_SEED=N cargo test --release --test it -- sim::`
//! repeats it. `GHPULSE_SIM_RUNS=N` makes more runs.

mod app;
mod audit;
mod buses;
mod clock;
mod complete;
mod enriched;
mod limits;
mod listed;
mod missed;
mod outage;
mod pushed;
mod room;
mod troubles;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::client::{self, Came, Client};
use crate::common::model::{Expected, Truth, as_sent, key_of};
use crate::common::running::{GitHub, Running, soon, until_some};
use crate::common::stored;
use ghpulse::simulate::{Fault, FaultKind, Options, Shape};
use serde_json::Value;

/// Seeded runs in `make test`.
const RUNS: u64 = 6;
/// Faults of GitHub that lose nothing. Tokens are quarantined for half a minute and longer, so the
/// two faults that cause it have their own tests next to the poller.
pub(crate) const FAULTS: &[FaultKind] = &[
    FaultKind::Error500,
    FaultKind::Error502,
    FaultKind::Error503,
    FaultKind::RetryAfter,
    FaultKind::Slow,
    FaultKind::CutOff,
    FaultKind::Stale,
    FaultKind::Garbage,
    FaultKind::Reordered,
    FaultKind::QueryBroken,
    FaultKind::QueryTimeout,
    FaultKind::QuerySlow,
    FaultKind::QueryPartial,
    FaultKind::QueryLimited,
    FaultKind::QuerySecondary,
    FaultKind::QueryError,
];
/// Every event is enriched before it is published: the model knows all fields.
const PATIENT: &[(&str, &str)] = &[("GHPULSE_GITHUB_ENRICH_DEADLINE", "10m")];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn served_events_are_delivered_and_counted_once() {
    let seeds = match number("GHPULSE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GHPULSE_SIM_RUNS").unwrap_or(RUNS),
    };
    for seed in seeds {
        println!("GHPULSE_SIM_SEED={seed} cargo test --release --test it -- sim::");
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let shape = if chance.bool() { Shape::Old } else { Shape::Today };
    let github = GitHub::start(Options { shape, ..Options::by_hand(seed) }).await;
    let dir = tempfile::tempdir().unwrap();
    let mut got = BTreeMap::new();
    for life in 0..=seed % 3 {
        let appliance = Running::start(dir.path(), &github.url, PATIENT).await;
        let mut client = Client::connect(appliance.public, "/sampling").await;
        assert_eq!(client.json().await["firstMessageTag"], true);
        client.subscribe(r#"{"samplingRate":1}"#).await;
        let before = got.len();
        for _ in 0..chance.usize(2..6) {
            provoke(&github, &mut chance);
            github.control.emit(chance.usize(1..40));
            let requests = github.control.requests();
            let asked = github.control.until(|c| c.requests() > requests + 4);
            soon("GitHub is asked", asked).await;
        }
        github.control.clear_faults();
        let served = github.control.until(|control| control.unserved() == 0);
        soon("all is served", served).await;
        let expected = expected(&github);
        while got.len() < expected.events.len() {
            take(&mut client, &expected, &mut got).await;
        }
        assert!(life == 0 || got.len() >= before, "the second life brings no more");
        appliance.end().await;
        assert!(matches!(client.next().await, Came::Closed(Some((1001, _)))));
        stored::assert_holds(dir.path(), &expected);
    }
}

/// Waits until every event that was ever in the feed can be replayed, once each.
async fn until_replayed(appliance: &Running, github: &GitHub) {
    let wanted = github.control.emitted().len();
    let accept = ["accept: application/x-ndjson"];
    until_some("all is applied", async || {
        let replay = client::request(appliance.public, "GET", "/stream?poll=1", &accept).await.body;
        let is_event = |line: &&str| line.starts_with(r#"{"type":"event""#);
        (replay.lines().filter(is_event).count() >= wanted).then_some(())
    })
    .await;
}

/// The expected counts of all events in the feed, with GitHub's data about their pull requests.
fn expected(github: &GitHub) -> Expected {
    let truth = Truth::of(&github.control.pull_requests());
    let emitted = github.control.emitted();
    let completed: Vec<_> = emitted.iter().map(|event| truth.completed(event)).collect();
    Expected::of(completed.iter().map(AsRef::as_ref))
}

/// Starts some faults, with a probability that lets most requests succeed.
fn provoke(github: &GitHub, chance: &mut fastrand::Rng) {
    github.control.clear_faults();
    for _ in 0..chance.usize(0..4) {
        let kind = FAULTS[chance.usize(..FAULTS.len())];
        let wait = Duration::from_millis(chance.u64(1..1_000));
        github.control.set_fault(Fault { share: 0.3, wait, ..Fault::new(kind) });
    }
}

/// Receives one event, which must be unchanged and new.
async fn take(
    client: &mut Client,
    expected: &Expected,
    got: &mut BTreeMap<(String, String), Value>,
) {
    let message = client.json().await;
    let key = key_of(&message["event"]);
    let sent = expected.events.get(&key);
    let sent = sent.unwrap_or_else(|| panic!("{key:?} was never in the feed"));
    let event = as_sent(message["event"].clone(), sent);
    assert!(&event == sent, "{key:?} was changed from {sent} to {event}");
    assert_eq!(message["payload"].as_object().map(serde_json::Map::len), Some(7));
    assert!(got.insert(key.clone(), message).is_none(), "{key:?} came twice");
}
