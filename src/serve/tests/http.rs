//! The HTTP paths other than those of WebSockets.

use super::*;
use crate::config::Secret;

/// The body of a response.
fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).expect("a status")
}

const HANDSHAKE: &str = concat!(
    "GET /sampling HTTP/1.1\r\nupgrade: websocket\r\nsec-websocket-key: ",
    "dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\nconnection: upgrade",
);

#[tokio::test]
async fn a_plain_get_of_a_websocket_endpoint_gets_a_hint() {
    let served = served().await;
    for path in ["/sampling", "/language/latest", "/language/watch"] {
        let answer = served.get(path).await;
        assert_eq!(status(&answer), "426");
        assert!(answer.contains("upgrade: websocket\r\n"), "{answer}");
        let (hint, rest) = body(&answer).split_once('\n').expect("one line");
        assert!(hint.contains(&format!("ws://test{path}")) && rest.is_empty(), "{hint}");
    }
    let old = served.ask(&HANDSHAKE.replace("version: 13", "version: 8")).await;
    assert_eq!(status(&old), "426");
    assert!(old.contains("sec-websocket-version: 13\r\n"), "{old}");
    let keyless = served.ask(&HANDSHAKE.replace("websocket-key", "websocket-kex")).await;
    assert_eq!(status(&keyless), "400");
    assert_eq!(status(&served.ask("POST /sampling HTTP/1.1").await), "405");
}

#[tokio::test]
async fn health_and_readiness_are_served() {
    let fine = served().await;
    let health = fine.get("/health").await;
    assert_eq!((status(&health), body(&health)), ("200", "OK"));
    let ready = fine.get("/readyz").await;
    assert_eq!(status(&ready), "200");
    assert!(
        body(&ready).starts_with(
            r#"[{"name":"store","state":"ok","since":"1970-01-01T00:00:00Z","error":null},"#
        ),
        "{ready}"
    );
    for (down, wanted) in [("bus", "503"), ("source", "503"), ("store", "503"), ("tidb", "200")] {
        let around = Around { down: Some(down), ..Around::default() };
        let served = served_with(options(), HubOptions::default(), around).await;
        assert_eq!(status(&served.get("/readyz").await), wanted, "{down}");
        assert_eq!(status(&served.get("/health").await), "200");
    }
}

#[tokio::test]
async fn status_is_json_for_programs_and_html_for_browsers() {
    let served = served().await;
    let json = served.get("/status").await;
    let shown: Status = serde_json::from_str(body(&json)).unwrap();
    assert_eq!((status(&json), shown.ready, shown.clients.connections), ("200", true, 1));
    assert!(!json.contains("x-simulated"), "{json}");
    let browser = "GET /status HTTP/1.1\r\naccept: text/html,*/*;q=0.8";
    let page = served.ask(browser).await;
    assert!(page.contains("content-type: text/html"), "{page}");
    assert!(body(&page).contains("&lt;/pre&gt;&lt;b&gt;broken"), "{page}");
    let forced = served.ask(&browser.replace("/status", "/status?format=json")).await;
    assert!(forced.contains("content-type: application/json"), "{forced}");
}

#[tokio::test]
async fn sync_is_for_the_token_and_ops_is_for_the_secret() {
    let served = served_by(|options| {
        options.config.admin_token = Some(Secret::new("t0ken"));
        options.ops_secret = Some(Secret::new("s3cret"));
    })
    .await;
    let request = |headers: &str| format!("POST /sync-event HTTP/1.1{headers}");
    assert_eq!(status(&served.ask(&request("")).await), "401", "this machine is not enough");
    let with = |token: &str| request(&format!("\r\nauthorization: {token}"));
    let answer = served.ask(&with("Bearer t0ken")).await;
    assert_eq!(status(&answer), "200");
    assert_eq!(body(&answer), r#"{"synced":false,"message":"tidb is not configured"}"#);
    for wrong in ["Bearer t0keN", "t0ken", "Bearer s3cret"] {
        assert_eq!(status(&served.ask(&with(wrong)).await), "401", "{wrong}");
    }
    assert_eq!(status(&ask(served.ops, &request("")).await), "401");
    assert_eq!(status(&ask(served.ops, &with("Bearer t0ken")).await), "401");
    assert_eq!(status(&ask(served.ops, &with("Bearer s3cret")).await), "200");
    assert_eq!(status(&ask(served.ops, "GET /sync-event HTTP/1.1").await), "200");
    assert_eq!(status(&served.ask("DELETE /sync-event HTTP/1.1").await), "405");
}

#[tokio::test]
async fn sync_without_token_is_local_only() {
    let answer = served().await.ask("GET /sync-event HTTP/1.1\r\nforwarded: for=192.0.2.1").await;
    assert_eq!(status(&answer), "403");
    assert!(body(&answer).contains("server.adminToken"), "{answer}");
}

#[tokio::test]
async fn metrics_are_for_ops_only() {
    let served = served().await;
    assert_eq!(status(&served.get("/metrics").await), "404");
    assert_eq!(status(&ask(served.ops, "GET /metrics HTTP/1.1").await), "200");
}

#[tokio::test]
async fn not_found_lists_the_endpoints() {
    let served = served().await;
    for (request, wanted) in [("GET /nowhere", "404"), ("DELETE /health", "405")] {
        let answer = served.ask(&format!("{request} HTTP/1.1")).await;
        assert_eq!(status(&answer), wanted);
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        assert!(body(&answer).contains(r#""endpoints":["/","/sampling","#), "{answer}");
        assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
    }
}

#[tokio::test]
async fn with_a_base_path_prefixed_and_bare_paths_answer() {
    let served =
        served_by(|options| options.config.base_path = Some("/websocket".to_owned())).await;
    for path in ["/health", "/websocket/health", "/websocket", "/websocket/", "/"] {
        assert_eq!(status(&served.get(path).await), "200", "{path}");
    }
    for path in ["/sampling", "/websocket/sampling?x=1", "/websocket/sampling/"] {
        assert!(served.connect(path).await.text().await.contains("firstMessageTag"));
    }
}

#[tokio::test]
async fn page_names_simulation_and_escapes_text() {
    let around = Around { simulated: true, down: Some("bus") };
    let served = served_with(options(), HubOptions::default(), around).await;
    let stranger = served.get("/").await;
    assert!(stranger.contains("Pulsar cannot be reached") && !stranger.contains("broken"));
    let answer = ask(served.ops, "GET / HTTP/1.1").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains(r#""simulated":true"#));
    assert!(answer.contains(r"\u003c/script>\u003cb>broken"), "what comes from outside is data");
    assert!(!answer.contains("{{"), "nothing is left to fill in");
    let policy = answer.lines().find(|line| line.starts_with("content-security-policy: ")).unwrap();
    let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap();
    assert_eq!(body(&answer).matches(&format!("nonce=\"{nonce}\"")).count(), 4);
    for path in ["/health", "/nowhere", "/docs/config", "/sampling", "/topics"] {
        assert!(served.get(path).await.contains("\r\nx-simulated: ghpulse\r\n"), "{path}");
    }
    let outside = ["src=\"http", "href=\"http", "@import", "url("];
    assert!(!outside.iter().any(|word| answer.contains(word)), "nothing from elsewhere");
}

#[tokio::test]
async fn conflicting_paths_fail_before_anything_is_served() {
    let refused = async |health: &str| {
        let served = served_by(|options| options.config.health = health.to_owned()).await;
        soon(served.running).await.unwrap().unwrap_err().to_string()
    };
    assert!(refused("/sync-event").await.contains("both `/sync-event`"));
    assert!(refused("/sampling").await.contains("`/sampling` is taken"));
    assert!(refused("/a/{b}").await.contains("not a plain path"));
}

#[tokio::test]
async fn unfinished_request_is_disconnected() {
    let timeout = Duration::from_millis(100);
    let served = served_by(|options| options.config.limits.handshake_timeout = timeout).await;
    let mut stream = TcpStream::connect(served.public).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: te").await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(stream.read_to_end(&mut answer)).await;
}
