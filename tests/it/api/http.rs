//! HTTP responses other than those of the contract's endpoints.

use ghpulse::simulate::{Fault, FaultKind, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::events::{opened, push};
use super::program::command;
use super::site::Site;
use crate::common::client::{Client, request};
use crate::common::running::{GitHub, Running, soon};

const ENDPOINTS: [&str; 3] = ["/sampling", "/language/latest", "/language/watch"];

#[tokio::test(flavor = "multi_thread")]
async fn plain_get_of_a_socket_gets_426_and_an_example() {
    let site = Site::start(&[("GHPULSE_SERVER_BASEPATH", "/websocket")]).await;
    for endpoint in ENDPOINTS {
        for path in [endpoint.to_owned(), format!("/websocket{endpoint}?x=1")] {
            let answer = request(site.running.public, "GET", &path, &[]).await;
            assert_eq!(answer.status, 426, "{path}");
            let hint = format!("ws://{}/websocket{endpoint}", site.running.public);
            assert!(answer.body.contains(&hint), "{}", answer.body);
            assert_eq!(answer.body.lines().count(), 1, "{}", answer.body);
            let upgrade = answer.header("upgrade").expect("RFC 9110 wants it");
            assert!(upgrade.eq_ignore_ascii_case("websocket"));
        }
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_base_path_prefixed_and_bare_paths_both_answer() {
    let settings = [("GHPULSE_SERVER_BASEPATH", "/websocket"), ("GHPULSE_SERVER_HEALTH", "/alive")];
    let site = Site::start(&settings).await;
    for prefix in ["", "/websocket"] {
        let mut sampling = site.connect(&format!("{prefix}/sampling")).await;
        assert_eq!(sampling.json().await["firstMessageTag"], true);
        let mut watch = site.connect(&format!("{prefix}/language/watch?a=b")).await;
        assert_eq!(watch.json().await["firstMessageTag"], true);
        let mut latest = site.connect(&format!("{prefix}/language/latest")).await;
        latest.subscribe("{}").await;
        assert_eq!(latest.text().await, "{}");
        for (path, status) in [("/alive", 200), ("/health", 404), ("/readyz", 200), ("/", 200)] {
            let path = format!("{prefix}{path}");
            let answer = request(site.running.public, "GET", &path, &[]).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.body);
        }
    }
    let other = request(site.running.public, "GET", "/websockets/alive", &[]).await;
    assert_eq!(other.status, 404);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_origin_may_connect_unless_some_are_named() {
    let site = Site::start(&[]).await;
    let anyone = Client::open(site.running.public, "/sampling", &[("origin", "https://a.b")]);
    assert!(anyone.await.is_ok());
    site.end().await;
    let named = ("GHPULSE_SERVER_ALLOWEDORIGINS", "https://ok.example,http://localhost:3000");
    let site = Site::start(&[named]).await;
    for origin in ["https://ok.example", "https://OK.example", "http://localhost:3000"] {
        let told = [("origin", origin)];
        assert!(Client::open(site.running.public, "/sampling", &told).await.is_ok(), "{origin}");
    }
    // The server's own origin need not be listed.
    let own = format!("http://{}", site.running.public);
    assert!(Client::open(site.running.public, "/sampling", &[("origin", &own)]).await.is_ok());
    let neighbour = format!("http://{}0", site.running.public);
    for origin in [
        "https://evil.example",
        "http://ok.example",
        "null",
        "https://ok.example.evil",
        neighbour.as_str(),
    ] {
        let told = [("origin", origin)];
        let opened = Client::open(site.running.public, "/sampling", &told).await;
        let Err(answer) = opened else { panic!("{origin} may not connect") };
        assert_eq!(answer.status, 403, "{origin}");
        let body = answer.body;
        assert!(body.contains("allowedOrigins") && body.contains(origin), "{body}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_are_served() {
    let site = Site::start(&[]).await;
    let health = request(site.running.public, "GET", "/health", &[]).await;
    assert_eq!((health.status, health.body.as_str()), (200, "OK"));
    let mut old = tokio::net::TcpStream::connect(site.running.public).await.unwrap();
    old.write_all(b"GET /health HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    soon("an answer", old.read_to_string(&mut text)).await.unwrap();
    assert!(text.contains(" 200 OK\r\n") && text.ends_with("\r\n\r\nOK"), "{text}");
    let head = request(site.running.public, "HEAD", "/health", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    site.push(&[push(1)]);
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[push(2)]);
    while reader.json().await["event"]["id"] != "2" {}
    let ready = request(site.running.public, "GET", "/readyz", &[]).await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    for (name, wanted) in [
        ("store", "ok"),
        ("source", "ok"),
        ("bus", "ok"),
        ("tidb", "off"),
        ("amqp", "off"),
        ("scripts", "ok"),
    ] {
        let (_, part) = part(&site, name).await;
        assert_eq!(part["state"], wanted, "{part}");
        assert!(part["since"].as_str().unwrap().ends_with('Z'), "{part}");
    }
    site.end().await;
}

/// What `/readyz` reports about a part, and the response status.
async fn part(site: &Site, name: &str) -> (u16, Value) {
    let answer = request(site.running.public, "GET", "/readyz", &[]).await;
    let parts = answer.json();
    let part = parts.as_array().unwrap().iter().find(|part| part["name"] == name);
    (answer.status, part.unwrap_or_else(|| panic!("no {name} in {parts}")).clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_away_is_503_in_readiness_alone() {
    let github = GitHub::start(Options::by_hand(1)).await;
    github.control.set_fault(Fault { share: 1.0, ..Fault::new(FaultKind::Error502) });
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let site = Site { github, dir, running };
    let asked = site.github.control.until(|control| control.requests() > 0);
    soon("GitHub is asked", asked).await;
    let mut ticks = site.latest("{}").await;
    let down = async {
        loop {
            let (status, source) = part(&site, "source").await;
            if source["state"] == "down" {
                return (status, source);
            }
            ticks.text().await;
        }
    };
    let (status, source) = soon("the source is down", down).await;
    assert_eq!(status, 503, "{source}");
    assert_eq!(source["error"], "GitHub cannot be reached", "strangers read plain words");
    let details = request(site.running.ops, "GET", "/readyz", &[]).await.body;
    assert!(details.contains("502"), "{details}");
    let health = request(site.running.public, "GET", "/health", &[]).await;
    assert_eq!((health.status, health.body.as_str()), (200, "OK"), "it serves");
    assert_eq!(site.connect("/sampling").await.json().await["firstMessageTag"], true);
    let url = format!("http://{}", site.running.public);
    for (arguments, code) in [(&["status", "--url"][..], 69), (&["status", "--alive", "--url"], 0)]
    {
        let status = soon("it ends", command(arguments).arg(&url).output()).await.unwrap();
        assert_eq!(status.status.code(), Some(code), "{arguments:?}: {status:?}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn journal_of_simulated_events_says_so_where_nothing_is_polled() {
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[push(1)]);
    site.settle(&mut reader, 1).await;
    let Site { github, dir, running } = site;
    running.end().await;
    let settings = [("GHPULSE_DISABLE_PRODUCER", "true")];
    let running = Running::start(dir.path(), &github.url, &settings).await;
    let status = request(running.public, "GET", "/status?format=json", &[]).await;
    assert_eq!(status.header("x-simulated"), Some("ghpulse"), "{}", status.head);
    assert_eq!(status.json()["simulated"], true);
    let polled = request(running.public, "GET", "/stream?poll=1", &[]).await;
    let hello: Value = serde_json::from_str(polled.body.lines().next().unwrap()).unwrap();
    assert_eq!((&hello["type"], &hello["simulated"]), (&json!("hello"), &json!(true)));
    let event = polled.body.lines().find(|line| line.contains(r#""type":"event""#)).unwrap();
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["simulated"], json!(true));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tidb_that_is_away_delays_and_stops_nothing() {
    // Reserved but not listening, so that no other process gets the port meanwhile.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let settings = [
        ("GHPULSE_TIDB_HOST", "127.0.0.1"),
        ("GHPULSE_TIDB_PORT", port.as_str()),
        ("GHPULSE_TIDB_DB", "test"),
        ("GHPULSE_TIDB_PASSWORD", "password-of-a-test"),
        ("GHPULSE_INTERVAL_RETRY", "1"),
        ("GHPULSE_INTERVAL_RETRYWAIT", "0"),
    ];
    let site = Site::start(&settings).await;
    assert_eq!(site.connect("/sampling").await.json().await["eventMap"], json!({}));
    let answer = request(site.running.public, "POST", "/sync-event", &["content-length: 0"]).await;
    assert_eq!((answer.status, &answer.json()["synced"]), (502, &json!(false)));
    assert!(answer.body.contains(&format!("127.0.0.1:{port}")), "why not: {}", answer.body);
    assert!(!answer.body.contains("password-of-a-test"), "{}", answer.body);
    let (status, tidb) = part(&site, "tidb").await;
    assert_ne!(tidb["state"], "ok", "{tidb}");
    let (_, source) = part(&site, "source").await;
    assert!(status == 200 || source["state"] == "down", "TiDB alone is no reason: {source}");
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[push(1)]);
    assert_eq!(reader.json().await["event"]["id"], "1");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_path_of_another_endpoint_is_refused() {
    let site = Site::start(&[]).await;
    let table = request(site.running.public, "GET", "/openapi.json", &[]).await.json();
    let paths: Vec<&String> = table["paths"].as_object().unwrap().keys().collect();
    assert!(paths.len() > 15, "{paths:?}");
    for path in paths.into_iter().filter(|path| !["/health", "/sync-event"].contains(&&***path)) {
        let path = path.replace("{name}", "stars");
        let set = vec![("GHPULSE_SERVER_HEALTH".to_owned(), path.clone())];
        let refused = ghpulse::config::load(&ghpulse::config::Request::of_variables(set));
        let errors = refused.expect_err(&path).errors;
        assert_eq!(errors[0].key.as_deref(), Some("server.health"), "{path}: {errors:?}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_on_the_ops_listener_alone() {
    ghpulse::metrics::install();
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[opened(1, "Go")]);
    site.settle(&mut reader, 1).await;
    let answer = request(site.running.ops, "GET", "/metrics", &[]).await;
    assert_eq!(answer.status, 200);
    for name in ["ghpulse_events_applied_total", "ghpulse_connections{endpoint=\"/sampling\"}"] {
        assert!(answer.body.contains(name), "{name}: {}", answer.body);
    }
    let public = request(site.running.public, "GET", "/metrics", &[]).await;
    assert_eq!(public.status, 404);
    assert!(!public.body.contains("ghpulse_events"), "{}", public.body);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_list_the_known_ones() {
    let site = Site::start(&[]).await;
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/sampling/more", 404),
        ("GET", "/..%2f", 404),
        ("POST", "/sampling", 405),
        ("DELETE", "/", 405),
        ("PUT", "/health", 405),
    ] {
        let answer = request(site.running.public, method, path, &["content-length: 0"]).await;
        assert_eq!(answer.status, status, "{method} {path}");
        for endpoint in ENDPOINTS {
            assert!(answer.body.contains(endpoint), "{method} {path}: {}", answer.body);
        }
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let page = request(site.running.public, "GET", "/", &["accept: text/html"]).await;
    assert_eq!(page.status, 200);
    for endpoint in ENDPOINTS {
        assert!(page.body.contains(endpoint), "{endpoint}");
    }
    assert!(!page.body.contains("src=\"http") && !page.body.contains("url(http"));
    site.end().await;
}
