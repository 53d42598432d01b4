//! One connection with one channel that confirms, and errors in the crate's own types. `dial.rs`
//! makes the connection.
//!
//! The library's own recovery is not used: it gives up after a few attempts and does not reopen
//! closed channels, so a reconnect loop is needed anyway.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeBindOptions, ExchangeDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{
    BasicProperties, Channel, Connection, ErrorKind, Event, ExchangeKind, PublisherConfirm,
};
use tokio::sync::Mutex;
use tokio_util::sync::DropGuard;

use super::dial::{Dialled, authority, away, dial, reason, target};
use super::error::AmqpError;
use super::outbound::OutboundMessage;
use crate::config::AmqpConfig;

/// Not persisted by the broker: a disconnected reader catches up by cursor, from the stream.
const TRANSIENT: u8 = 1;
const REPLY_SUCCESS: u16 = 200;
const CONTENT_TOO_LARGE: u16 = 311;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// In the library's own error, with the broker's code 406, about a confirm that it does not await.
const UNKNOWN_TAG: &str = " received for inexistant delivery_tag ";

/// How long to wait for the broker's reason for closing a channel.
const REASON: Duration = Duration::from_secs(1);

/// A connection to publish on.
pub(super) struct AmqpLink {
    connection: Connection,
    channel: Channel,
    /// The exchange to publish to.
    target: ShortString,
    /// The readers' exchange: the target itself, or bound to it.
    public: ShortString,
    /// Whether the readers' exchange was missing and has been declared: its former bindings are
    /// lost.
    pub(super) declared: bool,
    /// Events that the library reports of the connection, such as the reason of a close.
    events: Mutex<Pin<Box<dyn Stream<Item = Event> + Send>>>,
    /// The last field, so that it is dropped after everything has been sent.
    _cut: DropGuard,
}

/// A published message without a confirm.
pub(super) struct Unconfirmed(PublisherConfirm);

/// Checks the options without contacting a broker. Returns the address without secrets, and the
/// virtual host.
pub(super) fn checked(options: &AmqpConfig) -> Result<(String, String), AmqpError> {
    name(&options.exchange)?;
    options.source.as_deref().map(name).transpose()?;
    authority(options.ca.as_deref())?;
    target(options.url.expose())
}

fn name(exchange: &str) -> Result<ShortString, AmqpError> {
    ShortString::try_new(exchange)
        .map_err(|_| AmqpError::ExchangeName { exchange: exchange.chars().take(80).collect() })
}

impl AmqpLink {
    /// Connects, logs in, and declares missing exchanges: durable topic exchanges, the readers'
    /// bound to the source where there is one.
    pub(super) async fn open(options: &AmqpConfig) -> Result<Self, AmqpError> {
        let public = name(&options.exchange)?;
        let Dialled { connection, cut } = dial(options).await?;
        let events = Mutex::new(Box::pin(connection.events_listener()) as Pin<Box<_>>);
        let declared = ensure(&connection, &public, &options.exchange).await?;
        let channel = channel(&connection).await?;
        let mut target = public.clone();
        if let Some(source) = &options.source {
            target = name(source)?;
            ensure(&connection, &target, source).await?;
            let (to, from, every) = (public.clone(), target.clone(), "#".into());
            let (how, none) = (ExchangeBindOptions::default(), FieldTable::default());
            let bound = channel.exchange_bind(to, from, every, how, none).await;
            bound.map_err(|error| about_binding(options, source, &error))?;
        }
        let select = channel.confirm_select(ConfirmSelectOptions::default()).await;
        select.map_err(|error| away("asking for confirms", &error))?;
        Ok(Self { connection, channel, target, public, declared, events, _cut: cut })
    }

    /// Checks that the readers' exchange still exists.
    pub(super) async fn check(&self) -> Result<(), AmqpError> {
        match exists(&self.connection, &self.public).await? {
            Ok(true) => Ok(()),
            Ok(false) => Err(AmqpError::Removed { exchange: self.public.to_string() }),
            Err(error) => Err(away("checking the exchange", &error)),
        }
    }

    /// Tests a broker without changing anything. Returns what it found.
    pub(super) async fn probe(options: &AmqpConfig) -> Result<&'static str, AmqpError> {
        let exchange = name(&options.exchange)?;
        let Dialled { connection, cut: _cut } = dial(options).await?;
        let refuse = |error: lapin::Error| about_exchange(&options.exchange, &error);
        let found = if exists(&connection, &exchange).await?.map_err(refuse)? {
            // It exists, so this declares nothing new, and fails if the type is another.
            match declare(&channel(&connection).await?, &exchange, ACTIVE).await {
                Ok(()) => "exists",
                Err(error) if code(&error) == Some(ACCESS_REFUSED) => {
                    "exists (this user may not declare it, so its type is unknown)"
                }
                Err(error) => return Err(refuse(error)),
            }
        } else {
            "does not exist yet and will be declared"
        };
        let target = options.source.as_deref().unwrap_or(&options.exchange);
        try_right_to_write(&connection, target).await?;
        let _ = connection.close(REPLY_SUCCESS, "checked".into()).await;
        Ok(found)
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// Whether the broker blocks publishers, because of its memory or disk alarm.
    pub(super) fn is_blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    pub(super) async fn publish(
        &self,
        message: &OutboundMessage,
    ) -> Result<Unconfirmed, AmqpError> {
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
        if message.simulated {
            let mut headers = FieldTable::default();
            headers.insert("simulated".into(), AMQPValue::Boolean(true));
            properties = properties.with_headers(headers);
        }
        let key = ShortString::try_new(message.key.as_str()).expect("keys have 255 bytes at most");
        let (exchange, options) = (self.target.clone(), BasicPublishOptions::default());
        let body = message.body.as_bytes();
        let publishing = self.channel.basic_publish(exchange, key, options, body, properties);
        match publishing.await {
            Ok(sent) => Ok(Unconfirmed(sent)),
            Err(error) => Err(self.why("publishing", error).await),
        }
    }

    /// Waits until the broker confirms the message.
    pub(super) async fn confirmed(&self, sent: Unconfirmed) -> Result<(), AmqpError> {
        let confirmation = match sent.0.await {
            Ok(confirmation) => confirmation,
            Err(error) => return Err(self.why("waiting for a confirm", error).await),
        };
        if confirmation.is_nack() {
            let (doing, reason) = ("publishing", "the broker reported a lost message");
            return Err(AmqpError::Away { doing, reason: reason.to_owned() });
        }
        Ok(())
    }

    /// The broker's reason for a failed publish. A channel that the broker has closed reports only
    /// its state; the reason arrives as an event of the connection.
    async fn why(&self, doing: &'static str, error: lapin::Error) -> AmqpError {
        let mut error = error;
        if code(&error).is_none() {
            let mut events = self.events.lock().await;
            let reason = async {
                while let Some(event) = events.next().await {
                    if let Event::Error(said) = event
                        && code(&said).is_some()
                    {
                        return Some(said);
                    }
                }
                None
            };
            if let Ok(Some(said)) = tokio::time::timeout(REASON, reason).await {
                error = said;
            }
        }
        let exchange = self.target.as_str();
        match code(&error) {
            Some(PRECONDITION_FAILED) if reason(&error).contains(UNKNOWN_TAG) => {
                let reason = "the broker confirmed a message twice, or one that was not sent";
                AmqpError::Away { doing, reason: reason.to_owned() }
            }
            Some(CONTENT_TOO_LARGE | PRECONDITION_FAILED) => {
                AmqpError::Refused { reason: reason(&error) }
            }
            Some(ACCESS_REFUSED) => no_right_to_write(exchange, &error),
            Some(NOT_FOUND) => AmqpError::Removed { exchange: exchange.to_owned() },
            _ => away(doing, &error),
        }
    }

    /// Closes the connection. Callers set a time limit.
    pub(super) async fn close(self) {
        let _ = self.channel.close(REPLY_SUCCESS, "done".into()).await;
        let _ = self.connection.close(REPLY_SUCCESS, "done".into()).await;
    }
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

const ACTIVE: ExchangeDeclareOptions = ExchangeDeclareOptions {
    passive: false,
    durable: true,
    auto_delete: false,
    internal: false,
    nowait: false,
};
const PASSIVE: ExchangeDeclareOptions = ExchangeDeclareOptions { passive: true, ..ACTIVE };

/// Whether an exchange exists. Uses another channel, which the broker closes if it does not.
async fn exists(
    connection: &Connection,
    exchange: &ShortString,
) -> Result<Result<bool, lapin::Error>, AmqpError> {
    let channel = channel(connection).await?;
    Ok(match declare(&channel, exchange, PASSIVE).await {
        Ok(()) => {
            let _ = channel.close(REPLY_SUCCESS, "looked".into()).await;
            Ok(true)
        }
        Err(error) if code(&error) == Some(NOT_FOUND) => Ok(false),
        Err(error) => Err(error),
    })
}

/// Declares an exchange. Returns whether it was missing before.
async fn ensure(
    connection: &Connection,
    exchange: &ShortString,
    as_written: &str,
) -> Result<bool, AmqpError> {
    let refuse = |error: lapin::Error| about_exchange(as_written, &error);
    let is_missing = !exists(connection, exchange).await?.map_err(refuse)?;
    match declare(&channel(connection).await?, exchange, ACTIVE).await {
        Ok(()) => Ok(is_missing),
        // A user who may not declare it may still publish to an existing one.
        Err(error) if code(&error) == Some(ACCESS_REFUSED) && !is_missing => Ok(false),
        Err(error) => Err(refuse(error)),
    }
}

/// Checks the permission to publish without publishing. RabbitMQ checks the permission first and
/// then the properties, and refuses an expiration that is not a number with 406: nothing is routed.
async fn try_right_to_write(connection: &Connection, exchange: &str) -> Result<(), AmqpError> {
    let channel = channel(connection).await?;
    let select = channel.confirm_select(ConfirmSelectOptions::default()).await;
    select.map_err(|error| away("asking for confirms", &error))?;
    let properties = BasicProperties::default().with_expiration("check".into());
    let options = BasicPublishOptions::default();
    let key = "ghpulse.check".into();
    let sent = channel.basic_publish(name(exchange)?, key, options, b"", properties).await;
    let answered = match sent {
        Ok(sent) => sent.await.map(drop),
        Err(error) => Err(error),
    };
    match answered {
        Err(error) if code(&error) == Some(ACCESS_REFUSED) => {
            Err(no_right_to_write(exchange, &error))
        }
        // Refused for its expiration, or the exchange is not declared yet.
        Err(error) if code(&error).is_some() => Ok(()),
        Err(error) => Err(away("checking the permission to publish", &error)),
        Ok(()) => Ok(()),
    }
}

fn no_right_to_write(exchange: &str, error: &lapin::Error) -> AmqpError {
    let reason = format!(
        "the user of amqp.url may not publish to it: grant the write permission ({})",
        reason(error)
    );
    AmqpError::Exchange { exchange: exchange.to_owned(), reason }
}

fn about_binding(options: &AmqpConfig, source: &str, error: &lapin::Error) -> AmqpError {
    let AmqpConfig { exchange, .. } = options;
    let reason = format!(
        "cannot bind it to `{source}`: the user of amqp.url needs write permission on \
         `{exchange}` and read permission on `{source}` ({})",
        reason(error)
    );
    AmqpError::Exchange { exchange: exchange.clone(), reason }
}

fn about_exchange(exchange: &str, error: &lapin::Error) -> AmqpError {
    let reason = match code(error) {
        Some(PRECONDITION_FAILED) => format!(
            "it exists and is not a durable topic exchange: remove it, or set amqp.exchange to \
             another name ({})",
            reason(error)
        ),
        Some(ACCESS_REFUSED) => format!(
            "the user of amqp.url has no permission on it: grant configure and write ({})",
            reason(error)
        ),
        Some(NOT_FOUND) => "it does not exist, and the user of amqp.url may not declare it: \
                            declare it as a durable topic exchange, or grant the configure \
                            permission"
            .to_owned(),
        _ => return away("declaring the exchange", error),
    };
    AmqpError::Exchange { exchange: exchange.to_owned(), reason }
}

fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(said.get_id()),
        _ => None,
    }
}
