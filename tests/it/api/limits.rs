//! Limits: each refusal names its reason, and a slow client never costs another one an event.

use std::net::SocketAddr;

use ghpulse::simulate::Options;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};

use super::events::push;
use super::program::{Program, run_within};
use super::site::Site;
use crate::common::client::{Answer, Came, Client, request};
use crate::common::running::{GitHub, soon, until_some};

/// Connects from another address of this machine.
pub(super) async fn from(host: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{host}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_leave_open_files_to_the_store() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let mut command = run_within(256, &dir, &github.url);
    command.env("GHPULSE_SERVER_LIMITS_HANDSHAKETIMEOUT", "3s");
    let mut program = Program::start(command);
    program.until("server.limits.connections is lowered").await;
    let address = program.address().await;
    let mut strangers = Vec::new();
    for host in 2..34 {
        for _ in 0..16 {
            strangers.push(from(&format!("127.0.0.{host}"), address).await);
        }
    }
    for stranger in &mut strangers {
        let mut response = Vec::new();
        // It may end with a reset.
        let _ = soon("it is cut off", stranger.read_to_end(&mut response)).await;
    }
    // Nor do programs of this machine take them.
    let ops = std::fs::read_to_string(dir.path().join("ops")).unwrap();
    let ops = ops.trim().strip_prefix("http://").unwrap().parse().unwrap();
    let mut local = Vec::new();
    for _ in 0..256 {
        local.push(from("127.0.0.1", ops).await);
    }
    for connection in &mut local {
        let _ = soon("it is cut off", connection.read_to_end(&mut Vec::new())).await;
    }
    let mut reader = Client::connect(address, "/sampling").await;
    reader.text().await;
    reader.subscribe(r#"{"samplingRate":1}"#).await;
    github.control.push_raw(&push(1));
    assert!(reader.text().await.contains(r#""id":"1""#));
    drop(reader);
    program.signal("-TERM").await;
    let (code, log, _) = program.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("open files (") && !log.contains("can be accepted"), "{log}");
}

pub(super) fn expect_refused(opened: Result<Client, Answer>, status: u16, reason: &str) {
    let Err(answer) = opened else { panic!("{status} for {reason} was to come") };
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.body.contains(reason), "{answer:?}");
    assert!(answer.head.contains("retry-after"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_connection_frees_its_place() {
    let site = Site::start(&[("GHPULSE_SERVER_LIMITS_CONNECTIONS", "3")]).await;
    let to = site.running.public;
    let mut inside = Vec::new();
    for path in ["/sampling", "/language/latest", "/language/watch"] {
        inside.push(site.connect(path).await);
    }
    let refused = Client::open(to, "/sampling", &[]).await;
    expect_refused(refused, 503, "server.limits.connections");
    assert_eq!(request(to, "GET", "/health", &[]).await.status, 200, "it serves");
    let plain = request(to, "GET", "/topics", &[]).await;
    assert_eq!(plain.status, 503);
    assert!(plain.head.to_ascii_lowercase().contains("retry-after: "), "{}", plain.head);
    // Connections to the ops listener are counted separately.
    assert_eq!(request(site.running.ops, "GET", "/health", &[]).await.status, 200);
    let mut leaving = inside.swap_remove(0);
    leaving.goodbye(1000).await;
    while !matches!(leaving.next().await, Came::Closed(_)) {}
    drop(leaving);
    until_some("a place is free", async || Client::open(to, "/sampling", &[]).await.ok().map(drop))
        .await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited_for_each_address() {
    let site = Site::start(&[("GHPULSE_SERVER_LIMITS_PERADDRESS", "2")]).await;
    let to = site.running.public;
    let _one = Client::over(from("127.0.0.2", to).await, "/sampling", &[]).await.unwrap();
    let _two = Client::over(from("127.0.0.2", to).await, "/language/watch", &[]).await.unwrap();
    // Without a trusted proxy, the header is ignored.
    let told = [("x-forwarded-for", "9.9.9.9")];
    let third = Client::over(from("127.0.0.2", to).await, "/sampling", &told).await;
    expect_refused(third, 429, "server.limits.perAddress");
    assert!(Client::over(from("127.0.0.3", to).await, "/sampling", &[]).await.is_ok());
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_proxy_names_the_client() {
    let settings = [
        ("GHPULSE_SERVER_LIMITS_PERADDRESS", "1"),
        ("GHPULSE_SERVER_TRUSTEDPROXIES", "127.0.0.0/30,10.0.0.0/8"),
    ];
    let site = Site::start(&settings).await;
    let to = site.running.public;
    let open = async |host: &str, told: &str| {
        Client::over(from(host, to).await, "/sampling", &[("x-forwarded-for", told)]).await
    };
    let _first = open("127.0.0.2", "9.9.9.9").await.unwrap();
    let _other = open("127.0.0.2", "8.8.8.8").await.unwrap();
    // Entries that the client wrote itself, to the left of those added by proxies, are ignored.
    for told in ["9.9.9.9", "1.1.1.1, 9.9.9.9", "7.7.7.7,9.9.9.9, 10.1.2.3"] {
        expect_refused(open("127.0.0.2", told).await, 429, "server.limits.perAddress");
    }
    // A /64 counts as one address.
    let _six = open("127.0.0.2", "2001:db8:1:2::1").await.unwrap();
    expect_refused(open("127.0.0.2", "2001:db8:1:2:ffff::9").await, 429, "perAddress");
    assert!(open("127.0.0.2", "2001:db8:1:3::1").await.is_ok());
    // Headers from an address that is not a trusted proxy are ignored.
    let _direct = open("127.0.0.9", "5.5.5.5").await.unwrap();
    expect_refused(open("127.0.0.9", "6.6.6.6").await, 429, "server.limits.perAddress");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn params_too_often_end_the_connection_with_a_reason() {
    let site = Site::start(&[("GHPULSE_SERVER_LIMITS_PARAMSPERMINUTE", "5")]).await;
    let mut client = site.connect("/sampling").await;
    client.text().await;
    for _ in 0..10 {
        client.try_send(r#"{"samplingRate":1}"#).await;
    }
    let error = client.json().await;
    assert!(
        error["error"]["message"].as_str().unwrap().contains("server.limits.paramsPerMinute"),
        "{error}"
    );
    match client.next().await {
        Came::Closed(Some((1008, reason))) => assert!(!reason.is_empty()),
        other => panic!("1008 was to come, not {other:?}"),
    }
    site.end().await;
}

/// An event of at least this many bytes.
fn heavy(id: u64, bytes: usize) -> String {
    push(id).replace(r#""public""#, &format!(r#""pad":"{}","public""#, "x".repeat(bytes)))
}

fn id_of(message: &Value) -> u64 {
    message["event"]["id"].as_str().expect("an event").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_reader_skips_without_affecting_others() {
    const EVENTS: u64 = 120;
    const BYTES: usize = 100_000;
    const BURST: usize = 6;
    ghpulse::metrics::install();
    let settings = [
        ("GHPULSE_SERVER_LIMITS_LAG", "20"),
        ("GHPULSE_SERVER_LIMITS_WRITETIMEOUT", "5m"),
        ("GHPULSE_SERVER_FLUSHINTERVAL", "0s"),
    ];
    let site = Site::start(&settings).await;
    let mut fast = site.sampling(r#"{"samplingRate":1}"#).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(site.running.public).await.unwrap();
    let mut slow = Client::over(stream, "/sampling", &[]).await.unwrap();
    slow.text().await;
    slow.subscribe(r#"{"samplingRate":1}"#).await;
    // In bursts shorter than the permitted lag, so that the fast client never exceeds it.
    for first in (1..=EVENTS).step_by(BURST) {
        let burst = first..first + BURST as u64;
        site.push(&burst.clone().map(|id| heavy(id, BYTES)).collect::<Vec<_>>());
        for id in burst {
            assert_eq!(id_of(&fast.json().await), id, "a client that reads misses nothing");
        }
    }
    let mut got = Vec::new();
    while got.last() != Some(&EVENTS) {
        got.push(id_of(&slow.json().await));
    }
    assert!(got.is_sorted_by(|a, b| a < b), "in order, none twice: {got:?}");
    assert!(got.len() < 115, "it skipped forward: {} came", got.len());
    let end: Vec<u64> = (EVENTS - 19..=EVENTS).collect();
    assert!(got.ends_with(&end), "the last 20 are within the lag: {got:?}");
    let metrics = request(site.running.ops, "GET", "/metrics", &[]).await.body;
    let line = metrics.lines().find(|line| line.starts_with("ghpulse_skipped_events_total "));
    let counted: u64 = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap();
    assert!(counted >= EVENTS - got.len() as u64, "{counted}");
    // It continues to receive events.
    site.push(&[push(EVENTS + 1)]);
    assert_eq!(id_of(&slow.json().await), EVENTS + 1);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_are_cut_off_in_the_end() {
    ghpulse::metrics::install();
    let settings = [("GHPULSE_SERVER_LIMITS_WRITETIMEOUT", "500ms")];
    let site = Site::start(&settings).await;
    let mut fast = site.sampling(r#"{"samplingRate":1,"filter":["event.id"]}"#).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(site.running.public).await.unwrap();
    let mut stuck = Client::over(stream, "/sampling", &[]).await.unwrap();
    stuck.text().await;
    stuck.subscribe(r#"{"samplingRate":1}"#).await;
    for first in (1..=100).step_by(10) {
        site.push(&(first..first + 10).map(|id| heavy(id, 100_000)).collect::<Vec<_>>());
        for _ in 0..10 {
            fast.text().await;
        }
    }
    let mut ticks = site.latest("{}").await;
    let cut_off = async {
        let asked = || request(site.running.ops, "GET", "/metrics", &[]);
        while !asked().await.body.contains(r#"reason="write_timeout""#) {
            ticks.text().await;
        }
    };
    soon("it is counted as cut off", cut_off).await;
    // What the system had already accepted arrives, and then nothing.
    while !matches!(stuck.next().await, Came::Closed(None)) {}
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_that_multiply_an_event_are_refused_by_name() {
    let site = Site::start(&[]).await;
    let copies = vec!["event"; 100];
    let params = |filter: &[&str]| {
        serde_json::json!({ "samplingRate": 1, "returnType": "list", "filter": filter }).to_string()
    };
    let mut greedy = site.connect("/sampling").await;
    greedy.json().await;
    greedy.send(&params(&copies)).await;
    let refused = greedy.json().await;
    assert_eq!(refused["error"]["field"], "filter", "{refused}");
    assert!(matches!(greedy.next().await, Came::Closed(Some((1008, _)))));
    // The previous parameters stay in force, and the connection stays open.
    let mut reader = site.sampling(&params(&["event.id", "event.id"])).await;
    reader.send(&params(&copies)).await;
    assert_eq!(reader.json().await["error"]["field"], "filter");
    site.push(&[push(1)]);
    let event = reader.json().await;
    assert_eq!((event[0].as_str(), event.as_array().map(Vec::len)), (event[1].as_str(), Some(2)));
    let nested = "/stream?poll=1&fields=event,event.payload,event.payload.issue";
    let answer = request(site.running.public, "GET", nested, &[]).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("fields: `event.payload.issue`"), "{}", answer.body);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_readers_hold_is_shown() {
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[push(1)]);
    reader.json().await;
    // It is measured after an event was handed to the readers.
    let bytes = until_some("the metric", async || {
        let metrics = request(site.running.ops, "GET", "/metrics", &[]).await.body;
        let line = metrics.lines().find(|line| line.starts_with("ghpulse_reader_bytes "))?;
        Some(line.split(' ').nth(1)?.parse::<f64>().unwrap())
    });
    assert!(bytes.await >= 0.0);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expensive_searches_delay_no_other_address() {
    const EVENTS: u64 = 2_000;
    let settings = [
        ("GHPULSE_SERVER_TRUSTEDPROXIES", "127.0.0.0/8"),
        ("GHPULSE_SERVER_LIMITS_PERADDRESS", "1000"),
    ];
    let site = Site::start(&settings).await;
    let to = site.running.public;
    let mut reader = site.sampling(r#"{"samplingRate":1,"filter":["event.id"]}"#).await;
    for first in (1..=EVENTS).step_by(100) {
        site.push(&(first..first + 100).map(push).collect::<Vec<_>>());
        for _ in 0..100 {
            reader.json().await;
        }
    }
    let globs: Vec<String> = (0..32).map(|i| format!("*n*n*t*o*{i:02}x")).collect();
    let path = format!("/stream?poll=1&latest=10000&repos={}", globs.join(","));
    let mut greedy = tokio::task::JoinSet::new();
    for _ in 0..400 {
        let path = path.clone();
        greedy
            .spawn(async move { request(to, "GET", &path, &["x-forwarded-for: 192.0.2.1"]).await });
    }
    let path = "/stream?poll=1&latest=5";
    let modest = request(to, "GET", path, &["x-forwarded-for: 192.0.2.2"]).await;
    let is_event = |line: &&str| line.starts_with(r#"{"type":"event""#);
    assert_eq!(modest.body.lines().filter(is_event).count(), 5, "{}", modest.body);
    let answers = greedy.join_all().await;
    let (refused, answered): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 429);
    assert!(!refused.is_empty(), "all {} were answered", answered.len());
    for answer in refused {
        assert!(answer.body.contains("searches of the journal"), "{answer:?}");
        assert!(answer.head.to_ascii_lowercase().contains("retry-after: "), "{answer:?}");
    }
    assert!(
        answered.iter().all(|answer| answer.status == 200 && answer.body.contains("caught_up"))
    );
    site.end().await;
}
