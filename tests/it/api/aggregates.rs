//! `/aggregate/NAME` and the rolling counts: scripts that are edited at run time, four forms of the
//! same messages, and the same numbers after a restart.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;

use super::events::{opened, push};
use super::site::Site;
use crate::common::client::{Answer, Came, Client, request};
use crate::common::model::Expected;
use crate::common::running::{PATIENCE, Running, soon};

const STARS: &str = include_str!("../../../scripts/stars.rhai");

/// A star for a repository.
fn star(id: u64, repo: &str) -> String {
    push(id).replace("PushEvent", "WatchEvent").replace("ann/tool", repo)
}

/// Saves as editors do: renames a new file over the old one.
fn save(scripts: &Path, name: &str, text: &str) {
    let new = scripts.join(".new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, scripts.join(name)).unwrap();
}

async fn get(site: &Site, path: &str) -> Answer {
    request(site.running.public, "GET", path, &[]).await
}

/// Polls at each tick until the response is as wanted.
async fn until(site: &Site, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let mut last = None;
    let came = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = last.insert(get(site, path).await);
            if wanted(answer) {
                return;
            }
            site.tick().await;
        }
    });
    assert!(came.await.is_ok(), "{path} does not become what is wanted: {last:?}");
    last.unwrap()
}

async fn until_value(site: &Site, path: &str, value: Value) -> Value {
    let is = |answer: &Answer| answer.status == 200 && answer.json()["value"] == value;
    until(site, path, is).await.json()
}

/// A directory with a merge script, so that no built-in aggregate runs, and its settings.
fn folder() -> (tempfile::TempDir, [(&'static str, String); 2]) {
    let scripts = tempfile::tempdir().unwrap();
    let merge = include_str!("../../../scripts/merge_latest.rhai");
    save(scripts.path(), "merge_latest.rhai", merge);
    let path = scripts.path().to_str().unwrap().to_owned();
    let settings = [("GHPULSE_SCRIPTS_DIR", path), ("GHPULSE_INTERVAL_LATEST", "200ms".to_owned())];
    (scripts, settings)
}

async fn start(settings: &[(&'static str, String)]) -> Site {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Site::start(&settings).await
}

async fn restarted(site: Site, settings: &[(&'static str, String)]) -> Site {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let Site { github, dir, running } = site;
    running.end().await;
    let running = Running::start(dir.path(), &github.url, &settings).await;
    Site { github, dir, running }
}

#[tokio::test(flavor = "multi_thread")]
async fn misspelt_path_is_reported() {
    let (scripts, settings) = folder();
    save(scripts.path(), "nmae.rhai", &STARS.replace("event.repo.name", "event.repo.nmae"));
    let site = start(&settings).await;
    for round in 0..5 {
        let events: Vec<String> = (0..250).map(|n| star(round * 250 + n, "a/b")).collect();
        site.push(&events);
        let read = format!("it has counted none of {} events", (round + 1) * 250);
        let list = until(&site, "/aggregate", |answer| answer.body.contains(&read)).await.json();
        assert_eq!(list[0]["counted"], 0);
        assert!(list[0]["note"].as_str().unwrap().contains("`event.repo.nmae`"), "{list}");
    }
    let said = |answer: &Answer| answer.body.contains("it has counted none of 1250 events");
    let ready = until(&site, "/readyz", said).await;
    assert!(ready.body.contains("nmae.rhai: it has counted none"), "{}", ready.body);
    save(scripts.path(), "nmae.rhai", STARS);
    let counts = |answer: &Answer| answer.body.contains(r#""counted":1250"#);
    let list = until(&site, "/aggregate", counts).await.json();
    assert_eq!(list[0]["note"], Value::Null);
    until(&site, "/readyz", |answer| !answer.body.contains("counted none")).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_script_serves_its_past_and_a_broken_one_is_refused() {
    let (scripts, settings) = folder();
    let site = start(&settings).await;
    let none = get(&site, "/aggregate/stars").await;
    assert_eq!(none.status, 404);
    assert!(none.body.contains("there is no aggregate `stars`; there are none"), "{}", none.body);
    site.push(&[star(1, "a/b"), star(2, "a/b"), star(3, "c/d"), push(4)]);
    until_value(&site, "/stream/types", json!({ "PushEvent": 1, "WatchEvent": 3 })).await;
    save(scripts.path(), "stars.rhai", STARS);
    let value = until_value(&site, "/aggregate/stars", json!({ "a/b": 2, "c/d": 1 })).await;
    assert_eq!((&value["type"], &value["name"]), (&json!("snapshot"), &json!("stars")));

    let none = get(&site, "/aggregate/star").await;
    assert!(none.body.contains("there are: stars"), "{}", none.body);
    let list = get(&site, "/aggregate").await.json();
    assert_eq!((&list[0]["name"], &list[0]["in_force"]), (&json!("stars"), &json!("file")));
    assert_eq!(list[0]["counts"]["window"], "1h");
    assert_eq!(list[0]["error"], Value::Null);

    save(scripts.path(), "stars.rhai", &STARS.replace("top(20)", "top(1)"));
    until_value(&site, "/aggregate/stars", json!({ "a/b": 2 })).await;
    save(scripts.path(), "stars.rhai", &STARS.replace("stars.top(20)", "stras.top(20)"));
    let complains = |answer: &Answer| answer.body.contains("stars.rhai:18:5: undefined variable");
    let list = until(&site, "/aggregate", complains).await.json();
    assert_eq!(list[0]["in_force"], "last good");
    let ready = until(&site, "/readyz", complains).await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert!(complains(&get(&site, "/").await), "the page says it too");
    assert_eq!(get(&site, "/aggregate/stars").await.json()["value"], json!({ "a/b": 2 }));

    // After a restart, the last valid script and its counts are still there.
    let site = restarted(site, &settings).await;
    until_value(&site, "/aggregate/stars", json!({ "a/b": 2 })).await;
    until(&site, "/aggregate", complains).await;
    site.push(&[star(5, "c/d"), star(6, "c/d")]);
    until_value(&site, "/aggregate/stars", json!({ "c/d": 3 })).await;
    std::fs::remove_file(scripts.path().join("stars.rhai")).unwrap();
    until(&site, "/aggregate/stars", |answer| answer.status == 404).await;
    site.end().await;
}

/// Server-sent events, parsed as a browser does.
struct Events {
    lines: Lines<BufReader<TcpStream>>,
}

#[derive(Debug, Default)]
struct Said {
    event: String,
    id: String,
    data: Value,
}

impl Events {
    async fn open(site: &Site, path: &str, accept: &str) -> Self {
        Self::back(site, path, accept, "").await
    }

    /// Reconnects with a cursor, as an `EventSource` does.
    async fn back(site: &Site, path: &str, accept: &str, last_id: &str) -> Self {
        let mut stream = TcpStream::connect(site.running.public).await.unwrap();
        let page = format!("origin: https://page.example.org\r\nlast-event-id: {last_id}");
        let ask = format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\n{page}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut lines = BufReader::new(stream).lines();
        let mut head = String::new();
        loop {
            let line = soon("a head comes", lines.next_line()).await.unwrap().unwrap();
            if line.is_empty() {
                break;
            }
            head += &line.to_ascii_lowercase();
        }
        assert!(head.starts_with("http/1.1 200 ok"), "{head}");
        assert!(head.contains(&format!("content-type: {accept}")), "{head}");
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
        Self { lines }
    }

    async fn line(&mut self) -> String {
        let line = soon("a line comes", self.lines.next_line()).await.unwrap();
        line.expect("it continues")
    }

    /// The next event. Skips the sizes of chunks.
    async fn next(&mut self) -> Said {
        let mut said = Said::default();
        loop {
            let line = self.line().await;
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut said.event);
            } else if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut said.id);
            } else if let Some(data) = line.strip_prefix("data: ") {
                said.data = serde_json::from_str(data).unwrap();
                return said;
            }
        }
    }

    /// The next line of JSON.
    async fn json(&mut self) -> Value {
        loop {
            let line = self.line().await;
            if line.starts_with('{') {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn aggregate_is_sent_at_each_tick_in_each_form() {
    let (scripts, settings) = folder();
    save(scripts.path(), "stars.rhai", STARS);
    let site = start(&settings).await;
    site.push(&[star(1, "a/b")]);
    until_value(&site, "/aggregate/stars", json!({ "a/b": 1 })).await;
    let mut socket = site.connect("/aggregate/stars").await;
    let mut events = Events::open(&site, "/aggregate/stars", "text/event-stream").await;
    let mut lines = Events::open(&site, "/aggregate/stars", "application/x-ndjson").await;
    let first = socket.json().await;
    assert_eq!((&first["type"], &first["value"]), (&json!("snapshot"), &json!({ "a/b": 1 })));
    assert_eq!(socket.json().await["type"], "tick", "each tick, also when nothing has changed");
    let said = events.next().await;
    assert_eq!((said.event.as_str(), &said.data["type"]), ("snapshot", &json!("snapshot")));
    assert_eq!(said.data["cursor"], said.id);
    assert_eq!(lines.json().await["type"], "snapshot");
    site.push(&[star(2, "a/b")]);
    let wanted = json!({ "a/b": 2 });
    while socket.json().await["value"] != wanted {}
    while events.next().await.data["value"] != wanted {}
    while lines.json().await["value"] != wanted {}
    // Subscribers to a removed aggregate are notified.
    std::fs::remove_file(scripts.path().join("stars.rhai")).unwrap();
    while socket.json().await["type"] != "bye" {}
    assert!(matches!(socket.next().await, Came::Closed(Some((1000, _)))));
    while events.next().await.event != "bye" {}
    // So are subscribers when the server stops.
    let mut events = Events::open(&site, "/stream/types", "text/event-stream").await;
    assert_eq!(events.next().await.event, "hello");
    let mut socket = site.connect("/stream/activity").await;
    assert_eq!(socket.json().await["type"], "hello");
    site.running.stop.soft.cancel();
    loop {
        let said = events.next().await;
        if said.event == "bye" {
            assert!(said.data["reason"].as_str().unwrap().contains("stopping"));
            break;
        }
    }
    while socket.json().await["type"] != "bye" {}
    assert!(matches!(socket.next().await, Came::Closed(Some((1001, _)))));
    site.end().await;
}

type Map = BTreeMap<String, i64>;

/// Applies a message to the known map.
fn follow(map: &mut Map, message: &Value) {
    let changes = match message["type"].as_str() {
        Some("snapshot") => {
            map.clear();
            &message["value"]
        }
        Some("delta") => &message["changes"],
        _ => return,
    };
    for (name, n) in changes.as_object().unwrap() {
        *map.entry(name.clone()).or_default() += n.as_i64().unwrap();
    }
    map.retain(|_, n| *n != 0);
    assert!(map.values().all(|n| *n > 0), "{message}");
}

/// Follows until the map equals `wanted`. Whenever a plain response has the same time, it must
/// match.
async fn follow_until(site: &Site, client: &mut Client, map: &mut Map, wanted: &Map) -> usize {
    let mut compared = 0;
    while map != wanted {
        let message = client.json().await;
        follow(map, &message);
        let plain = get(site, "/stream/languages?window=24h").await.json();
        let same = ["cursor", "to"].iter().all(|key| plain[key] == message[key]);
        if same {
            assert_eq!(plain["value"], json!(map), "{message}");
            compared += 1;
        }
    }
    compared
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_plus_all_deltas_equals_the_latest_snapshot() {
    let (_scripts, settings) = folder();
    let site = start(&settings).await;
    until(&site, "/stream/languages", |answer| answer.status == 200).await;
    // Known after the first response of the simulated GitHub.
    until(&site, "/readyz", |answer| answer.head.contains("x-simulated")).await;
    let mut client = site.connect("/stream/languages?window=24h").await;
    let hello = client.json().await;
    assert_eq!((&hello["type"], &hello["window"]), (&json!("hello"), &json!("24h")));
    assert_eq!(hello["simulated"], true);
    let mut map = Map::new();
    let (mut wanted, mut compared, mut id) = (Map::new(), 0, 1);
    // A plain response is of the same moment only if no tick comes in between.
    for round in 0_usize.. {
        if round >= 6 && compared > 0 {
            break;
        }
        assert!(round < 1_000, "it was never of the same moment");
        for name in ["Go", "C", "Rust"].iter().take(1 + round % 3) {
            site.push(&[opened(id, name)]);
            *wanted.entry((*name).to_owned()).or_default() += 1;
            id += 1;
        }
        compared += follow_until(&site, &mut client, &mut map, &wanted).await;
    }
    // Another window on the same connection begins with its snapshot.
    client.send(r#"{"window":"1h"}"#).await;
    let snapshot = loop {
        let message = client.json().await;
        if message["window"] == "1h" {
            break message;
        }
    };
    assert_eq!(snapshot["type"], "snapshot");
    let mut hour = Map::new();
    follow(&mut hour, &snapshot);
    // At a tick, the windows are updated one after the other: the hour may not be up to date yet.
    while hour != wanted {
        follow(&mut hour, &client.json().await);
    }
    client.send(r#"{"window":"2h"}"#).await;
    let refusal = loop {
        let message = client.json().await;
        if message.get("error").is_some() {
            break message;
        }
    };
    assert_eq!(refusal["error"]["field"], "window");
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("window: `2h` is unknown; give one of 1m, 1h, 24h"), "{message}");
    let bad = get(&site, "/stream/types?window=2h").await;
    assert!(bad.status == 400 && bad.body.contains("give one of 1m, 1h, 24h"), "{}", bad.body);
    // The one-minute window arrives in the same way. What came before may have left it.
    let mut minute = site.connect("/stream/languages?window=1m").await;
    assert_eq!(minute.json().await["window"], "1m");
    site.push(&[opened(id, "Zig")]);
    let mut map = Map::new();
    while map.is_empty() {
        follow(&mut map, &minute.json().await);
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_by_cursor_yields_changes_and_never_a_wrong_sum() {
    const PATH: &str = "/stream/languages?window=1h";
    let (_scripts, settings) = folder();
    let site = start(&settings).await;
    site.push(&[opened(1, "Go"), opened(2, "C")]);
    let both: Map = [("Go".to_owned(), 1), ("C".to_owned(), 1)].into();
    until_value(&site, PATH, json!(both)).await;
    let mut socket = site.connect(PATH).await;
    assert_eq!(socket.json().await["type"], "hello");
    let first = socket.json().await;
    assert_eq!((&first["type"], &first["value"]), (&json!("snapshot"), &json!(both)));
    let cursor = first["cursor"].as_str().unwrap();
    drop(socket);
    site.push(&[opened(3, "Go"), opened(4, "Rust")]);
    let wanted: Map = [("Go".to_owned(), 2), ("C".to_owned(), 1), ("Rust".to_owned(), 1)].into();
    until_value(&site, PATH, json!(wanted)).await;
    // For each way to reconnect, the delta leads from the previous value to the current one.
    let changes = json!({ "Go": 1, "Rust": 1 });
    let back = format!("{PATH}&cursor={}", cursor.replace('~', "%7E"));
    let mut socket = site.connect(&back).await;
    assert_eq!(socket.json().await["type"], "hello");
    let told = socket.json().await;
    assert_eq!((&told["type"], &told["changes"]), (&json!("delta"), &changes), "{told}");
    let mut lines = Events::open(&site, &back, "application/x-ndjson").await;
    assert_eq!(lines.json().await["type"], "hello");
    assert_eq!(lines.json().await["changes"], changes);
    let mut events = Events::back(&site, PATH, "text/event-stream", cursor).await;
    assert_eq!(events.next().await.event, "hello");
    let said = events.next().await;
    assert_eq!((said.event.as_str(), &said.data["changes"]), ("delta", &changes));
    assert_eq!(said.data["cursor"], said.id);
    // The cursor also resumes the stream of events, after the counted ones.
    let behind = get(&site, &format!("/stream?poll=1&cursor={cursor}")).await.body;
    assert_eq!(behind.matches(r#""type":"event""#).count(), 2, "{behind}");

    // A cursor of an equal value resumes across a restart; an unknown one gets a snapshot.
    let now = said.id;
    let site = restarted(site, &settings).await;
    until_value(&site, PATH, json!(wanted)).await;
    for (cursor, kind) in [(now.as_str(), "delta"), (cursor, "snapshot")] {
        let mut socket = site.connect(&format!("{PATH}&cursor={cursor}")).await;
        assert_eq!(socket.json().await["type"], "hello");
        site.push(&[opened(10 + u64::from(kind == "snapshot"), "Zig")]);
        let told = socket.json().await;
        assert_eq!(told["type"], kind, "{told}");
        let mut map = if kind == "delta" { wanted.clone() } else { Map::new() };
        follow(&mut map, &told);
        assert_eq!(map["Go"], 2);
    }
    let bad = get(&site, &format!("{PATH}&cursor=nonsense")).await;
    assert!(bad.status == 400 && bad.body.contains("cursor"), "{}", bad.body);
    // A cursor from elsewhere is ignored, not refused.
    let mut events = Events::back(&site, PATH, "text/event-stream", "nonsense").await;
    assert_eq!(events.next().await.event, "hello");
    assert_eq!(events.next().await.event, "snapshot");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_counts_are_the_models_before_and_after_a_restart() {
    let (_scripts, settings) = folder();
    let site = start(&settings).await;
    site.github.control.emit(300);
    let served = site.github.control.until(|control| control.unserved() == 0);
    soon("all is served", served).await;
    let emitted = site.github.control.emitted();
    let expected = Expected::of(emitted.iter().map(AsRef::as_ref));
    let mut types = Map::new();
    for (kind, _) in expected.events.keys() {
        *types.entry(kind.clone()).or_default() += 1;
    }
    let count = |of: &str| {
        let all: std::collections::BTreeSet<_> =
            expected.events.values().map(|event| event[of]["id"].as_u64()).collect();
        all.len()
    };
    let activity = json!({
        "events": expected.events.len(), "developers": count("actor"), "repositories": count("repo"),
    });
    let mut site = site;
    for life in 0..2 {
        for window in ["1h", "24h"] {
            let at = |of: &str| format!("/stream/{of}?window={window}");
            let told = until_value(&site, &at("types"), json!(types)).await;
            assert_eq!(told["window"], window, "life {life}");
            until_value(&site, &at("activity"), activity.clone()).await;
        }
        if life == 0 {
            site = restarted(site, &settings).await;
        }
    }
    site.end().await;
}
