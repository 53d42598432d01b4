//! The current pull requests of the seeded world that can be queried, and the totals and commits of
//! its repositories: the data behind `/graphql`, which tests compare with. Bounded; the oldest are
//! forgotten first.

use std::collections::{HashMap, VecDeque};

use super::commits::KnownCommits;
use super::node::node_id;
use super::pulls::SimulatedPull;
use super::totals::Totals;

/// Maximum number of pull requests remembered.
const MOST: usize = 50_000;

/// What queries ask for: pull requests, and the totals and commits of repositories.
#[derive(Default)]
pub(super) struct QueriedWorld {
    by_node: HashMap<String, SimulatedPull>,
    /// `owner/name#number` in lower case -> node id.
    by_name: HashMap<String, String>,
    order: VecDeque<String>,
    pub(super) totals: Totals,
    pub(super) commits: KnownCommits,
}

impl QueriedWorld {
    /// Records the current state of a pull request.
    pub(super) fn put(&mut self, pull: &SimulatedPull) {
        let node = node(pull);
        let name = name(&pull.repository.full_name(), u64::from(pull.number));
        if self.by_node.insert(node.clone(), pull.clone()).is_some() {
            return;
        }
        self.by_name.insert(name, node.clone());
        self.order.push_back(node);
        if self.order.len() > MOST
            && let Some(pull) = self.order.pop_front().and_then(|old| self.by_node.remove(&old))
        {
            let name = self::name(&pull.repository.full_name(), u64::from(pull.number));
            self.by_name.remove(&name);
        }
    }

    /// Looks up a pull request by its node id.
    pub(super) fn node(&self, id: &str) -> Option<&SimulatedPull> {
        self.by_node.get(id)
    }

    /// Looks up a pull request by `owner/name` and number.
    pub(super) fn named(&self, repository: &str, number: u64) -> Option<&SimulatedPull> {
        self.by_name.get(&name(repository, number)).and_then(|node| self.by_node.get(node))
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &SimulatedPull> {
        self.order.iter().filter_map(|node| self.by_node.get(node))
    }
}

/// The node id of a pull request.
pub(super) fn node(pull: &SimulatedPull) -> String {
    node_id("PR", &[pull.repository.id, pull.id])
}

fn name(repository: &str, number: u64) -> String {
    format!("{}#{number}", repository.to_lowercase())
}
