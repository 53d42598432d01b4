//! Access to the sync and to the ops listener: granted to programs of this machine's operator;
//! denied to pages in a browser, names pointed here, readers behind a proxy, and other users.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::site::Site;
use crate::common::client::request;
use crate::common::running::{Running, soon};

/// Headers that proxies add.
const PROXIED: [&str; 8] = [
    "x-forwarded-for: 127.0.0.1",
    "X-Forwarded-Port: 443",
    "forwarded: for=127.0.0.1",
    "x-real-ip: 127.0.0.1",
    "CF-Connecting-IP: 127.0.0.1",
    "Client-Ip: 127.0.0.1",
    "X-ProxyUser-Ip: 127.0.0.1",
    "via: 1.1 proxy",
];
/// Headers that browsers add to requests caused by a page.
const OF_PAGES: [&str; 6] = [
    "origin: http://127.0.0.1:8600",
    "sec-fetch-site: cross-site",
    "sec-fetch-site: same-site",
    "sec-fetch-site: same-origin",
    "sec-fetch-mode: no-cors",
    "referer: http://evil.test/",
];

/// The response status of a request with this head.
async fn status_of(address: SocketAddr, head: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("{head}\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("an answer comes", stream.read_to_string(&mut answer)).await.unwrap();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sync_is_for_programs_of_this_machine_and_for_ops() {
    let site = Site::start(&[]).await;
    let (public, ops) = (site.running.public, site.running.ops);
    let secret = Running::secret(site.dir.path());
    for method in ["GET", "POST"] {
        let answer = request(public, method, "/sync-event", &["content-length: 0"]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.json()["synced"], false);
        assert!(answer.body.contains("TiDB is not configured"), "{}", answer.body);
        for line in PROXIED.iter().chain(&OF_PAGES) {
            let answer = request(public, method, "/sync-event", &[line]).await;
            assert_eq!(answer.status, 403, "{line}");
            assert!(answer.body.contains("server.adminToken"), "{}", answer.body);
        }
        for head in ["HTTP/1.1\r\nhost: evil.test", "HTTP/1.0\r\nhost: 127.0.0.1", "HTTP/1.0"] {
            let head = format!("{method} /sync-event {head}");
            assert_eq!(status_of(public, &head).await, 403, "{head}");
        }
    }
    for line in PROXIED {
        let answer = request(ops, "GET", "/sync-event", &[line]).await;
        assert_eq!(answer.status, 200, "a proxy may stand before the ops listener");
    }
    for line in OF_PAGES {
        assert_eq!(request(ops, "GET", "/sync-event", &[line]).await.status, 403, "{line}");
    }
    assert_eq!(request(ops, "POST", "/sync-event", &[]).await.status, 401);
    assert_eq!(request(ops, "POST", "/sync-event", &[&secret]).await.status, 200);
    let wrong = request(public, "PUT", "/sync-event", &[]).await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET,POST")));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_a_local_address_is_not_enough() {
    let settings =
        [("GHPULSE_SERVER_ADMINTOKEN", "sesame-of-a-test"), ("GHPULSE_SERVER_SYNCEVENT", "/sync")];
    let site = Site::start(&settings).await;
    let public = site.running.public;
    let ask = async |authorization: &str| {
        let authorization = format!("authorization: {authorization}");
        request(public, "POST", "/sync", &[PROXIED[0], &authorization]).await
    };
    assert_eq!(ask("Bearer sesame-of-a-test").await.status, 200);
    assert_eq!(ask("bearer sesame-of-a-test").await.status, 200);
    for wrong in ["Bearer sesame", "Basic sesame-of-a-test", "sesame-of-a-test", "Bearer "] {
        let answer = ask(wrong).await;
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(!answer.body.contains("sesame"), "{}", answer.body);
        assert!(answer.header("www-authenticate").is_some());
    }
    assert_eq!(request(public, "GET", "/sync", &[]).await.status, 401, "a proxy may be here too");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_proxy_is_here_a_local_address_is_not_enough() {
    let site = Site::start(&[("GHPULSE_SERVER_TRUSTEDPROXIES", "127.0.0.1")]).await;
    let answer = request(site.running.public, "GET", "/sync-event", &[]).await;
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert!(answer.body.contains("server.trustedProxies"), "{}", answer.body);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_post_on_ops_needs_the_secret_of_the_data_directory() {
    let site = Site::start(&[]).await;
    let (ops, data) = (site.running.ops, site.dir.path());
    let json = "content-type: application/json";
    for path in ["/store", "/recorded", "/sync-event"] {
        for line in ["authorization: Bearer ", "authorization: Bearer 0000", "x: y"] {
            let answer = request(ops, "POST", path, &[json, line]).await;
            assert_eq!(answer.status, 401, "{path} {line}");
            assert!(answer.header("www-authenticate").is_some());
        }
    }
    let file = data.join("ops.secret");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "its owner's alone");
    let secret = std::fs::read_to_string(&file).unwrap();
    for path in ["/openapi.json", "/metrics", "/status"] {
        let answer = request(ops, "GET", path, &[]).await;
        assert!(answer.status == 200 && !answer.body.contains(secret.trim()), "{path}");
    }
    site.end().await;
    assert!(!file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ops_listener_does_not_answer_to_names_of_strangers() {
    let settings = [("GHPULSE_SERVER_ALLOWEDORIGINS", "https://live.example.org")];
    let site = Site::start(&settings).await;
    let ops = site.running.ops;
    for path in ["/metrics", "/window", "/status", "/readyz", "/sync-event", "/"] {
        for (host, status) in [("evil.test:8602", 421), ("127.0.0.1.evil.test", 421)] {
            let head = format!("GET {path} HTTP/1.1\r\nhost: {host}");
            assert_eq!(status_of(ops, &head).await, status, "{head}");
        }
    }
    for host in ["localhost:1", "ghpulse", "ghpulse.monitoring.svc:8602", "live.example.org"] {
        let head = format!("GET /metrics HTTP/1.1\r\nhost: {host}");
        assert_eq!(status_of(ops, &head).await, 200, "{host}");
    }
    // On the public port, a page with such a name is foreign if allowed origins are configured.
    for (host, origin, status) in [
        ("evil.test", "http://evil.test", 403),
        ("live.example.org", "https://live.example.org", 101),
        ("127.0.0.1", "http://127.0.0.1", 101),
    ] {
        let head = format!(
            "GET /sampling HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             connection: upgrade\r\nx: y"
        );
        assert_eq!(upgraded(site.running.public, &head).await, status, "{host}");
    }
    let answer = request(ops, "GET", "/openapi.json", &[]).await.json();
    assert_ne!(answer["paths"]["/store"]["post"]["responses"]["401"], json!(null));
    site.end().await;
}

/// The response status of a handshake, without waiting for the end of the connection.
async fn upgraded(address: SocketAddr, head: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
    let mut line = [0; 12];
    soon("an answer comes", stream.read_exact(&mut line)).await.unwrap();
    String::from_utf8_lossy(&line[9..]).parse().unwrap_or_default()
}
