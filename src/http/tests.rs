use std::io::Write as _;

use super::fake::{FakeReply, FakeServer};
use super::*;

fn client(timeout_ms: u64, body_limit: usize) -> Http {
    Http::new(HttpOptions { timeout: Duration::from_millis(timeout_ms), body_limit }).unwrap()
}

async fn get(url: &str) -> Result<HttpResponse, HttpError> {
    client(60_000, 1_000).send(HttpRequest::get(url).secret("authorization", "Bearer s3cret")).await
}

async fn get_in_public(url: &str) -> Result<HttpResponse, HttpError> {
    client(60_000, 1_000).send(HttpRequest::get(url)).await
}

#[tokio::test]
async fn response_has_status_headers_and_body() {
    let fake = FakeServer::start(|_| {
        FakeReply::new(418, "tea").with("Date", "Sun, 06 Nov 1994 08:49:37 GMT").with("X-Number", 7)
    })
    .await;
    let answer = get(&format!("{}/a?b=c", fake.url)).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (418, &b"tea"[..]));
    assert_eq!(answer.headers.number("x-number"), Some(7));
    assert_eq!(answer.headers.date().unwrap().to_string(), "1994-11-06T08:49:37Z");
    let asked = &fake.asked()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/a?b=c"));
    assert_eq!(asked.header("user-agent"), Some(USER_AGENT));
    assert_eq!(asked.header("authorization"), Some("Bearer s3cret"));
}

#[tokio::test]
async fn body_is_sent_with_its_headers() {
    let fake = FakeServer::start(|_| FakeReply::new(200, "")).await;
    let request = HttpRequest::post(&fake.url, Bytes::from_static(b"{}"))
        .header("content-type", "application/json");
    client(60_000, 10).send(request).await.unwrap();
    let asked = &fake.asked()[0];
    assert_eq!((asked.method.as_str(), &asked.body[..]), ("POST", &b"{}"[..]));
    assert_eq!(asked.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn body_limit_counts_decompressed_bytes() {
    let zipped = || {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![b'a'; 1_000_000]).unwrap();
        encoder.finish().unwrap()
    };
    let fake = FakeServer::start(move |_| {
        FakeReply::Whole(200, vec![("Content-Encoding", "gzip".into())], zipped())
    })
    .await;
    let error = get(&fake.url).await.unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { limit: 1_000, .. }), "{error}");
    let whole = client(60_000, 1_000_000).send(HttpRequest::get(&fake.url)).await.unwrap();
    assert_eq!(whole.body.len(), 1_000_000);
}

#[tokio::test]
async fn redirects_are_followed_up_to_a_limit() {
    let fake = FakeServer::start(|asked| match asked.target.as_str() {
        "/moved-301" => FakeReply::new(301, "").with("Location", "/here"),
        "/moved-302" => FakeReply::new(302, "").with("Location", "/here"),
        "/moved-307" => FakeReply::new(307, "").with("Location", "/here"),
        "/circle" => FakeReply::new(302, "").with("Location", "/circle"),
        "/nowhere" => FakeReply::new(302, ""),
        _ => FakeReply::new(200, "found"),
    })
    .await;
    for status in [301, 302, 307] {
        let answer = get_in_public(&format!("{}/moved-{status}", fake.url)).await.unwrap();
        assert_eq!(&answer.body[..], b"found", "{status}");
    }
    let error = get_in_public(&format!("{}/circle", fake.url)).await.unwrap_err();
    assert!(matches!(error, HttpError::Redirects { .. }), "{error}");
    assert_eq!(get_in_public(&format!("{}/nowhere", fake.url)).await.unwrap().status, 302);
}

#[tokio::test]
async fn secrets_and_bodies_are_not_redirected() {
    let other = FakeServer::start(|_| FakeReply::new(200, "")).await;
    for status in [301, 302, 303, 307, 308] {
        for target in [format!("{}/steal?s3cret", other.url), "/here?s3cret".to_owned()] {
            let fake =
                FakeServer::start(move |_| FakeReply::new(status, "").with("Location", &target))
                    .await;
            let posted = HttpRequest::post(&fake.url, Bytes::from_static(b"s3cret"));
            let secret = HttpRequest::get(&fake.url).secret("authorization", "s3cret");
            for request in [posted, secret] {
                let error = client(60_000, 10).send(request).await.unwrap_err();
                assert!(matches!(error, HttpError::Redirected { .. }), "{status}: {error:?}");
                assert!(!error.is_unsent() && !error.is_transient());
                assert!(!error.to_string().contains("s3cret"), "{error}");
            }
            let secret = HttpRequest::get(&fake.url).secret("authorization", "s3cret");
            let opened = client(60_000, 10).open(secret, Duration::from_secs(60)).await;
            assert!(matches!(opened.err(), Some(HttpError::Redirected { .. })), "{status}");
            assert_eq!(fake.asked().len(), 3, "each was asked once");
        }
    }
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn broken_connection_names_the_host_and_is_transient() {
    let fake = FakeServer::start(|asked| match asked.target.as_str() {
        "/short" => FakeReply::Cut(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc".to_vec()),
        "/garbage" => FakeReply::Cut(b"\0\0\0\0 no http at all\r\n\r\n".to_vec()),
        "/silent" => FakeReply::Cut(Vec::new()),
        _ => FakeReply::Hang,
    })
    .await;
    let host = fake.url.strip_prefix("http://").unwrap().to_owned();
    for path in ["/short", "/garbage", "/silent"] {
        let error = get(&format!("{}{path}", fake.url)).await.unwrap_err();
        assert!(matches!(error, HttpError::Broken { .. }), "{path}: {error:?}");
        assert!(error.is_transient() && error.to_string().contains(&host), "{error}");
    }
    let error = client(50, 10).send(HttpRequest::get(&fake.url)).await.unwrap_err();
    assert!(matches!(error, HttpError::Timeout { .. }) && error.is_transient(), "{error:?}");
    assert_eq!(error.to_string(), format!("{host} did not answer within 50 ms"));
}

#[tokio::test]
async fn unreachable_server_is_named() {
    // Bound but not listening, so that no other process gets the port.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let error = get(&format!("http://{address}/")).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect { .. }) && error.is_transient(), "{error:?}");
    assert!(error.to_string().starts_with(&format!("cannot connect to {address}: ")), "{error}");
}

#[tokio::test]
async fn errors_contain_no_secret() {
    let http = client(100, 10);
    let urls = [
        "http://user:s3cret@127.0.0.1:1/?token=s3cret",
        "ftp://user:s3cret@host/?token=s3cret",
        "user:s3cret@host/?token=s3cret",
        "http://us:s3cret@[bad/?s3cret",
        "",
        "nonsense",
    ];
    for url in urls {
        for value in ["s3cret", "s3cret\n"] {
            let request = HttpRequest::get(url).secret("authorization", value);
            let error = http.send(request).await.unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}

#[test]
fn addresses_are_checked_before_a_request() {
    for good in ["https://api.github.com", "http://127.0.0.1:8601/base"] {
        check_address(good).unwrap();
    }
    for bad in ["", "api.github.com", "ftp://host", "https://"] {
        let error = check_address(bad).map(|()| "accepted").unwrap_err();
        assert!(error.to_string().contains("use one like"), "{bad}: {error}");
    }
}

#[test]
fn dates_of_servers_are_read_and_nothing_else_is() {
    let read = |text| parse_date(text).map(|date| date.to_string());
    assert_eq!(read("Tue, 29 Feb 2028 23:59:59 GMT").as_deref(), Some("2028-02-29T23:59:59Z"));
    for bad in [
        "",
        "GMT",
        "Tue, 30 Feb 2028 23:59:59 GMT",
        "Tue, 29 anF 2028 23:59:59 GMT",
        "Tue, 29 Feb 2028 23:59:59 CET",
        "2028-02-29T23:59:59Z",
        "Tue, 29 Feb 2028 GMT",
        "Tue, 29 Feb 2028 23:59:59 or so GMT",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn secrets_are_kept_by_https_and_on_this_machine() {
    for url in
        ["https://issuer.example/", "http://127.0.0.1:1/", "http://[::1]", "http://localhost"]
    {
        assert!(keeps_secrets(url), "{url}");
    }
    for url in [
        "http://issuer.example",
        "http://127.0.0.1.issuer.example",
        "http://localhost.example",
        "http://127.0.0.1@issuer.example",
        "ftp://127.0.0.1",
        "",
    ] {
        assert!(!keeps_secrets(url), "{url}");
    }
}

#[test]
fn only_this_machine_is_near() {
    for near in ["http://localhost:1", "http://127.0.0.2", "http://[::1]:80"] {
        assert!(is_loopback(&parse_url(near).unwrap()), "{near}");
    }
    for far in ["http://10.0.0.1", "http://localhost.example", "http://[2001:db8::1]"] {
        assert!(!is_loopback(&parse_url(far).unwrap()), "{far}");
    }
}
