//! GitHub is unavailable for a while: readers receive the gap before the events that follow it.

use std::sync::atomic::Ordering;

use ghpulse::clock::Clock;

use super::*;
use crate::common::client::request;
use crate::common::running::steps;

/// Seconds during which GitHub is not polled.
const AWAY: i64 = 90;
/// Events in that time, more than GitHub's pages show.
const MISSED: usize = 450;

#[tokio::test(flavor = "multi_thread")]
async fn gap_of_an_outage_precedes_the_events_after_it() {
    let time = steps();
    let clock = Clock::stepped(time);
    let options = Options { shape: Shape::Old, ..Options::by_hand(51) };
    let github = GitHub::start_at(options, clock).await;
    let dir = tempfile::tempdir().unwrap();
    let appliance = Running::start_at(dir.path(), &github.url, PATIENT, clock).await;
    github.control.emit(60);
    until_replayed(&appliance, &github).await;
    let accept = ["accept: application/x-ndjson"];
    let all = request(appliance.public, "GET", "/stream?poll=1", &accept).await.body;
    let last: Value = serde_json::from_str(all.lines().last().unwrap()).unwrap();
    let cursor = last["cursor"].as_str().unwrap();
    appliance.end().await;

    time.store(AWAY * 1_000_000, Ordering::Relaxed);
    github.control.set_fault(Fault { share: 1.0, ..Fault::new(FaultKind::Error503) });
    github.control.emit(MISSED);
    let appliance = Running::start_at(dir.path(), &github.url, PATIENT, clock).await;
    let mut live = Client::connect(appliance.public, &format!("/stream?cursor={cursor}")).await;
    while live.json().await["type"] != "caught_up" {}
    github.control.clear_faults();
    let mut gaps = Vec::new();
    let mut events = 0;
    while events < 100 {
        let message = live.json().await;
        match message["type"].as_str().unwrap() {
            "gap" => gaps.push((events, message)),
            "event" => events += 1,
            _ => {}
        }
    }
    let [(0, gap)] = &gaps[..] else { panic!("not one gap before all events: {gaps:?}") };
    assert_eq!((&gap["reason"], &gap["from"]), (&"upstream".into(), &cursor.into()));
    // A later reader receives the gap at the same position.
    let path = format!("/stream?poll=1&cursor={cursor}");
    let later = request(appliance.public, "GET", &path, &accept).await.body;
    let kinds = later.lines().map(|line| {
        let message: Value = serde_json::from_str(line).unwrap();
        message["type"].as_str().unwrap().to_owned()
    });
    let kinds: Vec<_> = kinds.filter(|kind| kind == "gap" || kind == "event").collect();
    assert_eq!(kinds[0], "gap");
    assert!(kinds[1..].iter().all(|kind| kind == "event"));
    appliance.end().await;
}
