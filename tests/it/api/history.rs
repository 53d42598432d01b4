//! Kept counts over HTTP: `/history`, `/now`, `/completeness`, `/hours`, `/scripts`.

use serde_json::{Value, json};

use super::events::{at, midyear, opened, push};
use super::site::Site;
use crate::common::client::{Answer, request};
use crate::common::running::{Running, soon};

async fn get(site: &Site, path: &str) -> Answer {
    request(site.running.public, "GET", path, &[]).await
}

async fn until(site: &Site, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let ask = async {
        loop {
            let answer = get(site, path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            if wanted(&answer.json()) {
                return answer.json();
            }
            site.tick().await;
        }
    };
    soon(path, ask).await
}

fn sum(chart: &Value, kind: &str) -> u64 {
    let counts = chart["types"][kind].as_array();
    counts.into_iter().flatten().filter_map(Value::as_u64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_by_time_are_those_of_the_events_and_survive_a_restart() {
    let site = Site::start(&[("GHPULSE_INTERVAL_LATEST", "200ms")]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    let events: Vec<String> = (1..=5).map(push).chain((6..=8).map(|id| opened(id, "Go"))).collect();
    site.push(&events);
    site.settle(&mut reader, 8).await;
    let said = until(&site, "/completeness?since=1h", |said| {
        said["hours"].as_array().is_some_and(|hours| {
            hours.iter().filter_map(|hour| hour["received"].as_u64()).sum::<u64>() == 8
        })
    })
    .await;
    let hours = said["hours"].as_array().unwrap();
    let pushes = hours.iter().filter_map(|hour| hour["types"]["PushEvent"]["received"].as_u64());
    assert_eq!(pushes.sum::<u64>(), 5);
    let csv = get(&site, "/completeness?since=1h&format=csv").await;
    assert!(csv.head.contains("text/csv"), "{}", csv.head);
    assert!(csv.body.starts_with("hour,type,received,missed_low,"), "{}", csv.body);
    assert!(csv.body.lines().any(|line| line.contains(",PullRequestEvent,3,,,,")), "{}", csv.body);
    let counted = get(&site, "/hours?since=2000d").await;
    assert_eq!(counted.status, 400, "more than one answer holds: {}", counted.body);
    let chart = until(&site, "/history", |chart| sum(chart, "PushEvent") == 5).await;
    assert_eq!((sum(&chart, "PullRequestEvent"), chart["step_seconds"].as_u64()), (3, Some(10)));
    let known = chart["counted_seconds"].as_array().unwrap();
    assert_eq!(known.len(), 90);
    assert!(known[0].is_null(), "before it ran nothing is known");

    let Site { github, dir, running } = site;
    running.end().await;
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let site = Site { github, dir, running };
    let again = until(&site, "/completeness?since=1h", |_| true).await;
    let received = again["hours"].as_array().unwrap().iter();
    assert_eq!(received.filter_map(|hour| hour["received"].as_u64()).sum::<u64>(), 8);
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn now_has_the_day_languages_and_aggregates() {
    let site = Site::start_at(&[("GHPULSE_INTERVAL_LATEST", "200ms")], midyear()).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[push(1), push(2), opened(3, "Go")]);
    site.settle(&mut reader, 3).await;
    // Rankings are published every five seconds, scripts are loaded meanwhile.
    let names = |now: &Value| -> Vec<String> {
        let all = now["aggregates"].as_array().into_iter().flatten();
        all.filter_map(|one| Some(one["about"]["name"].as_str()?.to_owned())).collect()
    };
    let now = until(&site, "/now", |now| {
        now["busiest"]["pushes"][0][1] == 2
            && now["last_minute"]["events"] == 3
            && now["languages"]["now"] == json!([["Go", 1]])
            && names(now) == ["bots", "growth", "stars"]
    })
    .await;
    assert!(now["languages"]["before"].is_null(), "the window before was not counted");
    let about = &now["aggregates"][0]["about"];
    assert!(about.get("error").is_some() && about.get("sample").is_none(), "{about}");
    let days = until(&site, "/days", |said| said["days"][0]["opened"] == 1).await;
    let day = json!({
        "day": at("01-01"), "opened": 1, "merged": 0, "closed": 0, "developers": 1,
        "imported_hours": 0,
    });
    assert_eq!((&days["days"], &days["developers"]), (&json!([day]), &json!(1)));
    let scripts = until(&site, "/scripts", |said| {
        let has_run = said["scripts"][0]["micros"].as_u64().is_some_and(|micros| micros > 0);
        has_run && said["scripts"].as_array().is_some_and(|all| all.len() == 4)
    })
    .await;
    let merge = &scripts["scripts"][0];
    assert_eq!((&merge["name"], &merge["error"]), (&json!("merge_latest"), &Value::Null));
    for (path, status) in [
        ("/history?span=1y", 400),
        ("/completeness?since=soon", 400),
        ("/hours?format=xml", 400),
        ("/hours?since=2026-01-01&until=2026-01-02", 200),
        ("/hours?since=2026-01-02&until=2026-01-01", 400),
        ("/completeness?since=2026-01-02&until=2026-01-01", 400),
    ] {
        assert_eq!(get(&site, path).await.status, status, "{path}");
    }
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_a_script_is_shown_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "fn config() { #{ by: \"event.repo.name\" } }\nfn merge(window) {\n    let x = ;\n}\n";
    std::fs::write(folder.path().join("mine.rhai"), text).unwrap();
    let site = Site::start(&[("GHPULSE_SCRIPTS_DIR", folder.path().to_str().unwrap())]).await;
    let mine = |said: &Value| {
        let all = said["scripts"].as_array().into_iter().flatten();
        let mut all = all;
        all.find(|script| script["name"] == "mine").cloned()
    };
    let said = until(&site, "/scripts", |said| mine(said).is_some()).await;
    let mine = mine(&said).unwrap();
    assert_eq!(
        (&mine["line"]["number"], &mine["line"]["text"]),
        (&json!(3), &json!("    let x = ;"))
    );
    assert!(mine["error"].as_str().unwrap().starts_with("mine.rhai:3:"), "{mine}");
    assert!(!said.to_string().contains(folder.path().to_str().unwrap()), "no directory is shown");
    site.running.end().await;
}
