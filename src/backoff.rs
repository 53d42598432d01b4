//! How long to wait before trying again: doubling, bounded, and never in step with anyone else.
//!
//! Half of each wait is chance, so that many clients that lost the same server at the same moment
//! do not come back at the same moment. The other half is certain, so that a wait is never nothing.

use std::time::Duration;

/// The waits of one thing that may fail; [`Backoff::reset`] when it has worked.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    times: u32,
}

impl Backoff {
    /// Waits of about `first`, then twice as long each time, never longer than `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most: most.max(first), times: 0 }
    }

    /// How long to wait now: between half and the whole of the doubled time.
    pub fn next_wait(&mut self) -> Duration {
        let whole = self.first.saturating_mul(1 << self.times.min(20)).min(self.most);
        self.times = self.times.saturating_add(1);
        whole / 2 + (whole / 2).mul_f64(fastrand::f64())
    }

    /// How often it has failed since it last worked.
    #[must_use]
    pub fn times(&self) -> u32 {
        self.times
    }

    /// It has worked: the next wait is a short one again.
    pub fn reset(&mut self) {
        self.times = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_are_half_chance() {
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
    fn two_that_failed_together_do_not_come_back_together() {
        let waits = |_| Backoff::new(Duration::from_secs(60), Duration::from_secs(60)).next_wait();
        let mut all: Vec<_> = (0..50).map(waits).collect();
        all.sort();
        all.dedup();
        assert!(all.len() > 40, "{all:?}");
    }

    #[test]
    fn what_has_worked_begins_with_a_short_wait() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        for _ in 0..10 {
            backoff.next_wait();
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_secs(1));
    }
}
