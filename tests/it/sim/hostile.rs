//! GitHub sends events as it never does: each is delivered once, the others too, and every page and
//! endpoint still answers.

use super::*;
use crate::common::client::request;

/// Values of members of an event, each in an event of its own.
const ODD: [&str; 14] = [
    r#""created_at":"9999-12-31T23:59:59Z""#,
    r#""created_at":"0001-01-01T00:00:00Z""#,
    r#""created_at":"2026-02-30T25:61:61Z""#,
    r#""created_at":1e308"#,
    r#""id":-5,"id":"odd""#,
    r#""actor":{"id":18446744073709551615,"login":"\u0000\ud800<script>"}"#,
    r#""actor":{"id":-1,"login":""},"repo":{"id":18446744073709551615,"name":"\ud800/\u0000"}"#,
    r#""actor":[],"repo":"","org":7,"payload":[]"#,
    r#""repo":{"id":7,"name":"../../etc/passwd\n\r","url":"javascript:alert(1)"}"#,
    r#""payload":{"action":"opened","pull_request":{"id":-1,"number":1e9,"additions":1e308}}"#,
    r#""payload":{"action":"closed","pull_request":{"merged":true,"additions":9223372036854775807,
    "deletions":18446744073709551615,"base":{"repo":{"id":1,"language":"\u0000"}}}}"#,
    r#""payload":{"commits":[{"sha":"../x","author":{"email":"\ud800@\u0000"}}],"size":-1}"#,
    r#""payload":{"forkee":{"id":1e99,"language":["C"]}}"#,
    r#""payload":{"x":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}"#,
];
/// Types that make an event count in other places.
const TYPES: [&str; 4] = ["WatchEvent", "PullRequestEvent", "PushEvent", "ForkEvent"];
/// What readers ask for.
const PATHS: [&str; 12] = [
    "/",
    "/status",
    "/status?format=json",
    "/top",
    "/top?format=csv",
    "/hours",
    "/days",
    "/completeness",
    "/topics",
    "/now",
    "/health",
    "/history?repo=7",
];

#[tokio::test(flavor = "multi_thread")]
async fn odd_events_are_delivered_once_and_break_nothing() {
    let github = GitHub::start(Options { shape: Shape::Today, ..Options::by_hand(61) }).await;
    let (dir, mut odd) = (tempfile::tempdir().unwrap(), 0);
    let settings = [("GHPULSE_GITHUB_ENRICH_DEADLINE", "1s")];
    let running = Running::start(dir.path(), &github.url, &settings).await;
    github.control.emit(40);
    for kind in TYPES {
        for members in ODD {
            odd += 1;
            let event = format!(
                r#"{{"type":"{kind}","id":"9{odd:09}","public":true,"odd":{odd},{members}}}"#
            );
            github.control.push_raw(&event.replace('\n', ""));
        }
    }
    github.control.emit(40);
    let lines = until_some("all events", async || {
        let answer = request(running.public, "GET", "/stream?poll=1", &[]).await;
        // The parser of the test refuses half of a surrogate pair.
        let body = answer.body.replace("\\ud800", "?");
        let lines = body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let events: Vec<Value> = lines.filter(|line| line["type"] == "event").collect();
        (events.len() >= 80 + odd).then_some(events)
    })
    .await;
    assert_eq!(lines.len(), 80 + odd, "none twice");
    let mut numbers: Vec<u64> =
        lines.iter().filter_map(|line| line["event"]["odd"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=odd as u64).collect::<Vec<_>>());
    for path in PATHS {
        let answer = request(running.public, "GET", path, &[]).await;
        assert!(answer.status < 500, "{path}: {} {}", answer.status, answer.body);
    }
    running.end().await;
    // Another start reads all of it again.
    let running = Running::start(dir.path(), &github.url, &settings).await;
    github.control.emit(5);
    until_some("later events", async || {
        let answer = request(running.public, "GET", "/stream?poll=1", &[]).await;
        let count = answer.body.lines().filter(|line| line.contains(r#""type":"event""#)).count();
        (count >= 85 + odd).then_some(())
    })
    .await;
    running.end().await;
}
