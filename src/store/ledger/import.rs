//! Takes an hour of an archive into the ledger.

use std::collections::HashMap;

use super::counting::{LedgerSums, RepoCounts, day_and_hour, write_repos};
use super::names::NewNames;
use super::rows::{decode_hours, put_hours};
use crate::model::ledger::{DaySlot, LedgerCounts, LedgerMetric, LedgerOrigin, SlotCounts};
use crate::model::window::{Day, Hour, Timestamp};
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::keys::ledger::LedgerKey;

/// Repositories whose rows are read at once.
const AT_ONCE: usize = 10_000;

/// Counts of an hour of an archive.
#[derive(Debug, Default)]
pub struct LedgerHour {
    repos: HashMap<u64, RepoInHour, foldhash::fast::RandomState>,
}

/// One repository in an hour of an archive.
#[derive(Debug, Default)]
struct RepoInHour {
    name: Option<Box<str>>,
    language: Option<Box<str>>,
    counts: LedgerCounts,
}

impl LedgerHour {
    /// Counts one event.
    pub fn count(&mut self, repo: u64, metric: LedgerMetric, [name, language]: [Option<&str>; 2]) {
        let known = self.repos.entry(repo).or_default();
        known.counts.add(metric, 1);
        if known.name.is_none() {
            known.name = name.map(Box::from);
        }
        if known.language.is_none() {
            known.language = language.map(Box::from);
        }
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: Self) {
        for (repo, more) in other.repos {
            let known = self.repos.entry(repo).or_default();
            known.counts.add_all(&more.counts);
            known.name = known.name.take().or(more.name);
            known.language = known.language.take().or(more.language);
        }
    }

    /// Replaces the counts of the hour: those that were counted live, and those of an earlier
    /// import. Returns false and changes nothing when the hour is final.
    pub fn write(mut self, batch: &mut Batch<'_>, hour: Hour) -> Result<bool, StoreError> {
        let at = Timestamp::from_seconds(hour.0.saturating_mul(3_600));
        let (day, hour) = day_and_hour(at);
        let hours_key = LedgerKey::Hours(day);
        let mut hours = decode_hours(&hours_key, batch.get(&hours_key)?.as_deref())?;
        let bit = 1 << hour;
        if hours.folded & bit != 0 {
            return Ok(false);
        }
        let mut sums = LedgerSums::default();
        sums.0.entry(LedgerKey::All(day)).or_default();
        if hours.imported & bit != 0 {
            self.find_earlier(batch, day, hour, &mut sums)?;
        }
        hours.imported |= bit;
        put_hours(batch, &hours_key, hours);
        let mut repos: Vec<RepoCounts<'_>> = Vec::with_capacity(self.repos.len());
        for (repo, of) in &self.repos {
            repos.push((*repo, &of.counts, of.language.as_deref()));
        }
        repos.sort_unstable_by_key(|(repo, ..)| *repo);
        let slot = |metric| DaySlot { origin: LedgerOrigin::Archive, hour, metric };
        for some in repos.chunks(AT_ONCE) {
            write_repos(batch, (day, slot), some, |slot| !is_of(slot, hour), &mut sums)?;
        }
        sums.write(batch, |slot| !is_of(slot, hour))?;
        let mut names = NewNames::default();
        for (repo, in_hour) in &self.repos {
            if let Some(name) = &in_hour.name {
                names.note(batch, *repo, name, at);
            }
        }
        names.write(batch).map(|()| true)
    }

    /// Adds the rows that an earlier import of the hour has counts in, so that they are replaced.
    fn find_earlier(
        &mut self,
        batch: &Batch<'_>,
        day: Day,
        hour: u8,
        sums: &mut LedgerSums,
    ) -> Result<(), StoreError> {
        let has = |value: &[u8]| {
            SlotCounts::decode(value)
                .is_some_and(|row| row.iter().any(|(slot, _)| is_of(slot, hour)))
        };
        let next = Day(day.0.saturating_add(1));
        let repos = LedgerKey::Repo(day, 0)..LedgerKey::Repo(next, 0);
        batch.scan_range(repos, |key, value| {
            if let LedgerKey::Repo(_, repo) = key
                && has(value)
            {
                self.repos.entry(repo).or_default();
            }
            Ok(())
        })?;
        let of_day = |day| LedgerKey::Language(day, String::new());
        batch.scan_range(of_day(day)..of_day(next), |key, value| {
            if has(value) {
                sums.0.entry(key).or_default();
            }
            Ok(())
        })
    }
}

/// Whether a slot is of an import of that hour.
fn is_of(slot: u16, hour: u8) -> bool {
    DaySlot::of_number(slot)
        .is_some_and(|slot| slot.origin == LedgerOrigin::Archive && slot.hour == hour)
}
