//! One life of the reading end: a consumer, and what came of it.
//!
//! Messages are handed out one by one; an entry of which every message is on disk here is
//! acknowledged, with all before it.

use std::time::Duration;

use futures_util::FutureExt as _;
use pulsar::error::ConnectionError;
use pulsar::proto::MessageIdData;
use tokio::time::Instant;

use super::PulsarError;
use super::arrived::{Receipt, read, size, unpacked};
use super::course::{Course, Entry, Step, entry_of, shown};
use super::link::{Link, within};
use super::reader::{Reader, Received};
use super::words::away;
use crate::bus::Delivery;
use crate::metrics;
use crate::model::position::Position;
use crate::model::window::Timestamp;

/// Deliveries at once.
const DELIVERIES: usize = 500;
/// Bytes of them at once.
const DELIVERY_BYTES: usize = 4 << 20;
/// Deliveries older than this when they come mean that there may be more.
const LATE: Duration = Duration::from_secs(60);
/// After so long a silence the session has to prove that it lives, and again each time.
const SILENCE: Duration = Duration::from_secs(10);
/// How long what the broker says it has may take to arrive, the first time; then twice as long.
const PROOF: Duration = Duration::from_secs(10);
/// The longest that it may take.
const MOST_PROOF: Duration = Duration::from_secs(600);

type Came = Result<Option<Received>, ConnectionError>;

/// A consumer and what came of it.
pub(super) struct Session {
    reader: Reader,
    /// Up to where this store had applied the topic when the session began.
    pub(super) began_behind: Option<Position>,
    pub(super) course: Course,
    /// The last of what is not passed on until the topic is known to be the one that was applied.
    withheld: Option<Delivery<Receipt>>,
    /// The topic's end while that is not reached.
    pub(super) ahead: Option<Entry>,
    /// When the newest delivery was published.
    published_at: Option<Timestamp>,
    /// Whether that was long before it came, so that there may be more.
    is_late: bool,
    /// Whether more was there when the last deliveries were taken.
    has_more: bool,
    /// Whether something came since the topic was asked for its end.
    is_unasked: bool,
    pub(super) told_at: Instant,
    /// Found after deliveries that were still good.
    broken: Option<PulsarError>,
}

/// What waiting came to.
enum Silence {
    /// Something came.
    Broken(Box<Came>),
    /// Nothing came, and the topic ends there, which settles something.
    Settled(Option<Entry>),
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
        reader: Reader,
        applied: Option<Position>,
        end: Option<Entry>,
        told_at: Instant,
    ) -> Self {
        let course = Course::new(applied, end);
        Self {
            reader,
            began_behind: applied,
            ahead: end.filter(|end| course.reached() < Some(*end)),
            course,
            withheld: None,
            published_at: None,
            is_late: false,
            has_more: false,
            is_unasked: false,
            told_at,
            broken: None,
        }
    }

    /// What has arrived; nothing when something else has changed: how far behind it is. Between
    /// taking the first and returning nothing is waited for, so dropping the future loses nothing.
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
            if let Some(received) = self.reader.next().now_or_never() {
                self.take(link, received, &mut deliveries)?;
            } else if self.has_to_ask() {
                // Only when nothing waits to be taken: what comes before the answer is kept.
                let end = end_of(link, &mut self.reader).await?;
                self.settle(link, end, &mut deliveries)?;
                return Ok(deliveries);
            } else {
                match self.first(link, stuck).await? {
                    Silence::Broken(first) => self.take(link, *first, &mut deliveries)?,
                    Silence::Settled(end) => {
                        self.settle(link, end, &mut deliveries)?;
                        return Ok(deliveries);
                    }
                }
            }
        }
        stuck.is_over();
        let mut bytes: usize = deliveries.iter().map(size).sum();
        self.has_more = true;
        while deliveries.len() < DELIVERIES && bytes < DELIVERY_BYTES {
            let Some(received) = self.reader.next().now_or_never() else {
                self.has_more = false;
                break;
            };
            let taken = deliveries.len();
            if let Err(error) = self.take(link, received, &mut deliveries) {
                self.broken = Some(error);
                break;
            }
            bytes += deliveries[taken..].iter().map(size).sum::<usize>();
        }
        self.is_late = self.age(link).is_some_and(|age| age > LATE);
        Ok(deliveries)
    }

    /// Whether what came tells that the topic has to be asked how far it goes: all that was known
    /// of it has come, or something came late, or what came is known.
    fn has_to_ask(&self) -> bool {
        let has_come = self.ahead.is_some_and(|end| self.has_come_to(end));
        self.is_unasked && (has_come || self.is_late || self.withheld.is_some())
    }

    /// The topic ends there, and nothing waits to be taken: how far it is ahead, and the last of
    /// what was withheld when it goes as far as it did. All of that is known here; with the last
    /// one all before it is acknowledged. An end that is not known proves nothing.
    fn settle(
        &mut self,
        link: &Link,
        end: Option<Entry>,
        deliveries: &mut Vec<Delivery<Receipt>>,
    ) -> Result<(), PulsarError> {
        link.check_end(end, self.course.reached())?;
        (self.is_unasked, self.is_late) = (false, false);
        self.ahead = end.filter(|end| !self.has_come_to(*end));
        if end.is_some() {
            self.course.prove();
            deliveries.extend(self.withheld.take());
        }
        Ok(())
    }

    /// Waits for the next thing on the stream; after a silence the session has to prove itself:
    /// the broker answers for this consumer, and has nothing that it does not send. A topic that
    /// grows meanwhile proves nothing.
    async fn first(&mut self, link: &Link, stuck: &mut Stuck) -> Result<Silence, PulsarError> {
        let mut doubted = None;
        loop {
            if let Ok(received) = tokio::time::timeout(SILENCE, self.reader.next()).await {
                return Ok(Silence::Broken(Box::new(received)));
            }
            let end = end_of(link, &mut self.reader).await?;
            link.check_end(end, self.course.reached())?;
            let rest = end.filter(|end| !self.has_come_to(*end));
            if rest.is_none() {
                stuck.is_over();
                doubted = None;
            }
            let tells = end.is_some() && self.withheld.is_some();
            if tells || rest.is_none() && self.ahead.is_some() {
                return Ok(Silence::Settled(end));
            }
            let Some(end) = rest else { continue };
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

    /// Whether everything up to that entry has come.
    fn has_come_to(&self, end: Entry) -> bool {
        self.course.reached() >= Some(end)
    }

    /// How old the newest delivery was, when there is more behind it.
    pub(super) fn behind(&self, link: &Link) -> Option<Duration> {
        let is_behind = self.ahead.is_some() || self.is_late && self.has_more;
        self.age(link).filter(|_| is_behind)
    }

    fn age(&self, link: &Link) -> Option<Duration> {
        Some(link.clock.now().since(self.published_at?))
    }

    /// Adds what came of something on the stream.
    fn take(
        &mut self,
        link: &Link,
        came: Came,
        deliveries: &mut Vec<Delivery<Receipt>>,
    ) -> Result<(), PulsarError> {
        let doing = || format!("reading {} at {}", link.topic, link.url);
        self.is_unasked = true;
        match came {
            Ok(Some(Ok(message))) => {
                self.published_at = Some(message.published_at);
                self.pass(link, read(message), deliveries)
            }
            Ok(Some(Err(unreadable))) => self.pass(link, unpacked(unreadable), deliveries),
            Ok(None) => {
                let why = "the stream has ended: the topic was closed, moved or terminated";
                Err(PulsarError::Away { doing: doing(), why: why.to_owned() })
            }
            Err(error) => Err(away(doing(), &error.into())),
        }
    }

    /// Passes on what comes, or withholds it.
    fn pass(
        &mut self,
        link: &Link,
        delivery: Delivery<Receipt>,
        deliveries: &mut Vec<Delivery<Receipt>>,
    ) -> Result<(), PulsarError> {
        let known = if self.come_to(link, delivery.position)? {
            deliveries.push(delivery);
            self.withheld.take()
        } else {
            self.withheld.replace(delivery)
        };
        metrics::EVENTS_REDELIVERED.add(known.iter().len() as u64);
        Ok(())
    }

    /// Whether what comes from there may be passed on. Where something is missing before it, the
    /// session is over: what only got lost on the way comes in the next one, and what the topic
    /// does not have any more shows there.
    fn come_to(&mut self, link: &Link, at: Position) -> Result<bool, PulsarError> {
        match self.course.come_to(at) {
            Step::Pass => Ok(true),
            Step::Withhold => Ok(false),
            Step::Hole(before) => {
                let doing = format!("reading {} at {}", link.topic, link.url);
                let (before, at) = (shown(before), shown(entry_of(at)));
                let why = format!("behind {before} came {at}: asking again for what is between");
                Err(PulsarError::Away { doing, why })
            }
        }
    }

    /// Acknowledges the last of the entries that are complete, and so all before it.
    pub(super) fn acknowledge(&mut self, receipts: &[Receipt]) {
        if let Some(complete) = receipts.iter().rev().find(|receipt| receipt.is_last) {
            self.reader.acknowledge(complete.entry);
        }
    }
}

/// The topic's last entry; `None` when its newest ledger is empty.
pub(super) async fn end_of(link: &Link, reader: &mut Reader) -> Result<Option<Entry>, PulsarError> {
    Ok(last_id(link, reader).await?.map(|id| (id.ledger_id, id.entry_id)))
}

/// The id of the topic's last message; `None` when its newest ledger is empty.
pub(super) async fn last_id(
    link: &Link,
    reader: &mut Reader,
) -> Result<Option<MessageIdData>, PulsarError> {
    let doing = || format!("asking {} how far {} goes", link.url, link.topic);
    let asked = async { reader.last_id().await.map_err(|error| away(doing(), &error.into())) };
    // An empty ledger's last entry is -1, as an unsigned number.
    Ok(within(PROOF, doing, asked).await?.filter(|id| id.entry_id.cast_signed() >= 0))
}

#[cfg(test)]
mod tests {
    use super::*;

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
