//! The hand that tests lay on a running simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::faults::{Fault, FaultKind};
use super::state::SharedWorld;

/// Steps the feed, turns faults on and off, tells what happened. Clones are the same hand.
#[derive(Clone)]
pub struct Control(Arc<SharedWorld>);

impl Control {
    pub(super) fn new(shared: Arc<SharedWorld>) -> Self {
        Self(shared)
    }

    /// Puts the next `n` events into the feed now; how many there were (recorded ones end).
    #[expect(clippy::must_use_candidate, reason = "who steps the seeded world knows")]
    pub fn emit(&self, n: usize) -> usize {
        self.0.emit(n)
    }

    /// Puts any text into the feed. What is no JSON spoils the pages it is on: that may be
    /// wanted.
    pub fn push_raw(&self, event: &str) {
        self.0.put(event.into());
    }

    /// Every event that ever went into the feed, in order, as far as [`super::Options::remember`]
    /// reaches.
    #[must_use]
    pub fn emitted(&self) -> Vec<Arc<str>> {
        self.0.state().ledger.rows().map(|(event, _)| event.clone()).collect()
    }

    /// Those of them that were, at least once, in a response that went out whole.
    #[must_use]
    pub fn served(&self) -> Vec<Arc<str>> {
        let state = self.0.state();
        state.ledger.rows().filter(|(_, served)| *served).map(|(event, _)| event.clone()).collect()
    }

    /// How many of them were not.
    #[must_use]
    pub fn unserved(&self) -> usize {
        self.0.state().ledger.rows().filter(|(_, served)| !served).count()
    }

    /// How many events went in that [`Self::emitted`] and [`Self::served`] no longer remember.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.0.state().ledger.forgotten()
    }

    /// How many events ever went in.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.state().feed.len()
    }

    /// Lines of recorded files left out because they were no JSON.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.0.left_out()
    }

    /// Whether the recorded events have come to their end. The seeded world has none.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.0.state().finished
    }

    /// Turns a fault on from the next request on, or changes its share, wait or token.
    pub fn set_fault(&self, fault: Fault) {
        let mut state = self.0.state();
        if fault.kind == FaultKind::Frozen {
            state.frozen = Some(state.feed.clone());
        }
        state.faults.retain(|known| known.kind != fault.kind || known.token != fault.token);
        state.faults.push(fault);
    }

    /// Turns all faults off.
    pub fn clear_faults(&self) {
        let mut state = self.0.state();
        state.faults.clear();
        state.frozen = None;
    }

    /// Requests for pages so far, refused ones among them.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.state().requests
    }

    /// GraphQL queries so far, refused ones among them.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.0.state().asked
    }

    /// The most requests for pages and queries that were under way at one time for one account.
    #[must_use]
    pub fn most_at_once(&self) -> u32 {
        self.0.state().most_at_once
    }

    /// The pull requests of the seeded world as they stand now, each as the whole JSON object that
    /// it was in events before October 2025; the newest 50,000, oldest first.
    #[must_use]
    pub fn pull_requests(&self) -> Vec<String> {
        self.0.with_known(|known| known.all().map(super::payloads_old::pull_request).collect())
    }

    /// Responses by what came of them: `200`, `304`, `403 suspended`, `200 cut-off`, …; those to
    /// queries are `graphql 200`, `graphql query-partial`, …
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<String, u64> {
        self.0.state().outcomes.clone()
    }

    /// Waits until something holds; looked at after every event and every request.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.0.changes();
        while !holds(self) {
            changes.changed().await.expect("the sender is ours");
        }
    }
}
