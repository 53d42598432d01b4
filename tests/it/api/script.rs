//! The merge script, edited at run time.

use std::path::Path;

use ghpulse::clock::Clock;
use ghpulse::model::window::Timestamp;
use serde_json::Value;

use super::events::opened;
use super::site::Site;
use crate::common::client::{Client, request};
use crate::common::running::{Running, soon, until_some};
use crate::common::webhook::webhook;

const TWICE: &str = "fn merge(window) {\n    let t = Tally();\n    t.add(window, 2);\n    t\n}\n";
const BROKEN: &str = "fn merge(window) {\n    let t = Tally();\n    t.add(window, 3;\n    t\n}\n";

fn shipped() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/merge_latest.rhai");
    std::fs::read_to_string(path).unwrap()
}

/// Saves as editors do: renames a new file over the old one.
fn save(scripts: &Path, text: &str) {
    let new = scripts.join(".merge_latest.rhai.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, scripts.join("merge_latest.rhai")).unwrap();
}

async fn scripts_part(running: &Running) -> Value {
    let parts = request(running.public, "GET", "/readyz", &[]).await;
    assert_eq!(parts.status, 200, "a bad script stops nothing");
    let parts = parts.json();
    let found = parts.as_array().unwrap().iter().find(|part| part["name"] == "scripts");
    found.unwrap().clone()
}

/// Waits until `/readyz` reports an error in line 3.
async fn until_refused(latest: &mut Client, running: &Running) {
    let refused = async {
        loop {
            let part = scripts_part(running).await;
            if part["state"] == "degraded" {
                return part;
            }
            latest.text().await;
        }
    };
    let part = soon("the script is refused", refused).await;
    let error = part["error"].as_str().unwrap();
    assert!(error.contains("merge_latest.rhai:3:"), "file, line and column: {error}");
    let page = request(running.public, "GET", "/", &[]).await.body;
    assert!(page.contains("merge_latest.rhai:3:"), "the page says it too");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_shows_and_a_broken_one_never_is_in_force() {
    let scripts = tempfile::tempdir().unwrap();
    save(scripts.path(), &shipped());
    let folder = scripts.path().to_str().unwrap().to_owned();
    let settings = [("GHPULSE_SCRIPTS_DIR", folder.as_str())];
    let site = Site::start(&settings).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[opened(1, "Go"), opened(2, "Go"), opened(3, "C")]);
    site.settle(&mut reader, 3).await;
    let mut latest = site.latest("{}").await;
    latest.until(r#"{"C":1,"Go":2}"#).await;

    save(scripts.path(), TWICE);
    latest.until(r#"{"C":2,"Go":4}"#).await;
    assert_eq!(scripts_part(&site.running).await["state"], "ok");

    save(scripts.path(), BROKEN);
    until_refused(&mut latest, &site.running).await;
    assert_eq!(latest.text().await, r#"{"C":2,"Go":4}"#, "the last good one stays");

    // Also after a restart; deleting the file changes nothing.
    let Site { github, dir, running } = site;
    running.end().await;
    let running = Running::start(dir.path(), &github.url, &settings).await;
    let site = Site { github, dir, running };
    let mut latest = site.latest("{}").await;
    latest.until(r#"{"C":2,"Go":4}"#).await;
    until_refused(&mut latest, &site.running).await;
    std::fs::remove_file(scripts.path().join("merge_latest.rhai")).unwrap();
    for _ in 0..3 {
        assert_eq!(latest.text().await, r#"{"C":2,"Go":4}"#);
    }

    save(scripts.path(), &shipped());
    latest.until(r#"{"C":1,"Go":2}"#).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn since_is_the_time_of_the_last_change() {
    let scripts = tempfile::tempdir().unwrap();
    save(scripts.path(), &shipped());
    let folder = scripts.path().to_str().unwrap().to_owned();
    let (url, mut posts) = webhook().await;
    let settings = [
        ("GHPULSE_SCRIPTS_DIR", folder.as_str()),
        ("GHPULSE_ALERTS_WEBHOOK", url.as_str()),
        ("GHPULSE_ALERTS_FORMAT", "json"),
        ("GHPULSE_ALERTS_TOLERANCE", "0"),
    ];
    let site = Site::start(&settings).await;
    let mut latest = site.latest("{}").await;
    latest.text().await;
    let before = Clock::system().now();
    save(scripts.path(), BROKEN);
    // No client requests `/readyz` until the alert shows that the change was noticed without one.
    let alert = async { while posts.recv().await.unwrap()["condition"] != "script_broken" {} };
    soon("an alert is posted", alert).await;
    let noticed = Clock::system().now();
    latest.text().await;
    let part = scripts_part(&site.running).await;
    assert_eq!(part["state"], "degraded");
    let since = Timestamp::parse(part["since"].as_str().unwrap()).unwrap();
    assert!(
        (before..=noticed).contains(&since),
        "{since}: saved at {before}, noticed at {noticed}"
    );
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_file_and_failing_ticks_are_the_plain_sum() {
    let scripts = tempfile::tempdir().unwrap();
    let folder = scripts.path().to_str().unwrap().to_owned();
    let site = Site::start(&[("GHPULSE_SCRIPTS_DIR", folder.as_str())]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[opened(1, "Go"), opened(2, "C")]);
    site.settle(&mut reader, 2).await;
    let mut latest = site.latest("{}").await;
    latest.until(r#"{"C":1,"Go":1}"#).await;
    assert_eq!(scripts_part(&site.running).await["state"], "ok", "nothing is degraded");
    // Succeeds on the sample and on the current window, fails later.
    let until_three = "fn merge(window) {\n    let t = Tally();\n    t.add(window);\n    \
                       if t.get(\"Go\") == 3 { throw \"three\"; }\n    t.set(\"Seen\", 7);\n    t\n}\n";
    save(scripts.path(), until_three);
    latest.until(r#"{"C":1,"Go":1,"Seen":7}"#).await;
    site.push(&[opened(3, "Go"), opened(4, "Go")]);
    latest.until(r#"{"C":1,"Go":3}"#).await;
    until_some("the failure is reported", async || {
        let part = scripts_part(&site.running).await;
        part["error"].as_str().is_some_and(|error| error.contains("three")).then_some(())
    })
    .await;
    site.push(&[opened(5, "Go")]);
    latest.until(r#"{"C":1,"Go":4,"Seen":7}"#).await;
    until_some("it is well again", async || {
        (scripts_part(&site.running).await["state"] == "ok").then_some(())
    })
    .await;
    site.end().await;
}
