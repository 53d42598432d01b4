//! Once a tick: the merge script runs over the rolling window, and readers get its map and, when
//! something was counted, the year's figures.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::aggregate::Apply;
use super::script::ScriptHost;
use crate::hub::Tick;

/// Ticks until `stop` is called. The first tick is at once.
pub async fn run(
    apply: Apply,
    script: Arc<ScriptHost>,
    every: Duration,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Apply { store, numbers, history, hub, clock, .. } = apply;
    let mut ticks = tokio::time::interval(every);
    // After a pause of the machine there is one tick, not one for each that was missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let now = clock.now();
        let (numbers, script) = (Arc::clone(&numbers), Arc::clone(&script));
        let window = numbers.window(now.second());
        // A script may take its 200 ms, and figures are read from disk.
        let work = store.clone();
        let ticked = tokio::task::spawn_blocking(move || {
            let map = script.merge(&window).tally;
            numbers.refresh(&work, now.year()).map(|counts| (map, counts))
        });
        let (map, counts) = ticked.await??;
        hub.board().set_tick(Arc::new(Tick { at: now.second(), map }));
        if let Some(counts) = history.merge(counts) {
            hub.board().set_counts(Arc::new(counts));
        }
    }
}
