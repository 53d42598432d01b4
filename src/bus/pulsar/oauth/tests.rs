//! Logging in, against an issuer on a bare socket.

use pulsar::message::proto;
use pulsar::proto::ServerError;
use pulsar::proto::base_command::Type;

use super::super::connection::command;
use super::super::link::PulsarLink;
use super::super::link::tests::configured;
use super::super::producer::tests::{broker, encoded as frame};
use super::*;
use crate::config::PulsarConfig;
use crate::http::fake::{FakeReply, FakeServer, SentRequest};

const SECRET: &str = "s3cr&t/+";

fn write_key(dir: &Path, text: &str) -> OAuthConfig {
    let key_file = dir.join("key.json");
    std::fs::write(&key_file, text).unwrap();
    OAuthConfig { audience: "urn:sn:pulsar:o:i".to_owned(), key_file }
}

fn key(issuer: &str) -> String {
    format!(
        r#"{{"type":"client_credentials","client_id":"me","client_secret":"{SECRET}",
        "client_email":"me@x","issuer_url":"{issuer}/"}}"#
    )
}

fn credentials(issuer: &str, dir: &Path) -> Arc<Credentials> {
    Arc::new(Credentials::read(&write_key(dir, &key(issuer)), Clock::system()).unwrap())
}

/// An issuer that gives out `token-1`, `token-2`, … of a life of `seconds`.
async fn issuer(seconds: u64) -> FakeServer {
    let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
    FakeServer::start(move |asked: &SentRequest| {
        if asked.target.ends_with("openid-configuration") {
            let host = asked.header("host").unwrap();
            return FakeReply::new(200, &format!(r#"{{"token_endpoint":"http://{host}/token"}}"#));
        }
        let n = 1 + count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        FakeReply::new(200, &format!(r#"{{"access_token":"token-{n}","expires_in":{seconds}}}"#))
    })
    .await
}

#[tokio::test]
async fn one_token_serves_every_connection() {
    let (dir, fake) = (tempfile::tempdir().unwrap(), issuer(3_600).await);
    let credentials = credentials(&fake.url, dir.path());
    for _ in 0..2 {
        assert_eq!(credentials.token().await.unwrap(), "token-1");
    }
    let asked = fake.asked();
    let targets: Vec<_> = asked.iter().map(|asked| asked.target.as_str()).collect();
    assert_eq!(targets, ["/.well-known/openid-configuration", "/token"]);
    assert_eq!(
        std::str::from_utf8(&asked[1].body).unwrap(),
        "grant_type=client_credentials&client_id=me&client_secret=s3cr%26t%2F%2B&\
         audience=urn%3Asn%3Apulsar%3Ao%3Ai"
    );
    assert_eq!(asked[1].header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn token_is_renewed_before_expiry_and_after_a_refusal() {
    let (dir, fake) = (tempfile::tempdir().unwrap(), issuer(0).await);
    let renewing = credentials(&fake.url, dir.path());
    assert_eq!(renewing.token().await.unwrap(), "token-1");
    assert_eq!(renewing.token().await.unwrap(), "token-2");
    let fake = issuer(3_600).await;
    let refused = credentials(&fake.url, dir.path());
    assert_eq!(refused.token().await.unwrap(), "token-1");
    refused.forget().await;
    assert_eq!(refused.token().await.unwrap(), "token-2");
}

#[tokio::test]
async fn a_renewed_key_file_is_taken_and_a_bad_one_is_not() {
    let (dir, fake) = (tempfile::tempdir().unwrap(), issuer(3_600).await);
    let credentials = credentials(&fake.url, dir.path());
    assert_eq!(credentials.token().await.unwrap(), "token-1");
    write_key(dir.path(), "{");
    assert_eq!(credentials.token().await.unwrap(), "token-1");
    write_key(dir.path(), &key(&fake.url).replace("\"me\"", "\"renewed\""));
    assert_eq!(credentials.token().await.unwrap(), "token-2");
    let last = fake.asked().pop().unwrap();
    assert!(std::str::from_utf8(&last.body).unwrap().contains("client_id=renewed"));
    std::fs::remove_file(dir.path().join("key.json")).unwrap();
    assert_eq!(credentials.token().await.unwrap(), "token-2");
}

#[tokio::test]
async fn refusal_names_server_and_cure_without_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let fake = FakeServer::start(|asked: &SentRequest| {
        if asked.target.ends_with("openid-configuration") {
            let host = asked.header("host").unwrap();
            return FakeReply::new(200, &format!(r#"{{"token_endpoint":"http://{host}/token"}}"#));
        }
        let body = format!(r#"{{"error":"access_denied","error_description":"no {SECRET} here"}}"#);
        FakeReply::new(403, &body)
    })
    .await;
    let text = credentials(&fake.url, dir.path()).token().await.unwrap_err();
    assert!(text.contains("/token refused the login of") && text.contains("key.json"), "{text}");
    assert!(text.contains("status 403: access_denied no ‹secret› here"), "{text}");
    assert!(text.contains("pulsar.audience `urn:sn:pulsar:o:i`"), "{text}");
    assert!(!text.contains(SECRET));
}

#[test]
fn secret_is_cut_whole_from_repeated_text() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = credentials("http://127.0.0.1:1", dir.path());
    let sent = encoded(SECRET, true);
    assert_eq!(sent, "s3cr%26t%2F%2B");
    for secret in [SECRET, &sent, &encoded(SECRET, false)] {
        // At the start, across the place where it is cut, and at its very edge.
        for before in [0, REPEATED - 20, REPEATED - 15, REPEATED - 12, REPEATED - 9] {
            let description = "x".repeat(before) + secret + " and more";
            let body = format!(r#"{{"error":"denied","error_description":"{description}"}}"#);
            let headers = crate::http::Headers::default();
            let answer = HttpResponse { status: 403, headers, body: Bytes::from(body) };
            let text = credentials.refusal("http://127.0.0.1:1/token", &answer);
            let words = text.split_once("status 403").unwrap().1.split_once("; check").unwrap().0;
            assert!(words.contains("denied") && !words.contains("s3c"), "{before}: {text}");
        }
    }
}

#[tokio::test]
async fn invalid_issuer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (status, body, word) in [(404, "no", "status 404"), (200, "{}", "sent no token_endpoint")] {
        let fake = FakeServer::start(move |_: &SentRequest| FakeReply::new(status, body)).await;
        let text = credentials(&fake.url, dir.path()).token().await.unwrap_err();
        assert!(text.contains(word) && text.contains("issuer_url"), "{text}");
    }
}

#[test]
fn invalid_key_file_is_refused_without_quoting_it() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |text: &str| {
        let error = Credentials::read(&write_key(dir.path(), text), Clock::system()).err().unwrap();
        assert!(!error.is_transient());
        error.to_string()
    };
    for text in ["", "[]", r#"{"client_id":"me","client_secret":7}"#, r#"{"client_secret":"hush"}"#]
    {
        let said = refused(text);
        assert!(said.contains("key.json") && said.contains("client_secret and issuer_url"));
        assert!(!said.contains("hush"), "{said}");
    }
    for issuer in ["http://issuer.example", "http://127.0.0.1.issuer.example", "issuer.example"] {
        assert!(refused(&key(issuer)).contains("not https"), "{issuer}");
    }
    let gone = OAuthConfig { audience: String::new(), key_file: dir.path().join("gone.json") };
    let error = Credentials::read(&gone, Clock::system()).err().unwrap();
    assert!(error.to_string().contains("gone.json"));
}

#[test]
fn a_file_address_is_its_path() {
    assert_eq!(local(Path::new("file:///a/key.json")), Path::new("/a/key.json"));
    assert_eq!(local(Path::new("b/key.json")), Path::new("b/key.json"));
}

/// An issuer whose tokens are at that address; what is asked there gets this answer.
async fn issuer_at(
    endpoint: &str,
    answer: impl Fn() -> FakeReply + Send + Sync + Clone + 'static,
) -> FakeServer {
    let endpoint = endpoint.to_owned();
    FakeServer::start(move |asked: &SentRequest| {
        if asked.target.ends_with("openid-configuration") {
            let host = asked.header("host").unwrap();
            let endpoint = endpoint.replace("HERE", &format!("http://{host}"));
            return FakeReply::new(200, &format!(r#"{{"token_endpoint":"{endpoint}"}}"#));
        }
        answer()
    })
    .await
}

#[tokio::test]
async fn secret_is_sent_to_the_token_endpoint_only() {
    let dir = tempfile::tempdir().unwrap();
    let other =
        FakeServer::start(|_: &SentRequest| FakeReply::new(200, r#"{"access_token":"stolen"}"#))
            .await;
    for status in [301, 302, 303, 307, 308] {
        let target = format!("{}/steal", other.url);
        let reply = move || FakeReply::new(status, "").with("Location", &target);
        let fake = issuer_at("HERE/token", reply).await;
        let text = credentials(&fake.url, dir.path()).token().await.unwrap_err();
        assert!(text.contains(&format!("redirects to {}", other.url)), "{text}");
    }
    assert!(other.asked().is_empty());
    for endpoint in ["http://issuer.example/token", "http://127.0.0.1.issuer.example/token", "x"] {
        let fake = issuer_at(endpoint, || FakeReply::new(500, "")).await;
        let text = credentials(&fake.url, dir.path()).token().await.unwrap_err();
        assert!(text.contains("token_endpoint that is not https"), "{text}");
    }
    for endpoint in [format!("http://{SECRET}@x/"), "x".repeat(5_000)] {
        let fake = issuer_at(&endpoint, || FakeReply::new(500, "")).await;
        let text = credentials(&fake.url, dir.path()).token().await.unwrap_err();
        assert!(!text.contains(SECRET) && text.len() < 500, "{text}");
    }
}

#[tokio::test]
async fn lifetime_of_a_token_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let day = Duration::from_secs(86_400);
    for (said, expected) in [
        ("18446744073709551615", day),
        ("1e999", day),
        ("9e15", day),
        ("-1", Duration::ZERO),
        ("-1e999", Duration::ZERO),
        ("3600.0", Duration::from_secs(3_600)),
        ("\"3600\"", Duration::from_secs(3_600)),
        ("\"nan\"", Duration::from_secs(600)),
        ("null", Duration::from_secs(600)),
        ("[]", Duration::from_secs(600)),
    ] {
        assert_eq!(life(Some(said)), expected, "{said}");
        let body = format!(r#"{{"access_token":"t","expires_in":{said}}}"#);
        let fake = issuer_at("HERE/token", move || FakeReply::new(200, &body)).await;
        assert_eq!(credentials(&fake.url, dir.path()).token().await.unwrap(), "t", "{said}");
    }
    assert_eq!(life(None), Duration::from_secs(600));
}

#[tokio::test]
async fn token_that_a_broker_repeats_is_in_no_error() {
    let issuer = issuer(3_600).await;
    let kinds = [ServerError::AuthenticationError, ServerError::UnknownError];
    for (kind, padding) in kinds.into_iter().zip([0, 276]) {
        let (url, _) = broker(move |said, _| {
            let token = said.connect.as_ref()?.auth_data.clone().unwrap();
            let token = String::from_utf8(token).unwrap();
            // The text is cut after 300 bytes, within a token.
            let message = format!("{}refused: {token}, {token}", "x".repeat(padding));
            let error = proto::CommandError { message, error: kind as i32, ..Default::default() };
            Some(frame(command(Type::Error, |c| c.error = Some(error))))
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let oauth = Some(write_key(dir.path(), &key(&issuer.url)));
        let config = PulsarConfig { oauth, ..configured(&url) };
        let link = PulsarLink::new(&config, "events", Clock::system()).unwrap();
        let error = Arc::new(link).look_up().await.unwrap_err().to_string();
        assert!(error.contains("refused: ‹token›"), "{error}");
        assert!(!error.contains("token-"), "{error}");
    }
}
