//! Stores written by earlier versions, in `tests/stores`: each must open, show the same figures and
//! continue from the same cursors. A new version adds its own with
//! `GHPULSE_TEST_WRITE_STORE=1 cargo test --release --test it -- upgrade`; none is ever removed.
//!
//! The clock shows the day on which the store was written, so that neither retention nor a new year
//! changes the expected figures.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use ghpulse::clock::Clock;
use ghpulse::model::window::Timestamp;
use ghpulse::simulate::Options;
use serde_json::{Value, json};

use super::events::{opened, push, year};
use super::site::Site;
use crate::common::client::{Client, request};
use crate::common::running::{GitHub, Running, steps};
use crate::common::stored;

/// Number of pull requests; the same number of pushes follows.
const PULLS: u64 = 20;

fn stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores")
}

/// The figures in a reader's first message.
async fn first_message(running: &Running) -> Value {
    Client::connect(running.public, "/sampling").await.json().await
}

/// The events that `/stream` replays: cursor and id.
async fn replayed(running: &Running, query: &str) -> Vec<(String, String)> {
    let path = format!("/stream?poll=1&{query}");
    let answer = request(running.public, "GET", &path, &["accept: application/x-ndjson"]).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    let lines = answer.body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events = lines.filter(|line| line["type"] == "event");
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    events.map(|line| (text(&line["cursor"]), text(&line["event"]["id"]))).collect()
}

fn tar(arguments: &[&str], file: &Path, dir: &Path) {
    let mut command = Command::new("tar");
    let done = command.args(arguments).arg("-f").arg(file).arg("-C").arg(dir).arg(".").status();
    assert!(done.unwrap().success(), "tar {arguments:?} {}", file.display());
}

/// Writes the store of this version, and the expected results.
async fn write() {
    let now = Clock::system().now().micros();
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1,"filter":["event.id"]}"#).await;
    let pulls = (1..=PULLS).map(|id| opened(id, if id % 3 == 0 { "Rust" } else { "Go" }));
    let events: Vec<String> = pulls.chain((PULLS + 1..=2 * PULLS).map(push)).collect();
    site.push(&events);
    site.settle(&mut reader, events.len()).await;
    let (first, events) =
        (first_message(&site.running).await, replayed(&site.running, "latest=100").await);
    let Site { dir, running, .. } = site;
    running.end().await;
    let version = env!("CARGO_PKG_VERSION");
    std::fs::create_dir_all(stores()).unwrap();
    let file = stores().join(format!("{version}.tar.gz"));
    tar(&["-cz", "--exclude=LOG*", "--exclude=LOCK", "--sparse"], &file, dir.path());
    let about = json!({ "version": version, "written": now, "first": first, "events": events });
    let about = format!("{about:#}\n");
    std::fs::write(stores().join(format!("{version}.json")), about).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_opens_stores_of_all_earlier_versions() {
    if std::env::var_os("GHPULSE_TEST_WRITE_STORE").is_some() {
        write().await;
    }
    let mut tried = 0;
    for entry in std::fs::read_dir(stores()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "json") {
            opens(&path).await;
            tried += 1;
        }
    }
    assert!(tried > 0, "no store in {}", stores().display());
}

/// Runs this version on a copy, and compares.
async fn opens(about: &Path) {
    let expected: Value = serde_json::from_slice(&std::fs::read(about).unwrap()).unwrap();
    let version = expected["version"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    tar(&["-xz"], &stores().join(format!("{version}.tar.gz")), dir.path());
    let events: Vec<(String, String)> = serde_json::from_value(expected["events"].clone()).unwrap();
    assert_eq!(u64::try_from(events.len()).unwrap(), 2 * PULLS, "{version}");

    let moved = steps();
    let written = expected["written"].as_i64().unwrap();
    moved.store(written - Clock::system().now().micros(), Ordering::Relaxed);
    let clock = Clock::stepped(moved);
    let github = GitHub::start_at(Options::by_hand(1), clock).await;
    let running = Running::start_at(dir.path(), &github.url, &[], clock).await;
    assert_eq!(first_message(&running).await, expected["first"], "{version}");
    assert_eq!(replayed(&running, "latest=100").await, events, "{version}");
    let (cursor, rest) = (&events[9].0, &events[10..]);
    assert_eq!(replayed(&running, &format!("cursor={cursor}")).await, rest, "{version}");
    // The store remains usable: a new event follows the old ones, an old one is a duplicate.
    let site = Site { github, dir, running };
    let mut reader = site.sampling(r#"{"samplingRate":1,"filter":["event.id"]}"#).await;
    let that_year = Timestamp::from_micros(written).year().0;
    let of_then =
        |event: String| event.replace(&format!("\"{}-", year()), &format!("\"{that_year}-"));
    site.push(&[opened(1, "Go"), push(2 * PULLS + 1)].map(of_then));
    let came = site.settle(&mut reader, 1).await;
    assert!(came[0].contains(&format!("\"{}\"", 2 * PULLS + 1)), "{version}: {came:?}");
    let Site { dir, running, .. } = site;
    running.end().await;
    assert_eq!(stored::journal(dir.path()).len(), events.len() + 1, "{version}");
}
