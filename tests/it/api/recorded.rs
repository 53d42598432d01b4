//! Hours of real events, if this machine has them next to the clone: served by the simulated GitHub
//! to a running appliance, which delivers every event once and matches the counts of the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ghpulse::simulate::Options;
use serde_json::Value;

use super::site::Site;
use crate::common::model::{Expected, as_sent, key_of};
use crate::common::running::{GitHub, Running, soon};
use crate::common::stored;

/// Events added at once: GitHub's pages show all of them, even if all are pushes.
const STEP: usize = 100;

/// The recorded files with this prefix; prints a message if there are none.
fn recorded(test: &str, begin: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(begin)))
        .collect();
    files.sort();
    if files.is_empty() {
        println!("skipped: {test}: no {begin}* in ../shared/data, which is no part of the project");
    }
    files
}

/// Serves the files, reads `/sampling`, and compares readers, store and first message with the
/// model.
async fn come_out_once(files: Vec<PathBuf>) {
    let options = Options { events: files, ..Options::by_hand(1) };
    let github = GitHub::start(options).await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let site = Site { github, dir, running };
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    let mut ids = site.sampling(r#"{"samplingRate":1,"filter":["event.type","event.id"]}"#).await;
    let control = &site.github.control;
    let mut seen: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut expected = Expected::default();
    let mut before = 0;
    while control.emit(STEP) > 0 {
        soon("all is served", control.until(|control| control.unserved() == 0)).await;
        let emitted = control.emitted();
        emitted[before..].iter().for_each(|text| expected.add(text));
        before = emitted.len();
        while seen.len() < expected.events.len() {
            let message = reader.json().await;
            let key = key_of(&message["event"]);
            let sent = &expected.events[&key];
            assert_eq!(&as_sent(message["event"].clone(), sent), sent, "{key:?} was changed");
            let flags = message["payload"].as_object().expect("an object").len();
            assert_eq!(flags, 7);
            assert!(seen.insert(key.clone(), message).is_none(), "{key:?} came twice");
        }
    }
    assert_eq!(control.left_out(), 0, "a line of the file is no JSON");
    println!("{before} events, {} different ones", expected.events.len());
    assert!(expected.events.len() > 30);
    for _ in 0..expected.events.len() {
        let message = ids.json().await;
        let text = |name: &str| message[name].as_str().unwrap().to_owned();
        assert!(seen.contains_key(&(text("event.type"), text("event.id"))), "{message}");
    }

    let merged = seen.values().filter(|message| message["payload"]["merge"] == 1).count();
    let wanted: i64 = expected.days.values().map(|day| day.merge).sum();
    assert_eq!(i64::try_from(merged).unwrap(), wanted, "merges that readers received");
    let mut latest = site.latest("{}").await;
    latest.text().await;
    let told: BTreeMap<String, i64> = serde_json::from_str(&latest.text().await).unwrap();
    assert_eq!(told, expected.languages, "counts by language");
    let Site { github, dir, running } = site;
    running.end().await;
    drop(github);
    stored::assert_holds(dir.path(), &expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_2015_are_delivered_and_counted_once() {
    let files = recorded("events_of_2015_are_delivered_and_counted_once", "gharchive-");
    if !files.is_empty() {
        come_out_once(files).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_2026_are_delivered_and_counted_once() {
    let files = recorded("events_of_2026_are_delivered_and_counted_once", "trimmed-");
    if !files.is_empty() {
        come_out_once(files).await;
    }
}
