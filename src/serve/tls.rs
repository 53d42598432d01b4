//! Certificate and key of the public listeners.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::wire::Stream;
use crate::config::Tls;

/// What is spoken over TLS, by its registered name, the best first (RFC 7301).
const HTTP_2: &[u8] = b"h2";
const PROTOCOLS: [&[u8]; 3] = [HTTP_2, b"http/1.1", b"http/1.0"];

/// Whether that was agreed to be HTTP/2.
pub(super) fn speaks_http2(stream: &Stream) -> bool {
    let Stream::Tls(stream) = stream else { return false };
    stream.get_ref().1.alpn_protocol() == Some(HTTP_2)
}

/// Reads the files and makes ready to accept.
pub(super) fn acceptor(files: &Tls) -> anyhow::Result<TlsAcceptor> {
    let certificates = read_certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).with_context(|| {
        format!("server.tls.key: {} holds no readable PEM key", files.key.display())
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("server.tls: no protocol version to offer")?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("server.tls: certificate and key do not fit together")?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read_certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let unreadable = || format!("server.tls.cert: {} holds no readable PEM", path.display());
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).with_context(unreadable)?.collect();
    let certificates = certificates.with_context(unreadable)?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "server.tls.cert: {} holds no certificate",
        path.display()
    );
    Ok(certificates)
}
