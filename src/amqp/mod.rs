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
use crate::model::window::Timestamp;
use crate::store::journal::Step;
use crate::store::{Reader, Store, StoreError};
pub use error::AmqpError;
use link::{Link, Unconfirmed};
use outbound::{Message, messages};
use window::Window;

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
/// How long a gap is told of.
const GAP_TOLD: Duration = Duration::from_secs(3_600);

/// What feeding an exchange takes.
#[derive(Debug, Clone)]
pub struct AmqpOptions {
    /// Broker with user, password and virtual host.
    pub url: Secret,
    /// The topic exchange.
    pub exchange: String,
    /// Certificate authority of the broker (PEM), beside the public ones.
    pub ca: Option<PathBuf>,
    /// The name of this node, which the broker shows.
    pub node: String,
}

/// How the feeding goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkState {
    /// Whether the exchange is there and takes messages.
    pub connected: bool,
    /// Since when it is so.
    pub since: Timestamp,
    /// What is fed: the exchange and the broker, nothing secret.
    pub feeds: String,
    /// What is wrong.
    pub trouble: Option<String>,
    /// What retention took before it could be published, and when that was found.
    pub gap: Option<(String, Timestamp)>,
}

/// The stage.
pub struct Sink {
    store: Store,
    tag: BusTag,
    options: AmqpOptions,
    clock: Clock,
    state: watch::Sender<SinkState>,
}

/// Why feeding stopped.
enum Halt {
    Asked,
    Store(StoreError),
    Broker(AmqpError),
}

/// How far it has come.
struct Progress {
    /// Everything up to here is read and published, or about to be.
    read: Position,
    confirmed: Position,
    kept: Option<Position>,
    kept_at: tokio::time::Instant,
}

/// Events behind a place.
struct Page {
    events: Vec<(Position, Vec<Message>)>,
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
        let state = SinkState {
            connected: false,
            since: clock.now(),
            feeds,
            trouble: Some("not connected yet".to_owned()),
            gap: None,
        };
        Ok(Self { store, tag, options, clock, state: watch::Sender::new(state) })
    }

    /// How it goes, to be watched.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SinkState> {
        self.state.subscribe()
    }

    /// Feeds the exchange until `stop`. Only the store's errors end it.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut progress = self.begin().await?;
        let mut backoff = Backoff::new(FIRST_WAIT, MOST_WAIT);
        loop {
            let error = match Box::pin(self.feed(&mut progress, &mut backoff, &stop)).await {
                Halt::Asked => return Ok(()),
                Halt::Store(error) => return Err(error.into()),
                Halt::Broker(error) => error,
            };
            metrics::AMQP_LOST.add(1);
            self.tell(false, Some(error.to_string()));
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
            self.tell_gap(text.to_owned());
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
    ) -> Halt {
        let opened = tokio::select! {
            () = stop.cancelled() => return Halt::Asked,
            opened = Link::open(&self.options) => opened,
            () = self.clock.sleep(CONNECT) => Err(late("connecting", CONNECT)),
        };
        let link = match opened {
            Ok(link) => link,
            Err(error) => return Halt::Broker(error),
        };
        self.tell(true, None);
        tracing::info!(feeds = self.state.borrow().feeds, "RabbitMQ is connected");
        // What was not confirmed is published again.
        progress.read = progress.confirmed;
        let halt = match Box::pin(self.publish(&link, progress, backoff, stop)).await {
            Ok(never) => match never {},
            Err(halt) => halt,
        };
        let kept = self.keep(progress).await;
        tokio::select! {
            () = link.close() => {}
            () = self.clock.sleep(GOODBYE) => {}
        }
        kept.map_or_else(Halt::Store, |()| halt)
    }

    async fn publish(
        &self,
        link: &Link,
        progress: &mut Progress,
        backoff: &mut Backoff,
        stop: &CancellationToken,
    ) -> Result<std::convert::Infallible, Halt> {
        let mut applied = self.store.heads().applied.subscribe();
        let mut window = Window::new();
        loop {
            applied.borrow_and_update();
            let page = self.page(progress.read).await.map_err(Halt::Store)?;
            if let Some(lost) = page.lost {
                let (from, to) = (self.cursor(progress.read), self.cursor(lost));
                self.tell_gap(format!(
                    "what came after {from} up to {to} is not published: the journal's limit was \
                     reached (raise store.journal.bytes), or a part of it cannot be read (see the \
                     log)"
                ));
                progress.read = progress.read.max(lost);
            }
            let is_idle = page.events.is_empty();
            for (position, messages) in page.events {
                let last = messages.len();
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
                progress.read = position;
                self.keep_now_and_then(progress).await?;
            }
            if !is_idle {
                continue;
            }
            while !window.is_empty() {
                self.confirm(link, &mut window, progress, stop).await?;
                backoff.reset();
            }
            progress.confirmed = progress.read;
            self.keep(progress).await.map_err(Halt::Store)?;
            self.idle(link, &mut applied, stop).await?;
        }
    }

    /// Waits for events, and looks whether the connection is still there.
    async fn idle(
        &self,
        link: &Link,
        applied: &mut watch::Receiver<u64>,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Err(Halt::Asked),
                changed = applied.changed() => {
                    changed.map_err(|_| Halt::Store(StoreError::Closed))?;
                    return Ok(());
                }
                () = self.clock.sleep(LOOK) => {}
            }
            if !link.is_up() {
                let (doing, reason) = ("waiting for events", "the connection is gone".to_owned());
                return Err(Halt::Broker(AmqpError::Away { doing, reason }));
            }
        }
    }

    /// Waits for the oldest confirm.
    async fn confirm(
        &self,
        link: &Link,
        window: &mut Window<Unconfirmed>,
        progress: &mut Progress,
        stop: &CancellationToken,
    ) -> Result<(), Halt> {
        let Some((sent, done)) = window.pop() else { return Ok(()) };
        let doing = "waiting for a confirm";
        Box::pin(self.patiently(link, stop, doing, sent.confirmed())).await?;
        metrics::AMQP_PUBLISHED.add(1);
        if let Some(position) = done {
            progress.confirmed = position;
        }
        Ok(())
    }

    /// Waits for the broker, a while; without end while it says itself that it takes nothing.
    async fn patiently<T>(
        &self,
        link: &Link,
        stop: &CancellationToken,
        doing: &'static str,
        work: impl Future<Output = Result<T, AmqpError>>,
    ) -> Result<T, Halt> {
        let mut work = std::pin::pin!(work);
        let mut waited = Duration::ZERO;
        let mut was_blocked = false;
        loop {
            tokio::select! {
                done = &mut work => {
                    if was_blocked && done.is_ok() && self.tell(true, None) {
                        tracing::info!("RabbitMQ takes messages again");
                    }
                    return done.map_err(Halt::Broker);
                }
                () = stop.cancelled() => return Err(Halt::Asked),
                () = self.clock.sleep(LOOK) => waited += LOOK,
            }
            if link.is_blocked() {
                waited = Duration::ZERO;
                was_blocked = true;
                let words = "RabbitMQ takes nothing: its memory or disk alarm is on";
                if self.tell(true, Some(words.to_owned())) {
                    tracing::warn!("{words}");
                }
            } else if waited >= PATIENCE {
                return Err(Halt::Broker(late(doing, PATIENCE)));
            }
        }
    }

    async fn page(&self, after: Position) -> Result<Page, StoreError> {
        let tag = self.tag;
        let read = move |reader: Reader<'_>| {
            let journal = reader.journal(tag)?;
            let mut lost = journal.dropped().filter(|dropped| *dropped > after);
            let (mut events, mut bytes) = (Vec::new(), 0);
            journal.walk_behind(after, |step| {
                let (position, row) = match step {
                    Step::Event(position, row) => (position, row),
                    // What was read before it goes out first.
                    Step::Damaged(_) if !events.is_empty() => return Ok(false),
                    Step::Damaged(up_to) => {
                        lost = lost.max(Some(up_to));
                        return Ok(true);
                    }
                };
                bytes += row.event.len();
                let envelope = Envelope { facts: row.facts, event: row.event.into() };
                events.push((position, messages(&envelope)));
                Ok(events.len() < PAGE_EVENTS && bytes < PAGE_BYTES)
            })?;
            Ok(Page { events, lost })
        };
        self.store.read(read).await
    }

    async fn keep_now_and_then(&self, progress: &mut Progress) -> Result<(), Halt> {
        if self.clock.instant().duration_since(progress.kept_at) < KEEP_EVERY {
            return Ok(());
        }
        self.keep(progress).await.map_err(Halt::Store)
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

    /// Says how it goes; whether it went otherwise before.
    fn tell(&self, connected: bool, trouble: Option<String>) -> bool {
        let now = self.clock.now();
        self.state.send_if_modified(|state| {
            let is_other = (state.connected, &state.trouble) != (connected, &trouble);
            if state.connected != connected {
                state.since = now;
            }
            if state.gap.as_ref().is_some_and(|(_, at)| at.plus(GAP_TOLD) < now) {
                state.gap = None;
            }
            (state.connected, state.trouble) = (connected, trouble);
            is_other
        })
    }

    fn tell_gap(&self, text: String) {
        metrics::AMQP_GAPS.add(1);
        tracing::error!("a gap for RabbitMQ's readers: {text}");
        let now = self.clock.now();
        self.state.send_modify(|state| state.gap = Some((text, now)));
    }
}

impl SinkState {
    /// A gap that is still worth telling of.
    #[must_use]
    pub fn fresh_gap(&self, now: Timestamp) -> Option<&str> {
        let (text, at) = self.gap.as_ref()?;
        (at.plus(GAP_TOLD) >= now).then_some(text)
    }
}

/// Tries a broker without changing it: what was found, in words.
pub async fn probe(options: &AmqpOptions, clock: Clock) -> Result<String, AmqpError> {
    let found = tokio::select! {
        found = Box::pin(Link::probe(options)) => found?,
        () = clock.sleep(CONNECT) => return Err(late("connecting", CONNECT)),
    };
    Ok(format!("logged in; exchange `{}` {found}", options.exchange))
}

fn late(doing: &'static str, within: Duration) -> AmqpError {
    AmqpError::Away { doing, reason: format!("no answer within {} s", within.as_secs()) }
}
