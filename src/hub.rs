//! The hub: live fan-out of committed events and of the latest values to all subscribers.
//!
//! Events are a log, numbers are a state. [`Tail`] holds the newest events, [`LatestValues`] and
//! [`GaugeTopics`] the latest values. Subscribers with equal queries form a group that shares the
//! filtering, the encoding and the encoded bytes. A subscriber is a cursor into a log, never a
//! queue, so the writer never waits for a reader.
//!
//! One task, [`Hub::dispatch`], moves events from the tail to the groups. Under light load it
//! notifies subscribers at once. Under heavy load it first lets events gather for the flush
//! interval, because each delivery costs a wake-up and a write, however many events it carries.

mod fanout;
mod latest;
mod lock;
mod log;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use fanout::frame::Frame;
pub use fanout::memory::{LIMIT_BYTES, MemoryCharge, ROOM_BYTES, held_bytes};
pub use fanout::notifier::Notifier;
pub use fanout::retry_after;
pub use latest::gauges::{
    GaugeSnapshot, GaugeSubscriber, GaugeTopic, GaugeTopics, GaugeUpdate, UpdateMode, WINDOWS,
};
pub use latest::languages::{LanguageChanges, LanguageQuery, LatestLanguages};
pub use latest::values::{LatestValues, Tick};
pub use log::StreamJournal;
pub use log::control::{RetentionLimits, StreamMessage};
pub use log::encoding::StreamEncoding;
pub use log::filter::{
    Filter, GLOB_STARS, QUERY_GLOBS, QUERY_PATTERNS, QUERY_VALUES, QueryWarning, StreamQuery,
    StreamQueryError, VALUE_BYTES,
};
pub use log::follower::{Follower, StreamBatch};
pub use log::page::StreamStart;
pub use log::paths::{OVERLAP, PATHS_BYTES, PathsError, check as check_paths};
pub use log::query::{
    Conditions, FieldPath, FieldPathError, PATH_BYTES, PATH_NAMES, SamplingEncoding, SamplingQuery,
};
pub use log::sampling::{FrameBatch, SamplingSubscriber};
pub use log::searches::{SEARCHES, TooManySearches};
pub use log::selector::{StreamSelection, StreamSelector};
pub use log::tail::{TAIL_BYTES, Tail, TailBatch, TailEvent};

use crate::clock::Clock;
use crate::metrics;
use log::sampling::Groups;
use log::{MaybeStreams, Streams};

/// Deliveries a second above which events are gathered for the flush interval.
const HEAVY: f64 = 4_000.0;
/// Events that are dealt before other tasks get their turn.
const DISPATCH_EVENTS: usize = 512;
/// Groups that are dealt to before other tasks get their turn.
const DISPATCH_GROUPS: usize = 64;

/// What the hub is told once.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// `apiVersion` of the first messages.
    pub api_version: u64,
    /// How many events a reader of `/sampling` may fall behind before it is moved forward.
    pub lag: usize,
    /// How long events gather while many messages leave; zero for never.
    pub flush_interval: Duration,
    /// Bytes of events that are held for live readers.
    pub tail_bytes: usize,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            api_version: 2,
            lag: 5_000,
            flush_interval: Duration::from_millis(50),
            tail_bytes: TAIL_BYTES,
        }
    }
}

/// The newest events, the latest values, and who follows them.
#[derive(Debug)]
pub struct Hub {
    tail: Tail,
    board: Arc<LatestValues>,
    aggregates: GaugeTopics,
    rolling: GaugeTopics,
    groups: Arc<Groups>,
    streams: MaybeStreams,
    appended: Notify,
    flush_interval: Duration,
    clock: Clock,
}

impl Hub {
    /// An empty one.
    #[must_use]
    pub fn new(options: &HubOptions, clock: Clock) -> Self {
        Self {
            tail: Tail::new(options.tail_bytes),
            board: Arc::new(LatestValues::new(options.api_version, clock)),
            aggregates: GaugeTopics::default(),
            rolling: GaugeTopics::resumable(),
            groups: Arc::new(Groups::new(options.lag)),
            streams: MaybeStreams::default(),
            appended: Notify::new(),
            flush_interval: options.flush_interval,
            clock,
        }
    }

    /// Takes in what was committed, in the bus's order. Never waits.
    pub fn append(&self, events: Vec<TailEvent>) {
        if !events.is_empty() {
            self.tail.append(events);
            self.appended.notify_one();
        }
    }

    /// The clock it goes by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The newest events.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The latest values.
    #[must_use]
    pub fn latest_values(&self) -> &Arc<LatestValues> {
        &self.board
    }

    /// The aggregates of the scripts, by name.
    #[must_use]
    pub fn aggregates(&self) -> &GaugeTopics {
        &self.aggregates
    }

    /// What is always counted over rolling windows: `languages`, `types`, `activity`, each as
    /// `name/window`, such as `languages/1h`.
    #[must_use]
    pub fn rolling(&self) -> &GaugeTopics {
        &self.rolling
    }

    /// Follows the events: every `rate`th that matches, counted from now. The notifier rings when
    /// there is something to take.
    #[must_use]
    pub fn subscribe(
        &self,
        subscription: SamplingQuery,
        rate: u64,
        notifier: &Arc<Notifier>,
    ) -> SamplingSubscriber {
        self.groups.join(subscription, rate, notifier)
    }

    /// Deals events out to the groups until `stop`. One task a hub.
    pub async fn dispatch(&self, stop: CancellationToken) {
        // From the first on: what was appended before this begins is dealt too.
        let mut place = 0;
        let mut load = Load { rate: 0.0, at: self.clock.instant() };
        let (mut groups, mut streamed) = (Vec::new(), Vec::new());
        let mut gaps = self.streams().map(Streams::gaps_found);
        if let Some(streams) = self.streams() {
            // Those that were found before are not told of again.
            streams.note_gaps().await;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.appended.notified() => {}
                () = changed(&mut gaps) => {
                    if let Some(streams) = self.streams() {
                        streams.groups.notify_all();
                        streams.note_gaps().await;
                    }
                    continue;
                }
            }
            if load.rate > HEAVY && !self.flush_interval.is_zero() {
                self.clock.sleep(self.flush_interval).await;
            }
            let mut deliveries = 0;
            loop {
                let stretch = self.tail.read(place, DISPATCH_EVENTS);
                place = stretch.next;
                if stretch.missed > 0 {
                    metrics::SKIPPED.add(stretch.missed);
                }
                if stretch.events.is_empty() {
                    break;
                }
                self.groups.refresh(&mut groups);
                for some in groups.chunks(DISPATCH_GROUPS) {
                    for group in some {
                        deliveries += self.groups.dispatch(group, &stretch.events);
                    }
                    tokio::task::yield_now().await;
                }
                deliveries += self.dispatch_streams(&mut streamed, &stretch).await;
            }
            load.add(deliveries, self.clock.instant());
            metrics::READER_BYTES.set(f64::from(u32::try_from(held_bytes()).unwrap_or(u32::MAX)));
        }
    }
}

/// Waits until it is another; for ever where there is nothing to wait for.
async fn changed(watched: &mut Option<watch::Receiver<u64>>) {
    let Some(receiver) = watched else { return std::future::pending().await };
    if receiver.changed().await.is_err() {
        *watched = None;
    }
}

impl Hub {
    /// The same for the readers of the stream.
    async fn dispatch_streams(
        &self,
        list: &mut Vec<Arc<log::live::Group>>,
        stretch: &TailBatch,
    ) -> u64 {
        let Some(streams) = self.streams() else { return 0 };
        streams.groups.refresh(list);
        let start = stretch.next - stretch.events.len() as u64;
        let mut deliveries = 0;
        for some in list.chunks(DISPATCH_GROUPS) {
            for group in some {
                deliveries += streams.groups.dispatch(group, start, &stretch.events);
            }
            tokio::task::yield_now().await;
        }
        if let Some(newest) = stretch.events.last() {
            streams.groups.arrived(newest.cursor.position);
        }
        deliveries
    }
}

/// Deliveries a second, of about the last second.
#[derive(Debug)]
struct Load {
    rate: f64,
    at: Instant,
}

impl Load {
    fn add(&mut self, deliveries: u64, now: Instant) {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
        self.rate = self.rate * (-passed).exp() + f64::from(deliveries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn load_is_deliveries_a_second_and_is_forgotten() {
        let mut load = Load { rate: 0.0, at: Clock::system().instant() };
        for _ in 0..100 {
            Clock::system().sleep(Duration::from_millis(100)).await;
            load.add(500, Clock::system().instant());
        }
        assert!((4_500.0..5_700.0).contains(&load.rate), "{}", load.rate);
        Clock::system().sleep(Duration::from_secs(5)).await;
        load.add(0, Clock::system().instant());
        assert!(load.rate < 50.0, "{}", load.rate);
    }

    #[tokio::test]
    async fn what_is_appended_reaches_who_subscribed_before() {
        let hub = Arc::new(Hub::new(&HubOptions::default(), Clock::system()));
        let stop = CancellationToken::new();
        let dealing = tokio::spawn({
            let (hub, stop) = (Arc::clone(&hub), stop.clone());
            async move { hub.dispatch(stop).await }
        });
        tokio::task::yield_now().await;
        let notifier = Arc::new(Notifier::default());
        let mut member = hub.subscribe(SamplingQuery::default(), 1, &notifier);
        hub.append(vec![log::tail::tests::tail_event(1, r#"{"id":"1","type":"A"}"#)]);
        std::future::poll_fn(|cx| notifier.poll_notified(cx)).await;
        let taken = member.take();
        assert_eq!((taken.frames.len(), taken.more), (1, false));
        stop.cancel();
        dealing.await.unwrap();
    }
}
