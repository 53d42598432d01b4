//! A connection to a broker: the login, requests and their responses, pings, and renewed logins.
//!
//! The library's connections wait for as many bytes as the broker announces. This one refuses a
//! frame by its size, so its memory is bounded.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink as _, Stream as _};
use pulsar::error::ConnectionError;
use pulsar::message::{Message, proto};
use pulsar::proto::base_command::Type;
use pulsar::proto::{BaseCommand, ServerError};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::codec::Framed;

use super::diagnosis::{away, rejected_handshake, without_token};
use super::error::PulsarError;
use super::frames::{FrameCodec, PulsarFrame};
use super::link::{PulsarLink, within};
use super::tls::Duplex;
use crate::logging::line_limit::LineLimit;

/// Time limit for a connection: name, connection, TLS and login.
const CONNECT: Duration = Duration::from_secs(10);
/// The protocol version that is announced to the broker.
const PROTOCOL: i32 = 12;
/// The largest message of a broker that names no limit, in bytes: Pulsar's default.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 5 << 20;
/// The least limit that is believed, in bytes: hardly anything could be sent within a smaller one.
const LEAST_MAX_MESSAGE_BYTES: usize = 16 << 10;
/// Lines about brokers with a smaller limit.
static SMALL: LineLimit = LineLimit::per_minute(1);

type TokenTask = JoinHandle<Result<String, String>>;

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokerAddress {
    pub(super) url: String,
    /// `host:port` of the broker that the proxy at `url` has to connect to; `None` without a proxy.
    pub(super) proxied: Option<String>,
}

/// A connection to a broker after the login.
pub(super) struct BrokerConnection {
    frames: Framed<Box<dyn Duplex>, FrameCodec>,
    /// Commands to be sent.
    outgoing: VecDeque<Message>,
    requests: u64,
    /// The token that was sent last; empty without one.
    sent_token: String,
    /// A token that is being fetched because the broker asked for a new login.
    token: Option<TokenTask>,
    /// When the broker last sent something.
    pub(super) heard_at: Instant,
    /// The largest message that the broker accepts, in bytes: `maxMessageSize`.
    pub(super) max_message_bytes: usize,
    pub(super) link: Arc<PulsarLink>,
}

impl BrokerConnection {
    /// Connects, with TLS for `pulsar+ssl`, and logs in.
    pub(super) async fn open(
        link: &Arc<PulsarLink>,
        address: &BrokerAddress,
        codec: FrameCodec,
    ) -> Result<Self, PulsarError> {
        let doing = || format!("connecting to {}", address.url);
        // The issuer has a time limit of its own, and a silent issuer is not a silent broker.
        let token = link.token().await.map_err(|words| away(doing(), &refused(words).into()))?;
        let opening = async {
            let opened = async {
                let stream = link.dial(&address.url).await?;
                Self::log_in(stream, (link, token), address.proxied.clone(), codec).await
            };
            let error = match Box::pin(opened).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            let Some(cause) = rejected_handshake(&error) else {
                return Err(away(doing(), &error.into()));
            };
            link.forget_token().await;
            Err(PulsarError::Away { doing: doing(), why: format!("{} ({cause})", link.advice()) })
        };
        within(CONNECT, doing, opening).await
    }

    /// Logs in on a new stream, with a token where there is one. At the other end is the broker, or
    /// a proxy that has to connect to the broker `proxied`.
    pub(super) async fn log_in(
        stream: Box<dyn Duplex>,
        (link, token): (&Arc<PulsarLink>, Option<String>),
        proxied: Option<String>,
        codec: FrameCodec,
    ) -> Result<Self, ConnectionError> {
        let mut connection = Self {
            frames: Framed::new(stream, codec),
            outgoing: VecDeque::new(),
            requests: 0,
            sent_token: String::new(),
            token: None,
            heard_at: link.clock.instant(),
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            link: Arc::clone(link),
        };
        connection.sent_token = token.clone().unwrap_or_default();
        let connect = proto::CommandConnect {
            client_version: concat!("ghpulse ", env!("CARGO_PKG_VERSION")).to_owned(),
            protocol_version: Some(PROTOCOL),
            auth_method_name: token.as_ref().map(|_| "token".to_owned()),
            auth_data: token.map(String::into_bytes),
            proxy_to_broker_url: proxied,
            feature_flags: Some(proto::FeatureFlags {
                supports_auth_refresh: Some(true),
                ..proto::FeatureFlags::default()
            }),
            ..proto::CommandConnect::default()
        };
        let answer = connection.ask(command(Type::Connect, |c| c.connect = Some(connect))).await?;
        let Some(connected) = &answer.connected else { return Err(unexpected(&answer)) };
        let most = connected.max_message_size.and_then(|most| usize::try_from(most).ok());
        if let Some(most) = most {
            connection.max_message_bytes = most.max(LEAST_MAX_MESSAGE_BYTES);
            if most < LEAST_MAX_MESSAGE_BYTES {
                let least = LEAST_MAX_MESSAGE_BYTES;
                SMALL.log(|left_out| {
                    let words = "the broker's maxMessageSize is too small: it may refuse events";
                    tracing::warn!(most, least, left_out, "{words}; raise it");
                });
            }
        }
        Ok(connection)
    }

    /// The id of a new request.
    pub(super) fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// Queues a command; it is sent by the next poll.
    pub(super) fn push(&mut self, message: Message) {
        self.outgoing.push_back(message);
    }

    /// Sends a request and returns the broker's next command, which is its response while nothing
    /// else was asked for.
    pub(super) async fn ask(&mut self, question: Message) -> Result<BaseCommand, ConnectionError> {
        self.push(question);
        self.next_command().await?.ok_or(ConnectionError::Disconnected)
    }

    /// Sends queued commands and receives the next command that is not answered here; `None` when
    /// the broker has closed the connection. Cancel safe.
    pub(super) async fn next_command(&mut self) -> Result<Option<BaseCommand>, ConnectionError> {
        match std::future::poll_fn(|context| self.poll_next(context)).await? {
            Some(PulsarFrame::Command(command)) => Ok(Some(*command)),
            Some(PulsarFrame::Entry(_)) => {
                let words = "the broker sends an entry that was not asked for".to_owned();
                Err(ConnectionError::Decoding(words))
            }
            None => Ok(None),
        }
    }

    /// Like [`Self::next_command`], for connections on which entries arrive, too.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<PulsarFrame>, ConnectionError>> {
        loop {
            if let Some(token) = &mut self.token
                && let Poll::Ready(token) = Pin::new(token).poll(context)
            {
                self.token = None;
                let token = token.unwrap_or_else(|_| Err("the new login was cancelled".to_owned()));
                self.sent_token = token.map_err(refused)?;
                self.push(auth_response(self.sent_token.clone()));
            }
            if let Poll::Ready(Err(error)) = self.poll_send(context) {
                return Poll::Ready(Err(error));
            }
            let received = ready!(Pin::new(&mut self.frames).poll_next(context)).transpose()?;
            self.heard_at = self.link.clock.instant();
            match received {
                Some(PulsarFrame::Command(mut said)) => {
                    self.hide_token(&mut said);
                    if !self.answer(&said)? {
                        return Poll::Ready(Ok(Some(PulsarFrame::Command(said))));
                    }
                }
                received => return Poll::Ready(Ok(received)),
            }
        }
    }

    /// Sends queued commands.
    pub(super) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), ConnectionError>> {
        while !self.outgoing.is_empty() {
            ready!(Pin::new(&mut self.frames).poll_ready(context))?;
            if let Some(message) = self.outgoing.pop_front() {
                Pin::new(&mut self.frames).start_send(message)?;
            }
        }
        Pin::new(&mut self.frames).poll_flush(context)
    }

    /// Replaces the token in the broker's texts, which errors quote.
    fn hide_token(&self, said: &mut BaseCommand) {
        let found = said.lookup_topic_response.as_mut().and_then(|found| found.message.as_mut());
        let partitions = said.partition_metadata_response.as_mut();
        let texts = [
            said.error.as_mut().map(|error| &mut error.message),
            said.send_error.as_mut().map(|error| &mut error.message),
            found,
            partitions.and_then(|partitions| partitions.message.as_mut()),
        ];
        for text in texts.into_iter().flatten() {
            *text = without_token(text, &self.sent_token);
        }
    }

    /// Answers what every connection answers alike; returns whether the command was of that kind.
    fn answer(&mut self, said: &BaseCommand) -> Result<bool, ConnectionError> {
        if let Some(error) = &said.error {
            let kind = ServerError::try_from(error.error).ok();
            return Err(ConnectionError::PulsarError(kind, Some(error.message.clone())));
        }
        if said.auth_challenge.is_some() {
            if self.token.is_none() {
                let link = Arc::clone(&self.link);
                let asking = async move { link.token().await.map(Option::unwrap_or_default) };
                self.token = Some(tokio::spawn(asking));
            }
            return Ok(true);
        }
        // While the broker does not read, it gets no further pongs, which would pile up here.
        if said.ping.is_some() && self.outgoing.is_empty() {
            self.push(command(Type::Pong, |c| c.pong = Some(proto::CommandPong {})));
        }
        Ok(said.ping.is_some() || said.pong.is_some())
    }
}

/// A command of this kind, with the content that `fill` sets.
pub(super) fn command(kind: Type, fill: impl FnOnce(&mut BaseCommand)) -> Message {
    let mut command = BaseCommand { r#type: kind as i32, ..BaseCommand::default() };
    fill(&mut command);
    Message { command, payload: None }
}

/// The error of a response to something that was not asked.
pub(super) fn unexpected(said: &BaseCommand) -> ConnectionError {
    let kind = Type::try_from(said.r#type).map_or("an unknown command", |kind| kind.as_str_name());
    ConnectionError::Unexpected(format!("the broker answers with {kind}"))
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
