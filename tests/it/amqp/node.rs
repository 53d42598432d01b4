//! A node as the appliance wires it, reduced to the parts that RabbitMQ affects: a store in a
//! temporary directory, the enrich and apply stages on the embedded bus, and the feeder of the
//! exchange.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ghpulse::amqp::{CURSOR, LinkState, ReaderWarningKind, Sink, SinkState};
use ghpulse::bus::embedded::EmbeddedBus;
use ghpulse::clock::Clock;
use ghpulse::collect::enrich::Enrich;
use ghpulse::collect::entries::Entries;
use ghpulse::collect::ingest;
use ghpulse::collect::source::{Poll, PolledPage};
use ghpulse::config::AmqpConfig;
use ghpulse::hub::{Hub, HubOptions};
use ghpulse::store::keys::RejectKey;
use ghpulse::store::{Durability, Reader, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::broker::PATIENCE;
use crate::common::history::apply_stage;

/// A running node.
pub(crate) struct Node {
    store: Store,
    state: watch::Receiver<SinkState>,
    stages: Vec<JoinHandle<anyhow::Result<()>>>,
    stop: CancellationToken,
}

impl Node {
    /// Starts a node that feeds this exchange.
    pub(crate) fn start(dir: &Path, options: &AmqpConfig) -> Self {
        let clock = Clock::system();
        let store = Store::open(dir, Durability::EveryBatch, clock).unwrap();
        let stop = CancellationToken::new();
        let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
        let apply = apply_stage(&store, &hub, clock);
        let sink = Sink::new(store.clone(), store.bus_tag(), options.clone(), clock).unwrap();
        let state = sink.state();
        let bus = EmbeddedBus::new(store.clone());
        let stages = vec![
            tokio::spawn(Enrich::without_asking(store.clone(), clock).run(stop.clone())),
            tokio::spawn(apply.run(bus, stop.clone())),
            tokio::spawn(sink.run(stop.clone())),
        ];
        Self { store, state, stages, stop }
    }

    /// Stops the node as by SIGTERM, and closes its store.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        for stage in self.stages {
            stage.await.unwrap().unwrap();
        }
    }

    /// Waits until the broker has confirmed all applied events and the progress is stored.
    pub(crate) async fn has_fed_all(&self) {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let look = |reader: Reader<'_>| Ok(reader.cursor(CURSOR)? == reader.applied()?);
        let looking = async {
            while !self.store.read(look).await.unwrap() {
                looks.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("all is confirmed in time");
    }

    /// Admits events as one page of the simulated GitHub.
    pub(crate) async fn admit(&self, events: &[String]) {
        let entries = Entries::of_list(&Bytes::from(format!("[{}]", events.join(","))));
        let entries = entries.with_simulated(true);
        let now = Clock::system().now();
        let poll = Poll { pages: vec![PolledPage { number: 1, entries }], received_at: now };
        ingest::admit(&self.store, poll).await.unwrap();
    }

    /// Waits for a warning of this kind about readers; returns its text.
    pub(crate) async fn has_noticed(&mut self, kind: ReaderWarningKind) -> String {
        let text = |state: &SinkState| {
            let notice = state.notices.iter().find(|notice| notice.kind == kind);
            notice.map(|notice| notice.text.clone())
        };
        let waited = self.state.wait_for(|state| text(state).is_some());
        let state = tokio::time::timeout(PATIENCE, waited).await.expect("in time").unwrap();
        text(&state).unwrap()
    }

    /// Waits for a trouble that contains these words.
    pub(crate) async fn is_in_trouble(&mut self, words: &str) {
        let waited = self.state.wait_for(|state| {
            state.trouble.as_ref().is_some_and(|trouble| trouble.contains(words))
        });
        let in_time = tokio::time::timeout(PATIENCE, waited).await.is_ok();
        assert!(in_time, "in vain for `{words}`: {:?}", self.state.borrow().trouble);
    }

    /// The reasons in the reject log.
    pub(crate) async fn rejected(&self) -> Vec<String> {
        let read = |reader: Reader<'_>| {
            let mut reasons = Vec::new();
            reader.scan(&RejectKey(0), |_, value| {
                reasons.push(String::from_utf8_lossy(value).into_owned());
                Ok(true)
            })?;
            Ok(reasons)
        };
        self.store.read(read).await.unwrap()
    }

    /// Waits until the exchange is connected, or disconnected; returns the reason.
    pub(crate) async fn is_connected(&mut self, connected: bool) -> String {
        let waited = self.state.wait_for(|state| {
            (state.link == LinkState::Up) == connected
                && state.trouble.as_deref() != Some("not connected yet")
        });
        let state = tokio::time::timeout(PATIENCE, waited).await.expect("in time").unwrap();
        state.trouble.clone().unwrap_or_default()
    }
}

/// A push.
pub(crate) fn push(id: usize) -> String {
    event(id, "PushEvent", r#"{"ref":"x"}"#)
}

/// An issue that was opened, or changed by another action.
pub(crate) fn issue(id: usize, issue: usize, action: &str) -> String {
    let payload = format!(r#"{{"action":"{action}","issue":{{"id":{issue},"title":"T"}}}}"#);
    event(id, "IssuesEvent", &payload)
}

/// A push with a payload larger by this many bytes.
pub(crate) fn large_push(id: usize, bytes: usize) -> String {
    event(id, "PushEvent", &format!(r#"{{"ref":"{}"}}"#, "x".repeat(bytes)))
}

fn event(id: usize, kind: &str, payload: &str) -> String {
    [
        format!(r#"{{"id":"{id}","type":"{kind}","actor":{{"id":7,"login":"ann"}},"#),
        format!(r#""repo":{{"id":9,"name":"bob/tool"}},"payload":{payload},"#),
        r#""created_at":"2026-03-01T10:00:00Z"}"#.to_owned(),
    ]
    .concat()
}
