//! Certificate and key of the public listeners, renewed without a restart.
//!
//! A handshake uses the newest valid pair; open connections keep theirs. An unreadable pair, or one
//! that does not belong together, changes nothing.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::config::TlsConfig;
use crate::reload;

/// A connection as it was accepted, in plain text or with TLS.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The current certificate and key of the public listeners. Clones share them.
#[derive(Debug, Clone)]
pub struct Certificate(Arc<Newest>);

struct Newest(ArcSwap<CertifiedKey>);

impl Certificate {
    /// Reads both files. Errors name the configuration key and the path, never the contents.
    pub fn read(files: &TlsConfig) -> anyhow::Result<Self> {
        let about = |which: &str, why: String| {
            let path = if which == KEY { &files.key } else { &files.cert };
            anyhow::anyhow!("server.tls.{which}: {}: {why}", path.display())
        };
        let cert = reload::read(&files.cert).map_err(|why| about(CERT, why))?;
        let key = reload::read(&files.key).map_err(|why| about(KEY, why))?;
        let pair = pair(&cert, &key).map_err(|(which, why)| about(which, why))?;
        reload::remember(&files.cert, &cert);
        reload::remember(&files.key, &key);
        Ok(Self(Arc::new(Newest(ArcSwap::from_pointee(pair)))))
    }

    /// Replaces the pair for later handshakes. Fails without effect when the pair is invalid.
    pub fn renew(&self, cert: &[u8], key: &[u8]) -> Result<(), String> {
        let pair = pair(cert, key).map_err(|(_, why)| why)?;
        self.0.0.store(Arc::new(pair));
        Ok(())
    }

    /// An acceptor that uses the current pair.
    pub(crate) fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let resolver: Arc<dyn ResolvesServerCert> = self.0.clone();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .context("server.tls: no protocol version to offer")?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Newest {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// The key is not shown.
impl fmt::Debug for Newest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Newest")
    }
}

/// Protocols offered over TLS by their registered names, the preferred one first (RFC 7301).
const HTTP_2: &[u8] = b"h2";
const PROTOCOLS: [&[u8]; 3] = [HTTP_2, b"http/1.1", b"http/1.0"];

/// Whether HTTP/2 was negotiated.
pub(crate) fn speaks_http2(stream: &Stream) -> bool {
    let Either::Right(stream) = stream else { return false };
    stream.get_ref().1.alpn_protocol() == Some(HTTP_2)
}

/// The keys of the two files in `server.tls`.
const CERT: &str = "cert";
const KEY: &str = "key";

/// Reads a pair, or says which of the files is wrong, and why.
fn pair(cert: &[u8], key: &[u8]) -> Result<CertifiedKey, (&'static str, String)> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain.map_err(|error| (CERT, format!("it is not readable PEM ({error})")))?;
    if chain.is_empty() {
        return Err((CERT, "it holds no certificate in PEM form".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| (KEY, "it holds no readable PEM key".to_owned()))?;
    CertifiedKey::from_der(chain, key, &default_provider())
        .map_err(|error| (CERT, format!("certificate and key do not belong together ({error})")))
}
