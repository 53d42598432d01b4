//! Fills days of the past from a database that has counted them.
//!
//! A day is filled as a whole, in one batch, and only when it was not counted here: what was
//! counted here stands. A day is counted here when an hour of it was imported or folded, or when it
//! has counts and this node ran on it for a minute. Counts alone do not do: the feeds of
//! repositories on lists bring single events of days that are 30 days past. The counts of a filled
//! day are the database's until an hour of that day is imported; late events of it are in them. So
//! nothing is counted twice.

use std::collections::BTreeMap;

use super::counting::{LedgerSums, languages};
use super::names::NewNames;
use super::rows::{decode_counts, decode_hours, put_counts, put_hours};
use crate::model::activity::{Coverage, Span};
use crate::model::ledger::{
    DayHours, DaySlot, FilledDays, LedgerCounts, LedgerMetric, LedgerOrigin,
};
use crate::model::window::Day;
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::families::Family;
use crate::store::keys::activity::CoverageKey;
use crate::store::keys::ledger::LedgerKey;
use crate::store::keys::{Key as _, MetaKey};
use crate::store::reader::Reader;

/// Repositories whose rows are read at once.
const AT_ONCE: usize = 10_000;
/// Key of the progress.
const PROGRESS: &str = "ledger.filled";

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

    /// Writes the day. Returns false and changes nothing when it was filled or counted here.
    pub fn write(&self, batch: &mut Batch<'_>, day: Day) -> Result<bool, StoreError> {
        let (hours_key, all) = (LedgerKey::Hours(day), LedgerKey::All(day));
        let hours = decode_hours(&hours_key, batch.get(&hours_key)?.as_deref())?;
        let has_counts = batch.get(&all)?.is_some();
        if is_known(day, hours, has_counts, |key| batch.get(key))? {
            return Ok(false);
        }
        put_hours(batch, &hours_key, DayHours { is_filled: true, ..hours });
        let (mut sums, mut names) = (LedgerSums::default(), NewNames::default());
        let repos: Vec<_> = self.0.iter().collect();
        for some in repos.chunks(AT_ONCE) {
            let found = languages(batch, some.iter().map(|(repo, _)| **repo).collect())?;
            let key = |repo: u64| LedgerKey::Repo(day, repo);
            let keys: Vec<_> = some.iter().map(|(repo, _)| key(**repo).to_bytes()).collect();
            let stored = batch.get_many(Family::Ledger, &keys)?;
            for (((repo, (name, counts)), bytes), stored) in some.iter().zip(&keys).zip(stored) {
                let mut row = decode_counts(Family::Ledger, bytes, stored.as_deref())?;
                let language = found.get(*repo).map(String::as_str);
                for metric in LedgerMetric::ALL {
                    let slot = DaySlot { origin: LedgerOrigin::Database, hour: 0, metric }.number();
                    let n = counts.get(metric);
                    row.add(slot, n);
                    if n > 0 {
                        sums.add(day, language, slot, n);
                    }
                }
                put_counts(batch, &key(**repo), &row);
                if let Some(name) = name {
                    names.note(batch, **repo, name, day.start());
                }
            }
        }
        names.write(batch)?;
        sums.write(batch, |_| true).map(|()| true)
    }
}

/// Whether a day was filled, or counted here. `has_counts` says whether anything was counted of it,
/// `read` reads the coverage of an hour.
fn is_known(
    day: Day,
    hours: DayHours,
    has_counts: bool,
    read: impl Fn(&CoverageKey) -> Result<Option<Vec<u8>>, StoreError>,
) -> Result<bool, StoreError> {
    if hours != DayHours::default() || !has_counts {
        return Ok(hours != DayHours::default());
    }
    let first = i64::from(day.0) * 24;
    for at in first..first + 24 {
        let row = read(&CoverageKey { span: Span::Hour, at })?;
        if row.and_then(|row| Coverage::decode(&row)).is_some_and(|hour| hour.watched > 0) {
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

impl Reader<'_> {
    /// What was filled from a database; `None` before the first time.
    pub fn filled_days(&self) -> Result<Option<FilledDays>, StoreError> {
        let row = self.get(&MetaKey(PROGRESS.to_owned()))?;
        Ok(row.and_then(|row| serde_json::from_slice(&row).ok()))
    }

    /// Whether a day was filled, or counted here: see the top of this file.
    pub fn has_ledger_day(&self, day: Day) -> Result<bool, StoreError> {
        let has_counts = self.get(&LedgerKey::All(day))?.is_some();
        is_known(day, self.ledger_hours(day)?, has_counts, |key| self.get(key))
    }
}
