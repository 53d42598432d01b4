//! Files that are replaced at run time: the certificate of the public listeners, the file of
//! tokens, and the log file. Connected clients are unaffected.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use ghpulse::simulate::Options;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;

use super::events::push;
use super::program::{Program, run};
use crate::common::client::request;
use crate::common::running::{GitHub, soon, until_some};

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/serve/tests/tls");

/// A TLS connection that trusts only this certificate.
async fn tls(address: SocketAddr, trusted: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(format!("{FILES}/{trusted}")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), stream).await
}

/// The address of the ops listener of the program on this data directory.
async fn ops(dir: &Path) -> SocketAddr {
    until_some("the ops endpoints are there", async || {
        let text = std::fs::read_to_string(dir.join("ops")).unwrap_or_default();
        text.trim().strip_prefix("http://").map(|address| address.parse().unwrap())
    })
    .await
}

/// Waits until this part is listed in `/readyz` of the ops listener, or no longer is.
async fn files_part(ops: SocketAddr, is_there: bool) -> String {
    until_some("the part `files`", async || {
        let parts = request(ops, "GET", "/readyz", &[]).await.body;
        (parts.contains(r#""name":"files""#) == is_there).then_some(parts)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificate_keeps_connections() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |name: &str| files.path().join(name);
    let copy = |from: &str, to: &str| {
        std::fs::copy(format!("{FILES}/{from}"), file(to)).unwrap();
    };
    copy("cert.pem", "cert.pem");
    copy("key.pem", "key.pem");
    let mut command = run(&dir, &github.url);
    command.env("GHPULSE_SERVER_TLS_CERT", file("cert.pem"));
    command.env("GHPULSE_SERVER_TLS_KEY", file("key.pem"));
    let mut program = Program::start(command);
    let line = program.until("serving").await;
    let (_, behind) = line.split_once("https://").unwrap();
    let address: SocketAddr = behind[..behind.find('/').unwrap()].parse().unwrap();
    let ops = ops(dir.path()).await;
    let stream = tls(address, "cert.pem").await.unwrap();
    let connecting = tokio_tungstenite::client_async("wss://localhost/sampling", stream);
    let (mut reader, _) = soon("a handshake", Box::pin(connecting)).await.unwrap();
    soon("the first message", reader.next()).await.unwrap().unwrap();
    reader.send(Message::text(r#"{"samplingRate":1}"#)).await.unwrap();

    // A certificate without its key: the old pair stays in use, and the error names the file.
    copy("renewed-cert.pem", "cert.pem");
    program.signal("-HUP").await;
    program.until("a renewed file is bad").await;
    let parts = files_part(ops, true).await;
    assert!(parts.contains("server.tls") && parts.contains("the old one stays"), "{parts}");
    assert!(tls(address, "cert.pem").await.is_ok());

    // With its key, and without a signal.
    copy("renewed-key.pem", "key.pem");
    program.until("a renewed file is in use").await;
    files_part(ops, false).await;
    assert!(tls(address, "renewed-cert.pem").await.is_ok());
    assert!(tls(address, "cert.pem").await.is_err());
    github.control.push_raw(&push(1));
    let event = async {
        loop {
            // Pings may come before it.
            if let Message::Text(text) = reader.next().await.unwrap().unwrap() {
                return text;
            }
        }
    };
    let event = soon("who was connected still reads", event).await;
    assert!(event.contains(r#""id":"1""#), "{event}");
    drop(reader);
    program.signal("-TERM").await;
    assert_eq!(program.end().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_file_of_tokens_is_in_readyz_until_it_is_good() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = files.path().join("tokens");
    std::fs::write(&path, "alice\nghp_XXXX\n").unwrap();
    let mut command = run(&dir, &github.url);
    command.env("GHPULSE_GITHUB_TOKENSFILE", &path);
    let mut program = Program::start(command);
    // The start has read it; the first check comes seconds later.
    program.until("tokens read").await;
    std::fs::write(&path, "NAME=telltale\n").unwrap();
    program.until("a renewed file is bad").await;
    let ops = ops(dir.path()).await;
    let parts = files_part(ops, true).await;
    let is_named = parts.contains("github.tokensFile: ") && parts.contains("stays in use");
    assert!(is_named && !parts.contains("telltale"), "{parts}");
    std::fs::write(&path, "alice\nghp_XXXX\n").unwrap();
    files_part(ops, false).await;
    std::fs::remove_file(&path).unwrap();
    assert!(files_part(ops, true).await.contains("cannot be read"));
    std::fs::write(&path, "alice\nbob\n").unwrap();
    files_part(ops, false).await;
    program.signal("-TERM").await;
    let (code, log, _) = program.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("is a placeholder").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_log_is_reopened() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let (dir, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [log, first, second]: [PathBuf; 3] =
        ["a.log", "a.log.1", "a.log.2"].map(|name| logs.path().join(name));
    let mut command = run(&dir, &github.url);
    command.env("GHPULSE_LOG_FILE", &log);
    let program = Program::start(command);
    let ops = ops(dir.path()).await;
    let has = async |words: &str| {
        let said = async {
            while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains(words)) {
                request(ops, "GET", "/health", &[]).await;
            }
        };
        soon("the file has a line", said).await;
    };
    // It serves requests before it logs this.
    has("serving").await;
    std::fs::rename(&log, &first).unwrap();
    program.signal("-HUP").await;
    has("opened again").await;
    assert!(std::fs::read_to_string(&first).unwrap().contains("serving"));
    // Also without a signal, within seconds.
    std::fs::rename(&log, &second).unwrap();
    has("opened again").await;
    program.signal("-TERM").await;
    assert_eq!(program.end().await.0, Some(0));
    assert!(std::fs::read_to_string(&log).unwrap().contains("stopped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hangup_says_whether_the_configuration_has_changed() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = files.path().join("config.yaml");
    let written = |text: &str| std::fs::write(&file, text).unwrap();
    written("server: {grace: 5s}\n");
    let mut command = run(&dir, &github.url);
    command.arg("--config").arg(&file);
    let mut program = Program::start(command);
    program.address().await;
    for (text, words) in [
        ("server: {grace: 5s} # as before\n", "; the configuration is that of the start"),
        ("server: {grace: 6s}\n", "; the configuration has changed since the start: restart"),
        ("server: {grace: soon}\n", "is invalid, so a restart would fail"),
        ("server: {grace: 5s}\n", "; the configuration is that of the start"),
    ] {
        written(text);
        program.signal("-HUP").await;
        let line = program.until("SIGHUP: ").await;
        assert!(line.contains(words) && line.contains("config.yaml"), "{text}: {line}");
    }
    program.signal("-TERM").await;
    assert_eq!(program.end().await.0, Some(0));
}
