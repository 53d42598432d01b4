//! Events to RabbitMQ: a topic exchange that is fed from the journal.
//!
//! A stage with a cursor of its own. It reads the journal behind the cursor, publishes with
//! confirms in a bounded window, and moves the cursor to what is confirmed: a restart and an
//! outage of the broker go on there, at least once, with the same message ids. The journal is held
//! back for it up to the journal's limit of bytes; what goes beyond is said as a gap. Nothing else
//! waits for the broker: it may be away for days.
//!
//! Door to lapin: its files `link.rs` and `dial.rs`.

mod dial;
mod error;
mod link;
mod outbound;
mod state;
mod window;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::Secret;
use crate::metrics;
use crate::model::envelope::Envelope;
use crate::model::position::{BusTag, Cursor, Position};
use crate::store::journal::JournalItem;
use crate::store::{Reader, Store, StoreError, rejects};
pub use error::AmqpError;
use link::{BrokerLink, Unconfirmed};
use outbound::{OutboundMessage, messages};
use state::Reporter;
pub use state::{ReaderWarning, ReaderWarningKind, SinkState};
use window::ConfirmWindow;

/// Name of the cursor: everything up to it is confirmed.
pub const CURSOR: &str = "amqp";

/// Events that are read at once.
const PAGE_EVENTS: usize = 256;
/// Bytes of events that are read at once; one event always is.
const PAGE_BYTES: usize = 4 << 20;
/// How often a cursor that moves is kept.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// How often an idle connection is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long the broker may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// Waits between two tries to connect.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const MOST_WAIT: Duration = Duration::from_secs(30);
/// How long what readers missed is reported.
const NOTICE_FOR: Duration = Duration::from_secs(3_600);

/// What feeding an exchange takes.
#[derive(Debug, Clone)]
pub struct AmqpOptions {
    /// Broker with user, password and virtual host.
    pub url: Secret,
    /// The topic exchange that readers bind to.
    pub exchange: String,
    /// The topic exchange that is published to, when it is another one: the readers' is bound to
    /// it, and who may not configure this one cannot remove it.
    pub source: Option<String>,
    /// Certificate authority of the broker (PEM), beside the public ones.
    pub ca: Option<PathBuf>,
    /// The name of this node, which the broker shows.
    pub node: String,
}

/// The stage.
pub struct Sink {
    store: Store,
    tag: BusTag,
    options: AmqpOptions,
    clock: Clock,
    reporter: Reporter,
}

/// Why feeding stopped.
enum PublishFailure {
    Asked,
    Store(StoreError),
    Broker(AmqpError),
    /// The broker closed the channel for a message: the next connection finds out which one, or
    /// leaves it out.
    Refused,
}

/// How far it has come.
struct Progress {
    /// Everything up to here is read and published, or about to be.
    read: Position,
    confirmed: Position,
    kept: Option<Position>,
    kept_at: tokio::time::Instant,
    looked_at: tokio::time::Instant,
    /// Whether the exchange was fed before, so that its absence is a removal.
    has_fed: bool,
    /// Up to here messages are published one by one, because the broker refused one of them.
    careful_to: Option<Position>,
    /// Ids of messages that the broker refuses, of the event that is being published.
    refused: Vec<String>,
}

/// Events behind a place.
struct JournalBatch {
    events: Vec<(Position, Vec<OutboundMessage>)>,
    /// The last event that retention dropped behind that place.
    lost: Option<Position>,
}

impl Sink {
    /// For the journal of the bus of that tag.
    pub fn new(
        store: Store,
        tag: BusTag,
        options: AmqpOptions,
        clock: Clock,
    ) -> Result<Self, AmqpError> {
        let (broker, vhost) = link::checked(&options)?;
        let feeds = format!("exchange `{}` at {broker}, virtual host `{vhost}`", options.exchange);
        let reporter = Reporter::new(feeds, clock);
        Ok(Self { store, tag, options, clock, reporter })
    }

    /// How it goes, to be watched.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SinkState> {
        self.reporter.subscribe()
    }

    /// Feeds the exchange until `stop`. Only the store's errors end it.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut progress = self.begin().await?;
        let mut backoff = Backoff::new(FIRST_WAIT, MOST_WAIT);
        loop {
            let error = match Box::pin(self.feed(&mut progress, &mut backoff, &stop)).await {
                PublishFailure::Asked => return Ok(()),
                PublishFailure::Store(error) => return Err(error.into()),
                PublishFailure::Refused => continue,
                PublishFailure::Broker(error) => error,
            };
            metrics::AMQP_LOST.add(1);
            self.reporter.report(false, Some(error.to_string()));
            let wait = backoff.next_wait();
            let again_in = format!("{:.1} s", wait.as_secs_f64());
            if error.is_transient() {
                tracing::warn!(%error, again_in, "RabbitMQ is away");
            } else {
                tracing::error!(%error, again_in, "RabbitMQ cannot be fed");
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    /// Where to go on. A cursor is kept at once, so that the journal is held from there.
    async fn begin(&self) -> Result<Progress, StoreError> {
        let tag = self.tag;
        let read = move |reader: Reader<'_>| {
            let (last, kept) = (reader.cursor(CURSOR)?, reader.cursor_on(CURSOR, tag)?);
            Ok((last, kept, reader.applied_on(tag)?))
        };
        let (last, kept, applied) = self.store.read(read).await?;
        let is_other = last.is_some_and(|last| last.tag != tag);
        if is_other {
            let text = "the bus is another one than before: what it had left is not published";
            self.reporter.notice(ReaderWarningKind::Gap, text.to_owned());
        }
        let (position, is_kept) = match kept {
            // Of a bus that was in use before: where it was left.
            Some(cursor) => (cursor.position, !is_other),
            None if is_other => (Position::default(), false),
            // The first time: live from here on, not the whole journal.
            None => (applied.map(|cursor| cursor.position).unwrap_or_default(), false),
        };
        let mut progress = Progress {
            read: position,
            confirmed: position,
            kept: is_kept.then_some(position),
            kept_at: self.clock.instant(),
            looked_at: self.clock.instant(),
            has_fed: is_kept,
            careful_to: None,
            refused: Vec::new(),
        };
        self.keep(&mut progress).await?;
        Ok(progress)
    }

    /// Connects and publishes until something is wrong or it is asked to stop.
    async fn feed(
        &self,
        progress: &mut Progress,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> PublishFailure {
        let opened = tokio::select! {
            () = stop.cancelled() => return PublishFailure::Asked,
            opened = BrokerLink::open(&self.options) => opened,
            () = self.clock.sleep(CONNECT) => Err(late("connecting", CONNECT)),
        };
        let link = match opened {
            Ok(link) => link,
            Err(error) => return PublishFailure::Broker(error),
        };
        self.reporter.report(true, None);
        tracing::info!(feeds = self.reporter.feeds(), "RabbitMQ is connected");
        if link.has_declared() && progress.has_fed {
            let text = format!(
                "exchange `{}` was removed and is declared again: what readers had bound to it is \
                 gone, and each has to bind again",
                self.options.exchange
            );
            self.reporter.notice(ReaderWarningKind::Removed, text);
        }
        progress.has_fed = true;
        // What was not confirmed is published again.
        progress.read = progress.confirmed;
        let halt = match Box::pin(self.publish(&link, progress, backoff, stop)).await {
            Ok(never) => match never {},
            Err(PublishFailure::Broker(AmqpError::Refused { reason })) => {
                tracing::warn!(reason, "RabbitMQ refuses a message; looking for it");
                progress.careful_to = Some(progress.read);
                PublishFailure::Refused
            }
            Err(halt) => halt,
        };
        let kept = self.keep(progress).await;
        tokio::select! {
            () = link.close() => {}
            () = self.clock.sleep(GOODBYE) => {}
        }
        kept.map_or_else(PublishFailure::Store, |()| halt)
    }

    async fn publish(
        &self,
        link: &BrokerLink,
        progress: &mut Progress,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<std::convert::Infallible, PublishFailure> {
        let mut applied = self.store.watermarks().applied.subscribe();
        let mut window = ConfirmWindow::new();
        loop {
            applied.borrow_and_update();
            let page = self.page(progress.read).await.map_err(PublishFailure::Store)?;
            if let Some(lost) = page.lost {
                let (from, to) = (self.cursor(progress.read), self.cursor(lost));
                let text = format!(
                    "what came after {from} up to {to} is not published: the journal's limit was \
                     reached (raise store.journal.bytes), or a part of it cannot be read (see the \
                     log)"
                );
                self.reporter.notice(ReaderWarningKind::Gap, text);
                progress.read = progress.read.max(lost);
            }
            let is_idle = page.events.is_empty();
            for (position, messages) in page.events {
                if progress.careful_to.is_some() {
                    let event = (position, messages);
                    Box::pin(self.publish_carefully(link, event, progress, stop)).await?;
                    backoff.reset();
                } else {
                    let last = messages.len();
                    // Before anything is sent: an error is about this event or an earlier one.
                    progress.read = position;
                    for (n, message) in messages.into_iter().enumerate() {
                        while window.is_full() {
                            self.confirm(link, &mut window, progress, stop).await?;
                        }
                        let sent = self.patiently(link, stop, "publishing", link.publish(&message));
                        let sent = Box::pin(sent).await?;
                        let done = (n + 1 == last).then_some(position);
                        window.push(sent, done, message.body.len());
                    }
                    if last == 0 {
                        window.pass(position);
                    }
                }
                self.now_and_then(link, progress, stop).await?;
            }
            if !is_idle {
                continue;
            }
            while !window.is_empty() {
                self.confirm(link, &mut window, progress, stop).await?;
                backoff.reset();
            }
            progress.confirmed = progress.read;
            self.keep(progress).await.map_err(PublishFailure::Store)?;
            self.idle(link, progress, &mut applied, stop).await?;
        }
    }

    /// Waits for events, and looks whether the connection is still there.
    async fn idle(
        &self,
        link: &BrokerLink,
        progress: &mut Progress,
        applied: &mut watch::Receiver<u64>,
        stop: &CancellationToken,
    ) -> Result<(), PublishFailure> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Err(PublishFailure::Asked),
                changed = applied.changed() => {
                    changed.map_err(|_| PublishFailure::Store(StoreError::Closed))?;
                    return Ok(());
                }
                () = self.clock.sleep(LOOK) => {}
            }
            if !link.is_up() {
                let (doing, reason) = ("waiting for events", "the connection is gone".to_owned());
                return Err(PublishFailure::Broker(AmqpError::Away { doing, reason }));
            }
            self.now_and_then(link, progress, stop).await?;
        }
    }

    /// Publishes the messages of one event, each confirmed before the next, so that the one that
    /// the broker refuses is known. That one is set aside in the reject log.
    async fn publish_carefully(
        &self,
        link: &BrokerLink,
        (position, messages): (Position, Vec<OutboundMessage>),
        progress: &mut Progress,
        stop: &CancellationToken,
    ) -> Result<(), PublishFailure> {
        for message in messages {
            if progress.refused.contains(&message.id) {
                continue;
            }
            let sending = async {
                let sent = link.publish(&message).await?;
                link.confirmed(sent).await
            };
            match Box::pin(self.patiently(link, stop, "publishing", sending)).await {
                Ok(()) => metrics::AMQP_PUBLISHED.add(1),
                Err(PublishFailure::Broker(AmqpError::Refused { reason })) => {
                    self.set_aside(position, &message, &reason)
                        .await
                        .map_err(PublishFailure::Store)?;
                    progress.refused.push(message.id);
                    return Err(PublishFailure::Refused);
                }
                Err(halt) => return Err(halt),
            }
        }
        (progress.read, progress.confirmed) = (position, position);
        progress.refused.clear();
        progress.careful_to = progress.careful_to.filter(|to| *to > position);
        Ok(())
    }

    /// Keeps a message that the broker refuses where it can be looked at, and reports it.
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
        let put = move |batch: &mut crate::store::Batch<'_>| {
            rejects::keep(batch, now, &text, body.as_bytes())
        };
        self.store.commit(put).await?;
        let text = format!("{reason}; see `ghpulse inspect rejects`");
        self.reporter.notice(ReaderWarningKind::Refused, text);
        Ok(())
    }

    /// Waits for the oldest confirm.
    async fn confirm(
        &self,
        link: &BrokerLink,
        window: &mut ConfirmWindow<Unconfirmed>,
        progress: &mut Progress,
        stop: &CancellationToken,
    ) -> Result<(), PublishFailure> {
        let Some((sent, done)) = window.pop() else { return Ok(()) };
        let doing = "waiting for a confirm";
        Box::pin(self.patiently(link, stop, doing, link.confirmed(sent))).await?;
        metrics::AMQP_PUBLISHED.add(1);
        if let Some(position) = done {
            progress.confirmed = position;
        }
        Ok(())
    }

    /// Waits for the broker, a while; without end while it says itself that it takes nothing.
    async fn patiently<T>(
        &self,
        link: &BrokerLink,
        stop: &CancellationToken,
        doing: &'static str,
        work: impl Future<Output = Result<T, AmqpError>>,
    ) -> Result<T, PublishFailure> {
        let mut work = std::pin::pin!(work);
        let mut waited = Duration::ZERO;
        let mut was_blocked = false;
        loop {
            tokio::select! {
                done = &mut work => {
                    if was_blocked && done.is_ok() && self.reporter.report(true, None) {
                        tracing::info!("RabbitMQ takes messages again");
                    }
                    return done.map_err(PublishFailure::Broker);
                }
                () = stop.cancelled() => return Err(PublishFailure::Asked),
                () = self.clock.sleep(LOOK) => waited += LOOK,
            }
            if link.is_blocked() {
                waited = Duration::ZERO;
                was_blocked = true;
                let words = "RabbitMQ takes nothing: its memory or disk alarm is on";
                if self.reporter.report(true, Some(words.to_owned())) {
                    tracing::warn!("{words}");
                }
            } else if waited >= PATIENCE {
                return Err(PublishFailure::Broker(late(doing, PATIENCE)));
            }
        }
    }

    async fn page(&self, after: Position) -> Result<JournalBatch, StoreError> {
        let tag = self.tag;
        let read = move |reader: Reader<'_>| {
            let journal = reader.journal(tag)?;
            let mut lost = journal.dropped().filter(|dropped| *dropped > after);
            let (mut events, mut bytes) = (Vec::new(), 0);
            journal.walk_behind(after, |step| {
                let (position, row) = match step {
                    JournalItem::Event(position, row) => (position, row),
                    // What was read before it goes out first.
                    JournalItem::Damaged(_) if !events.is_empty() => return Ok(false),
                    JournalItem::Damaged(up_to) => {
                        lost = lost.max(Some(up_to));
                        return Ok(true);
                    }
                };
                bytes += row.event.len();
                let envelope = Envelope { facts: row.facts, event: row.event.into() };
                events.push((position, messages(&envelope)));
                Ok(events.len() < PAGE_EVENTS && bytes < PAGE_BYTES)
            })?;
            Ok(JournalBatch { events, lost })
        };
        self.store.read(read).await
    }

    /// Keeps the cursor, and looks whether the readers' exchange is there, each at its own pace.
    async fn now_and_then(
        &self,
        link: &BrokerLink,
        progress: &mut Progress,
        stop: &CancellationToken,
    ) -> Result<(), PublishFailure> {
        let now = self.clock.instant();
        if now.duration_since(progress.looked_at) >= LOOK {
            progress.looked_at = now;
            let looking = self.patiently(link, stop, "looking at the exchange", link.look());
            Box::pin(looking).await?;
        }
        if now.duration_since(progress.kept_at) >= KEEP_EVERY {
            self.keep(progress).await.map_err(PublishFailure::Store)?;
        }
        Ok(())
    }

    /// Keeps the cursor where everything before it is confirmed.
    async fn keep(&self, progress: &mut Progress) -> Result<(), StoreError> {
        progress.kept_at = self.clock.instant();
        if progress.kept == Some(progress.confirmed) {
            return Ok(());
        }
        let cursor = self.cursor(progress.confirmed);
        let put = move |batch: &mut crate::store::Batch<'_>| batch.put_cursor(CURSOR, cursor);
        self.store.commit(put).await?;
        progress.kept = Some(progress.confirmed);
        Ok(())
    }

    fn cursor(&self, position: Position) -> Cursor {
        Cursor { tag: self.tag, position }
    }
}

/// Tries a broker without changing it: what was found, in words.
pub async fn probe(options: &AmqpOptions, clock: Clock) -> Result<String, AmqpError> {
    let found = tokio::select! {
        found = Box::pin(BrokerLink::probe(options)) => found?,
        () = clock.sleep(CONNECT) => return Err(late("connecting", CONNECT)),
    };
    Ok(format!("logged in; exchange `{}` {found}", options.exchange))
}

fn late(doing: &'static str, within: Duration) -> AmqpError {
    AmqpError::Away { doing, reason: format!("no answer within {} s", within.as_secs()) }
}
