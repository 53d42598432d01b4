//! A consumer of one topic that receives entries packed and unpacks them itself.
//!
//! The library's own consumer decompresses an entry without a limit and copies its metadata for
//! each of its messages: one message of 600 KB may take 20 GB. So the library only encodes and
//! parses commands. This module reads nothing while a received message has not been returned, so
//! memory is bounded by the limits in [`super::frames`] and [`super::entry`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt as _;
use pulsar::SubType;
use pulsar::consumer::InitialPosition;
use pulsar::error::ConnectionError;
use pulsar::message::{Message, proto};
use pulsar::proto::base_command::Type;
use pulsar::proto::{BaseCommand, MessageIdData};

use super::connection::{BrokerConnection, command};
use super::diagnosis::away;
use super::entry::{EntryMessages, PackedEntry, TopicMessage, UnreadableEntry};
use super::error::PulsarError;
use super::frames::{FRAME_BYTES, FrameCodec, PulsarFrame};
use super::link::PulsarLink;
use super::progress::EntryId;

/// Messages that the broker may send ahead; more than any producer puts into one entry.
const AHEAD: u32 = 2_000;
/// The id of the consumer; each connection has one.
const CONSUMER: u64 = 1;
/// Bytes of entries that may arrive before the response to a request.
const QUEUED_BYTES: usize = 2 * FRAME_BYTES;

/// Options of a subscription.
#[derive(Debug, Clone)]
pub(super) struct SubscribeOptions {
    pub(super) name: String,
    /// The consumer's name, which the broker's tools show.
    pub(super) consumer: String,
    /// Whether the broker keeps it while there is no consumer.
    pub(super) is_durable: bool,
    /// Where a new subscription begins.
    pub(super) from: InitialPosition,
}

impl SubscribeOptions {
    /// A subscription for a moment, for this purpose.
    pub(super) fn passing(purpose: &str, from: InitialPosition) -> Self {
        let name = format!("ghpulse-{purpose}-{:016x}", fastrand::u64(..));
        Self { consumer: name.clone(), name, is_durable: false, from }
    }
}

/// A consumer of one topic.
pub(super) struct TopicReader {
    connection: BrokerConnection,
    /// The entry whose messages are being returned.
    messages: Option<EntryMessages>,
    /// The entries after it, and their bytes.
    queue: VecDeque<PackedEntry>,
    queued: usize,
    /// Messages that were returned since the last permits were sent.
    taken: u64,
    answer: Option<BaseCommand>,
    has_ended: bool,
    /// Whether the broker said that the topic was terminated, and everything on it acknowledged.
    /// Requests are answered all the same.
    pub(super) is_terminated: bool,
}

/// A message, or an entry that cannot be unpacked.
pub(super) type ReceivedMessage = Result<TopicMessage, UnreadableEntry>;

impl TopicReader {
    /// Connects to the topic's broker and opens an exclusive subscription.
    pub(super) async fn open(
        link: &Arc<PulsarLink>,
        to: &SubscribeOptions,
    ) -> Result<Self, PulsarError> {
        let doing = || format!("subscribing to {} at {}", link.topic, link.url);
        let address = Box::pin(link.look_up()).await?;
        let connection =
            Box::pin(BrokerConnection::open(link, &address, FrameCodec::ENTRIES)).await?;
        let opening = Self::begin(connection, to);
        Box::pin(opening).await.map_err(|error| away(doing(), &error.into()))
    }

    pub(super) async fn begin(
        connection: BrokerConnection,
        to: &SubscribeOptions,
    ) -> Result<Self, ConnectionError> {
        let mut reader = Self {
            connection,
            messages: None,
            queue: VecDeque::new(),
            queued: 0,
            taken: 0,
            answer: None,
            has_ended: false,
            is_terminated: false,
        };
        let (request_id, consumer_id) = (reader.connection.next_request(), CONSUMER);
        let subscribe = proto::CommandSubscribe {
            topic: reader.link().topic.clone(),
            subscription: to.name.clone(),
            sub_type: SubType::Exclusive as i32,
            consumer_id,
            request_id,
            consumer_name: Some(to.consumer.clone()),
            durable: Some(to.is_durable),
            read_compacted: Some(false),
            initial_position: Some(to.from.clone().into()),
            ..proto::CommandSubscribe::default()
        };
        reader.ask(command(Type::Subscribe, |c| c.subscribe = Some(subscribe)), false).await?;
        reader.grant(AHEAD);
        Ok(reader)
    }

    /// The configured connection.
    pub(super) fn link(&self) -> &Arc<PulsarLink> {
        &self.connection.link
    }

    /// Waits for the next message; `None` when the broker has closed the consumer, or the topic was
    /// terminated. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<ReceivedMessage>, ConnectionError> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Asks for the id of the topic's last message.
    pub(super) async fn last_id(&mut self) -> Result<Option<MessageIdData>, ConnectionError> {
        let (request_id, consumer_id) = (self.connection.next_request(), CONSUMER);
        let ask = proto::CommandGetLastMessageId { consumer_id, request_id };
        let question = command(Type::GetLastMessageId, |c| c.get_last_message_id = Some(ask));
        let answer = self.ask(question, false).await?;
        Ok(answer.get_last_message_id_response.map(|found| found.last_message_id))
    }

    /// Acknowledges everything up to this entry. Does not wait: what the socket does not accept at
    /// once is sent later, and a failure shows at the next read.
    pub(super) fn acknowledge(&mut self, (ledger_id, entry_id): (u64, u64)) {
        let ack = proto::CommandAck {
            consumer_id: CONSUMER,
            ack_type: proto::command_ack::AckType::Cumulative as i32,
            message_id: vec![MessageIdData { ledger_id, entry_id, ..MessageIdData::default() }],
            ..proto::CommandAck::default()
        };
        self.connection.push(command(Type::Ack, |c| c.ack = Some(ack)));
        let _ = std::future::poll_fn(|context| self.connection.poll_send(context)).now_or_never();
    }

    /// Moves the subscription back to this entry, or to the next one that the topic has. The broker
    /// closes the consumer, before or after its response, unless it refuses.
    pub(super) async fn seek(
        &mut self,
        (ledger_id, entry_id): EntryId,
    ) -> Result<(), ConnectionError> {
        let to = MessageIdData { ledger_id, entry_id, ..MessageIdData::default() };
        let seek = proto::CommandSeek {
            consumer_id: CONSUMER,
            request_id: self.connection.next_request(),
            message_id: Some(to),
            ..proto::CommandSeek::default()
        };
        self.ask(command(Type::Seek, |c| c.seek = Some(seek)), true).await.map(|_| ())
    }

    /// Permits the broker to send this many more messages.
    fn grant(&mut self, message_permits: u32) {
        let flow = proto::CommandFlow { consumer_id: CONSUMER, message_permits };
        self.connection.push(command(Type::Flow, |c| c.flow = Some(flow)));
    }

    /// Sends a request and waits for the response, also after the broker has closed the consumer
    /// when it `may_end` by this. Entries that arrive first are queued.
    async fn ask(
        &mut self,
        question: Message,
        may_end: bool,
    ) -> Result<BaseCommand, ConnectionError> {
        self.answer = None;
        self.connection.push(question);
        std::future::poll_fn(|context| {
            loop {
                if let Some(answer) = self.answer.take() {
                    return Poll::Ready(Ok(answer));
                }
                if self.has_ended && !may_end {
                    return Poll::Ready(Err(ConnectionError::Disconnected));
                }
                if self.queued > QUEUED_BYTES {
                    let words =
                        format!("more than {QUEUED_BYTES} bytes of entries before a response");
                    return Poll::Ready(Err(ConnectionError::Decoding(words)));
                }
                if !ready!(self.poll_take(context))? {
                    return Poll::Ready(Err(ConnectionError::Disconnected));
                }
            }
        })
        .await
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<ReceivedMessage>, ConnectionError>> {
        loop {
            if let Some(messages) = &mut self.messages {
                if let Some(received) = messages.next() {
                    return Poll::Ready(Ok(Some(received)));
                }
                self.taken = self.taken.saturating_add(messages.counted);
                self.messages = None;
            }
            if self.taken >= u64::from(AHEAD / 2) {
                // The broker reads a signed number.
                let most = self.taken.min(u64::from(i32::MAX.unsigned_abs()));
                self.grant(u32::try_from(most).unwrap_or(AHEAD));
                self.taken -= most;
            }
            if let Some(packed) = self.queue.pop_front() {
                self.queued = self.queued.saturating_sub(packed.content.len());
                self.messages = Some(packed.unpack());
                continue;
            }
            if self.has_ended || self.is_terminated {
                return Poll::Ready(Ok(None));
            }
            ready!(self.poll_take(context))?;
        }
    }

    /// Sends queued commands and receives one frame. Returns whether the connection is still open.
    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, ConnectionError>> {
        match ready!(self.connection.poll_next(context))? {
            Some(PulsarFrame::Entry(packed)) => {
                self.queued += packed.content.len();
                self.queue.push_back(packed);
            }
            Some(PulsarFrame::Command(command)) => self.receive_command(*command),
            None => {
                self.has_ended = true;
                return Poll::Ready(Ok(false));
            }
        }
        Poll::Ready(Ok(true))
    }

    fn receive_command(&mut self, said: BaseCommand) {
        self.is_terminated |= said.reached_end_of_topic.is_some();
        if said.close_consumer.is_some() {
            self.has_ended = true;
        } else if said.success.is_some() || said.get_last_message_id_response.is_some() {
            self.answer = Some(said);
        }
    }
}
