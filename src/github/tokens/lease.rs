//! One request that may be sent, and its end.

use std::sync::Arc;
use std::time::Duration;

use super::TokenPool;
use super::account::Owner;
use super::types::{AccountId, Resource, TokenSlotId, TokenVerdict};
use crate::config::Secret;
use crate::github::budget::Reservation;
use crate::github::limits::RateLimits;

/// One request that may be sent.
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
    /// Whose it is: pages have an `ETag` for each.
    #[must_use]
    pub fn slot(&self) -> TokenSlotId {
        self.slot
    }

    /// The account it is charged to.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId(self.owner)
    }

    /// The token to send, if any.
    #[must_use]
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Gives it back with what came of it.
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
