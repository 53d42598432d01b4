//! One session of the receiving end: a consumer and its progress through the topic.
//!
//! Messages are returned one by one. Once every message of an entry is on disk here, that entry and
//! all before it are acknowledged.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use pulsar::consumer::InitialPosition;
use pulsar::error::ConnectionError;
use pulsar::proto::MessageIdData;
use tokio::time::Instant;

use super::delivery::{PulsarReceipt, read, size, unpacked};
use super::diagnosis::{away, explain};
use super::entry::UnreadableEntry;
use super::error::PulsarError;
use super::link::{PulsarLink, within};
use super::progress::{EntryId, NextStep, ResumePoint, TopicProgress, entry_of, shown};
use super::reader::{ReceivedMessage, SubscribeOptions, TopicReader};
use crate::bus::Delivery;
use crate::metrics;
use crate::model::position::Position;
use crate::model::window::Timestamp;

/// Most deliveries that are returned at once.
const DELIVERIES: usize = 500;
/// Bytes of deliveries that are returned at once.
const DELIVERY_BYTES: usize = 4 << 20;
/// Deliveries that arrive later than this suggest that more are waiting.
const LATE: Duration = Duration::from_secs(60);
/// Silence after which the session checks that the broker still answers; repeated each time.
const SILENCE: Duration = Duration::from_secs(10);
/// Time limit for the answer of the broker to a request.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// Time within which a broker tells a new subscription that the topic was terminated.
const TOLD: Duration = Duration::from_secs(1);
/// Time limit for entries that the broker says it has; doubled each time that it is exceeded.
pub(super) const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// The longest such time limit.
const LONGEST_PATIENCE: Duration = Duration::from_secs(600);
/// Sessions that end because the same entry arrived damaged; in the next one it is a dead letter.
const DAMAGED_SESSIONS: u32 = 3;

type ReadResult = Result<Option<ReceivedMessage>, ConnectionError>;

/// A consumer and its progress.
pub(super) struct ReaderSession {
    reader: TopicReader,
    /// The position up to which this store had applied the topic when the session began.
    pub(super) began_behind: Option<Position>,
    pub(super) progress: TopicProgress,
    /// The last delivery that is withheld until the topic is known to be the one that was applied.
    withheld: Option<Delivery<PulsarReceipt>>,
    /// The first entry in another ledger than the one before, until it is known to be there.
    unverified: Option<UnverifiedEntry>,
    /// The deliveries of such an entry that is verified; they are returned next.
    verified: VecDeque<Delivery<PulsarReceipt>>,
    /// The delivery after such an entry; it is taken after those.
    next: Option<Delivery<PulsarReceipt>>,
    /// The topic's last entry, until it is reached.
    pub(super) ahead: Option<EntryId>,
    /// When the newest delivery was published.
    published_at: Option<Timestamp>,
    /// Whether it arrived late, so that more may be waiting.
    is_late: bool,
    /// Whether more had arrived when the last deliveries were returned.
    has_more: bool,
    /// Whether something arrived since the broker was last asked for the topic's end.
    is_unasked: bool,
    /// How often nothing came for [`SILENCE`].
    silences: u32,
    pub(super) logged_at: Instant,
    /// An error that was found after good deliveries; returned once those are.
    broken: Option<PulsarError>,
}

/// An entry whose id may be damaged: no checksum covers it. With a wrong ledger it would make all
/// entries up to there look as if they were applied.
struct UnverifiedEntry {
    deliveries: Vec<Delivery<PulsarReceipt>>,
    /// Whether the topic is known to end later. Then the next entry shows whether the id is right.
    is_before_end: bool,
}

impl UnverifiedEntry {
    fn at(&self) -> EntryId {
        self.deliveries.first().map(|first| entry_of(first.position)).unwrap_or_default()
    }
}

/// How a wait for the stream ended.
enum Waited {
    /// Something arrived.
    Received(Box<ReadResult>),
    /// Nothing arrived, and the topic ends at this entry, which is news.
    Settled(Option<EntryId>),
    /// Nothing arrived after the first entry of a ledger, which is delivered now.
    Verified,
}

/// What a session has to know of those before it.
#[derive(Debug, Default)]
pub(super) struct EarlierSessions {
    /// Sessions in which the broker did not deliver entries that the topic has. Expired entries are
    /// never delivered, so such sessions are given up again and again, after longer and longer
    /// waits.
    silent: u32,
    /// The last entry that arrived damaged, and in how many sessions in a row.
    damaged: Option<(EntryId, u32)>,
    /// The first new position of the session that ended because entries before it are missing.
    pub(super) expected: Option<Position>,
    /// Attempts in a row to move the subscription back that failed, since something new arrived.
    pub(super) unmoved: u32,
    /// Whether the topic is known to have markers.
    pub(super) has_markers: bool,
    /// Whether the topic was terminated, and nothing has arrived since.
    pub(super) is_terminated: bool,
}

impl EarlierSessions {
    /// The time limit for entries that the broker has.
    fn patience(&self) -> Duration {
        FIRST_PATIENCE.saturating_mul(1 << self.silent.min(16)).min(LONGEST_PATIENCE)
    }

    /// Whether a session was given up for this, and nothing arrived since.
    pub(super) fn is_stuck(&self) -> bool {
        self.silent > 0
    }

    /// Something new arrived, or the end of the topic is reached.
    pub(super) fn reset(&mut self) {
        (self.silent, self.unmoved) = (0, 0);
    }

    /// Whether another session may bring an entry as the topic has it: it cannot be unpacked, and
    /// nothing shows that its producer made it so. Counts this session.
    fn may_arrive_whole(&mut self, unreadable: &UnreadableEntry) -> bool {
        let entry = unreadable.entry;
        if unreadable.is_intact {
            return false;
        }
        // Those that follow one which stayed damaged are not waited for: a producer may write them.
        let continues = |(last, sessions): &(EntryId, u32)| {
            let is_next = last.0 == entry.0 && last.1.checked_add(1) == Some(entry.1);
            *last == entry || is_next && *sessions > DAMAGED_SESSIONS
        };
        let before = self.damaged.filter(continues);
        let sessions = before.map_or(1, |(_, sessions)| sessions.saturating_add(1));
        self.damaged = Some((entry, sessions));
        sessions <= DAMAGED_SESSIONS
    }
}

impl ReaderSession {
    /// A new session of a topic whose last entry is `end`.
    pub(super) fn new(
        reader: TopicReader,
        resume: ResumePoint,
        end: Option<EntryId>,
        logged_at: Instant,
    ) -> Self {
        let progress = TopicProgress::new(resume, end);
        Self {
            reader,
            began_behind: resume.applied,
            ahead: end.filter(|end| progress.reached() < Some(*end)),
            progress,
            withheld: None,
            unverified: None,
            verified: VecDeque::new(),
            next: None,
            published_at: None,
            is_late: false,
            has_more: false,
            is_unasked: false,
            silences: 0,
            logged_at,
            broken: None,
        }
    }

    /// Waits for deliveries; returns none when only the distance to the topic's end has changed.
    /// Cancel safe: nothing is awaited between the first delivery and the return.
    pub(super) async fn receive(
        &mut self,
        earlier: &mut EarlierSessions,
    ) -> Result<Vec<Delivery<PulsarReceipt>>, PulsarError> {
        if self.verified.is_empty()
            && let Some(error) = self.broken.take()
        {
            return Err(error);
        }
        let mut deliveries = Vec::new();
        while deliveries.is_empty() {
            if self.has_unknown_end() {
                let end = end_of(&mut self.reader).await?;
                self.verify_with(end)?;
                continue;
            }
            if self.take_next(earlier, &mut deliveries)? {
                continue;
            }
            if self.has_to_ask() {
                // Only when nothing has arrived: entries that precede the response are queued.
                let end = end_of(&mut self.reader).await?;
                self.settle(end, &mut deliveries)?;
                return Ok(deliveries);
            }
            match self.first(earlier).await? {
                Waited::Received(first) => self.take(*first, earlier, &mut deliveries)?,
                Waited::Settled(end) => {
                    self.settle(end, &mut deliveries)?;
                    return Ok(deliveries);
                }
                Waited::Verified => {}
            }
        }
        let mut bytes: usize = deliveries.iter().map(size).sum();
        self.has_more = true;
        while deliveries.len() < DELIVERIES && bytes < DELIVERY_BYTES && !self.has_unknown_end() {
            if self.verified.is_empty() && self.broken.is_some() {
                break;
            }
            let taken = deliveries.len();
            match self.take_next(earlier, &mut deliveries) {
                Ok(true) => {}
                Ok(false) => {
                    self.has_more = false;
                    break;
                }
                Err(error) => {
                    self.broken = Some(error);
                    break;
                }
            }
            bytes += deliveries[taken..].iter().map(size).sum::<usize>();
        }
        // What is delivered again after the subscription was moved back shows nothing.
        if self.progress.began().is_some() {
            earlier.reset();
        }
        self.is_late = self.age().is_some_and(|age| age > LATE);
        Ok(deliveries)
    }

    /// Whether an entry has arrived that may be after the topic's end.
    fn has_unknown_end(&self) -> bool {
        self.unverified.as_ref().is_some_and(|unverified| !unverified.is_before_end)
    }

    /// Compares such an entry with the topic's end. While the end is unknown, because the newest
    /// ledger is empty, the entry is believed: nothing may come after it for a long time.
    fn verify_with(&mut self, end: Option<EntryId>) -> Result<(), PulsarError> {
        let Some(mut unverified) = self.unverified.take() else { return Ok(()) };
        let at = unverified.at();
        match end {
            Some(end) if end < at => {
                let (at, end) = (shown(at), shown(end));
                let why = format!("{at} came, but the topic ends at {end}: reconnecting");
                return Err(self.reader.link().read_error(why));
            }
            Some(end) if end > at => {
                unverified.is_before_end = true;
                self.unverified = Some(unverified);
            }
            _ => self.verified.extend(unverified.deliveries),
        }
        Ok(())
    }

    /// Whether the broker has to be asked for the topic's end: the known end is reached, or
    /// something arrived late, or is withheld.
    fn has_to_ask(&self) -> bool {
        let has_come = self.ahead.is_some_and(|end| self.has_reached(end));
        self.is_unasked && (has_come || self.is_late || self.withheld.is_some())
    }

    /// Records the topic's end. When the topic extends as far as before, the last withheld delivery
    /// is passed on: all withheld ones are redeliveries, and acknowledging the last acknowledges
    /// them all. An unknown end proves nothing.
    fn settle(
        &mut self,
        end: Option<EntryId>,
        deliveries: &mut Vec<Delivery<PulsarReceipt>>,
    ) -> Result<(), PulsarError> {
        self.reader.link().check_end(end, self.progress.reached())?;
        (self.is_unasked, self.is_late) = (false, false);
        self.ahead = end.filter(|end| !self.has_reached(*end));
        if end.is_some() {
            self.progress.prove();
            deliveries.extend(self.withheld.take());
        }
        Ok(())
    }

    /// Waits for something on the stream. After a silence it checks that the broker answers for
    /// this consumer, that the topic was not terminated, and that the broker has no entries that it
    /// does not deliver. A topic that grows meanwhile proves nothing.
    async fn first(&mut self, earlier: &mut EarlierSessions) -> Result<Waited, PulsarError> {
        let mut doubted = None;
        loop {
            if let Ok(received) = tokio::time::timeout(SILENCE, self.reader.next()).await {
                return Ok(Waited::Received(Box::new(received)));
            }
            let end = end_of(&mut self.reader).await?;
            self.reader.link().check_end(end, self.progress.reached())?;
            self.silences = self.silences.saturating_add(1);
            // Once a session: what happens while it is connected, the broker tells it.
            if self.silences == 1 && !earlier.is_terminated {
                Box::pin(look_for_termination(self.reader.link())).await?;
            }
            let rest = end.filter(|end| !self.has_reached(*end));
            if rest.is_none() {
                earlier.reset();
                doubted = None;
            }
            let tells = end.is_some() && self.withheld.is_some();
            if tells || rest.is_none() && self.ahead.is_some() {
                return Ok(Waited::Settled(end));
            }
            let Some(end) = rest else { continue };
            let now = self.reader.link().clock.instant();
            if now.duration_since(*doubted.get_or_insert(now)) >= earlier.patience() {
                // The next entry does not come to prove it. It came with the same id again: the
                // session before was given up for that.
                let verified = self.unverified.take_if(|it| earlier.is_stuck() && it.at() < end);
                if let Some(verified) = verified {
                    self.verified.extend(verified.deliveries);
                    return Ok(Waited::Verified);
                }
                earlier.silent = earlier.silent.saturating_add(1);
                return Err(self.reader.link().read_error(format!(
                    "the broker delivers nothing, though the topic extends to {}: the entries have \
                     expired, or the broker cannot read them: see its log, and unload the topic \
                     (pulsar-admin topics unload)",
                    shown(end)
                )));
            }
        }
    }

    /// Whether everything up to that entry has arrived.
    fn has_reached(&self, end: EntryId) -> bool {
        self.progress.reached() >= Some(end)
    }

    /// The age of the newest delivery while more are waiting.
    pub(super) fn behind(&self) -> Option<Duration> {
        let is_behind = self.ahead.is_some() || self.is_late && self.has_more;
        self.age().filter(|_| is_behind)
    }

    fn age(&self) -> Option<Duration> {
        Some(self.reader.link().clock.now().since(self.published_at?))
    }

    /// Takes what has arrived, without waiting. Returns whether there was something.
    fn take_next(
        &mut self,
        earlier: &mut EarlierSessions,
        deliveries: &mut Vec<Delivery<PulsarReceipt>>,
    ) -> Result<bool, PulsarError> {
        if let Some(verified) = self.verified.pop_front() {
            deliveries.push(verified);
        } else if let Some(next) = self.next.take() {
            self.pass(next, earlier, deliveries)?;
        } else if let Some(received) = self.reader.next().now_or_never() {
            self.take(received, earlier, deliveries)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Adds the delivery of something that arrived.
    fn take(
        &mut self,
        received: ReadResult,
        earlier: &mut EarlierSessions,
        deliveries: &mut Vec<Delivery<PulsarReceipt>>,
    ) -> Result<(), PulsarError> {
        self.is_unasked = true;
        match received {
            Ok(Some(Ok(message))) => {
                self.published_at = Some(message.published_at);
                let delivery = read(message, self.reader.link().tag);
                self.pass(delivery, earlier, deliveries)
            }
            // What was applied is only passed over.
            Ok(Some(Err(unreadable)))
                if self.progress.reached() <= Some(unreadable.entry)
                    && earlier.may_arrive_whole(&unreadable) =>
            {
                let (entry, reason) = (shown(unreadable.entry), unreadable.reason);
                let why = format!("{entry} arrived damaged ({reason}): reconnecting for it");
                let error = self.reader.link().read_error(why);
                // Its id shows that the one of the entry before it is right.
                match self.unverified.take_if(|unverified| unverified.at() < unreadable.entry) {
                    Some(unverified) => self.verified.extend(unverified.deliveries),
                    None => return Err(error),
                }
                self.broken = Some(error);
                Ok(())
            }
            Ok(Some(Err(unreadable))) => self.pass(unpacked(unreadable), earlier, deliveries),
            Ok(None) if self.reader.is_terminated => Err(self.reader.link().terminated()),
            Ok(None) => {
                let words = "the broker ended the stream: the topic was unloaded or moved";
                Err(self.reader.link().read_error(words))
            }
            Err(error) => Err(self.reader.link().read_error(explain(&error.into()))),
        }
    }

    /// Passes a delivery on, or withholds it.
    fn pass(
        &mut self,
        delivery: Delivery<PulsarReceipt>,
        earlier: &mut EarlierSessions,
        deliveries: &mut Vec<Delivery<PulsarReceipt>>,
    ) -> Result<(), PulsarError> {
        let (before, at) = (self.progress.reached(), entry_of(delivery.position));
        if let Some(mut unverified) = self.unverified.take() {
            match at.cmp(&unverified.at()) {
                Ordering::Less => {
                    let (first, at) = (shown(unverified.at()), shown(at));
                    let why = format!("after {first}, the first of its ledger, came {at}");
                    return Err(self.reader.link().read_error(format!("{why}: reconnecting")));
                }
                Ordering::Equal => {
                    self.advance(&delivery, earlier)?;
                    unverified.deliveries.push(delivery);
                    self.unverified = Some(unverified);
                }
                Ordering::Greater => {
                    self.verified.extend(unverified.deliveries);
                    self.next = Some(delivery);
                }
            }
            return Ok(());
        }
        let known = if self.advance(&delivery, earlier)? {
            let is_known = before.is_some_and(|before| before.0 == at.0 || at < before);
            if is_known || self.ahead == Some(at) {
                deliveries.push(delivery);
            } else {
                let is_before_end = self.ahead.is_some_and(|end| at < end);
                self.unverified =
                    Some(UnverifiedEntry { deliveries: vec![delivery], is_before_end });
            }
            self.withheld.take()
        } else {
            self.withheld.replace(delivery)
        };
        metrics::EVENTS_REDELIVERED.add(known.iter().len() as u64);
        Ok(())
    }

    /// Whether a delivery may be passed on. When entries before it are missing,
    /// the session ends: entries that were lost in transit arrive in the next one, and those that
    /// the topic has lost show there as a gap.
    fn advance(
        &mut self,
        delivery: &Delivery<PulsarReceipt>,
        earlier: &mut EarlierSessions,
    ) -> Result<bool, PulsarError> {
        let at = delivery.position;
        match self.progress.advance(at, delivery.receipt.after) {
            NextStep::Pass => {
                earlier.has_markers = self.progress.has_markers;
                Ok(true)
            }
            NextStep::Withhold => Ok(false),
            NextStep::Hole(before) => {
                if self.progress.began().is_none() {
                    earlier.expected = Some(at);
                }
                let (before, at) = (shown(before), shown(entry_of(at)));
                let why = format!("after {before} came {at}: reconnecting for the entries between");
                Err(self.reader.link().read_error(why))
            }
        }
    }

    /// The first new position of the session, once it is known to be there, and the entry that it
    /// names in the property `after`.
    pub(super) fn began(&self) -> Option<(Position, Option<EntryId>)> {
        let held = self.unverified.iter().flat_map(|unverified| &unverified.deliveries);
        let first = held.chain(&self.verified).map(|delivery| delivery.position).next();
        self.progress.began().filter(|(began, _)| Some(*began) != first)
    }

    /// Acknowledges the last complete entry, and with it all before it.
    pub(super) fn acknowledge(&mut self, receipts: &[PulsarReceipt]) {
        if let Some(complete) = receipts.iter().rev().find(|receipt| receipt.is_last) {
            self.reader.acknowledge(complete.entry);
        }
    }
}

/// Fails when the topic was terminated; not when that cannot be found out. A broker says so once to
/// a subscription, perhaps on a connection that is lost then. It says so at once to a new one that
/// has nothing to read (Pulsar 3.3.2 within 0.2 s).
pub(super) async fn look_for_termination(link: &Arc<PulsarLink>) -> Result<(), PulsarError> {
    let to = SubscribeOptions::passing("terminated", InitialPosition::Latest);
    let looking = async {
        let mut reader = TopicReader::open(link, &to).await?;
        // A message shows that it was not.
        let _ = tokio::time::timeout(TOLD, reader.next()).await;
        Ok(reader.is_terminated)
    };
    let doing = || format!("asking {} whether {} was terminated", link.url, link.topic);
    match within(ANSWER, doing, looking).await {
        Ok(true) => Err(link.terminated()),
        Ok(false) => Ok(()),
        Err(error) => {
            tracing::debug!(%error, "cannot find out whether the topic was terminated");
            Ok(())
        }
    }
}

/// The topic's last entry; `None` when its newest ledger is empty.
pub(super) async fn end_of(reader: &mut TopicReader) -> Result<Option<EntryId>, PulsarError> {
    Ok(last_id(reader).await?.map(|id| (id.ledger_id, id.entry_id)))
}

/// The id of the topic's last message; `None` when its newest ledger is empty.
pub(super) async fn last_id(
    reader: &mut TopicReader,
) -> Result<Option<MessageIdData>, PulsarError> {
    let link = Arc::clone(reader.link());
    let doing = || format!("asking {} for the end of {}", link.url, link.topic);
    let asked = async { reader.last_id().await.map_err(|error| away(doing(), &error.into())) };
    // The last entry of an empty ledger is -1, as an unsigned number.
    Ok(within(ANSWER, doing, asked).await?.filter(|id| id.entry_id.cast_signed() >= 0))
}

#[cfg(test)]
pub(super) mod tests;
