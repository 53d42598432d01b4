//! The receiving end: this store's own durable subscription to the topic.
//!
//! Entries arrive in order, each with the messages of one batch. Acknowledgements are cumulative,
//! up to the last entry of which every message is on disk here, so the broker's backlog for us
//! never has holes. A lost acknowledgement only causes a redelivery, which is skipped by its
//! position.
//!
//! A session ends at the first error, at the end of the stream, and when it is silent and fails
//! its liveness check. It is then dropped, and the next one begins where the broker has us. Entries
//! that the topic has lost become a gap in the store before anything after them is delivered.

use std::sync::Arc;
use std::time::Duration;

use pulsar::consumer::InitialPosition;
use tokio::sync::watch;

use super::delivery::PulsarReceipt;
use super::diagnosis::away;
use super::error::PulsarError;
use super::link::{OPEN, PulsarLink, within};
use super::progress::{EntryId, ResumePoint, entry_of, is_hole, shown};
use super::reader::{SubscribeOptions, TopicReader};
use super::session::{ANSWER, EarlierSessions, ReaderSession, end_of};
use crate::backoff::Backoff;
use crate::bus::{Bus, BusError, BusState, Delivery};
use crate::clock::Clock;
use crate::config::PulsarConfig;
use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::gap::{Gap, GapReason};
use crate::model::position::{BusTag, Cursor, Position};
use crate::store::keys::MetaKey;
use crate::store::{Batch, Database, Store, StoreError, gaps};

/// First and longest pause between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Lines that say that the bus is lost.
static LOST: LineLimit = LineLimit::per_minute(2);
/// Attempts in a row to move the subscription back, until the topic is read without it.
const SEEKS: u32 = 3;
/// Time between two log lines about catching up.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// The row, completed by the bus's tag, that keeps the name of the subscription in use. Older
/// versions have a row without a tag.
const SUBSCRIPTION: &str = "pulsar_subscription";

/// The topic as a bus.
pub struct PulsarBus {
    link: Arc<PulsarLink>,
    store: Store,
    name: String,
    subscription: String,
    tag: BusTag,
    session: Option<Box<ReaderSession>>,
    /// Whether the first new delivery of the session was checked for a gap.
    is_joined: bool,
    backoff: Backoff,
    earlier: EarlierSessions,
    /// Deliveries that were received and not returned yet.
    held: Vec<Delivery<PulsarReceipt>>,
    state: watch::Sender<BusState>,
}

impl PulsarBus {
    /// The topic to consume, read for this store. Reads the files that the configuration names;
    /// connects at the first call of [`Bus::next`].
    pub fn new(pulsar: &PulsarConfig, store: Store, clock: Clock) -> Result<Self, PulsarError> {
        let link = Arc::new(PulsarLink::new(pulsar, &pulsar.consumer_topic, clock)?);
        let since = clock.now();
        let state = BusState {
            connected: false,
            since,
            trouble: None,
            stuck: false,
            terminated: false,
            behind: None,
        };
        metrics::BUS_UP.set(0.0);
        Ok(Self {
            tag: link.tag,
            link,
            name: pulsar.consumer_name.clone(),
            subscription: format!("{}-{}", pulsar.consumer_name, store.store_id()),
            store,
            session: None,
            is_joined: false,
            backoff: Backoff::new(PAUSES.0, PAUSES.1),
            earlier: EarlierSessions::default(),
            held: Vec::new(),
            state: watch::Sender::new(state),
        })
    }

    /// The state of the connection, for `/status` and alerts.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<BusState> {
        self.state.subscribe()
    }

    /// The name of the subscription.
    #[must_use]
    pub fn subscription(&self) -> &str {
        &self.subscription
    }

    /// Connects, with backoff; fails only with errors that a retry cannot cure.
    async fn connect(&mut self) -> Result<(), BusError> {
        let link = Arc::clone(&self.link);
        let doing = || format!("subscribing to {} at {}", link.topic, link.url);
        let EarlierSessions { expected, has_markers, .. } = self.earlier;
        let resume = ResumePoint { applied: self.applied().await?, expected, has_markers };
        match within(OPEN, doing, Box::pin(self.open(resume))).await {
            Ok(session) => {
                self.link.reset_fatal_answers();
                self.earlier.expected = None;
                tracing::info!(
                    topic = self.link.topic,
                    subscription = self.subscription,
                    behind = session.ahead.is_some(),
                    "connected to the bus"
                );
                let is_behind = session.ahead.is_some();
                let stuck = self.earlier.is_stuck() && is_behind;
                (self.session, self.is_joined) = (Some(Box::new(session)), false);
                let since = self.link.clock.now();
                self.state.send_modify(|state| {
                    (state.connected, state.since, state.stuck) = (true, since, stuck);
                    state.behind = state.behind.filter(|_| is_behind);
                });
                metrics::BUS_UP.set(1.0);
                if !is_behind {
                    metrics::BUS_BEHIND_SECONDS.set(0.0);
                }
                Ok(())
            }
            Err(error) => self.lose(error).await,
        }
    }

    /// Drops the session, and waits before the next attempt; fails with an error that a retry
    /// cannot cure.
    async fn lose(&mut self, error: PulsarError) -> Result<(), BusError> {
        let error = self.link.confirmed(error);
        if !error.is_transient() {
            return Err(error.into());
        }
        self.session = None;
        self.earlier.is_terminated |= matches!(error, PulsarError::Terminated { .. });
        metrics::BUS_UP.set(0.0);
        let since = self.link.clock.now();
        self.state.send_modify(|state| {
            if state.connected {
                metrics::BUS_LOST.add(1);
                state.since = since;
            }
            (state.connected, state.terminated) = (false, self.earlier.is_terminated);
            state.trouble = Some(error.to_string());
        });
        LOST.log(|left_out| tracing::warn!(%error, left_out, "lost the bus; reconnecting"));
        let pause = self.backoff.next_wait();
        self.link.clock.sleep(pause).await;
        Ok(())
    }

    /// The position up to which this store has applied the topic.
    async fn applied(&self) -> Result<Option<Position>, StoreError> {
        let tag = self.tag;
        let applied = self.store.read(Database::applied).await?;
        Ok(applied.filter(|cursor| cursor.tag == tag).map(|cursor| cursor.position))
    }

    /// Opens a session. Entries that were missing may be on the topic nevertheless: the
    /// subscription passes over entries that expire, and when the data directory was replaced by
    /// an older copy, this store itself has moved it on. So it is moved back; after [`SEEKS`]
    /// failures in a row the session begins where the broker has us, and what is missing there is
    /// recorded as a gap.
    async fn open(&mut self, resume: ResumePoint) -> Result<ReaderSession, PulsarError> {
        let applied = resume.applied.map(entry_of);
        let (mut reader, mut end) = self.subscribe(applied).await?;
        let misses = resume.expected.is_some() || self.earlier.is_stuck();
        // On a topic that ends earlier it would be moved to the end.
        if let Some(applied) = applied.filter(|_| misses && end.is_some()) {
            let to = shown(applied);
            if self.earlier.unmoved < SEEKS {
                // The broker may have closed the consumer before the failure, so the session ends.
                self.earlier.unmoved += 1;
                let doing = || format!("moving the subscription of {} to {to}", self.link.topic);
                let seeking = async {
                    reader.seek(applied).await.map_err(|error| away(doing(), &error.into()))
                };
                within(ANSWER, doing, seeking).await?;
                self.earlier.unmoved = 0;
                tracing::info!(to, "moved the subscription back to what was applied");
                drop(reader);
                (reader, end) = self.subscribe(Some(applied)).await?;
            } else {
                tracing::warn!(to, "cannot move the subscription back; reading from where it is");
            }
        }
        let now = self.link.clock.instant();
        Ok(ReaderSession::new(reader, resume, end, now))
    }

    /// Subscribes, and asks for the topic's end, which is not before what was applied.
    async fn subscribe(
        &self,
        applied: Option<EntryId>,
    ) -> Result<(TopicReader, Option<EntryId>), PulsarError> {
        let to = SubscribeOptions {
            name: self.subscription.clone(),
            consumer: self.name.clone(),
            is_durable: true,
            from: InitialPosition::Earliest,
        };
        let mut reader = Box::pin(TopicReader::open(&self.link, &to)).await?;
        let end = end_of(&mut reader).await?;
        self.link.check_end(end, applied)?;
        Ok((reader, end))
    }

    /// Runs before the first new delivery of a session is returned: records a gap when the topic
    /// has lost the entries that this store needs next, and keeps the subscription's name.
    async fn look_for_gap(&mut self) -> Result<(), StoreError> {
        let Some(session) = self.session.as_ref().filter(|_| !self.is_joined) else {
            return Ok(());
        };
        let (applied, tag, name) = (session.began_behind, self.tag, self.subscription.clone());
        let begins_known = self.held.first().map(|delivery| delivery.position) <= applied;
        let began = session.began();
        let noticed_at = self.link.clock.now();
        let found = self.store.commit(move |batch| {
            let key = MetaKey(format!("{SUBSCRIPTION}.{:08x}", tag.0));
            let known = match batch.get(&key)? {
                None => batch.get(&MetaKey(SUBSCRIPTION.to_owned()))?,
                known => known,
            };
            let is_new = known.as_ref().is_some_and(|known| *known != name.as_bytes());
            if known.is_none() || is_new {
                batch.put(&key, name.as_bytes());
            }
            let is_new = is_new && !begins_known;
            let Some((after, (until, named_before))) = applied.zip(began) else {
                return Ok(None);
            };
            if !is_gap(after, until, named_before, is_new) {
                return Ok(None);
            }
            let reason = GapReason::Retention;
            gaps::record(batch, tag, Gap { after, until, count: None, reason, noticed_at })?;
            Ok(Some((after, until)))
        });
        if let Some((after, until)) = found.await? {
            let shown = |position| Cursor { tag, position }.to_string();
            tracing::warn!(
                after = shown(after),
                until = shown(until),
                "events are missing: the topic no longer has them, and a gap is recorded; give its \
                 namespace a longer retention"
            );
        }
        self.is_joined = began.is_some();
        Ok(())
    }

    /// Reports how far the newest delivery is behind.
    fn report(&mut self) {
        let Some(session) = &mut self.session else { return };
        let (behind, is_stuck) = (session.behind(), self.earlier.is_stuck());
        metrics::BUS_BEHIND_SECONDS.set(behind.unwrap_or_default().as_secs_f64());
        let was_behind = self.state.borrow().behind.is_some();
        let now = self.link.clock.instant();
        match behind {
            None if was_behind => tracing::info!("caught up with the topic"),
            Some(age) if now.duration_since(session.logged_at) > LOG_EVERY => {
                session.logged_at = now;
                tracing::info!(seconds_behind = age.as_secs(), "catching up with the topic");
            }
            _ => {}
        }
        self.state.send_if_modified(|state| {
            let stuck = state.stuck && is_stuck;
            let terminated = self.earlier.is_terminated;
            let changed =
                (state.stuck, state.terminated, state.behind) != (stuck, terminated, behind);
            (state.stuck, state.terminated, state.behind) = (stuck, terminated, behind);
            changed
        });
    }
}

impl Bus for PulsarBus {
    type Receipt = PulsarReceipt;

    fn tag(&self) -> BusTag {
        self.tag
    }

    async fn next(&mut self) -> Result<Vec<Delivery<PulsarReceipt>>, BusError> {
        loop {
            if !self.held.is_empty() {
                self.look_for_gap().await?;
                return Ok(std::mem::take(&mut self.held));
            }
            let Some(session) = &mut self.session else {
                self.connect().await?;
                continue;
            };
            match session.receive(&mut self.earlier).await {
                Ok(deliveries) => {
                    self.backoff.reset();
                    self.earlier.is_terminated &= deliveries.is_empty();
                    self.report();
                    self.held = deliveries;
                }
                Err(error) => self.lose(error).await?,
            }
        }
    }

    fn settle(_: &[PulsarReceipt], batch: &mut Batch<'_>) -> Result<(), StoreError> {
        // The broker forgets an entry once it is acknowledged.
        batch.sync_first();
        Ok(())
    }

    async fn acknowledge(&mut self, receipts: Vec<PulsarReceipt>) -> Result<(), BusError> {
        if let Some(session) = &mut self.session {
            session.acknowledge(&receipts);
        }
        Ok(())
    }
}

/// Whether entries are missing between the last applied position and the first delivered one.
/// `named_before` is the entry that the first one names in its property `after`. At the end of a
/// ledger without that property, a new subscription shows it: it begins with the oldest entry of
/// the topic, so anything before that is gone.
fn is_gap(applied: Position, first: Position, named_before: Option<EntryId>, is_new: bool) -> bool {
    is_hole(applied, first, named_before)
        || (is_new && first > applied && first.ledger != applied.ledger)
}

#[cfg(test)]
mod tests;
