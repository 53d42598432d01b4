//! Who is left out is in nothing that leaves the appliance, and addresses are hashed where it says.

use std::io::Read as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use ghpulse::appliance;
use ghpulse::archive::{self, ArchiveTarget};
use ghpulse::config::HourFormat;
use ghpulse::lists::ListSet;
use ghpulse::model::window::Hour;
use serde_json::Value;

use super::site::Site;
use super::stream::polled;
use crate::common::client::request;
use crate::common::running::{Running, config, soon, until_some};
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
async fn excluded_actor_stays_excluded_after_the_list_is_emptied() {
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

    let store = stored::released(dir.path()).await;
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

/// Saves as editors do: renames a new file over the old one.
fn save(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// Ids of all events that the journal shows.
async fn shown(site: &Site) -> Vec<String> {
    let events = polled(site.running.public, "").await;
    events.iter().map(|(_, line)| line["event"]["id"].as_str().unwrap().to_owned()).collect()
}

async fn until_shown(site: &Site, ids: &[&str]) {
    until_some("these events are shown", async || (shown(site).await == ids).then_some(())).await;
}

/// Waits until the ops listener names a fault of the file; returns all of it.
async fn until_refused(site: &Site, why: &str) {
    until_some("the file is refused", async || {
        let parts = request(site.running.ops, "GET", "/readyz", &[]).await.body;
        let is_named = parts.contains("privacy.excludeFile: ") && parts.contains(why);
        assert!(!parts.contains("ann smith"), "no line is repeated: {parts}");
        is_named.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_the_file_are_left_out_at_once_and_kept() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("exclude.txt");
    let settings = [
        ("GHPULSE_PRIVACY_EXCLUDEFILE", file.to_str().unwrap()),
        ("GHPULSE_PRIVACY_EXCLUDE", "cid"),
    ];
    let mut site = Site::start(&settings).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[push(1, "ann", "x/y"), push(2, "bob", "x/z"), push(3, "bob", "Ann/tool")]);
    site.settle(&mut reader, 3).await;
    assert_eq!(shown(&site).await, ["1", "2", "3"]);
    let status =
        async |site: &Site, path| request(site.running.public, "GET", path, &[]).await.status;
    assert_eq!(status(&site, "/repo/ann/tool").await, 200);
    until_some("she is among the busiest", async || {
        let now = request(site.running.public, "GET", "/now", &[]).await.body;
        now.to_lowercase().contains("ann/tool").then_some(())
    })
    .await;

    // What is kept is not shown any more, and readers that are connected receive nothing new.
    let mut live = site.connect("/stream").await;
    save(&file, "# asked by mail\n@ann\n");
    until_shown(&site, &["2"]).await;
    assert_eq!(status(&site, "/repo/ann/tool").await, 404);
    until_some("she is not among the busiest", async || {
        let now = request(site.running.public, "GET", "/now", &[]).await.body;
        (!now.to_lowercase().contains("ann/tool")).then_some(())
    })
    .await;
    let more = [push(4, "Ann", "x/y"), push(5, "bob", "ann/tool"), push(6, "cid", "x/y")];
    site.push(&more);
    site.push(&[push(7, "bob", "x/z")]);
    let came: Value = serde_json::from_str(&site.settle(&mut reader, 1).await[0]).unwrap();
    assert_eq!(came["event"]["id"], "7");
    let first: Value = loop {
        let message: Value = serde_json::from_str(&live.text().await).unwrap();
        if message["type"] == "event" {
            break message;
        }
    };
    assert_eq!(first["event"]["id"], "7");

    // A bad text and a removed file change nothing, also over a restart.
    save(&file, "bob\nann smith\n");
    until_refused(&site, "line 2: not a name").await;
    assert_eq!(shown(&site).await, ["2", "7"]);
    std::fs::remove_file(&file).unwrap();
    until_refused(&site, "cannot be read").await;
    let Site { github, dir, running } = site;
    running.end().await;
    let running = Running::start(dir.path(), &github.url, &settings).await;
    site = Site { github, dir, running };
    assert_eq!(shown(&site).await, ["2", "7"]);

    // What was kept is shown again when she may be; what was left out is not there.
    save(&file, "");
    until_shown(&site, &["1", "2", "3", "7"]).await;
    save(&file, "x/*");
    until_shown(&site, &["3"]).await;
    let Site { github, dir, running } = site;
    soon("it stops", running.end()).await;
    let store = stored::released(dir.path()).await;
    let config = config(dir.path(), &github.url, &settings);
    appliance::leave_out(&store, &config.privacy).unwrap();
    let hour = Hour(ghpulse::model::window::Day::parse("2026-03-01").unwrap().start().hour().0 + 5);
    let to = files.path().to_owned();
    let (format, lists) = (HourFormat::Json, ListSet::default());
    let target = ArchiveTarget { dir: to, format, hashes_emails: true, lists };
    let exported = archive::export(&store, hour, Hour(hour.0 + 1), &target).unwrap();
    assert_eq!(exported.hours.iter().map(|hour| hour.events).sum::<u64>(), 1);
}
