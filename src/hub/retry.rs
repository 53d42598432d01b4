//! When readers come back that lost their connection at the same moment.

use std::ops::RangeInclusive;

/// Milliseconds; wide enough that ten thousand readers come back over ten seconds.
const AFTER: RangeInclusive<u64> = 2_000..=12_000;

/// The milliseconds after which one reader is asked to connect again; each gets another number.
#[must_use]
pub fn retry_after() -> u64 {
    fastrand::u64(AFTER)
}
