//! Once a tick: the merge script runs over the rolling window, and readers get its map and, when
//! something was counted, the year's figures.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::aggregate::Apply;
use crate::hub::Tick;
use crate::script::ScriptHost;
use crate::sync::blocking;

/// Makes the latest values that readers of numbers see.
pub struct Ticker {
    apply: Apply,
    script: Arc<ScriptHost>,
}

impl Ticker {
    /// Shows what `apply` counted, merged by `script`.
    #[must_use]
    pub fn new(apply: Apply, script: Arc<ScriptHost>) -> Self {
        Self { apply, script }
    }

    /// Computes the language map and the year's figures once and shows them. Called before a port
    /// is bound, so that the first message of the first client is right.
    ///
    /// # Errors
    /// Only when the store cannot be read.
    pub async fn tick(&self) -> anyhow::Result<()> {
        let Apply { store, numbers, history, hub, clock, .. } = &self.apply;
        let now = clock.now();
        let (numbers, script) = (Arc::clone(numbers), Arc::clone(&self.script));
        let window = numbers.window(now.second());
        // A script may take its 200 ms, and figures are read from disk.
        let work = store.clone();
        let ticked = blocking(move || {
            let map = script.merge(&window).tally;
            numbers.refresh(&work, now.year()).map(|counts| (map, counts))
        });
        let (map, counts) = ticked.await??;
        hub.latest_values().set_tick(Arc::new(Tick { at: now.second(), map }));
        if let Some(counts) = history.merge(counts) {
            hub.latest_values().set_counts(Arc::new(counts));
        }
        Ok(())
    }

    /// Ticks every `every`, first after that time, until `stop` is called.
    ///
    /// # Errors
    /// Only when the store cannot be read.
    pub async fn run(self, every: Duration, stop: CancellationToken) -> anyhow::Result<()> {
        let start: Instant = self.apply.clock.instant() + every;
        let mut ticks = tokio::time::interval_at(start, every);
        // After a pause of the machine there is one tick, not one for each that was missed.
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
