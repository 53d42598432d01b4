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
//! person from `histories`; `graphql` answers from what is `known`, from the `totals` of
//! repositories and from their `commits`.

mod apps;
mod cast;
mod commits;
mod control;
mod entrance;
mod faults;
mod feed;
mod graphql;
mod histories;
mod installations;
mod json;
mod kinds;
mod known;
mod limits;
mod names;
mod node;
mod options;
mod pace;
mod page;
mod payloads;
mod payloads_old;
mod payloads_pulls;
mod payloads_rest;
mod payloads_today;
mod pulls;
mod query_work;
mod recorded;
mod refusal;
mod routes;
mod server;
mod single;
mod state;
mod totals;
mod user;
mod world;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use control::Control;
pub use faults::{DEFAULT_SHARE, Fault, FaultKind};
pub use installations::SimulatedApp;
pub use options::{
    DEFAULT_BACKLOG, DEFAULT_HISTORY, DEFAULT_RATE, HIGH_LIMIT, MAX_RATE, Options, QueryOptions,
    Shape,
};
pub use world::World;

use crate::clock::Clock;
use state::SharedWorld;

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
