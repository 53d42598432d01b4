//! The reading end: this store's own durable subscription to the topic.
//!
//! Entries come in order, each with the messages of one batch. They are acknowledged up to the
//! last entry of which every message is on disk here, cumulatively, so what the broker keeps for
//! us never has holes. Acknowledgements are hints: one that is lost only means that something is
//! delivered again and skipped by its position.
//!
//! A session ends at the first error, at the end of the stream, and when it is silent and cannot
//! be proved alive: then it is dropped whole and the next one begins where the broker thinks that
//! we are.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use pulsar::consumer::{InitialPosition, Message};
use pulsar::message::proto::MessageIdData;
use pulsar::{Consumer, ConsumerOptions, SubType, TokioExecutor};
use tokio::sync::watch;
use tokio::time::Instant;

use super::link::{Client, Link, OPEN, within};
use super::topic::tag_of;
use super::words::{away, is_unreadable_entry};
use super::{PulsarError, PulsarOptions};
use crate::backoff::Backoff;
use crate::bus::{Bus, BusError, BusState, Content, Delivery};
use crate::clock::Clock;
use crate::metrics;
use crate::model::message::Incoming;
use crate::model::position::{BusTag, Position};
use crate::model::window::Timestamp;
use crate::store::keys::CursorKey;
use crate::store::rows::decode_cursor;
use crate::store::{APPLIED, Batch, Store, StoreError};

/// Messages that the broker may send ahead; more than any producer puts into one entry.
const AHEAD: u32 = 2_000;
/// Deliveries at once.
const DELIVERIES: usize = 500;
/// Bytes of them at once.
const DELIVERY_BYTES: usize = 4 << 20;
/// After so long a silence the session has to prove that it lives.
const SILENCE: Duration = Duration::from_secs(10);
/// How long it has for that, and for what the broker says it has to arrive.
const PROOF: Duration = Duration::from_secs(10);
/// Pauses between attempts to connect.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(20));
/// How often catching up is told in the log.
const TOLD: Duration = Duration::from_secs(10);
/// Deliveries older than this when they come mean that we are behind.
const LATE: Duration = Duration::from_secs(60);

/// An entry of the topic: ledger and number. The messages of one batch share it.
type Entry = (u64, u64);
type Received = Option<Result<Message<Vec<u8>>, pulsar::Error>>;

/// What a delivery is acknowledged with.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    entry: Entry,
    /// Whether its entry is complete with it.
    is_last: bool,
}

/// The topic as a bus.
pub struct PulsarBus {
    link: Link,
    store: Store,
    name: String,
    subscription: String,
    tag: BusTag,
    session: Option<Session>,
    backoff: Backoff,
    /// The topic's end on which an earlier session was given up as standing still.
    unreachable: Option<Entry>,
    state: watch::Sender<BusState>,
}

struct Session {
    consumer: Consumer<Vec<u8>, TokioExecutor>,
    /// Lives as long as its consumer.
    _client: Client,
    /// The newest entry that was delivered, or applied before.
    reached: Option<Entry>,
    /// The topic's end while that is not reached.
    ahead: Option<Entry>,
    published_at: Option<Timestamp>,
    told_at: Instant,
    /// Found after deliveries that were still good.
    broken: Option<PulsarError>,
}

impl PulsarBus {
    /// The topic, read for this store. Reads the files that the options name; connects when the
    /// first delivery is asked for.
    pub fn new(options: &PulsarOptions, store: Store, clock: Clock) -> Result<Self, PulsarError> {
        let link = Link::new(options, clock)?;
        let since = clock.now();
        let state = BusState { connected: false, since, trouble: None, behind: None };
        Ok(Self {
            tag: tag_of(&link.topic)?,
            link,
            name: options.consumer_name.clone(),
            subscription: format!("{}-{}", options.consumer_name, store.store_id()),
            store,
            session: None,
            backoff: Backoff::new(PAUSES.0, PAUSES.1),
            unreachable: None,
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
                self.session = Some(session);
                let since = self.link.clock.now();
                self.state.send_modify(|state| {
                    (state.connected, state.since) = (true, since);
                });
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
    async fn applied(&self) -> Result<Option<Entry>, StoreError> {
        let tag = self.tag;
        self.store
            .read(move |reader| {
                let value = reader.get(&CursorKey(APPLIED.to_owned()))?;
                let cursor = value.map(|value| decode_cursor(APPLIED, &value)).transpose()?;
                let ours = cursor.filter(|cursor| cursor.tag == tag);
                Ok(ours.map(|cursor| (cursor.position.ledger, cursor.position.entry)))
            })
            .await
    }

    async fn open(&self, applied: Option<Entry>) -> Result<Session, PulsarError> {
        let client = Box::pin(self.link.client()).await?;
        let options = ConsumerOptions::default()
            .durable(true)
            .with_initial_position(InitialPosition::Earliest)
            .with_receiver_queue_size(AHEAD);
        let subscribing = client
            .consumer()
            .with_topic(&self.link.topic)
            .with_subscription(&self.subscription)
            .with_subscription_type(SubType::Exclusive)
            .with_consumer_name(&self.name)
            .with_batch_size(AHEAD)
            .with_options(options)
            .build();
        let mut consumer = Box::pin(subscribing).await.map_err(|error| {
            away(format!("subscribing to {} at {}", self.link.topic, self.link.url), &error)
        })?;
        let end = end_of(&self.link, &mut consumer).await?;
        self.link.check_end(end, applied)?;
        Ok(Session {
            consumer,
            _client: client,
            reached: applied,
            ahead: end.filter(|end| applied.is_none_or(|applied| *end > applied)),
            published_at: None,
            told_at: self.link.clock.instant(),
            broken: None,
        })
    }

    /// Tells how far behind the newest delivery was.
    fn report(&mut self) {
        let Some(session) = &mut self.session else { return };
        let Some(published_at) = session.published_at else { return };
        let age = self.link.clock.now().since(published_at);
        let behind = (session.ahead.is_some() || age > LATE).then_some(age);
        metrics::BUS_BEHIND_SECONDS.set(behind.unwrap_or_default().as_secs_f64());
        let was_behind = self.state.borrow().behind.is_some();
        let now = self.link.clock.instant();
        if behind.is_none() && was_behind {
            tracing::info!("all that the topic had is caught up with");
        } else if behind.is_some() && now.duration_since(session.told_at) > TOLD {
            session.told_at = now;
            tracing::info!(seconds_behind = age.as_secs(), "catching up with the topic");
        }
        self.state.send_if_modified(|state| {
            let changed = state.behind != behind;
            state.behind = behind;
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
            let Some(session) = &mut self.session else {
                self.connect().await?;
                continue;
            };
            match session.receive(&self.link, &mut self.unreachable).await {
                Ok(deliveries) => {
                    self.backoff.reset();
                    self.report();
                    return Ok(deliveries);
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

    fn settle(_: &[Receipt], _: &mut Batch<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn acknowledge(&mut self, receipts: Vec<Receipt>) -> Result<(), BusError> {
        let complete = receipts.iter().rev().find(|receipt| receipt.is_last);
        let (Some(session), Some(receipt)) = (&mut self.session, complete) else { return Ok(()) };
        let (ledger_id, entry_id) = receipt.entry;
        let id = MessageIdData { ledger_id, entry_id, ..MessageIdData::default() };
        let sent = session.consumer.cumulative_ack_with_id(&self.link.topic, id).await;
        if let Err(error) = sent {
            tracing::debug!(%error, "an acknowledgement was not sent; the next one covers it");
        }
        Ok(())
    }
}

impl Session {
    /// What has arrived, at least one delivery. Between taking the first and returning nothing
    /// is waited for, so dropping the future loses nothing.
    async fn receive(
        &mut self,
        link: &Link,
        unreachable: &mut Option<Entry>,
    ) -> Result<Vec<Delivery<Receipt>>, PulsarError> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        if self.ahead.is_some_and(|end| self.reached >= Some(end)) {
            // It may have grown meanwhile.
            let end = end_of(link, &mut self.consumer).await?;
            self.ahead = end.filter(|end| self.reached < Some(*end));
        }
        let first = self.first(link, unreachable).await?;
        let mut deliveries = vec![self.take(link, first)?];
        let mut bytes = size(&deliveries[0]);
        while deliveries.len() < DELIVERIES && bytes < DELIVERY_BYTES {
            let Some(received) = self.consumer.next().now_or_never() else { break };
            match self.take(link, received) {
                Ok(delivery) => {
                    bytes += size(&delivery);
                    deliveries.push(delivery);
                }
                Err(error) => {
                    self.broken = Some(error);
                    break;
                }
            }
        }
        Ok(deliveries)
    }

    /// Waits for the next thing on the stream; after a silence the session has to prove itself:
    /// the broker answers for this consumer, and has nothing that it does not send.
    async fn first(
        &mut self,
        link: &Link,
        unreachable: &mut Option<Entry>,
    ) -> Result<Received, PulsarError> {
        let (mut patience, mut doubted) = (SILENCE, None);
        loop {
            if let Ok(received) = tokio::time::timeout(patience, self.consumer.next()).await {
                return Ok(received);
            }
            let end = end_of(link, &mut self.consumer).await?;
            link.check_end(end, self.reached)?;
            let missing = end.filter(|end| Some(*end) > self.reached && Some(*end) != *unreachable);
            match missing {
                None => (patience, doubted) = (SILENCE, None),
                Some(end) if doubted != Some(end) => (patience, doubted) = (PROOF, Some(end)),
                Some(end) => {
                    // Once for each end: entries that expired are never delivered.
                    *unreachable = Some(end);
                    let doing = format!("reading {} at {}", link.topic, link.url);
                    let why = format!("nothing comes, though the topic goes on to {}", shown(end));
                    return Err(PulsarError::Away { doing, why });
                }
            }
        }
    }

    fn take(&mut self, link: &Link, received: Received) -> Result<Delivery<Receipt>, PulsarError> {
        let doing = || format!("reading {} at {}", link.topic, link.url);
        match received {
            Some(Ok(message)) => Ok(self.read(message)),
            Some(Err(error)) if is_unreadable_entry(&error) => Ok(self.lost_entry(&error)),
            Some(Err(error)) => Err(away(doing(), &error)),
            None => {
                let why = "the stream has ended: the topic was closed, moved or terminated";
                Err(PulsarError::Away { doing: doing(), why: why.to_owned() })
            }
        }
    }

    fn read(&mut self, message: Message<Vec<u8>>) -> Delivery<Receipt> {
        let id = message.message_id();
        let entry = (id.ledger_id, id.entry_id);
        let index = id.batch_index.and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
        let payload = message.payload;
        let size = payload.metadata.num_messages_in_batch;
        let size = size.and_then(|size| u32::try_from(size).ok()).unwrap_or(1);
        let millis = i64::try_from(payload.metadata.publish_time).unwrap_or(i64::MAX);
        let published_at = Timestamp::from_micros(millis.saturating_mul(1_000));
        let properties = &payload.metadata.properties;
        let property = |name: &str| {
            properties.iter().find(|property| property.key == name).map(|p| p.value.as_str())
        };
        let content = match Incoming::read(&payload.data, property, published_at) {
            Ok(incoming) if incoming.flags_given => Content::Given(incoming.envelope),
            Ok(incoming) => Content::Bare(incoming.envelope),
            Err(why) => Content::Dead { reason: why.to_string(), body: payload.data },
        };
        self.reached = Some(entry);
        self.published_at = Some(published_at);
        Delivery {
            position: Position { ledger: entry.0, entry: entry.1, index },
            content,
            receipt: Receipt { entry, is_last: index + 1 >= size },
        }
    }

    /// An entry that cannot be unpacked comes without its place: it is the one behind the last.
    fn lost_entry(&mut self, error: &pulsar::Error) -> Delivery<Receipt> {
        let entry = self.reached.map_or((0, 0), |(ledger, entry)| (ledger, entry + 1));
        self.reached = Some(entry);
        Delivery {
            position: Position { ledger: entry.0, entry: entry.1, index: 0 },
            content: Content::Dead {
                reason: format!("an entry of the topic cannot be unpacked: {error}"),
                body: Vec::new(),
            },
            // Its place is a guess; the next entry's acknowledgement covers it.
            receipt: Receipt { entry, is_last: false },
        }
    }
}

fn size(delivery: &Delivery<Receipt>) -> usize {
    match &delivery.content {
        Content::Own(envelope, _) | Content::Given(envelope) | Content::Bare(envelope) => {
            envelope.event.len()
        }
        Content::Dead { body, .. } => body.len(),
    }
}

pub(super) fn shown((ledger, entry): Entry) -> String {
    format!("{ledger}:{entry}")
}

/// The topic's last entry; `None` when its newest ledger is empty.
async fn end_of(
    link: &Link,
    consumer: &mut Consumer<Vec<u8>, TokioExecutor>,
) -> Result<Option<Entry>, PulsarError> {
    let doing = || format!("asking {} how far {} goes", link.url, link.topic);
    let asked = async {
        let ids = Box::pin(consumer.get_last_message_id())
            .await
            .map_err(|error| away(doing(), &error))?;
        Ok(ids.first().map(|id| (id.ledger_id, id.entry_id)))
    };
    // An empty ledger's last entry is -1, as an unsigned number.
    Ok(within(PROOF, doing, asked).await?.filter(|(_, entry)| entry.cast_signed() >= 0))
}
