//! Clock jumps: by any step, in either direction, while the appliance runs and between two starts.
//! Nothing is deleted, nothing is counted twice, and the state of the clock is named.

use std::sync::atomic::{AtomicI64, Ordering};

use ghpulse::clock::Clock;
use ghpulse::model::window::Timestamp;

use super::*;
use crate::common::client::request;
use crate::common::running::steps;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// Seconds by which the clock is wrong for a while, and by which it is wrong at the next start.
const STEPS: &[(i64, i64)] = &[
    (4 * DAY, 90),
    (30 * DAY, -700 * DAY),
    (-700 * DAY, 30 * DAY),
    (-3 * DAY, 25 * HOUR),
    (2 * HOUR, -2 * HOUR),
    (-90, 400 * DAY),
];

fn set(time: &AtomicI64, seconds: i64) {
    time.store(seconds * 1_000_000, Ordering::Relaxed);
}

async fn status(appliance: &Running) -> Value {
    request(appliance.ops, "GET", "/status?format=json", &[]).await.json()
}

/// Waits for this state of the clock; for `agrees`, also until retention has run since `before`.
async fn until_judged(appliance: &Running, state: &str, before: &Value) -> Value {
    until_some(state, async || {
        let status = status(appliance).await;
        let clock = &status["clock"];
        let passed = clock["last_retention_at"] != *before;
        (clock["state"] == state && (passed || state != "agrees")).then_some(status)
    })
    .await
}

/// The time of the last retention run.
fn pass_of(status: &Value) -> Value {
    status["clock"]["last_retention_at"].clone()
}

/// Emits events, and waits until GitHub has served all of them.
async fn feed(github: &GitHub, count: usize) {
    github.control.emit(count);
    let served = github.control.until(|control| control.unserved() == 0);
    soon("all is served", served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_any_size_delete_and_double_nothing() {
    for (seed, (step, start)) in STEPS.iter().enumerate() {
        println!("a step of {step} s, then a start {start} s off");
        run(seed as u64 + 900, *step, *start).await;
    }
}

async fn run(seed: u64, step: i64, start: i64) {
    let github = GitHub::start(Options { shape: Shape::Old, ..Options::by_hand(seed) }).await;
    let dir = tempfile::tempdir().unwrap();
    let time = steps();
    let clock = Clock::stepped(time);
    let settings = [PATIENT[0], ("GHPULSE_STORE_JOURNAL_FOR", "1h")];

    // A jump and back at run time.
    let appliance = Running::start_at(dir.path(), &github.url, &settings, clock).await;
    feed(&github, 40).await;
    let before = until_judged(&appliance, "agrees", &Value::Null).await;
    let stepped_at = clock.now();
    set(time, step);
    feed(&github, 20).await;
    let during = until_judged(&appliance, "disagrees", &Value::Null).await;
    assert_eq!(during["clock"]["witness"], "github");
    let ahead = during["clock"]["seconds_ahead"].as_f64().unwrap();
    let wanted = f64::from(i32::try_from(step).unwrap());
    assert!((ahead - wanted).abs() < 60.0, "{ahead} for {step}");
    let store = &during["parts"][0];
    assert_eq!((&store["name"], &store["state"]), (&"store".into(), &"degraded".into()));
    assert!(store["error"].as_str().unwrap().contains("the clock of this machine is"), "{store}");
    // Another pass may have run before the step; one after it would have the time of the step.
    let passed_at = |status: &Value| Timestamp::parse(pass_of(status).as_str().unwrap()).unwrap();
    let right = passed_at(&before)..=stepped_at;
    assert!(right.contains(&passed_at(&during)), "something was dropped meanwhile");
    feed(&github, 20).await;
    set(time, 0);
    until_judged(&appliance, "agrees", &Value::Null).await;
    feed(&github, 20).await;
    until_replayed(&appliance, &github).await;
    appliance.end().await;
    stored::assert_holds(dir.path(), &expected(&github));

    // A start with a wrong clock, which is corrected at run time.
    set(time, start);
    let appliance = Running::start_at(dir.path(), &github.url, &settings, clock).await;
    feed(&github, 20).await;
    let wrong = until_judged(&appliance, "disagrees", &Value::Null).await;
    set(time, 0);
    until_judged(&appliance, "agrees", &pass_of(&wrong)).await;
    feed(&github, 20).await;
    until_replayed(&appliance, &github).await;
    appliance.end().await;
    stored::assert_holds(dir.path(), &expected(&github));

    // A new store is created with a wrong clock.
    let dir = tempfile::tempdir().unwrap();
    set(time, start);
    let appliance = Running::start_at(dir.path(), &github.url, &settings, clock).await;
    feed(&github, 20).await;
    until_judged(&appliance, "disagrees", &Value::Null).await;
    set(time, 0);
    until_judged(&appliance, "agrees", &Value::Null).await;
    feed(&github, 10).await;
    appliance.end().await;
    let journal = stored::journal(dir.path());
    let keys: std::collections::BTreeSet<_> =
        journal.iter().map(|(_, _, event)| key_of(event)).collect();
    assert_eq!(keys.len(), journal.len(), "an event was counted twice");
}

/// GitHub's `Date` is wrong while a node starts for the first time: nothing else gives the time, so
/// its events are stamped with it. The pages still show them when it is right again.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_date_at_the_first_start_doubles_nothing() {
    for (seed, step) in (950..).zip([-10 * DAY, -2 * DAY, -700 * DAY, 10 * DAY]) {
        println!("a Date that is {step} s off");
        let time = steps();
        set(time, step);
        let options = Options { shape: Shape::Old, ..Options::by_hand(seed) };
        let github = GitHub::start_at(options, Clock::stepped(time)).await;
        let dir = tempfile::tempdir().unwrap();
        let appliance = Running::start(dir.path(), &github.url, PATIENT).await;
        feed(&github, 60).await;
        let wrong = until_judged(&appliance, "disagrees", &Value::Null).await;
        assert_eq!(wrong["clock"]["witness"], "github");
        set(time, 0);
        let right = until_judged(&appliance, "agrees", &pass_of(&wrong)).await;
        feed(&github, 20).await;
        until_newest_applied(&appliance, &github).await;
        appliance.end().await;
        // Its first pass is one of another process.
        let appliance = Running::start(dir.path(), &github.url, PATIENT).await;
        until_judged(&appliance, "agrees", &pass_of(&right)).await;
        feed(&github, 20).await;
        until_newest_applied(&appliance, &github).await;
        appliance.end().await;
        stored::assert_opened(dir.path(), &expected(&github));
    }
}

/// Waits until the journal has the newest event of the feed.
async fn until_newest_applied(appliance: &Running, github: &GitHub) {
    let emitted = github.control.emitted();
    let newest = key_of(&serde_json::from_str(emitted.last().unwrap()).unwrap());
    let accept = ["accept: application/x-ndjson"];
    until_some("the newest event is applied", async || {
        let replay = request(appliance.public, "GET", "/stream?poll=1", &accept).await.body;
        let messages = replay.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut events = messages.filter(|message| message["type"] == "event");
        events.any(|message| key_of(&message["event"]) == newest).then_some(())
    })
    .await;
}
