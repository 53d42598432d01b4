//! TLS to a server whose protocol we speak ourselves.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A byte stream in both directions, with or without TLS.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// Begins TLS on a connection. The certificate has to name `host`, and be signed by a public
/// authority or by one of `authorities`, which are PEM.
///
/// # Errors
/// An error of the TLS library has the kind [`io::ErrorKind::InvalidData`].
pub async fn connect(
    stream: TcpStream,
    host: &str,
    authorities: Option<&[u8]>,
) -> io::Result<TlsStream<TcpStream>> {
    let invalid = |words: &str| io::Error::new(io::ErrorKind::InvalidData, words);
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_slice_iter(authorities.unwrap_or_default()) {
        let added = certificate.map(|certificate| roots.add(certificate));
        if !matches!(added, Ok(Ok(()))) {
            return Err(invalid("malformed certificate in the file of authorities"));
        }
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name =
        ServerName::try_from(host.to_owned()).map_err(|error| invalid(&error.to_string()))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}
