use std::sync::Arc;

use super::*;
use crate::config::Secret;
use crate::github::tokens::{Census, Identity, PoolOptions, TokenGrant, TokenMode, TokenPool};
use crate::http::fake::{FakeReply, FakeServer, SentRequest};

const SECRET: &str = "ghp_s3cret";

fn rest(url: &str, timeout_ms: u64) -> Rest {
    let timeout = Duration::from_millis(timeout_ms);
    Rest::new(url, timeout, Clock::system()).unwrap()
}

fn pool(with_token: bool) -> Arc<TokenPool> {
    let tokens = with_token.then(|| Secret::new(SECRET)).into_iter().collect();
    TokenPool::new(PoolOptions { tokens, share: 0.9, burst: 3 }, Clock::system())
}

fn lease(pool: &Arc<TokenPool>) -> Lease {
    match pool.grant() {
        TokenGrant::Go(lease) => lease,
        TokenGrant::Wait(until) => panic!("has to wait until {until:?}"),
    }
}

/// Sends one request, answered with `reply`. Returns the response and the state of the pool
/// afterwards.
async fn ask(with_token: bool, reply: fn() -> FakeReply) -> (PageResponse, Census, Arc<TokenPool>) {
    let fake = FakeServer::start(move |_| reply()).await;
    let pool = pool(with_token);
    let answer = rest(&fake.url, 5_000).fetch_page(1, lease(&pool), None).await;
    let said = format!("{answer:?}");
    assert!(!said.contains("s3cret"), "{said}");
    let census = pool.census();
    (answer, census, pool)
}

fn failure(answer: &PageResponse) -> &RestError {
    match &answer.outcome {
        PageOutcome::Failed(error) => error,
        other => panic!("no failure: {other:?}"),
    }
}

#[tokio::test]
async fn request_has_the_headers_that_github_requires() {
    let fake = FakeServer::start(|_| FakeReply::new(200, "[]").with("ETag", "W/\"abc\"")).await;
    let (pool, rest) = (pool(true), rest(&format!("{}/base/", fake.url), 5_000));
    let answer = rest.fetch_page(2, lease(&pool), None).await;
    let PageOutcome::Fresh { body, etag } = answer.outcome else { panic!("{answer:?}") };
    assert_eq!((&body[..], etag.as_deref()), (&b"[]"[..], Some("W/\"abc\"")));
    rest.fetch_page(3, lease(&pool), etag.as_deref()).await;
    let asked = fake.asked();
    assert_eq!(asked[0].target, "/base/events?per_page=100&page=2");
    assert_eq!(asked[0].header("accept"), Some("application/vnd.github+json"));
    assert_eq!(asked[0].header("x-github-api-version"), Some("2022-11-28"));
    assert_eq!(asked[0].header("user-agent"), Some(http::USER_AGENT));
    assert_eq!(asked[0].header("authorization"), Some("Bearer ghp_s3cret"));
    assert_eq!(asked[0].header("if-none-match"), None);
    assert!(asked[0].header("accept-encoding").unwrap().contains("gzip"));
    assert_eq!(asked[1].header("if-none-match"), Some("W/\"abc\""));
}

#[tokio::test]
async fn without_a_token_none_is_sent() {
    let fake = FakeServer::start(|_| FakeReply::new(304, "").with("X-Simulated", "true")).await;
    let answer = rest(&fake.url, 5_000).fetch_page(1, lease(&pool(false)), Some("\"x\"")).await;
    assert!(matches!(answer.outcome, PageOutcome::NotModified), "{answer:?}");
    assert_eq!(answer.simulated, Some(true));
    assert_eq!(fake.asked()[0].header("authorization"), None);
}

#[tokio::test]
async fn unauthorized_token_is_quarantined() {
    let (answer, census, _) = ask(true, || FakeReply::new(401, "Bad credentials")).await;
    assert!(matches!(answer.outcome, PageOutcome::TokenDead { reason: DeadToken::Revoked }));
    assert_eq!(
        census,
        Census { mode: TokenMode::Anonymous, tokens: 1, quarantined: 1, usable: 0, accounts: 1 }
    );
    let (answer, ..) = ask(false, || FakeReply::new(401, "Bad\r\ncredentials")).await;
    let error = failure(&answer);
    assert!(!error.is_transient());
    assert!(
        error.to_string().contains("answered 401: Bad credentials; it wants a token"),
        "{error}"
    );
}

#[tokio::test]
async fn a_bare_403_is_a_dead_token_and_one_with_headers_is_a_limit() {
    let (answer, census, _) = ask(true, || FakeReply::new(403, "Sorry")).await;
    assert!(matches!(answer.outcome, PageOutcome::TokenDead { reason: DeadToken::Suspended }));
    assert_eq!(census.quarantined, 1);
    let limited = || {
        let wait = FakeReply::new(403, "API rate limit exceeded").with("X-RateLimit-Limit", 60);
        let wait = wait.with("X-RateLimit-Remaining", 0).with("X-RateLimit-Reset", 1_800_000_090);
        wait.with("Date", "Fri, 15 Jan 2027 08:00:00 GMT")
    };
    for with_token in [true, false] {
        let (answer, census, pool) = ask(with_token, limited).await;
        let PageOutcome::Limited { wait } = answer.outcome else { panic!("{answer:?}") };
        assert_eq!(wait, Some(Duration::from_secs(90)));
        assert_eq!((census.quarantined, census.usable), (0, 0));
        let TokenGrant::Wait(until) = pool.grant() else { panic!("no request may be sent") };
        let wait = until - Clock::system().instant();
        assert!(wait > Duration::from_secs(30) && wait <= Duration::from_secs(90), "{wait:?}");
    }
}

#[tokio::test]
async fn status_429_waits_for_retry_after_or_a_minute() {
    for (reply, seconds) in [
        ((|| FakeReply::new(429, "").with("Retry-After", 7)) as fn() -> FakeReply, 7),
        (|| FakeReply::new(429, ""), 60),
        (|| FakeReply::new(403, "secondary rate limit"), 60),
        (|| FakeReply::new(403, "").with("X-RateLimit-Remaining", 100), 60),
    ] {
        let asked = Clock::system().instant();
        let (answer, _, pool) = ask(true, reply).await;
        assert!(matches!(answer.outcome, PageOutcome::Limited { .. }), "{answer:?}");
        let TokenGrant::Wait(until) = pool.grant() else { panic!("no request may be sent") };
        // Counted from the response, which arrived some time after the request.
        let since_asked = (until - asked).as_secs_f64();
        let wait = (until - Clock::system().instant()).as_secs_f64();
        let seconds = f64::from(seconds);
        assert!(wait <= seconds && since_asked >= seconds, "{wait} {since_asked}");
    }
}

#[tokio::test]
async fn server_errors_are_transient_and_keep_the_token() {
    for status in [500, 502, 503, 504] {
        let fake =
            FakeServer::start(move |_| FakeReply::new(status, "").with("Retry-After", 9)).await;
        let pool = pool(true);
        let answer = rest(&fake.url, 5_000).fetch_page(3, lease(&pool), None).await;
        let error = failure(&answer);
        assert!(error.is_transient());
        assert_eq!(error.retry_after(), Some(Duration::from_secs(9)));
        assert_eq!(error.to_string(), format!("page 3 of {}/events answered {status}", fake.url));
        assert_eq!(pool.census().usable, 1);
    }
}

#[tokio::test]
async fn permanent_errors_name_the_cure() {
    for (status, cure) in [
        (422, "set github.pages to 3"),
        (404, "check github.apiUrl"),
        (400, "check github.apiUrl"),
        (204, "check github.apiUrl"),
    ] {
        let fake = FakeServer::start(move |_| FakeReply::new(status, "")).await;
        let answer = rest(&fake.url, 5_000).fetch_page(4, lease(&pool(true)), None).await;
        let error = failure(&answer);
        assert!(!error.is_transient() && error.to_string().ends_with(cure), "{error}");
    }
}

#[tokio::test]
async fn no_answer_is_a_failure_that_names_the_host_and_no_token() {
    let fake = FakeServer::start(|asked| match asked.page() {
        1 => FakeReply::Hang,
        _ => FakeReply::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[".to_vec()),
    })
    .await;
    let rest = rest(&fake.url, 100);
    for page in [1, 2] {
        let answer = rest.fetch_page(page, lease(&pool(true)), None).await;
        let error = failure(&answer);
        let said = format!("{error} {error:?}");
        assert!(error.is_transient() && said.contains("127.0.0.1:"), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_costs_no_budget() {
    // No server listens on this port, and no other process gets it meanwhile.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let (pool, rest) = (pool(false), rest(&format!("http://{address}"), 5_000));
    for _ in 0..20 {
        let answer = rest.fetch_page(1, lease(&pool), None).await;
        assert!(failure(&answer).to_string().contains("cannot connect to"), "{answer:?}");
    }
}

#[test]
fn invalid_address_is_refused_before_a_request() {
    for bad in ["", "api.github.com", "ws://host"] {
        assert!(Rest::new(bad, Duration::ZERO, Clock::system()).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn account_of_a_token_is_read_from_github() {
    let ask = async |reply: fn() -> FakeReply| {
        let fake = FakeServer::start(move |_| reply()).await;
        let pool = pool(true);
        let identity = rest(&fake.url, 5_000).fetch_identity(lease(&pool)).await;
        let asked = &fake.asked()[0];
        assert_eq!(asked.target, "/user");
        assert_eq!(asked.header("authorization"), Some("Bearer ghp_s3cret"));
        assert_eq!(asked.header("x-github-api-version"), Some("2022-11-28"));
        (identity, pool.census())
    };
    let (identity, census) =
        ask(|| FakeReply::new(200, r#"{"login":"octocat","id":583231,"type":"User"}"#)).await;
    assert_eq!((identity, census.usable), (Some(Identity::User(583_231)), 1));
    // An app installation has no user and works: its limits are in the headers of its pages.
    let integration = || {
        let reply = FakeReply::new(403, r#"{"message":"Resource not accessible by integration"}"#);
        reply.with("X-RateLimit-Limit", 5_000).with("X-RateLimit-Remaining", 4_999)
    };
    let (identity, census) = ask(integration).await;
    assert_eq!((identity, census.usable, census.quarantined), (Some(Identity::Nobody), 1, 0));
    // A token refused here, with any message, may still read pages.
    for reply in [
        (|| FakeReply::new(404, "Not Found")) as fn() -> FakeReply,
        || FakeReply::new(403, "Forbidden"),
        || FakeReply::new(403, "Forbidden").with("X-RateLimit-Remaining", 4_999),
    ] {
        let (identity, census) = ask(reply).await;
        assert_eq!((identity, census.usable, census.quarantined), (Some(Identity::Nobody), 1, 0));
    }
    // A response without that information causes another request.
    for reply in [
        (|| FakeReply::new(503, "")) as fn() -> FakeReply,
        || FakeReply::new(200, "<html>"),
        || FakeReply::Cut(Vec::new()),
    ] {
        let (identity, census) = ask(reply).await;
        assert_eq!((identity, census.usable), (None, 1));
    }
    let (identity, census) = ask(|| FakeReply::new(401, "Bad credentials")).await;
    assert_eq!((identity, census.quarantined), (None, 1));
    let (identity, census) = ask(|| FakeReply::new(403, "secondary rate limit")).await;
    assert_eq!((identity, census.quarantined, census.usable), (None, 0, 0));
}

#[tokio::test]
async fn redirects_lead_to_no_other_server() {
    let other = FakeServer::start(|_| FakeReply::new(200, "[]")).await;
    let away = format!("{}/events", other.url);
    let targets = [&*away, "http://169.254.169.254/latest", "//127.0.0.1:1/", "/circle", "\u{7f}"];
    for target in targets.map(str::to_owned) {
        for with_token in [false, true] {
            let to = target.clone();
            let reply = move |_: &SentRequest| FakeReply::new(302, "").with("Location", &to);
            let fake = FakeServer::start(reply).await;
            let pool = pool(with_token);
            let rest = rest(&fake.url, 60_000);
            let page = rest.fetch_page(1, lease(&pool), None).await;
            assert!(matches!(page.outcome, PageOutcome::Failed(_)), "{target}: {page:?}");
            let feed = rest.fetch_feed("repos/o/n/events", 1, lease(&pool), None).await;
            let failed = matches!(feed.outcome, PageOutcome::Failed(_));
            assert!(failed, "{target}: {feed:?}");
            assert!(fake.asked().len() <= 12, "{target}: {} requests", fake.asked().len());
            assert_eq!(pool.census().quarantined, 0, "{target}");
        }
    }
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn very_long_etag_is_not_sent_back() {
    for (length, is_kept) in [(68, true), (20_000, false)] {
        let etag = format!("\"{}\"", "x".repeat(length));
        let reply = move |_: &SentRequest| FakeReply::new(200, "[]").with("ETag", &etag);
        let fake = FakeServer::start(reply).await;
        let (rest, pool) = (rest(&fake.url, 60_000), pool(true));
        let PageOutcome::Fresh { etag, .. } = rest.fetch_page(1, lease(&pool), None).await.outcome
        else {
            panic!("it is answered")
        };
        assert_eq!(etag.is_some(), is_kept, "{length}");
        let feed = rest.fetch_feed("users/a/events", 1, lease(&pool), None).await.outcome;
        let PageOutcome::Fresh { etag, .. } = feed else { panic!("it is answered") };
        assert_eq!(etag.is_some(), is_kept, "{length}");
    }
}

#[tokio::test]
async fn odd_responses_neither_panic_nor_cost_a_token() {
    const LONG: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n[]";
    const CHUNK: &[u8] =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n[]";
    // Whether it is a page, which is then not a list of events.
    let cases: [(fn() -> FakeReply, bool); 12] = [
        (|| FakeReply::new(204, ""), false),
        (|| FakeReply::new(206, "[]"), false),
        (|| FakeReply::new(200, "<html>Unicorn!</html>"), true),
        (|| FakeReply::new(200, "[{\"id\":\"1\",\"ty"), true),
        (|| FakeReply::new(200, &"[".repeat(100_000)), true),
        (|| FakeReply::new(599, ""), false),
        (|| FakeReply::new(408, "").with("retry-after", "soon"), false),
        (|| FakeReply::new(200, "no gzip").with("content-encoding", "gzip"), false),
        (|| FakeReply::new(200, "x").with("content-encoding", "br, gzip, x"), true),
        (|| FakeReply::Cut(LONG.to_vec()), false),
        (|| FakeReply::Cut(CHUNK.to_vec()), false),
        (|| FakeReply::Cut(b"HTTP/9.9 \0\r\n\r\n".to_vec()), false),
    ];
    for (at, (reply, is_page)) in cases.into_iter().enumerate() {
        for with_token in [false, true] {
            let (answer, census, _) = ask(with_token, reply).await;
            let is_fresh = matches!(answer.outcome, PageOutcome::Fresh { .. });
            assert_eq!(is_fresh, is_page, "{at}: {answer:?}");
            assert!(
                is_fresh || matches!(answer.outcome, PageOutcome::Failed(_)),
                "{at}: {answer:?}"
            );
            assert_eq!(census.quarantined, 0, "{at}");
        }
    }
}
