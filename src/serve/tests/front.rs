//! Tests of every endpoint: HEAD, origins, `OPTIONS`, listed values, idle connections.

use super::*;
use crate::config::Network;
use crate::serve::api::endpoint::EndpointPath;
use crate::serve::api::endpoints;

const OK: &str = "https://ok.example";

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

/// The value of a header in a response head.
fn told<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Sends these bytes and reads the response to the end.
async fn raw(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// The paths of all endpoints for one audience.
fn paths(audience: Audience) -> Vec<String> {
    let all = endpoints::all().into_iter().filter(|endpoint| endpoint.audience == audience);
    let options = options();
    all.map(|endpoint| {
        let path = endpoint.path.resolve(&options.config).replace("{owner}", "ann");
        path.replace("{name}", "stars").replace("{page}", "config")
    })
    .collect()
}

#[tokio::test]
async fn request_for_a_websocket_has_no_body() {
    const HEAD: &str = "GET /sampling HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\
        connection: upgrade\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let served = served().await;
    for (body, wanted) in [
        ("content-length: 0\r\n\r\n", 101),
        ("content-length: 2\r\n\r\nab", 400),
        ("content-length: 2\r\n\r\n", 400),
        ("transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", 400),
    ] {
        let mut stream = TcpStream::connect(served.public).await.unwrap();
        stream.write_all(format!("{HEAD}{body}").as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        soon(stream.read_exact(&mut answer)).await.unwrap();
        let answer = std::str::from_utf8(&answer).unwrap();
        assert!(answer.ends_with(&format!(" {wanted}")), "{body:?}: {answer}");
    }
}

#[tokio::test]
async fn invalid_request_heads_are_rejected() {
    const UPGRADE: &str = "upgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const CLOSE: &str = "connection: close\r\n";
    const KEY: &str = "host: a\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let served = served().await;
    for (head, more, wanted) in [
        ("GET /health HTTP/1.1", "host: a:80\r\nconnection: close\r\n", 200),
        ("GET /health HTTP/1.0", CLOSE, 200),
        ("GET /health HTTP/1.1", CLOSE, 400),
        ("GET /health HTTP/1.1", "host: a\r\nhost: b\r\nconnection: close\r\n", 400),
        ("GET /health HTTP/1.0", "host: a\r\nhost: a\r\nconnection: close\r\n", 400),
        ("GET /health HTTP/1.1", "host: a b/\r\nconnection: close\r\n", 400),
        ("GET /health HTTP/1.1", "host:\r\nconnection: close\r\n", 400),
        ("GET /nowhere HTTP/1.1", CLOSE, 400),
        ("GET /sampling HTTP/1.1", UPGRADE, 400),
        ("GET /sampling HTTP/1.1", &[KEY, UPGRADE].concat(), 400),
    ] {
        for address in [served.public, served.ops] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("{head}\r\n{more}\r\n").as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            soon(stream.read_exact(&mut answer)).await.unwrap();
            let answer = std::str::from_utf8(&answer).unwrap();
            assert!(answer.ends_with(&format!(" {wanted}")), "{head} {more}: {answer}");
        }
    }
}

#[tokio::test]
async fn pages_may_read_every_public_endpoint_and_its_errors() {
    for (allowed, told_to_ok) in [(vec![], "*"), (vec![OK.to_owned()], OK)] {
        let served = served_by(|options| options.config.allowed_origins = allowed.clone()).await;
        let mut asked: Vec<String> = paths(Audience::Public);
        asked.extend(
            ["/nowhere", "/stream/languages?window=9", "/stream?sample=x", "/status?format=x"]
                .map(str::to_owned),
        );
        for path in asked.iter().filter(|path| *path != "/sync-event") {
            let get = format!("GET {path} HTTP/1.1\r\norigin: {OK}");
            let answer = served.ask(&get).await;
            let read = told(&answer, "access-control-allow-origin");
            assert_eq!(read, Some(told_to_ok), "{path}: {answer}");
            assert!(told(&answer, "vary").is_some_and(|vary| vary.contains("origin")), "{path}");
            let put = served.ask(&get.replace("GET", "PUT")).await;
            assert!(matches!(status(&put), 404 | 405), "{path}: {put}");
            assert_eq!(told(&put, "access-control-allow-origin"), Some(told_to_ok), "{path}");
            let before = "\r\naccess-control-request-method: GET\
                \r\naccess-control-request-headers: last-event-id";
            let ask = format!("{}{before}", get.replace("GET", "OPTIONS"));
            let answer = served.ask(&ask).await;
            assert_eq!(told(&answer, "access-control-allow-origin"), Some(told_to_ok), "{path}");
            if path != "/nowhere" {
                assert_eq!(status(&answer), 204, "{path}: {answer}");
            }
            let may = told(&answer, "access-control-allow-headers").unwrap_or_default();
            assert!(may.contains("last-event-id") && may.contains("cache-control"), "{answer}");
            if !allowed.is_empty() {
                for ask in [get, ask] {
                    let evil = served.ask(&ask.replace(OK, "https://evil.example")).await;
                    assert_eq!(status(&evil), 403, "{path}: {evil}");
                    assert_eq!(told(&evil, "access-control-allow-origin"), None, "{path}");
                }
            }
        }
        // Endpoints with side effects and the ops listener send no CORS headers.
        let sync = served.ask(&format!("GET /sync-event HTTP/1.1\r\norigin: {OK}")).await;
        assert_eq!(told(&sync, "access-control-allow-origin"), None, "{sync}");
        let get = format!("GET /status HTTP/1.1\r\norigin: {OK}");
        let ops = ask(served.ops, &get).await;
        assert_eq!(told(&ops, "access-control-allow-origin"), None, "{ops}");
    }
}

#[tokio::test]
async fn pages_can_read_why_a_connection_is_rejected() {
    let served = served_by(|options| options.config.limits.connections = 1).await;
    let _inside = served.connect("/sampling").await;
    let answer = served.ask(&format!("GET /topics HTTP/1.1\r\norigin: {OK}")).await;
    assert_eq!(status(&answer), 503);
    assert_eq!(told(&answer, "access-control-allow-origin"), Some("*"));
    assert_eq!(told(&answer, "x-content-type-options"), Some("nosniff"));
    let after: u64 = told(&answer, "retry-after").unwrap().parse().unwrap();
    assert!((20..=60).contains(&after), "{after}");
}

#[tokio::test]
async fn health_checks_are_answered_when_all_slots_are_in_use() {
    let served = served_by(|options| {
        options.config.limits.connections = 1;
        options.config.base_path = Some("/websocket".to_owned());
    })
    .await;
    let _inside = served.connect("/sampling").await;
    assert_eq!(status(&served.get("/topics").await), 503);
    for asked in ["GET /health", "HEAD /health", "GET /websocket/health", "GET /readyz"] {
        let answer = served.ask(&format!("{asked} HTTP/1.1")).await;
        assert_eq!(status(&answer), 200, "{asked}: {answer}");
    }
    // HAProxy's default health check.
    let answer = raw(served.public, "OPTIONS / HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&answer), 204, "{answer}");
    assert_eq!(status(&served.ask("POST /health HTTP/1.1").await), 503);
}

#[tokio::test]
async fn options_lists_the_allowed_methods() {
    let served = served().await;
    for path in paths(Audience::Public).iter().map(String::as_str).chain(["*"]) {
        let answer = served.ask(&format!("OPTIONS {path} HTTP/1.1")).await;
        assert_eq!(status(&answer), 204, "{path}: {answer}");
        let allow = told(&answer, "allow").unwrap_or_default();
        // A HEAD would run the sync.
        let head = (path != "/sync-event").then_some("HEAD");
        for method in ["GET", "OPTIONS"].into_iter().chain(head) {
            assert!(allow.split(", ").any(|known| known == method), "{path}: {allow}");
        }
    }
    assert_eq!(status(&served.ask("OPTIONS /nowhere HTTP/1.1").await), 404);
    // From outside, the ops endpoints look nonexistent, whatever the method.
    for path in paths(Audience::Ops) {
        for method in ["GET", "POST", "OPTIONS", "PUT"] {
            let answer = served.ask(&format!("{method} {path} HTTP/1.1")).await;
            assert_eq!(status(&answer), 404, "{method} {path}: {answer}");
        }
        let answer = ask(served.ops, &format!("OPTIONS {path} HTTP/1.1")).await;
        assert_eq!(status(&answer), 204, "{path}: {answer}");
    }
    assert!(
        endpoints::find("/store", &options().config)
            .is_some_and(|row| row.allow == "OPTIONS, POST")
    );
    assert!(endpoints::all().iter().any(|endpoint| endpoint.path == EndpointPath::Health));
}

#[tokio::test]
async fn unlisted_values_are_rejected() {
    let served = served().await;
    for (path, wanted) in [
        ("/status?format=json", 200),
        ("/status?other=x", 200),
        ("/status?format=null", 400),
        ("/status?format=", 200),
        ("/topics?format=JSON", 400),
        ("/topics?format=", 200),
        ("/stream/types?window=", 503),
        ("/stream/types?window=5m", 400),
        ("/stream/types?cursor=x", 400),
    ] {
        let answer = served.get(path).await;
        assert_eq!(status(&answer), wanted, "{path}: {answer}");
    }
}

#[tokio::test]
async fn all_endpoints_negotiate_content_alike() {
    const TYPES: &str = "/stream/types";
    let served = served().await;
    for (path, accept, wanted) in [
        ("/status", "text/html;q=0, application/json", "application/json"),
        ("/status", "application/json, text/html;q=0.1", "application/json"),
        ("/topics", "TEXT/HTML", "text/html"),
        ("/topics", "*/*", "application/json"),
        (TYPES, "image/png", "application/problem+json"),
    ] {
        let answer = served.ask(&format!("GET {path} HTTP/1.1\r\naccept: {accept}")).await;
        let kind = told(&answer, "content-type").unwrap_or_default();
        assert!(kind.starts_with(wanted), "{path} {accept}: {answer}");
        let vary = told(&answer, "vary").unwrap_or_default();
        assert!(vary.contains("accept") && vary.contains("accept-encoding"), "{path}: {vary}");
        assert_eq!(status(&answer) == 406, wanted.contains("problem"), "{path} {accept}");
    }
}

/// A connection that has received one response.
async fn asked_once(served: &Served) -> TcpStream {
    let mut stream = TcpStream::connect(served.public).await.unwrap();
    ask_again(&mut stream).await;
    stream
}

async fn ask_again(stream: &mut TcpStream) {
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nOK") {
        answer.push(soon(stream.read_u8()).await.expect("an answer"));
    }
}

/// A stream of server-sent events, and its first message.
async fn streaming(served: &Served) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(served.public).await.unwrap();
    let ask = b"GET /stream/types HTTP/1.1\r\nhost: test\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut begun = Vec::new();
    while !begun.ends_with(b"\n\n") {
        begun.push(soon(stream.read_u8()).await.unwrap());
    }
    (stream, String::from_utf8(begun).unwrap())
}

#[tokio::test]
async fn idle_connections_have_their_own_timeout() {
    let long = served_by(|options| {
        options.config.limits.handshake_timeout = Duration::from_secs(2);
    })
    .await;
    let mut stream = asked_once(&long).await;
    let early = tokio::time::timeout(Duration::from_millis(2_400), stream.read_u8()).await;
    assert!(early.is_err(), "ended by the time-out of a head: {early:?}");
    ask_again(&mut stream).await;
    // Every request head, also the second, must be complete in time.
    stream.write_all(b"GET /health HTTP/1.1\r\nho").await.unwrap();
    assert!(soon(stream.read_u8()).await.is_err());

    let short = served_by(|options| options.config.keep_alive = Duration::from_millis(500)).await;
    let mut stream = asked_once(&short).await;
    assert!(soon(stream.read_u8()).await.is_err());
    // A connection that waits for a slow response is not idle.
    let (mut stream, _) = streaming(&short).await;
    let ended = async { while stream.read_u8().await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_millis(900), ended).await.is_err());
}

#[tokio::test]
async fn streams_send_retry_with_jitter() {
    let served = served().await;
    let (mut stream, begun) = streaming(&served).await;
    let retry = |text: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix("retry: "));
        line.unwrap_or_else(|| panic!("no retry in {text}")).parse().unwrap()
    };
    assert!((2_000..=12_000).contains(&retry(&begun)), "{begun}");
    assert!(begun.contains("\nevent: hello\n"), "{begun}");
    served.soft.cancel();
    let mut rest = String::new();
    soon(stream.read_to_string(&mut rest)).await.unwrap();
    let after = retry(&rest);
    assert!(rest.contains("event: bye\n"), "{rest}");
    assert!(rest.contains(&format!(r#""retry_after":{after}"#)), "{rest}");
}

#[tokio::test]
async fn proxy_that_names_no_client_is_the_client() {
    let served = served_by(|options| {
        options.config.limits.per_address = 1;
        options.config.trusted_proxies = vec![Network::parse("127.0.0.0/8").unwrap()];
        options.config.client_header = "CF-Connecting-IP".to_owned();
    })
    .await;
    let _nobody = served.connect("/sampling").await;
    for headers in [&[][..], &[("x-forwarded-for", "192.0.2.1")], &[("cf-connecting-ip", "x")]] {
        let again = served.connect_with("/sampling", headers).await;
        assert_eq!(again.err(), Some(429), "{headers:?}");
    }
    let told = [("cf-connecting-ip", "192.0.2.1")];
    let _one = served.connect_with("/sampling", &told).await.unwrap();
    assert_eq!(served.connect_with("/sampling", &told).await.err(), Some(429));
    assert!(served.connect_with("/sampling", &[("cf-connecting-ip", "192.0.2.2")]).await.is_ok());
}

#[tokio::test]
async fn only_named_pages_may_show_ours_in_a_frame() {
    let get = "GET / HTTP/1.1\r\naccept: text/html";
    let answer = served().await.ask(get).await;
    let policy = told(&answer, "content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(told(&answer, "x-frame-options"), Some("DENY"));
    let served = served_by(|options| options.config.frame_ancestors = vec![OK.to_owned()]).await;
    let answer = served.ask(get).await;
    let policy = told(&answer, "content-security-policy").unwrap();
    assert!(policy.contains(&format!("frame-ancestors {OK}")), "{policy}");
    assert_eq!(told(&answer, "x-frame-options"), None);
}

#[tokio::test]
async fn errors_are_pages_for_browsers_and_json_for_programs() {
    const BROWSER: &str = "accept: text/html,application/xhtml+xml,*/*;q=0.8";
    let served = served_by(|options| options.config.base_path = Some("/base".to_owned())).await;
    for (path, wanted, root) in [
        ("/nowhere", 404, ""),
        ("/base/nowhere", 404, ""),
        ("/base/a/b/", 404, "../../"),
        ("/archive/", 404, "../"),
        ("/stream?sample=x", 400, ""),
        ("/2026-01-01-5.json.gz", 404, ""),
    ] {
        let page = served.ask(&format!("GET {path} HTTP/1.1\r\n{BROWSER}")).await;
        assert_eq!(status(&page), wanted, "{path}: {page}");
        assert_eq!(told(&page, "content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert!(page.contains(&format!("href=\"{root}status\"")), "{path}: {page}");
        assert!(told(&page, "content-security-policy").unwrap().contains("'nonce-"), "{path}");
        for accept in
            ["accept: */*", "accept: application/json", "accept: text/event-stream", "x: y"]
        {
            let answer = served.ask(&format!("GET {path} HTTP/1.1\r\n{accept}")).await;
            assert_eq!(status(&answer), wanted, "{path} {accept}");
            let kind = told(&answer, "content-type");
            assert_eq!(kind, Some("application/problem+json"), "{path} {accept}");
        }
    }
    let nasty = served.ask(&format!("GET /docs/%3Cscript%3Ex HTTP/1.1\r\n{BROWSER}")).await;
    assert!(nasty.contains("&lt;script&gt;x") && !nasty.contains("<script>x"), "{nasty}");
    // Slashes do not make a long page.
    let deep = format!("GET {} HTTP/1.1\r\n{BROWSER}", "/a".repeat(2_000));
    assert!(served.ask(&deep).await.len() < 20_000);
}

#[tokio::test]
async fn crawlers_may_fetch_pages_and_no_stream() {
    let served = served_by(|options| options.config.base_path = Some("/base".to_owned())).await;
    for path in ["/robots.txt", "/base/robots.txt"] {
        let rules = served.ask(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!(status(&rules), 200, "{rules}");
        for line in ["User-agent: *", "Allow: /docs", "Allow: /base/docs", "Disallow: /"] {
            assert!(rules.lines().any(|known| known == line), "{line}: {rules}");
        }
    }
    let icon = served.ask("GET /favicon.ico HTTP/1.1").await;
    assert_eq!(told(&icon, "content-type"), Some("image/svg+xml"), "{icon}");
    assert!(icon.contains("<svg"), "{icon}");
}

#[tokio::test]
async fn documents_and_hints_have_the_address_that_was_asked() {
    const PROXIED: &str = "x-forwarded-proto: https\r\nx-forwarded-host: live.example";
    let asked = async |served: &Served, path: &str, headers: &str| {
        let head = format!("GET {path} HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n");
        let answer = raw(served.public, &head).await;
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    };
    let trusting = |header: &'static str| {
        served_by(move |options| {
            options.config.base_path = Some("/base".to_owned());
            options.config.trusted_proxies = vec![Network::parse("127.0.0.0/8").unwrap()];
            options.config.client_header = header.to_owned();
        })
    };
    let (bare, proxied) = (served().await, trusting("X-Forwarded-For").await);
    let (rfc, plain) = (trusting("Forwarded").await, "host: a.example:8600");
    for (served, headers, wanted) in [
        (&bare, plain, "ws://a.example:8600"),
        (&bare, "host: [::1]:8600", "ws://[::1]:8600"),
        (&bare, &format!("{plain}\r\n{PROXIED}"), "ws://a.example:8600"),
        (&bare, "host: $(id).example", ""),
        (&bare, "host: a'b", ""),
        (&proxied, plain, "ws://a.example:8600/base"),
        (&proxied, &format!("{plain}\r\n{PROXIED}"), "wss://live.example/base"),
        (&proxied, &format!("{plain}\r\nx-forwarded-host: <b>"), "ws://a.example:8600/base"),
        (
            &proxied,
            &format!("{plain}\r\nx-forwarded-proto: HTTPS, http"),
            "wss://a.example:8600/base",
        ),
        (&proxied, &format!("{plain}\r\nforwarded: proto=https"), "ws://a.example:8600/base"),
        (
            &rfc,
            &format!("{plain}\r\nforwarded: for=1.1.1.1;proto=https;host=\"b:1\""),
            "wss://b:1/base",
        ),
        (&rfc, &format!("{plain}\r\n{PROXIED}"), "ws://a.example:8600/base"),
    ] {
        let document = asked(served, "/asyncapi.json", headers).await;
        let document: serde_json::Value = serde_json::from_str(&document).unwrap();
        let server = &document["servers"]["ghpulse"];
        let member = |name: &str| server[name].as_str().unwrap_or_default();
        let scheme = if wanted.is_empty() { "" } else { "://" };
        let url = [member("protocol"), scheme, member("host"), member("pathname")].concat();
        assert_eq!(url, wanted, "{headers}");
        let hint = asked(served, "/sampling", headers).await;
        let wanted = if wanted.is_empty() { "ws://HOST:PORT" } else { wanted };
        assert!(hint.contains(&format!("connect to {wanted}/sampling, ")), "{headers}: {hint}");
    }
    let secure = served_by(|options| options.certificate = Some(limits::certificate())).await;
    let mut stream = limits::tls_to(TcpStream::connect(secure.public).await.unwrap(), &[]).await;
    let request = "GET /sampling HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("connect to wss://localhost/sampling, "), "{answer}");
    let ops = ask(secure.ops, "GET /sampling HTTP/1.1").await;
    assert!(ops.contains("connect to ws://test/sampling, "), "{ops}");
}
