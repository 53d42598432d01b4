//! Door to lapin: one connection, one channel with confirms, and errors in our words. How a broker
//! is reached: `dial.rs`.
//!
//! The library's own recovery is not used: it gives up after some tries and does not bring closed
//! channels back, so a loop of our own is needed anyway, and one is enough.

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ErrorKind, ExchangeKind, PublisherConfirm};
use tokio_util::sync::DropGuard;

use super::dial::{Dialled, authority, away, dial, place, reason};
use super::outbound::Message;
use super::{AmqpError, AmqpOptions};

/// Not kept on disk by the broker: whoever is away reads on by cursor, from the stream.
const TRANSIENT: u8 = 1;
const REPLY_SUCCESS: u16 = 200;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const PRECONDITION_FAILED: u16 = 406;

/// A connection that can be published to.
pub(super) struct Link {
    connection: Connection,
    channel: Channel,
    exchange: ShortString,
    /// Last, so that it goes when all has been said.
    _cut: DropGuard,
}

/// A message on its way.
pub(super) struct Unconfirmed(PublisherConfirm);

/// What can be wrong before a broker is asked; where it is otherwise, and the virtual host.
pub(super) fn checked(options: &AmqpOptions) -> Result<(String, String), AmqpError> {
    name(&options.exchange)?;
    authority(options.ca.as_deref())?;
    place(options.url.expose())
}

fn name(exchange: &str) -> Result<ShortString, AmqpError> {
    ShortString::try_new(exchange)
        .map_err(|_| AmqpError::ExchangeName { exchange: exchange.chars().take(80).collect() })
}

impl Link {
    /// Connects, logs in, and sees to it that the exchange is there: topic and durable.
    pub(super) async fn open(options: &AmqpOptions) -> Result<Self, AmqpError> {
        let exchange = name(&options.exchange)?;
        let Dialled { connection, cut } = dial(options).await?;
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
        Ok(Self { connection, channel, exchange, _cut: cut })
    }

    /// Tries a broker without changing it: what was found.
    pub(super) async fn probe(options: &AmqpOptions) -> Result<&'static str, AmqpError> {
        let exchange = name(&options.exchange)?;
        let Dialled { connection, cut: _cut } = dial(options).await?;
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

fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(said) => Some(said.get_id()),
        _ => None,
    }
}
