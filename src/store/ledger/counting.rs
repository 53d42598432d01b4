//! Counts applied events in the ledger.
//!
//! The events of a batch are collected, and each row is read and written once. There is no merge
//! operator (`families` says why) and no cache of rows: the rows of today are in the write buffer,
//! and one sorted read fetches all of a batch.

use std::collections::{BTreeMap, HashMap};

use super::names::NewNames;
use super::rows::{decode_counts, put_counts};
use crate::model::ledger::{DaySlot, LedgerCounts, LedgerMetric, LedgerOrigin, SlotCounts};
use crate::model::window::{Day, Timestamp};
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::families::Family;
use crate::store::keys::ledger::LedgerKey;
use crate::store::keys::{Key as _, RepoKey};
use crate::store::repos::RepoRow;

/// An event that the ledger counts.
#[derive(Debug, Clone, Copy)]
pub struct LedgerEvent<'a> {
    /// GitHub's id of the repository.
    pub repo: u64,
    /// The repository's name.
    pub name: Option<&'a str>,
    /// When it happened.
    pub created_at: Timestamp,
    /// When it was received.
    pub received_at: Timestamp,
    /// What it counts as.
    pub metric: LedgerMetric,
    /// The repository's language, if the event has it.
    pub language: Option<&'a str>,
}

/// Counts of the events of one batch, before they are added to the rows.
#[derive(Debug, Default)]
pub struct LedgerCounting {
    events: Vec<CountedEvent>,
    languages: Vec<String>,
    names: NewNames,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CountedEvent {
    day: Day,
    repo: u64,
    slot: u16,
    /// Index in `languages`; `None` when the event does not have it.
    language: Option<usize>,
}

impl LedgerCounting {
    /// Counts one event.
    pub fn count(&mut self, batch: &Batch<'_>, event: LedgerEvent<'_>) {
        if let Some(name) = event.name {
            // One event of the future must not decide the name until then.
            let named_at = event.created_at.min(event.received_at);
            self.names.note(batch, event.repo, name, named_at);
        }
        let language = event.language.map(|language| {
            let known = self.languages.iter().position(|known| known == language);
            known.unwrap_or_else(|| {
                self.languages.push(language.to_owned());
                self.languages.len() - 1
            })
        });
        let (day, hour) = day_and_hour(event.created_at);
        let slot = DaySlot { origin: LedgerOrigin::Live, hour, metric: event.metric };
        self.events.push(CountedEvent { day, repo: event.repo, slot: slot.number(), language });
    }

    /// Adds the counts to the rows.
    pub fn write(mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        self.names.write(batch)?;
        self.events.sort_unstable();
        let unknown = self.events.iter().filter(|event| event.language.is_none());
        let found = languages(batch, unknown.map(|event| event.repo).collect())?;
        let rows: Vec<&[CountedEvent]> =
            self.events.chunk_by(|a, b| (a.day, a.repo) == (b.day, b.repo)).collect();
        let key = |row: &[CountedEvent]| LedgerKey::Repo(row[0].day, row[0].repo);
        let keys: Vec<_> = rows.iter().map(|row| key(row).to_bytes()).collect();
        let stored = batch.get_many(Family::Ledger, &keys)?;
        let mut sums = LedgerSums::default();
        for ((row, bytes), stored) in rows.into_iter().zip(&keys).zip(stored) {
            let mut counts = decode_counts(Family::Ledger, bytes, stored.as_deref())?;
            for event in row {
                counts.add(event.slot, 1);
                let given = event.language.map(|at| self.languages[at].as_str());
                let language = given.or_else(|| found.get(&event.repo).map(String::as_str));
                sums.add(event.day, language, event.slot, 1);
            }
            put_counts(batch, &key(row), &counts);
        }
        sums.write(batch, |_| true)
    }
}

/// The UTC day of an instant, and the hour in it.
pub(super) fn day_and_hour(at: Timestamp) -> (Day, u8) {
    let hour = u8::try_from(at.hour().0.rem_euclid(24)).unwrap_or(0);
    (at.day(), hour)
}

/// The languages of repositories, as far as they are known.
fn languages(
    batch: &Batch<'_>,
    mut repos: Vec<u64>,
) -> Result<HashMap<u64, String, foldhash::fast::RandomState>, StoreError> {
    repos.sort_unstable();
    repos.dedup();
    let keys: Vec<_> = repos.iter().map(|repo| RepoKey(*repo).to_bytes()).collect();
    let mut found = HashMap::default();
    for (repo, row) in repos.into_iter().zip(batch.get_many(Family::Repos, &keys)?) {
        let Some(row) = row else { continue };
        if let Some(language) = RepoRow::decode(&RepoKey(repo), &row)?.language {
            found.insert(repo, language);
        }
    }
    Ok(found)
}

/// What was counted of a repository, and its language where that is known already.
pub(super) type RepoCounts<'a> = (u64, &'a LedgerCounts, Option<&'a str>);

/// Adds counts to the rows of repositories of a day, of which the slots stay that `keep` names, and
/// to the sums. `slot` is where a metric is counted; the repositories ascend.
pub(super) fn write_repos(
    batch: &mut Batch<'_>,
    (day, slot): (Day, impl Fn(LedgerMetric) -> DaySlot),
    repos: &[RepoCounts<'_>],
    keep: impl Fn(u16) -> bool,
    sums: &mut LedgerSums,
) -> Result<(), StoreError> {
    let unknown = repos.iter().filter(|(.., language)| language.is_none());
    let found = languages(batch, unknown.map(|(repo, ..)| *repo).collect())?;
    let key = |repo| LedgerKey::Repo(day, repo);
    let keys: Vec<_> = repos.iter().map(|(repo, ..)| key(*repo).to_bytes()).collect();
    let stored = batch.get_many(Family::Ledger, &keys)?;
    for (((repo, counts, language), bytes), stored) in repos.iter().zip(&keys).zip(stored) {
        let mut row = decode_counts(Family::Ledger, bytes, stored.as_deref())?;
        row.retain(&keep);
        let language = language.or_else(|| found.get(repo).map(String::as_str));
        for metric in LedgerMetric::ALL {
            let (slot, n) = (slot(metric).number(), counts.get(metric));
            row.add(slot, n);
            if n > 0 {
                sums.add(day, language, slot, n);
            }
        }
        put_counts(batch, &key(*repo), &row);
    }
    Ok(())
}

/// Counts to add to the rows of languages and of all repositories.
#[derive(Debug, Default)]
pub(super) struct LedgerSums(pub(super) BTreeMap<LedgerKey, SlotCounts>);

impl LedgerSums {
    /// Adds to the sums of a day.
    pub(super) fn add(&mut self, day: Day, language: Option<&str>, slot: u16, n: u64) {
        self.0.entry(LedgerKey::All(day)).or_default().add(slot, n);
        if let Some(language) = language {
            let key = LedgerKey::Language(day, language.to_owned());
            self.0.entry(key).or_default().add(slot, n);
        }
    }

    /// Adds the sums to the stored rows, of which the slots stay that `keep` names.
    pub(super) fn write(
        self,
        batch: &mut Batch<'_>,
        keep: impl Fn(u16) -> bool,
    ) -> Result<(), StoreError> {
        for (key, more) in self.0 {
            let stored = batch.get(&key)?;
            let bytes = key.to_bytes();
            let mut counts = decode_counts(Family::Ledger, &bytes, stored.as_deref())?;
            counts.retain(&keep);
            for (slot, n) in more.iter() {
                counts.add(slot, n);
            }
            put_counts(batch, &key, &counts);
        }
        Ok(())
    }
}
