//! An appliance with the simulated GitHub it follows and its own data directory.

use ghpulse::clock::Clock;
use ghpulse::simulate::Options;

use crate::common::client::Client;
use crate::common::running::{GitHub, Running, soon};

pub(crate) struct Site {
    pub(crate) github: GitHub,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) running: Running,
}

impl Site {
    /// Starts with these `GHPULSE_…` settings.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_at(settings, Clock::system()).await
    }

    /// Does the same with another clock.
    pub(crate) async fn start_at(settings: &[(&str, &str)], clock: Clock) -> Self {
        let github = GitHub::start_at(Options::by_hand(1), clock).await;
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start_at(dir.path(), &github.url, settings, clock).await;
        Self { github, dir, running }
    }

    /// Puts events into GitHub's feed.
    pub(crate) fn push(&self, events: &[String]) {
        for event in events {
            self.github.control.push_raw(event);
        }
    }

    pub(crate) async fn connect(&self, path: &str) -> Client {
        Client::connect(self.running.public, path).await
    }

    /// A reader of `/sampling` with parameters in force and its first message read.
    pub(crate) async fn sampling(&self, params: &str) -> Client {
        let mut client = self.connect("/sampling").await;
        assert_eq!(client.json().await["firstMessageTag"], true);
        client.subscribe(params).await;
        client
    }

    /// A reader of `/language/latest` with parameters in force.
    pub(crate) async fn latest(&self, params: &str) -> Client {
        let mut client = self.connect("/language/latest").await;
        client.subscribe(params).await;
        client
    }

    /// Waits until all events in the feed are applied and a tick has passed since. `reader` must be
    /// a reader of `/sampling` that receives every event; returns what it received.
    pub(crate) async fn settle(&self, reader: &mut Client, count: usize) -> Vec<String> {
        let mut came = Vec::new();
        while came.len() < count {
            came.push(reader.text().await);
        }
        self.tick().await;
        came
    }

    /// Waits for a tick that begins after this call.
    pub(crate) async fn tick(&self) {
        let mut ticks = self.latest("{}").await;
        // The first tick may have begun earlier.
        ticks.text().await;
        ticks.text().await;
    }

    pub(crate) async fn end(self) {
        soon("it stops", self.running.end()).await;
    }
}
