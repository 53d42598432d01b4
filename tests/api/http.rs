//! What is answered beside the endpoints.

use crate::common::client::{Answer, Client, request};
use crate::events::{opened, push};
use crate::site::Site;

const ENDPOINTS: [&str; 3] = ["/sampling", "/language/latest", "/language/watch"];

/// A header's value; `head` is what came before the body.
fn header(answer: &Answer, name: &str) -> Option<String> {
    let lines = answer.head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_get_of_an_endpoint_gets_426_and_one_line_that_says_how() {
    let site = Site::start(&[("GHPULSE_SERVER_BASEPATH", "/websocket")]).await;
    for endpoint in ENDPOINTS {
        for path in [endpoint.to_owned(), format!("/websocket{endpoint}?x=1")] {
            let answer = request(site.running.public, "GET", &path, &[]).await;
            assert_eq!(answer.status, 426, "{path}");
            assert!(answer.body.contains(&format!("ws://HOST:PORT{endpoint}")), "{}", answer.body);
            assert_eq!(answer.body.lines().count(), 1, "{}", answer.body);
            let upgrade = header(&answer, "upgrade").expect("RFC 9110 wants it");
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
    for origin in ["https://evil.example", "http://ok.example", "null", "https://ok.example.evil"] {
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
async fn health_and_readiness_are_told() {
    let site = Site::start(&[]).await;
    let health = request(site.running.public, "GET", "/health", &[]).await;
    assert_eq!((health.status, health.body.as_str()), (200, "OK"));
    let head = request(site.running.public, "HEAD", "/health", &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    site.push(&[push(1)]);
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    site.push(&[push(2)]);
    while reader.json().await["event"]["id"] != "2" {}
    let ready = request(site.running.public, "GET", "/readyz", &[]).await;
    assert_eq!(ready.status, 200, "{}", ready.body);
    let parts = ready.json();
    let state = |name: &str| {
        let part = parts.as_array().unwrap().iter().find(|part| part["name"] == name);
        let part = part.unwrap_or_else(|| panic!("no {name} in {parts}"));
        assert!(part["since"].as_str().unwrap().ends_with('Z'), "{part}");
        part["state"].as_str().unwrap().to_owned()
    };
    for (name, wanted) in [
        ("store", "ok"),
        ("source", "ok"),
        ("bus", "ok"),
        ("tidb", "off"),
        ("amqp", "off"),
        ("scripts", "ok"),
    ] {
        assert_eq!(state(name), wanted, "{name}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sync_is_for_this_machine_for_the_token_and_for_ops() {
    const PROXIED: [&str; 4] = [
        "x-forwarded-for: 127.0.0.1",
        "forwarded: for=127.0.0.1",
        "x-real-ip: 127.0.0.1",
        "via: 1.1 proxy",
    ];
    let site = Site::start(&[]).await;
    let (public, ops) = (site.running.public, site.running.ops);
    for method in ["GET", "POST"] {
        let answer = request(public, method, "/sync-event", &["content-length: 0"]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["synced"], false);
        assert!(answer.body.contains("TiDB is not configured"), "{}", answer.body);
        for forwarding in PROXIED {
            let answer = request(public, method, "/sync-event", &[forwarding]).await;
            assert_eq!(answer.status, 403, "{forwarding}");
            assert!(answer.body.contains("server.adminToken"), "{}", answer.body);
            let answer = request(ops, method, "/sync-event", &[forwarding]).await;
            assert_eq!(answer.status, 200, "always on the ops listener");
        }
    }
    assert_eq!(request(public, "PUT", "/sync-event", &[]).await.status, 405);
    site.end().await;

    let settings =
        [("GHPULSE_SERVER_ADMINTOKEN", "sesame-of-a-test"), ("GHPULSE_SERVER_SYNCEVENT", "/sync")];
    let site = Site::start(&settings).await;
    let ask = async |authorization: &str| {
        let authorization = format!("authorization: {authorization}");
        request(site.running.public, "POST", "/sync", &[PROXIED[0], &authorization]).await
    };
    assert_eq!(ask("Bearer sesame-of-a-test").await.status, 200);
    assert_eq!(ask("bearer sesame-of-a-test").await.status, 200);
    for wrong in ["Bearer sesame", "Basic sesame-of-a-test", "sesame-of-a-test", "Bearer "] {
        let answer = ask(wrong).await;
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(!answer.body.contains("sesame"), "{}", answer.body);
        assert!(header(&answer, "www-authenticate").is_some());
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
async fn what_is_not_there_and_what_is_not_taken_is_said_with_what_there_is() {
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
        assert_eq!(header(&answer, "x-content-type-options").as_deref(), Some("nosniff"));
    }
    let page = request(site.running.public, "GET", "/", &["accept: text/html"]).await;
    assert_eq!(page.status, 200);
    for endpoint in ENDPOINTS {
        assert!(page.body.contains(endpoint), "{endpoint}");
    }
    assert!(!page.body.contains("src=\"http") && !page.body.contains("url(http"));
    site.end().await;
}
