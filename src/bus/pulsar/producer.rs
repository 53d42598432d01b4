//! A producer of the topic on its own connection, which a task serves: a broker closes
//! connections that do not answer its pings. The task sends pings, too, so that a connection that
//! went silent is noticed before the next message is sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut as _;
use prost::Message as _;
use pulsar::error::ConnectionError;
use pulsar::message::{Message, Payload, proto};
use pulsar::proto::base_command::Type;
use pulsar::proto::{BaseCommand, ServerError};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::connection::{BrokerConnection, command, unexpected};
use super::diagnosis::{away, is_taken};
use super::entry::pack;
use super::error::PulsarError;
use super::frames::FrameCodec;
use super::link::PulsarLink;
use super::progress::EntryId;
use crate::model::message::{AFTER, GAP, Outgoing, SIMULATED, SIMULATED_VALUE};

/// The id of the producer; each connection has one.
const PRODUCER: u64 = 1;

/// Bytes of a batch that its own metadata may take: little more than the producer's name.
const BATCH_METADATA: usize = 1 << 10;
/// The most bytes of a message's metadata in a batch, without its key and the values of
/// [`Outgoing::properties`]: lengths, names of properties, and the values of `gap`, `after` and
/// `simulated`.
const MESSAGE_METADATA: usize = 512;

/// Time between two pings.
const PING: Duration = Duration::from_secs(20);
/// Time without anything from the broker after which the connection is given up.
const SILENT: Duration = Duration::from_secs(40);

/// What a producer has to share the topic with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccessMode {
    /// Any number of producers.
    Shared = 0,
    /// It is the only one, and does not wait for another one to leave.
    Exclusive = 1,
    /// It is the only one, and fences off the current one.
    ExclusiveWithFencing = 3,
}

/// A producer of the topic. It sends one batch at a time. Dropping it closes the connection.
pub(super) struct TopicProducer {
    link: Arc<PulsarLink>,
    requests: mpsc::Sender<ProducerRequest>,
    /// The name that the broker has given.
    name: String,
    schema_version: Option<Vec<u8>>,
    /// The largest entry that the broker accepts, in bytes.
    max_message_bytes: usize,
    /// The number of the next batch.
    sequence: u64,
    /// The id of the request that closes it.
    closing: u64,
    /// Why the connection ended while no response was waited for.
    ended: oneshot::Receiver<ConnectionError>,
    _serving: AbortOnDropHandle<()>,
}

/// Why a batch was not sent, or is not known to be stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsent {
    /// It is larger than the broker accepts. The producer can be used further.
    #[error("{bytes} bytes are more than the broker accepts in a message ({limit})")]
    TooLarge {
        /// Its bytes, packed.
        bytes: usize,
        /// The broker's limit, in bytes.
        limit: usize,
    },
    /// The connection failed.
    #[error(transparent)]
    Lost(#[from] ConnectionError),
}

/// A command whose response is waited for.
struct ProducerRequest {
    message: Box<Message>,
    settled_by: ProducerResponse,
    settled: oneshot::Sender<Result<Option<EntryId>, ConnectionError>>,
}

/// A response that settles a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProducerResponse {
    /// The receipt of the batch with this number.
    Receipt(u64),
    /// The producer is closed.
    Closed,
}

impl TopicProducer {
    /// Connects to the topic's broker and opens a producer; `None` when another one has the topic.
    pub(super) async fn open(
        link: &Arc<PulsarLink>,
        access: AccessMode,
    ) -> Result<Option<Self>, PulsarError> {
        let address = Box::pin(link.look_up()).await?;
        let mut connection =
            Box::pin(BrokerConnection::open(link, &address, FrameCodec::COMMANDS)).await?;
        let producer = proto::CommandProducer {
            topic: link.topic.clone(),
            producer_id: PRODUCER,
            request_id: connection.next_request(),
            producer_access_mode: Some(access as i32),
            ..proto::CommandProducer::default()
        };
        let question = command(Type::Producer, |c| c.producer = Some(producer));
        let answer = match connection.ask(question).await.map_err(pulsar::Error::from) {
            Ok(answer) => answer,
            Err(error) if is_taken(&error) => return Ok(None),
            Err(error) => return Err(away(link.producing(), &error)),
        };
        let Some(granted) = answer.producer_success else {
            return Err(away(link.producing(), &unexpected(&answer).into()));
        };
        if !granted.producer_ready() {
            return Ok(None);
        }
        let (requests, received) = mpsc::channel(1);
        let (ending, ended) = oneshot::channel();
        Ok(Some(Self {
            link: Arc::clone(link),
            requests,
            name: granted.producer_name,
            schema_version: granted.schema_version,
            max_message_bytes: connection.max_message_bytes,
            sequence: 0,
            closing: connection.next_request(),
            ended,
            _serving: AbortOnDropHandle::new(tokio::spawn(serve(connection, received, ending))),
        }))
    }

    /// Splits messages into batches within the limit of the broker; a message that is larger alone
    /// is a batch of its own.
    pub(super) fn batches(&self, messages: Vec<Outgoing>) -> Vec<Vec<Outgoing>> {
        batches(messages, self.max_message_bytes)
    }

    /// Sends messages as one entry of the topic, and waits for the broker's receipt. Returns that
    /// entry, or `None` when the receipt does not name it.
    pub(super) async fn send(&mut self, batch: Vec<Outgoing>) -> Result<Option<EntryId>, Unsent> {
        let number = self.sequence;
        let entry = self.entry(number, batch)?;
        self.sequence += 1;
        Ok(self.request(entry, ProducerResponse::Receipt(number)).await?)
    }

    /// The command that sends messages as one entry.
    fn entry(&self, sequence_id: u64, messages: Vec<Outgoing>) -> Result<Box<Message>, Unsent> {
        let count = i32::try_from(messages.len()).ok();
        let batch = batch_of(messages)?;
        let uncompressed = u32::try_from(batch.len()).ok();
        let (compression, data) =
            pack(self.link.compression, batch).map_err(ConnectionError::from)?;
        let bytes = data.len() + BATCH_METADATA;
        if bytes > self.max_message_bytes {
            return Err(Unsent::TooLarge { bytes, limit: self.max_message_bytes });
        }
        let millis = u64::try_from(self.link.clock.now().micros() / 1_000).unwrap_or(0);
        let metadata = proto::MessageMetadata {
            producer_name: self.name.clone(),
            sequence_id,
            publish_time: millis,
            compression: compression.map(|compression| compression as i32),
            uncompressed_size: uncompressed.filter(|_| compression.is_some()),
            num_messages_in_batch: count,
            schema_version: self.schema_version.clone(),
            ..proto::MessageMetadata::default()
        };
        let send = proto::CommandSend {
            producer_id: PRODUCER,
            sequence_id,
            num_messages: count,
            ..proto::CommandSend::default()
        };
        let mut message = command(Type::Send, |c| c.send = Some(send));
        message.payload = Some(Payload { metadata, data });
        Ok(Box::new(message))
    }

    /// Waits until the connection ends while nothing is sent, and returns the reason. Cancel safe;
    /// the producer must not be used afterwards.
    pub(super) async fn ended(&mut self) -> ConnectionError {
        (&mut self.ended).await.unwrap_or(ConnectionError::Disconnected)
    }

    /// Gives the topic back.
    pub(super) async fn close(mut self) -> Result<(), ConnectionError> {
        let close = proto::CommandCloseProducer { producer_id: PRODUCER, request_id: self.closing };
        let message = command(Type::CloseProducer, |c| c.close_producer = Some(close));
        self.request(Box::new(message), ProducerResponse::Closed).await.map(|_| ())
    }

    async fn request(
        &mut self,
        message: Box<Message>,
        settled_by: ProducerResponse,
    ) -> Result<Option<EntryId>, ConnectionError> {
        let (settled, outcome) = oneshot::channel();
        let request = ProducerRequest { message, settled_by, settled };
        // When it is not sent any more, its `settled` is dropped.
        let _ = self.requests.send(request).await;
        match outcome.await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.ended.try_recv().unwrap_or(ConnectionError::Disconnected)),
        }
    }
}

/// Sends requests, one at a time, and pings, until one fails. The reason of the failure goes to the
/// request that waits, or to `ending`.
async fn serve(
    mut connection: BrokerConnection,
    mut requests: mpsc::Receiver<ProducerRequest>,
    ending: oneshot::Sender<ConnectionError>,
) {
    let clock = connection.link.clock;
    let mut ping_at = clock.instant() + PING;
    let mut sent: Option<(ProducerResponse, oneshot::Sender<_>)> = None;
    let error = loop {
        let wake_at = ping_at.min(connection.heard_at + SILENT);
        tokio::select! {
            // What has arrived is received before the silence is measured.
            biased;
            request = requests.recv(), if sent.is_none() => {
                let Some(request) = request else { return };
                connection.push(*request.message);
                sent = Some((request.settled_by, request.settled));
            }
            said = connection.next_command() => {
                let said = match said {
                    Ok(Some(said)) => said,
                    Ok(None) => break ConnectionError::Disconnected,
                    Err(error) => break error,
                };
                match outcome(said) {
                    Err(error) => break error,
                    Ok(settled) => {
                        // A receipt may arrive twice.
                        let Some((response, stored)) = settled else { continue };
                        if let Some((_, done)) = sent.take_if(|sent| response == sent.0) {
                            let _ = done.send(Ok(stored));
                        }
                    }
                }
            }
            () = clock.sleep_until(Some(wake_at)) => {
                let now = clock.instant();
                if now >= connection.heard_at + SILENT {
                    let words = format!("the broker has sent nothing for {} s", SILENT.as_secs());
                    break ConnectionError::Io(std::io::Error::other(words));
                }
                if now >= ping_at {
                    ping_at = now + PING;
                    connection.push(command(Type::Ping, |c| c.ping = Some(proto::CommandPing {})));
                }
            }
        }
    };
    drop(connection);
    match sent {
        Some((_, waiting)) => drop(waiting.send(Err(error))),
        None => drop(ending.send(error)),
    }
}

/// The response in a command of the broker, and the entry that a receipt names.
fn outcome(
    said: BaseCommand,
) -> Result<Option<(ProducerResponse, Option<EntryId>)>, ConnectionError> {
    if let Some(error) = said.send_error {
        let kind = ServerError::try_from(error.error).ok();
        return Err(ConnectionError::PulsarError(kind, Some(error.message)));
    }
    if said.close_producer.is_some() {
        let words = "the broker closed the producer: the topic was unloaded, moved or taken";
        return Err(ConnectionError::Io(std::io::Error::other(words)));
    }
    if let Some(receipt) = said.send_receipt {
        let stored = receipt.message_id.map(|id| (id.ledger_id, id.entry_id));
        // A batch that the broker has already is at -1, as unsigned numbers.
        let stored = stored.filter(|id| id.0.cast_signed() >= 0 && id.1.cast_signed() >= 0);
        return Ok(Some((ProducerResponse::Receipt(receipt.sequence_id), stored)));
    }
    Ok(said.success.map(|_| (ProducerResponse::Closed, None)))
}

/// Splits messages into batches of up to `most` bytes; a larger message is a batch of its own.
fn batches(messages: Vec<Outgoing>, most: usize) -> Vec<Vec<Outgoing>> {
    let most = most.saturating_sub(BATCH_METADATA);
    let (mut batches, mut bytes) = (Vec::<Vec<Outgoing>>::new(), 0_usize);
    for message in messages {
        let values = message.properties.iter().map(|(_, value)| value).chain(&message.key);
        let values: usize = values.map(String::len).sum();
        let taken = message.body.len() + values + MESSAGE_METADATA;
        bytes = bytes.saturating_add(taken);
        if let Some(batch) = batches.last_mut().filter(|_| bytes <= most) {
            batch.push(message);
        } else {
            bytes = taken;
            batches.push(vec![message]);
        }
    }
    batches
}

/// The messages of a batch, each behind its metadata.
fn batch_of(messages: Vec<Outgoing>) -> Result<Vec<u8>, ConnectionError> {
    let too_large = |_| ConnectionError::Encoding("a message is larger than 2 GiB".to_owned());
    let mut batch = Vec::with_capacity(messages.iter().map(|message| message.body.len()).sum());
    for message in messages {
        let outage = message.outage.map(|outage| (GAP, outage.property()));
        let after = message.after.map(|after| (AFTER, after.to_string()));
        let simulated = message.simulated.then(|| (SIMULATED, SIMULATED_VALUE.to_owned()));
        let properties = message.properties.into_iter().chain(outage).chain(after).chain(simulated);
        let metadata = proto::SingleMessageMetadata {
            properties: properties
                .map(|(name, value)| proto::KeyValue { key: name.to_owned(), value })
                .collect(),
            partition_key: message.key,
            payload_size: i32::try_from(message.body.len()).map_err(too_large)?,
            ..proto::SingleMessageMetadata::default()
        };
        batch.put_u32(u32::try_from(metadata.encoded_len()).map_err(too_large)?);
        metadata.encode(&mut batch)?;
        batch.put_slice(message.body.as_bytes());
    }
    Ok(batch)
}

#[cfg(test)]
pub(super) mod tests;
