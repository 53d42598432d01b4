//! Options of the simulation.

use std::path::PathBuf;
use std::time::Duration;

use super::faults::Fault;
use super::installations::SimulatedApp;

/// Maximum rate in events per second: no page could show more.
pub const MAX_RATE: f64 = 100_000.0;
/// Default number of requests per hour: more than any client sends.
pub const HIGH_LIMIT: u32 = 10_000_000;
/// Default rate in events per second.
pub const DEFAULT_RATE: f64 = 50.0;
/// Default number of events in the feed at the start; all of them are on the pages, whatever their
/// types.
pub const DEFAULT_BACKLOG: usize = 150;

/// Default number of events that single feeds are made from: about 40 MB.
pub const DEFAULT_HISTORY: usize = 20_000;

/// The form of the payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// The form before October 2025: whole pull requests, a merge is `closed` with `merged` true.
    #[default]
    Old,
    /// The form since then: a pull request has five keys, a merge is the action `merged`.
    Today,
}

/// The shape's name on the command line.
impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "old" => Ok(Self::Old),
            "today" => Ok(Self::Today),
            _ => Err(format!("'{text}' is not a shape of events: write old or today")),
        }
    }
}

/// Options of the simulation. The defaults are those of `ghpulse simulate`.
#[derive(Debug, Clone)]
pub struct Options {
    /// The seed of everything random.
    pub seed: u64,
    /// Events per second that go into the feed, 0 to [`MAX_RATE`]; with 0, only
    /// [`Control::emit`](super::Control::emit) adds events.
    pub rate: f64,
    /// The payload form of the seeded world; recorded payloads stay as they are.
    pub shape: Shape,
    /// Files of recorded events, one event per line, plain or gzip, used instead of the seeded
    /// world, in this order. The feed stops before any event would leave its pages until a client
    /// has requested one.
    pub events: Vec<PathBuf>,
    /// Replays recorded events at the pace of their `created_at`, this many times as fast, instead
    /// of at `rate`.
    pub speed: Option<f64>,
    /// Faults of the responses, from the start.
    pub faults: Vec<Fault>,
    /// `X-Poll-Interval`, in seconds.
    pub poll_interval: u32,
    /// Requests per hour for an account with tokens: the text of a token up to the first `/`.
    pub limit: u32,
    /// Requests per hour for an address without a token.
    pub anonymous_limit: u32,
    /// Options of `/graphql`.
    pub query: QueryOptions,
    /// Number of events of the seeded world in the feed at the start.
    pub backlog: usize,
    /// The GitHub App whose tokens are given; with one, other tokens that begin with `ghs_` are
    /// refused.
    pub app: Option<SimulatedApp>,
    /// How many events [`Control::emitted`](super::Control::emitted) remembers: none outside tests,
    /// because the feed never ends.
    pub remember: usize,
    /// How many events the feeds of single repositories, owners and people are made from.
    pub history: usize,
    /// Longest time after which such a feed shows an event; each has a time of its own.
    pub feed_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            rate: DEFAULT_RATE,
            shape: Shape::default(),
            events: Vec::new(),
            speed: None,
            faults: Vec::new(),
            poll_interval: 1,
            limit: HIGH_LIMIT,
            anonymous_limit: HIGH_LIMIT,
            query: QueryOptions::default(),
            backlog: DEFAULT_BACKLOG,
            app: None,
            remember: 0,
            history: DEFAULT_HISTORY,
            feed_delay: Duration::ZERO,
        }
    }
}

impl Options {
    /// An empty feed that advances only by hand and remembers up to a million events: for tests.
    #[must_use]
    pub fn by_hand(seed: u64) -> Self {
        let many = 1_000_000;
        Self { seed, rate: 0.0, backlog: 0, remember: many, history: many, ..Self::default() }
    }
}

/// Options of `/graphql`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueryOptions {
    /// Points per hour for an account; a query costs one.
    pub limit: u32,
    /// Base duration of a query.
    pub delay: Duration,
    /// Additional duration for each pull request.
    pub delay_each: Duration,
    /// Work that an account may cause in a minute.
    pub work_a_minute: Duration,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            limit: HIGH_LIMIT,
            delay: Duration::ZERO,
            delay_each: Duration::ZERO,
            work_a_minute: Duration::from_secs(60),
        }
    }
}
