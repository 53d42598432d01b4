//! Fills days of the past from a database that has counted them.
//!
//! The counts of a day become visible as a whole, and only when it was not counted here: what was
//! counted here stands. A day is counted here when an hour of it was imported or folded, or when it
//! has counts and this node ran on it for a minute, or received events of it from a bus that others
//! wrote while it was off. Counts alone do not do: the feeds of repositories on lists bring single
//! events of days that are 30 days past. The counts of a filled day are the database's until an
//! hour of that day is imported; late events of it are in them. So nothing is counted twice.
//!
//! A large day is written in several batches. Its rows do not count until the last batch marks the
//! day as filled, together with the sums. A crash between two of them leaves rows of a part of the
//! day, and their day under `ledger.writing`: the next fill removes them first. A month is not
//! folded while one of its days is being written.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::counting::{LedgerSums, write_repos};
use super::names::NewNames;
use super::rows::{decode_counts, decode_hours, put_counts, put_hours};
use crate::model::activity::{Coverage, Span};
use crate::model::ledger::{DayHours, DaySlot, FilledDays, LedgerCounts, LedgerOrigin};
use crate::model::window::Day;
use crate::store::batch::Batch;
use crate::store::database::Database;
use crate::store::error::StoreError;
use crate::store::families::Family;
use crate::store::keys::activity::{ActivityKey, CoverageKey};
use crate::store::keys::ledger::LedgerKey;
use crate::store::keys::{Key as _, MetaKey};
use crate::store::open::Store;
use crate::sync::lock;

/// The most repositories that are written in one batch. With the longest names that are valid,
/// their rows have 8 MiB.
const AT_ONCE: usize = 10_000;
/// Key of the progress.
const PROGRESS: &str = "ledger.filled";
/// Key of the day of which some rows may be written while it is not filled.
const WRITING: &str = "ledger.writing";

/// Counts of a day by a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerDay(BTreeMap<u64, (Option<Box<str>>, LedgerCounts)>);

impl LedgerDay {
    /// Adds counts of a repository, and its name.
    pub fn add(&mut self, repo: u64, name: Option<&str>, counts: &LedgerCounts) {
        let known = self.0.entry(repo).or_default();
        known.1.add_all(counts);
        if known.0.is_none() {
            known.0 = name.map(Box::from);
        }
    }

    /// Number of repositories.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is without repositories.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has more than `most` repositories behind one.
    fn has_more(&self, (behind, most): (Option<u64>, usize)) -> bool {
        self.behind(behind).nth(most).is_some()
    }

    fn behind(
        &self,
        repo: Option<u64>,
    ) -> impl Iterator<Item = (&u64, &(Option<Box<str>>, LedgerCounts))> {
        let start = repo.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range((start, Bound::Unbounded))
    }

    /// Writes the rows of the next repositories behind one, up to `most`, and adds to the sums.
    /// Returns the last of them. The rows do not count before the day is marked as filled.
    fn write_some(
        &self,
        batch: &mut Batch<'_>,
        day: Day,
        (behind, most): (Option<u64>, usize),
        sums: &mut LedgerSums,
    ) -> Result<Option<u64>, StoreError> {
        let some: Vec<_> = self.behind(behind).take(most).collect();
        let repos: Vec<_> = some.iter().map(|(repo, (_, counts))| (**repo, counts, None)).collect();
        let slot = |metric| DaySlot { origin: LedgerOrigin::Database, hour: 0, metric };
        write_repos(batch, (day, slot), &repos, |_| true, sums)?;
        let mut names = NewNames::default();
        for (repo, (name, _)) in &some {
            if let Some(name) = name {
                names.note(batch, **repo, name, day.start());
            }
        }
        names.write(batch)?;
        Ok(some.last().map(|(repo, _)| **repo))
    }
}

/// Keeps the months of a day from being folded while it exists.
struct HeldDay {
    database: Arc<Database>,
    day: Day,
}

impl HeldDay {
    fn new(store: &Store, day: Day) -> Self {
        let database = Arc::clone(&store.shared.database);
        lock(&database.held_days).push(day);
        Self { database, day }
    }
}

impl Drop for HeldDay {
    fn drop(&mut self) {
        let mut held = lock(&self.database.held_days);
        if let Some(at) = held.iter().position(|day| *day == self.day) {
            held.swap_remove(at);
        }
    }
}

/// Fills a day, unless it was filled or counted here. `then` is called in the last batch, with
/// whether the day was filled; its result is returned. One day is filled at a time.
pub async fn fill_day<R: Send + 'static>(
    store: &Store,
    day: Day,
    counts: LedgerDay,
    then: impl FnOnce(&mut Batch<'_>, bool) -> Result<R, StoreError> + Send + 'static,
) -> Result<R, StoreError> {
    fill_in(store, (day, counts), AT_ONCE, then).await
}

/// The same with up to `most` repositories in one batch.
pub(super) async fn fill_in<R: Send + 'static>(
    store: &Store,
    (day, counts): (Day, LedgerDay),
    most: usize,
    then: impl FnOnce(&mut Batch<'_>, bool) -> Result<R, StoreError> + Send + 'static,
) -> Result<R, StoreError> {
    let _held = HeldDay::new(store, day);
    let counts = Arc::new(counts);
    let (behind, mut sums) = write_parts(store, (day, &counts), most).await?;
    let last = store.commit(move |batch| {
        let fills = !counts.is_empty() && !is_known(batch, day)?;
        if fills {
            counts.write_some(batch, day, (behind, most), &mut sums)?;
            sums.write(batch, |slot| !is_of_database(slot))?;
            let key = LedgerKey::Hours(day);
            let hours = decode_hours(&key, batch.get(&key)?.as_deref())?;
            put_hours(batch, &key, DayHours { is_filled: true, ..hours });
            batch.delete(&MetaKey(WRITING.to_owned()));
        }
        then(batch, fills)
    });
    last.await
}

/// Writes all parts but the last. Returns the last repository of them, and their sums.
pub(super) async fn write_parts(
    store: &Store,
    (day, counts): (Day, &Arc<LedgerDay>),
    most: usize,
) -> Result<(Option<u64>, LedgerSums), StoreError> {
    clear_written(store, most).await?;
    let (mut behind, mut sums) = (None, LedgerSums::default());
    while counts.has_more((behind, most)) {
        let counts = Arc::clone(counts);
        let written = store.commit(move |batch| {
            if is_known(batch, day)? {
                return Ok(None);
            }
            batch.put(&MetaKey(WRITING.to_owned()), &day.0.to_be_bytes());
            let last = counts.write_some(batch, day, (behind, most), &mut sums)?;
            Ok(Some((last, sums)))
        });
        let Some(next) = written.await? else {
            // An hour was imported meanwhile: that stands.
            return Ok((behind, LedgerSums::default()));
        };
        (behind, sums) = next;
    }
    Ok((behind, sums))
}

fn is_of_database(slot: u16) -> bool {
    DaySlot::of_number(slot).is_some_and(|slot| slot.origin == LedgerOrigin::Database)
}

/// Removes the rows of a day that was not written to its end, `most` at a time.
async fn clear_written(store: &Store, most: usize) -> Result<(), StoreError> {
    let mut next = Some(0);
    while let Some(from) = next {
        next = store.commit(move |batch| clear_some(batch, (from, most))).await?;
    }
    Ok(())
}

/// Removes what a database counted from up to `most` rows of that day. Returns where to continue.
fn clear_some(
    batch: &mut Batch<'_>,
    (from, most): (u64, usize),
) -> Result<Option<u64>, StoreError> {
    let key = MetaKey(WRITING.to_owned());
    let Some(value) = batch.get(&key)? else { return Ok(None) };
    let corrupt = |_| StoreError::corrupt(Family::Meta.name(), &key.to_bytes());
    let day = Day(i32::from_be_bytes(value.as_slice().try_into().map_err(corrupt)?));
    let (mut rows, mut next) = (Vec::new(), None);
    batch.scan(&LedgerKey::Repo(day, from), |key, value| {
        let LedgerKey::Repo(of, repo) = key else { return Ok(false) };
        if of != day {
            return Ok(false);
        }
        if rows.len() == most {
            next = Some(repo);
            return Ok(false);
        }
        let bytes = key.to_bytes();
        rows.push((key, decode_counts(Family::Ledger, &bytes, Some(value))?));
        Ok(true)
    })?;
    for (key, mut row) in rows {
        if row.iter().any(|(slot, _)| is_of_database(slot)) {
            row.retain(|slot| !is_of_database(slot));
            put_counts(batch, &key, &row);
        }
    }
    if next.is_none() {
        batch.delete(&key);
    }
    Ok(next)
}

/// Whether a day was filled, or counted here: see the top of this file.
fn is_known(database: &Database, day: Day) -> Result<bool, StoreError> {
    let key = LedgerKey::Hours(day);
    let hours = decode_hours(&key, database.get(&key)?.as_deref())?;
    if hours != DayHours::default() || database.get(&LedgerKey::All(day))?.is_none() {
        return Ok(hours != DayHours::default());
    }
    let (first, span) = (i64::from(day.0) * 24, Span::Hour);
    for at in first..first + 24 {
        let row = database.get(&CoverageKey { span, at })?;
        let ran = row.and_then(|row| Coverage::decode(&row)).is_some_and(|hour| hour.watched > 0);
        if ran || database.get(&ActivityKey { span, at })?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the progress, in the batch of what it is about.
pub fn put_progress(batch: &mut Batch<'_>, progress: &FilledDays) {
    // Numbers and texts: nothing that JSON could not hold.
    let text = serde_json::to_vec(progress).unwrap_or_default();
    batch.put(&MetaKey(PROGRESS.to_owned()), &text);
}

impl Database {
    /// What was filled from a database; `None` before the first time.
    pub fn filled_days(&self) -> Result<Option<FilledDays>, StoreError> {
        let row = self.get(&MetaKey(PROGRESS.to_owned()))?;
        Ok(row.and_then(|row| serde_json::from_slice(&row).ok()))
    }

    /// Whether a day was filled, or counted here: see the top of this file.
    pub fn has_ledger_day(&self, day: Day) -> Result<bool, StoreError> {
        is_known(self, day)
    }
}
