//! A consumer of one topic that receives entries packed and unpacks them itself.
//!
//! The library's own consumer decompresses an entry without a limit and copies its metadata for
//! each of its messages: one message of 600 KB may take 20 GB. So the library only looks up the
//! topic's broker and encodes commands, and this module reads the socket. It reads nothing while a
//! received message has not been returned, so memory is bounded by the limits in [`super::frames`]
//! and [`super::entry`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::{FutureExt as _, Sink as _, Stream as _};
use pulsar::consumer::InitialPosition;
use pulsar::error::ConnectionError;
use pulsar::message::{Message, proto};
use pulsar::proto::base_command::Type;
use pulsar::proto::{BaseCommand, MessageIdData, ServerError};
use pulsar::{BrokerAddress, SubType};
use tokio::task::JoinHandle;
use tokio_util::codec::Framed;

use super::diagnosis::away;
use super::entry::{EntryMessages, PackedEntry, TopicMessage, UnreadableEntry};
use super::error::PulsarError;
use super::frames::{FRAME_BYTES, FrameCodec, PulsarFrame};
use super::link::{Duplex, PulsarLink};

/// Messages that the broker may send ahead; more than any producer puts into one entry.
const AHEAD: u32 = 2_000;
/// The id of the consumer; each connection has one.
const CONSUMER: u64 = 1;
/// The protocol version that is announced to the broker.
const PROTOCOL: i32 = 12;
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

type TokenTask = JoinHandle<Result<String, String>>;

/// A consumer of one topic.
pub(super) struct TopicReader {
    frames: Framed<Box<dyn Duplex>, FrameCodec>,
    /// Commands to be sent.
    outgoing: VecDeque<Message>,
    /// The entry whose messages are being returned.
    messages: Option<EntryMessages>,
    /// The entries after it, and their bytes.
    queue: VecDeque<PackedEntry>,
    queued: usize,
    /// Messages that were returned since the last permits were sent.
    taken: u64,
    requests: u64,
    answer: Option<BaseCommand>,
    has_ended: bool,
    /// A token that is being fetched because the broker asked for a new login.
    token: Option<TokenTask>,
    pub(super) link: Arc<PulsarLink>,
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
        let client = Box::pin(link.client()).await?;
        let found = Box::pin(client.lookup_topic(&link.topic)).await;
        let address = found.map_err(|error| away(doing(), &error))?;
        let stream = link.connect(&address).await?;
        let opening = Self::begin(stream, link, &address, to);
        Box::pin(opening).await.map_err(|error| away(doing(), &error.into()))
    }

    pub(super) async fn begin(
        stream: Box<dyn Duplex>,
        link: &Arc<PulsarLink>,
        address: &BrokerAddress,
        to: &SubscribeOptions,
    ) -> Result<Self, ConnectionError> {
        let mut reader = Self {
            frames: Framed::new(stream, FrameCodec),
            outgoing: VecDeque::new(),
            messages: None,
            queue: VecDeque::new(),
            queued: 0,
            taken: 0,
            requests: 0,
            answer: None,
            has_ended: false,
            token: None,
            link: Arc::clone(link),
        };
        let token = link.token().await.map_err(refused)?;
        let connect = proto::CommandConnect {
            client_version: concat!("ghpulse ", env!("CARGO_PKG_VERSION")).to_owned(),
            protocol_version: Some(PROTOCOL),
            auth_method_name: token.as_ref().map(|_| "token".to_owned()),
            auth_data: token.map(String::into_bytes),
            proxy_to_broker_url: address.proxy.then(|| address.broker_url.clone()),
            feature_flags: Some(proto::FeatureFlags {
                supports_auth_refresh: Some(true),
                ..proto::FeatureFlags::default()
            }),
            ..proto::CommandConnect::default()
        };
        reader.ask(command(Type::Connect, |c| c.connect = Some(connect))).await?;
        let (request_id, consumer_id) = (reader.next_request(), CONSUMER);
        let subscribe = proto::CommandSubscribe {
            topic: link.topic.clone(),
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
        reader.ask(command(Type::Subscribe, |c| c.subscribe = Some(subscribe))).await?;
        reader.grant(AHEAD);
        Ok(reader)
    }

    /// Waits for the next message; `None` when the broker has closed the consumer. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<ReceivedMessage>, ConnectionError> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Asks for the id of the topic's last message.
    pub(super) async fn last_id(&mut self) -> Result<Option<MessageIdData>, ConnectionError> {
        let (request_id, consumer_id) = (self.next_request(), CONSUMER);
        let ask = proto::CommandGetLastMessageId { consumer_id, request_id };
        let answer = self.ask(command(Type::GetLastMessageId, |c| {
            c.get_last_message_id = Some(ask);
        }));
        let answer = answer.await?;
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
        self.outgoing.push_back(command(Type::Ack, |c| c.ack = Some(ack)));
        let _ = std::future::poll_fn(|context| self.poll_send(context)).now_or_never();
    }

    fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// Permits the broker to send this many more messages.
    fn grant(&mut self, message_permits: u32) {
        let flow = proto::CommandFlow { consumer_id: CONSUMER, message_permits };
        self.outgoing.push_back(command(Type::Flow, |c| c.flow = Some(flow)));
    }

    /// Sends a request and waits for the response. Entries that arrive first are queued.
    async fn ask(&mut self, question: Message) -> Result<BaseCommand, ConnectionError> {
        self.answer = None;
        self.outgoing.push_back(question);
        std::future::poll_fn(|context| {
            loop {
                if let Some(answer) = self.answer.take() {
                    return Poll::Ready(Ok(answer));
                }
                if self.has_ended {
                    return Poll::Ready(Err(ConnectionError::Disconnected));
                }
                if self.queued > QUEUED_BYTES {
                    let words =
                        format!("more than {QUEUED_BYTES} bytes of entries before a response");
                    return Poll::Ready(Err(ConnectionError::Decoding(words)));
                }
                ready!(self.poll_take(context))?;
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
            if self.has_ended {
                return Poll::Ready(Ok(None));
            }
            ready!(self.poll_take(context))?;
        }
    }

    /// Sends queued commands and receives one frame.
    fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        if let Some(token) = &mut self.token
            && let Poll::Ready(token) = Pin::new(token).poll(context)
        {
            self.token = None;
            let token = token.unwrap_or_else(|_| Err("the new login was cancelled".to_owned()));
            self.outgoing.push_back(auth_response(token.map_err(refused)?));
        }
        if let Poll::Ready(Err(error)) = self.poll_send(context) {
            return Poll::Ready(Err(error));
        }
        match ready!(Pin::new(&mut self.frames).poll_next(context)) {
            Some(Ok(PulsarFrame::Entry(packed))) => {
                self.queued += packed.content.len();
                self.queue.push_back(packed);
            }
            Some(Ok(PulsarFrame::Command(command))) => self.receive_command(*command)?,
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => self.has_ended = true,
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        while !self.outgoing.is_empty() {
            ready!(Pin::new(&mut self.frames).poll_ready(context))?;
            if let Some(message) = self.outgoing.pop_front() {
                Pin::new(&mut self.frames).start_send(message)?;
            }
        }
        Pin::new(&mut self.frames).poll_flush(context)
    }

    fn receive_command(&mut self, said: BaseCommand) -> Result<(), ConnectionError> {
        if said.ping.is_some() {
            let pong = command(Type::Pong, |c| c.pong = Some(proto::CommandPong {}));
            self.outgoing.push_back(pong);
        } else if let Some(error) = said.error {
            let kind = ServerError::try_from(error.error).ok();
            return Err(ConnectionError::PulsarError(kind, Some(error.message)));
        } else if said.auth_challenge.is_some() {
            let link = Arc::clone(&self.link);
            let asking = async move { link.token().await.map(Option::unwrap_or_default) };
            self.token = Some(tokio::spawn(asking));
        } else if said.close_consumer.is_some() || said.reached_end_of_topic.is_some() {
            self.has_ended = true;
        } else if said.connected.is_some()
            || said.success.is_some()
            || said.get_last_message_id_response.is_some()
        {
            self.answer = Some(said);
        }
        Ok(())
    }
}

fn auth_response(token: String) -> Message {
    let response = proto::CommandAuthResponse {
        client_version: Some(concat!("ghpulse ", env!("CARGO_PKG_VERSION")).to_owned()),
        response: Some(proto::AuthData {
            auth_method_name: Some("token".to_owned()),
            auth_data: Some(token.into_bytes()),
        }),
        protocol_version: Some(PROTOCOL),
    };
    command(Type::AuthResponse, |c| c.auth_response = Some(response))
}

fn refused(words: String) -> ConnectionError {
    ConnectionError::Authentication(pulsar::error::AuthenticationError::Custom(words))
}

fn command(kind: Type, fill: impl FnOnce(&mut BaseCommand)) -> Message {
    let mut command = BaseCommand { r#type: kind as i32, ..BaseCommand::default() };
    fill(&mut command);
    Message { command, payload: None }
}
