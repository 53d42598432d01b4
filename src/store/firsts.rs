//! First-time sets: which developers and repositories were seen in a day or year. A key is claimed
//! in the batch that applies the event, so all nodes that apply the same events have the same sets
//! and the same distinct counts.

use std::collections::HashSet;

use super::batch::Batch;
use super::error::StoreError;
use super::keys::{FirstKey, Scope};
use super::period::Period;
use super::periods::{self, found_key};
use super::reader::Reader;
use crate::model::envelope::Flags;
use crate::model::window::Timestamp;

/// The keys that an event may be the first of: developer and day, developer and year, repository
/// and year. `None` for an event that is not about a pull request, or has no id.
fn keys(
    flags: Flags,
    happened_at: Timestamp,
    actor_id: Option<u64>,
    repo_id: Option<u64>,
) -> [Option<FirstKey>; 3] {
    let (day, year) = (happened_at.day().0, happened_at.year().0);
    let key = |scope, period, id: Option<u64>| {
        id.filter(|_| flags.pr).map(|id| FirstKey { scope, period, id })
    };
    [
        key(Scope::DeveloperDay, day, actor_id),
        key(Scope::DeveloperYear, year, actor_id),
        key(Scope::RepositoryYear, year, repo_id),
    ]
}

/// Claims the first-time keys of a pull-request event, and sets its three flags accordingly. Does
/// nothing for other events.
pub fn claim_firsts(
    batch: &mut Batch<'_>,
    flags: &mut Flags,
    happened_at: Timestamp,
    actor_id: Option<u64>,
    repo_id: Option<u64>,
) -> Result<(), StoreError> {
    let keys = keys(*flags, happened_at, actor_id, repo_id);
    set_flags(flags, keys, |key, _| claim_first(batch, key))
}

/// Sets the three flags to what `is_first` returns for each key that there is; it gets the flag's
/// current value. A flag without a key keeps its value.
fn set_flags(
    flags: &mut Flags,
    keys: [Option<FirstKey>; 3],
    mut is_first: impl FnMut(FirstKey, bool) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let flags = [&mut flags.dev_day, &mut flags.dev_year, &mut flags.repo_year];
    for (flag, key) in flags.into_iter().zip(keys) {
        if let Some(key) = key {
            *flag = is_first(key, *flag)?;
        }
    }
    Ok(())
}

fn claim_first(batch: &mut Batch<'_>, key: FirstKey) -> Result<bool, StoreError> {
    let size = key.size();
    let state = batch.period(size)?;
    if state == Period::Closed || !batch.claim(&key)? {
        return Ok(false);
    }
    let is_more = match state {
        Period::Reopened(base) => batch.add(&found_key(size), 1)? > base,
        Period::Open | Period::Closed => true,
    };
    if is_more {
        batch.add(&size, 1)?;
    }
    Ok(is_more)
}

/// Most announced keys that are kept. Beyond that the applied ones are dropped, and if that is not
/// enough, all.
const ANNOUNCED: usize = 100_000;

/// The first-time keys that a producer has announced and may not have applied yet. With it, each
/// flag is true exactly once per period over all messages of a topic, as long as one node at a time
/// produces and has applied what was produced before.
#[derive(Debug, Default)]
pub struct Announced {
    keys: HashSet<FirstKey>,
}

impl Announced {
    /// Sets the three flags of an event that is about to be sent. A flag that is set stays set:
    /// older versions claimed keys before the event reached the outbox.
    pub fn announce(
        &mut self,
        reader: Reader<'_>,
        flags: &mut Flags,
        happened_at: Timestamp,
        actor_id: Option<u64>,
        repo_id: Option<u64>,
    ) -> Result<(), StoreError> {
        let keys = keys(*flags, happened_at, actor_id, repo_id);
        set_flags(flags, keys, |key, is_set| {
            let is_first = periods::is_open(reader, key.size())?
                && reader.get(&key)?.is_none()
                && self.keys.insert(key);
            Ok(is_set || is_first)
        })
    }

    /// Drops keys that were applied meanwhile, once there are enough to be worth the reads.
    pub fn prune(&mut self, reader: Reader<'_>) -> Result<(), StoreError> {
        if self.keys.len() < ANNOUNCED {
            return Ok(());
        }
        let mut open = HashSet::new();
        for key in self.keys.drain() {
            if reader.get(&key)?.is_none() {
                open.insert(key);
            }
        }
        if open.len() < ANNOUNCED {
            self.keys = open;
        } else {
            tracing::warn!(
                firsts = open.len(),
                "the topic is not being applied here; first-time flags may be sent twice"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::new_store;

    #[tokio::test]
    async fn first_time_key_is_announced_once() {
        let (_dir, store) = new_store();
        let at = Timestamp::from_seconds(1_800_000_000);
        let pr = Flags { pr: true, ..Flags::default() };
        let mut announced = Announced::default();
        let mut announce = |actor, repo| {
            let mut flags = pr;
            announced.announce(store.reader(), &mut flags, at, actor, repo).unwrap();
            [flags.dev_day, flags.dev_year, flags.repo_year]
        };
        assert_eq!(announce(Some(7), Some(8)), [true; 3]);
        assert_eq!(announce(Some(7), Some(9)), [false, false, true]);
        assert_eq!(announce(None, None), [false; 3]);
        let claimed = store.commit(move |batch| {
            let mut flags = pr;
            claim_firsts(batch, &mut flags, at, Some(11), Some(8))?;
            Ok(flags)
        });
        let flags = claimed.await.unwrap();
        assert!(flags.dev_day && flags.dev_year && flags.repo_year);
        assert_eq!(announce(Some(11), Some(8)), [false; 3]);
        // Keys that were announced but never sent are forgotten with the grant.
        let mut flags = pr;
        Announced::default().announce(store.reader(), &mut flags, at, Some(7), Some(9)).unwrap();
        assert!(flags.dev_day && flags.dev_year && flags.repo_year);
    }
}
