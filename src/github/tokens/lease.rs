//! One request that may be sent, and its end.

use std::sync::Arc;
use std::time::Duration;

use super::TokenPool;
use super::account::Owner;
use super::words::{AccountId, Resource, SeatId, Verdict};
use crate::config::Secret;
use crate::github::budget::Taken;
use crate::github::limits::Limits;

/// One request that may be sent.
#[derive(Debug)]
pub struct Lease {
    pub(super) pool: Arc<TokenPool>,
    pub(super) seat: SeatId,
    pub(super) owner: Owner,
    pub(super) token: Option<Secret>,
    pub(super) resource: Resource,
    pub(super) taken: Taken,
    pub(super) settled: bool,
}

impl Lease {
    /// Whose it is: pages have an `ETag` for each.
    #[must_use]
    pub fn seat(&self) -> SeatId {
        self.seat
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
    pub fn settle(mut self, verdict: Verdict, limits: &Limits, took: Duration) {
        self.settled = true;
        self.pool.settle(&self, verdict, limits, took);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.settled {
            self.pool.settle(self, Verdict::Failed, &Limits::default(), Duration::ZERO);
        }
    }
}
