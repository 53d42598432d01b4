//! The index of names: repository -> current name, name -> repository.
//!
//! Counts belong to GitHub's id, so they stay with a repository that is renamed. An old name leads
//! to its repository until another one takes it, as on GitHub. The newest event decides, by
//! `created_at` (by when it was received, if that is earlier), so an imported hour of the past
//! renames nothing. A row of a time that has not come yet, which an older version wrote for an
//! event of the future, counts as older than every event.

use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::xxh3_64;

use crate::model::ledger::is_repo_name;
use crate::model::window::{Second, Timestamp};
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::families::Family;
use crate::store::keys::Key as _;
use crate::store::keys::ledger::RepoNameKey;

/// Names of the events of a batch that are not known to be current.
#[derive(Debug, Default)]
pub(super) struct NewNames {
    /// (repository, hash of the name) -> the newest event with it, and the name.
    names: HashMap<(u64, u64), (u32, Box<str>), foldhash::fast::RandomState>,
}

impl NewNames {
    /// Notes the name that an event gives a repository. Invalid names are ignored.
    pub(super) fn note(&mut self, batch: &Batch<'_>, repo: u64, name: &str, at: Timestamp) {
        let hash = xxh3_64(name.as_bytes());
        if batch.is_name_cached(repo, hash) {
            return;
        }
        let at = seconds(at);
        if let Some((newest, _)) = self.names.get_mut(&(repo, hash)) {
            *newest = at.max(*newest);
        } else if is_repo_name(name) {
            self.names.insert((repo, hash), (at, name.into()));
        }
    }

    /// Writes the names that changed.
    pub(super) fn write(self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        let mut by_repo: BTreeMap<u64, Vec<(u32, Box<str>)>> = BTreeMap::new();
        for ((repo, _), name) in self.names {
            by_repo.entry(repo).or_default().push(name);
        }
        let keys: Vec<_> = by_repo.keys().map(|repo| RepoNameKey::Of(*repo).to_bytes()).collect();
        let stored = batch.get_many(Family::RepoNames, &keys)?;
        let mut named: BTreeMap<Vec<u8>, (u32, u64)> = BTreeMap::new();
        for (((repo, mut names), stored), key) in by_repo.into_iter().zip(stored).zip(keys) {
            names.sort_unstable();
            let corrupt = || StoreError::corrupt(Family::RepoNames.name(), &key);
            let known = stored.as_deref().map(|row| decode_name(row).ok_or_else(corrupt));
            let known = known.transpose()?.map(|(at, name)| (at, Box::from(name)));
            let known = true_of(batch, known)?;
            let mut current = known.clone();
            for (at, name) in names {
                let entry = named.entry(RepoNameKey::named(&name).to_bytes()).or_insert((at, repo));
                *entry = (*entry).max((at, repo));
                if current.as_ref().is_none_or(|(since, is)| *is != name && at >= *since) {
                    current = Some((at, name));
                }
            }
            let Some((at, name)) = current else { continue };
            batch.cache_name(repo, xxh3_64(name.as_bytes()));
            if known.is_none_or(|(_, before)| before != name) {
                let mut row = at.to_be_bytes().to_vec();
                row.extend_from_slice(name.as_bytes());
                batch.put(&RepoNameKey::Of(repo), &row);
            }
        }
        write_named(batch, named)
    }
}

/// Writes which repository has each name, where that is newer than what is known.
fn write_named(
    batch: &mut Batch<'_>,
    named: BTreeMap<Vec<u8>, (u32, u64)>,
) -> Result<(), StoreError> {
    let (keys, owners): (Vec<_>, Vec<_>) = named.into_iter().unzip();
    let stored = batch.get_many(Family::RepoNames, &keys)?;
    for ((bytes, (at, repo)), stored) in keys.iter().zip(owners).zip(stored) {
        let corrupt = || StoreError::corrupt(Family::RepoNames.name(), bytes);
        let known = stored.map(|row| decode_owner(&row).ok_or_else(corrupt)).transpose()?;
        let known = true_of(batch, known)?;
        if known.is_some_and(|(since, owner)| owner == repo || since > at) {
            continue;
        }
        let key = RepoNameKey::decode(bytes).ok_or_else(corrupt)?;
        let mut row = at.to_be_bytes().to_vec();
        row.extend_from_slice(&repo.to_be_bytes());
        batch.put(&key, &row);
    }
    Ok(())
}

/// What is stored since a time, if that time has come.
fn true_of<T>(batch: &Batch<'_>, known: Option<(u32, T)>) -> Result<Option<(u32, T)>, StoreError> {
    let Some((since, what)) = known else { return Ok(None) };
    let is_ahead = batch.is_ahead(Timestamp::from_seconds(i64::from(since)))?;
    Ok(Some((since, what)).filter(|_| !is_ahead))
}

/// Seconds since 1970, from 0 to 2106.
fn seconds(at: Timestamp) -> u32 {
    let Second(second) = at.second();
    u32::try_from(second.max(0)).unwrap_or(u32::MAX)
}

/// Since when a repository has its name, in seconds since 1970, and the name.
pub(crate) fn decode_name(row: &[u8]) -> Option<(u32, &str)> {
    let (at, name) = row.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*at), std::str::from_utf8(name).ok()?))
}

/// Since when a repository has a name, in seconds since 1970, and its id.
pub(crate) fn decode_owner(row: &[u8]) -> Option<(u32, u64)> {
    let (at, repo) = row.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*at), u64::from_be_bytes(repo.try_into().ok()?)))
}
