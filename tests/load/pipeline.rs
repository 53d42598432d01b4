//! From page bytes to journal, with a sync per batch: events per second and CPU per event, next to
//! the machine's own cost for the same bytes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ghpulse::alerts::Alerts;
use ghpulse::apply::numbers::NodeCounters;
use ghpulse::apply::stage::Apply;
use ghpulse::bus::embedded::EmbeddedBus;
use ghpulse::clock::Clock;
use ghpulse::collect::enrich::Enrich;
use ghpulse::collect::entries::Entries;
use ghpulse::collect::ingest::{self, Admitted};
use ghpulse::collect::source::{Poll, PolledPage};
use ghpulse::config;
use ghpulse::hub::{Hub, HubOptions};
use ghpulse::store::{Durability, Store};
use ghpulse::tidb::{History, Setup};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::measure::{Figures, Usage, events, written_bytes};
use crate::report::Report;

/// Events per page, as GitHub serves them.
pub const PAGE: usize = 100;
/// Most bytes between admission and journal before more is admitted.
const WAITING: u64 = 32 << 20;
/// How often the hour is processed, each time with new ids.
const ROUNDS: usize = 8;

/// The row of the pipeline that loses nothing in a power cut.
pub const BATCH: &str = "page bytes to journal, `store.sync: batch`: ghpulse";
const EVERY_SECOND: &str = "page bytes to journal, `store.sync: 1s`: ghpulse";

/// Measures the pipeline.
#[expect(clippy::cast_precision_loss, reason = "bytes of a benchmark are few")]
pub fn run(report: &mut Report, recorded: Option<&Path>) {
    let (name, hour) = events(recorded);
    let pages = pages(&hour);
    let count = hour.len() * ROUNDS;
    let bytes: usize = pages.iter().map(Bytes::len).sum();
    let about = format!("{count} events of {} bytes each, from {name}.", bytes / count);
    report.section("pipeline", &about);
    let baseline = parse_only(&pages, count);
    baseline.add(report, "pipeline", "serde_json::Value of the same pages, nothing kept");
    let each_second = Durability::Every(Duration::from_secs(1));
    for (row, sync) in [(BATCH, Durability::EveryBatch), (EVERY_SECOND, each_second)] {
        let before = written_bytes();
        let figures = through(&pages, count, sync);
        figures.add(report, "pipeline", row);
        let written = (written_bytes() - before) as f64 / bytes as f64;
        report.add("pipeline", row, "written to the disk, bytes for a byte", written);
    }
}

/// The hour as pages, [`ROUNDS`] times, each time with new ids.
pub fn pages(hour: &[String]) -> Vec<Bytes> {
    let rounds: Vec<Vec<String>> = (0..ROUNDS).map(|round| renumbered(hour, round)).collect();
    rounds.iter().flat_map(|events| events.chunks(PAGE)).map(page).collect()
}

/// The same events with different ids, so that each round is new.
fn renumbered(hour: &[String], round: usize) -> Vec<String> {
    let rename = |text: &String| text.replacen("{\"id\":\"", &format!("{{\"id\":\"{round}"), 1);
    hour.iter().map(rename).collect()
}

fn page(events: &[String]) -> Bytes {
    Bytes::from(format!("[{}]", events.join(",")))
}

fn parse_only(pages: &[Bytes], count: usize) -> Figures {
    let usage = Usage::now();
    for page in pages {
        let values: Vec<serde_json::Value> = serde_json::from_slice(page).expect("pages are JSON");
        std::hint::black_box(values);
    }
    usage.figures(count)
}

fn through(pages: &[Bytes], count: usize, sync: Durability) -> Figures {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let dir = tempfile::tempdir().expect("a temporary directory");
    runtime.block_on(async {
        let clock = Clock::system();
        let store = Store::open(dir.path(), sync, clock).expect("a new store opens");
        let stages = RunningStages::start(&store, clock);
        let usage = Usage::now();
        for together in pages.chunks(3) {
            assert_eq!(stages.admit(together).await.known, 0);
        }
        stages.applied().await;
        let figures = usage.figures(count);
        assert_eq!(stages.hub.tail().end(), count as u64);
        stages.end().await;
        figures
    })
}

/// The stages from admission to journal, without enrichment, on a store.
pub struct RunningStages {
    pub hub: Arc<Hub>,
    pub numbers: Arc<NodeCounters>,
    store: Store,
    clock: Clock,
    stages: [JoinHandle<anyhow::Result<()>>; 2],
    stop: CancellationToken,
}

impl RunningStages {
    /// Starts them. Must be called inside a runtime.
    pub fn start(store: &Store, clock: Clock) -> Self {
        let config = config::defaults();
        let interval = config.interval;
        let numbers = NodeCounters::load(store, interval.latest_during, clock);
        let numbers = Arc::new(numbers.expect("the store can be read"));
        let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
        let setup = Setup { tidb: None, interval, on_request: true };
        let history = History::load(store, setup, Alerts::off(), clock);
        let apply = Apply {
            store: store.clone(),
            numbers: Arc::clone(&numbers),
            history: history.expect("the store can be read").0,
            hub: Arc::clone(&hub),
            seen_for: config.store.seen_for,
            clock,
        };
        let (bus, stop) = (EmbeddedBus::new(store.clone()), CancellationToken::new());
        let stages = [
            tokio::spawn(Enrich::without_asking(store.clone(), clock).run(stop.clone())),
            tokio::spawn(apply.run(bus, stop.clone())),
        ];
        Self { hub, numbers, store: store.clone(), clock, stages, stop }
    }

    /// Admits these pages as one poll, then waits until at most [`WAITING`] bytes are not applied.
    pub async fn admit(&self, pages: &[Bytes]) -> Admitted {
        let page =
            |(number, page): (u8, &Bytes)| PolledPage { number, entries: Entries::of_list(page) };
        let pages = (1..).zip(pages).map(page).collect();
        let poll = Poll { pages, received_at: self.clock.now() };
        let admitted = ingest::admit(&self.store, poll).await.expect("the store takes it");
        self.waiting(WAITING).await;
        admitted
    }

    /// Waits until everything that was admitted is applied.
    pub async fn applied(&self) {
        self.waiting(0).await;
    }

    async fn waiting(&self, most: u64) {
        let mut backlog = self.store.watermarks().backlog.subscribe();
        backlog.wait_for(|bytes| *bytes <= most).await.expect("the store is open");
    }

    /// Stops them.
    pub async fn end(self) {
        self.stop.cancel();
        for stage in self.stages {
            stage.await.expect("no panic").expect("no failure");
        }
    }
}
