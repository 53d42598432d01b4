//! Aggregates: how fast they replay the journal after a start, and the cost of the shipped ones per
//! tick. Replaying sleeps as long as it works, so the wall-clock rate is about half of a core's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ghpulse::aggregates::Aggregates;
use ghpulse::clock::Clock;
use ghpulse::hub::{Hub, HubOptions};
use ghpulse::model::envelope::Facts;
use ghpulse::model::event::Event;
use ghpulse::model::position::{BusTag, Position};
use ghpulse::script;
use ghpulse::store::keys::{JournalKey, MinuteKey};
use ghpulse::store::rows::MinuteRow;
use ghpulse::store::{Durability, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::measure::{Usage, events};
use crate::report::Report;

/// The directory of the shipped scripts.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
/// Rows in the replayed journal.
const ROWS: usize = 200_000;
/// Rows written per batch.
const BATCH: usize = 2_000;
const TAG: BusTag = BusTag(1);

/// Measures aggregates.
pub fn run(report: &mut Report) {
    report.section("aggregates", "The shipped scripts, and reading a journal after a start.");
    for name in ["stars", "bots", "growth"] {
        let file = PathBuf::from(SCRIPTS).join(format!("{name}.rhai"));
        let benched = script::bench(&file).expect("the shipped scripts hold");
        let (script, native) = (benched.script.median_micros, benched.native.median_micros);
        for (row, micros) in [("rhai: ghpulse", script), ("native sum", native)] {
            let micros = f64::from(u32::try_from(micros).unwrap_or(u32::MAX));
            report.add("aggregates", &format!("{name}, {row}"), "a tick of an hour, us", micros);
        }
    }
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(catch_up(report));
}

/// Replays a journal from the start until the day's counts are visible.
async fn catch_up(report: &mut Report) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Clock::system();
    let store = Store::open(dir.path(), Durability::Every(Duration::from_secs(1)), clock);
    let store = store.expect("a new store");
    let (name, events) = events(None);
    fill(&store, clock, &events).await;
    let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
    let stop = CancellationToken::new();
    let (troubles, _) = watch::channel(Vec::new());
    let (scripts, sheets) = (PathBuf::from(SCRIPTS), Arc::clone(&hub));
    let usage = Usage::now();
    let counting = Aggregates { store, tag: TAG, hub: sheets, scripts, clock, troubles };
    let stopped = stop.clone();
    let stage =
        tokio::spawn(async move { counting.begin(Duration::ZERO).await?.run(stopped).await });
    while hub.rolling.open("types/24h").snapshot().is_none() {
        clock.sleep(Duration::from_millis(5)).await;
    }
    let row = format!("{ROWS} rows read, {name}: ghpulse");
    usage.figures(ROWS).add(report, "aggregates", &row);
    stop.cancel();
    stage.await.expect("it does not panic").expect("it ends when it is asked to");
}

async fn fill(store: &Store, clock: Clock, events: &[String]) {
    let received_at = clock.now();
    for first in (0..ROWS).step_by(BATCH) {
        let some = (first..first + BATCH).map(|n| events[n % events.len()].clone());
        let some: Vec<String> = some.collect();
        let work = move |batch: &mut ghpulse::store::Batch<'_>| {
            for (n, text) in (first as u64 + 1..).zip(&some) {
                let event = Event::read(text).expect("the world makes events");
                let mut row = Vec::new();
                Facts::of(&event, received_at).encode(&mut row);
                row.extend_from_slice(text.as_bytes());
                batch.put(&JournalKey { tag: TAG, position: Position::counted(n) }, &row);
            }
            let row = MinuteRow { first: Position::counted(1), bytes: 1 };
            let minute = received_at.minute();
            batch.put(&MinuteKey { tag: TAG, minute }, &row.encode());
            Ok(())
        };
        store.commit(work).await.expect("there is room");
    }
}
