//! Publishes events to RabbitMQ: feeds a topic exchange from the journal.
//!
//! A stage with its own cursor. It reads the journal behind the cursor, publishes with confirms in
//! a bounded window, and advances the cursor to the last confirmed event. After a restart or an
//! outage of the broker it continues there: at least once, with the same message ids. The journal
//! is retained for it up to the journal's byte limit; events beyond that are reported as a gap. No
//! other stage waits for the broker, which may be unavailable for days.
//!
//! Only `link.rs`, `dial.rs` and `checked_stream.rs` use lapin.

mod checked_stream;
mod dial;
mod error;
mod frames;
mod link;
mod outbound;
mod state;
mod window;

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::AmqpConfig;
use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::envelope::Envelope;
use crate::model::position::{BusTag, Cursor, Position};
use crate::store::journal::JournalItem;
use crate::store::{Batch, Reader, Store, StoreError, rejects};
pub use error::AmqpError;
use link::{AmqpLink, Unconfirmed};
use outbound::{OutboundMessage, messages};
use state::Reporter;
pub use state::{LinkState, ReaderWarning, ReaderWarningKind, SinkState};
use window::ConfirmWindow;

/// Name of the cursor: everything up to it is confirmed.
pub const CURSOR: &str = "amqp";

/// The most events of one read.
const PAGE_EVENTS: usize = 256;
/// The most bytes of events of one read; one event always fits.
const PAGE_BYTES: usize = 4 << 20;
/// How often a changed cursor is stored.
const STORE_EVERY: Duration = Duration::from_secs(1);
/// How often an idle connection is checked.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// Time limit for an answer of the broker.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Time limit for connecting.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Time limit for closing a connection.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// Backoff between two attempts to connect.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const MOST_WAIT: Duration = Duration::from_secs(30);
/// Refusals of a message that are followed by the next connection at once, in each period.
const REFUSALS: u32 = 10;
const REFUSALS_WITHIN: Duration = Duration::from_secs(60);
/// Lines that say that RabbitMQ fails.
static FAILING: LineLimit = LineLimit::per_minute(4);
/// Lines that say that it is connected, as after each refusal.
static CONNECTED: LineLimit = LineLimit::per_minute(4);
/// Lines about messages that RabbitMQ refuses.
static REFUSED: LineLimit = LineLimit::per_minute(10);

/// The stage that publishes.
pub struct Sink {
    store: Store,
    tag: BusTag,
    options: AmqpConfig,
    clock: Clock,
    reporter: Reporter,
}

/// Why publishing stopped.
enum PublishFailure {
    Asked,
    Store(StoreError),
    Broker(AmqpError),
    /// The broker closed the channel because of a message, for this reason: the next connection
    /// identifies it, or skips it.
    Refused(String),
}

impl From<StoreError> for PublishFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Publishing over one connection.
struct Session<'a> {
    sink: &'a Sink,
    link: AmqpLink,
    progress: &'a mut Progress,
    backoff: &'a mut Backoff,
    stop: &'a CancellationToken,
}

struct Progress {
    /// Everything up to here is read and published, or about to be.
    read: Position,
    confirmed: Position,
    stored: Option<Position>,
    stored_at: tokio::time::Instant,
    checked_at: tokio::time::Instant,
    /// Whether the exchange was fed before: if it is missing now, it was removed.
    has_fed: bool,
    /// Up to here messages are published one by one, because the broker refused one of them.
    careful_to: Option<Position>,
    /// Ids of refused messages of the event that is being published.
    refused: Vec<String>,
    /// When the first refusal of this period was, and how many there were.
    refusals: Option<(tokio::time::Instant, u32)>,
}

impl Progress {
    /// Counts a refusal. Returns whether the next connection has to wait, as after other failures.
    fn waits_after_refusal(&mut self, now: tokio::time::Instant) -> bool {
        let period =
            self.refusals.filter(|(began, _)| now.duration_since(*began) < REFUSALS_WITHIN);
        let (began, refusals) = period.unwrap_or((now, 0));
        self.refusals = Some((began, refusals.saturating_add(1)));
        refusals >= REFUSALS
    }
}

/// A batch of events behind a position.
struct JournalBatch {
    events: Vec<(Position, Vec<OutboundMessage>)>,
    /// The last event behind that position that retention dropped.
    lost: Option<Position>,
}

impl Sink {
    /// Creates the stage for the journal of the bus with this tag.
    pub fn new(
        store: Store,
        tag: BusTag,
        options: AmqpConfig,
        clock: Clock,
    ) -> Result<Self, AmqpError> {
        let (broker, vhost) = link::checked(&options)?;
        let feeds = format!("exchange `{}` at {broker}, virtual host `{vhost}`", options.exchange);
        let reporter = Reporter::new(feeds, clock);
        Ok(Self { store, tag, options, clock, reporter })
    }

    /// Subscribes to the state.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SinkState> {
        self.reporter.state.subscribe()
    }

    /// Publishes until `stop`. Returns an error only when the store fails.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut progress = self.begin().await?;
        let mut backoff = Backoff::new(FIRST_WAIT, MOST_WAIT);
        loop {
            let failure = Box::pin(self.feed(&mut progress, &mut backoff, &stop)).await;
            let now = self.clock.instant();
            let wait = match failure {
                PublishFailure::Asked => return Ok(()),
                PublishFailure::Store(error) => return Err(error.into()),
                PublishFailure::Refused(reason) => {
                    self.reporter.report_refusal(&reason);
                    if !progress.waits_after_refusal(now) {
                        continue;
                    }
                    backoff.next_wait()
                }
                PublishFailure::Broker(error) => {
                    let wait = backoff.next_wait();
                    self.report_failure(&error, wait);
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    fn report_failure(&self, error: &AmqpError, wait: Duration) {
        self.reporter.report(LinkState::Down, Some(error.to_string()));
        let again_in = format!("{:.1} s", wait.as_secs_f64());
        if error.is_transient() {
            FAILING.log(|left_out| {
                let words = "RabbitMQ is unavailable; reconnecting";
                tracing::warn!(%error, again_in, left_out, "{words}");
            });
        } else {
            FAILING.log(|left_out| {
                let words = "cannot publish to RabbitMQ; retrying";
                tracing::error!(%error, again_in, left_out, "{words}");
            });
        }
    }

    /// Reads where to continue. Stores a cursor at once, so that the journal is retained from
    /// there.
    async fn begin(&self) -> Result<Progress, StoreError> {
        let tag = self.tag;
        let read = move |reader: Reader<'_>| {
            let (last, kept) = (reader.cursor(CURSOR)?, reader.cursor_on(CURSOR, tag)?);
            Ok((last, kept, reader.applied_on(tag)?))
        };
        let (last, kept, applied) = self.store.read(read).await?;
        let is_other = last.is_some_and(|last| last.tag != tag);
        if is_other {
            let text = "the bus was changed: events still unpublished on the previous bus are not \
                        published";
            self.reporter.notice(ReaderWarningKind::Gap, text.to_owned());
        }
        let (position, is_kept) = match kept {
            // This bus was in use before: continue at its cursor.
            Some(cursor) => (cursor.position, !is_other),
            None if is_other => (Position::default(), false),
            // The first start: begin with new events, not with the whole journal.
            None => (applied.map(|cursor| cursor.position).unwrap_or_default(), false),
        };
        let mut progress = Progress {
            read: position,
            confirmed: position,
            stored: is_kept.then_some(position),
            stored_at: self.clock.instant(),
            checked_at: self.clock.instant(),
            has_fed: is_kept,
            careful_to: None,
            refused: Vec::new(),
            refusals: None,
        };
        self.store_cursor(&mut progress).await?;
        Ok(progress)
    }

    /// Connects and publishes until an error occurs or `stop` is cancelled.
    async fn feed(
        &self,
        progress: &mut Progress,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> PublishFailure {
        let opened = tokio::select! {
            () = stop.cancelled() => return PublishFailure::Asked,
            opened = AmqpLink::open(&self.options) => opened,
            () = self.clock.sleep(CONNECT_WITHIN) => Err(no_answer("connecting", CONNECT_WITHIN)),
        };
        let link = match opened {
            Ok(link) => link,
            Err(error) => return PublishFailure::Broker(error),
        };
        self.reporter.report(LinkState::Up, None);
        CONNECTED.log(|left_out| {
            let state = self.reporter.state.borrow();
            tracing::info!(feeds = state.feeds, left_out, "RabbitMQ connected");
        });
        if link.declared && progress.has_fed {
            let text = format!(
                "exchange `{}` was removed and has been declared again: all bindings to it are \
                 lost, and each reader must bind again",
                self.options.exchange
            );
            self.reporter.notice(ReaderWarningKind::Removed, text);
        }
        progress.has_fed = true;
        // Unconfirmed messages are published again.
        progress.read = progress.confirmed;
        let mut session = Session { sink: self, link, progress, backoff, stop };
        let failure = match Box::pin(session.publish()).await {
            Ok(never) => match never {},
            Err(PublishFailure::Broker(AmqpError::Refused { reason })) => {
                let what = "RabbitMQ refused a message; publishing one by one to find it";
                REFUSED.log(|left_out| tracing::warn!(reason, left_out, "{what}"));
                session.progress.careful_to = Some(session.progress.read);
                PublishFailure::Refused(reason)
            }
            Err(failure) => failure,
        };
        let Session { link, progress, .. } = session;
        let kept = self.store_cursor(progress).await;
        tokio::select! {
            () = link.close() => {}
            () = self.clock.sleep(CLOSE_WITHIN) => {}
        }
        kept.map_or_else(PublishFailure::Store, |()| failure)
    }

    /// Stores a refused message in the reject log, and reports it.
    async fn set_aside(
        &self,
        position: Position,
        message: &OutboundMessage,
        reason: &str,
    ) -> Result<(), StoreError> {
        let reason = format!(
            "RabbitMQ refused message {} ({}, {} bytes) of cursor {}: {reason}",
            message.id,
            message.key.as_str(),
            message.body.len(),
            self.cursor(position)
        );
        let now = self.clock.now();
        let (text, body) = (reason.clone(), message.body.clone());
        let put = move |batch: &mut Batch<'_>| rejects::keep(batch, now, &text, body.as_bytes());
        self.store.commit(put).await?;
        let text = format!("{reason}; see `ghpulse inspect rejects`");
        self.reporter.notice(ReaderWarningKind::Refused, text);
        Ok(())
    }

    async fn page(&self, after: Position) -> Result<JournalBatch, StoreError> {
        let tag = self.tag;
        let read = move |reader: Reader<'_>| {
            let journal = reader.journal(tag)?;
            let mut lost = journal.dropped().filter(|dropped| *dropped > after);
            let (mut events, mut bytes) = (Vec::new(), 0);
            journal.walk_behind(after, |step| {
                let (position, messages) = match step {
                    JournalItem::Event(position, row) => {
                        bytes += row.event.len();
                        let envelope = Envelope { facts: row.facts, event: row.event.into() };
                        (position, messages(&envelope))
                    }
                    // Nothing is published; the cursor moves past it.
                    JournalItem::LeftOut(position, _) => (position, Vec::new()),
                    // Events that were read before it are published first.
                    JournalItem::Damaged(_) if !events.is_empty() => return Ok(false),
                    JournalItem::Damaged(up_to) => {
                        lost = lost.max(Some(up_to));
                        return Ok(true);
                    }
                };
                events.push((position, messages));
                Ok(events.len() < PAGE_EVENTS && bytes < PAGE_BYTES)
            })?;
            Ok(JournalBatch { events, lost })
        };
        self.store.read(read).await
    }

    /// Stores the cursor if everything before it is confirmed.
    async fn store_cursor(&self, progress: &mut Progress) -> Result<(), StoreError> {
        progress.stored_at = self.clock.instant();
        if progress.stored == Some(progress.confirmed) {
            return Ok(());
        }
        let cursor = self.cursor(progress.confirmed);
        let put = move |batch: &mut Batch<'_>| batch.put_cursor(CURSOR, cursor);
        self.store.commit(put).await?;
        progress.stored = Some(progress.confirmed);
        Ok(())
    }

    fn cursor(&self, position: Position) -> Cursor {
        Cursor { tag: self.tag, position }
    }
}

impl Session<'_> {
    async fn publish(&mut self) -> Result<Infallible, PublishFailure> {
        let mut applied = self.sink.store.watermarks().applied.subscribe();
        let mut window = ConfirmWindow::new();
        loop {
            applied.borrow_and_update();
            let page = self.sink.page(self.progress.read).await?;
            if let Some(lost) = page.lost {
                self.pass_over(lost);
            }
            let is_idle = page.events.is_empty();
            for (position, messages) in page.events {
                if self.progress.careful_to.is_some() {
                    Box::pin(self.publish_carefully(position, messages)).await?;
                    self.backoff.reset();
                } else {
                    Box::pin(self.publish_event(position, messages, &mut window)).await?;
                }
                self.store_and_check().await?;
            }
            if !is_idle {
                continue;
            }
            while !window.is_empty() {
                self.confirm(&mut window).await?;
                self.backoff.reset();
            }
            self.progress.confirmed = self.progress.read;
            self.sink.store_cursor(self.progress).await?;
            self.idle(&mut applied).await?;
        }
    }

    /// Reports events that retention dropped, and continues behind them.
    fn pass_over(&mut self, lost: Position) {
        let (from, to) = (self.sink.cursor(self.progress.read), self.sink.cursor(lost));
        let text = format!(
            "events after {from} up to {to} are not published: the journal reached its limit \
             (raise store.journal.bytes), or part of it is unreadable (see the log)"
        );
        self.sink.reporter.notice(ReaderWarningKind::Gap, text);
        self.progress.read = self.progress.read.max(lost);
    }

    /// Publishes the messages of one event as the window has room for them.
    async fn publish_event(
        &mut self,
        position: Position,
        messages: Vec<OutboundMessage>,
        window: &mut ConfirmWindow<Unconfirmed>,
    ) -> Result<(), PublishFailure> {
        // Set before anything is sent, so that an error concerns this event or an earlier one.
        self.progress.read = position;
        let last = messages.len();
        for (n, message) in messages.into_iter().enumerate() {
            while window.is_full() {
                self.confirm(window).await?;
            }
            let sent = self.within_limit("publishing", self.link.publish(&message));
            let sent = Box::pin(sent).await?;
            let done = (n + 1 == last).then_some(position);
            window.push(sent, done, message.body.len());
        }
        if last == 0 && window.pass(position) {
            self.progress.confirmed = position;
        }
        Ok(())
    }

    /// Publishes the messages of one event, each confirmed before the next, so that a refused one
    /// is identified. Moves that one to the reject log.
    async fn publish_carefully(
        &mut self,
        position: Position,
        messages: Vec<OutboundMessage>,
    ) -> Result<(), PublishFailure> {
        for message in messages {
            if self.progress.refused.contains(&message.id) {
                continue;
            }
            let sending = async {
                let sent = self.link.publish(&message).await?;
                self.link.confirmed(sent).await
            };
            match Box::pin(self.within_limit("publishing", sending)).await {
                Ok(()) => metrics::AMQP_PUBLISHED.add(1),
                Err(PublishFailure::Broker(AmqpError::Refused { reason })) => {
                    self.sink.set_aside(position, &message, &reason).await?;
                    self.progress.refused.push(message.id);
                    return Err(PublishFailure::Refused(reason));
                }
                Err(failure) => return Err(failure),
            }
        }
        (self.progress.read, self.progress.confirmed) = (position, position);
        self.progress.refused.clear();
        self.progress.careful_to = self.progress.careful_to.filter(|to| *to > position);
        Ok(())
    }

    /// Waits for the oldest confirm.
    async fn confirm(
        &mut self,
        window: &mut ConfirmWindow<Unconfirmed>,
    ) -> Result<(), PublishFailure> {
        let Some((sent, done)) = window.pop() else { return Ok(()) };
        let confirmed = self.link.confirmed(sent);
        Box::pin(self.within_limit("waiting for a confirm", confirmed)).await?;
        metrics::AMQP_PUBLISHED.add(1);
        if let Some(position) = done {
            self.progress.confirmed = position;
        }
        Ok(())
    }

    /// Waits for events and checks the connection.
    async fn idle(&mut self, applied: &mut watch::Receiver<u64>) -> Result<(), PublishFailure> {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Err(PublishFailure::Asked),
                changed = applied.changed() => {
                    return changed.map_err(|_| PublishFailure::Store(StoreError::Closed));
                }
                () = self.sink.clock.sleep(CHECK_EVERY) => {}
            }
            if !self.link.is_up() {
                let (doing, reason) = ("waiting for events", "the connection is gone".to_owned());
                return Err(PublishFailure::Broker(AmqpError::Away { doing, reason }));
            }
            self.store_and_check().await?;
        }
    }

    /// Stores the cursor and checks the readers' exchange, each at its own interval.
    async fn store_and_check(&mut self) -> Result<(), PublishFailure> {
        let now = self.sink.clock.instant();
        if now.duration_since(self.progress.checked_at) >= CHECK_EVERY {
            self.progress.checked_at = now;
            Box::pin(self.within_limit("checking the exchange", self.link.check())).await?;
        }
        if now.duration_since(self.progress.stored_at) >= STORE_EVERY {
            self.sink.store_cursor(self.progress).await?;
        }
        Ok(())
    }

    /// Waits for the broker up to the time limit, or indefinitely while the broker blocks
    /// publishers.
    async fn within_limit<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, AmqpError>>,
    ) -> Result<T, PublishFailure> {
        let reporter = &self.sink.reporter;
        let mut work = std::pin::pin!(work);
        let mut waited = Duration::ZERO;
        let mut was_blocked = false;
        loop {
            tokio::select! {
                done = &mut work => {
                    if was_blocked && done.is_ok() && reporter.report(LinkState::Up, None) {
                        tracing::info!("RabbitMQ accepts messages again");
                    }
                    return done.map_err(PublishFailure::Broker);
                }
                () = self.stop.cancelled() => return Err(PublishFailure::Asked),
                () = self.sink.clock.sleep(CHECK_EVERY) => waited += CHECK_EVERY,
            }
            if self.link.is_blocked() {
                waited = Duration::ZERO;
                was_blocked = true;
                let words = "RabbitMQ blocks publishers: its memory or disk alarm is on";
                if reporter.report(LinkState::Up, Some(words.to_owned())) {
                    tracing::warn!("{words}");
                }
            } else if waited >= ANSWER_WITHIN {
                return Err(PublishFailure::Broker(no_answer(doing, ANSWER_WITHIN)));
            }
        }
    }
}

/// Tests a broker without changing anything. Returns a description of what it found.
pub async fn probe(options: &AmqpConfig, clock: Clock) -> Result<String, AmqpError> {
    let found = tokio::select! {
        found = Box::pin(AmqpLink::probe(options)) => found?,
        () = clock.sleep(CONNECT_WITHIN) => return Err(no_answer("connecting", CONNECT_WITHIN)),
    };
    Ok(format!("logged in; exchange `{}` {found}", options.exchange))
}

fn no_answer(doing: &'static str, within: Duration) -> AmqpError {
    AmqpError::Away { doing, reason: format!("no answer within {} s", within.as_secs()) }
}
