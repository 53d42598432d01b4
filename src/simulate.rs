//! Simulates GitHub over HTTP: `/events` in three pages, split as GitHub splits them, from a
//! seeded world or from recorded files, with `ETag`s, rate limits, and faults on request; and
//! `/graphql`, which answers from the pull requests of the seeded world.
//!
//! It drives the demo, the tests and the load drivers. As the appliance's peer it shares no code
//! with it except the clock and the time types: an error in how ghpulse reads GitHub must not be
//! mirrored in what it reads. For the same reason it uses axum directly, independently of `serve`.
//!
//! Every response has the header `X-Simulated: ghpulse`. A [`Control`] steps the feed by hand,
//! turns faults on and off, and reports what went in and what was served, for tests that count
//! independently.
//!
//! `world` makes events (`cast`: people and repositories, `pulls`: lives of pull requests,
//! `payloads*`: their JSON), `recorded` reads them from files, `pace` puts them into the `feed`,
//! `server` serves its pages under `limits` and `faults`, `single` those of one repository or
//! person from `histories`; `graphql` answers from what is `known`.

mod at_once;
mod cast;
mod control;
mod faults;
mod feed;
mod graphql;
mod histories;
mod json;
mod kinds;
mod known;
mod limits;
mod names;
mod node;
mod pace;
mod page;
mod payloads;
mod payloads_old;
mod payloads_rest;
mod payloads_today;
mod pulls;
mod recorded;
mod routes;
mod server;
mod shape;
mod single;
mod state;
mod user;
mod world;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use control::Control;
pub use faults::{DEFAULT_SHARE, Fault, FaultKind, NoFault, names as fault_names};
pub use graphql::QueryOptions;
pub use shape::Shape;
pub use world::World;

use crate::clock::Clock;
use state::SharedWorld;

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

/// The account of a token: its text up to the first `/`.
#[must_use]
pub fn account_of(token: &str) -> &str {
    limits::account(token)
}

/// Options of the simulation. The defaults are those of `ghpulse simulate`.
#[derive(Debug, Clone)]
pub struct Options {
    /// The seed of everything random.
    pub seed: u64,
    /// Events per second that go into the feed, 0 to [`MAX_RATE`]; with 0, only [`Control::emit`]
    /// adds events.
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
    /// Ten seconds of work, then five for each of these; the sixth finds 35 s counted.
    pub faults: Vec<Fault>,
    /// `X-Poll-Interval`, in seconds.
    pub poll_interval: u32,
    /// Requests per hour for an account with tokens; see [`account_of`].
    pub limit: u32,
    /// Requests per hour for an address without a token.
    pub anonymous_limit: u32,
    /// Options of `/graphql`.
    pub query: QueryOptions,
    /// Number of events of the seeded world in the feed at the start.
    pub backlog: usize,
    /// How many events [`Control::emitted`] remembers: none outside tests, because the feed never
    /// ends.
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

/// A running server and its feed.
pub struct Simulation {
    address: SocketAddr,
    shared: Arc<SharedWorld>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Simulation {
    /// Serves on the listener until `stop` is cancelled. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the rate or the speed is out of bounds, or a recorded file cannot be opened.
    pub fn start(
        listener: TcpListener,
        options: Options,
        clock: Clock,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let (rate, speed) = (options.rate, options.speed);
        ensure!(
            (0.0..=MAX_RATE).contains(&rate),
            "a rate of {rate} events a second cannot be simulated; give 0 to {MAX_RATE}"
        );
        ensure!(
            speed.is_none_or(|speed| speed.is_finite() && speed > 0.0),
            "a speed of {} cannot be simulated; give a number above 0, such as 1 or 10",
            speed.unwrap_or_default()
        );
        ensure!(
            speed.is_none() || !options.events.is_empty(),
            "a speed needs recorded events; give the files with --events, or leave --speed out"
        );
        let address = listener.local_addr().context("the listener has no address")?;
        let shared = Arc::new(SharedWorld::new(options, clock, address, stop)?);
        let mut tasks = JoinSet::new();
        tasks.spawn(pace::run(shared.clone()));
        tasks.spawn(routes::run(listener, shared.clone()));
        tracing::info!("simulated GitHub at http://{address}");
        Ok(Self { address, shared, tasks })
    }

    /// The base URL `http://ADDRESS:PORT`, which a client uses as GitHub's API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A control for tests; it works as long as it exists, even after the simulation ended.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::new(self.shared.clone())
    }

    /// Waits for the end: `stop`, or a failure.
    pub async fn wait(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a task of the simulated GitHub panicked")??;
        }
        Ok(())
    }
}
