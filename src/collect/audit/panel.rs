//! The sampled repositories: GitHub's totals at each look, and the events received between looks.
//!
//! The sample is random among all repositories of which an event was ever received, lately or not:
//! those with the smallest hashes. A repository's first interval begins with the first look, after
//! the event that brought it into the sample, so that event counts nowhere.
//!
//! A second sample is chosen, not random: repositories whose totals people look at, the first of
//! the rankings and those on lists. Much happens in them, so nothing of it enters a share.
//! Repositories that are in the random sample as well are only there.
//!
//! An event belongs to the interval in which it was created. An interval is closed only when late
//! events have had [`AuditTimes::wait`] to arrive.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::interval::{Clusters, UndoneShare, seen_share};
use super::sighting::AuditedEvent;
use crate::github::graphql::{CountsLookup, RepositoryCounts};
use crate::model::audit::{AuditPanel, AuditShare, AuditedKind, AuditedTotals, RepoGrowth};
use crate::model::window::Timestamp;

/// Maximum number of looks at a repository whose intervals are not closed.
const MOST_LOOKS: usize = 32;
/// Maximum number of closed intervals in which something happened; the oldest are forgotten first.
const MOST_CLOSED: usize = 200_000;
/// A repository of which nothing was received for this long leaves the sample.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 86_400);
/// Half of the unit of `created_at`, which is cut to whole seconds.
const HALF_SECOND: i64 = 500_000;
/// Maximum length of a repository's name in bytes; GitHub allows 39 and 100 characters.
const MOST_NAME: usize = 200;
/// Maximum number of chosen repositories: five queries for all.
const MOST_CHOSEN: usize = 500;

/// The times of the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AuditTimes {
    /// Time between two looks at a repository.
    pub(super) every: Duration,
    /// How long events may be late and still count as seen.
    pub(super) wait: Duration,
}

impl AuditTimes {
    /// The time that the shares are about: 24 looks.
    pub(super) fn horizon(self) -> Duration {
        self.every.saturating_mul(24)
    }

    /// The length of a window of numbers, in seconds: four looks.
    pub(super) fn number_span(self) -> i64 {
        i64::try_from(self.every.saturating_mul(4).as_secs()).unwrap_or(i64::MAX).max(1)
    }
}

/// A look at GitHub's totals, and the events between it and the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct PanelLook {
    /// When, in microseconds since 1970.
    at: i64,
    totals: AuditedTotals,
    seen: AuditedTotals,
}

/// A sampled repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct PanelRepo {
    id: u64,
    name: String,
    /// When its last event was created, in seconds since 1970.
    seen_at: i64,
    /// When its totals were last asked for, in seconds since 1970; 0 before.
    asked_at: i64,
    looks: VecDeque<PanelLook>,
}

/// A closed interval in which something happened: its end in seconds since 1970, the hash of the
/// repository, the index of the kind, what was seen, and what the total grew by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct ClosedInterval(i64, u64, u8, u32, i32);

/// The sample.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AuditSample {
    /// By hash.
    repos: BTreeMap<u64, PanelRepo>,
    /// No repository with a greater hash is taken; 0 in a chosen sample, to which events add none.
    most: u64,
    closed: VecDeque<ClosedInterval>,
    /// The begin of the oldest closed interval and the end of the newest one, in seconds.
    range: Option<(i64, i64)>,
    gone: u64,
}

/// A repository whose totals are to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DueRepo {
    pub(super) hash: u64,
    pub(super) id: u64,
    pub(super) name: String,
}

/// The hash by which repositories are sampled.
pub(super) fn hash_of(repo_id: u64) -> u64 {
    xxh3_64(&repo_id.to_le_bytes())
}

impl Default for AuditSample {
    fn default() -> Self {
        let (repos, closed) = (BTreeMap::new(), VecDeque::new());
        Self { repos, most: u64::MAX, closed, range: None, gone: 0 }
    }
}

impl AuditSample {
    /// Takes an event; `hash` is that of its repository, `size` the size of the sample.
    pub(super) fn observe(&mut self, hash: u64, event: &AuditedEvent, size: usize) {
        if hash > self.most || event.repo.len() > MOST_NAME {
            return;
        }
        self.repos.entry(hash).or_insert_with(|| PanelRepo {
            id: event.repo_id,
            name: String::new(),
            seen_at: event.created_at.second().0,
            asked_at: 0,
            looks: VecDeque::new(),
        });
        self.count(hash, event);
        while self.repos.len() > size.max(1) {
            self.repos.pop_last();
            self.most = self.repos.last_key_value().map_or(u64::MAX, |(hash, _)| *hash);
        }
    }

    /// An empty sample whose repositories are chosen; events add none.
    pub(super) fn chosen() -> Self {
        Self { most: 0, ..Self::default() }
    }

    fn is_chosen(&self) -> bool {
        self.most == 0
    }

    /// Brings these repositories (id and name) in, except those of `sample`, those first in the
    /// list first. Others stay while there is room for them.
    pub(super) fn choose(&mut self, wanted: Vec<(u64, String)>, sample: &Self, now: Timestamp) {
        self.repos.retain(|hash, _| !sample.repos.contains_key(hash));
        let wanted = wanted.into_iter().filter(|(_, name)| name.len() <= MOST_NAME);
        let wanted = wanted.map(|(id, name)| (hash_of(id), id, name));
        let wanted = wanted.filter(|(hash, ..)| !sample.repos.contains_key(hash)).take(MOST_CHOSEN);
        let mut kept = HashSet::new();
        for (hash, id, name) in wanted {
            kept.insert(hash);
            let (seen_at, looks) = (now.second().0, VecDeque::new());
            let new = || PanelRepo { id, name, seen_at, asked_at: 0, looks };
            self.repos.entry(hash).or_insert_with(new);
        }
        let others = self.repos.iter().filter(|(hash, _)| !kept.contains(*hash));
        let mut others: Vec<_> = others.map(|(hash, repo)| (repo.seen_at, *hash)).collect();
        others.sort_unstable();
        for (_, hash) in others.into_iter().take(self.repos.len().saturating_sub(MOST_CHOSEN)) {
            self.repos.remove(&hash);
        }
    }

    /// Counts an event of a repository that is here.
    pub(super) fn count(&mut self, hash: u64, event: &AuditedEvent) {
        let Some(repo) = self.repos.get_mut(&hash) else { return };
        let created = event.created_at.second().0;
        if repo.seen_at <= created {
            repo.seen_at = created;
            if repo.name != event.repo {
                repo.name.clone_from(&event.repo);
            }
        }
        if let Some(kind) = event.raises {
            let at = event.created_at.micros().saturating_add(HALF_SECOND);
            let look = repo.looks.iter_mut().rev().find(|look| look.at < at);
            if let Some(seen) = look.and_then(|look| look.seen.get_mut(kind as usize)) {
                *seen = seen.saturating_add(1);
            }
        }
    }

    /// Up to `most` repositories to look at, those that have waited longest first, and marks them
    /// as asked for.
    pub(super) fn due(&mut self, now: Timestamp, every: Duration, most: usize) -> Vec<DueRepo> {
        let (now, due_at) = (now.second().0, now.minus(every).second().0);
        let is_due = |repo: &PanelRepo| repo.asked_at <= due_at || repo.asked_at > now;
        let due = self.repos.iter().filter(|(_, repo)| is_due(repo));
        let mut due: Vec<(i64, u64)> = due.map(|(hash, repo)| (repo.asked_at, *hash)).collect();
        due.sort_unstable();
        due.truncate(most);
        let mut wanted = Vec::with_capacity(due.len());
        for (_, hash) in due {
            if let Some(repo) = self.repos.get_mut(&hash) {
                repo.asked_at = now;
                wanted.push(DueRepo { hash, id: repo.id, name: repo.name.clone() });
            }
        }
        wanted
    }

    /// Marks repositories as due whose totals were not answered.
    pub(super) fn unanswered(&mut self, hash: u64) {
        if let Some(repo) = self.repos.get_mut(&hash) {
            repo.asked_at = 0;
        }
    }

    /// Number of repositories in the sample.
    pub(super) fn len(&self) -> usize {
        self.repos.len()
    }

    /// Whether any repository is due.
    pub(super) fn has_due(&self, now: Timestamp, every: Duration) -> bool {
        let (now, due_at) = (now.second().0, now.minus(every).second().0);
        self.repos.values().any(|repo| repo.asked_at <= due_at || repo.asked_at > now)
    }

    /// Takes GitHub's answer about a repository. One that GitHub does not show leaves the sample;
    /// a chosen one begins anew, and without an answer is asked for again at its next turn.
    pub(super) fn answered(&mut self, repo: &DueRepo, at: Timestamp, found: &CountsLookup) {
        match found {
            CountsLookup::Found(counts) if counts.repo_id == repo.id => {
                let &RepositoryCounts { stars, forks, releases, pull_requests, issues, .. } =
                    counts;
                self.looked(repo.hash, at, [stars, forks, releases, pull_requests, issues]);
            }
            // The name belongs to another repository by now.
            CountsLookup::Found(_) | CountsLookup::Gone if self.is_chosen() => {
                if let Some(repo) = self.repos.get_mut(&repo.hash) {
                    repo.looks.clear();
                }
            }
            CountsLookup::Found(_) | CountsLookup::Gone => self.leave(repo.hash),
            CountsLookup::Forbidden(_) | CountsLookup::Unanswered if self.is_chosen() => {}
            CountsLookup::Forbidden(_) | CountsLookup::Unanswered => self.unanswered(repo.hash),
        }
    }

    /// After a start with an earlier clock: removes what lies in the future.
    pub(super) fn forget_future(&mut self, now: Timestamp) {
        let now = now.micros();
        for repo in self.repos.values_mut() {
            repo.looks.retain(|look| look.at <= now);
        }
        let second = Timestamp::from_micros(now).second().0;
        self.closed.retain(|interval| interval.0 <= second);
        self.range = self.range.filter(|(_, until)| *until <= second);
    }

    /// Records what GitHub states.
    fn looked(&mut self, hash: u64, at: Timestamp, totals: AuditedTotals) {
        let Some(repo) = self.repos.get_mut(&hash) else { return };
        let is_later = repo.looks.back().is_none_or(|look| look.at < at.micros());
        if is_later && repo.looks.len() < MOST_LOOKS {
            repo.looks.push_back(PanelLook {
                at: at.micros(),
                totals,
                seen: AuditedTotals::default(),
            });
        }
    }

    /// Removes repositories by name, with their closed intervals: their events are not
    /// received, while their totals still grow.
    pub(super) fn leave_out(&mut self, is_left_out: impl Fn(&str) -> bool) {
        let mut removed = HashSet::new();
        self.repos.retain(|hash, repo| {
            let stays = !is_left_out(&repo.name);
            if !stays {
                removed.insert(*hash);
            }
            stays
        });
        if !removed.is_empty() {
            self.closed.retain(|interval| !removed.contains(&interval.1));
        }
    }

    /// Removes a repository that GitHub no longer shows; its last interval counts nowhere.
    fn leave(&mut self, hash: u64) {
        if self.repos.remove(&hash).is_some() {
            self.gone += 1;
        }
    }

    /// Begins all intervals anew: events in between may be missing for another reason than that
    /// they were not seen.
    pub(super) fn restart(&mut self) {
        for repo in self.repos.values_mut() {
            repo.looks.clear();
            repo.asked_at = 0;
        }
    }

    /// Closes intervals for which no late event is waited for any more, and forgets what is older
    /// than the horizon. Call it when everything received so far has been observed.
    pub(super) fn close(&mut self, now: Timestamp, times: AuditTimes, size: usize) {
        let settled = now.minus(times.wait).micros();
        let forgotten = now.minus(FORGOTTEN_AFTER).second().0;
        for (hash, repo) in &mut self.repos {
            while let (Some(&first), Some(&next)) = (repo.looks.front(), repo.looks.get(1))
                && next.at <= settled
            {
                repo.looks.pop_front();
                let end = Timestamp::from_micros(next.at).second().0;
                let begin = Timestamp::from_micros(first.at).second().0;
                let (from, until) = self.range.unwrap_or((begin, end));
                self.range = Some((from.min(begin), until.max(end)));
                for kind in 0..AuditedKind::STATED {
                    let (before, after) = (first.totals[kind], next.totals[kind]);
                    let grown = i64::from(after) - i64::from(before);
                    let grown = i32::try_from(grown).unwrap_or(0);
                    let seen = first.seen[kind];
                    if seen > 0 || grown != 0 {
                        let kind = u8::try_from(kind).unwrap_or(u8::MAX);
                        self.closed.push_back(ClosedInterval(end, *hash, kind, seen, grown));
                    }
                }
            }
        }
        self.repos.retain(|_, repo| repo.seen_at >= forgotten);
        let oldest = now.minus(times.wait).minus(times.horizon()).second().0;
        self.closed.retain(|interval| interval.0 >= oldest);
        while self.closed.len() > MOST_CLOSED {
            self.closed.pop_front();
        }
        if let Some((from, until)) = self.range {
            let every = i64::try_from(times.every.as_secs()).unwrap_or(0);
            self.range = (until >= oldest).then_some((from.max(oldest - every), until));
        }
        // The sample shrinks as repositories leave it; then there is room for others.
        if self.repos.len() < size / 4 * 3 {
            self.most = self.most.saturating_mul(2);
        }
    }

    /// The time that the closed intervals are about.
    pub(super) fn range(&self) -> Option<(Timestamp, Timestamp)> {
        self.range.map(|(a, b)| (Timestamp::from_seconds(a), Timestamp::from_seconds(b)))
    }

    /// The sample in numbers.
    pub(super) fn census(&self, now: Timestamp, every: Duration) -> AuditPanel {
        let lately = now.minus(every.saturating_mul(2)).second().0;
        let seen_lately = self.repos.values().filter(|repo| repo.seen_at >= lately).count();
        AuditPanel {
            repositories: self.repos.len() as u64,
            seen_lately: seen_lately as u64,
            gone: self.gone,
            watched: 0,
        }
    }

    /// What GitHub last stated of each repository, and how much of its stars and forks was seen.
    pub(super) fn growth(&self) -> HashMap<u64, RepoGrowth> {
        let [stars, forks] = [AuditedKind::Stars, AuditedKind::Forks].map(|kind| kind as usize);
        let mut sums = Clusters::default();
        for ClosedInterval(_, hash, kind, seen, grown) in &self.closed {
            if [stars, forks].contains(&usize::from(*kind)) {
                sums.add(*hash, *seen, i64::from(*grown));
            }
        }
        let mut growth = HashMap::with_capacity(self.repos.len());
        for (hash, repo) in &self.repos {
            let Some(look) = repo.looks.back() else { continue };
            let gained = sums.of(*hash).filter(|sum| sum.grown > 0.0);
            let seen = gained.map(|sum| (sum.seen / sum.grown).min(1.0));
            let at = Timestamp::from_micros(look.at);
            let (stars, forks) = (look.totals[stars], look.totals[forks]);
            growth.insert(repo.id, RepoGrowth { stars, forks, at, seen });
        }
        growth
    }

    /// How much of a kind was seen in the closed intervals.
    pub(super) fn share(&self, kind: AuditedKind) -> AuditShare {
        let mut clusters = Clusters::default();
        let (mut all_seen, mut all_grown, mut rises, mut falls) = (0_u64, 0_i64, 0, 0);
        let of_kind =
            self.closed.iter().filter(|interval| usize::from(interval.2) == kind as usize);
        for ClosedInterval(_, hash, _, seen, grown) in of_kind.copied() {
            all_seen += u64::from(seen);
            all_grown += i64::from(grown);
            rises += u64::from(grown == 1);
            falls += u64::from(grown == -1);
            clusters.add(hash, seen, grown.into());
        }
        let undone = UndoneShare::of_steps(rises, falls).filter(|_| kind.can_be_undone());
        let known = if kind.can_be_undone() { undone } else { Some(UndoneShare::default()) };
        AuditShare {
            seen: all_seen,
            grown: all_grown,
            repositories: clusters.len(),
            undone: undone.map(|undone| undone.ratio),
            share: known.and_then(|undone| seen_share(clusters.sums(), undone)),
        }
    }

    /// The last names of the sampled repositories by id, for tests.
    #[cfg(test)]
    fn names(&self) -> HashMap<u64, String> {
        self.repos.values().map(|repo| (repo.id, repo.name.clone())).collect()
    }
}

#[cfg(test)]
mod tests;
