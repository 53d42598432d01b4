//! Leases: permission to send one request, settled with its outcome.

use std::sync::Arc;
use std::time::Duration;

use super::TokenPool;
use super::account::Owner;
use super::types::{AccountId, Resource, TokenSlotId, TokenVerdict};
use crate::config::Secret;
use crate::github::budget::Reservation;
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
