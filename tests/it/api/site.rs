//! An appliance with the GitHub it follows and a directory of its own.

use ghpulse::simulate::Options;

use crate::common::client::Client;
use crate::common::running::{GitHub, Running, soon};

pub(crate) struct Site {
    pub(crate) github: GitHub,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) running: Running,
}

impl Site {
    /// With `GHPULSE_…` settings.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let github = GitHub::start(Options::by_hand(1)).await;
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(dir.path(), &github.url, settings).await;
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

    /// A reader of `/sampling` whose params hold, its first message read.
    pub(crate) async fn sampling(&self, params: &str) -> Client {
        let mut client = self.connect("/sampling").await;
        assert_eq!(client.json().await["firstMessageTag"], true);
        client.subscribe(params).await;
        client
    }

    /// A reader of `/language/latest` whose params hold.
    pub(crate) async fn latest(&self, params: &str) -> Client {
        let mut client = self.connect("/language/latest").await;
        client.subscribe(params).await;
        client
    }

    /// Waits until all that is in the feed was taken in and a tick has seen it. `reader` must be
    /// one of `/sampling` that gets every event; what comes is given back.
    pub(crate) async fn settle(&self, reader: &mut Client, count: usize) -> Vec<String> {
        let mut came = Vec::new();
        while came.len() < count {
            came.push(reader.text().await);
        }
        self.tick().await;
        came
    }

    /// Waits for a tick that began after now.
    pub(crate) async fn tick(&self) {
        let mut ticks = self.latest("{}").await;
        // The first may have begun before.
        ticks.text().await;
        ticks.text().await;
    }

    pub(crate) async fn end(self) {
        soon("it stops", self.running.end()).await;
    }
}
