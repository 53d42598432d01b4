//! Door to lapin: one connection, one channel with confirms, and errors in our words.
//!
//! The library's own recovery is not used: it gives up after some tries and does not bring closed
//! channels back, so a loop of our own is needed anyway, and one is enough.

use std::str::FromStr as _;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind,
    PublisherConfirm,
};

use super::outbound::Message;
use super::{AmqpError, AmqpOptions};

/// Seconds between two signs of life of an idle connection, unless the URL says otherwise.
const HEARTBEAT: u16 = 20;
/// Not kept on disk by the broker: whoever is away reads on by cursor, from the stream.
const TRANSIENT: u8 = 1;
const REPLY_SUCCESS: u16 = 200;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// A connection that can be published to.
pub(super) struct Link {
    connection: Connection,
    channel: Channel,
    exchange: ShortString,
}

/// A message on its way.
pub(super) struct Unconfirmed(PublisherConfirm);

/// Where a URL leads, without what is secret in it: `host:port`, and the virtual host.
pub(super) fn place(url: &str) -> Result<(String, String), AmqpError> {
    let uri = parse(url)?;
    Ok((format!("{}:{}", uri.authority.host, uri.authority.port), uri.vhost))
}

fn parse(url: &str) -> Result<AMQPUri, AmqpError> {
    // The parser's own words may hold the URL, and that holds the password.
    let mut uri = AMQPUri::from_str(url).map_err(|_| AmqpError::Url)?;
    if uri.scheme == AMQPScheme::AMQPS {
        return Err(AmqpError::Encrypted);
    }
    if uri.vhost.is_empty() {
        "/".clone_into(&mut uri.vhost);
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    Ok(uri)
}

impl Link {
    /// Connects, logs in, and sees to it that the exchange is there: topic and durable.
    pub(super) async fn open(options: &AmqpOptions) -> Result<Self, AmqpError> {
        let (connection, exchange) = connect(options).await?;
        let mut channel = channel(&connection).await?;
        let active = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        if let Err(error) = declare(&channel, &exchange, active).await {
            match code(&error) {
                // Who may not declare it may still publish to one that is there.
                Some(ACCESS_REFUSED) => {
                    channel = self::channel(&connection).await?;
                    let passive = ExchangeDeclareOptions { passive: true, ..active };
                    let there = declare(&channel, &exchange, passive).await;
                    there.map_err(|error| about_exchange(options, &error))?;
                }
                _ => return Err(about_exchange(options, &error)),
            }
        }
        let select = channel.confirm_select(ConfirmSelectOptions::default()).await;
        select.map_err(|error| away("asking for confirms", &error))?;
        Ok(Self { connection, channel, exchange })
    }

    /// Tries a broker without changing it: what was found.
    pub(super) async fn probe(options: &AmqpOptions) -> Result<&'static str, AmqpError> {
        let (connection, exchange) = connect(options).await?;
        let passive = ExchangeDeclareOptions {
            passive: true,
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let looked = declare(&channel(&connection).await?, &exchange, passive).await;
        let found = match looked {
            Err(error) if code(&error) == Some(NOT_FOUND) => {
                "is not there yet and will be declared"
            }
            Err(error) => return Err(about_exchange(options, &error)),
            Ok(()) => {
                // It is there, so this makes nothing, and says whether it is the right one.
                let active = ExchangeDeclareOptions { passive: false, ..passive };
                match declare(&channel(&connection).await?, &exchange, active).await {
                    Ok(()) => "is there",
                    Err(error) if code(&error) == Some(ACCESS_REFUSED) => {
                        "is there (it may not be declared by this user, so its type is not known)"
                    }
                    Err(error) => return Err(about_exchange(options, &error)),
                }
            }
        };
        let _ = connection.close(REPLY_SUCCESS, "checked".into()).await;
        Ok(found)
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// Whether the broker takes nothing at the moment: an alarm of its memory or disk.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    pub(super) async fn publish(&self, message: &Message) -> Result<Unconfirmed, AmqpError> {
        let mut properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_delivery_mode(TRANSIENT)
            .with_timestamp(message.at);
        if let Ok(id) = ShortString::try_new(&*message.id) {
            properties = properties.with_message_id(id);
        }
        if let Ok(kind) = ShortString::try_new(&*message.kind) {
            properties = properties.with_type(kind);
        }
        let key = ShortString::try_new(message.key.as_str()).expect("keys have 255 bytes at most");
        let (exchange, options) = (self.exchange.clone(), BasicPublishOptions::default());
        let body = message.body.as_bytes();
        let publishing = self.channel.basic_publish(exchange, key, options, body, properties);
        publishing.await.map(Unconfirmed).map_err(|error| away("publishing", &error))
    }

    /// Says goodbye; what is not answered is not waited for by who asks with a time limit.
    pub(super) async fn close(self) {
        let _ = self.channel.close(REPLY_SUCCESS, "done".into()).await;
        let _ = self.connection.close(REPLY_SUCCESS, "done".into()).await;
    }
}

impl Unconfirmed {
    /// Until the broker has it.
    pub(super) async fn confirmed(self) -> Result<(), AmqpError> {
        let confirmation = self.0.await.map_err(|error| away("waiting for a confirm", &error))?;
        if confirmation.is_nack() {
            let (doing, reason) = ("publishing", "the broker says that it lost a message");
            return Err(AmqpError::Away { doing, reason: reason.to_owned() });
        }
        Ok(())
    }
}

async fn connect(options: &AmqpOptions) -> Result<(Connection, ShortString), AmqpError> {
    let uri = parse(options.url.expose())?;
    let exchange = ShortString::try_new(&*options.exchange).map_err(|_| AmqpError::Exchange {
        exchange: options.exchange.chars().take(80).collect(),
        reason: "its name has more than 255 bytes; set amqp.exchange to a shorter one".to_owned(),
    })?;
    let authority = options.ca.as_ref().map(|path| {
        std::fs::read_to_string(path).map_err(|error| AmqpError::Away {
            doing: "reading amqp.ca",
            reason: format!("{}: {error}", path.display()),
        })
    });
    let tls = OwnedTLSConfig { identity: None, cert_chain: authority.transpose()? };
    let runtime = lapin::runtime::default_runtime().map_err(|e| away("connecting", &e))?;
    let name = format!("ghpulse {}", options.node);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let (user, vhost) = (uri.authority.userinfo.username.clone(), uri.vhost.clone());
    let connecting = Connection::connect_uri_with_config(uri, properties, tls, runtime);
    let connection = Box::pin(connecting).await.map_err(|error| match code(&error) {
        Some(ACCESS_REFUSED) => AmqpError::Login { user },
        Some(NOT_ALLOWED) => AmqpError::VirtualHost { vhost, reason: reason(&error) },
        _ => away("connecting", &error),
    })?;
    Ok((connection, exchange))
}

async fn channel(connection: &Connection) -> Result<Channel, AmqpError> {
    connection.create_channel().await.map_err(|error| away("opening a channel", &error))
}

async fn declare(
    channel: &Channel,
    exchange: &ShortString,
    options: ExchangeDeclareOptions,
) -> Result<(), lapin::Error> {
    let none = FieldTable::default();
    channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, options, none).await
}

fn about_exchange(options: &AmqpOptions, error: &lapin::Error) -> AmqpError {
    let reason = match code(error) {
        Some(PRECONDITION_FAILED) => format!(
            "it is there and is not a durable topic exchange: remove it, or set amqp.exchange to \
             another name ({})",
            reason(error)
        ),
        Some(ACCESS_REFUSED) => format!(
            "the user of amqp.url has no right to it: give it configure and write ({})",
            reason(error)
        ),
        Some(NOT_FOUND) => "it is not there, and the user of amqp.url may not declare it: declare \
                            it as topic and durable, or give the right to"
            .to_owned(),
        _ => return away("declaring the exchange", error),
    };
    AmqpError::Exchange { exchange: options.exchange.clone(), reason }
}

fn away(doing: &'static str, error: &lapin::Error) -> AmqpError {
    AmqpError::Away { doing, reason: reason(error) }
}

/// The broker's own words where it said some.
fn reason(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(said) => format!("{} {}", said.get_id(), said.get_message()),
        _ => error.to_string(),
    }
}

fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(said.get_id()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_without_what_is_secret() {
        let told = place("amqp://me:telltale@rabbit.example.org").unwrap();
        assert_eq!(told, ("rabbit.example.org:5672".to_owned(), "/".to_owned()));
        assert_eq!(place("amqps://h").unwrap_err(), AmqpError::Encrypted);
        assert_eq!(place("amqp://u:p@h:5673/%2fdev").unwrap().1, "/dev");
        assert_eq!(place("amqp://h/").unwrap().1, "/");
        let wrong = place("amqp://u:telltale@h:notaport/").unwrap_err().to_string();
        assert!(!wrong.contains("telltale"), "{wrong}");
    }
}
