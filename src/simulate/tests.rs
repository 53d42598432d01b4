//! Tests of the server over a socket, byte by byte, with a client that shares no code with
//! ghpulse.

mod faulty;
mod queries;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::model::window::Timestamp;

const NOW: i64 = 1_790_000_000;

struct Running {
    url: String,
    control: Control,
    stop: CancellationToken,
    simulation: Simulation,
}

struct Reply {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
    /// Whether the response was complete.
    whole: bool,
}

impl Reply {
    fn events(&self) -> Vec<Value> {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

async fn start(options: Options) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let clock = Clock::starting_at(Timestamp::from_seconds(NOW));
    let simulation = Simulation::start(listener, options, clock, stop.clone()).unwrap();
    Running { url: simulation.url(), control: simulation.control(), stop, simulation }
}

impl Running {
    async fn get(&self, path: &str) -> Reply {
        self.ask(path, &["User-Agent: test"]).await
    }

    async fn ask(&self, path: &str, headers: &[&str]) -> Reply {
        self.send("GET", path, headers, "").await
    }

    async fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let headers: Vec<String> = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let headers = headers.concat();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a response has a head");
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair =
            |line: &str| line.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_owned()));
        let headers: BTreeMap<String, String> = lines.filter_map(pair).collect();
        let promised = headers.get("content-length").and_then(|text| text.parse().ok());
        let whole = ended.is_ok() && promised.is_none_or(|n: usize| n == body.len());
        Reply { status, headers, body: body.to_owned(), whole }
    }

    async fn end(self) {
        self.stop.cancel();
        self.simulation.wait().await.unwrap();
    }
}

const PAGE_1: &str = "/events?per_page=100&page=1";
const PAGE_2: &str = "/events?per_page=100&page=2";

#[tokio::test]
async fn pages_are_split_by_position_with_githubs_headers() {
    let github = start(Options::by_hand(1)).await;
    github.control.emit(1_000);
    let one = github.get(PAGE_1).await;
    assert_eq!((one.status, one.whole), (200, true));
    let pushes = ["PushEvent", "CreateEvent", "DeleteEvent"];
    let is_push = |event: &Value| pushes.contains(&event["type"].as_str().unwrap());
    assert_eq!(one.events().len(), 100);
    assert!(one.events().iter().all(is_push));
    for page in [2, 3] {
        let reply = github.get(&format!("/events?per_page=100&page={page}")).await;
        assert_eq!(reply.events().len(), 100);
        assert!(!reply.events().iter().any(is_push));
    }
    for page in 1..=3 {
        let reply = github.get(&format!("/events?per_page=30&page={page}")).await;
        assert!(reply.events().len() == 30 && reply.events().iter().all(is_push));
    }
    assert_eq!(github.get("/events").await.events().len(), 15);
    assert_eq!(github.get("/events?per_page=500&page=0").await.events().len(), 100);
    let beyond = github.get("/events?per_page=100&page=4").await;
    assert_eq!(beyond.status, 422);
    assert!(beyond.json()["message"].as_str().unwrap().contains("pagination is limited"));
    assert_eq!(one.header("x-poll-interval"), "1");
    assert_eq!(one.header("content-type"), "application/json; charset=utf-8");
    assert!(one.header("etag").starts_with("W/\"") && one.header("etag").ends_with('"'));
    let link = format!("<{}/events?per_page=100&page=2>; rel=\"next\"", github.url);
    assert!(one.header("link").contains(&link), "{}", one.header("link"));
    assert!(one.header("link").contains("page=3>; rel=\"last\""));
    github.end().await;
}

#[tokio::test]
async fn every_response_is_marked_as_simulated() {
    let github = start(Options::by_hand(1)).await;
    for path in ["/", PAGE_1, "/rate_limit", "/no/such", "/events?page=99"] {
        let reply = github.get(path).await;
        assert_eq!(reply.header("x-simulated"), "ghpulse", "{path}");
    }
    let root = github.get("/").await.json();
    assert_eq!(root["simulated"], true);
    assert_eq!(root["events_url"], format!("{}/events", github.url));
    assert_eq!(github.get("/no/such").await.status, 404);
    github.end().await;
}

#[tokio::test]
async fn a_page_that_has_not_changed_is_304_and_free() {
    let github = start(Options::by_hand(1)).await;
    github.control.emit(10);
    let first = github.get(PAGE_1).await;
    let tag = format!("If-None-Match: {}", first.header("etag"));
    let second = github.ask(PAGE_1, &["User-Agent: test", &tag]).await;
    assert_eq!((second.status, second.body.as_str()), (304, ""));
    assert_eq!(second.header("etag"), first.header("etag"));
    assert_eq!(second.header("x-poll-interval"), "1");
    let left = |reply: &Reply| reply.header("x-ratelimit-remaining").parse::<u32>().unwrap();
    assert_eq!(left(&second), left(&first));
    github.control.emit(1);
    let third = github.ask(PAGE_1, &["User-Agent: test", &tag]).await;
    assert_eq!((third.status, third.events().len()), (200, 11));
    assert_eq!(left(&third), left(&first) - 1);
    let other = github.ask(PAGE_1, &["User-Agent: test", "If-None-Match: \"x\", *"]).await;
    assert_eq!(other.status, 304);
    assert_eq!(github.control.outcomes(), outcomes(&[("200", 2), ("304", 2)]));
    github.end().await;
}

fn outcomes(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn each_token_and_each_address_has_its_budget() {
    let options = Options { limit: 3, anonymous_limit: 1, ..Options::by_hand(1) };
    let github = start(options).await;
    let as_a = ["User-Agent: test", "Authorization: Bearer a"];
    for used in 1..=3 {
        let reply = github.ask(PAGE_1, &as_a).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("x-ratelimit-used"), used.to_string());
        assert_eq!(reply.header("x-ratelimit-remaining"), (3 - used).to_string());
        assert_eq!(reply.header("x-ratelimit-limit"), "3");
        assert_eq!(reply.header("x-ratelimit-resource"), "core");
    }
    let over = github.ask(PAGE_1, &as_a).await;
    assert_eq!((over.status, over.header("x-ratelimit-remaining")), (403, "0"));
    let reset: i64 = over.header("x-ratelimit-reset").parse().unwrap();
    assert!((NOW + 3_590..=NOW + 3_610).contains(&reset), "{reset}");
    assert!(over.json()["message"].as_str().unwrap().contains("rate limit"));
    // The older way to send a token, another token, no token.
    assert_eq!(github.ask(PAGE_1, &["User-Agent: t", "Authorization: token a"]).await.status, 403);
    assert_eq!(github.ask(PAGE_1, &["User-Agent: t", "Authorization: token b"]).await.status, 200);
    assert_eq!(github.get(PAGE_1).await.status, 200);
    assert_eq!(github.get(PAGE_1).await.status, 403);
    let limits = github.ask("/rate_limit", &as_a).await.json();
    assert_eq!(limits["resources"]["core"]["remaining"], 0);
    github.end().await;
}

#[tokio::test]
async fn requests_github_would_refuse_are_refused() {
    let github = start(Options::by_hand(1)).await;
    let status = async |headers: &[&str]| github.ask(PAGE_1, headers).await.status;
    assert_eq!(status(&[]).await, 403);
    assert_eq!(status(&["User-Agent: t", "X-GitHub-Api-Version: 2022-11-28"]).await, 200);
    assert_eq!(status(&["User-Agent: t", "X-GitHub-Api-Version: 1999-01-01"]).await, 400);
    assert_eq!(status(&["User-Agent: t", "Authorization: Bearer "]).await, 401);
    assert_eq!(status(&["User-Agent: t", "Authorization: Basic YTpi"]).await, 401);
    github.end().await;
}

#[tokio::test]
async fn emitted_and_served_events_are_recorded() {
    let github = start(Options::by_hand(1)).await;
    github.control.emit(100);
    github.control.push_raw(r#"{"id":"1","type":"NewEvent"}"#);
    let seen: usize = {
        let pages = [github.get(PAGE_1).await, github.get(PAGE_2).await];
        pages.iter().map(|reply| reply.events().len()).sum()
    };
    assert_eq!(seen, 101);
    assert_eq!(github.control.served(), github.control.emitted());
    assert_eq!((github.control.count(), github.control.forgotten()), (101, 0));
    github.control.emit(1_000);
    assert_eq!(github.control.emitted().len(), 1_101);
    assert_eq!(github.control.unserved(), 1_000);
    github.end().await;
}

/// 900 lines with odd spacing, one of which is not an event, and a last one that is not JSON.
fn hour(dir: &Path) -> (PathBuf, Vec<String>) {
    let path = dir.join("hour.ndjson");
    let kinds = ["PushEvent", "PullRequestEvent", "WatchEvent", "DeleteEvent"];
    let mut lines: Vec<String> = (0..900)
        .map(|n| format!(r#"{{ "id":"{n}", "type" : "{}","n":1.50e3 }}"#, kinds[n % 4]))
        .collect();
    lines[400] = "[\"odd\",  1]".to_owned();
    std::fs::write(&path, lines.join("\n") + "\n{broken\n").unwrap();
    (path, lines)
}

#[tokio::test]
async fn recorded_lines_are_served_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (path, lines) = hour(dir.path());
    let github = start(Options { events: vec![path], ..Options::by_hand(1) }).await;
    let mut bodies = String::new();
    while github.control.emit(150) > 0 {
        for page in 1..=3 {
            bodies += &github.get(&format!("/events?per_page=100&page={page}")).await.body;
        }
    }
    for line in &lines {
        assert!(bodies.contains(line), "{line} was never on a page");
    }
    assert!(github.control.finished());
    assert_eq!(github.control.unserved(), 0);
    let emitted: Vec<String> = github.control.emitted().iter().map(ToString::to_string).collect();
    assert_eq!(emitted, lines);
    assert_eq!(github.control.left_out(), 1);
    github.end().await;
}

#[tokio::test(start_paused = true)]
async fn recorded_feed_waits_for_its_first_reader() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::starting_at(Timestamp::from_seconds(NOW));
    for speed in [None, Some(1.0)] {
        let (path, lines) = hour(dir.path());
        let options = Options { rate: 100.0, speed, events: vec![path], ..Options::by_hand(1) };
        let github = start(options).await;
        clock.sleep(Duration::from_secs(600)).await;
        assert_eq!(github.control.count(), 300);
        assert!(!github.get(PAGE_2).await.events().is_empty());
        github.control.until(Control::finished).await;
        github.control.until(|control| control.count() == lines.len() as u64).await;
        github.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_the_rate_or_the_recorded_one() {
    let options = Options { rate: 40.0, ..Options::by_hand(1) };
    let github = start(options).await;
    let clock = Clock::starting_at(Timestamp::from_seconds(NOW));
    clock.sleep(Duration::from_secs(10)).await;
    let count = github.control.count();
    assert!((380..=400).contains(&count), "{count}");
    github.end().await;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hour.ndjson");
    let line = |second: i64| {
        let at = Timestamp::from_seconds(NOW + second);
        format!("{{\"type\":\"X\",\"created_at\":\"{at}\"}}\n")
    };
    // Two seconds, then back in time, then a long gap that is shortened to five.
    std::fs::write(&path, [0, 20, 10, 10_000].map(line).concat()).unwrap();
    let options = Options { speed: Some(10.0), events: vec![path], ..Options::by_hand(1) };
    let github = start(options).await;
    let begin = clock.now();
    for (count, millis) in [(1, 0), (3, 2_000), (4, 7_000)] {
        github.control.until(|control| control.count() >= count).await;
        let passed = clock.now().since(begin).as_millis();
        assert!((millis..millis + 50).contains(&passed), "{count} events after {passed} ms");
    }
    github.end().await;
}

#[tokio::test]
async fn invalid_options_are_refused_by_name() {
    let refusal = async |options: Options| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let started =
            Simulation::start(listener, options, Clock::system(), CancellationToken::new());
        started.err().expect("refused").to_string()
    };
    for rate in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(refusal(Options { rate, ..Options::by_hand(1) }).await.contains("rate of"));
    }
    let events = vec![PathBuf::from("no-such.json.gz")];
    let missing = refusal(Options { events: events.clone(), ..Options::by_hand(1) }).await;
    assert!(missing.contains("no-such.json.gz"), "{missing}");
    let speed = Options { speed: Some(0.0), events, ..Options::by_hand(1) };
    assert!(refusal(speed).await.contains("speed of 0"));
    assert!(
        refusal(Options { speed: Some(1.0), ..Options::by_hand(1) }).await.contains("--events")
    );
}

#[tokio::test]
async fn real_recorded_hours_are_served_whole() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let Ok(listing) = std::fs::read_dir(&data) else {
        println!("skipped: real_recorded_hours_are_served_whole: no ../shared/data here");
        return;
    };
    let events: Vec<PathBuf> = listing
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("trimmed") || name.starts_with("gharchive")
        })
        .collect();
    let github = start(Options { events, ..Options::by_hand(1) }).await;
    while github.control.emit(100) > 0 {
        for page in 1..=3 {
            let reply = github.get(&format!("/events?per_page=100&page={page}")).await;
            assert!(reply.events().iter().all(|event| event["id"].is_string()));
        }
    }
    assert_eq!((github.control.unserved(), github.control.left_out()), (0, 0));
    assert_eq!(github.control.count(), 7_702 + 233 + 107 + 40);
    github.end().await;
}
