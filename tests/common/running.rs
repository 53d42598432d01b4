//! A complete appliance in this process, on free ports, and the simulated GitHub it follows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use ghpulse::appliance::Appliance;
use ghpulse::clock::Clock;
use ghpulse::config::{self, Request};
use ghpulse::simulate::{Control, Options, Simulation};
use ghpulse::supervise::{ProcessFailure, Stop};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The deadline of every wait; only a failure takes this long. On a slow machine some states last
/// up to three minutes.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Waits for a future; panics with `what` after the deadline.
pub async fn soon<T>(what: &str, waited_for: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, waited_for).await;
    waited.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Interval for polling a state without notifications.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Polls a state until `look` returns `Some`. Sleeps in between, so that the awaited work can use
/// the processor.
pub async fn until_some<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let looked = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            Clock::system().sleep(LOOK_EVERY).await;
        }
    };
    soon(what, looked).await
}

/// A simulated GitHub.
pub struct GitHub {
    pub url: String,
    pub control: Control,
    stop: CancellationToken,
}

/// The offset of a clock in microseconds; see [`Clock::stepped`].
pub fn steps() -> &'static AtomicI64 {
    Box::leak(Box::default())
}

impl GitHub {
    pub async fn start(options: Options) -> Self {
        Self::start_at(options, Clock::system()).await
    }

    /// Does the same with another clock.
    pub async fn start_at(options: Options, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let simulation = Simulation::start(listener, options, clock, stop.clone()).unwrap();
        let (url, control) = (simulation.url(), simulation.control());
        tokio::spawn(simulation.wait());
        Self { url, control, stop }
    }
}

impl Drop for GitHub {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An appliance.
pub struct Running {
    pub public: SocketAddr,
    pub ops: SocketAddr,
    pub stop: Stop,
    ended: tokio::task::JoinHandle<Result<(), ProcessFailure>>,
}

/// A configuration with these keys set, as by `GHPULSE_…` variables.
pub fn config(dir: &Path, github: &str, settings: &[(&str, &str)]) -> config::Config {
    let mut environment = vec![
        ("GHPULSE_DATA_DIR".to_owned(), dir.display().to_string()),
        ("GHPULSE_GITHUB_APIURL".to_owned(), github.to_owned()),
        ("GHPULSE_SERVER_BIND".to_owned(), "127.0.0.1".to_owned()),
        ("GHPULSE_SERVER_PORT".to_owned(), "0".to_owned()),
        ("GHPULSE_OPS_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        // With a token, tests set the pace instead of waiting for poll intervals.
        ("GHPULSE_GITHUB_TOKENS".to_owned(), "token-of-a-test".to_owned()),
        ("GHPULSE_GITHUB_LOOP_BREAK".to_owned(), "20".to_owned()),
    ];
    for (name, value) in settings {
        environment.retain(|(known, _)| known != name);
        environment.push(((*name).to_owned(), (*value).to_owned()));
    }
    match config::load(&Request::of_variables(environment)) {
        Ok(loaded) => loaded.config,
        Err(refused) => panic!("{:?}", refused.errors),
    }
}

impl Running {
    pub async fn start(dir: &Path, github: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_at(dir, github, settings, Clock::system()).await
    }

    /// Does the same with another clock.
    pub async fn start_at(
        dir: &Path,
        github: &str,
        settings: &[(&str, &str)],
        clock: Clock,
    ) -> Self {
        let stop = Stop::default();
        let config = config(dir, github, settings);
        let started = Appliance::start(config, clock, stop.clone()).await;
        let appliance = started.unwrap_or_else(|failure| panic!("{:#}", failure.error));
        let (public, ops) = (appliance.public, appliance.ops.expect("it is configured"));
        let ended = tokio::spawn(appliance.end());
        Self { public, ops, stop, ended }
    }

    /// The authorization header for a POST to the ops listener of the appliance on that directory.
    pub fn secret(data: &Path) -> String {
        let found = ghpulse::appliance::ops_file::read(data).unwrap();
        format!("authorization: Bearer {}", found.secret.expose())
    }

    /// Waits until the appliance has ended without being stopped; returns why.
    pub async fn ended(&mut self) -> String {
        match (&mut self.ended).await.unwrap() {
            Ok(()) => "without an error".to_owned(),
            Err(failure) => format!("{:#}", failure.error),
        }
    }

    /// Stops the appliance and waits until it has ended.
    pub async fn end(self) {
        self.stop.soft.cancel();
        let ended = soon("the appliance stops", self.ended).await.unwrap();
        ended.unwrap_or_else(|failure| panic!("{:#}", failure.error));
    }
}
