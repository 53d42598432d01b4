//! What the simulated GitHub states about its repositories: stars, forks, releases, pull requests
//! and issues, whether their events were shown or hidden. Stars are taken back now and then, which
//! no event says.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use fastrand::Rng;

use super::cast::Repository;

/// Maximum number of repositories; the first ones known are forgotten first.
const MOST: usize = 60_000;
/// One in this many stars is taken back, by somebody who starred one of the last of …
const TAKEN_BACK: u32 = 12;
/// … these.
const RECENT: usize = 2_000;

/// What GitHub counts of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RepositoryTotal {
    Stars,
    Forks,
    Releases,
    Pulls,
    Issues,
}

/// The totals of a repository.
#[derive(Debug, Clone)]
pub(super) struct RepositoryTotals {
    pub(super) repository: Arc<Repository>,
    /// By [`RepositoryTotal`].
    counts: [u32; 5],
}

impl RepositoryTotals {
    pub(super) fn of(&self, total: RepositoryTotal) -> u32 {
        self.counts[total as usize]
    }
}

/// The totals of all repositories in which anything happened, and the events by type.
pub(super) struct Totals {
    by_id: HashMap<u64, RepositoryTotals>,
    /// `owner/name` in lower case -> id.
    by_name: HashMap<String, u64>,
    order: VecDeque<u64>,
    starred: VecDeque<u64>,
    /// A generator apart, so that the world is the same with and without totals.
    rng: Rng,
    /// By type: how often it happened, and how often it was hidden.
    happened: BTreeMap<&'static str, (u64, u64)>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            by_id: HashMap::new(),
            by_name: HashMap::new(),
            order: VecDeque::new(),
            starred: VecDeque::new(),
            rng: Rng::with_seed(77),
            happened: BTreeMap::new(),
        }
    }
}

impl Totals {
    /// Counts an event in its repository, and the total that it raises, if any.
    pub(super) fn raise(&mut self, repository: &Arc<Repository>, raises: Option<RepositoryTotal>) {
        let totals = self.open(repository);
        let Some(total) = raises else { return };
        totals.counts[total as usize] += 1;
        if total == RepositoryTotal::Stars {
            self.starred.push_back(repository.id);
            if self.starred.len() > RECENT {
                self.starred.pop_front();
            }
            if self.rng.u32(0..TAKEN_BACK) == 0 {
                let id = self.starred[self.rng.usize(0..self.starred.len())];
                if let Some(totals) = self.by_id.get_mut(&id) {
                    let stars = &mut totals.counts[RepositoryTotal::Stars as usize];
                    *stars = stars.saturating_sub(1);
                }
            }
        }
    }

    /// Counts an event by its type.
    pub(super) fn count(&mut self, kind: &'static str, is_hidden: bool) {
        let count = self.happened.entry(kind).or_default();
        count.0 += 1;
        count.1 += u64::from(is_hidden);
    }

    /// By type: how often it happened, and how often it was hidden.
    pub(super) fn happened(&self) -> &BTreeMap<&'static str, (u64, u64)> {
        &self.happened
    }

    /// The totals of `owner/name`.
    pub(super) fn named(&self, name: &str) -> Option<&RepositoryTotals> {
        self.by_id.get(self.by_name.get(&name.to_lowercase())?)
    }

    /// The totals of the repository with this id.
    pub(super) fn of(&self, id: u64) -> Option<&RepositoryTotals> {
        self.by_id.get(&id)
    }

    fn open(&mut self, repository: &Arc<Repository>) -> &mut RepositoryTotals {
        if !self.by_id.contains_key(&repository.id) {
            self.by_name.insert(repository.full_name().to_lowercase(), repository.id);
            self.order.push_back(repository.id);
            if self.order.len() > MOST
                && let Some(old) = self.order.pop_front().and_then(|id| self.by_id.remove(&id))
            {
                self.by_name.remove(&old.repository.full_name().to_lowercase());
            }
        }
        self.by_id.entry(repository.id).or_insert_with(|| {
            let stars = repository.stars;
            let counts = [stars, stars / 8, stars % 40, stars / 3, stars / 2];
            RepositoryTotals { repository: Arc::clone(repository), counts }
        })
    }
}
