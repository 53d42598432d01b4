//! The hub: live fan-out of committed events and of the latest values to all subscribers.
//!
//! Events are a log, numbers are a state. [`Tail`] holds the newest events, [`LatestValues`] and
//! [`GaugeTopics`] the latest values. Subscribers with equal queries form a group that shares the
//! filtering, the encoding and the encoded bytes. A subscriber is a cursor into a log, never a
//! queue, so the writer never waits for a reader.
//!
//! One task, [`Hub::dispatch`], moves events from the tail to the groups. Under light load it
//! notifies subscribers at once. Under heavy load it first lets events gather for the flush
//! interval, because each delivery costs a wake-up and a write, however many events it carries, and
//! notifies large crowds in turns that are spread over it.

mod fanout;
mod latest;
mod log;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use fanout::batch::ReaderBatch;
pub use fanout::frame::Frame;
pub use fanout::memory::{LIMIT_BYTES, MemoryCharge, ROOM_BYTES, held_bytes};
pub use fanout::notifier::Notifier;
pub use fanout::retry_after;
pub use latest::first_message::FirstOfSampling;
pub use latest::gauge_message::GaugeMessage;
pub use latest::gauges::{
    GaugeSnapshot, GaugeSubscriber, GaugeTopic, GaugeTopics, GaugeUpdate, WINDOWS,
};
pub use latest::language_message::{FirstOfWatch, LanguageDifference, LanguageMap};
pub use latest::languages::{LanguageChanges, LanguageQuery, LatestLanguages, Tick};
pub use latest::latest_values::LatestValues;
pub use log::control::{RetentionLimits, StreamMessage};
pub use log::encoding::StreamEncoding;
pub use log::event_log::StreamJournal;
pub use log::filter::{
    Filter, GLOB_STARS, QUERY_GLOBS, QUERY_LISTS, QUERY_PATTERNS, QUERY_STAR_BYTES, QUERY_VALUES,
    QueryWarning, StreamQuery, StreamQueryError, VALUE_BYTES,
};
pub use log::follower::Follower;
pub use log::page::StreamStart;
pub use log::paths::{OVERLAP, PATHS_BYTES, PathsError, check as check_paths};
pub use log::query::{
    Conditions, FieldPath, FieldPathError, PATH_BYTES, PATH_NAMES, SamplingEncoding, SamplingQuery,
};
pub use log::sampling::SamplingSubscriber;
pub use log::searches::{SEARCHES, TooManyWaiting};
pub use log::selector::{StreamSelection, StreamSelector};
pub use log::streamed_event::StreamedEvent;
pub use log::tail::{TAIL_BYTES, Tail, TailBatch, TailEvent};

use crate::clock::Clock;
use crate::lists::Lists;
use crate::metrics;
use crate::model::offset::Offset;
use crate::model::privacy::Privacy;
use crate::sync::lock;
use fanout::subscriber_query::SubscriberQuery;
use fanout::subscribers::Group;
use fanout::turn::Turn;
use log::event_log::{EventLog, JournalFeed};
use log::live::LiveGroup;
use log::sampling::{SamplingGroup, SamplingSubscribers};

/// Deliveries per second above which events are gathered for the flush interval.
const HEAVY: f64 = 4_000.0;
/// The most events that are dispatched before other tasks get their turn.
const DISPATCH_EVENTS: usize = 512;
/// While events are gathered, subscribers are notified in turns spread over the flush interval, of
/// about this many each: a crowd that is woken at once waits for the processor. Smaller turns would
/// cost more wake-ups of the machine than they save time.
const TURN_SUBSCRIBERS: usize = 1_000;
/// The most turns in a flush interval.
const MOST_TURNS: u32 = 5;
/// The most groups that are served before other tasks get their turn.
const DISPATCH_GROUPS: usize = 64;

/// The configuration of a hub.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// `apiVersion` of the first messages.
    pub api_version: u64,
    /// How many events a subscriber of `/sampling` may be behind before it is moved forward.
    pub lag: usize,
    /// How long events gather under heavy load; zero disables gathering.
    pub flush_interval: Duration,
    /// Bytes of the newest events that are kept in memory.
    pub tail_bytes: usize,
    /// The lists that queries may name.
    pub lists: Arc<Lists>,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            api_version: 2,
            lag: 5_000,
            flush_interval: Duration::from_millis(50),
            tail_bytes: TAIL_BYTES,
            lists: Arc::default(),
        }
    }
}

/// The newest events, the latest values, and all their subscribers.
#[derive(Debug)]
pub struct Hub {
    log: Arc<EventLog>,
    sampling: SamplingSubscribers,
    /// The language map and this year's counts.
    pub latest_values: LatestValues,
    /// The topics of the aggregates that scripts define, by name.
    pub aggregates: GaugeTopics,
    /// The built-in topics over rolling windows: `languages`, `types` and `activity`, each named
    /// `topic/window`, such as `languages/1h`.
    pub rolling: GaugeTopics,
    /// The lists that queries may name.
    pub lists: Arc<Lists>,
    /// The clock of everything that the hub does.
    pub clock: Clock,
    /// Whether any of the newest batch of events is simulated.
    simulated: AtomicBool,
    appended: Notify,
    /// The batch that is being dispatched.
    dispatched: Mutex<Arc<TailBatch>>,
    flush_interval: Duration,
}

impl Hub {
    /// A hub without events, values and subscribers.
    #[must_use]
    pub fn new(options: &HubOptions, clock: Clock) -> Self {
        Self {
            log: Arc::new(EventLog::new(options.tail_bytes, clock)),
            sampling: SamplingSubscribers::new(options.lag),
            latest_values: LatestValues::new(options.api_version, clock),
            aggregates: GaugeTopics::default(),
            rolling: GaugeTopics::resumable(),
            simulated: AtomicBool::new(false),
            appended: Notify::new(),
            dispatched: Mutex::default(),
            flush_interval: options.flush_interval,
            lists: Arc::clone(&options.lists),
            clock,
        }
    }

    /// Appends committed events in the order of the bus. Never waits.
    pub fn append(&self, events: Vec<TailEvent>) {
        if !events.is_empty() {
            let is_simulated = events.iter().any(|event| event.envelope.facts.simulated);
            self.simulated.store(is_simulated, Ordering::Relaxed);
            self.log.tail.append(events);
            self.appended.notify_one();
        }
    }

    /// Takes the events that are left out now from those that subscribers still read.
    pub fn leave_out(&self, privacy: &Privacy) {
        let held = || {
            // The dispatcher first: what it reads later is marked in the ring already, and what it
            // has given to subscribers until then are the same events.
            let dispatched = lock(&self.dispatched).events.clone();
            let live = self.log.journal().map(|journal| journal.live.groups.held_events());
            [dispatched, self.sampling.groups.held_events(), live.unwrap_or_default()].concat()
        };
        self.log.tail.leave_out(privacy, held);
        // The shared batches may have events that are left out now.
        self.sampling.groups.forget_shared();
    }

    /// The newest events.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.log.tail
    }

    /// Subscribes to one in `rate` of the matching events, counted from now. The connection is
    /// notified when there is something to take.
    #[must_use]
    pub fn subscribe(
        &self,
        query: SamplingQuery,
        rate: u64,
        notifier: &Arc<Notifier>,
    ) -> SamplingSubscriber {
        self.sampling.subscribe(query, rate, notifier)
    }

    /// Whether any of the newest batch of events comes from the simulated GitHub.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.simulated.load(Ordering::Relaxed)
    }

    /// Attaches the journal, once, before the first event is appended.
    pub fn attach_journal(&self, journal: StreamJournal) {
        self.simulated.store(journal.simulated, Ordering::Relaxed);
        self.log.attach_journal(journal);
    }

    /// A follower of the stream, which begins after the newest event until it asks for something
    /// else; `None` without a journal. The connection is notified when there is something to take.
    #[must_use]
    pub fn follow(&self, encoding: StreamEncoding, notifier: &Arc<Notifier>) -> Option<Follower> {
        let newest = Offset::after(self.log.newest(self.log.journal()?));
        Some(Follower::new(Arc::clone(&self.log), encoding, newest, Arc::clone(notifier)))
    }

    /// Reads the next batch to dispatch, which [`Self::leave_out`] finds until the one after it.
    fn next_batch(&self, next: u64) -> Arc<TailBatch> {
        let mut dispatched = lock(&self.dispatched);
        *dispatched = Arc::new(self.log.tail.read(next, DISPATCH_EVENTS));
        Arc::clone(&dispatched)
    }

    /// Dispatches appended events to all groups until `stop`. Runs as one task per hub.
    pub async fn dispatch(&self, stop: CancellationToken) {
        // Begins with the first event: some may have been appended before this task started.
        let mut next = 0;
        let mut load = DeliveryRate { rate: 0.0, at: self.clock.instant() };
        let (mut groups, mut notified) = (DispatchGroups::default(), 0);
        let journal = self.log.journal();
        let mut gaps = journal.map(JournalFeed::gaps_found);
        if let Some(journal) = journal {
            // Subscribers are not notified of gaps that were found before.
            journal.note_gaps().await;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.appended.notified() => {}
                () = changed(&mut gaps) => {
                    if let Some(journal) = journal {
                        journal.live.groups.notify_all();
                        journal.note_gaps().await;
                    }
                    continue;
                }
            }
            let is_gathering = load.rate > HEAVY && !self.flush_interval.is_zero();
            let of = if is_gathering { turns_for(notified) } else { 1 };
            let begun = self.clock.instant();
            let mut deliveries = 0;
            notified = 0;
            for number in 0..of {
                if is_gathering {
                    let due = begun + self.flush_interval * (number + 1) / of;
                    self.clock.sleep(due.saturating_duration_since(self.clock.instant())).await;
                }
                deliveries += self.dispatch_appended(&mut next, &mut groups).await;
                let turn = Turn { number: number.into(), of: of.into() };
                notified += notify_groups(&groups.sampling, turn).await;
                notified += notify_groups(&groups.live, turn).await;
            }
            load.add(deliveries, self.clock.instant());
            metrics::READER_BYTES.set(f64::from(u32::try_from(held_bytes()).unwrap_or(u32::MAX)));
        }
    }

    /// Gives the groups all events that have been appended until now. Returns the number of
    /// deliveries to come. The caller notifies the subscribers; if there is more than one batch,
    /// they are notified of the earlier ones here, so that they do not lag behind meanwhile.
    async fn dispatch_appended(&self, next: &mut u64, groups: &mut DispatchGroups) -> u64 {
        let (mut deliveries, end) = (0, self.log.tail.end());
        loop {
            let batch = self.next_batch(*next);
            *next = batch.next;
            if batch.missed > 0 {
                metrics::SKIPPED.add(batch.missed);
            }
            if batch.events.is_empty() {
                return deliveries;
            }
            self.sampling.groups.refresh(&mut groups.sampling);
            for some in groups.sampling.chunks(DISPATCH_GROUPS) {
                for group in some {
                    deliveries += self.sampling.dispatch(group, &batch.events);
                }
                tokio::task::yield_now().await;
            }
            let journal = self.log.journal();
            if let Some(journal) = journal {
                deliveries += dispatch_live(journal, &mut groups.live, &batch).await;
            }
            if *next >= end {
                return deliveries;
            }
            self.sampling.groups.notify_all();
            journal.inspect(|journal| journal.live.groups.notify_all());
        }
    }
}

/// All groups, as of the last dispatched batch.
#[derive(Default)]
struct DispatchGroups {
    sampling: Vec<Arc<SamplingGroup>>,
    live: Vec<Arc<LiveGroup>>,
}

/// In how many turns subscribers are notified, if as many had to be notified in the last round.
fn turns_for(notified: usize) -> u32 {
    u32::try_from(notified / TURN_SUBSCRIBERS).unwrap_or(MOST_TURNS).clamp(1, MOST_TURNS)
}

/// Notifies the subscribers of this turn in all groups. Returns their number.
async fn notify_groups<Q: SubscriberQuery>(groups: &[Arc<Group<Q>>], turn: Turn) -> usize {
    let mut notified = 0;
    for some in groups.chunks(DISPATCH_GROUPS) {
        notified += some.iter().map(|group| group.notify(turn)).sum::<usize>();
        tokio::task::yield_now().await;
    }
    notified
}

/// Dispatches a batch to the live groups of the stream; `groups` is the list of the last call.
async fn dispatch_live(
    journal: &JournalFeed,
    groups: &mut Vec<Arc<LiveGroup>>,
    batch: &TailBatch,
) -> u64 {
    journal.live.groups.refresh(groups);
    let start = batch.next - batch.events.len() as u64;
    let mut deliveries = 0;
    for some in groups.chunks(DISPATCH_GROUPS) {
        for group in some {
            deliveries += journal.live.dispatch(group, start, &batch.events);
        }
        tokio::task::yield_now().await;
    }
    if let Some(newest) = batch.events.last() {
        journal.live.arrived(newest.cursor.position);
    }
    deliveries
}

/// Waits until the value changes; without a receiver, or after its sender is gone, forever.
async fn changed(watched: &mut Option<watch::Receiver<u64>>) {
    let Some(receiver) = watched else { return std::future::pending().await };
    if receiver.changed().await.is_err() {
        *watched = None;
    }
}

/// Deliveries per second, averaged over about the last second.
#[derive(Debug)]
struct DeliveryRate {
    rate: f64,
    at: Instant,
}

impl DeliveryRate {
    fn add(&mut self, deliveries: u64, now: Instant) {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
        self.rate = self.rate * (-passed).exp() + f64::from(deliveries);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::model::position::{BusTag, Position};
    use log::control::RetentionLimits;

    #[tokio::test(start_paused = true)]
    async fn delivery_rate_covers_about_the_last_second() {
        let mut load = DeliveryRate { rate: 0.0, at: Clock::system().instant() };
        for _ in 0..100 {
            Clock::system().sleep(Duration::from_millis(100)).await;
            load.add(500, Clock::system().instant());
        }
        assert!((4_500.0..5_700.0).contains(&load.rate), "{}", load.rate);
        Clock::system().sleep(Duration::from_secs(5)).await;
        load.add(0, Clock::system().instant());
        assert!(load.rate < 50.0, "{}", load.rate);
    }

    #[test]
    fn event_that_is_being_dispatched_is_left_out_after_the_ring_let_go_of_it() {
        // The ring drops it, or keeps a copy without encoded messages.
        for tail_bytes in [1, TAIL_BYTES] {
            let options = HubOptions { tail_bytes, ..HubOptions::default() };
            let hub = Hub::new(&options, Clock::system());
            let append = |number, login: &str, body: usize| {
                let body = "x".repeat(body);
                let text = format!(
                    r#"{{"id":"{number}","type":"A","actor":{{"login":"{login}"}},"b":"{body}"}}"#
                );
                hub.append(vec![log::tail::tests::tail_event(number, &text)]);
            };
            append(1, "ann", 1);
            let batch = hub.next_batch(0);
            (2..12).for_each(|number| append(number, "bob", 1 << 20));
            let privacy = Privacy::default();
            privacy.set(&["ann".to_owned()], false);
            hub.leave_out(&privacy);
            assert!(batch.events[0].is_left_out(), "{tail_bytes} bytes");
            assert!(!hub.next_batch(batch.next).events.iter().any(|event| event.is_left_out()));
        }
    }

    #[tokio::test]
    async fn subscribers_are_notified_of_each_batch_of_a_backlog() {
        const BATCHES: usize = 4;
        let (_dir, store) = crate::store::new_store();
        let hub = Hub::new(&HubOptions::default(), Clock::system());
        let kept = RetentionLimits { duration: Duration::from_secs(60), bytes: 1 << 30 };
        let (tag, applied, simulated) = (BusTag(1), Some(Position::counted(1)), false);
        hub.attach_journal(StreamJournal { store, tag, applied, simulated, kept });
        let notifiers = [(); 2].map(|()| Arc::new(Notifier::default()));
        let _subscriber = hub.subscribe(SamplingQuery::default(), 1, &notifiers[0]);
        let mut follower = hub.follow(StreamEncoding::Ndjson, &notifiers[1]).unwrap();
        assert_eq!(follower.take().count, 0);
        let event = |number| log::tail::tests::tail_event(number, r#"{"id":"1","type":"A"}"#);
        hub.append((2..2 + (BATCHES * DISPATCH_EVENTS) as u64).map(event).collect());
        let (mut next, mut groups) = (0, DispatchGroups::default());
        let mut dispatching = pin!(hub.dispatch_appended(&mut next, &mut groups));
        let (mut notified, mut cx) = ([0; 2], Context::from_waker(Waker::noop()));
        while dispatching.as_mut().poll(&mut cx).is_pending() {
            for (notifier, count) in notifiers.iter().zip(&mut notified) {
                *count += usize::from(notifier.take_notified());
            }
        }
        // The caller notifies of the last one.
        assert_eq!(notified, [BATCHES - 1; 2]);
    }

    #[tokio::test]
    async fn appended_event_reaches_an_earlier_subscriber() {
        let hub = Arc::new(Hub::new(&HubOptions::default(), Clock::system()));
        let stop = CancellationToken::new();
        let dispatching = tokio::spawn({
            let (hub, stop) = (Arc::clone(&hub), stop.clone());
            async move { hub.dispatch(stop).await }
        });
        tokio::task::yield_now().await;
        let notifier = Arc::new(Notifier::default());
        let mut subscriber = hub.subscribe(SamplingQuery::default(), 1, &notifier);
        hub.append(vec![log::tail::tests::tail_event(1, r#"{"id":"1","type":"A"}"#)]);
        std::future::poll_fn(|cx| notifier.poll_notified(cx)).await;
        let batch = subscriber.take();
        assert_eq!((batch.messages.len(), batch.more), (1, false));
        stop.cancel();
        dispatching.await.unwrap();
    }
}
