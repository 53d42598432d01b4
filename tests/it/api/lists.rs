//! `list=NAME`: lists of names in files, edited while readers are connected.

use std::path::Path;

use serde_json::{Value, json};

use super::site::Site;
use super::stream::polled;
use crate::common::client::request;
use crate::common::running::{soon, until_some};
use crate::common::webhook::webhook;

fn event(id: u32, repo: &str, actor: &str) -> String {
    let (actor, repo) = (json!({"id": id, "login": actor}), json!({"id": id, "name": repo}));
    json!({
        "id": id.to_string(), "type": "WatchEvent", "actor": actor, "repo": repo, "public": true,
        "payload": {"action": "started"}, "created_at": "2026-11-21T05:00:00Z",
    })
    .to_string()
}

/// Saves as editors do: renames a new file over the old one.
fn save(lists: &Path, name: &str, text: &str) {
    let new = lists.join(format!("{name}.new"));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, lists.join(format!("{name}.txt"))).unwrap();
}

/// Ids of the events that a query selects.
async fn ids(site: &Site, query: &str) -> Vec<String> {
    let events = polled(site.running.public, query).await;
    events.iter().map(|(_, line)| line["event"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn query_by_list_follows_the_file() {
    let lists = tempfile::tempdir().unwrap();
    save(lists.path(), "mine", "Rust-Lang/rust\ntokio-rs/*\n");
    save(lists.path(), "bots", "@renovate[bot] # and no others\n");
    let folder = lists.path().to_str().unwrap().to_owned();
    let (url, mut posts) = webhook().await;
    let settings = [
        ("GHPULSE_LISTS_DIR", folder.as_str()),
        ("GHPULSE_ALERTS_WEBHOOK", url.as_str()),
        ("GHPULSE_ALERTS_FORMAT", "json"),
    ];
    let site = Site::start(&settings).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[
        event(1, "rust-lang/Rust", "ann"),
        event(2, "rust-lang/cargo", "bob"),
        event(3, "Tokio-rs/mio", "renovate[bot]"),
        event(4, "x/y", "Renovate[bot]"),
    ]);
    site.settle(&mut reader, 4).await;
    assert_eq!(ids(&site, "list=mine").await, ["1", "3"]);
    assert_eq!(ids(&site, "list=mine,!bots").await, ["1"]);
    assert_eq!(ids(&site, "list=mine,bots").await, ["1", "3", "4"]);
    assert_eq!(ids(&site, "list=!bots&list=!mine").await, ["2"]);
    assert_eq!(ids(&site, "list=bots&repos=x/*").await, ["4"]);
    let refused = request(site.running.public, "GET", "/stream?poll=1&list=yours", &[]).await;
    assert_eq!(refused.status, 400);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, "list: no list `yours`: the lists are bots, mine");

    // A reader that is connected sees the change; a file with an error changes nothing.
    let mut client = site.connect("/stream?list=mine").await;
    save(lists.path(), "mine", "x/y\n");
    until_some("the new text is in force", async || {
        (ids(&site, "list=mine").await == ["4"]).then_some(())
    })
    .await;
    site.push(&[event(5, "rust-lang/rust", "ann"), event(6, "X/y", "ann")]);
    let live: Value = loop {
        let message: Value = serde_json::from_str(&client.text().await).unwrap();
        if message["type"] == "event" {
            break message;
        }
    };
    assert_eq!(live["event"]["id"], "6");
    save(lists.path(), "mine", "x/y\na b\n");
    save(lists.path(), "fresh", "x/y\n");
    until_some("the next look at the files", async || {
        let path = "/stream?poll=1&list=fresh";
        let answer = request(site.running.public, "GET", path, &[]).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(ids(&site, "list=mine").await, ["4", "6"]);

    // The operator reads which line it is, strangers that there is one; the node stays ready.
    let shown = async |listener| {
        let answer = request(listener, "GET", "/readyz", &[]).await;
        assert_eq!(answer.status, 200);
        answer.json().as_array().unwrap().iter().find(|part| part["name"] == "lists").cloned()
    };
    let part = until_some("the part", async || shown(site.running.ops).await).await;
    let error = part["error"].as_str().unwrap();
    assert_eq!(part["state"], "degraded");
    let is_named = error.contains("mine.txt:2: `a b` is not a name") && error.contains("in force");
    assert!(is_named, "{error}");
    let public = shown(site.running.public).await.unwrap().to_string();
    assert!(!public.contains("mine") && !public.contains("a b"), "{public}");
    let mut posted = async |state: &str| {
        let post = soon("an alert is posted", posts.recv()).await.unwrap();
        assert_eq!((&post["condition"], &post["state"]), (&json!("file_unusable"), &json!(state)));
        assert!(post["text"].as_str().unwrap().contains("mine.txt:2"), "{post}");
    };
    posted("begins").await;
    save(lists.path(), "mine", "x/y\n");
    let is_gone = async || shown(site.running.ops).await.is_none().then_some(());
    until_some("the part is gone", is_gone).await;
    posted("over").await;
}
