//! Tests of limits and timeouts: clients that take too much, are too slow, or stay silent.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::future::poll_fn;
use std::task::Poll;

use tokio::net::TcpSocket;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::Network;
use crate::hub::Frame;
use crate::serve::http::tls::Stream;
use crate::serve::ws::decompressor::Decompressor;
use crate::serve::ws::frames::FrameStream;

const IDS: &str = r#"{"samplingRate":1,"filter":["event.id"],"returnType":"list"}"#;

#[tokio::test]
async fn connections_are_limited_in_all_and_per_address() {
    let served = served_by(|options| options.config.limits.connections = 2).await;
    let first = served.connect("/sampling").await;
    let _second = served.connect("/sampling").await;
    let answer = served.get("/topics").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: ") && answer.contains("server.limits.connections"));
    drop(first);
    // The slot is free as soon as the server has seen the end of the connection.
    soon(async { while !served.get("/topics").await.starts_with("HTTP/1.1 200 ") {} }).await;

    let served = served_by(|options| options.config.limits.per_address = 1).await;
    let _first = served.connect("/sampling").await;
    assert_eq!(served.connect_with("/sampling", &[]).await.err(), Some(429));
    let health = ask(served.ops, "GET /health HTTP/1.1").await;
    assert!(health.starts_with("HTTP/1.1 200 "), "ops has its own count");
}

#[tokio::test]
async fn each_client_behind_a_trusted_proxy_has_its_own_limit() {
    let served = served_by(|options| {
        options.config.limits.per_address = 1;
        options.config.trusted_proxies = vec![Network::parse("127.0.0.0/8").unwrap()];
    })
    .await;
    let from = |address| [("x-forwarded-for", address)];
    let _one = served.connect_with("/sampling", &from("192.0.2.1")).await.unwrap();
    let _other = served.connect_with("/sampling", &from("192.0.2.2")).await.unwrap();
    let again = served.connect_with("/sampling", &from("9.9.9.9, 192.0.2.1, 127.0.0.9")).await;
    assert_eq!(again.err(), Some(429));
}

#[tokio::test]
async fn only_listed_origins_may_connect() {
    let any = served().await;
    assert!(any.connect_with("/sampling", &[("origin", "https://a.example")]).await.is_ok());
    let served = served_by(|options| {
        options.config.allowed_origins = vec!["https://a.example".to_owned()];
    })
    .await;
    for (origin, refused) in [
        ("https://a.example", None),
        ("HTTPS://A.example/", None),
        ("https://b.example", Some(403)),
        ("null", Some(403)),
    ] {
        let got = served.connect_with("/sampling", &[("origin", origin)]).await;
        assert_eq!(got.err(), refused, "{origin}");
    }
    assert!(served.connect_with("/sampling", &[]).await.is_ok(), "no browser");
}

#[tokio::test]
async fn params_too_often_close_the_connection() {
    let served = served_by(|options| options.config.limits.params_per_minute = 3).await;
    let mut client = served.connect("/sampling").await;
    client.text().await;
    for _ in 0..3 {
        client.follow(IDS).await;
    }
    client.send(IDS).await;
    assert!(client.text().await.contains("server.limits.paramsPerMinute"));
    assert_eq!(client.closed().await, (1008, "params too often".to_owned()));
}

#[tokio::test]
async fn silent_client_is_pinged_then_disconnected() {
    let served = served_by(|options| {
        options.ping_every = Duration::from_millis(20);
        options.silence = Duration::from_secs(4);
    })
    .await;
    let mut stream = TcpStream::connect(served.public).await.unwrap();
    let request = concat!(
        "GET /language/latest HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\n",
        "connection: keep-alive, Upgrade\r\nsec-websocket-version: 13\r\n",
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    soon(stream.read_to_end(&mut bytes)).await.unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let frames = &bytes[end..];
    let pings = frames.chunks_exact(2).take_while(|frame| *frame == [0x89, 0]).count();
    assert!(pings >= 3, "{frames:?}");
    let close = &frames[2 * pings..];
    assert_eq!((close[0], &close[2..4]), (0x88, &1008_u16.to_be_bytes()[..]));
}

#[tokio::test]
async fn client_that_answers_pings_stays() {
    let served = served_by(|options| {
        options.ping_every = Duration::from_millis(40);
        options.silence = Duration::from_secs(6);
    })
    .await;
    let mut client = served.connect("/language/latest").await;
    // Longer than the permitted silence.
    for _ in 0..200 {
        assert!(matches!(client.next().await, Message::Ping(_)));
    }
}

/// Events of 100 kB, which soon fill the buffers of a connection that is not read.
fn large(ids: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = String> {
    let filler = "x".repeat(100_000);
    ids.map(move |id| format!(r#"{{"id":"{id}","type":"PushEvent","filler":"{filler}"}}"#))
}

fn id_of(text: &str) -> u64 {
    text.split('"').nth(5).unwrap().parse().unwrap()
}

#[tokio::test]
async fn slow_reader_skips_events_and_delays_no_other() {
    let hub = HubOptions { lag: 20, ..HubOptions::default() };
    let served = served_with(options(), hub, Around::default()).await;
    let (mut slow, mut fast) =
        (served.connect("/sampling").await, served.connect("/sampling").await);
    for client in [&mut slow, &mut fast] {
        client.text().await;
        client.follow(r#"{"samplingRate":1}"#).await;
    }
    for id in 1..=300 {
        served.append_texts(large(id..=id));
        assert_eq!(id_of(&fast.text().await), id);
    }
    let mut got = vec![0];
    while got.last() != Some(&300) {
        got.push(id_of(&slow.text().await));
    }
    assert!(got.is_sorted());
    assert!((22..300).contains(&got.len()), "{} events", got.len());
    assert!(got.ends_with(&(281..=300).collect::<Vec<_>>()), "{got:?}");
}

#[tokio::test]
async fn non_reading_client_is_disconnected() {
    let served = served_by(|options| {
        options.config.limits.write_timeout = Duration::from_millis(100);
        options.config.limits.connections = 1;
    })
    .await;
    let mut client = served.connect("/sampling").await;
    client.text().await;
    client.follow(r#"{"samplingRate":1}"#).await;
    served.append_texts(large(1..=200));
    // The slot is free as soon as the connection was dropped.
    soon(async { while !served.get("/topics").await.starts_with("HTTP/1.1 200 ") {} }).await;
    let mut last = None;
    while let Some(Ok(message)) = soon(client.0.next()).await {
        last = Some(message);
    }
    assert!(matches!(last, Some(Message::Text(_))), "it could not even be told");
}

#[tokio::test]
async fn client_that_reads_no_responses_is_disconnected() {
    let served = served_by(|options| {
        options.config.limits.write_timeout = Duration::from_millis(100);
        options.config.limits.connections = 1;
    })
    .await;
    let (mut answers, mut asks) = TcpStream::connect(served.public).await.unwrap().into_split();
    // More than all buffers on the path hold; nothing is read meanwhile.
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: test\r\n\r\n".repeat(1_000);
    let asking = soon(async { while asks.write_all(&request).await.is_ok() {} });
    let free = soon(async { while !served.get("/topics").await.starts_with("HTTP/1.1 200 ") {} });
    tokio::join!(asking, free);
    let mut read = Vec::new();
    // End of file, or a reset.
    let _ = soon(answers.read_to_end(&mut read)).await;
    let answered = String::from_utf8_lossy(&read).matches("HTTP/1.1 200 ").count();
    assert!(answered < 1_000, "all were answered, so nothing was cut off");
}

// Other kernels lack this limit.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[tokio::test]
async fn little_waits_unsent_for_a_slow_client() {
    const FILE: &str = "2026-11-29-5.json.gz";
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), vec![b'x'; 16 << 20]).unwrap();
    let served = served_by(|options| {
        options.archive = Some(dir.path().to_owned());
        options.config.limits.write_timeout = Duration::from_millis(500);
        options.config.limits.connections = 1;
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut client = socket.connect(served.public).await.unwrap();
    let request = format!("GET /archive/{FILE} HTTP/1.1\r\nhost: test\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut read = vec![0; 12];
    soon(client.read_exact(&mut read)).await.unwrap();
    assert_eq!(read, b"HTTP/1.1 200");
    // It reads nothing more, and is disconnected.
    soon(async { while !served.get("/topics").await.starts_with("HTTP/1.1 200 ") {} }).await;
    let _ = soon(client.read_to_end(&mut read)).await;
    assert!(read.len() < 1 << 20, "{} bytes had been accepted for it", read.len());
}

/// The folder with a certificate for `localhost` and its key, used only by tests.
const TLS_FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/serve/tests/tls");

fn tls_files() -> crate::config::TlsConfig {
    let [cert, key] = ["cert", "key"].map(|name| format!("{TLS_FILES}/{name}.pem").into());
    crate::config::TlsConfig { cert, key }
}

pub(super) fn certificate() -> crate::serve::Certificate {
    crate::serve::Certificate::read(&tls_files()).unwrap()
}

/// Connects to a TLS server with that certificate, offering one of these protocols.
pub(super) async fn tls_to(stream: TcpStream, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls_files().cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    soon(connector.connect("localhost".try_into().unwrap(), stream)).await.unwrap()
}

#[tokio::test]
async fn with_a_certificate_the_public_listener_speaks_tls() {
    let served = served_by(|options| options.certificate = Some(certificate())).await;
    let stream = tls_to(TcpStream::connect(served.public).await.unwrap(), &[]).await;
    let request = "ws://localhost/sampling";
    let connecting = Box::pin(tokio_tungstenite::client_async(request, stream));
    let (mut socket, _) = soon(connecting).await.unwrap();
    let first = soon(socket.next()).await.unwrap().unwrap();
    assert!(first.into_text().unwrap().contains("firstMessageTag"));
    let health = ask(served.ops, "GET /health HTTP/1.1").await;
    assert!(health.starts_with("HTTP/1.1 200 "), "ops stays plain");
}

#[test]
fn mismatched_certificate_and_key_change_nothing() {
    let read = |name: &str| std::fs::read(format!("{TLS_FILES}/{name}")).unwrap();
    let certificate = certificate();
    let renew = |cert: &str, key: &str| certificate.renew(&read(cert), &read(key));
    assert!(renew("renewed-cert.pem", "key.pem").unwrap_err().contains("belong together"));
    assert!(renew("key.pem", "key.pem").unwrap_err().contains("no certificate"));
    assert!(renew("cert.pem", "cert.pem").unwrap_err().contains("no readable PEM key"));
    renew("renewed-cert.pem", "renewed-key.pem").unwrap();
}

#[tokio::test]
async fn data_buffered_by_tls_is_flushed_without_further_writes() {
    // Less than the TLS layer accepts at once, and more than the system's buffers.
    const BYTES: usize = 50_000;
    let [near, far] = [(); 2].map(|()| TcpSocket::new_v4().unwrap());
    near.set_send_buffer_size(4_096).unwrap();
    far.set_recv_buffer_size(4_096).unwrap();
    near.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = near.listen(1).unwrap();
    let far = far.connect(listener.local_addr().unwrap()).await.unwrap();
    let (near, _) = listener.accept().await.unwrap();
    let acceptor = certificate().acceptor().unwrap();
    let (near, mut far) = tokio::join!(acceptor.accept(near), tls_to(far, &[]));
    let decompressor = Decompressor::new(64 << 10, false, b"");
    let mut wire = FrameStream::new(Stream::Right(Box::new(near.unwrap())), decompressor);
    let frame = Frame::text(&[&"x".repeat(BYTES)]);
    wire.push(frame.clone());
    let drained = poll_fn(|cx| Poll::Ready(wire.poll_drain(cx).is_ready())).await;
    assert!(!drained, "all of it fits into the system's buffers, so nothing is tried");
    let drain = async { poll_fn(|cx| wire.poll_drain(cx)).await.unwrap() };
    let mut got = vec![0; frame.bytes().len()];
    let read = async { far.read_exact(&mut got).await.unwrap() };
    soon(async { tokio::join!(drain, read) }).await;
    assert!(got == *frame.bytes(), "what arrives is not the frame");
}

#[tokio::test]
async fn too_many_pings_close_the_connection() {
    let served = served().await;
    let mut client = served.connect("/language/latest").await;
    for _ in 0..700 {
        client.0.feed(Message::Ping(Vec::new().into())).await.unwrap();
    }
    client.0.flush().await.unwrap();
    let close = async {
        loop {
            match client.0.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return frame,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let frame = soon(close).await;
    assert_eq!(u16::from(frame.code), 1008);
    assert!(frame.reason.contains("600"), "{}", frame.reason);
}
