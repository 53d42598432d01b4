//! A node as the appliance wires it, reduced to the parts that a bus affects: a store in a
//! temporary directory, the enrich and relay stages on a collector, and the apply stage.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ghpulse::bus::pulsar::{PulsarBus, PulsarOutlet, tag_of};
use ghpulse::bus::{BusState, ProducerGrant};
use ghpulse::clock::Clock;
use ghpulse::collect::enrich::Enrich;
use ghpulse::collect::entries::Entries;
use ghpulse::collect::ingest;
use ghpulse::collect::ingest::Admitted;
use ghpulse::collect::relay::Relay;
use ghpulse::collect::source::{Poll, PolledPage};
use ghpulse::config::PulsarConfig;
use ghpulse::hub::{Hub, HubOptions};
use ghpulse::model::envelope::Facts;
use ghpulse::model::position::{Cursor, Position};
use ghpulse::store::keys::{CounterKey, JournalKey};
use ghpulse::store::rows::decode_journal;
use ghpulse::store::{Durability, Store};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::common::history::apply_stage;

/// The deadline of every wait on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(150);

/// A running node.
pub(crate) struct Node {
    pub(crate) store: Store,
    pub(crate) state: watch::Receiver<BusState>,
    pub(crate) grant: watch::Receiver<ProducerGrant>,
    /// Number of pending rows that must not be sent.
    pub(crate) waiting: watch::Receiver<u64>,
    /// Why events could not be sent last.
    pub(crate) unsent: watch::Receiver<Option<String>>,
    pub(crate) subscription: String,
    hub: Arc<Hub>,
    stages: Vec<JoinHandle<anyhow::Result<()>>>,
    stop: CancellationToken,
    topic: String,
}

/// An event of the journal: its cursor, its facts, its JSON.
pub(crate) type Row = (Cursor, Facts, String);

impl Node {
    /// Starts a node that only consumes the topic.
    pub(crate) async fn edge(dir: &TempDir, options: &PulsarConfig) -> Self {
        Self::start(dir.path(), options, false).await
    }

    /// Starts a node that also produces, or is on standby to produce.
    pub(crate) async fn collector(dir: &TempDir, options: &PulsarConfig) -> Self {
        Self::start(dir.path(), options, true).await
    }

    async fn start(dir: &Path, options: &PulsarConfig, collects: bool) -> Self {
        let clock = Clock::system();
        // The reads of an aborted node close the store a moment later.
        let open = || Store::open(dir, Durability::EveryBatch, clock).ok();
        let store = until("the store is free", open).await;
        let stop = CancellationToken::new();
        let bus = PulsarBus::new(options, store.clone(), clock).unwrap();
        let (state, subscription) = (bus.state(), bus.subscription().to_owned());
        let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
        let apply = apply_stage(&store, &hub, clock);
        let (granting, grant) = watch::channel(ProducerGrant::Unasked);
        let (counting, waiting) = watch::channel(0);
        let (reporting, unsent) = watch::channel(None);
        let outlet = PulsarOutlet::new(options, clock).unwrap();
        let relay = Relay {
            store: store.clone(),
            produces: collects,
            grant: granting,
            waiting: counting,
            unsent: reporting,
            bus: state.clone(),
            clock,
        };
        let enrich = Enrich::without_asking(store.clone(), clock);
        let stages = vec![
            tokio::spawn(apply.run(bus, stop.clone())),
            tokio::spawn(enrich.run(stop.clone())),
            tokio::spawn(relay.run(outlet, stop.clone())),
        ];
        let topic = options.consumer_topic.clone();
        Self { store, state, grant, waiting, unsent, subscription, hub, stages, stop, topic }
    }

    /// Stops the node as by SIGTERM, and closes its store.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        for stage in self.stages {
            stage.await.unwrap().unwrap();
        }
    }

    /// Aborts the node: none of its work completes.
    pub(crate) async fn abort(self) {
        for stage in &self.stages {
            stage.abort();
        }
        for stage in self.stages {
            let _ = stage.await;
        }
    }

    /// Returns the error of a stage that ended on its own.
    pub(crate) async fn failure(mut self) -> String {
        let apply = self.stages.remove(0);
        let ended = tokio::time::timeout(PATIENCE, apply).await.expect("it continues").unwrap();
        ended.unwrap_err().to_string()
    }

    /// Admits events as one page.
    pub(crate) async fn admit(&self, events: &[String]) -> Admitted {
        admit(&self.store, events).await
    }

    /// Admits events into the store of a stopped node, as if it was killed right after.
    pub(crate) async fn admit_and_die(dir: &TempDir, events: &[String]) {
        let open = || Store::open(dir.path(), Durability::EveryBatch, Clock::system()).ok();
        let store = until("the store is free", open).await;
        admit(&store, events).await;
    }

    /// The journal.
    pub(crate) fn journal(&self) -> Vec<Row> {
        let tag = tag_of(&self.topic).unwrap();
        let mut rows = Vec::new();
        let read = |key: JournalKey, value: &[u8]| {
            let row = decode_journal(&key, value)?;
            let cursor = Cursor { tag: key.tag, position: key.position };
            rows.push((cursor, row.facts, row.event.to_owned()));
            Ok(true)
        };
        let start = JournalKey { tag, position: Position::default() };
        self.store.reader().scan(&start, read).unwrap();
        rows
    }

    /// Number of events applied since the node started.
    pub(crate) fn applied(&self) -> u64 {
        self.hub.tail().end()
    }

    /// Waits until the journal holds this many events; returns it.
    pub(crate) async fn holds(&self, events: usize) -> Vec<Row> {
        until(&format!("{events} events are in the journal"), || {
            let journal = self.journal();
            (journal.len() >= events).then_some(journal)
        })
        .await
    }

    /// A counter.
    pub(crate) fn count(&self, key: &impl CounterKey) -> i64 {
        self.store.reader().count(key).unwrap()
    }

    /// Waits until this collector has this grant to produce.
    pub(crate) async fn is(&mut self, grant: ProducerGrant) {
        let waited = tokio::time::timeout(PATIENCE, self.grant.wait_for(|now| *now == grant));
        let now = waited.await.map(|now| *now.unwrap());
        assert_eq!(now.ok(), Some(grant), "still {:?}", *self.grant.borrow());
    }

    /// Waits until the bus is connected, or disconnected.
    pub(crate) async fn is_connected(&mut self, connected: bool) {
        let waited = self.state.wait_for(|state| state.connected == connected);
        let waited = tokio::time::timeout(PATIENCE, waited).await.map(|state| state.is_ok());
        assert_eq!(waited.ok(), Some(true), "{:?}", *self.state.borrow());
    }

    /// Waits until the bus is disconnected with a trouble that contains these words.
    pub(crate) async fn is_in_trouble(&mut self, words: &str) {
        let waited = self.state.wait_for(|state| {
            let trouble = state.trouble.as_deref().unwrap_or_default();
            !state.connected && trouble.contains(words)
        });
        let in_time = tokio::time::timeout(PATIENCE, waited).await.is_ok_and(|state| state.is_ok());
        assert!(in_time, "in vain for `{words}`: {:?}", *self.state.borrow());
    }

    /// Waits until nothing is left between admission and the topic.
    pub(crate) async fn is_relayed(&self) {
        let mut backlog = self.store.watermarks().backlog.subscribe();
        let empty = backlog.wait_for(|bytes| *bytes == 0);
        let empty = tokio::time::timeout(PATIENCE, empty).await.is_ok();
        assert!(empty, "{} bytes are left", *self.store.watermarks().backlog.borrow());
    }
}

async fn admit(store: &Store, events: &[String]) -> Admitted {
    let entries = Entries::of_list(&Bytes::from(format!("[{}]", events.join(","))));
    let clock = Clock::system();
    let poll = Poll { pages: vec![PolledPage { number: 1, entries }], received_at: clock.now() };
    ingest::admit(store, poll).await.unwrap()
}

/// Polls until `look` returns a value.
pub(crate) async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    let looking = async {
        loop {
            looks.tick().await;
            if let Some(seen) = look() {
                return seen;
            }
        }
    };
    soon(what, looking).await
}

/// Waits for a future; panics with `what` after the deadline.
pub(crate) async fn soon<T>(what: &str, waited_for: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, waited_for).await;
    waited.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain until {what}"))
}

/// A pull-request event as GitHub sent it before October 2025.
pub(crate) fn pull_request(
    id: usize,
    actor: usize,
    repo: usize,
    action: &str,
    merged: bool,
) -> String {
    let pull = [
        format!(r#"{{"id":{id},"title":"t","draft":false,"merged":{merged},"additions":{id},"#),
        r#""deletions":1,"changed_files":1,"base":{"repo":{"#.to_owned(),
        format!(r#""id":{repo},"language":"Rust"}}}}}}"#),
    ]
    .concat();
    let (minute, second) = (id / 60 % 60, id % 60);
    [
        format!(r#"{{"id":"{id}","type":"PullRequestEvent","actor":{{"id":{actor},"#),
        format!(r#""login":"dev{actor}"}},"repo":{{"id":{repo},"name":"org/repo{repo}"}},"#),
        format!(r#""payload":{{"action":"{action}","number":{id},"pull_request":{pull}}},"#),
        format!(r#""public":true,"created_at":"2026-03-01T10:{minute:02}:{second:02}Z"}}"#),
    ]
    .concat()
}

/// Pull-request events from number `from` on, each by a different developer.
pub(crate) fn pull_requests(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|id| pull_request(id, id, id % 7, "opened", false)).collect()
}
