//! A GitHub-shaped HTTP server: `/events` in three pages, as GitHub splits them, from a seeded
//! world or from recorded files, with `ETag`s, limits, and faults on request; and `/graphql`, which
//! knows the truth about the pull requests of the seeded world.
//!
//! It drives the demo, the tests and the load drivers, and it is the appliance's peer, so it
//! shares no code with it but the clock and the words for time: a mistake in how we read GitHub
//! must not be mirrored in what we read. For the same reason it has a door of its own to axum,
//! beside `serve`.
//!
//! Every response says `X-Simulated: ghpulse`. A [`Control`] steps the feed by hand, turns faults
//! on and off, and tells what went in and what went out, for tests that count on their own.
//!
//! `world` makes events (`cast`: people and repositories, `pulls`: lives of pull requests,
//! `payloads*`: their JSON), `recorded` reads them, `pace` puts them into the `feed`, `server`
//! shows its pages under `limits` and `faults`; `graphql` answers from what is `known`.

mod at_once;
mod cast;
mod control;
mod faults;
mod feed;
mod graphql;
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
mod server;
mod state;
mod user;
mod world;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use control::Control;
pub use faults::{DEFAULT_SHARE, Fault, FaultKind, NoFault, names as fault_names};
pub use graphql::QueryOptions;
pub use world::World;

use crate::clock::Clock;
use state::SharedWorld;

/// More events a second than this are refused: no page could show them.
pub const MAX_RATE: f64 = 100_000.0;
/// Requests an hour when nothing else is said: more than anybody sends.
pub const HIGH_LIMIT: u32 = 10_000_000;
/// Events a second when nothing else is said.
pub const DEFAULT_RATE: f64 = 50.0;
/// Events in sight from the beginning; all of them on the pages, whatever their types.
pub const DEFAULT_BACKLOG: usize = 150;

/// How payloads look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// As before October 2025: whole pull requests, a merge is `closed` with `merged` true.
    #[default]
    Old,
    /// As since: a pull request has five keys, a merge is the action `merged`.
    Today,
}

/// The shape's name on the command line.
impl std::str::FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "old" => Ok(Self::Old),
            "today" => Ok(Self::Today),
            _ => Err(format!("'{text}' is no shape of events; there are old and today")),
        }
    }
}

/// The account that a token is of: what its text begins with, up to the first `/`.
#[must_use]
pub fn account_of(token: &str) -> &str {
    limits::account(token)
}

/// What to simulate. The defaults are those of `ghpulse simulate`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Events a second that go into the feed, 0 to [`MAX_RATE`]; 0 leaves it to
    /// [`Control::emit`].
    pub rate: f64,
    /// How the payloads of the seeded world look; recorded ones stay as they are.
    pub shape: Shape,
    /// Recorded events, one a line, plain or gzipped, instead of the seeded world; in this order.
    /// The feed stops before anything would leave its pages until somebody has asked for one.
    pub events: Vec<PathBuf>,
    /// Recorded events at the pace of their `created_at`, so many times as fast, instead of
    /// `rate`.
    pub speed: Option<f64>,
    /// What goes wrong from the beginning.
    pub faults: Vec<Fault>,
    /// `X-Poll-Interval`, seconds.
    pub poll_interval: u32,
    /// Requests an hour for an account with tokens; see [`account_of`].
    pub limit: u32,
    /// Requests an hour for an address without a token.
    pub anonymous_limit: u32,
    /// How `/graphql` behaves.
    pub query: QueryOptions,
    /// Events of the seeded world that are in the feed from the beginning.
    pub backlog: usize,
    /// How many events [`Control::emitted`] remembers: none outside tests, the feed never ends.
    pub remember: usize,
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
        }
    }
}

impl Options {
    /// An empty feed that moves only by hand and remembers up to a million events: for tests.
    #[must_use]
    pub fn by_hand(seed: u64) -> Self {
        Self { seed, rate: 0.0, backlog: 0, remember: 1_000_000, ..Self::default() }
    }
}

/// A running server and its feed.
pub struct Simulation {
    address: SocketAddr,
    shared: Arc<SharedWorld>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Simulation {
    /// Serves on the listener until `stop`. Must be called inside a tokio runtime.
    ///
    /// Refused: a rate or speed that is no number in bounds, recorded files that cannot be
    /// opened.
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
        tasks.spawn(server::run(listener, shared.clone()));
        tracing::info!("simulated GitHub at http://{address}");
        Ok(Self { address, shared, tasks })
    }

    /// `http://ADDRESS:PORT`, what a client takes for GitHub's API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What tests hold on to; works for as long as there is one, also after the end.
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
