//! Delivery to many subscribers: waking them, the frames they share, and limits of memory and work.

pub(super) mod deflate;
pub(super) mod fair_queue;
pub(super) mod frame;
pub(super) mod memory;
pub(super) mod notifier;
pub(super) mod registry;
pub(super) mod waiters;

use std::ops::RangeInclusive;

/// Milliseconds; wide enough that ten thousand readers come back over ten seconds.
const AFTER: RangeInclusive<u64> = 2_000..=12_000;

/// The milliseconds after which one reader is asked to connect again; each gets another number.
#[must_use]
pub fn retry_after() -> u64 {
    fastrand::u64(AFTER)
}
