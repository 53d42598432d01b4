//! Live aggregates: counts over rolling windows.
//!
//! An aggregate is a fold over the journal: it starts at the beginning of its window, reads
//! forward, and publishes its value at each tick as of the last event read. There is no other
//! state: nothing is written, the event pipeline is not involved, and after a restart, or when a
//! script changes its rule, the same fold over the same rows gives the same numbers. Events that
//! the journal no longer has are not counted, and each value says since when it is complete.
//!
//! Some aggregates are built in (`rolling`, `active`, `busiest`); the others are scripts, one file
//! each (`folder`). Catching up runs in batches, in the background, on up to half of one core.

mod active;
mod busiest;
mod folder;
mod journal;
mod member;
mod rolling;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::folder::ScriptFolder;
use self::journal::ReadGroups;
use self::member::AggregateCounter;
use crate::clock::{Clock, Stopwatch};
use crate::hub::Hub;
use crate::model::position::BusTag;
use crate::model::window::Second;
use crate::script::ScriptDiagnostic;
use crate::store::{Store, StoreError};
use crate::sync::blocking;

pub use self::folder::{AGGREGATES, files};

/// How often the journal is polled.
const BEAT: Duration = Duration::from_millis(250);
/// The shortest pause while there is more to read.
const REST: Duration = Duration::from_millis(10);

/// Dependencies of the stage.
pub struct Aggregates {
    /// The store whose journal is read.
    pub store: Store,
    /// The bus whose events are counted.
    pub tag: BusTag,
    /// Where values are published.
    pub hub: Arc<Hub>,
    /// Directory of the scripts.
    pub scripts: PathBuf,
    /// The clock.
    pub clock: Clock,
    /// Called with the current errors of scripts.
    pub troubles: watch::Sender<Vec<ScriptDiagnostic>>,
}

/// When the clock is set back by more than this many seconds, everything is recounted.
const SET_BACK: i64 = 5;
/// The pause after a failed read of the store.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// State of the stage between two beats.
struct CountingState {
    tools: Aggregates,
    folder: ScriptFolder,
    groups: ReadGroups,
    looked_at: Second,
    /// Whether the end of the journal was reached once.
    has_read: bool,
    /// The store's error at the last beat.
    trouble: Option<String>,
    /// How often `privacy.exclude` had changed when counting began.
    privacy_changes: u64,
}

/// The stage with its counts so far; `None` when the store is too damaged to count.
pub struct Counting(Option<CountingState>);

impl Aggregates {
    /// Activates the scripts and counts the journal for up to `within`, so that values exist before
    /// the first reader asks. [`Counting::run`] continues with a longer journal.
    ///
    /// # Errors
    /// When the store cannot be read, other than for damage.
    pub async fn begin(self, within: Duration) -> anyhow::Result<Counting> {
        let clock = self.clock;
        let begun = blocking(move || {
            let mut state = CountingState::begin(self)?;
            let started = clock.instant();
            while clock.instant().duration_since(started) < within && state.beat_or_wait()? {}
            Ok(state)
        });
        match begun.await.context("beginning to count")? {
            Err(error) if StoreError::is_damage(&error) => {
                // The rest of the appliance works without aggregates.
                tracing::error!(%error, "rolling windows are not counted");
                Ok(Counting(None))
            }
            begun => Ok(Counting(Some(begun?))),
        }
    }
}

impl Counting {
    /// Counts until `stop` is cancelled.
    ///
    /// # Errors
    /// When the store cannot be read, other than for damage.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(mut state) = self.0 else {
            stop.cancelled().await;
            return Ok(());
        };
        let clock = state.tools.clock;
        loop {
            let beat = blocking(move || {
                let watch = Stopwatch::start();
                let behind = state.beat_or_wait();
                behind.map(|behind| (state, behind.then_some(watch.elapsed())))
            });
            let behind;
            (state, behind) = beat.await.context("counting")??;
            // Pauses as long as it worked: up to half of one core, until it has caught up.
            let pause = match behind {
                _ if state.trouble.is_some() => AFTER_FAILURE,
                Some(took) => took.clamp(REST, BEAT),
                None => BEAT,
            };
            if stop.run_until_cancelled(clock.sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }
}

impl CountingState {
    fn begin(tools: Aggregates) -> Result<Self, StoreError> {
        let mut groups = ReadGroups::new(tools.tag);
        let now = tools.clock.now().second();
        for member in AggregateCounter::built_in() {
            groups.add(tools.store.reader(), member, now)?;
        }
        let folder = ScriptFolder::open(&tools.scripts, &tools.store, tools.clock)?;
        let privacy_changes = tools.store.privacy().changes();
        Ok(Self {
            privacy_changes,
            tools,
            folder,
            groups,
            looked_at: Second(i64::MIN),
            has_read: false,
            trouble: None,
        })
    }

    /// One beat. Damage of the store is logged and retried: it may be limited to old rows, and the
    /// rest of the appliance does not depend on it.
    fn beat_or_wait(&mut self) -> Result<bool, StoreError> {
        match self.beat() {
            Err(error) if error.is_damage() => {
                let trouble = Some(error.to_string());
                if self.trouble != trouble {
                    tracing::error!(%error, "cannot advance rolling windows; retrying");
                }
                self.trouble = trouble;
                Ok(true)
            }
            beat => {
                self.trouble = None;
                beat
            }
        }
    }

    /// Recounts everything, as a restart would. A clock that was ahead has expired seconds that are
    /// needed now, and has put events into future seconds.
    ///
    /// A script whose list was removed keeps the names that it counts.
    fn begin_again(&mut self, now: Second) -> Result<(), StoreError> {
        let members = self.folder.counted_again(&self.groups);
        self.groups.clear();
        for member in AggregateCounter::built_in().into_iter().chain(members) {
            self.groups.add(self.tools.store.reader(), member, now)?;
        }
        Ok(())
    }

    /// Takes back published values that may name who is left out, until they are counted again.
    fn withdraw_names(&self) {
        let hub = &self.tools.hub;
        let busiest = busiest::topics().filter_map(|name| hub.rolling.get(&name));
        let scripted = hub.aggregates.names();
        let scripted = scripted.iter().filter_map(|name| hub.aggregates.get(name));
        busiest.chain(scripted).for_each(|topic| topic.withdraw());
    }

    /// Checks the scripts once a second, reads a batch, and publishes due values. Returns whether
    /// there is more to read.
    fn beat(&mut self) -> Result<bool, StoreError> {
        let now = self.tools.clock.now().second();
        if now.0 < self.looked_at.0.saturating_sub(SET_BACK) {
            tracing::warn!("the clock was set back; recounting rolling windows");
            self.begin_again(now)?;
        }
        let privacy_changes = self.tools.store.privacy().changes();
        if self.privacy_changes != privacy_changes {
            // What is left out from now on is not counted, also of what the journal has.
            self.withdraw_names();
            self.begin_again(now)?;
            self.privacy_changes = privacy_changes;
        }
        let Aggregates { store, hub, clock, troubles, .. } = &self.tools;
        if now != self.looked_at {
            self.looked_at = now;
            let found = self.folder.look(&mut self.groups, hub, now)?;
            troubles.send_if_modified(|known| {
                let changed = *known != found;
                *known = found;
                changed
            });
        }
        let behind = self.groups.read(store.reader(), now)?;
        self.groups.tick(hub, clock.now().second());
        if !behind && !self.has_read {
            store.journal_was_read()?;
            self.has_read = true;
        }
        Ok(behind)
    }
}
