use super::*;
use crate::http::fake::{FakeReply, FakeServer};
use crate::secrets::is_signed;

const KEY: &str = "src/secrets/test-key.pem";

fn client(url: &str, key_file: &str) -> AppClient {
    let app = GitHubAppConfig { id: "Iv23.abc".to_owned(), key_file: key_file.into() };
    AppClient::new(url, app, Duration::from_secs(60), Clock::system()).unwrap()
}

/// The claims of an assertion whose signature is right.
fn claims(authorization: &str) -> serde_json::Value {
    let token = authorization.strip_prefix("Bearer ").unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let public = SigningKey::parse(&std::fs::read(KEY).unwrap()).unwrap().public();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    assert!(is_signed(&public, message.as_bytes(), &signature));
    let (head, claims) = message.split_once('.').unwrap();
    let head = URL_SAFE_NO_PAD.decode(head).unwrap();
    assert_eq!(head, br#"{"alg":"RS256","typ":"JWT"}"#);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn assertion_is_signed_dated_back_and_short() {
    let client = client("http://127.0.0.1:1", KEY);
    let before = Clock::system().now().second().0;
    let said = client.assertion().await.unwrap();
    let printed = format!("{said:?}{client:?}");
    assert!(!printed.contains("eyJ") && !printed.contains("PRIVATE"), "{printed}");
    let claims = claims(&format!("Bearer {}", said.expose()));
    let (from, until) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert!((before - 60..before - 30).contains(&from), "{from} of {before}");
    assert_eq!((until - from, &claims["iss"]), (600, &"Iv23.abc".into()));
}

#[tokio::test]
async fn installations_of_all_pages_are_listed() {
    let fake = FakeServer::start(|request| {
        let row = |id: usize| {
            let suspended = if id == 7 { r#""2026-01-01T00:00:00Z""# } else { "null" };
            format!(r#"{{"id":{id},"account":{{"login":"a{id}"}},"suspended_at":{suspended}}}"#)
        };
        let rows = if request.page() == 1 { 0..100 } else { 100..103 };
        let rows: Vec<String> = rows.map(row).collect();
        FakeReply::Whole(200, Vec::new(), format!("[{}]", rows.join(",")).into_bytes())
    })
    .await;
    let all = client(&fake.url, KEY).installations().await.unwrap();
    assert_eq!(all.len(), 103);
    let seventh = Installation { id: 7, account: "a7".to_owned(), is_suspended: true };
    assert_eq!((&all[7], all[8].is_suspended), (&seventh, false));
}

#[tokio::test]
async fn installation_that_is_listed_again_counts_once() {
    // A server that ignores the page, and repeats one installation on it.
    let fake = FakeServer::start(|_| {
        let row = |n: usize| format!(r#"{{"id":{},"account":{{"login":"a"}}}}"#, n.max(50));
        let rows: Vec<String> = (0..100).map(row).collect();
        FakeReply::Whole(200, Vec::new(), format!("[{}]", rows.join(",")).into_bytes())
    })
    .await;
    let all = client(&fake.url, KEY).installations().await.unwrap();
    let ids: Vec<u64> = all.iter().map(|one| one.id).collect();
    assert_eq!(ids, (50..100).collect::<Vec<_>>());
    assert_eq!(fake.asked().len(), 2, "the second page has nothing new");
}

#[tokio::test]
async fn refusals_are_named() {
    async fn error(status: u16, body: &'static str, of_token: bool) -> String {
        let fake = FakeServer::start(move |_| {
            FakeReply::Whole(status, Vec::new(), body.as_bytes().to_vec())
        })
        .await;
        let client = client(&fake.url, KEY);
        if of_token {
            client.token(42).await.unwrap_err().to_string()
        } else {
            client.installations().await.unwrap_err().to_string()
        }
    }
    let said = error(401, r#"{"message":"A JSON web token could not be decoded"}"#, false).await;
    assert!(said.starts_with("key refused (401)") && said.contains("could not be"), "{said}");
    let said = error(404, r#"{"message":"Integration not found"}"#, false).await;
    assert!(said.starts_with("key refused (404)"), "{said}");
    let said = error(403, r#"{"message":"This installation has been suspended"}"#, true).await;
    assert!(said.starts_with("no token (403)"), "{said}");
    let said = error(404, "{}", true).await;
    assert!(said.contains("was removed"), "{said}");
    let said = error(403, "API rate limit exceeded", true).await;
    assert_eq!(said, "GitHub wants fewer requests");
    let said = error(500, "oops", false).await;
    assert!(said.ends_with("answered 500: oops"), "{said}");
    let telltale = r#"{"token":"ghs_telltale"}"#;
    let said = error(201, telltale, true).await;
    assert!(!said.contains("telltale"), "{said}");
    let missing = client("http://127.0.0.1:1", "/nowhere/key.pem").token(1).await.unwrap_err();
    assert!(missing.to_string().starts_with("key file /nowhere/key.pem: "), "{missing}");
}

#[tokio::test]
async fn token_with_an_unreadable_end_is_not_quoted() {
    for body in [r#"{"token":"ghs_hush","expires_at":"soon"}"#, r#"{"token":"ghs_hush"}"#] {
        let fake = FakeServer::start(move |_| FakeReply::new(201, body)).await;
        let error = client(&fake.url, KEY).token(7).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("ghs_hush"), "{error}");
    }
}

#[tokio::test]
async fn token_that_no_header_can_hold_is_refused() {
    let long = "x".repeat(5_000);
    for token in ["", "ghs_a\nb", "ghs_ a", "ghs_é", &long] {
        let body = serde_json::json!({"token": token, "expires_at": "2099-01-01T00:00:00Z"});
        let body = body.to_string().into_bytes();
        let fake =
            FakeServer::start(move |_| FakeReply::Whole(201, Vec::new(), body.clone())).await;
        let error = client(&fake.url, KEY).token(7).await.unwrap_err().to_string();
        assert!(error.ends_with("/access_tokens answered 201"), "{error}");
    }
}

#[tokio::test]
async fn jumping_server_clock_causes_a_second_request() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let count = std::sync::Arc::new(count);
    let fake = FakeServer::start(move |_| {
        let hour = 1 + count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 20;
        let date = vec![("date", format!("Fri, 15 Jan 2027 {hour:02}:00:00 GMT"))];
        FakeReply::Whole(401, date, b"{}".to_vec())
    })
    .await;
    client(&fake.url, KEY).installations().await.unwrap_err();
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn assertions_follow_the_clock_of_github() {
    // GitHub's clock is in 2027, a year ahead of any machine that runs this test in 2026.
    let date = || vec![("date", "Fri, 15 Jan 2027 07:00:00 GMT".to_owned())];
    let github = crate::http::parse_date(&date()[0].1).unwrap().second().0;
    let fake = FakeServer::start(move |request| {
        let said = claims(request.header("authorization").unwrap());
        let is_now = (github - 70..=github).contains(&said["iat"].as_i64().unwrap());
        let body = if is_now { "[]" } else { r#"{"message":"'iat' is wrong"}"# };
        FakeReply::Whole(if is_now { 200 } else { 401 }, date(), body.as_bytes().to_vec())
    })
    .await;
    let client = client(&fake.url, KEY);
    assert_eq!(client.installations().await.unwrap(), []);
    assert_eq!(client.installations().await.unwrap(), []);
}
