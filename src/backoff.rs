//! Exponential backoff with jitter.
//!
//! Half of each wait is random, so that many clients that lost the same server at the same time do
//! not return at the same time. The other half is fixed, so that no wait is close to zero.

use std::time::Duration;

/// The waits between the attempts of one operation. Call [`Backoff::reset`] after a success.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    times: u32,
}

impl Backoff {
    /// Waits of up to `first`, doubled after each failure, up to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most: most.max(first), times: 0 }
    }

    /// The next wait: between half and all of the doubled time.
    pub fn next_wait(&mut self) -> Duration {
        let whole = self.first.saturating_mul(1 << self.times.min(20)).min(self.most);
        self.times = self.times.saturating_add(1);
        whole / 2 + (whole / 2).mul_f64(fastrand::f64())
    }

    /// The number of failures since the last success.
    #[must_use]
    pub fn times(&self) -> u32 {
        self.times
    }

    /// Records a success: the next wait is short again.
    pub fn reset(&mut self) {
        self.times = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_with_jitter() {
        let (first, most) = (Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..200 {
            let mut backoff = Backoff::new(first, most);
            for times in 0..40_u32 {
                assert_eq!(backoff.times(), times);
                let whole = first.saturating_mul(1 << times.min(20)).min(most);
                let wait = backoff.next_wait();
                assert!(wait >= whole / 2 && wait <= whole, "{times}: {wait:?} of {whole:?}");
            }
        }
    }

    #[test]
    fn waits_of_two_clients_differ() {
        let waits = |_| Backoff::new(Duration::from_secs(60), Duration::from_secs(60)).next_wait();
        let mut all: Vec<_> = (0..50).map(waits).collect();
        all.sort();
        all.dedup();
        assert!(all.len() > 40, "{all:?}");
    }

    #[test]
    fn first_wait_after_a_reset_is_short() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..10 {
            backoff.next_wait();
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
    }
}
