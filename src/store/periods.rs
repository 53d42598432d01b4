//! Retention of first-time sets ([`super::families::Family::Firsts`]) by period, a day or a year.
//!
//! The set of a period is kept while it may still grow: until the period has been over, and the set
//! unchanged, for [`KEPT`]. Then the set is deleted and the period closed. Its size stays for good,
//! and events that arrive even later set no first-time flag, so no member is counted twice.
//!
//! An import of an hour of a closed period reopens it with an empty set. Its size then stays until
//! the new set is larger: a period of which every hour was imported again is exact, and until then
//! the size is what it was.

use std::time::Duration;

use super::batch::Batch;
use super::error::StoreError;
use super::keys::{FirstKey, MetaKey, Scope, SizeKey};
use super::open::Store;
use super::period::{Period, PeriodRow, row_key};
use super::reader::Reader;
use crate::model::window::{Day, Timestamp, Year};

/// How long a set is kept after its period is over and it last grew. Events arrive minutes to days
/// late; a topic that is read from its beginning may be weeks behind.
pub const KEPT: Duration = Duration::from_secs(62 * 86_400);
/// Most periods that are checked in one batch.
const AT_ONCE: usize = 32;

/// The counter of the set of a reopened period.
pub(super) fn found_key(key: SizeKey) -> MetaKey {
    MetaKey(format!("firsts_found.{}.{}", key.scope as u8, key.period))
}

/// Whether the set of a period is kept, by what is on disk.
pub(super) fn is_open(reader: Reader<'_>, key: SizeKey) -> Result<bool, StoreError> {
    let row = reader.get_as(&row_key(key), PeriodRow::decode)?;
    Ok(row.is_none_or(|row| row.period != Period::Closed))
}

/// Reopens the periods that contain this time, where they are closed, for an import.
pub fn reopen(batch: &mut Batch<'_>, at: Timestamp) -> Result<(), StoreError> {
    let (day, year) = (at.day().0, at.year().0);
    for (scope, period) in
        [(Scope::DeveloperDay, day), (Scope::DeveloperYear, year), (Scope::RepositoryYear, year)]
    {
        let key = SizeKey { scope, period };
        if batch.period(key)? != Period::Closed {
            continue;
        }
        let base = batch.add(&key, 0)?;
        let period = Period::Reopened(base);
        // The first check sets `since`.
        let row = PeriodRow { period, size: -1, since: Timestamp::default() };
        batch.put(&row_key(key), &row.encode());
        batch.set_period(key, period);
    }
    Ok(())
}

/// The end of a period.
fn end_of(key: SizeKey) -> Timestamp {
    match key.scope {
        Scope::DeveloperDay => Day(key.period.saturating_add(1)).start(),
        Scope::DeveloperYear | Scope::RepositoryYear => {
            let end = Year(key.period).days().end;
            Day(end).start()
        }
    }
}

/// Checks every period and closes those that are due. `now` must come from a trusted clock.
pub async fn sweep(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    let mut from = SizeKey { scope: Scope::DeveloperDay, period: i32::MIN };
    loop {
        let listed = store.read(move |reader| {
            let mut listed = Vec::with_capacity(AT_ONCE);
            reader.scan(&from, |key: SizeKey, _| {
                listed.push(key);
                Ok(listed.len() < AT_ONCE)
            })?;
            Ok(listed)
        });
        let listed = listed.await?;
        let Some(last) = listed.last() else { return Ok(()) };
        from = SizeKey { period: last.period.saturating_add(1), ..*last };
        let is_all = listed.len() < AT_ONCE;
        store
            .commit(move |batch| listed.into_iter().try_for_each(|key| check(batch, key, now)))
            .await?;
        if is_all {
            return Ok(());
        }
    }
}

/// Checks one period.
fn check(batch: &mut Batch<'_>, key: SizeKey, now: Timestamp) -> Result<(), StoreError> {
    let row_key = row_key(key);
    let row = batch.get_as(&row_key, PeriodRow::decode)?;
    let period = row.map_or(Period::Open, |row| row.period);
    if period == Period::Closed {
        return Ok(());
    }
    let found = match period {
        Period::Reopened(_) => batch.count(&found_key(key))?,
        Period::Open | Period::Closed => 0,
    };
    let size = batch.count(&key)?.saturating_add(found);
    // A pass in the future was one of a clock that was wrong.
    let since = row.filter(|row| row.size == size && row.since <= now).map_or(now, |row| row.since);
    let is_due = now >= since.plus(KEPT) && now >= end_of(key).plus(KEPT);
    if is_due {
        let SizeKey { scope, period } = key;
        let first = |period| FirstKey { scope, period, id: 0 };
        batch.delete_range(&first(period), &first(period.saturating_add(1)))?;
        batch.forget_counter(&found_key(key));
    }
    let row = PeriodRow { period: if is_due { Period::Closed } else { period }, size, since };
    if is_due || row.since == now {
        batch.put(&row_key, &row.encode());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;
    use crate::model::envelope::Flags;
    use crate::store::Durability;
    use crate::store::firsts::claim_firsts;

    const DAY: i32 = 20_000;

    fn at(day: i32) -> Timestamp {
        Day(day).start()
    }

    fn store(dir: &std::path::Path) -> Store {
        Store::open(dir, Durability::Every(Duration::from_secs(9)), Clock::system()).unwrap()
    }

    /// Claims developers of a day; returns those that are new.
    async fn claim(store: &Store, day: i32, ids: Vec<u64>, is_import: bool) -> Vec<u64> {
        let work = move |batch: &mut Batch<'_>| {
            if is_import {
                reopen(batch, at(day))?;
            }
            let mut new = Vec::new();
            for id in ids {
                let mut flags = Flags { pr: true, ..Flags::default() };
                claim_firsts(batch, &mut flags, at(day), Some(id), None)?;
                if flags.dev_day {
                    new.push(id);
                }
            }
            Ok(new)
        };
        store.commit(work).await.unwrap()
    }

    fn size(store: &Store, day: i32) -> i64 {
        let key = SizeKey { scope: Scope::DeveloperDay, period: day };
        store.reader().count(&key).unwrap()
    }

    fn kept(store: &Store, day: i32) -> usize {
        let mut kept = 0;
        let count = |key: FirstKey, _: &[u8]| {
            kept += usize::from(key.scope == Scope::DeveloperDay && key.period == day);
            Ok(true)
        };
        let from = FirstKey { scope: Scope::DeveloperDay, period: i32::MIN, id: 0 };
        store.reader().scan(&from, count).unwrap();
        kept
    }

    #[tokio::test]
    async fn unchanged_set_is_deleted_and_its_size_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        assert_eq!(claim(&store, DAY, vec![1, 2, 3], false).await, [1, 2, 3]);
        sweep(&store, at(DAY)).await.unwrap();
        // The set grows, late: the time starts again.
        assert_eq!(claim(&store, DAY, vec![3, 4], false).await, [4]);
        sweep(&store, at(DAY + 60)).await.unwrap();
        sweep(&store, at(DAY + 121)).await.unwrap();
        assert_eq!((kept(&store, DAY), size(&store, DAY)), (4, 4));
        sweep(&store, at(DAY + 122)).await.unwrap();
        assert_eq!((kept(&store, DAY), size(&store, DAY)), (0, 4));
        // No member is counted after the set is closed.
        assert_eq!(claim(&store, DAY, vec![1, 9], false).await, Vec::<u64>::new());
        assert_eq!((kept(&store, DAY), size(&store, DAY)), (0, 4));
        // The year is still open.
        let year = SizeKey { scope: Scope::DeveloperYear, period: at(DAY).year().0 };
        assert_eq!(store.reader().count(&year).unwrap(), 5);
    }

    #[tokio::test]
    async fn pass_in_the_future_does_not_keep_a_set() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        claim(&store, DAY, vec![1], false).await;
        sweep(&store, at(DAY + 20_000)).await.unwrap();
        sweep(&store, at(DAY + 1)).await.unwrap();
        sweep(&store, at(DAY + 62)).await.unwrap();
        assert_eq!(kept(&store, DAY), 1);
        sweep(&store, at(DAY + 63)).await.unwrap();
        assert_eq!(kept(&store, DAY), 0);
    }

    #[tokio::test]
    async fn closed_day_is_exact_after_importing_all_its_hours() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        claim(&store, DAY, vec![1, 2, 3], false).await;
        sweep(&store, at(DAY)).await.unwrap();
        sweep(&store, at(DAY + 63)).await.unwrap();
        assert_eq!(kept(&store, DAY), 0);
        for (hour, wanted) in [(vec![1, 2], 3), (vec![2, 3, 7], 4), (vec![7, 8], 5), (vec![8], 5)] {
            claim(&store, DAY, hour, true).await;
            assert_eq!(size(&store, DAY), wanted);
        }
        sweep(&store, at(DAY + 63)).await.unwrap();
        sweep(&store, at(DAY + 124)).await.unwrap();
        assert_eq!(kept(&store, DAY), 5, "it was reopened recently");
        sweep(&store, at(DAY + 125)).await.unwrap();
        assert_eq!((kept(&store, DAY), size(&store, DAY)), (0, 5));
        claim(&store, DAY, vec![1, 2], true).await;
        assert_eq!(size(&store, DAY), 5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn members_are_counted_once_when_sets_close(
            steps in prop::collection::vec((0_u64..12, 0_i32..70, any::<bool>()), 1..30),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let dir = tempfile::tempdir().unwrap();
                let store = store(dir.path());
                let (mut all, mut now) = (HashSet::new(), DAY);
                for (id, days, is_import) in steps {
                    let before = size(&store, DAY);
                    claim(&store, DAY, vec![id], is_import).await;
                    all.insert(id);
                    now += days;
                    sweep(&store, at(now)).await.unwrap();
                    let size = size(&store, DAY);
                    prop_assert!(size >= before && size <= i64::try_from(all.len()).unwrap());
                }
                Ok(())
            })?;
        }
    }
}
