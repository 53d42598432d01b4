//! Connects to a broker: address, TCP, TLS with the configured authorities, and the causes of
//! failures. With `link.rs` and `checked_stream.rs` the only user of lapin.

use std::io;
use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::str::FromStr as _;

use async_rs::Tokio;
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use rustls::{AlertDescription, CertificateError};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::checked_stream::{self, CheckedStream, UncheckedStream};
use super::error::AmqpError;
use super::frames::{FRAME_BYTES, RefusedFrame};
use crate::config::AmqpConfig;
use crate::{config, reload};

/// Heartbeat interval of an idle connection in seconds, unless the URL sets another.
const HEARTBEAT: u16 = 20;
const ACCESS_REFUSED: u16 = 403;
const NOT_ALLOWED: u16 = 530;
/// What to do when the other side does not speak TLS.
const NO_TLS: &str = "write a port of TLS into amqp.url (usually 5671), or amqp:// on a network \
                      you trust";

/// A connection, and a guard that closes its socket.
pub(super) struct Dialled {
    pub(super) connection: Connection,
    /// The library's thread lives as long as its socket, even when nothing uses it any more. This
    /// guard shuts the socket down when it is dropped, so that a silent peer cannot keep both alive
    /// forever.
    pub(super) cut: DropGuard,
}

/// The target of a URL without secrets: `host:port`, and the virtual host.
pub(super) fn target(url: &str) -> Result<(String, String), AmqpError> {
    let uri = parse(url)?;
    Ok((at(&uri), uri.vhost))
}

fn at(uri: &AMQPUri) -> String {
    let (host, port) = (&uri.authority.host, uri.authority.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn parse(url: &str) -> Result<AMQPUri, AmqpError> {
    // The parser's message may contain the URL and with it the password.
    let mut uri = AMQPUri::from_str(url).map_err(|_| AmqpError::Url)?;
    // The parser does not accept IPv6 addresses and falls back to localhost.
    if let Some((_, host, _)) = config::endpoint(url)
        && host.contains(':')
    {
        uri.authority.host = host;
    }
    if uri.vhost.is_empty() {
        "/".clone_into(&mut uri.vhost);
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    // 0 is without limit, and the library reserves 32 frames of the broker's choice.
    let frame = uri.query.frame_max.filter(|bytes| *bytes != 0);
    uri.query.frame_max = Some(frame.map_or(FRAME_BYTES, |bytes| bytes.min(FRAME_BYTES)));
    Ok(uri)
}

/// The certificate authority in a PEM file; `None` without a file.
pub(super) fn authority(file: Option<&Path>) -> Result<Option<String>, AmqpError> {
    let Some(path) = file else { return Ok(None) };
    let refuse = |cause: String| AmqpError::CaFile { path: path.display().to_string(), cause };
    let read = reload::read_good(path, reload::check_authorities).map_err(refuse)?;
    Ok(Some(String::from_utf8_lossy(&read).into_owned()))
}

/// Connects and logs in. Reads the file of the authority each time, so that it can be renewed;
/// while it is invalid, the last valid one stays in use.
pub(super) async fn dial(options: &AmqpConfig) -> Result<Dialled, AmqpError> {
    let uri = parse(options.url.expose())?;
    let cert_chain = authority(options.ca.as_deref())?;
    let tls = OwnedTLSConfig { identity: None, cert_chain };
    let name = format!("ghpulse {}", options.node);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let cutting = CancellationToken::new();
    let cut = cutting.clone().drop_guard();
    let connecting = Connection::connector(
        uri.clone(),
        checked_stream::runtime(),
        async move |uri: AMQPUri, _| {
            let opening = async {
                let tokio = Tokio::current();
                let addresses = addresses(&uri).await?;
                let mut stream: UncheckedStream =
                    AsyncTcpStream::connect(&tokio, addresses).await?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    end_with(plain.get_ref(), cutting.clone())?;
                }
                if uri.scheme == AMQPScheme::AMQPS {
                    stream = stream.into_tls(&uri.authority.host, tls.as_ref()).await?;
                }
                Ok(AsyncTcpStream::Plain(CheckedStream::new(stream)))
            };
            opening.await.map_err(|error: io::Error| lapin::Error::from(error))
        },
        properties,
    );
    let connection = Box::pin(connecting).await;
    let connection = connection.map_err(|error| why(&error, &uri, options))?;
    Ok(Dialled { connection, cut })
}

async fn addresses(uri: &AMQPUri) -> io::Result<Vec<SocketAddr>> {
    let target = (uri.authority.host.as_str(), uri.authority.port);
    Ok(tokio::net::lookup_host(target).await?.collect())
}

/// Shuts a socket down when the token is cancelled, whichever task holds the socket then.
fn end_with(socket: &tokio::net::TcpStream, cutting: CancellationToken) -> io::Result<()> {
    let same = std::net::TcpStream::from(socket.as_fd().try_clone_to_owned()?);
    tokio::spawn(async move {
        cutting.cancelled().await;
        // It may already be closed.
        let _ = same.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn why(error: &lapin::Error, uri: &AMQPUri, options: &AmqpConfig) -> AmqpError {
    match error.kind() {
        ErrorKind::ProtocolError(said) => match said.get_id() {
            ACCESS_REFUSED => AmqpError::Login { user: uri.authority.userinfo.username.clone() },
            NOT_ALLOWED => {
                AmqpError::VirtualHost { vhost: uri.vhost.clone(), reason: reason(error) }
            }
            _ => away("connecting", error),
        },
        ErrorKind::IOError(error) => why_io(error, uri, options),
        ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_)
            if uri.scheme == AMQPScheme::AMQP =>
        {
            AmqpError::Foreign { at: at(uri), cause: "its answer is not AMQP 0-9-1".to_owned() }
        }
        _ => away("connecting", error),
    }
}

fn why_io(error: &io::Error, uri: &AMQPUri, options: &AmqpConfig) -> AmqpError {
    let (at, cause) = (at(uri), error.to_string());
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(inner) = inner {
        return AmqpError::Tls { at, cause, cure: cure(inner, options.ca.is_some()) };
    }
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<RefusedFrame>());
    if refused == Some(&RefusedFrame::Malformed) && uri.scheme == AMQPScheme::AMQP {
        return AmqpError::Foreign { at, cause };
    }
    let away = |reason| AmqpError::Away { doing: "connecting", reason };
    match (error.kind(), uri.scheme == AMQPScheme::AMQPS) {
        (ConnectionAborted | ConnectionReset | UnexpectedEof, true) => {
            // A port without TLS, or a proxy without a broker behind it, which is temporary.
            let reason = format!(
                "{at} closed the connection during the TLS handshake ({cause}); \
                                  if this persists, {NO_TLS}"
            );
            away(reason)
        }
        (ConnectionAborted | ConnectionReset | UnexpectedEof, false) => {
            AmqpError::Foreign { at, cause }
        }
        (ConnectionRefused, _) => {
            let reason = format!(
                "nothing is listening at {at} (connection refused): start the broker, or correct \
                 the port in amqp.url"
            );
            away(reason)
        }
        _ => away(format!("{at}: {cause}")),
    }
}

/// What to do about a TLS error; `has_ca` is whether an authority is configured.
fn cure(error: &rustls::Error, has_ca: bool) -> &'static str {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    match error {
        InvalidCertificate(CertificateError::UnknownIssuer) if has_ca => {
            "its certificate is signed by another authority than `amqp.ca` holds: set `amqp.ca` \
             to the PEM file of the right one"
        }
        InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not signed by a public authority: set `amqp.ca` to the PEM file \
             of its authority"
        }
        InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "its certificate is for another host name: use that name in `amqp.url`, or issue a \
             certificate for this one"
        }
        InvalidMessage(_) => NO_TLS,
        AlertReceived(AlertDescription::CertificateRequired) => {
            "the broker requires a client certificate, which is not supported: set \
             ssl_options.fail_if_no_peer_cert = false"
        }
        _ => {
            "check that `amqp.ca` holds the authority of its certificate, that both are valid \
             today, and that the certificate names the host of `amqp.url`"
        }
    }
}

/// The broker, or the network to it, is unavailable.
pub(super) fn away(doing: &'static str, error: &lapin::Error) -> AmqpError {
    AmqpError::Away { doing, reason: reason(error) }
}

/// The broker's own message, where there is one.
pub(super) fn reason(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(said) => format!("{} {}", said.get_id(), said.get_message()),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_shown_without_secrets() {
        let shown = target("amqp://me:telltale@rabbit.example.org").unwrap();
        assert_eq!(shown, ("rabbit.example.org:5672".to_owned(), "/".to_owned()));
        assert_eq!(target("amqps://u:p@h").unwrap().0, "h:5671");
        assert_eq!(target("amqp://u:p@[2001:db8::1]:5673/").unwrap().0, "[2001:db8::1]:5673");
        assert_eq!(target("amqps://[::1]").unwrap().0, "[::1]:5671");
        assert_eq!(target("amqp://u:p@h:5673/%2fdev").unwrap().1, "/dev");
        assert_eq!(target("amqp://h/").unwrap().1, "/");
        let wrong = target("amqp://u:telltale@h:notaport/").unwrap_err().to_string();
        assert!(!wrong.contains("telltale"), "{wrong}");
    }

    #[test]
    fn authority_file_must_exist_and_hold_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert_eq!(authority(None), Ok(None));
        let missing = authority(Some(&path)).unwrap_err();
        assert!(missing.is_configuration());
        let missing = missing.to_string();
        assert!(
            missing.starts_with("cannot use `amqp.ca` ") && missing.contains("ca.pem: No such")
        );
        let pem = |inside: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{inside}\n-----END CERTIFICATE-----\n")
        };
        for (text, words) in [
            ("telltale".to_owned(), "ca.pem: contains no PEM certificate"),
            (pem("telltale!"), "ca.pem: invalid PEM: "),
            (pem("dGVsbHRhbGU="), "ca.pem: contains no readable certificate"),
        ] {
            std::fs::write(&path, text).unwrap();
            let said = authority(Some(&path)).unwrap_err().to_string();
            assert!(said.contains(words) && !said.contains("telltale"), "{said}");
        }
    }
}
