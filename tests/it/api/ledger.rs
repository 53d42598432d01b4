//! The ledger over HTTP: `/repo/{owner}/{name}` with its pictures, and `/top`.

use serde_json::{Value, json};

use super::site::Site;
use crate::common::client::{Answer, request};
use crate::common::running::{Running, until_some};
use ghpulse::clock::Clock;

/// An event of an hour ago.
fn event(id: u64, kind: &str, repo: (u64, &str), payload: &str) -> String {
    let at = Clock::system().now().minus(std::time::Duration::from_secs(3_600));
    let at = ghpulse::model::window::Timestamp::from_seconds(at.second().0);
    let (repo, name) = repo;
    format!(
        concat!(
            r#"{{"id":"{}","type":"{}","actor":{{"id":1,"login":"ann"}},"repo":{{"id":{},"#,
            r#""name":"{}"}},"payload":{},"public":true,"created_at":"{}"}}"#
        ),
        id, kind, repo, name, payload, at
    )
}

async fn get(site: &Site, path: &str, headers: &[&str]) -> Answer {
    request(site.running.public, "GET", path, headers).await
}

/// Waits until a path is answered with what is wanted.
async fn until(site: &Site, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until_some(path, async || {
        let answer = get(site, path, &[]).await;
        (answer.status == 200).then(|| answer.json()).filter(|json| wanted(json))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_has_its_days_under_each_of_its_names() {
    let site = Site::start(&[]).await;
    let old = (7, "Ann/Old");
    site.push(&[
        event(1, "WatchEvent", old, r#"{"action":"started"}"#),
        event(2, "WatchEvent", old, r#"{"action":"started"}"#),
        event(3, "IssuesEvent", old, r#"{"action":"opened"}"#),
        event(4, "IssuesEvent", old, r#"{"action":"reopened"}"#),
        event(5, "ReleaseEvent", old, r#"{"action":"published"}"#),
        event(6, "PushEvent", (8, "bob/other"), "{}"),
    ]);
    let said = until(&site, "/repo/ann/OLD", |said| said["totals"]["releases"] == 1).await;
    assert_eq!((&said["id"], &said["name"]), (&json!(7), &json!("Ann/Old")));
    assert_eq!(
        (&said["totals"]["stars"], &said["totals"]["issues_opened"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(said["days"].as_array().unwrap().len(), 30);
    assert!(said["stated"].is_null() && said["seen"].is_null(), "{said}");
    assert!(said["coverage"]["minutes_known"].is_u64(), "{said}");
    site.push(&[event(9, "ForkEvent", (7, "ann/new"), "{}")]);
    let said = until(&site, "/repo/ann/new", |said| said["totals"]["forks"] == 1).await;
    assert_eq!((&said["name"], &said["totals"]["stars"]), (&json!("ann/new"), &json!(2)));
    assert_eq!(get(&site, "/repo/Ann/Old", &[]).await.json()["name"], "ann/new");

    let csv = get(&site, "/repo/ann/new?since=3d&format=csv", &[]).await;
    assert!(csv.body.starts_with("day,stars,forks,prs_opened,"), "{}", csv.body);
    assert_eq!(csv.body.lines().count(), 1 + 4, "{}", csv.body);
    for (path, status) in [
        ("/repo/ann/nothing", 404),
        ("/repo/ann/%3Cscript%3E", 404),
        ("/repo/ann/nothing.svg", 404),
        ("/repo/ann/new?since=1000d", 400),
        ("/repo/ann/new?since=never", 400),
        ("/repo/ann/new.svg?by=lines", 400),
        ("/repo/ann/new.svg?days=5", 400),
        ("/repo/ann/new.svg?style=poster", 400),
        ("/top?window=8d", 400),
        ("/top?limit=0", 400),
    ] {
        let answer = get(&site, path, &[]).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
        assert!(!answer.body.contains("<script>"), "{}", answer.body);
    }
    let none = get(&site, "/repo/ann/new", &["accept: text/html"]).await;
    assert_eq!(none.status, 406, "{}", none.body);

    let Site { github, dir, running } = site;
    running.end().await;
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let site = Site { github, dir, running };
    let again = get(&site, "/repo/ann/new", &[]).await.json();
    assert_eq!(again["totals"], said["totals"], "it is kept");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_cached_and_safe_to_embed() {
    let site = Site::start(&[]).await;
    site.push(&[event(1, "WatchEvent", (7, "ann/tool"), r#"{"action":"started"}"#)]);
    until(&site, "/repo/ann/tool", |_| true).await;
    for path in ["/repo/ann/tool.svg", "/repo/ann/tool.svg?style=badge&by=stars&days=30"] {
        let drawn = get(&site, path, &["origin: https://elsewhere.example"]).await;
        assert_eq!(drawn.status, 200, "{}", drawn.body);
        assert_eq!(drawn.header("content-type"), Some("image/svg+xml"));
        assert!(drawn.header("cache-control").unwrap().contains("max-age=600"));
        assert_eq!(drawn.header("access-control-allow-origin"), Some("*"));
        let policy = drawn.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(
            drawn.body.starts_with("<svg ") && drawn.body.contains("1 stars"),
            "{}",
            drawn.body
        );
        let tag = drawn.header("etag").unwrap();
        let again = get(&site, path, &[&format!("if-none-match: {tag}")]).await;
        assert_eq!((again.status, again.body.as_str()), (304, ""));
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rankings_follow_the_events() {
    let site = Site::start(&[]).await;
    let star = |id, repo| event(id, "WatchEvent", repo, r#"{"action":"started"}"#);
    let (tool, other) = ((7, "ann/tool"), (8, "bob/other"));
    site.push(&[star(1, tool), star(2, tool), star(3, other), event(4, "PushEvent", other, "{}")]);
    for window in ["24h", "7d", "30d"] {
        let path = format!("/top?by=stars&window={window}");
        let top = until(&site, &path, |top| top["repos"].as_array().is_some_and(|r| r.len() == 2));
        let top = top.await;
        let ranked =
            |at: usize| (top["repos"][at]["name"].clone(), top["repos"][at]["count"].clone());
        assert_eq!(ranked(0), (json!("ann/tool"), json!(2)), "{top}");
        assert_eq!(ranked(1), (json!("bob/other"), json!(1)), "{top}");
        assert!(top["computed_at"].is_string() && top["coverage"].is_object(), "{top}");
        let first = &top["repos"][0];
        assert!(first["stated"].is_null() && first.get("seen").is_some(), "no token: {first}");
    }
    let csv = until_some("the push", async || {
        let csv = get(&site, "/top?by=pushes&format=csv", &[]).await.body;
        (csv.lines().count() > 1).then_some(csv)
    });
    let csv = csv.await;
    let (columns, row) = csv.trim_end().split_once("\r\n").unwrap();
    assert_eq!(
        columns,
        "rank,id,name,language,count,stated_stars,stated_forks,stated_at,seen,window_seen,\
         minutes_known,hours_imported,days_filled"
    );
    assert!(row.starts_with("1,8,\"bob/other\",,1,,,,,"), "{row}");
    assert_eq!(row.split(',').count(), columns.split(',').count(), "{row}");
    let none = get(&site, "/top?by=stars&language=Rust", &[]).await.json();
    assert_eq!((&none["language"], &none["repos"]), (&json!("Rust"), &json!([])));
    site.end().await;
}
