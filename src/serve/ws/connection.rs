//! The life of one WebSocket, in one task.
//!
//! First message, then params in and messages out until either side ends it. The task writes only
//! what it has fetched, and fetches only when all of that has left, so a slow reader holds a few
//! frames that others share and nothing else. Every end that is ours has a close frame that says
//! why, and the connection is kept until the peer has had time to read it.

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::close;
use super::decompressor::{Inflow, Unreadable};
use super::frames::Wire;
use crate::clock::Clock;
use crate::hub::{Frame, MemoryCharge, Notifier, retry_after};
use crate::metrics;
use crate::serve::http::tls::Stream;
use crate::serve::pace::{Allowance, Timer};
use crate::serve::readers::Reader;
use crate::serve::readers::params::BadParams;

/// Small, because there are thousands and clients say little.
const READ_BYTES: usize = 1 << 10;
/// The most bytes that wait inside the library, for its own replies.
const REPLY_BYTES: usize = 16 << 10;
/// Pings, pongs, binary messages and fragments a minute that are read; more end the connection.
const CHATTER_PER_MINUTE: u32 = 600;

const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const NO_TEXT: u16 = 1007;
const POLICY: u16 = 1008;
const TOO_BIG: u16 = 1009;

/// What all sockets of a server have in common.
#[derive(Debug, Clone)]
pub(crate) struct SocketOptions {
    pub(crate) clock: Clock,
    pub(crate) message_bytes: usize,
    pub(crate) params_per_minute: u32,
    pub(crate) write_timeout: Duration,
    pub(crate) ping_every: Duration,
    pub(crate) silence: Duration,
    /// A message is whole within this time of its first byte.
    pub(crate) message_within: Duration,
    /// Ends it politely.
    pub(crate) soft: CancellationToken,
}

/// How it ends.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// The peer is gone or takes nothing.
    Gone,
    /// The peer said goodbye and was answered.
    Answered,
    /// We say goodbye.
    Close(u16, String),
}

struct Socket<R> {
    peer: WebSocketStream<Wire>,
    reader: R,
    notifier: Arc<Notifier>,
    options: SocketOptions,
    /// Whether good params have come.
    asked: bool,
    /// Whether there is more to fetch without the notifier.
    more: bool,
    /// What was fetched and has not left counts for its client.
    charge: Option<MemoryCharge>,
    params: Allowance,
    chatter: Allowance,
    heard_at: Instant,
    pinged_at: Instant,
    beat_at: Instant,
    /// Since when the connection takes nothing, and how much it had taken by then.
    stuck: Option<(Instant, u64)>,
    /// Since when a message is not whole, and its number.
    unfinished: Option<(Instant, u64)>,
    timer: Timer,
}

enum Step {
    Heard(Option<Result<Message, Error>>),
    Chatter,
    Fetch,
    Time,
    Stop,
    Broken,
}

/// Serves one connection until it ends. `early` is what came behind the handshake; `deflates` is
/// whether it was agreed there that messages may be deflated.
pub(crate) async fn serve<R: Reader>(
    stream: Stream,
    early: Vec<u8>,
    deflates: bool,
    mut reader: R,
    notifier: Arc<Notifier>,
    options: SocketOptions,
) {
    let counted = Counted::new(R::NAME);
    let most = options.message_bytes;
    let mut wire = Wire::new(stream, Inflow::new(most, deflates, &early));
    let asked = reader.has_asked();
    if asked {
        wire.inflow().be_lenient();
    }
    if let Some(first) = reader.first() {
        wire.push(first.into());
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(REPLY_BYTES)
        .max_message_size(Some(most))
        .max_frame_size(Some(most));
    let peer = WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).await;
    let now = options.clock.instant();
    let look_at =
        options.ping_every.min(options.silence).min(R::HEARTBEAT.unwrap_or(Duration::MAX));
    let mut socket = Socket {
        peer,
        reader,
        notifier,
        asked,
        more: asked,
        charge: None,
        params: Allowance::new(options.params_per_minute, now),
        chatter: Allowance::new(CHATTER_PER_MINUTE, now),
        heard_at: now,
        pinged_at: now,
        beat_at: now,
        stuck: None,
        unfinished: None,
        timer: Timer::new(options.clock, now + look_at),
        options,
    };
    let ending = socket.live().await;
    tracing::debug!(endpoint = R::NAME, ?ending, "a connection ends");
    drop(counted);
    let wire = socket.peer.get_mut();
    let awaits_reply = match ending {
        Ending::Gone => return,
        Ending::Answered => false,
        Ending::Close(code, reason) => {
            wire.push_last(Frame::close(code, &reason));
            true
        }
    };
    let options = &socket.options;
    close::leave(wire, awaits_reply, options.clock, options.write_timeout).await;
}

impl<R: Reader> Socket<R> {
    async fn live(&mut self) -> Ending {
        let soft = self.options.soft.clone();
        let mut stop = pin!(soft.cancelled());
        loop {
            let next = match poll_fn(|cx| self.poll_step(cx, stop.as_mut())).await {
                Step::Heard(heard) => self.hear(heard),
                Step::Chatter => end_chatter(),
                Step::Fetch => self.fetch(),
                Step::Time => self.look_around(),
                Step::Stop => {
                    let reason = "the server is stopping: connect again in a while";
                    if let Some(frame) = self.reader.bye(reason, retry_after()) {
                        self.peer.get_mut().push(frame.into());
                    }
                    ControlFlow::Break(Ending::Close(GOING_AWAY, reason.to_owned()))
                }
                Step::Broken => ControlFlow::Break(Ending::Gone),
            };
            if let ControlFlow::Break(ending) = next {
                return ending;
            }
        }
    }

    /// The next thing that happens. What the library replies is queued while reading, so writing
    /// comes second; fetching comes third, when all has left.
    fn poll_step(&mut self, cx: &mut Context<'_>, stop: Pin<&mut impl Future>) -> Poll<Step> {
        let heard = self.peer.poll_next_unpin(cx);
        if !self.takes_fragments() {
            return Poll::Ready(Step::Chatter);
        }
        if let Poll::Ready(heard) = heard {
            return Poll::Ready(Step::Heard(heard));
        }
        self.note_unfinished();
        match self.peer.get_mut().poll_drain(cx) {
            Poll::Ready(Err(_)) => return Poll::Ready(Step::Broken),
            Poll::Ready(Ok(())) => {
                self.stuck = None;
                self.charge = None;
                if self.more || self.notifier.poll_notified(cx).is_ready() {
                    return Poll::Ready(Step::Fetch);
                }
            }
            Poll::Pending => self.note_stuck(),
        }
        if stop.poll(cx).is_ready() {
            return Poll::Ready(Step::Stop);
        }
        self.timer.sleep.poll_unpin(cx).map(|()| Step::Time)
    }

    /// Whether the fragments that came are still within what is allowed.
    fn takes_fragments(&mut self) -> bool {
        let fragments = self.peer.get_mut().inflow().take_fragments();
        let now = (fragments > 0).then(|| self.options.clock.instant());
        now.is_none_or(|now| (0..fragments).all(|_| self.chatter.take(now)))
    }

    fn note_unfinished(&mut self) {
        let number = self.peer.get_mut().inflow().unfinished();
        if self.unfinished.map(|(_, number)| number) == number {
            return;
        }
        let now = self.options.clock.instant();
        self.unfinished = number.map(|number| (now, number));
        if number.is_some() {
            self.timer.by(now + self.options.message_within);
        }
    }

    fn note_stuck(&mut self) {
        let written = self.peer.get_ref().written();
        if self.stuck.is_some_and(|(_, before)| before == written) {
            return;
        }
        let now = self.options.clock.instant();
        self.stuck = Some((now, written));
        self.timer.by(now + self.options.write_timeout);
    }

    fn fetch(&mut self) -> ControlFlow<Ending> {
        let taken = self.reader.take();
        self.more = taken.more;
        self.charge = taken.charge;
        if taken.count > 0 {
            metrics::DELIVERIES.add_for(R::NAME, taken.count);
        }
        for message in taken.messages {
            self.peer.get_mut().push(message.into());
        }
        match taken.ended {
            Some((code, reason)) => ControlFlow::Break(Ending::Close(code, reason.to_owned())),
            None => ControlFlow::Continue(()),
        }
    }

    fn hear(&mut self, heard: Option<Result<Message, Error>>) -> ControlFlow<Ending> {
        self.heard_at = self.options.clock.instant();
        match heard {
            Some(Ok(Message::Text(text))) => self.hear_params(&text),
            // The reply to a goodbye is queued by the next look, which then says that this is all.
            Some(Ok(_)) if self.chatter.take(self.heard_at) => {
                self.peer.get_mut().inflow().take_skipped();
                ControlFlow::Continue(())
            }
            Some(Ok(_)) => end_chatter(),
            None | Some(Err(Error::ConnectionClosed)) => ControlFlow::Break(Ending::Answered),
            Some(Err(Error::Capacity(_))) => ControlFlow::Break(self.too_big()),
            // A message that is cut off where it became too long may end within a character.
            Some(Err(Error::Utf8(_))) if self.peer.get_mut().inflow().take_skipped() => {
                ControlFlow::Break(self.too_big())
            }
            Some(Err(Error::Utf8(_))) => {
                ControlFlow::Break(Ending::Close(NO_TEXT, "a text message is not UTF-8".to_owned()))
            }
            Some(Err(Error::Protocol(error))) => {
                let reason = format!("not as RFC 6455 has it: {error}");
                ControlFlow::Break(Ending::Close(PROTOCOL_ERROR, reason))
            }
            Some(Err(Error::Io(error))) => ControlFlow::Break(self.unreadable(&error)),
            Some(Err(_)) => ControlFlow::Break(Ending::Gone),
        }
    }

    /// Reading failed: the connection is gone, or a deflated message is nothing to go on from.
    fn unreadable(&mut self, error: &io::Error) -> Ending {
        match Unreadable::of(error) {
            None => Ending::Gone,
            Some(Unreadable::TooLong) => self.too_big(),
            Some(broken @ Unreadable::Broken) => Ending::Close(NO_TEXT, broken.to_string()),
            Some(mixed @ Unreadable::Mixed) => Ending::Close(PROTOCOL_ERROR, mixed.to_string()),
        }
    }

    fn hear_params(&mut self, text: &str) -> ControlFlow<Ending> {
        if !self.params.take(self.heard_at) {
            metrics::REFUSED.add_for("params_rate", 1);
            let per_minute = self.options.params_per_minute;
            let message = format!(
                "params more than {per_minute} times a minute (server.limits.paramsPerMinute); \
                 send them once, and again only to change them"
            );
            self.complain("too_many_params", &BadParams { field: None, message });
            let reason = "params too often".to_owned();
            return ControlFlow::Break(Ending::Close(POLICY, reason));
        }
        if self.peer.get_mut().inflow().take_skipped() {
            let ending = self.too_big();
            return if self.asked { ControlFlow::Continue(()) } else { ControlFlow::Break(ending) };
        }
        match self.reader.ask(text) {
            Ok(()) => {
                self.asked = true;
                self.more = true;
                self.peer.get_mut().inflow().be_lenient();
                ControlFlow::Continue(())
            }
            Err(bad) => {
                metrics::REFUSED.add_for("invalid_params", 1);
                self.complain("invalid_params", &bad);
                if self.asked {
                    return ControlFlow::Continue(());
                }
                let reason = match bad.field {
                    Some(field) => format!("invalid params: {field}"),
                    None => "invalid params: no JSON object".to_owned(),
                };
                ControlFlow::Break(Ending::Close(POLICY, reason))
            }
        }
    }

    fn too_big(&mut self) -> Ending {
        metrics::REFUSED.add_for("message_bytes", 1);
        let most = self.options.message_bytes;
        let message = format!(
            "a message of more than {most} bytes (server.limits.messageBytes); \
             send shorter params, such as {}",
            R::EXAMPLE
        );
        self.complain("invalid_params", &BadParams { field: None, message });
        Ending::Close(TOO_BIG, format!("a message of more than {most} bytes"))
    }

    fn complain(&mut self, code: &'static str, bad: &BadParams) {
        let complaint = self.reader.diagnostic(code, bad);
        self.peer.get_mut().push(complaint);
    }

    /// The timer has run out: pings, drops the silent, drops who takes nothing.
    fn look_around(&mut self) -> ControlFlow<Ending> {
        let now = self.options.clock.instant();
        let silent_at = self.heard_at + self.options.silence;
        let stuck_at = self.stuck.map(|(since, _)| since + self.options.write_timeout);
        if stuck_at.is_some_and(|at| at <= now) {
            metrics::REFUSED.add_for("write_timeout", 1);
            return ControlFlow::Break(Ending::Gone);
        }
        if silent_at <= now {
            metrics::REFUSED.add_for("silence", 1);
            let reason = "nothing was heard from you, not even a pong".to_owned();
            return ControlFlow::Break(Ending::Close(POLICY, reason));
        }
        let unfinished_at = self.unfinished.map(|(since, _)| since + self.options.message_within);
        if unfinished_at.is_some_and(|at| at <= now) {
            metrics::REFUSED.add_for("message_time", 1);
            let within = self.options.message_within.as_secs();
            let reason = format!("a message was not finished within {within} s");
            return ControlFlow::Break(Ending::Close(POLICY, reason));
        }
        if self.pinged_at + self.options.ping_every <= now {
            self.pinged_at = now;
            // Who takes nothing would only collect pings.
            if self.stuck.is_none() {
                self.peer.get_mut().push(Frame::ping());
            }
        }
        if R::HEARTBEAT.is_some_and(|every| self.beat_at + every <= now) {
            self.beat_at = now;
            if let Some(frame) = self.reader.heartbeat().filter(|_| self.stuck.is_none()) {
                self.peer.get_mut().push(frame.into());
            }
        }
        let ping_at = self.pinged_at + self.options.ping_every;
        let beat_at = R::HEARTBEAT.map(|every| self.beat_at + every);
        let next = [Some(ping_at), Some(silent_at), stuck_at, unfinished_at, beat_at];
        let next = next.into_iter().flatten().min();
        self.timer = Timer::new(self.options.clock, next.unwrap_or(ping_at));
        ControlFlow::Continue(())
    }
}

fn end_chatter() -> ControlFlow<Ending> {
    metrics::REFUSED.add_for("chatter", 1);
    let reason =
        format!("more than {CHATTER_PER_MINUTE} pings, binary messages or fragments a minute");
    ControlFlow::Break(Ending::Close(POLICY, reason))
}

/// One more connection, while it lives.
pub(crate) struct Counted(&'static str);

impl Counted {
    pub(crate) fn new(endpoint: &'static str) -> Self {
        metrics::CONNECTIONS.shift_for(endpoint, 1.0);
        Self(endpoint)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::CONNECTIONS.shift_for(self.0, -1.0);
    }
}
