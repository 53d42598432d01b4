//! Gauge topics: named values that change at ticks, and their subscribers.
//!
//! A topic has the latest snapshot of counts over a rolling window. A subscriber receives the whole
//! snapshot first and then, at each tick, either the whole again or the delta since what it
//! received last; a slow subscriber receives one delta instead of several. Each message is encoded
//! once and shared.
//!
//! Invariant: a snapshot plus all later deltas equals the latest snapshot. A subscriber that
//! returns with the [`ResumeToken`] of a value that is still known receives the delta since that
//! value; any other begins with a snapshot.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwapOption;
use xxhash_rust::xxh3::xxh3_64;

use crate::hub::fanout::frame::Frame;
use crate::hub::fanout::notifier::{Notifier, NotifierList};
use crate::hub::latest::gauge_message::{GaugeHead, GaugeMessage, GaugeName, WholeGauge};
use crate::model::json;
use crate::model::position::Cursor;
use crate::model::resume_token::ResumeToken;
use crate::model::script_report::AggregateReport;
use crate::model::tally::Tally;
use crate::model::window::Second;
use crate::sync::lock;

/// The windows of the rolling counts: name and seconds.
pub const WINDOWS: [(&str, u32); 3] = [("1m", 60), ("1h", 3_600), ("24h", 86_400)];

/// The most encoded deltas to one snapshot: one for each earlier snapshot that some subscriber
/// received last.
const DELTAS: usize = 64;
/// The most values of a topic that are kept for returning subscribers: those of two minutes at one
/// tick per second, a few kilobytes each.
const KEPT_VALUES: usize = 120;

/// Counts over a window, as of a position on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GaugeSnapshot {
    /// The last event that is counted.
    pub cursor: Cursor,
    /// The first second of the window.
    pub from: Second,
    /// The last second of the window.
    pub to: Second,
    /// The second from which on every event was counted. The window is complete if it is not after
    /// `from`.
    pub counted_from: Second,
    /// Events that were not counted because a limit of names was reached, since the start.
    pub left_out: u64,
    /// Counts by name.
    pub value: Tally,
}

/// One message for a subscriber.
#[derive(Debug, Clone)]
pub struct GaugeUpdate {
    /// The value that it leads to; `None` for messages without a value.
    pub token: Option<ResumeToken>,
    /// The message; [`Frame::body`] is its text.
    pub frame: Frame,
}

/// Topics by name.
#[derive(Debug, Default)]
pub struct GaugeTopics {
    topics: Mutex<BTreeMap<Box<str>, Arc<GaugeTopic>>>,
    /// How many values each topic keeps for returning subscribers. One that keeps none sends the
    /// whole value at each tick.
    most_kept: usize,
}

/// A named value.
#[derive(Debug, Default)]
pub struct GaugeTopic {
    name: Box<str>,
    /// The aggregate that it is the value of, once it was described.
    about: ArcSwapOption<AggregateReport>,
    current: ArcSwapOption<PublishedSnapshot>,
    /// The number of the last snapshot.
    number: AtomicU64,
    /// The last different values, including the current one.
    kept: Mutex<VecDeque<Arc<PublishedSnapshot>>>,
    most_kept: usize,
    is_closed: AtomicBool,
    subscribers: NotifierList,
}

/// A snapshot with its number; numbers grow by one per tick.
#[derive(Debug)]
struct PublishedSnapshot {
    number: u64,
    snapshot: GaugeSnapshot,
    hash: OnceLock<u64>,
    /// Its messages of type `snapshot` and `tick`.
    snapshot_frame: OnceLock<Frame>,
    tick_frame: OnceLock<Frame>,
    /// The encoded deltas to this snapshot, by the number of the one that they start from; `None`
    /// if nothing has changed.
    deltas: Mutex<Vec<(u64, Option<Frame>)>>,
}

/// One subscriber of a topic. Dropping it unsubscribes.
#[derive(Debug)]
pub struct GaugeSubscriber {
    topic: Arc<GaugeTopic>,
    number: u64,
    /// What it received last.
    received: Option<Arc<PublishedSnapshot>>,
    ended: bool,
}

impl GaugeTopics {
    /// Topics whose subscribers can resume: each topic keeps some of its last values, and sends
    /// what has changed since the last one a subscriber received.
    #[must_use]
    pub fn resumable() -> Self {
        Self { most_kept: KEPT_VALUES, ..Self::default() }
    }

    /// The topic of this name; made if it does not exist.
    #[must_use]
    pub fn open(&self, name: &str) -> Arc<GaugeTopic> {
        let mut topics = lock(&self.topics);
        let new =
            || GaugeTopic { name: name.into(), most_kept: self.most_kept, ..GaugeTopic::default() };
        Arc::clone(topics.entry(name.into()).or_insert_with(|| Arc::new(new())))
    }

    /// Removes a topic. Its subscribers receive a `bye`.
    pub fn close(&self, name: &str) {
        if let Some(topic) = lock(&self.topics).remove(name) {
            topic.is_closed.store(true, Ordering::Release);
            topic.subscribers.notify();
        }
    }

    /// The topic of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<GaugeTopic>> {
        lock(&self.topics).get(name).map(Arc::clone)
    }

    /// All names, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<Box<str>> {
        lock(&self.topics).keys().cloned().collect()
    }
}

impl GaugeTopic {
    /// Sets the aggregate that it is the value of.
    pub fn describe(&self, about: AggregateReport) {
        self.about.store(Some(Arc::new(about)));
    }

    /// The aggregate that it is the value of; `None` for a built-in topic.
    #[must_use]
    pub fn about(&self) -> Option<Arc<AggregateReport>> {
        self.about.load_full()
    }

    /// The message that says what the topic is.
    #[must_use]
    pub fn hello(&self, simulated: bool) -> GaugeUpdate {
        let (version, name) = (env!("CARGO_PKG_VERSION"), GaugeName::of(&self.name));
        GaugeUpdate::of(&GaugeMessage::Hello { version, simulated, name }, None)
    }

    /// Publishes a new snapshot and notifies all subscribers. Called from one place.
    pub fn publish(&self, snapshot: GaugeSnapshot) {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let published = Arc::new(PublishedSnapshot {
            number,
            snapshot,
            hash: OnceLock::new(),
            snapshot_frame: OnceLock::new(),
            tick_frame: OnceLock::new(),
            deltas: Mutex::default(),
        });
        if self.most_kept > 0 {
            self.keep(&published);
        }
        if let Some(old) = self.current.swap(Some(published)) {
            // The value may be kept; its deltas are not needed any more, they lead to an old value.
            lock(&old.deltas).clear();
        }
        self.subscribers.notify();
    }

    /// Takes back all values, as before the first tick. Subscribers keep what they have received,
    /// until the next value. Called from where values are published.
    pub fn withdraw(&self) {
        self.current.store(None);
        lock(&self.kept).clear();
    }

    /// The current value; `None` before the first tick.
    #[must_use]
    pub fn snapshot(&self) -> Option<GaugeUpdate> {
        self.current.load_full().map(|current| self.snapshot_update(&current))
    }

    /// The current snapshot; `None` before the first tick.
    #[must_use]
    pub fn latest(&self) -> Option<GaugeSnapshot> {
        self.current.load_full().map(|current| current.snapshot.clone())
    }

    /// Subscribes: the first update is the snapshot. The connection is notified at each tick.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, notifier: &Arc<Notifier>) -> GaugeSubscriber {
        let number = self.subscribers.add(notifier);
        GaugeSubscriber { topic: Arc::clone(self), number, received: None, ended: false }
    }

    /// Keeps a value for returning subscribers; of equal values in a row only the first.
    fn keep(&self, published: &Arc<PublishedSnapshot>) {
        let mut kept = lock(&self.kept);
        if kept.back().is_some_and(|last| last.snapshot.value == published.snapshot.value) {
            return;
        }
        if kept.len() >= self.most_kept {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(published));
    }

    fn token_of(&self, published: &PublishedSnapshot) -> ResumeToken {
        let value = (self.most_kept > 0).then(|| published.hash());
        ResumeToken { cursor: published.snapshot.cursor, value }
    }

    fn snapshot_update(&self, to: &PublishedSnapshot) -> GaugeUpdate {
        let encode = || Frame::json(&GaugeMessage::Snapshot(self.whole(to)));
        let frame = to.snapshot_frame.get_or_init(encode).clone();
        GaugeUpdate { token: Some(self.token_of(to)), frame }
    }

    fn tick_update(&self, to: &PublishedSnapshot) -> GaugeUpdate {
        let encode = || Frame::json(&GaugeMessage::Tick(self.whole(to)));
        let frame = to.tick_frame.get_or_init(encode).clone();
        GaugeUpdate { token: Some(self.token_of(to)), frame }
    }

    fn whole<'a>(&'a self, published: &'a PublishedSnapshot) -> WholeGauge<'a> {
        let snapshot = &published.snapshot;
        let left_out = Some(snapshot.left_out).filter(|count| *count > 0);
        WholeGauge { head: self.head(published), left_out, value: &snapshot.value }
    }

    /// The delta between two snapshots; `None` if nothing has changed.
    fn delta(&self, from: &PublishedSnapshot, to: &PublishedSnapshot) -> Option<GaugeUpdate> {
        let mut deltas = lock(&to.deltas);
        let known = deltas.iter().find(|(number, _)| *number == from.number);
        let frame = if let Some((_, frame)) = known {
            frame.clone()
        } else {
            let frame = self.encode_delta(from, to);
            if deltas.len() < DELTAS {
                deltas.push((from.number, frame.clone()));
            }
            frame
        };
        drop(deltas);
        frame.map(|frame| GaugeUpdate { token: Some(self.token_of(to)), frame })
    }

    fn encode_delta(&self, from: &PublishedSnapshot, to: &PublishedSnapshot) -> Option<Frame> {
        let (deletions, mut changes) = Tally::difference(&from.snapshot.value, &to.snapshot.value);
        for (name, n) in deletions.iter() {
            changes.add(Arc::clone(name), -n);
        }
        if changes.is_empty() {
            return None;
        }
        let head = self.head(to);
        Some(Frame::json(&GaugeMessage::Delta { head, changes: &changes }))
    }

    fn head(&self, published: &PublishedSnapshot) -> GaugeHead<'_> {
        let snapshot = &published.snapshot;
        GaugeHead {
            cursor: self.token_of(published).to_string(),
            name: GaugeName::of(&self.name),
            from: snapshot.from.start(),
            to: snapshot.to.start(),
            counted_from: snapshot.counted_from.start(),
            complete: snapshot.counted_from <= snapshot.from,
        }
    }
}

impl GaugeUpdate {
    fn of(message: &GaugeMessage<'_>, token: Option<ResumeToken>) -> Self {
        Self { token, frame: Frame::json(message) }
    }
}

impl PublishedSnapshot {
    /// A hash of the value alone.
    fn hash(&self) -> u64 {
        *self.hash.get_or_init(|| xxh3_64(json::encoded(&self.snapshot.value).as_bytes()))
    }
}

impl GaugeSubscriber {
    /// Continues from the value of this token, if it is still known. Otherwise the first update is
    /// the snapshot.
    pub fn resume(&mut self, token: ResumeToken) {
        let Some(value) = token.value else { return };
        // Copied, because hashes may have to be computed, which is not done under the lock.
        let kept: Vec<_> = lock(&self.topic.kept).iter().rev().cloned().collect();
        self.received = kept.into_iter().find(|published| published.hash() == value);
    }

    /// The newest update that this subscriber has not received.
    #[must_use]
    pub fn take(&mut self) -> Option<GaugeUpdate> {
        if self.ended {
            return None;
        }
        if self.topic.is_closed.load(Ordering::Acquire) {
            self.ended = true;
            return Some(self.bye("it is not counted any more", None));
        }
        let now = self.topic.current.load_full()?;
        let update = match &self.received {
            None => Some(self.topic.snapshot_update(&now)),
            Some(received) if received.number == now.number => return None,
            Some(_) if self.topic.most_kept == 0 => Some(self.topic.tick_update(&now)),
            Some(received) => self.topic.delta(received, &now),
        };
        self.received = Some(now);
        update
    }

    /// A `heartbeat` with the cursor of what was received last.
    #[must_use]
    pub fn heartbeat(&self) -> GaugeUpdate {
        let token = self.token();
        let cursor = token.map(|token| token.to_string());
        GaugeUpdate::of(&GaugeMessage::Heartbeat { cursor }, token)
    }

    /// A `bye` with the reason and, if the client should reconnect, after how many milliseconds.
    #[must_use]
    pub fn bye(&self, reason: &str, retry_after: Option<u64>) -> GaugeUpdate {
        let token = self.token();
        let cursor = token.map(|token| token.to_string());
        GaugeUpdate::of(&GaugeMessage::Bye { reason, retry_after, cursor }, token)
    }

    /// The value that was received last; `None` before the first snapshot.
    fn token(&self) -> Option<ResumeToken> {
        self.received.as_ref().map(|received| self.topic.token_of(received))
    }

    /// Whether the topic was removed and no update will follow.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

impl Drop for GaugeSubscriber {
    fn drop(&mut self) {
        self.topic.subscribers.remove(self.number);
    }
}

#[cfg(test)]
mod tests;
