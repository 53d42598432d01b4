//! The way to a broker: its address, TCP, TLS with the authorities that count, and what it means
//! when there is no way. The other half of the door to lapin.

use std::io;
use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, UnexpectedEof};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::str::FromStr as _;

use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties, ErrorKind};
use rustls::{AlertDescription, CertificateError};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{AmqpError, AmqpOptions};
use crate::{config, reload};

/// Seconds between two signs of life of an idle connection, unless the URL says otherwise.
const HEARTBEAT: u16 = 20;
const ACCESS_REFUSED: u16 = 403;
const NOT_ALLOWED: u16 = 530;
/// What to do when the other side speaks no TLS.
const NO_TLS: &str = "write a port of TLS into amqp.url (usually 5671), or amqp:// on a network \
                      you trust";

/// A connection, and what ends its socket.
pub(super) struct Dialled {
    pub(super) connection: Connection,
    /// The library's thread lives as long as its socket, also when nobody waits for it any more:
    /// so that no peer that says nothing keeps both for ever, this ends the socket when it goes.
    pub(super) cut: DropGuard,
}

/// Where a URL leads, without what is secret in it: `host:port`, and the virtual host.
pub(super) fn place(url: &str) -> Result<(String, String), AmqpError> {
    let uri = parse(url)?;
    Ok((at(&uri), uri.vhost))
}

fn at(uri: &AMQPUri) -> String {
    let (host, port) = (&uri.authority.host, uri.authority.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn parse(url: &str) -> Result<AMQPUri, AmqpError> {
    // The parser's own words may hold the URL, and that holds the password.
    let mut uri = AMQPUri::from_str(url).map_err(|_| AmqpError::Url)?;
    // It takes an address of IPv6 for none, and for that localhost.
    if let Some((_, host, _)) = config::endpoint(url)
        && host.contains(':')
    {
        uri.authority.host = host;
    }
    if uri.vhost.is_empty() {
        "/".clone_into(&mut uri.vhost);
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    Ok(uri)
}

/// The certificate authority of a file, in PEM; none without a file.
pub(super) fn authority(file: Option<&Path>) -> Result<Option<String>, AmqpError> {
    let Some(path) = file else { return Ok(None) };
    let refuse = |cause: String| AmqpError::CaFile { path: path.display().to_string(), cause };
    let read = reload::read_good(path, reload::check_authorities).map_err(refuse)?;
    Ok(Some(String::from_utf8_lossy(&read).into_owned()))
}

/// Connects and logs in. The file of the authority is read each time, so it may be renewed; while
/// it is bad, the last good one stays in use.
pub(super) async fn dial(options: &AmqpOptions) -> Result<Dialled, AmqpError> {
    let uri = parse(options.url.expose())?;
    let cert_chain = authority(options.ca.as_deref())?;
    let tls = OwnedTLSConfig { identity: None, cert_chain };
    let name = format!("ghpulse {}", options.node);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime().map_err(|error| away("connecting", &error))?;
    let cutting = CancellationToken::new();
    let cut = cutting.clone().drop_guard();
    // In place, so that the types of the library's runtime are known without naming its crate.
    let connecting = Connection::connector(
        uri.clone(),
        runtime,
        async move |uri: AMQPUri, runtime| {
            let opening = async {
                let stream = AsyncTcpStream::connect(&runtime, addresses(&uri).await?).await?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    end_with(plain.get_ref(), cutting.clone())?;
                }
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => stream.into_tls(&uri.authority.host, tls.as_ref()).await,
                }
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
    let place = (uri.authority.host.as_str(), uri.authority.port);
    Ok(tokio::net::lookup_host(place).await?.collect())
}

/// Ends a socket when the token is cancelled, whoever holds the socket then.
fn end_with(socket: &tokio::net::TcpStream, cutting: CancellationToken) -> io::Result<()> {
    let same = std::net::TcpStream::from(socket.as_fd().try_clone_to_owned()?);
    tokio::spawn(async move {
        cutting.cancelled().await;
        // It may be closed already.
        let _ = same.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// Why there is no connection.
fn why(error: &lapin::Error, uri: &AMQPUri, options: &AmqpOptions) -> AmqpError {
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

fn why_io(error: &io::Error, uri: &AMQPUri, options: &AmqpOptions) -> AmqpError {
    let (at, cause) = (at(uri), error.to_string());
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(inner) = inner {
        return AmqpError::Tls { at, cause, cure: cure(inner, options.ca.is_some()) };
    }
    match (error.kind(), uri.scheme == AMQPScheme::AMQPS) {
        (ConnectionAborted | ConnectionReset | UnexpectedEof, true) => {
            // A port without TLS, or a gate without a broker behind it: the latter passes.
            let reason = format!("{at} hangs up on TLS ({cause}); if it goes on, {NO_TLS}");
            AmqpError::Away { doing: "connecting", reason }
        }
        (ConnectionAborted | ConnectionReset | UnexpectedEof, false) => {
            AmqpError::Foreign { at, cause }
        }
        (ConnectionRefused, _) => {
            let reason = format!(
                "nobody listens at {at} (connection refused); is the broker running, and the port \
                 the right one?"
            );
            AmqpError::Away { doing: "connecting", reason }
        }
        _ => AmqpError::Away { doing: "connecting", reason: format!("{at}: {cause}") },
    }
}

/// What to do about it; `has_ca` is whether an authority is configured.
fn cure(error: &rustls::Error, has_ca: bool) -> &'static str {
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    match error {
        InvalidCertificate(CertificateError::UnknownIssuer) if has_ca => {
            "name the file (PEM) of the authority of its certificate in `amqp.ca`, which has \
             another one"
        }
        InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is by no public authority: name the file (PEM) of the one it is by \
             in `amqp.ca`"
        }
        InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "use a host in `amqp.url` that its certificate is for, or give it a certificate for \
             this one"
        }
        InvalidMessage(_) => NO_TLS,
        AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a certificate of ours, and there is none: let it ask for none \
             (ssl_options.fail_if_no_peer_cert = false)"
        }
        _ => {
            "does `amqp.ca` name the authority of its certificate, is that valid today, and is \
             the host of `amqp.url` a name in it"
        }
    }
}

/// That the broker, or the way to it, is not there now.
pub(super) fn away(doing: &'static str, error: &lapin::Error) -> AmqpError {
    AmqpError::Away { doing, reason: reason(error) }
}

/// The broker's own words where it said some.
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
    fn a_place_is_told_without_what_is_secret() {
        let told = place("amqp://me:telltale@rabbit.example.org").unwrap();
        assert_eq!(told, ("rabbit.example.org:5672".to_owned(), "/".to_owned()));
        assert_eq!(place("amqps://u:p@h").unwrap().0, "h:5671");
        assert_eq!(place("amqp://u:p@[2001:db8::1]:5673/").unwrap().0, "[2001:db8::1]:5673");
        assert_eq!(place("amqps://[::1]").unwrap().0, "[::1]:5671");
        assert_eq!(place("amqp://u:p@h:5673/%2fdev").unwrap().1, "/dev");
        assert_eq!(place("amqp://h/").unwrap().1, "/");
        let wrong = place("amqp://u:telltale@h:notaport/").unwrap_err().to_string();
        assert!(!wrong.contains("telltale"), "{wrong}");
    }

    #[test]
    fn a_file_of_an_authority_is_there_and_holds_one() {
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
            ("telltale".to_owned(), "ca.pem: it holds no PEM certificate"),
            (pem("telltale!"), "ca.pem: its PEM cannot be read: "),
            (pem("dGVsbHRhbGU="), "ca.pem: no certificate in it can be read"),
        ] {
            std::fs::write(&path, text).unwrap();
            let said = authority(Some(&path)).unwrap_err().to_string();
            assert!(said.contains(words) && !said.contains("telltale"), "{said}");
        }
    }
}
