//! Door to lapin: one connection, one channel with confirms, and errors in our words. How a broker
//! is reached: `dial.rs`.
//!
//! The library's own recovery is not used: it gives up after some tries and does not bring closed
//! channels back, so a loop of our own is needed anyway, and one is enough.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeBindOptions, ExchangeDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{
    BasicProperties, Channel, Connection, ErrorKind, Event, ExchangeKind, PublisherConfirm,
};
use tokio::sync::Mutex;
use tokio_util::sync::DropGuard;

use super::dial::{Dialled, authority, away, dial, place, reason};
use super::outbound::OutboundMessage;
use super::{AmqpError, AmqpOptions};

/// Not kept on disk by the broker: whoever is away reads on by cursor, from the stream.
const TRANSIENT: u8 = 1;
const REPLY_SUCCESS: u16 = 200;
const CONTENT_TOO_LARGE: u16 = 311;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// How long the broker's reason for closing a channel is waited for.
const REASON: Duration = Duration::from_secs(1);

/// A connection that can be published to.
pub(super) struct BrokerLink {
    connection: Connection,
    channel: Channel,
    /// What is published to.
    target: ShortString,
    /// The readers' exchange: the target, or bound to it.
    public: ShortString,
    /// Whether the readers' exchange was missing and was declared.
    declared: bool,
    /// What the library reports of the connection; the reason of a close is among it.
    events: Mutex<Pin<Box<dyn Stream<Item = Event> + Send>>>,
    /// Last, so that it goes when all has been said.
    _cut: DropGuard,
}

/// A message on its way.
pub(super) struct Unconfirmed(PublisherConfirm);

/// What can be wrong before a broker is asked; where it is otherwise, and the virtual host.
pub(super) fn checked(options: &AmqpOptions) -> Result<(String, String), AmqpError> {
    name(&options.exchange)?;
    options.source.as_deref().map(name).transpose()?;
    authority(options.ca.as_deref())?;
    place(options.url.expose())
}

fn name(exchange: &str) -> Result<ShortString, AmqpError> {
    ShortString::try_new(exchange)
        .map_err(|_| AmqpError::ExchangeName { exchange: exchange.chars().take(80).collect() })
}

impl BrokerLink {
    /// Connects, logs in, and declares what is missing: topic exchanges, durable, the readers'
    /// bound to the source where there is one.
    pub(super) async fn open(options: &AmqpOptions) -> Result<Self, AmqpError> {
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

    /// Whether [`open`](Self::open) found the readers' exchange missing and declared it: bindings
    /// that it had before are gone.
    pub(super) fn has_declared(&self) -> bool {
        self.declared
    }

    /// Looks whether the readers' exchange is still there.
    pub(super) async fn look(&self) -> Result<(), AmqpError> {
        let looking = channel(&self.connection).await?;
        match declare(&looking, &self.public, PASSIVE).await {
            Ok(()) => {
                let _ = looking.close(REPLY_SUCCESS, "looked".into()).await;
                Ok(())
            }
            Err(error) if code(&error) == Some(NOT_FOUND) => {
                Err(AmqpError::Removed { exchange: self.public.to_string() })
            }
            Err(error) => Err(away("looking at the exchange", &error)),
        }
    }

    /// Tries a broker without changing it: what was found.
    pub(super) async fn probe(options: &AmqpOptions) -> Result<&'static str, AmqpError> {
        let exchange = name(&options.exchange)?;
        let Dialled { connection, cut: _cut } = dial(options).await?;
        let looked = declare(&channel(&connection).await?, &exchange, PASSIVE).await;
        let found = match looked {
            Err(error) if code(&error) == Some(NOT_FOUND) => {
                "is not there yet and will be declared"
            }
            Err(error) => return Err(about_exchange(&options.exchange, &error)),
            Ok(()) => {
                // It is there, so this makes nothing, and says whether it is the right one.
                match declare(&channel(&connection).await?, &exchange, ACTIVE).await {
                    Ok(()) => "is there",
                    Err(error) if code(&error) == Some(ACCESS_REFUSED) => {
                        "is there (it may not be declared by this user, so its type is not known)"
                    }
                    Err(error) => return Err(about_exchange(&options.exchange, &error)),
                }
            }
        };
        let target = options.source.as_deref().unwrap_or(&options.exchange);
        try_right_to_write(&connection, target).await?;
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
        let key = ShortString::try_new(message.key.as_str()).expect("keys have 255 bytes at most");
        let (exchange, options) = (self.target.clone(), BasicPublishOptions::default());
        let body = message.body.as_bytes();
        let publishing = self.channel.basic_publish(exchange, key, options, body, properties);
        match publishing.await {
            Ok(sent) => Ok(Unconfirmed(sent)),
            Err(error) => Err(self.why("publishing", error).await),
        }
    }

    /// Waits until the broker has the message.
    pub(super) async fn confirmed(&self, sent: Unconfirmed) -> Result<(), AmqpError> {
        let confirmation = match sent.0.await {
            Ok(confirmation) => confirmation,
            Err(error) => return Err(self.why("waiting for a confirm", error).await),
        };
        if confirmation.is_nack() {
            let (doing, reason) = ("publishing", "the broker says that it lost a message");
            return Err(AmqpError::Away { doing, reason: reason.to_owned() });
        }
        Ok(())
    }

    /// Why publishing failed, in the broker's words. A channel that the broker has closed answers
    /// with its state only; the reason comes as an event of the connection.
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
            Some(CONTENT_TOO_LARGE | PRECONDITION_FAILED) => {
                AmqpError::Refused { reason: reason(&error) }
            }
            Some(ACCESS_REFUSED) => no_right_to_write(exchange, &error),
            Some(NOT_FOUND) => AmqpError::Removed { exchange: exchange.to_owned() },
            _ => away(doing, &error),
        }
    }

    /// Says goodbye; what is not answered is not waited for by who asks with a time limit.
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

/// Declares an exchange; whether it was missing before.
async fn ensure(
    connection: &Connection,
    exchange: &ShortString,
    as_written: &str,
) -> Result<bool, AmqpError> {
    let refuse = |error: lapin::Error| about_exchange(as_written, &error);
    let looked = declare(&channel(connection).await?, exchange, PASSIVE).await;
    let is_missing = match looked {
        Ok(()) => false,
        Err(error) if code(&error) == Some(NOT_FOUND) => true,
        Err(error) => return Err(refuse(error)),
    };
    match declare(&channel(connection).await?, exchange, ACTIVE).await {
        Ok(()) => Ok(is_missing),
        // A user who may not declare it may still publish to one that is there.
        Err(error) if code(&error) == Some(ACCESS_REFUSED) && !is_missing => Ok(false),
        Err(error) => Err(refuse(error)),
    }
}

/// Tries the right to publish without publishing. RabbitMQ looks at the right first and then at
/// the properties, and refuses an expiration that is not a number with 406: nothing is routed.
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
        // Refused for its expiration, or the exchange is still to be declared.
        Err(error) if code(&error).is_some() => Ok(()),
        Err(error) => Err(away("trying the right to publish", &error)),
        Ok(()) => Ok(()),
    }
}

fn no_right_to_write(exchange: &str, error: &lapin::Error) -> AmqpError {
    let reason = format!(
        "the user of amqp.url may not publish to it: give it the right to write ({})",
        reason(error)
    );
    AmqpError::Exchange { exchange: exchange.to_owned(), reason }
}

fn about_binding(options: &AmqpOptions, source: &str, error: &lapin::Error) -> AmqpError {
    let AmqpOptions { exchange, .. } = options;
    let reason = format!(
        "it cannot be bound to `{source}`: the user of amqp.url needs the rights to write to \
         `{exchange}` and to read from `{source}` ({})",
        reason(error)
    );
    AmqpError::Exchange { exchange: exchange.clone(), reason }
}

fn about_exchange(exchange: &str, error: &lapin::Error) -> AmqpError {
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
    AmqpError::Exchange { exchange: exchange.to_owned(), reason }
}

fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(said.get_id()),
        _ => None,
    }
}
