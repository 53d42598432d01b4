//! The tick: runs the merge script over the rolling window and publishes its map and, when
//! something was counted, the year's figures.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::stage::Apply;
use crate::hub::Tick;
use crate::script::ScriptHost;
use crate::sync::blocking;

/// Computes the latest values that readers of numbers receive.
pub struct Ticker {
    /// What it publishes the counts of.
    pub apply: Apply,
    /// The script that merges them.
    pub script: Arc<ScriptHost>,
}

impl Ticker {
    /// Computes and publishes the language map and the year's figures once. Called before a port
    /// is bound, so that the first message of the first client is correct.
    ///
    /// # Errors
    /// Only when the store cannot be read.
    pub async fn tick(&self) -> anyhow::Result<()> {
        let Apply { store, numbers, history, hub, clock, .. } = &self.apply;
        let now = clock.now();
        let (numbers, script) = (Arc::clone(numbers), Arc::clone(&self.script));
        let window = numbers.window(now.second());
        // A script may take up to 200 ms, and figures are read from disk.
        let work = store.clone();
        let ticked = blocking(move || {
            let map = script.merge(&window).tally;
            numbers.refresh(&work, now.year()).map(|counts| (map, counts))
        });
        let (map, counts) = ticked.await??;
        hub.latest_values.set_tick(Arc::new(Tick { at: now.second(), map }));
        if let Some(counts) = history.merge(counts) {
            hub.latest_values.set_counts(Arc::new(counts));
        }
        Ok(())
    }

    /// Ticks at the interval `every`, the first time after that interval, until `stop` is
    /// cancelled.
    ///
    /// # Errors
    /// Only when the store cannot be read.
    pub async fn run(self, every: Duration, stop: CancellationToken) -> anyhow::Result<()> {
        let start: Instant = self.apply.clock.instant() + every;
        let mut ticks = tokio::time::interval_at(start, every);
        // After the machine was suspended there is one tick, not one for each that was missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            self.tick().await?;
        }
    }
}
