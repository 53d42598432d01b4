//! State shared by the server, the pace and the control: the source of events, and all mutable
//! state.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::faults::{Fault, FaultKind};
use super::feed::{Feed, FeedEntry};
use super::histories::Histories;
use super::installations::AppState;
use super::known::QueriedWorld;
use super::limits::{SimulatedCaller, SimulatedLimits};
use super::options::{Options, QueryOptions};
use super::query_work::QueryWork;
use super::recorded::Recorded;
use super::world::World;
use crate::clock::Clock;
use crate::sync::lock;

/// Maximum number of different pages (number and size) remembered for the fault `stale`, …
const MAX_REMEMBERED: usize = 64;
/// … and of older versions of each.
const MAX_VERSIONS: usize = 6;
/// Added to the numbers of requests for single feeds, so that their faults are apart.
const SINGLE_FEEDS: u64 = 1 << 40;

/// The shared parts of a simulation.
pub(super) struct SharedWorld {
    pub(super) seed: u64,
    pub(super) poll_interval: u32,
    pub(super) rate: f64,
    pub(super) speed: Option<f64>,
    pub(super) query: QueryOptions,
    pub(super) address: SocketAddr,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
    source: Mutex<EventSupply>,
    state: Mutex<SimulatedState>,
    changes: watch::Sender<u64>,
}

/// The source of events.
enum EventSupply {
    World(Box<World>),
    Recorded(Recorded),
}

/// All mutable state.
#[derive(Default)]
pub(super) struct SimulatedState {
    pub(super) feed: Feed,
    pub(super) histories: Histories,
    /// The feed as the fault `frozen` shows it.
    pub(super) frozen: Option<Feed>,
    pub(super) faults: Vec<Fault>,
    pub(super) limits: SimulatedLimits,
    /// The app and its tokens.
    pub(super) apps: AppState,
    /// The limits of GraphQL.
    pub(super) queries: SimulatedLimits,
    pub(super) work: QueryWork,
    pub(super) recent: RecentPages,
    pub(super) ledger: RequestLedger,
    /// Number of responses by status and fault.
    pub(super) outcomes: BTreeMap<String, u64>,
    /// Number of requests so far, by [`RequestKind`].
    pub(super) requests: [u64; 3],
    /// Number of requests in flight of each caller.
    pub(super) at_once: HashMap<SimulatedCaller, u32>,
    /// The largest number of requests in flight of one caller so far.
    pub(super) most_at_once: u32,
    /// Whether the recorded events have ended.
    pub(super) finished: bool,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// A page of the public feed.
    Page,
    /// A page of a single feed.
    Feed,
    /// A GraphQL query.
    Query,
}

/// A received request.
pub(super) struct Ticket {
    pub(super) number: u64,
    pub(super) faults: Vec<Fault>,
}

impl Ticket {
    /// The fault of this kind, when it affects this request.
    pub(super) fn fault(&self, kind: FaultKind) -> Option<&Fault> {
        self.faults.iter().find(|fault| fault.kind == kind)
    }
}

impl SharedWorld {
    /// Opens the source and fills in the backlog.
    pub(super) fn new(
        options: Options,
        clock: Clock,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let recorded = !options.events.is_empty();
        let source = if recorded {
            EventSupply::Recorded(Recorded::open(&options.events)?)
        } else {
            EventSupply::World(Box::new(World::new(options.seed, options.shape)))
        };
        let shared = Self {
            seed: options.seed,
            poll_interval: options.poll_interval,
            rate: options.rate,
            speed: options.speed,
            query: options.query,
            address,
            clock,
            stop,
            source: Mutex::new(source),
            state: Mutex::new(SimulatedState {
                histories: Histories::new(options.history, options.feed_delay),
                faults: options.faults,
                limits: SimulatedLimits::new(options.limit, options.anonymous_limit),
                apps: AppState::new(options.app),
                queries: SimulatedLimits::new(options.query.limit, 0),
                ledger: RequestLedger { limit: options.remember, ..RequestLedger::default() },
                ..SimulatedState::default()
            }),
            changes: watch::Sender::new(0),
        };
        if !recorded {
            shared.emit(options.backlog);
        }
        Ok(shared)
    }

    /// Locks the state briefly; never held across an await.
    pub(super) fn state(&self) -> MutexGuard<'_, SimulatedState> {
        // No code leaves the state inconsistent under the lock, so a panic elsewhere does not
        // matter.
        lock(&self.state)
    }

    fn source(&self) -> MutexGuard<'_, EventSupply> {
        lock(&self.source)
    }

    /// Puts the next `n` events into the feed. Returns how many there were.
    pub(super) fn emit(&self, n: usize) -> usize {
        let mut source = self.source();
        let put = (0..n)
            .map_while(|_| self.next_from(&mut source))
            .map(|event| self.publish(event))
            .count();
        drop(source);
        self.changed();
        put
    }

    /// The next event, which the caller then puts into the feed.
    pub(super) fn next_event(&self) -> Option<Arc<str>> {
        let mut source = self.source();
        self.next_from(&mut source)
    }

    fn next_from(&self, source: &mut EventSupply) -> Option<Arc<str>> {
        let event = match source {
            EventSupply::World(world) => {
                let faults = self.state().faults.clone();
                let hides = |kind: &str, number| {
                    faults.iter().any(|fault| fault.hides(self.seed, number, kind))
                };
                Some(world.next_shown(self.clock.now(), hides))
            }
            EventSupply::Recorded(recorded) => recorded.next_event(),
        };
        if event.is_none() {
            self.state().finished = true;
        }
        event
    }

    /// Puts any text into the feed.
    pub(super) fn put(&self, event: Arc<str>) {
        self.publish(event);
        self.changed();
    }

    /// Puts an event into the public feed, unless a fault hides it there, and into single feeds.
    fn publish(&self, event: Arc<str>) {
        let mut state = self.state();
        let state = &mut *state;
        let number = state.feed.len();
        let withholds = |fault: &Fault| fault.kind == FaultKind::Withheld;
        let mut all = state.faults.iter().filter(|fault| withholds(fault));
        if all.any(|fault| fault.hits(self.seed, number, None)) {
            state.feed.skip();
        } else {
            state.feed.put(&event);
        }
        state.histories.put(self.seed, number, &event, self.clock.now());
        state.ledger.add(event);
    }

    /// Whether the events are recorded.
    pub(super) fn is_recorded(&self) -> bool {
        matches!(*self.source(), EventSupply::Recorded(_))
    }

    /// Number of lines of recorded files that were not JSON.
    pub(super) fn left_out(&self) -> u64 {
        match &*self.source() {
            EventSupply::World(_) => 0,
            EventSupply::Recorded(recorded) => recorded.left_out(),
        }
    }

    /// Starts a request. Returns its number among those of its kind and the faults that affect it.
    pub(super) fn begin(&self, kind: RequestKind, token: Option<&str>) -> Ticket {
        let mut state = self.state();
        let count = &mut state.requests[kind as usize];
        let number = *count;
        *count += 1;
        // Pages and queries of the same number have the same luck, single feeds another one.
        let lot = if kind == RequestKind::Feed { SINGLE_FEEDS + number } else { number };
        let hit = |fault: &&Fault| fault.hits(self.seed, lot, token);
        let faults: Vec<Fault> = state.faults.iter().filter(hit).cloned().collect();
        drop(state);
        self.changed();
        Ticket { number, faults }
    }

    /// The faults that affect every request with this token. No randomness is used, so the faults
    /// of page requests do not depend on it.
    pub(super) fn begin_user(&self, token: &str) -> Ticket {
        let state = self.state();
        // A token that is revoked for some requests is revoked for identity requests too.
        let ends = |kind| matches!(kind, FaultKind::Revoked | FaultKind::Suspended);
        let hit = |fault: &&Fault| {
            let always = Fault { share: 1.0, ..(*fault).clone() };
            (fault.share >= 1.0 || ends(fault.kind)) && always.hits(self.seed, 0, Some(token))
        };
        Ticket { number: 0, faults: state.faults.iter().filter(hit).cloned().collect() }
    }

    /// Reads the pull requests that can be queried; there are none for recorded events.
    pub(super) fn with_known<T>(&self, look: impl FnOnce(&QueriedWorld) -> T) -> T {
        match &*self.source() {
            EventSupply::World(world) => look(world.known()),
            EventSupply::Recorded(_) => look(&QueriedWorld::default()),
        }
    }

    /// Counts a response.
    pub(super) fn count(&self, outcome: String) {
        *self.state().outcomes.entry(outcome).or_default() += 1;
        self.changed();
    }

    /// Notifies waiting tasks of a change.
    pub(super) fn changed(&self) {
        self.changes.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Notifications of every change from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Older versions of pages, for the fault `stale`.
#[derive(Default)]
pub(super) struct RecentPages(HashMap<(usize, usize), VecDeque<Vec<FeedEntry>>>);

impl RecentPages {
    /// Remembers a page that was served.
    pub(super) fn remember(&mut self, key: (usize, usize), page: &[FeedEntry]) {
        if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&key) {
            return;
        }
        let versions = self.0.entry(key).or_default();
        let same = |last: &Vec<FeedEntry>| {
            last.len() == page.len()
                && last.iter().zip(page).all(|(one, other)| one.number == other.number)
        };
        if versions.back().is_some_and(same) {
            return;
        }
        if versions.len() >= MAX_VERSIONS {
            versions.pop_front();
        }
        versions.push_back(page.to_vec());
    }

    /// The oldest remembered version of the page.
    pub(super) fn oldest(&self, key: (usize, usize)) -> Option<Vec<FeedEntry>> {
        self.0.get(&key)?.front().cloned()
    }
}

/// Records which events were put in and which were served.
#[derive(Default)]
pub(super) struct RequestLedger {
    limit: usize,
    /// The number of the first event that is still remembered.
    first: u64,
    rows: VecDeque<(Arc<str>, bool)>,
}

impl RequestLedger {
    fn add(&mut self, event: Arc<str>) {
        self.rows.push_back((event, false));
        if self.rows.len() > self.limit {
            self.rows.pop_front();
            self.first += 1;
        }
    }

    /// Records that these events were in a response.
    pub(super) fn serve(&mut self, entries: &[FeedEntry]) {
        for entry in entries {
            let row = entry.number.checked_sub(self.first).and_then(|n| usize::try_from(n).ok());
            if let Some((_, served)) = row.and_then(|row| self.rows.get_mut(row)) {
                *served = true;
            }
        }
    }

    /// Every remembered event, and whether it was served.
    pub(super) fn rows(&self) -> impl Iterator<Item = &(Arc<str>, bool)> {
        self.rows.iter()
    }

    /// Number of events put in that are no longer remembered.
    pub(super) fn forgotten(&self) -> u64 {
        self.first
    }
}
