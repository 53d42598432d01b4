//! A broker that authenticates clients, over TLS with its own certificate authority.

use std::path::{Path, PathBuf};

use ghpulse::bus::ProducerGrant;
use ghpulse::bus::pulsar::probe;
use ghpulse::clock::Clock;
use ghpulse::config::{OAuthConfig, PulsarConfig};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::broker::own;
use super::node::{Node, pull_requests};
use crate::common::certificates::certify;
use crate::common::ports::free_port;

/// The key with which the broker verifies tokens.
const KEY: &str = "YS1zZWNyZXQtb2YtdGhlLXRlc3RzLTMyLWJ5dGVzISE=";
/// A token with all rights.
const ADMIN: &str =
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZG1pbiJ9.krbCsbJ_3Rqth6GMNh4IBaKYhx-mQNKlRYHAbGoFW5w";
/// A token without any rights.
const STRANGER: &str =
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzdHJhbmdlciJ9.TC0XlHdHwVkYjKAyHraZjxjKNg8rJV8NwdWD5z_weGs";

fn settings(dir: &Path, tls_port: u16) -> String {
    let dir = dir.display();
    format!(
        "brokerServicePortTls={tls_port}\ntlsCertificateFilePath={dir}/cert.pem\n\
         tlsKeyFilePath={dir}/key.pem\nauthenticationEnabled=true\nauthorizationEnabled=true\n\
         superUserRoles=admin\ntokenSecretKey=data:;base64,{KEY}\nauthenticationProviders=\
         org.apache.pulsar.broker.authentication.AuthenticationProviderToken\n\
         brokerClientAuthenticationPlugin=\
         org.apache.pulsar.client.impl.auth.AuthenticationToken\n\
         brokerClientAuthenticationParameters=token:{ADMIN}\n"
    )
}

/// An issuer that gives this token to every client.
async fn issuer(token: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let endpoint = format!("{url}/oauth/token");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = vec![0; 8_192];
            let length = stream.read(&mut asked).await.unwrap_or(0);
            let body = if asked[..length].starts_with(b"GET /.well-known/") {
                format!(r#"{{"token_endpoint":"{endpoint}"}}"#)
            } else {
                format!(r#"{{"access_token":"{token}","expires_in":3600}}"#)
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

async fn login(dir: &Path, name: &str, token: &'static str) -> OAuthConfig {
    let issuer = issuer(token).await;
    let key_file: PathBuf = dir.join(name);
    let key = format!(
        r#"{{"type":"client_credentials","client_id":"me","client_secret":"hush",
        "issuer_url":"{issuer}"}}"#
    );
    std::fs::write(&key_file, key).unwrap();
    OAuthConfig { audience: "urn:sn:pulsar:o:i".to_owned(), key_file }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_login_works_and_refusals_name_the_cure() {
    let files = tempdir().unwrap();
    certify(files.path());
    let (dir, tls_port) = (files.path().to_owned(), free_port());
    let made = own("secured", ADMIN, move |_| settings(&dir, tls_port)).await;
    let Some(broker) = made else { return };
    let good = PulsarConfig {
        url: format!("pulsar+ssl://127.0.0.1:{tls_port}"),
        ca: Some(files.path().join("ca.pem")),
        oauth: Some(login(files.path(), "admin.json", ADMIN).await),
        ..broker.options("secured")
    };
    let clock = Clock::system();
    assert_eq!(
        probe(&good, "secured", true, clock).await.unwrap().grant,
        Some(ProducerGrant::Granted)
    );
    let dir = tempdir().unwrap();
    let node = Node::collector(&dir, &good).await;
    node.admit(&pull_requests(1, 40)).await;
    assert_eq!(node.holds(40).await.len(), 40);
    node.end().await;

    let refused = async |options: PulsarConfig| {
        let error = probe(&options, "secured", true, clock).await.unwrap_err();
        assert!(error.is_transient() && !error.to_string().contains("hush"), "{error}");
        error.to_string()
    };
    let said = refused(PulsarConfig { ca: None, ..good.clone() }).await;
    assert!(said.contains("TLS or the login failed") && said.contains("pulsar.ca"), "{said}");
    let said = refused(PulsarConfig { oauth: None, ..good.clone() }).await;
    assert!(said.contains("it needs a login"), "{said}");
    let forged = login(files.path(), "forged.json", "eyJhbGciOiJIUzI1NiJ9.e30.AAAA").await;
    let said = refused(PulsarConfig { oauth: Some(forged), ..good.clone() }).await;
    assert!(said.contains("TLS or the login failed") && said.contains("pulsar.audience"), "{said}");
    let stranger = login(files.path(), "stranger.json", STRANGER).await;
    let said = refused(PulsarConfig { oauth: Some(stranger), ..good.clone() }).await;
    assert!(said.contains("has no permission for this topic"), "{said}");
    broker.kill();
    broker.remove();
}
