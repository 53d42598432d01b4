//! Live aggregates: what is counted over rolling windows, for readers of numbers.
//!
//! An aggregate is a fold over the journal: it begins where its window begins, reads on, and shows
//! its value at each tick as of the place it has come to. There is no other bookkeeping: nothing
//! is written, the way of the events knows nothing of it, and after a restart, or when a script
//! changes what it counts, the same fold over the same rows gives the same numbers. What the
//! journal no longer has is not counted, and each value says from when on it is complete.
//!
//! Some are always there (`rolling`, `active`); the others are scripts, one file each (`folder`).
//! Reading what lies behind continues in pieces, beside everything else and at half of one core.

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
use crate::clock::Clock;
use crate::hub::Hub;
use crate::model::position::BusTag;
use crate::model::window::Second;
use crate::script::ScriptDiagnostic;
use crate::store::{Store, StoreError};
use crate::sync::blocking;

pub use self::folder::{AGGREGATES, files};

/// How often the journal is looked at.
const BEAT: Duration = Duration::from_millis(250);
/// The shortest rest while there is more to read.
const REST: Duration = Duration::from_millis(10);

/// What the stage works with.
pub struct Aggregates {
    /// Whose journal is read.
    pub store: Store,
    /// The bus whose events are counted.
    pub tag: BusTag,
    /// Where the values are shown.
    pub hub: Arc<Hub>,
    /// Where the scripts are.
    pub scripts: PathBuf,
    /// What time it is.
    pub clock: Clock,
    /// What is wrong with the scripts now.
    pub troubles: watch::Sender<Vec<ScriptDiagnostic>>,
}

/// A clock that was set back by more than this many seconds: everything is counted again.
const SET_BACK: i64 = 5;
/// The pause after the store could not be read.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What it remembers from one beat to the next.
struct CountingState {
    tools: Aggregates,
    folder: ScriptFolder,
    groups: ReadGroups,
    looked_at: Second,
    /// Whether the journal was read up to its end once.
    has_read: bool,
    /// What was wrong with the store at the last beat.
    trouble: Option<String>,
}

/// The stage, with what it has counted so far; `None` when the store is too damaged to count.
pub struct Counting(Option<CountingState>);

impl Aggregates {
    /// Counts until `stop` is called.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        self.begin(Duration::ZERO).await?.run(stop).await
    }

    /// Takes the scripts into force and counts what the journal has, for about `within`: then the
    /// first reader of an aggregate finds it. A longer journal is read on by [`Counting::run`].
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
                // All else can be served without it.
                tracing::error!(%error, "nothing is counted over rolling windows");
                Ok(Counting(None))
            }
            begun => Ok(Counting(Some(begun?))),
        }
    }
}

impl Counting {
    /// Counts until `stop` is called.
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
                let (behind, took) = clock.time(|| state.beat_or_wait());
                behind.map(|behind| (state, behind.then_some(took)))
            });
            let behind;
            (state, behind) = beat.await.context("counting")??;
            // As long as it worked: half of one core at most, for as long as it takes.
            let pause = match behind {
                _ if state.trouble.is_some() => AFTER_FAILURE,
                Some(took) => took.clamp(REST, BEAT),
                None => BEAT,
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = clock.sleep(pause) => {}
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
        Ok(Self {
            tools,
            folder,
            groups,
            looked_at: Second(i64::MIN),
            has_read: false,
            trouble: None,
        })
    }

    /// A beat. Damage of the store is logged, and tried again: what is damaged may be old, and the
    /// rest of the appliance does not depend on it.
    fn beat_or_wait(&mut self) -> Result<bool, StoreError> {
        match self.beat() {
            Err(error) if error.is_damage() => {
                let trouble = Some(error.to_string());
                if self.trouble != trouble {
                    tracing::error!(%error, "counts over rolling windows are not moved on");
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

    /// Begins to count everything again, as a restart would. A clock that was ahead has expired
    /// what is wanted now, and has put events where they are not looked for.
    fn begin_again(&mut self, now: Second) -> Result<(), StoreError> {
        self.groups.clear();
        for member in AggregateCounter::built_in() {
            self.groups.add(self.tools.store.reader(), member, now)?;
        }
        Ok(())
    }

    /// Looks at the scripts once a second, reads on, and shows what is due. True when there is more
    /// to read.
    fn beat(&mut self) -> Result<bool, StoreError> {
        let now = self.tools.clock.now().second();
        if now.0 < self.looked_at.0.saturating_sub(SET_BACK) {
            tracing::warn!("the clock was set back: rolling windows are counted again");
            self.begin_again(now)?;
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
