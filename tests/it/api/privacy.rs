//! Who is left out is in nothing that leaves the appliance, and addresses are hashed where it says.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use ghpulse::archive::{self, ArchiveTarget};
use ghpulse::clock::Clock;
use ghpulse::config::HourFormat;
use ghpulse::lists::ListSet;
use ghpulse::model::window::Hour;
use ghpulse::store::{Durability, Store};
use serde_json::Value;

use super::site::Site;
use crate::common::client::request;
use crate::common::running::{Running, soon};
use crate::common::stored;

/// A push of two commits.
fn push(id: u64, actor: &str, repo: &str) -> String {
    format!(
        concat!(
            r#"{{"id":"{id}","type":"PushEvent","actor":{{"id":{id},"login":"{actor}"}},"#,
            r#""repo":{{"id":2,"name":"{repo}"}},"payload":{{"push_id":{id},"commits":[{{"#,
            r#""sha":"e5","author":{{"name":"abc@home","email":"abc@example.org"}},"#,
            r#""message":"mail abc@example.org"}}]}},"public":true,"#,
            r#""created_at":"2026-03-01T05:00:{id:02}Z"}}"#
        ),
        id = id,
        actor = actor,
        repo = repo
    )
}

/// The same as it is shown where addresses are hashed; the SHA-1 of `abc` is that of RFC 3174.
fn hashed(event: &str) -> String {
    event.replace(
        r#""email":"abc@example.org""#,
        r#""email":"a9993e364706816aba3e25717850c26c9cd0d89d@example.org""#,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_left_out_is_nowhere_and_stays_out_when_the_list_is_emptied() {
    let site = Site::start(&[("GHPULSE_PRIVACY_EXCLUDE", "Ann, spam-*, bob/secret")]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    let left_out =
        [push(1, "ann", "x/y"), push(2, "cid", "Spam-1/y"), push(3, "cid", "bob/secret")];
    site.push(&left_out);
    site.push(&[push(4, "cid", "bob/open")]);
    let came: Value = serde_json::from_str(&site.settle(&mut reader, 1).await[0]).unwrap();
    assert_eq!(came["event"]["id"], "4");
    let busiest = request(site.running.public, "GET", "/now", &[]).await.body;
    assert!(!busiest.to_lowercase().contains("spam-1"), "{busiest}");

    let Site { github, dir, running } = site;
    running.end().await;
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let site = Site { github, dir, running };
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[push(5, "ann", "x/y")]);
    let came: Value = serde_json::from_str(&site.settle(&mut reader, 1).await[0]).unwrap();
    assert_eq!(came["event"]["id"], "5", "what was left out before does not come back");
    let Site { github, dir, running } = site;
    soon("it stops", running.end()).await;
    drop(github);
    let kept = stored::journal(dir.path());
    let ids: Vec<_> = kept.iter().map(|(.., event)| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["4", "5"]);
    stored::assert_agrees_with_itself(dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_hashed_in_exports_and_on_request_everywhere() {
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[push(1, "ann", "x/y")]);
    let came = site.settle(&mut reader, 1).await;
    assert!(came[0].contains(&push(1, "ann", "x/y")), "as GitHub sent it: {}", came[0]);
    let Site { github, dir, running } = site;
    running.end().await;
    let on = [("GHPULSE_PRIVACY_HASHEMAILS", "true")];
    let running = Running::start(dir.path(), &github.url, &on).await;
    let site = Site { github, dir, running };
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[push(2, "ann", "x/y")]);
    let came = site.settle(&mut reader, 1).await;
    assert!(came[0].contains(&hashed(&push(2, "ann", "x/y"))), "only hashed: {}", came[0]);
    let Site { github, dir, running } = site;
    soon("it stops", running.end()).await;
    drop(github);

    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let day = ghpulse::model::window::Day::parse("2026-03-01").unwrap();
    let hour = Hour(day.start().hour().0 + 5);
    let to = tempfile::tempdir().unwrap();
    let target = ArchiveTarget {
        dir: to.path().to_owned(),
        format: HourFormat::Json,
        hashes_emails: true,
        lists: ListSet::default(),
    };
    let exported = archive::export(&store, hour, Hour(hour.0 + 1), &target).unwrap();
    assert_eq!(exported.hours[0].events, 2);
    let mut text = String::new();
    let file = std::fs::File::open(&exported.hours[0].file).unwrap();
    MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    let lines = [1, 2].map(|id| hashed(&push(id, "ann", "x/y")));
    assert_eq!(text, format!("{}\n{}\n", lines[0], lines[1]));
    // Nothing was received in that hour, and nobody watched it.
    let beside = std::fs::read(to.path().join("2026-03-01-5.coverage.json")).unwrap();
    let beside: Value = serde_json::from_slice(&beside).unwrap();
    assert_eq!(beside["hour"], "2026-03-01T05:00:00Z");
    assert!(["received", "missed", "missed_share"].iter().all(|name| beside[name].is_null()));
    assert_eq!(beside["minutes_known"], 0);
}
