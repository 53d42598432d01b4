//! One WebSocket connection, in one task.
//!
//! The task sends the first message, then reads parameters and writes messages until either side
//! closes. It takes messages from its [`ClientReader`] only when everything before is written, so a
//! slow client holds a few shared frames and nothing else. Every close frame from here names its
//! reason, and the connection is kept until the peer has had time to read it.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::metrics::Counter;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::close;
use super::decompressor::{Decompressor, MessageError};
use super::frames::FrameStream;
use crate::clock::rate_limit::RateLimit;
use crate::config::ServerLimits;
use crate::hub::{Frame, MemoryCharge, Notifier, retry_after};
use crate::metrics;
use crate::serve::http::admission::ConnectionGauge;
use crate::serve::http::tls::Stream;
use crate::serve::readers::ClientReader;
use crate::serve::readers::params::InvalidParams;
use crate::serve::server::ServerState;
use crate::serve::timer::Timer;

/// Small: there are thousands of connections, and clients send little.
const READ_BYTES: usize = 256;
/// Most bytes of replies that tungstenite buffers.
const REPLY_BYTES: usize = 16 << 10;

/// Batches of messages taken before the connection is read again.
const TAKES: usize = 2;

const GOING_AWAY: u16 = 1001;
const PROTOCOL_ERROR: u16 = 1002;
const NO_TEXT: u16 = 1007;
const POLICY: u16 = 1008;
const TOO_BIG: u16 = 1009;

/// How a connection ends.
#[derive(Debug, PartialEq, Eq)]
enum ConnectionEnd {
    /// The peer disconnected or stopped reading.
    Gone,
    /// The peer sent a close frame, which was answered.
    Answered,
    /// Closed from here, with code and reason.
    Close(u16, String),
}

pub(super) struct Connection<R> {
    counted: ConnectionGauge,
    peer: WebSocketStream<FrameStream>,
    reader: R,
    notifier: Arc<Notifier>,
    /// Wakes the task for anything but messages: see [`Notifier`].
    waker: Waker,
    /// Whether the socket, the timer and the stop signal have to be polled.
    is_woken: bool,
    server: Arc<ServerState>,
    /// Whether valid parameters were received.
    asked: bool,
    /// Whether the reader has more without a notification.
    more: bool,
    /// Charges unwritten messages to the client's memory quota.
    charge: Option<MemoryCharge>,
    deliveries: Counter,
    params: RateLimit,
    chatter: RateLimit,
    heard_at: Instant,
    pinged_at: Instant,
    beat_at: Instant,
    /// Since when no byte was written, and how many were by then.
    stuck: Option<(Instant, u64)>,
    /// Since when a message has been incomplete, and its number.
    unfinished: Option<(Instant, u64)>,
    timer: Timer,
}

enum SocketEvent {
    Received(Option<Result<Message, Error>>),
    Chatter,
    /// Enough was written for one turn; there may be more.
    Written,
    Ended(ConnectionEnd),
    Time,
    Stop,
}

impl<R: ClientReader> Connection<R> {
    /// A connection with its first message queued. `early` is what followed the handshake;
    /// `deflates` is whether permessage-deflate was negotiated.
    pub(super) async fn open(
        stream: Stream,
        early: &[u8],
        deflates: bool,
        mut reader: R,
        notifier: Arc<Notifier>,
        server: Arc<ServerState>,
    ) -> Self {
        let (options, limits) = (&server.options, &server.options.config.limits);
        let most = limits.message_bytes;
        let mut wire = FrameStream::new(stream, Decompressor::new(most, deflates, early));
        let asked = reader.has_asked();
        if asked {
            wire.decompressor.is_strict = false;
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
        let now = server.clock.instant();
        let look_at =
            options.ping_every.min(options.silence).min(R::HEARTBEAT.unwrap_or(Duration::MAX));
        Self {
            counted: ConnectionGauge::new(R::NAME),
            peer,
            reader,
            waker: Waker::from(Arc::clone(&notifier)),
            is_woken: true,
            notifier,
            asked,
            more: asked,
            charge: None,
            deliveries: metrics::DELIVERIES.series(R::NAME),
            params: RateLimit::new(limits.params_per_minute, now),
            chatter: RateLimit::new(options.chatter_per_minute, now),
            heard_at: now,
            pinged_at: now,
            beat_at: now,
            stuck: None,
            unfinished: None,
            timer: Timer::new(server.clock, now + look_at),
            server,
        }
    }

    /// Serves the connection until it ends; `slots` are held until then.
    pub(super) async fn serve(mut self, slots: impl Send) {
        let ending = self.run().await;
        tracing::debug!(endpoint = R::NAME, ?ending, "a connection ends");
        drop(self.counted);
        let wire = self.peer.get_mut();
        let server = &self.server;
        let reply_within = match ending {
            ConnectionEnd::Gone => return,
            ConnectionEnd::Answered => None,
            ConnectionEnd::Close(code, reason) => {
                wire.push_last(Frame::close(code, &reason));
                Some(server.options.reply_within)
            }
        };
        // In memory of its own: a connection lives long and leaves once.
        let timeout = server.options.config.limits.write_timeout;
        let leaving = Box::pin(close::leave(wire, reply_within, server.clock, timeout));
        server.hard.run_until_cancelled(leaving).await;
        drop(slots);
    }

    async fn run(&mut self) -> ConnectionEnd {
        let (soft, hard) = (self.server.soft.clone(), self.server.hard.clone());
        let mut stop = pin!(soft.cancelled());
        let mut cut = pin!(hard.cancelled());
        loop {
            let next = match poll_fn(|cx| self.poll_step(cx, stop.as_mut(), cut.as_mut())).await {
                SocketEvent::Received(message) => self.receive(message),
                SocketEvent::Chatter => self.end_chatter(),
                SocketEvent::Written => ControlFlow::Continue(()),
                SocketEvent::Ended(ending) => ControlFlow::Break(ending),
                SocketEvent::Time => self.check_timeouts(),
                SocketEvent::Stop => {
                    let reason = "the server is stopping: connect again in a while";
                    if let Some(frame) = self.reader.bye(reason, retry_after()) {
                        self.peer.get_mut().push(frame.into());
                    }
                    close_with(GOING_AWAY, reason)
                }
            };
            if let ControlFlow::Break(ending) = next {
                return ending;
            }
        }
    }

    /// The next event. Reading queues tungstenite's replies, so writing comes second; new messages
    /// are taken when everything is written. When only messages have come, everything else stays
    /// unpolled.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        stop: Pin<&mut impl Future>,
        cut: Pin<&mut impl Future>,
    ) -> Poll<SocketEvent> {
        self.notifier.listen(cx);
        self.is_woken |= self.notifier.take_woken();
        let mut other = Context::from_waker(&self.waker);
        if self.is_woken {
            if cut.poll(&mut other).is_ready() {
                return Poll::Ready(SocketEvent::Ended(ConnectionEnd::Gone));
            }
            let heard = self.peer.poll_next_unpin(&mut other);
            if !self.takes_fragments() {
                return Poll::Ready(SocketEvent::Chatter);
            }
            if let Poll::Ready(heard) = heard {
                return Poll::Ready(SocketEvent::Received(heard));
            }
            self.note_unfinished();
        }
        if let Poll::Ready(event) = self.poll_write(cx) {
            return Poll::Ready(event);
        }
        if !self.is_woken {
            return Poll::Pending;
        }
        let mut other = Context::from_waker(&self.waker);
        if stop.poll(&mut other).is_ready() {
            return Poll::Ready(SocketEvent::Stop);
        }
        if self.timer.sleep.poll_unpin(&mut other).is_ready() {
            return Poll::Ready(SocketEvent::Time);
        }
        self.is_woken = false;
        Poll::Pending
    }

    /// Writes what is queued, then takes and writes new messages; pending when there is nothing
    /// to write, or the peer does not read.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        for _ in 0..TAKES {
            match self.peer.get_mut().poll_drain(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(SocketEvent::Ended(ConnectionEnd::Gone)),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => {
                    self.note_stuck();
                    return Poll::Pending;
                }
            }
            self.stuck = None;
            self.charge = None;
            if !self.more && !self.notifier.take_notified() {
                return Poll::Pending;
            }
            if let ControlFlow::Break(ending) = self.fetch() {
                return Poll::Ready(SocketEvent::Ended(ending));
            }
        }
        Poll::Ready(SocketEvent::Written)
    }

    /// Whether the fragments received are within the limit.
    fn takes_fragments(&mut self) -> bool {
        let fragments = self.peer.get_mut().decompressor.take_fragments();
        let now = (fragments > 0).then(|| self.server.clock.instant());
        now.is_none_or(|now| (0..fragments).all(|_| self.chatter.take(now)))
    }

    fn limits(&self) -> &ServerLimits {
        &self.server.options.config.limits
    }

    fn note_unfinished(&mut self) {
        let number = self.peer.get_mut().decompressor.unfinished();
        if self.unfinished.map(|(_, number)| number) == number {
            return;
        }
        let now = self.server.clock.instant();
        self.unfinished = number.map(|number| (now, number));
        if number.is_some() {
            self.timer.by(now + self.server.options.message_within);
        }
    }

    fn note_stuck(&mut self) {
        let written = self.peer.get_ref().written;
        if self.stuck.is_some_and(|(_, before)| before == written) {
            return;
        }
        let now = self.server.clock.instant();
        self.stuck = Some((now, written));
        // The timer may be another one now.
        self.is_woken = true;
        self.timer.by(now + self.limits().write_timeout);
    }

    fn fetch(&mut self) -> ControlFlow<ConnectionEnd> {
        let taken = self.reader.take();
        self.more = taken.more;
        self.charge = taken.charge;
        if taken.count > 0 {
            self.deliveries.increment(taken.count);
        }
        for message in taken.messages {
            self.peer.get_mut().push(message.into());
        }
        match taken.ended {
            Some((code, reason)) => close_with(code, reason),
            None => ControlFlow::Continue(()),
        }
    }

    fn receive(&mut self, heard: Option<Result<Message, Error>>) -> ControlFlow<ConnectionEnd> {
        self.heard_at = self.server.clock.instant();
        match heard {
            Some(Ok(Message::Text(text))) => self.receive_params(&text),
            #[cfg(test)]
            Some(Ok(Message::Binary(bytes))) if self.reader.echoes(&bytes) => {
                self.more = true;
                ControlFlow::Continue(())
            }
            // A close frame from the peer: its reply is queued, and the next read returns
            // `ConnectionClosed`.
            Some(Ok(_)) if self.chatter.take(self.heard_at) => {
                self.peer.get_mut().decompressor.take_skipped();
                ControlFlow::Continue(())
            }
            Some(Ok(_)) => self.end_chatter(),
            None | Some(Err(Error::ConnectionClosed)) => {
                ControlFlow::Break(ConnectionEnd::Answered)
            }
            Some(Err(Error::Capacity(_))) => self.end_too_big(),
            // A message that was cut off at the limit may end within a character.
            Some(Err(Error::Utf8(_))) if self.peer.get_mut().decompressor.take_skipped() => {
                self.end_too_big()
            }
            Some(Err(Error::Utf8(_))) => close_with(NO_TEXT, "a text message is not UTF-8"),
            Some(Err(Error::Protocol(error))) => {
                close_with(PROTOCOL_ERROR, format!("not as RFC 6455 has it: {error}"))
            }
            Some(Err(Error::Io(error))) => match MessageError::of(&error) {
                None => ControlFlow::Break(ConnectionEnd::Gone),
                Some(MessageError::TooLong) => self.end_too_big(),
                Some(broken @ MessageError::Broken) => close_with(NO_TEXT, broken.to_string()),
                Some(mixed @ MessageError::Mixed) => close_with(PROTOCOL_ERROR, mixed.to_string()),
            },
            Some(Err(_)) => ControlFlow::Break(ConnectionEnd::Gone),
        }
    }

    fn receive_params(&mut self, text: &str) -> ControlFlow<ConnectionEnd> {
        if !self.params.take(self.heard_at) {
            metrics::REFUSED.add_for("params_rate", 1);
            let per_minute = self.limits().params_per_minute;
            let message = format!(
                "params more than {per_minute} times a minute (server.limits.paramsPerMinute); \
                 send them once, and again only to change them"
            );
            self.send_diagnostic("too_many_params", &InvalidParams { field: None, message });
            return close_with(POLICY, "params too often");
        }
        if self.peer.get_mut().decompressor.take_skipped() {
            if !self.asked {
                return self.end_too_big();
            }
            let bad = self.count_too_big();
            self.refuse(&bad);
            return ControlFlow::Continue(());
        }
        match self.reader.ask(text) {
            Ok(()) => {
                self.asked = true;
                self.more = true;
                self.peer.get_mut().decompressor.is_strict = false;
                ControlFlow::Continue(())
            }
            Err(bad) => {
                metrics::REFUSED.add_for("invalid_params", 1);
                if self.asked {
                    self.refuse(&bad);
                    return ControlFlow::Continue(());
                }
                self.send_diagnostic("invalid_params", &bad);
                let reason = match bad.field {
                    Some(field) => format!("invalid params: {field}"),
                    None => "invalid params: no JSON object".to_owned(),
                };
                close_with(POLICY, reason)
            }
        }
    }

    fn end_too_big(&mut self) -> ControlFlow<ConnectionEnd> {
        let bad = self.count_too_big();
        self.send_diagnostic("invalid_params", &bad);
        let most = self.limits().message_bytes;
        close_with(TOO_BIG, format!("a message of more than {most} bytes"))
    }

    /// Counts a message that is too long. Returns what is wrong with it.
    fn count_too_big(&self) -> InvalidParams {
        metrics::REFUSED.add_for("message_bytes", 1);
        let most = self.limits().message_bytes;
        let message = format!(
            "a message of more than {most} bytes (server.limits.messageBytes); \
             send shorter params, such as {}",
            R::EXAMPLE
        );
        InvalidParams { field: None, message }
    }

    fn end_chatter(&self) -> ControlFlow<ConnectionEnd> {
        metrics::REFUSED.add_for("chatter", 1);
        let most = self.server.options.chatter_per_minute;
        close_with(POLICY, format!("more than {most} pings, binary messages or fragments a minute"))
    }

    /// Reports invalid parameters on a connection that stays open.
    fn refuse(&mut self, bad: &InvalidParams) {
        match self.reader.refuse(bad) {
            Some(diagnostic) => self.peer.get_mut().push(diagnostic),
            None => self.more = true,
        }
    }

    fn send_diagnostic(&mut self, code: &'static str, bad: &InvalidParams) {
        let diagnostic = self.reader.diagnostic(code, bad);
        self.peer.get_mut().push(diagnostic);
    }

    /// The timer fired: sends a ping or a heartbeat, or closes the connection.
    fn check_timeouts(&mut self) -> ControlFlow<ConnectionEnd> {
        let now = self.server.clock.instant();
        let silent_at = self.heard_at + self.server.options.silence;
        let stuck_at = self.stuck.map(|(since, _)| since + self.limits().write_timeout);
        if stuck_at.is_some_and(|at| at <= now) {
            metrics::REFUSED.add_for("write_timeout", 1);
            return ControlFlow::Break(ConnectionEnd::Gone);
        }
        if silent_at <= now {
            metrics::REFUSED.add_for("silence", 1);
            return close_with(POLICY, "nothing was heard from you, not even a pong");
        }
        let unfinished_at =
            self.unfinished.map(|(since, _)| since + self.server.options.message_within);
        if unfinished_at.is_some_and(|at| at <= now) {
            metrics::REFUSED.add_for("message_time", 1);
            let within = self.server.options.message_within.as_secs();
            return close_with(POLICY, format!("a message was not finished within {within} s"));
        }
        if self.pinged_at + self.server.options.ping_every <= now {
            self.pinged_at = now;
            // They would only accumulate for a client that does not read.
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
        let ping_at = self.pinged_at + self.server.options.ping_every;
        let beat_at = R::HEARTBEAT.map(|every| self.beat_at + every);
        let next = [Some(ping_at), Some(silent_at), stuck_at, unfinished_at, beat_at];
        let next = next.into_iter().flatten().min();
        self.timer = Timer::new(self.server.clock, next.unwrap_or(ping_at));
        ControlFlow::Continue(())
    }
}

/// Ends the connection with a close frame.
fn close_with(code: u16, reason: impl Into<String>) -> ControlFlow<ConnectionEnd> {
    ControlFlow::Break(ConnectionEnd::Close(code, reason.into()))
}
