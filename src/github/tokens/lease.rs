//! The pool, and its leases: permission to send one request, settled with its outcome.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::pool_state::{PoolState, publish, report_quarantine};
use super::types::{AccountId, Owner, Resource, TokenSlotId, TokenVerdict};
use crate::clock::Clock;
use crate::config::Secret;
use crate::github::budget::{Reservation, Spent};
use crate::github::limits::RateLimits;

/// Permission to send one request.
#[derive(Debug)]
pub struct Lease {
    pub(super) pool: Arc<TokenPool>,
    pub(super) slot: TokenSlotId,
    pub(super) owner: Owner,
    pub(super) token: Option<Secret>,
    pub(super) resource: Resource,
    pub(super) taken: Reservation,
    pub(super) settled: bool,
}

impl Lease {
    /// The token slot: pages have a different `ETag` for each.
    #[must_use]
    pub fn slot(&self) -> TokenSlotId {
        self.slot
    }

    /// The account that is charged.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId(self.owner)
    }

    /// The token to send, if any.
    #[must_use]
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Settles the lease with the outcome of the request.
    pub fn settle(mut self, verdict: TokenVerdict, limits: &RateLimits, took: Duration) {
        self.settled = true;
        self.pool.settle(&self, verdict, limits, took);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.settled {
            self.pool.settle(self, TokenVerdict::Failed, &RateLimits::default(), Duration::ZERO);
        }
    }
}

/// All tokens, and the slot for requests without one.
#[derive(Debug)]
pub struct TokenPool {
    pub(super) clock: Clock,
    pub(super) state: Mutex<PoolState>,
    /// See [`TokenPool::changes`].
    pub(super) changes: watch::Sender<()>,
    /// Notifies of refused tokens of app installations.
    pub(super) refusals: watch::Sender<()>,
}

impl TokenPool {
    fn settle(&self, lease: &Lease, verdict: TokenVerdict, limits: &RateLimits, took: Duration) {
        let now = self.clock.instant();
        let mut state = self.lock();
        // `None`: the token was removed from the configuration some time ago.
        let Some(slot) = state.slot(lease.slot) else { return };
        let (owner, of_installation) = (slot.owner, slot.installation.is_some());
        // A refusal of a token that was renewed meanwhile says nothing of the new one.
        let is_current = slot.token == lease.token;
        let spent = match verdict {
            TokenVerdict::Unchanged | TokenVerdict::Unsent => Spent::Nothing,
            _ => Spent::One,
        };
        // A refused token has no account, so what its response says of limits is about another.
        let unknown = RateLimits::default();
        let is_refused = matches!(verdict, TokenVerdict::Refused(_));
        let limits = if is_refused { &unknown } else { limits };
        let (budget, of) = state.accounts.budget(owner, lease.resource);
        budget.settle(now, lease.taken, spent, limits);
        match verdict {
            TokenVerdict::Served | TokenVerdict::Unchanged => {
                budget.answered(of, took);
                state.accept(lease.slot);
            }
            TokenVerdict::Limited(wait) => {
                // A limit other than the hourly one counts all requests of an account.
                let is_of_hour = limits.remaining == Some(0);
                let is_limited = |r: &Resource| !is_of_hour || r.shares_hour_with(lease.resource);
                for resource in Resource::ALL.into_iter().filter(is_limited) {
                    let (budget, of) = state.accounts.budget(owner, resource);
                    budget.refused(of, now, wait);
                }
            }
            TokenVerdict::Refused(why) if lease.token.is_some() && is_current => {
                if let Some(time) = state.refuse(lease.slot, now) {
                    report_quarantine(&mut state, lease.slot, (why, time), now);
                }
                if of_installation {
                    self.refusals.send_replace(());
                }
            }
            TokenVerdict::Refused(_) | TokenVerdict::Failed | TokenVerdict::Unsent => {}
        }
        publish(&mut state, now);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, PoolState> {
        // The state is plain numbers and is consistent between any two statements that can panic.
        crate::sync::lock(&self.state)
    }
}
