//! A broker with TLS and its own certificate authority; and servers that impersonate it.

use ghpulse::amqp::{AmqpError, probe};
use ghpulse::clock::Clock;
use ghpulse::config::{AmqpConfig, Secret};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::broker::{PATIENCE, secured};
use super::node::{Node, push};
use crate::common::certificates::certify;

fn at(scheme: &str, host: &str, port: impl std::fmt::Display) -> Secret {
    Secret::new(format!("{scheme}://ghpulse:ghpulse@{host}:{port}/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_arrive_over_tls_and_refusals_name_the_cure() {
    let files = tempfile::tempdir().unwrap();
    certify(files.path());
    let made = secured("messages_arrive_over_tls", files.path()).await;
    let Some((broker, port)) = made else { return };
    let good = AmqpConfig {
        url: at("amqps", "127.0.0.1", port),
        ca: Some(files.path().join("ca.pem")),
        ..broker.options("ght-streams")
    };
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &good);
    node.is_connected(true).await;
    let mut reader = broker.reader("pika_queue", &["evt.push.*"]).await;
    node.admit(&(0..500).map(push).collect::<Vec<_>>()).await;
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < 500 {
        ids.insert(reader.message().await["id"].as_str().unwrap().to_owned());
    }
    node.end().await;

    let refused = async |options: AmqpConfig| {
        let error = probe(&options, Clock::system()).await.unwrap_err();
        assert!(!error.is_configuration(), "{error}");
        error.to_string()
    };
    let with_url = |url: Secret| AmqpConfig { url, ..good.clone() };
    let unknown = refused(AmqpConfig { ca: None, ..good.clone() }).await;
    let begin = format!("TLS handshake with 127.0.0.1:{port} failed (");
    assert!(unknown.starts_with(&begin) && unknown.contains("UnknownIssuer"), "{unknown}");
    assert!(unknown.contains("set `amqp.ca` to the PEM file of its authority"), "{unknown}");
    let other = AmqpConfig { ca: Some(files.path().join("other.pem")), ..good.clone() };
    let said = refused(other.clone()).await;
    assert!(said.contains("signed by another authority than `amqp.ca` holds"), "{said}");
    let named = refused(with_url(at("amqps", "localhost", port))).await;
    assert!(named.contains("localhost") && named.contains("use that name in"), "{named}");
    let plain = refused(with_url(at("amqps", "127.0.0.1", broker.port()))).await;
    assert!(plain.contains("write a port of TLS into amqp.url"), "{plain}");
    let clear = refused(with_url(at("amqp", "127.0.0.1", port))).await;
    assert!(clear.contains("write amqps:// in amqp.url"), "{clear}");

    // A running node also reports the error, and recovers when it is fixed.
    let renewed = files.path().join("renewed.pem");
    std::fs::copy(files.path().join("other.pem"), &renewed).unwrap();
    let late = AmqpConfig { ca: Some(renewed.clone()), ..good.clone() };
    let mut node = Node::start(dir.path(), &late);
    let said = node.is_connected(false).await;
    assert!(said.contains("signed by another authority than `amqp.ca` holds"), "{said}");
    std::fs::copy(files.path().join("ca.pem"), &renewed).unwrap();
    node.is_connected(true).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_peer_is_disconnected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = |scheme: &str| AmqpConfig {
        url: at(scheme, "127.0.0.1", port),
        exchange: "ght-streams".to_owned(),
        source: None,
        ca: None,
        node: "test".to_owned(),
    };
    let (plain, encrypted) = (options("amqp"), options("amqps"));
    let clock = Clock::system();
    let heard = async {
        let mut all = Vec::new();
        for _ in 0..2 {
            all.push(listener.accept().await.unwrap().0);
        }
        for mut stream in all {
            let mut said = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
            ended.expect("its end").unwrap();
        }
    };
    let (first, second, ()) = tokio::join!(probe(&plain, clock), probe(&encrypted, clock), heard);
    let reason = "no answer within 10 s".to_owned();
    let expected = AmqpError::Away { doing: "connecting", reason };
    assert_eq!((first.unwrap_err(), second.unwrap_err()), (expected.clone(), expected));
}
