//! The reading end: this store's own durable subscription to the topic.
//!
//! Entries come in order, each with the messages of one batch. They are acknowledged up to the
//! last entry of which every message is on disk here, cumulatively, so what the broker keeps for
//! us never has holes. Acknowledgements are hints: one that is lost only means that something is
//! delivered again and skipped by its position.
//!
//! A session ends at the first error, at the end of the stream, and when it is silent and cannot
//! be proved alive: then it is dropped whole and the next one begins where the broker thinks that
//! we are. What the topic does not have any more becomes a gap in the store before anything
//! behind it is delivered.

use std::sync::Arc;
use std::time::Duration;

use pulsar::consumer::InitialPosition;
use tokio::sync::watch;

use super::arrived::Receipt;
use super::course::{entry_of, is_hole};
use super::link::{Link, OPEN, within};
use super::reader::{Reader, Subscription};
use super::session::{Session, Stuck, end_of};
use super::topic::tag_of;
use super::{PulsarError, PulsarOptions};
use crate::backoff::Backoff;
use crate::bus::{Bus, BusError, BusState, Delivery};
use crate::clock::Clock;
use crate::metrics;
use crate::model::gap::{Gap, GapReason};
use crate::model::position::{BusTag, Cursor, Position};
use crate::store::keys::MetaKey;
use crate::store::{Batch, Store, StoreError, gaps};

/// Pauses between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How often catching up is told in the log.
const TOLD: Duration = Duration::from_secs(10);
/// Under which name, before the bus's tag, the store keeps the subscription that it reads by. Older
/// versions kept one without a tag.
const SUBSCRIPTION: &str = "pulsar_subscription";

/// The topic as a bus.
pub struct PulsarBus {
    link: Arc<Link>,
    store: Store,
    name: String,
    subscription: String,
    tag: BusTag,
    session: Option<Box<Session>>,
    /// Whether its first new delivery was compared with what was applied.
    is_joined: bool,
    backoff: Backoff,
    stuck: Stuck,
    /// What has come and was not handed out yet.
    held: Vec<Delivery<Receipt>>,
    state: watch::Sender<BusState>,
}

impl PulsarBus {
    /// The topic, read for this store. Reads the files that the options name; connects when the
    /// first delivery is asked for.
    pub fn new(options: &PulsarOptions, store: Store, clock: Clock) -> Result<Self, PulsarError> {
        let link = Arc::new(Link::new(options, clock)?);
        let since = clock.now();
        let state = BusState { connected: false, since, trouble: None, stuck: false, behind: None };
        Ok(Self {
            tag: tag_of(&link.topic)?,
            link,
            name: options.consumer_name.clone(),
            subscription: format!("{}-{}", options.consumer_name, store.store_id()),
            store,
            session: None,
            is_joined: false,
            backoff: Backoff::new(PAUSES.0, PAUSES.1),
            stuck: Stuck::default(),
            held: Vec::new(),
            state: watch::Sender::new(state),
        })
    }

    /// How it is doing, for whoever tells people.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<BusState> {
        self.state.subscribe()
    }

    /// The name of the subscription.
    #[must_use]
    pub fn subscription(&self) -> &str {
        &self.subscription
    }

    /// Connects, however long that takes; gives up only what time cannot mend.
    async fn connect(&mut self) -> Result<(), BusError> {
        let doing = || format!("subscribing to {} at {}", self.link.topic, self.link.url);
        let applied = self.applied().await?;
        match within(OPEN, doing, Box::pin(self.open(applied))).await {
            Ok(session) => {
                tracing::info!(
                    topic = self.link.topic,
                    subscription = self.subscription,
                    behind = session.ahead.is_some(),
                    "the bus is connected"
                );
                let is_behind = session.ahead.is_some();
                let stuck = self.stuck.is_so() && is_behind;
                (self.session, self.is_joined) = (Some(Box::new(session)), false);
                let since = self.link.clock.now();
                self.state.send_modify(|state| {
                    (state.connected, state.since, state.stuck) = (true, since, stuck);
                    state.behind = state.behind.filter(|_| is_behind);
                });
                if !is_behind {
                    metrics::BUS_BEHIND_SECONDS.set(0.0);
                }
                Ok(())
            }
            Err(error) if error.is_transient() => {
                self.lose(&error);
                let pause = self.backoff.next_wait();
                self.link.clock.sleep(pause).await;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn lose(&mut self, error: &PulsarError) {
        self.session = None;
        metrics::BUS_LOST.add(1);
        let since = self.link.clock.now();
        self.state.send_modify(|state| {
            if state.connected {
                state.since = since;
            }
            state.connected = false;
            state.trouble = Some(error.to_string());
        });
        tracing::warn!(%error, "the bus is away; trying again");
    }

    /// Up to where this store has applied the topic.
    async fn applied(&self) -> Result<Option<Position>, StoreError> {
        let tag = self.tag;
        let applied = self.store.read(|reader| reader.applied()).await?;
        Ok(applied.filter(|cursor| cursor.tag == tag).map(|cursor| cursor.position))
    }

    async fn open(&self, applied: Option<Position>) -> Result<Session, PulsarError> {
        let to = Subscription {
            name: self.subscription.clone(),
            consumer: self.name.clone(),
            is_durable: true,
            from: InitialPosition::Earliest,
        };
        let mut reader = Box::pin(Reader::open(&self.link, &to)).await?;
        let end = end_of(&self.link, &mut reader).await?;
        self.link.check_end(end, applied.map(entry_of))?;
        let now = self.link.clock.instant();
        Ok(Session::new(reader, applied, end, now))
    }

    /// Before the first new one of a session's deliveries is handed out: keeps a gap when the topic
    /// did not have what this store needs next, and by which subscription it reads.
    async fn look_for_gap(&mut self) -> Result<(), StoreError> {
        let Some(session) = self.session.as_ref().filter(|_| !self.is_joined) else {
            return Ok(());
        };
        let (applied, tag, name) = (session.began_behind, self.tag, self.subscription.clone());
        let begins_known = self.held.first().map(|delivery| delivery.position) <= applied;
        let began = session.course.began();
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
            let Some((after, until)) = applied.zip(began).filter(|(a, b)| is_gap(*a, *b, is_new))
            else {
                return Ok(None);
            };
            let reason = GapReason::Retention;
            gaps::record(batch, tag, Gap { after, until, count: None, reason, noticed_at })?;
            Ok(Some((after, until)))
        });
        if let Some((after, until)) = found.await? {
            let shown = |position| Cursor { tag, position }.to_string();
            tracing::warn!(
                after = shown(after),
                until = shown(until),
                "the topic no longer has what this store lacks: a gap; for next time, give its \
                 namespace a longer retention"
            );
        }
        self.is_joined = began.is_some();
        Ok(())
    }

    /// Tells how far behind the newest delivery was.
    fn report(&mut self) {
        let Some(session) = &mut self.session else { return };
        let behind = session.behind(&self.link);
        metrics::BUS_BEHIND_SECONDS.set(behind.unwrap_or_default().as_secs_f64());
        let was_behind = self.state.borrow().behind.is_some();
        let now = self.link.clock.instant();
        match behind {
            None if was_behind => tracing::info!("all that the topic had is caught up with"),
            Some(age) if now.duration_since(session.told_at) > TOLD => {
                session.told_at = now;
                tracing::info!(seconds_behind = age.as_secs(), "catching up with the topic");
            }
            _ => {}
        }
        self.state.send_if_modified(|state| {
            let changed = state.stuck || state.behind != behind;
            (state.stuck, state.behind) = (false, behind);
            changed
        });
    }
}

impl Bus for PulsarBus {
    type Receipt = Receipt;

    fn tag(&self) -> BusTag {
        self.tag
    }

    async fn next(&mut self) -> Result<Vec<Delivery<Receipt>>, BusError> {
        loop {
            if !self.held.is_empty() {
                self.look_for_gap().await?;
                return Ok(std::mem::take(&mut self.held));
            }
            let Some(session) = &mut self.session else {
                self.connect().await?;
                continue;
            };
            match session.receive(&self.link, &mut self.stuck).await {
                Ok(deliveries) => {
                    self.backoff.reset();
                    self.report();
                    self.held = deliveries;
                }
                Err(error) if error.is_transient() => {
                    self.lose(&error);
                    let pause = self.backoff.next_wait();
                    self.link.clock.sleep(pause).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn settle(_: &[Receipt], batch: &mut Batch<'_>) -> Result<(), StoreError> {
        // What is acknowledged is never delivered again.
        batch.sync_first();
        Ok(())
    }

    async fn acknowledge(&mut self, receipts: Vec<Receipt>) -> Result<(), BusError> {
        if let Some(session) = &mut self.session {
            session.acknowledge(&receipts);
        }
        Ok(())
    }
}

/// Whether something is missing between what was applied and the first that is delivered. Where
/// one ledger ends and the next begins, only a new subscription tells: it begins with the oldest
/// that the topic has, so what it does not begin with is gone. Ours keeps what it has not given
/// out, and goes on from ledger to ledger.
fn is_gap(applied: Position, first: Position, is_new: bool) -> bool {
    is_hole(applied, first) || (is_new && first > applied && first.ledger != applied.ledger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_the_next_nor_known_shows_a_gap() {
        let at = |ledger, entry, index| Position { ledger, entry, index };
        let applied = at(7, 3, 2);
        for is_new in [false, true] {
            for known in [at(7, 3, 2), at(7, 3, 0), at(7, 1, 0), at(5, 9, 0), at(7, 3, 3)] {
                assert!(!is_gap(applied, known, is_new), "{known:?}");
            }
            assert!(!is_gap(applied, at(7, 4, 0), is_new));
            assert!(is_gap(applied, at(7, 5, 0), is_new));
            assert!(is_gap(applied, at(9, 1, 0), is_new));
            assert_eq!(is_gap(applied, at(9, 0, 0), is_new), is_new);
        }
    }
}
