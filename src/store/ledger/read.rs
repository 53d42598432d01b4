//! Reads the ledger.

use std::collections::BTreeMap;
use std::ops::Range;

use super::names::{decode_name, decode_owner};
use super::rows::{decode_counts, decode_hours};
use crate::model::activity::{MissedRange, Span};
use crate::model::ledger::{DayHours, DaySeen, LedgerCounts, of_month_slot};
use crate::model::window::{Day, Month};
use crate::store::database::Database;
use crate::store::error::StoreError;
use crate::store::families::Family;
use crate::store::keys::ledger::{LedgerKey, LedgerMonthKey, RepoNameKey};
use crate::store::keys::{Key as _, RepoKey};
use crate::store::repos::RepoRow;

impl Database {
    /// The repository that has a name, or had it last, by GitHub's id.
    pub fn repo_named(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let key = RepoNameKey::named(name);
        let Some(row) = self.get(&key)? else { return Ok(None) };
        let corrupt = || StoreError::corrupt(Family::RepoNames.name(), &key.to_bytes());
        decode_owner(&row).map(|(_, repo)| Some(repo)).ok_or_else(corrupt)
    }

    /// The current name of a repository.
    pub fn name_of_repo(&self, repo: u64) -> Result<Option<String>, StoreError> {
        let key = RepoNameKey::Of(repo);
        let Some(row) = self.get(&key)? else { return Ok(None) };
        let corrupt = || StoreError::corrupt(Family::RepoNames.name(), &key.to_bytes());
        decode_name(&row).map(|(_, name)| Some(name.to_owned())).ok_or_else(corrupt)
    }

    /// The language of a repository, when it is known.
    pub fn language_of_repo(&self, repo: u64) -> Result<Option<String>, StoreError> {
        let Some(row) = self.get(&RepoKey(repo))? else { return Ok(None) };
        Ok(RepoRow::decode(&RepoKey(repo), &row)?.language)
    }

    /// What was counted of a repository on these days, ascending; days without counts are missing.
    /// Days and months are read from one snapshot, so that folding is not visible.
    pub fn ledger_of(
        &self,
        repo: u64,
        days: Range<i32>,
    ) -> Result<BTreeMap<Day, LedgerCounts>, StoreError> {
        let mut found: BTreeMap<Day, LedgerCounts> = BTreeMap::new();
        if days.is_empty() {
            return Ok(found);
        }
        let snapshot = self.snapshot();
        let (first, _) = Day(days.start).in_month();
        let (last, _) = Day(days.end - 1).in_month();
        let months: Vec<Month> = (first.0..=last.0).map(Month).collect();
        let keys: Vec<_> =
            months.iter().map(|month| LedgerMonthKey { month: *month, repo }.to_bytes()).collect();
        let rows = snapshot.get_many(Family::LedgerMonths, &keys)?;
        for ((month, key), row) in months.iter().zip(&keys).zip(rows) {
            let counts = decode_counts(Family::LedgerMonths, key, row.as_deref())?;
            let start = month.first_day().0 - 1;
            for (slot, n) in counts.iter() {
                let Some((day, metric)) = of_month_slot(slot) else { continue };
                let day = Day(start + i32::from(day));
                if days.contains(&day.0) {
                    found.entry(day).or_default().add(metric, n);
                }
            }
        }
        let keys: Vec<_> =
            days.clone().map(|day| LedgerKey::Repo(Day(day), repo).to_bytes()).collect();
        let rows = snapshot.get_many(Family::Ledger, &keys)?;
        for ((day, key), row) in days.zip(&keys).zip(rows) {
            let Some(row) = row else { continue };
            let counts = decode_counts(Family::Ledger, key, Some(&row))?;
            let hours_key = LedgerKey::Hours(Day(day));
            let hours = decode_hours(&hours_key, snapshot.get(&hours_key)?.as_deref())?;
            let sum = hours.sum(&counts);
            if !sum.is_empty() {
                found.entry(Day(day)).or_default().add_all(&sum);
            }
        }
        Ok(found)
    }

    /// What was counted of all repositories on a day, or of those of a language.
    pub fn ledger_sum(&self, key: &LedgerKey, day: Day) -> Result<LedgerCounts, StoreError> {
        let row = self.get(key)?;
        let counts = decode_counts(Family::Ledger, &key.to_bytes(), row.as_deref())?;
        Ok(self.ledger_hours(day)?.sum(&counts))
    }

    /// Which hours of a day were imported, and which are final.
    pub fn ledger_hours(&self, day: Day) -> Result<DayHours, StoreError> {
        let key = LedgerKey::Hours(day);
        decode_hours(&key, self.get(&key)?.as_deref())
    }

    /// How much of each of these days was seen, ascending.
    pub fn days_seen(&self, days: Range<i32>) -> Result<Vec<DaySeen>, StoreError> {
        let hours = self.hours_of_days(days.clone())?;
        let seen = self.days_covered(days)?.into_iter().zip(hours);
        Ok(seen.map(|(seen, hours)| seen.with(hours)).collect())
    }

    /// The same without what was imported.
    pub(super) fn days_covered(&self, days: Range<i32>) -> Result<Vec<DaySeen>, StoreError> {
        let hours = i64::from(days.start) * 24..i64::from(days.end) * 24;
        let coverage = self.coverage(Span::Hour, hours)?;
        let of_day = |day: i32| {
            let (mut seen, mut missed, mut known) = (0_u64, MissedRange::default(), 0_u32);
            let first = i64::from(day) * 24;
            for (_, hour) in coverage.range(first..first + 24) {
                let Some(range) = hour.missed() else { continue };
                seen = seen.saturating_add(hour.seen.iter().sum());
                missed = missed.plus(range);
                known += u32::from(hour.known);
            }
            DaySeen {
                seen: (known > 0).then(|| 1.0 - missed.shares(seen)[1]),
                minutes_known: known,
                ..DaySeen::default()
            }
        };
        Ok(days.map(of_day).collect())
    }

    /// Where the counts of each of these days come from, ascending.
    pub(super) fn hours_of_days(&self, days: Range<i32>) -> Result<Vec<DayHours>, StoreError> {
        let keys: Vec<LedgerKey> = days.map(|day| LedgerKey::Hours(Day(day))).collect();
        let bytes: Vec<_> = keys.iter().map(LedgerKey::to_bytes).collect();
        let rows = self.snapshot().get_many(Family::Ledger, &bytes)?;
        keys.iter().zip(rows).map(|(key, row)| decode_hours(key, row.as_deref())).collect()
    }
}
