//! One life of the reading end: a consumer, and what came of it.
//!
//! The library hands out messages one by one; an entry of which every message is on disk here is
//! acknowledged, with all before it. An entry that cannot be unpacked comes as an error without
//! its place: it is held until the next message shows where it was.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use pulsar::consumer::Message;
use pulsar::message::proto::MessageIdData;
use pulsar::{Consumer, TokioExecutor};
use tokio::time::Instant;

use super::PulsarError;
use super::link::{Client, Link, within};
use super::words::{away, is_unreadable_entry};
use crate::bus::{Content, Dead, Delivery};
use crate::model::message::{Incoming, RECEIVED, SCHEMA};
use crate::model::position::Position;
use crate::model::window::Timestamp;

/// Deliveries at once.
const DELIVERIES: usize = 500;
/// Bytes of them at once.
const DELIVERY_BYTES: usize = 4 << 20;
/// Entries in a row that cannot be unpacked; with more, the session is given up.
const UNREAD: usize = 1_000;
/// After so long a silence the session has to prove that it lives, and again each time.
const SILENCE: Duration = Duration::from_secs(10);
/// How long what the broker says it has may take to arrive, the first time; then twice as long.
const PROOF: Duration = Duration::from_secs(10);
/// The longest that it may take.
const MOST_PROOF: Duration = Duration::from_secs(600);

/// An entry of the topic: ledger and number. The messages of one batch share it.
pub(super) type Entry = (u64, u64);
type Received = Option<Result<Message<Vec<u8>>, pulsar::Error>>;

/// What a delivery is acknowledged with.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    entry: Entry,
    /// Whether its entry is complete with it.
    is_last: bool,
}

/// A consumer and what came of it.
pub(super) struct Session {
    consumer: Consumer<Vec<u8>, TokioExecutor>,
    /// Lives as long as its consumer.
    _client: Client,
    /// Up to where this store had applied the topic when the session began.
    pub(super) began_behind: Option<Position>,
    /// Whether the first delivery was compared with that.
    pub(super) is_joined: bool,
    /// The newest entry that was delivered, or applied before.
    reached: Option<Entry>,
    /// The topic's end while that is not reached.
    pub(super) ahead: Option<Entry>,
    pub(super) published_at: Option<Timestamp>,
    pub(super) told_at: Instant,
    /// Why the entries behind `reached` cannot be unpacked, one by one.
    unread: Vec<String>,
    /// Found after deliveries that were still good.
    broken: Option<PulsarError>,
}

/// How often nothing came although the topic goes on. What expired there is never delivered, so
/// a session is given up for it again and again, but ever less often: a broker that does not
/// deliver what it has is not waited for without end either.
#[derive(Debug, Default)]
pub(super) struct Stuck(u32);

impl Stuck {
    /// How long what the broker has may take to arrive.
    fn patience(&self) -> Duration {
        PROOF.saturating_mul(1 << self.0.min(16)).min(MOST_PROOF)
    }

    /// Whether a session was given up for this, and nothing came since.
    pub(super) fn is_so(&self) -> bool {
        self.0 > 0
    }

    /// Something came, or there is nothing to come.
    pub(super) fn is_over(&mut self) {
        self.0 = 0;
    }
}

impl Session {
    /// A session that has just begun, with a topic that ends there.
    pub(super) fn new(
        consumer: Consumer<Vec<u8>, TokioExecutor>,
        client: Client,
        applied: Option<Position>,
        end: Option<Entry>,
        told_at: Instant,
    ) -> Self {
        let reached = applied.map(entry_of);
        Self {
            consumer,
            _client: client,
            began_behind: applied,
            is_joined: false,
            reached,
            ahead: end.filter(|end| reached < Some(*end)),
            published_at: None,
            told_at,
            unread: Vec::new(),
            broken: None,
        }
    }

    /// What has arrived, at least one delivery. Between taking the first and returning nothing
    /// is waited for, so dropping the future loses nothing.
    pub(super) async fn receive(
        &mut self,
        link: &Link,
        stuck: &mut Stuck,
    ) -> Result<Vec<Delivery<Receipt>>, PulsarError> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        let mut deliveries = Vec::new();
        while deliveries.is_empty() {
            let first = if let Some(received) = self.consumer.next().now_or_never() {
                received
            } else {
                self.look_ahead(link).await?;
                self.first(link, stuck).await?
            };
            self.take(link, first, &mut deliveries)?;
        }
        stuck.is_over();
        let mut bytes: usize = deliveries.iter().map(size).sum();
        while deliveries.len() < DELIVERIES && bytes < DELIVERY_BYTES {
            let Some(received) = self.consumer.next().now_or_never() else { break };
            let taken = deliveries.len();
            if let Err(error) = self.take(link, received, &mut deliveries) {
                self.broken = Some(error);
                break;
            }
            bytes += deliveries[taken..].iter().map(size).sum::<usize>();
        }
        Ok(deliveries)
    }

    /// Whether there is more, once all that was known of is reached. Only when nothing waits to be
    /// taken: the library answers no question while it has no room for what came.
    async fn look_ahead(&mut self, link: &Link) -> Result<(), PulsarError> {
        if self.ahead.is_some_and(|end| self.reached >= Some(end)) {
            let end = end_of(link, &mut self.consumer).await?;
            self.ahead = end.filter(|end| self.reached < Some(*end));
        }
        Ok(())
    }

    /// Waits for the next thing on the stream; after a silence the session has to prove itself:
    /// the broker answers for this consumer, and has nothing that it does not send. A topic that
    /// grows meanwhile proves nothing.
    async fn first(&mut self, link: &Link, stuck: &mut Stuck) -> Result<Received, PulsarError> {
        let mut doubted = None;
        loop {
            if let Ok(received) = tokio::time::timeout(SILENCE, self.consumer.next()).await {
                return Ok(received);
            }
            let end = end_of(link, &mut self.consumer).await?;
            link.check_end(end, self.reached)?;
            let Some(end) = end.filter(|end| !self.has_come_to(*end)) else {
                stuck.is_over();
                doubted = None;
                continue;
            };
            let now = link.clock.instant();
            if now.duration_since(*doubted.get_or_insert(now)) >= stuck.patience() {
                stuck.0 = stuck.0.saturating_add(1);
                let doing = format!("reading {} at {}", link.topic, link.url);
                let why = format!(
                    "nothing comes, though the topic goes on to {}: it expired there, or the \
                     broker cannot read it: see the broker's log, and unload the topic \
                     (pulsar-admin topics unload)",
                    shown(end)
                );
                return Err(PulsarError::Away { doing, why });
            }
        }
    }

    /// Whether everything up to that entry has come, counting those that cannot be unpacked.
    fn has_come_to(&self, end: Entry) -> bool {
        let unread = self.unread.len() as u64;
        match self.reached {
            Some((ledger, entry)) => end <= (ledger, entry.saturating_add(unread)),
            None => end.1 < unread,
        }
    }

    /// Adds what came of something on the stream; nothing when its place is not known yet.
    fn take(
        &mut self,
        link: &Link,
        received: Received,
        deliveries: &mut Vec<Delivery<Receipt>>,
    ) -> Result<(), PulsarError> {
        let doing = || format!("reading {} at {}", link.topic, link.url);
        match received {
            Some(Ok(message)) => {
                let id = message.message_id();
                let entry = (id.ledger_id, id.entry_id);
                let reasons = std::mem::take(&mut self.unread);
                let places = places(self.reached, reasons.len(), entry);
                deliveries.extend(reasons.into_iter().zip(places).filter_map(unpacked));
                deliveries.push(self.read(message));
                Ok(())
            }
            Some(Err(error)) if is_unreadable_entry(&error) && self.unread.len() < UNREAD => {
                self.unread.push(format!("an entry of the topic cannot be unpacked: {error}"));
                Ok(())
            }
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
        let published_at = published_at(&message);
        let payload = message.payload;
        let size = payload.metadata.num_messages_in_batch;
        let size = size.and_then(|size| u32::try_from(size).ok()).unwrap_or(1);
        let properties = &payload.metadata.properties;
        let property = |name: &str| {
            properties.iter().find(|property| property.key == name).map(|p| p.value.as_str())
        };
        let content = match Incoming::read(&payload.data, property, published_at) {
            Ok(incoming) if incoming.flags_given => Content::Given(incoming.envelope),
            Ok(incoming) => Content::Bare(incoming.envelope),
            Err(why) => Content::Dead(Dead {
                reason: why.to_string(),
                received: property(RECEIVED).map(str::to_owned),
                schema: property(SCHEMA).map(str::to_owned),
                published_at,
                body: Some(payload.data),
            }),
        };
        self.reached = Some(entry);
        self.published_at = Some(published_at);
        Delivery {
            position: Position { ledger: entry.0, entry: entry.1, index },
            content,
            receipt: Receipt { entry, is_last: index + 1 >= size },
        }
    }

    /// Acknowledges the last of the entries that are complete, and so all before it.
    pub(super) async fn acknowledge(&mut self, topic: &str, receipts: &[Receipt]) {
        let complete = receipts.iter().rev().find(|receipt| receipt.is_last);
        let Some((ledger_id, entry_id)) = complete.map(|receipt| receipt.entry) else { return };
        let id = MessageIdData { ledger_id, entry_id, ..MessageIdData::default() };
        if let Err(error) = self.consumer.cumulative_ack_with_id(topic, id).await {
            tracing::debug!(%error, "an acknowledgement was not sent; the next one covers it");
        }
    }
}

/// Where as many entries were that came before `next` and could not be unpacked. Numbers in a
/// ledger are without holes, so they are the ones before `next`; those of a ledger that ended
/// there go on behind `before`, the entry before them. When what was delivered is delivered again,
/// `before` is ahead of `next`, and says nothing: those were put aside the first time.
fn places(before: Option<Entry>, count: usize, next: Entry) -> Vec<Option<Entry>> {
    let count = count as u64;
    let in_ledger = count.min(next.1);
    let before = before.filter(|before| *before < next);
    let ended = (1..=count - in_ledger).map(|n| before.map(|(ledger, entry)| (ledger, entry + n)));
    ended.chain((next.1 - in_ledger..next.1).map(|entry| Some((next.0, entry)))).collect()
}

fn unpacked((reason, entry): (String, Option<Entry>)) -> Option<Delivery<Receipt>> {
    let entry = entry?;
    Some(Delivery {
        position: Position { ledger: entry.0, entry: entry.1, index: 0 },
        content: Content::Dead(Dead {
            reason,
            body: None,
            published_at: Timestamp::default(),
            received: None,
            schema: None,
        }),
        receipt: Receipt { entry, is_last: true },
    })
}

fn size(delivery: &Delivery<Receipt>) -> usize {
    match &delivery.content {
        Content::Own(envelope, _) | Content::Given(envelope) | Content::Bare(envelope) => {
            envelope.event.len()
        }
        Content::Dead(dead) => dead.body.as_ref().map_or(0, Vec::len),
    }
}

/// When a message was published, by its producer's clock.
pub(super) fn published_at(message: &Message<Vec<u8>>) -> Timestamp {
    let millis = i64::try_from(message.payload.metadata.publish_time).unwrap_or(i64::MAX);
    Timestamp::from_micros(millis.saturating_mul(1_000))
}

pub(super) fn entry_of(position: Position) -> Entry {
    (position.ledger, position.entry)
}

pub(super) fn shown((ledger, entry): Entry) -> String {
    format!("{ledger}:{entry}")
}

/// The topic's last entry; `None` when its newest ledger is empty.
pub(super) async fn end_of(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_cannot_be_unpacked_is_where_the_next_one_shows() {
        assert_eq!(places(Some((7, 3)), 0, (7, 4)), []);
        assert_eq!(places(Some((7, 3)), 2, (7, 6)), [Some((7, 4)), Some((7, 5))]);
        assert_eq!(places(None, 2, (7, 2)), [Some((7, 0)), Some((7, 1))]);
        // The one ledger ended with two of them, the other began with one.
        let across = [Some((7, 4)), Some((7, 5)), Some((9, 0))];
        assert_eq!(places(Some((7, 3)), 3, (9, 1)), across);
        // Delivered again.
        assert_eq!(places(Some((7, 9)), 1, (7, 3)), [Some((7, 2))]);
        assert_eq!(places(Some((9, 5)), 2, (9, 1)), [None, Some((9, 0))]);
        assert_eq!(places(None, 1, (9, 0)), [None]);
    }

    #[test]
    fn patience_with_a_topic_that_brings_nothing_grows_and_has_an_end() {
        let mut stuck = Stuck::default();
        assert!(!stuck.is_so());
        let mut waits = Vec::new();
        for times in 0..40 {
            stuck.0 = times;
            waits.push(stuck.patience());
        }
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!((waits[0], waits[1], waits[39]), (PROOF, 2 * PROOF, MOST_PROOF));
        stuck.is_over();
        assert!(!stuck.is_so());
    }
}
