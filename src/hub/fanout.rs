//! Delivery to many subscribers: waking them, the frames they share, and limits of memory and work.

pub(super) mod batch;
pub(super) mod deflate;
pub(super) mod fair_queue;
pub(super) mod frame;
pub(super) mod group_log;
pub(super) mod memory;
pub(super) mod notifier;
pub(super) mod subscriber_query;
pub(super) mod subscribers;
pub(super) mod turn;
mod waiters;

use std::ops::RangeInclusive;

/// Milliseconds. Ten thousand clients that lost their connection at once return over ten seconds.
const AFTER: RangeInclusive<u64> = 2_000..=12_000;

/// After how many milliseconds a client is asked to reconnect: a random number for each.
#[must_use]
pub fn retry_after() -> u64 {
    fastrand::u64(AFTER)
}
