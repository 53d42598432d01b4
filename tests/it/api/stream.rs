//! `/stream` through real sockets: the same query in each of its forms, from a cursor into live
//! events, across a disconnect and a restart.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse::model::position::{Cursor, Position};
use ghpulse::simulate::Options;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::client::{Came, Client, request};
use crate::common::running::{GitHub, Running, soon, steps, until_some};

/// A streaming response: messages as they arrive, in any form.
struct Flow {
    stream: TcpStream,
    head: String,
    /// Text that has arrived and was not read yet, without the chunk framing.
    text: String,
    raw: Vec<u8>,
    ended: bool,
}

impl Flow {
    async fn open(address: SocketAddr, path: &str, headers: &[&str]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let headers: String = headers.iter().flat_map(|line| [line, "\r\n"]).collect();
        let text = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut flow = Self {
            stream,
            head: String::new(),
            text: String::new(),
            raw: Vec::new(),
            ended: false,
        };
        while !flow.raw.windows(4).any(|four| four == b"\r\n\r\n") {
            flow.read().await;
        }
        let end = flow.raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head: Vec<u8> = flow.raw.drain(..end + 4).collect();
        flow.head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        flow
    }

    async fn read(&mut self) {
        let read = soon("more comes", self.stream.read_buf(&mut self.raw)).await.unwrap();
        self.ended |= read == 0;
    }

    /// Decodes the complete chunks that have arrived.
    fn unchunk(&mut self) {
        while let Some(end) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..end]).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            if self.raw.len() < end + 2 + size + 2 {
                return;
            }
            self.text.push_str(std::str::from_utf8(&self.raw[end + 2..end + 2 + size]).unwrap());
            self.raw.drain(..end + 2 + size + 2);
            self.ended |= size == 0;
        }
    }

    /// The text up to this delimiter; `None` if the response ended before.
    async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            if let Some((before, _)) = self.text.split_once(mark) {
                let before = before.to_owned();
                self.text.drain(..before.len() + mark.len());
                return Some(before);
            }
            if self.ended {
                return None;
            }
            self.read().await;
            self.unchunk();
        }
    }

    async fn line(&mut self) -> Option<Value> {
        let line = self.until("\n").await?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// One server-sent event: its name, its id, its data.
    async fn event(&mut self) -> Option<(String, Option<String>, Value)> {
        let block = self.until("\n\n").await?;
        let field = |name: &str| {
            let mut lines = block.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
        };
        let data = serde_json::from_str(&field("data").unwrap()).unwrap();
        Some((field("event").unwrap(), field("id"), data))
    }
}

/// A simulated feed with this many events per second.
pub(crate) async fn feed(rate: u32) -> GitHub {
    GitHub::start(Options { rate: f64::from(rate), ..Options::default() }).await
}

/// Ids of the events that a complete poll returns, in order.
pub(crate) async fn polled(address: SocketAddr, query: &str) -> Vec<(String, Value)> {
    let path = format!("/stream?poll=1&{query}");
    let answer = request(address, "GET", &path, &["accept: application/x-ndjson"]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let lines = answer.body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines[0]["type"], "hello");
    assert_eq!(lines[1]["type"], "ack");
    assert_eq!(lines.last().unwrap()["type"], "caught_up");
    let events = lines.into_iter().filter(|line| line["type"] == "event");
    events.map(|line| (line["cursor"].as_str().unwrap().to_owned(), line)).collect()
}

async fn polled_at_least(address: SocketAddr, events: usize) -> Vec<(String, Value)> {
    let enough = |polled: &Vec<_>| polled.len() >= events;
    until_some("the events are there", async || Some(polled(address, "").await).filter(enough))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn limited_polls_continue_by_cursor() {
    let (dir, github) = (tempfile::tempdir().unwrap(), feed(200).await);
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let all = polled_at_least(running.public, 40).await;
    let first = polled(running.public, "limit=25").await;
    let next = polled(running.public, &format!("limit=15&cursor={}", first[24].0)).await;
    assert_eq!([first, next].concat(), all[..40]);
    let refused = request(running.public, "GET", "/stream?limit=5", &[]).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("together with `poll`"), "{}", refused.body);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_query_is_answered_alike_in_each_form() {
    // All events come with one poll: between two of them there might be a gap.
    let (dir, github) = (tempfile::tempdir().unwrap(), GitHub::start(Options::by_hand(3)).await);
    github.control.emit(100);
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let all = polled_at_least(running.public, 60).await;
    let from = &all[9].0;
    let expected: Vec<&Value> = all[10..50].iter().map(|(_, event)| event).collect();

    let path = format!("/stream?cursor={from}");
    let mut lines = Flow::open(running.public, &path, &["accept: application/x-ndjson"]).await;
    assert!(lines.head.contains("content-type: application/x-ndjson\r\n"), "{}", lines.head);
    let hello = lines.line().await.unwrap();
    assert_eq!(hello["type"], "hello");
    assert_eq!(hello["simulated"], true);
    assert!(hello["retention"]["seconds"].as_u64().unwrap() > 0 && hello["oldest"].is_string());
    let ack = lines.line().await.unwrap();
    assert_eq!(ack, json!({ "type": "ack", "cursor": from, "warnings": [] }));

    let mut sse = Flow::open(
        running.public,
        "/stream?latest=1",
        &[
            "accept: text/event-stream",
            "origin: https://elsewhere.example",
            &format!("last-event-id: {from}"),
        ],
    )
    .await;
    assert!(sse.head.contains("content-type: text/event-stream\r\n"), "{}", sse.head);
    assert!(sse.head.contains("access-control-allow-origin: *\r\n"), "{}", sse.head);
    let (name, id, _) = sse.event().await.unwrap();
    assert_eq!((name.as_str(), id), ("hello", None));
    assert_eq!(sse.event().await.unwrap().0, "ack");

    let mut socket = Client::connect(running.public, &path).await;
    assert_eq!(socket.json().await["type"], "hello");
    assert_eq!(socket.json().await["type"], "ack");

    for event in expected {
        assert_eq!(event["key"].as_str().map(|key| key.starts_with("evt.")), Some(true));
        assert!(event["event"]["id"].is_string() && event["payload"]["pr"].is_u64());
        assert_eq!(&lines.line().await.unwrap(), event);
        assert_eq!(&socket.json().await, event);
        let (name, id, data) = sse.event().await.unwrap();
        assert_eq!((name.as_str(), id.as_deref()), ("event", event["cursor"].as_str()));
        assert_eq!(&data, event);
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_resumes_by_cursor_after_cuts_and_a_restart() {
    let (dir, github) = (tempfile::tempdir().unwrap(), feed(200).await);
    let mut running = Running::start(dir.path(), &github.url, &[]).await;
    polled_at_least(running.public, 20).await;
    let mut seen = Vec::new();
    let mut cursor = polled(running.public, "").await[0].0.clone();
    for cut in 0..6 {
        let path = format!("/stream?cursor={cursor}");
        let mut socket = Client::connect(running.public, &path).await;
        let mut taken = 0;
        while taken < 40 {
            let message = socket.json().await;
            // During a slow restart, more events may pass than GitHub's pages show.
            let is_told = message["type"] != "gap" || message["reason"] == "upstream";
            assert!(is_told, "{message}");
            if message["type"] == "event" {
                cursor = message["cursor"].as_str().unwrap().to_owned();
                seen.push(cursor.clone());
                taken += 1;
            }
        }
        if cut == 3 {
            running.end().await;
            let mut last = Value::Null;
            while let Came::Text(text) = socket.next().await {
                last = serde_json::from_str(&text).unwrap();
            }
            assert_eq!(last["type"], "bye", "{last}");
            assert!(last["cursor"].is_string());
            running = Running::start(dir.path(), &github.url, &[]).await;
        }
    }
    let all = polled(running.public, "").await;
    let all: Vec<String> = all.into_iter().map(|(cursor, _)| cursor).collect();
    assert_eq!(seen, all[1..=seen.len()], "twice, left out, or out of order");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_gets_the_form_it_likes_most() {
    let (dir, github) = (tempfile::tempdir().unwrap(), feed(20).await);
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let kind = async |path: &str, accept: &str| {
        let answer = request(running.public, "GET", path, &[&format!("accept: {accept}")]).await;
        let lines = answer.head.lines().map(str::to_ascii_lowercase);
        let mut kinds =
            lines.filter_map(|line| Some(line.strip_prefix("content-type: ")?.to_owned()));
        kinds.next().unwrap_or_default()
    };
    for (accept, expected) in [
        ("text/event-stream;q=0.1, application/x-ndjson;q=0.9", "application/x-ndjson"),
        ("application/x-ndjson, text/event-stream", "text/event-stream"),
        ("text/event-stream;q=0, */*", "application/x-ndjson"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/plain; charset=utf-8"),
        ("application/json", "application/x-ndjson"),
        ("text/event-stream;q=0", "application/problem+json"),
        ("image/png", "application/problem+json"),
    ] {
        assert_eq!(kind("/stream?poll=1", accept).await, expected, "{accept}");
    }
    // The latest value is refused until there is one.
    let accept = "application/json, text/event-stream;q=0.5";
    let came = until_some("the first value of the types", async || {
        Some(kind("/stream/types", accept).await).filter(|kind| kind != "application/problem+json")
    })
    .await;
    assert_eq!(came, "application/json");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_reader_does_not_delay_a_stop() {
    // The watchdogs of readers act after half of this, long after the test has timed out.
    let settings = [("GHPULSE_SERVER_LIMITS_WRITETIMEOUT", "10m"), ("GHPULSE_SERVER_GRACE", "10m")];
    let (dir, github) = (tempfile::tempdir().unwrap(), feed(20).await);
    let running = Running::start(dir.path(), &github.url, &settings).await;
    polled_at_least(running.public, 1).await;
    let mut flows = Vec::new();
    for path in ["/stream", "/stream/types"] {
        let mut flow = Flow::open(running.public, path, &["accept: text/event-stream"]).await;
        assert_eq!(flow.event().await.unwrap().0, "hello");
        flows.push(flow);
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_changes_in_mid_stream_from_the_place_the_ack_names() {
    let (dir, github) = (tempfile::tempdir().unwrap(), feed(200).await);
    let running = Running::start(dir.path(), &github.url, &[]).await;
    polled_at_least(running.public, 20).await;
    let mut socket = Client::connect(running.public, "/stream?types=PushEvent").await;
    let mut pushes = BTreeSet::new();
    while pushes.len() < 5 {
        let message = socket.json().await;
        if message["type"] == "event" {
            assert_eq!(message["event"]["type"], "PushEvent");
            pushes.insert(message["cursor"].as_str().unwrap().to_owned());
        }
    }
    socket.send(r#"{"types":["!PushEvent"],"fields":["event.type","payload.pr"]}"#).await;
    let from = loop {
        let message = socket.json().await;
        if message["type"] == "ack" {
            break message["cursor"].as_str().unwrap().to_owned();
        }
        // On a slow machine, heartbeats and gaps may come too.
        if message["type"] == "event" {
            assert_eq!(message["event"]["type"], "PushEvent");
        }
    };
    assert!(*pushes.last().unwrap() <= from);
    let mut others = Vec::new();
    while others.len() < 20 {
        let message = socket.json().await;
        if message["type"] == "event" {
            assert_ne!(message["fields"]["event.type"], "PushEvent");
            assert!(message["fields"]["payload.pr"].is_u64() && message.get("event").is_none());
            others.push(message["cursor"].as_str().unwrap().to_owned());
        }
    }
    let wanted = polled(running.public, &format!("cursor={from}&types=!PushEvent")).await;
    let wanted: Vec<String> = wanted.into_iter().map(|(cursor, _)| cursor).collect();
    assert_eq!(others, wanted[..others.len()]);

    socket.send(r#"{"latest":"many"}"#).await;
    loop {
        let message = socket.json().await;
        if message["type"] == "error" {
            assert_eq!(
                (&message["code"], &message["field"]),
                (&json!("invalid_query"), &json!("latest"))
            );
            break;
        }
    }
    assert!(matches!(socket.next().await, Came::Text(_)), "what held before holds on");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn message_that_is_too_long_is_answered_after_earlier_queries() {
    let (dir, github) = (tempfile::tempdir().unwrap(), feed(20).await);
    let running = Running::start(dir.path(), &github.url, &[]).await;
    polled_at_least(running.public, 1).await;
    let mut socket = Client::connect(running.public, "/stream?types=Nothing").await;
    // A start in the future is waited for, and so are the answers.
    let since = Clock::system().now().plus(Duration::from_secs(3));
    socket.send(&format!(r#"{{"since":"{since}","types":["None"]}}"#)).await;
    socket.send(&" ".repeat(100_000)).await;
    socket.send(r#"{"types":["Nothing","None"]}"#).await;
    let mut answers = Vec::new();
    while answers.len() < 4 {
        let message = socket.json().await;
        if message["type"] == "ack" || message["type"] == "error" {
            answers.push(message["type"].clone());
        }
    }
    // The first is the query in the URL.
    assert_eq!(answers, ["ack", "ack", "error", "ack"]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poll_returns_latest_since_and_sampled_events() {
    let (dir, github) = (tempfile::tempdir().unwrap(), feed(100).await);
    let running = Running::start(dir.path(), &github.url, &[]).await;
    // The first page that is read may contain no push.
    until_some("pushes are there", async || {
        (polled(running.public, "types=PushEvent").await.len() >= 7).then_some(())
    })
    .await;
    let all = polled_at_least(running.public, 100).await;
    let latest = polled(running.public, "latest=7&types=PushEvent").await;
    assert_eq!(latest.len(), 7);
    assert!(polled(running.public, "since=1h").await.len() >= all.len());
    let ids = |events: Vec<(String, Value)>| -> BTreeSet<String> {
        events.into_iter().map(|(cursor, _)| cursor).collect()
    };
    let end = all.last().unwrap().0.clone();
    let fours = ids(polled(running.public, "sample=4").await);
    let twos = ids(polled(running.public, "sample=2").await);
    let is_early = |cursor: &&String| **cursor <= end;
    assert!(fours.iter().filter(is_early).all(|cursor| twos.contains(cursor)));
    assert!(twos.iter().filter(is_early).count() < all.len());
    let documents = request(running.public, "GET", "/stream?poll=1&keys=ent.%23", &[]).await;
    let entities = documents.body.lines().filter(|line| line.contains(r#""type":"entity""#));
    assert!(entities.count() > 0, "{}", documents.body);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_query_is_refused_with_its_reason() {
    let (dir, github) = (tempfile::tempdir().unwrap(), feed(50).await);
    let allowed = ("GHPULSE_SERVER_ALLOWEDORIGINS", "https://page.example");
    let running = Running::start(dir.path(), &github.url, &[allowed]).await;
    let at = running.public;
    let bad = request(at, "GET", "/stream?latest=0", &[]).await;
    assert_eq!((bad.status, bad.json()["status"].clone()), (400, json!(400)));
    assert!(bad.body.contains("latest"), "{}", bad.body);
    assert_eq!(request(at, "GET", "/stream", &["accept: image/png"]).await.status, 406);
    assert_eq!(request(at, "GET", "/stream", &["origin: https://x.example"]).await.status, 403);
    let ours = ["origin: https://page.example", "accept: application/x-ndjson"];
    let ours = request(at, "GET", "/stream?poll=1", &ours).await;
    let head = ours.head.to_ascii_lowercase();
    assert!(head.contains("access-control-allow-origin: https://page.example"), "{head}");
    let preflight = ["origin: https://page.example", "access-control-request-method: GET"];
    let preflight = request(at, "OPTIONS", "/stream", &preflight).await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.head.to_ascii_lowercase().contains("last-event-id"), "{}", preflight.head);

    let mut socket = Client::connect(at, "/stream?cursor=nonsense").await;
    assert_eq!(socket.json().await["type"], "hello");
    let error = socket.json().await;
    assert_eq!((&error["type"], &error["field"]), (&json!("error"), &json!("cursor")));
    assert!(matches!(socket.next().await, Came::Closed(Some((1008, _)))));

    let foreign = request(at, "GET", "/stream?poll=1&cursor=00000001-be1f4b", &[]).await;
    let gap = foreign.body.lines().nth(2).unwrap();
    let gap: Value = serde_json::from_str(gap).unwrap();
    assert_eq!((&gap["type"], &gap["reason"]), (&json!("gap"), &json!("bus_changed")));
    assert_eq!(gap["from"], "00000001-be1f4b");
    // One of a store that was restored from a backup of this one.
    let events = polled_at_least(at, 1).await;
    let own: Cursor = events[0].0.parse().unwrap();
    let beyond = Cursor { position: Position::counted(1 << 58), ..own }.to_string();
    let answer = request(at, "GET", &format!("/stream?poll=1&cursor={beyond}"), &[]).await;
    let messages: Vec<Value> =
        answer.body.lines().skip(2).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&messages[0]["from"], &messages[0]["reason"]),
        (&beyond.into(), &"bus_changed".into())
    );
    assert_eq!(messages[1]["cursor"], events[0].0.as_str(), "all that is here");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_of_polling_is_a_gap_for_readers() {
    let time = steps();
    let clock = Clock::stepped(time);
    let github = GitHub::start_at(Options::by_hand(51), clock).await;
    let dir = tempfile::tempdir().unwrap();
    github.control.emit(150);
    let appliance = Running::start_at(dir.path(), &github.url, &[], clock).await;
    let before = polled_at_least(appliance.public, 150).await;
    let last = &before.last().unwrap().0;
    appliance.end().await;
    // An hour passes, with more events than the pages show.
    github.control.emit(2_000);
    time.store(3_600_000_000, Ordering::Relaxed);
    let appliance = Running::start_at(dir.path(), &github.url, &[], clock).await;
    let path = format!("/stream?cursor={last}");
    let headers = ["accept: text/event-stream"];
    let mut flow = Flow::open(appliance.public, &path, &headers).await;
    let (mut events, mut heartbeats) = (0, 0);
    let gap = loop {
        let (name, _, frame) = flow.event().await.expect("it continues");
        events += usize::from(name == "event");
        heartbeats += usize::from(name == "heartbeat");
        assert!(heartbeats < 4, "the pages were read long ago");
        if name == "gap" {
            break frame;
        }
    };
    let told = json!({
        "type": "gap", "from": gap["from"], "to": gap["to"], "count": null, "reason": "upstream",
    });
    assert_eq!(gap, told);
    assert!(events <= 300, "no more is shown than three pages: {events}");
    // The gap needs an event after it: polling readers do not receive a gap at the very end.
    github.control.emit(20);
    while flow.event().await.expect("it continues").0 != "event" {}
    // A later reader receives the same gap at the same position.
    let path = format!("/stream?poll=1&cursor={last}");
    let answer =
        request(appliance.public, "GET", &path, &["accept: application/x-ndjson"]).await.body;
    let lines = answer.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let gaps: Vec<Value> = lines.filter(|line| line["type"] == "gap").collect();
    assert_eq!(gaps, [told]);
    appliance.end().await;
}
