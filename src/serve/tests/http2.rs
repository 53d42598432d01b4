//! HTTP/2 on the TLS listener.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use tokio_rustls::client::TlsStream;

use super::limits::{certificate, tls_to};
use super::*;

type Requests = SendRequest<Bytes>;

async fn served_by(change: impl FnOnce(&mut ServeOptions)) -> Served {
    super::served_by(|options| {
        options.certificate = Some(certificate());
        change(options);
    })
    .await
}

async fn tls(served: &Served, protocol: &[u8]) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(served.public).await.unwrap();
    let stream = tls_to(stream, &[protocol]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    stream
}

/// Connects. The driver task ends when the server closes the connection.
async fn connect(served: &Served) -> (Requests, JoinHandle<()>) {
    let (requests, connection) =
        soon(h2::client::handshake(tls(served, b"h2").await)).await.unwrap();
    (requests, tokio::spawn(async { drop(connection.await) }))
}

async fn get(requests: &mut Requests, path: &str, headers: &[(&str, &str)]) -> ResponseFuture {
    let mut request = ::http::Request::get(format!("https://localhost{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut ready = soon(requests.clone().ready()).await.unwrap();
    ready.send_request(request.body(()).unwrap(), true).unwrap().0
}

/// The status, and the body received so far.
async fn answer(requests: &mut Requests, path: &str) -> (u16, String) {
    let response = soon(get(requests, path, &[]).await).await.unwrap();
    let (status, mut body) = (response.status().as_u16(), response.into_body());
    let mut text = Vec::new();
    while let Some(piece) = soon(body.data()).await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        text.extend_from_slice(&piece);
    }
    (status, String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn many_streams_share_one_connection() {
    let served = served_by(|_| {}).await;
    let (mut requests, _driven) = connect(&served).await;
    assert_eq!(answer(&mut requests, "/health").await, (200, "OK".to_owned()));
    assert_eq!(answer(&mut requests, "/nowhere").await.0, 404);
    assert_eq!(answer(&mut requests, "/sampling").await.0, 426);
    let mut streams = Vec::new();
    for _ in 0..20 {
        let accept = [("accept", "text/event-stream"), ("origin", "https://a.example")];
        let response = soon(get(&mut requests, "/stream/types", &accept).await).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let mut body = response.into_body();
        let begun = soon(body.data()).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&begun).contains("event: hello"), "{begun:?}");
        streams.push(body);
    }
    served.soft.cancel();
    for mut body in streams {
        let mut rest = Vec::new();
        while let Some(piece) = soon(body.data()).await {
            rest.extend_from_slice(&piece.unwrap());
        }
        assert!(String::from_utf8_lossy(&rest).contains("event: bye"), "{rest:?}");
    }
    soon(served.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn each_open_http2_request_takes_a_slot() {
    let served = served_by(|options| options.config.limits.per_address = 4).await;
    let (mut requests, _driven) = connect(&served).await;
    let accept = [("accept", "text/event-stream")];
    let mut open = Vec::new();
    for wanted in [200, 200, 200, 429] {
        let response = soon(get(&mut requests, "/stream/types", &accept).await).await.unwrap();
        assert_eq!(response.status().as_u16(), wanted);
        open.push(response);
    }
    // An HTTP/1.1 connection takes a slot too, and is refused with 429.
    let mut stream = tls(&served, b"http/1.1").await;
    stream.write_all(b"GET /topics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 429");
    // A slot is free as soon as the client drops a stream.
    open.truncate(2);
    soon(async { while answer(&mut requests, "/topics").await.0 != 200 {} }).await;
}

/// Connects as a client that leaves room for `window` bytes of a response.
async fn connect_narrow(served: &Served, window: u32) -> Requests {
    let stream = tls(served, b"h2").await;
    let building = h2::client::Builder::new().initial_window_size(window).clone();
    let (requests, connection) = soon(building.handshake::<_, Bytes>(stream)).await.unwrap();
    tokio::spawn(async { drop(connection.await) });
    requests
}

#[tokio::test]
async fn unread_http2_responses_are_reset_and_give_up_their_place() {
    const FILE: &str = "/archive/2026-11-29-5.json.gz";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("2026-11-29-5.json.gz"), vec![b'x'; 1 << 20]).unwrap();
    let served = served_by(|options| {
        options.archive = Some(dir.path().to_owned());
        options.config.limits.downloads = 1;
        options.config.limits.write_timeout = Duration::from_millis(200);
    })
    .await;
    // The last two have one piece.
    for (path, window) in [(FILE, 16), ("/docs/all", 16), ("/topics", 0), ("/nowhere", 0)] {
        let mut requests = connect_narrow(&served, window).await;
        let response = soon(get(&mut requests, path, &[]).await).await.unwrap();
        let status = if path == "/nowhere" { 404 } else { 200 };
        assert_eq!(response.status().as_u16(), status, "{path}");
        let mut body = response.into_body();
        let error = soon(async {
            loop {
                match body.data().await {
                    Some(Ok(_)) => {}
                    end => break end.map(Result::unwrap_err),
                }
            }
        });
        assert!(error.await.is_some_and(|error| error.is_reset()), "{path}");
    }
    // A client that reads receives all of it, in pieces.
    let (mut requests, _driven) = connect(&served).await;
    let (status, text) = answer(&mut requests, FILE).await;
    assert_eq!((status, text.len()), (200, 1 << 20));
    let (status, text) = answer(&mut requests, "/docs/all").await;
    assert!(status == 200 && text.len() > 100_000 && text.trim_end().ends_with("</html>"));
}

#[tokio::test]
async fn unread_http2_stream_is_reset_alone() {
    let served =
        served_by(|options| options.config.limits.write_timeout = Duration::from_millis(200)).await;
    // Smaller than the first message.
    let mut requests = connect_narrow(&served, 16).await;
    let accept = [("accept", "text/event-stream")];
    let response = soon(get(&mut requests, "/stream/types", &accept).await).await.unwrap();
    let mut body = response.into_body();
    let cut = async { while let Some(Ok(_)) = body.data().await {} };
    soon(cut).await;
    assert_eq!(answer(&mut requests, "/health").await, (200, "OK".to_owned()));
}

#[tokio::test]
async fn idle_connections_end() {
    let served = served_by(|options| {
        options.config.keep_alive = Duration::from_millis(500);
        // A slow machine needs some time for a handshake and a request.
        options.config.limits.handshake_timeout = Duration::from_secs(3);
    })
    .await;
    let (mut requests, driven) = connect(&served).await;
    let accept = [("accept", "text/event-stream")];
    let response = soon(get(&mut requests, "/stream/types", &accept).await).await.unwrap();
    let (_unused, ended) = connect(&served).await;
    soon(ended).await.unwrap();
    let open = tokio::time::timeout(Duration::from_millis(1_200), driven).await;
    assert!(open.is_err(), "it has an open request");
    drop(response);
}

#[tokio::test]
async fn heads_are_bounded_and_checked() {
    let served = served_by(|_| {}).await;
    let (mut requests, _driven) = connect(&served).await;
    let long = "x".repeat(20_000);
    let refused = soon(get(&mut requests, "/health", &[("x-long", &long)]).await).await;
    assert!(refused.map_or(true, |response| response.status().as_u16() == 431));
    let (mut requests, _driven) = connect(&served).await;
    for headers in [&[("host", "other.example")][..], &[("origin", "a"), ("origin", "b")]] {
        let response = soon(get(&mut requests, "/health", headers).await).await.unwrap();
        assert_eq!(response.status().as_u16(), 400, "{headers:?}");
    }
}

#[tokio::test]
async fn http_1_0_is_supported() {
    let served = served_by(|_| {}).await;
    for (protocol, head) in
        [("http/1.0", "GET /health HTTP/1.0"), ("http/1.1", "GET /health HTTP/1.1")]
    {
        let mut stream = tls(&served, protocol.as_bytes()).await;
        let request = format!("{head}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.contains(" 200 OK") && answer.ends_with("OK"), "{protocol}: {answer}");
    }
}
