//! From page bytes to journal, with a sync per batch: events per second and CPU per event, next to
//! the machine's own cost for the same bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ghpulse::alerts::Alerts;
use ghpulse::apply::aggregate::Apply;
use ghpulse::apply::numbers::NodeCounters;
use ghpulse::bus::embedded::EmbeddedBus;
use ghpulse::clock::{Clock, Stopwatch};
use ghpulse::collect::enrich::Enrich;
use ghpulse::collect::entries::Entries;
use ghpulse::collect::ingest;
use ghpulse::collect::source::{Poll, PolledPage};
use ghpulse::config;
use ghpulse::hub::{Hub, HubOptions};
use ghpulse::store::{Durability, Store};
use ghpulse::tidb::{History, Setup};
use tokio_util::sync::CancellationToken;

use crate::measure::{Figures, Usage, events, written_bytes};
use crate::report::Report;

/// Events per page, as GitHub serves them.
const PAGE: usize = 100;
/// How often the hour is processed, each time with new ids.
const ROUNDS: usize = 8;

/// The row of the pipeline that loses nothing in a power cut.
pub const BATCH: &str = "page bytes to journal, `store.sync: batch`: ghpulse";
const EVERY_SECOND: &str = "page bytes to journal, `store.sync: 1s`: ghpulse";

/// Measures the pipeline.
#[expect(clippy::cast_precision_loss, reason = "bytes of a benchmark are few")]
pub fn run(report: &mut Report, recorded: Option<&Path>) {
    let (name, hour) = events(recorded);
    let rounds: Vec<Vec<String>> = (0..ROUNDS).map(|round| renumbered(&hour, round)).collect();
    let pages: Vec<Bytes> =
        rounds.iter().flat_map(|events| events.chunks(PAGE)).map(page).collect();
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
        let numbers = Arc::new(NodeCounters::load(&store, 3_600, clock).expect("it is empty"));
        let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
        let stop = CancellationToken::new();
        let seen_for = Duration::from_secs(72 * 3_600);
        let interval = config::defaults().interval;
        let setup = Setup { tidb: None, interval, on_request: true };
        let history = History::load(&store, setup, Alerts::off(), clock).expect("it is empty").0;
        let hub_of_apply = Arc::clone(&hub);
        let apply =
            Apply { store: store.clone(), numbers, history, hub: hub_of_apply, seen_for, clock };
        let bus = EmbeddedBus::new(store.clone());
        let stages = [
            tokio::spawn(Enrich::without_asking(store.clone(), clock).run(stop.clone())),
            tokio::spawn(apply.run(bus, stop.clone())),
        ];
        let usage = Usage::now();
        let mut backlog = store.watermarks().backlog.subscribe();
        for together in pages.chunks(3) {
            let page = |(number, page): (u8, &Bytes)| PolledPage {
                number,
                entries: Entries::of_list(page),
            };
            let poll =
                Poll { pages: (1..).zip(together).map(page).collect(), received_at: clock.now() };
            let admitted = ingest::admit(&store, poll).await;
            assert_eq!(admitted.expect("the store takes it").known, 0);
            backlog.wait_for(|bytes| *bytes < 32 << 20).await.expect("the store is open");
        }
        backlog.wait_for(|bytes| *bytes == 0).await.expect("the store is open");
        let figures = usage.figures(count);
        assert_eq!(hub.tail().end(), count as u64);
        stop.cancel();
        for stage in stages {
            stage.await.expect("no panic").expect("no failure");
        }
        figures
    })
}

/// Measures opening a store that remembers ten million events.
pub fn start(report: &mut Report) {
    use ghpulse::model::event::{EventId, EventKey};
    use ghpulse::store::keys::SeenKey;
    const SEEN: u64 = 10_000_000;
    let dir: PathBuf = tempfile::tempdir().expect("a temporary directory").keep();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let clock = Clock::system();
    let interval = Durability::Every(Duration::from_secs(5));
    let store = Store::open(&dir, interval, clock).expect("a new store opens");
    let today = clock.now().day();
    for first in (0..SEEN).step_by(50_000) {
        let put = store.commit(move |batch| {
            for id in first..first + 50_000 {
                // Spread like the ids of two sequences.
                let id = EventId::Number(id.wrapping_mul(0x9e37_79b9) | 1 << 33);
                let key = EventKey { id, kind: "PushEvent".to_owned() };
                batch.put(&SeenKey::new(today, &key), b"");
            }
            Ok(())
        });
        runtime.block_on(put).expect("the store takes it");
    }
    drop(store);
    let watch = Stopwatch::start();
    let store = Store::open(&dir, Durability::EveryBatch, clock).expect("it opens again");
    let numbers = NodeCounters::load(&store, 3_600, clock).expect("it is read");
    numbers.refresh(&store, clock.now().year()).expect("it is read");
    report.section("start", "Opening a store, until the first event could be admitted.");
    let row = format!("{SEEN} seen keys: ghpulse");
    report.add("start", &row, "until ready, s", watch.elapsed().as_secs_f64());
    drop(store);
    // A leftover temporary directory is harmless.
    let _ = std::fs::remove_dir_all(&dir);
}
