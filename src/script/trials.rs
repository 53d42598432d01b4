//! Remembers across crashes which text was being tried.
//!
//! A script is tried before it comes into force, and at each start. If a trial ended the process,
//! the next start would try the same text again, forever. So each trial is recorded in the store
//! first, and a text during whose trial the process died is not tried again: a new one after the
//! first death, one that was in force before after the second, because a process may be killed for
//! other reasons while it starts.

use crate::store::keys::MetaKey;
use crate::store::{Store, StoreError};

/// Prefix of the store's keys.
const TRYING: &str = "script.trying.";
/// Deaths after which a text is not tried again: of a new one, and of one that was in force in an
/// earlier run.
const DEATHS: [u8; 2] = [1, 2];

/// The trials of one script. All calls block, so call them on the blocking pool.
#[derive(Clone)]
pub struct Trials {
    store: Store,
    key: MetaKey,
    /// The text during whose trial an earlier process died, and how often.
    died: Option<(u64, u8)>,
}

impl Trials {
    /// Reads the record of the script of that name.
    pub fn read(store: &Store, name: &str) -> Result<Self, StoreError> {
        let key = MetaKey(format!("{TRYING}{name}"));
        let kept = store.reader().get(&key)?;
        let died = kept.and_then(|kept| match <[u8; 9]>::try_from(kept) {
            Ok([deaths, hash @ ..]) => Some((u64::from_be_bytes(hash), deaths)),
            Err(_) => None,
        });
        Ok(Self { store: store.clone(), key, died })
    }

    /// Whether the process died during trials of this text; `was_in_force` is whether it worked
    /// before.
    pub(super) fn is_deadly(&self, hash: u64, was_in_force: bool) -> bool {
        let most = DEATHS[usize::from(was_in_force)];
        self.died.is_some_and(|(died, deaths)| died == hash && deaths >= most)
    }

    /// Records the start of a trial.
    pub(super) fn begin(&self, hash: u64) {
        let before = self.died.filter(|(died, _)| *died == hash).map_or(0, |(_, deaths)| deaths);
        let mut row = vec![before.saturating_add(1)];
        row.extend(hash.to_be_bytes());
        self.keep(Some(row));
    }

    /// Records the end of a trial.
    pub(super) fn end(&self) {
        self.keep(None);
    }

    fn keep(&self, row: Option<Vec<u8>>) {
        // A failing store ends the process through its own stages.
        if let Err(error) = self.store.keep(self.key.clone(), row) {
            tracing::error!(%error, "cannot record which script is being tried");
        }
    }
}

impl std::fmt::Debug for Trials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trials")
            .field("key", &self.key)
            .field("died", &self.died)
            .finish_non_exhaustive()
    }
}
