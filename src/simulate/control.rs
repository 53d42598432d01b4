//! The control of a running simulation, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::faults::{Fault, FaultKind};
use super::histories::HistoryOf;
use super::state::{RequestKind, SharedWorld};

/// Steps the feed, turns faults on and off, and reports what happened. Clones control the same
/// simulation.
#[derive(Clone)]
pub struct Control(Arc<SharedWorld>);

impl Control {
    pub(super) fn new(shared: Arc<SharedWorld>) -> Self {
        Self(shared)
    }

    /// Puts the next `n` events into the feed now. Returns how many there were (recorded ones
    /// end).
    #[expect(clippy::must_use_candidate, reason = "who steps the seeded world knows")]
    pub fn emit(&self, n: usize) -> usize {
        self.0.emit(n)
    }

    /// Puts any text into the feed. Text that is not JSON damages the pages it is on, which may be
    /// intended.
    pub fn push_raw(&self, event: &str) {
        self.0.put(event.into());
    }

    /// Removes an installation of the app; its tokens end.
    pub fn remove_installation(&self, installation: u64) {
        self.0.state().apps.remove(installation);
    }

    /// Suspends an installation of the app; its tokens end.
    pub fn suspend_installation(&self, installation: u64) {
        self.0.state().apps.suspended.push(installation);
    }

    /// Number of tokens given to an installation so far.
    #[must_use]
    pub fn installation_tokens(&self, installation: u64) -> usize {
        self.0.state().apps.tokens(installation)
    }

    /// Every event put into the feed, in order, as far as [`super::Options::remember`] reaches.
    #[must_use]
    pub fn emitted(&self) -> Vec<Arc<str>> {
        self.0.state().ledger.rows().map(|(event, _)| event.clone()).collect()
    }

    /// Those of them that were in at least one complete response.
    #[must_use]
    pub fn served(&self) -> Vec<Arc<str>> {
        let state = self.0.state();
        state.ledger.rows().filter(|(_, served)| *served).map(|(event, _)| event.clone()).collect()
    }

    /// How many of them were in none.
    #[must_use]
    pub fn unserved(&self) -> usize {
        self.0.state().ledger.rows().filter(|(_, served)| !served).count()
    }

    /// The number of events that [`Self::emitted`] and [`Self::served`] no longer remember.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.0.state().ledger.forgotten()
    }

    /// The total number of events put into the feed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.state().feed.len()
    }

    /// The number of lines of recorded files skipped because they were not JSON.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.0.left_out()
    }

    /// By type: how often events happened, and how often they were hidden.
    #[must_use]
    pub fn happened(&self) -> BTreeMap<&'static str, (u64, u64)> {
        self.0.with_known(|known| known.totals.happened().clone())
    }

    /// Whether the recorded events have ended. The seeded world never ends.
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
        state.faults.retain(|known| {
            (known.kind, &known.token, &known.only) != (fault.kind, &fault.token, &fault.only)
        });
        state.faults.push(fault);
    }

    /// Turns all faults off.
    pub fn clear_faults(&self) {
        let mut state = self.0.state();
        state.faults.clear();
        state.frozen = None;
    }

    /// Number of requests for pages so far, including refused ones.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.0.state().requests[RequestKind::Page as usize]
    }

    /// Refuses the feed of a repository, `owner/name` in lower case, with this status, such as 404.
    pub fn close_feed(&self, repository: &str, status: u16) {
        let of = HistoryOf::Repository(repository.to_owned());
        self.0.state().histories.closed.insert(of, status);
    }

    /// Renames a repository: requests by its old name are redirected. Names in lower case.
    pub fn rename(&self, old: &str, new: &str) {
        self.0.state().histories.renamed.insert(old.to_owned(), new.to_owned());
    }

    /// Number of GraphQL queries so far, including refused ones.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.0.state().requests[RequestKind::Query as usize]
    }

    /// The largest number of concurrent requests for pages and queries of one account.
    #[must_use]
    pub fn most_at_once(&self) -> u32 {
        self.0.state().most_at_once
    }

    /// The current pull requests of the seeded world, each as the whole JSON object that events
    /// contained before October 2025; the newest 50,000, oldest first.
    #[must_use]
    pub fn pull_requests(&self) -> Vec<String> {
        self.0.with_known(|known| known.all().map(super::payloads_old::pull_request).collect())
    }

    /// The newest pushes of the seeded world, each as the whole payload that events contained
    /// before October 2025; up to 5,000, oldest first.
    #[must_use]
    pub fn pushes(&self) -> Vec<String> {
        self.0.with_known(|known| known.commits.recent().cloned().collect())
    }

    /// Number of responses so far by endpoint, status and fault, such as `200`, `502 error-502`,
    /// `feed 304` or `graphql secondary`. Endpoints other than `/events` have a word in front.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<String, u64> {
        self.0.state().outcomes.clone()
    }

    /// Waits until a condition holds; it is checked after every event and every request.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let mut changes = self.0.changes();
        while !holds(self) {
            changes.changed().await.expect("the sender is ours");
        }
    }
}
