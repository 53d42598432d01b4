//! Repositories whose totals people look at: the first of the rankings, and those on lists.
//!
//! They were chosen because much happens in them, so they are apart from the random sample: nothing
//! of them enters a share. Those that are in the sample as well are only there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AuditSample, AuditTimes, DueRepo, MOST_NAME, PanelRepo, hash_of};
use crate::collect::audit::sighting::AuditedEvent;
use crate::github::graphql::CountsLookup;
use crate::model::audit::RepoGrowth;
use crate::model::window::Timestamp;

/// The most watched repositories: five queries for all.
const MOST_WATCHED: usize = 500;

/// The watched repositories, with looks and intervals as those of the sample.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::collect::audit) struct WatchedRepos(AuditSample);

impl Default for WatchedRepos {
    /// None, and no event brings one in.
    fn default() -> Self {
        Self(AuditSample { most: 0, ..AuditSample::default() })
    }
}

impl WatchedRepos {
    /// Watches these repositories (id and name), those first in the list first. Others stay while
    /// there is room for them.
    pub(in crate::collect::audit) fn watch(
        &mut self,
        wanted: Vec<(u64, String)>,
        sample: &AuditSample,
        now: Timestamp,
    ) {
        let repos = &mut self.0.repos;
        repos.retain(|hash, _| !sample.repos.contains_key(hash));
        let is_new = |hash: &u64| !sample.repos.contains_key(hash);
        let wanted = wanted.into_iter().filter(|(_, name)| name.len() <= MOST_NAME);
        let wanted = wanted.map(|(id, name)| (hash_of(id), id, name));
        let wanted: Vec<_> = wanted.filter(|(hash, ..)| is_new(hash)).take(MOST_WATCHED).collect();
        let kept: HashSet<u64> = wanted.iter().map(|(hash, ..)| *hash).collect();
        for (hash, id, name) in wanted {
            let seen_at = now.second().0;
            let new = || PanelRepo { id, name, seen_at, asked_at: 0, looks: VecDeque::new() };
            repos.entry(hash).or_insert_with(new);
        }
        let others = repos.iter().filter(|(hash, _)| !kept.contains(hash));
        let mut others: Vec<_> = others.map(|(hash, repo)| (repo.seen_at, *hash)).collect();
        others.sort_unstable();
        for (_, hash) in others.into_iter().take(repos.len().saturating_sub(MOST_WATCHED)) {
            repos.remove(&hash);
        }
    }

    /// Takes an event.
    pub(in crate::collect::audit) fn observe(&mut self, hash: u64, event: &AuditedEvent) {
        if event.repo.len() <= MOST_NAME {
            self.0.count(hash, event);
        }
    }

    /// Whether any repository is due.
    pub(in crate::collect::audit) fn has_due(&self, now: Timestamp, every: Duration) -> bool {
        self.0.has_due(now, every)
    }

    /// Up to `most` repositories to look at, as [`AuditSample::due`].
    pub(in crate::collect::audit) fn due(
        &mut self,
        now: Timestamp,
        every: Duration,
        most: usize,
    ) -> Vec<DueRepo> {
        self.0.due(now, every, most)
    }

    /// Takes GitHub's answer about a repository. One that GitHub does not show begins anew. One
    /// without an answer is asked for again at its next turn.
    pub(in crate::collect::audit) fn answered(
        &mut self,
        repo: &DueRepo,
        at: Timestamp,
        found: CountsLookup,
    ) {
        match found {
            CountsLookup::Counts(counts) if counts.repo_id == repo.id => {
                self.0.answered(repo, at, found);
            }
            CountsLookup::Counts(_) | CountsLookup::Gone => {
                if let Some(repo) = self.0.repos.get_mut(&repo.hash) {
                    repo.looks.clear();
                }
            }
            CountsLookup::Unanswered => {}
        }
    }

    /// Marks a repository as due whose totals were not answered.
    pub(in crate::collect::audit) fn unanswered(&mut self, hash: u64) {
        self.0.unanswered(hash);
    }

    /// After a start with an earlier clock: removes what lies in the future.
    pub(in crate::collect::audit) fn forget_future(&mut self, now: Timestamp) {
        self.0.forget_future(now);
    }

    /// Begins all intervals anew, as [`AuditSample::restart`].
    pub(in crate::collect::audit) fn restart(&mut self) {
        self.0.restart();
    }

    /// Closes intervals, as [`AuditSample::close`].
    pub(in crate::collect::audit) fn close(&mut self, now: Timestamp, times: AuditTimes) {
        self.0.close(now, times, 0);
    }

    /// Number of watched repositories.
    pub(in crate::collect::audit) fn len(&self) -> u64 {
        self.0.repos.len() as u64
    }

    /// What GitHub last stated of each, and how much of its stars and forks was seen.
    pub(in crate::collect::audit) fn growth(&self) -> HashMap<u64, RepoGrowth> {
        self.0.growth()
    }
}
