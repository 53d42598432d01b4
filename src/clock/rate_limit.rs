//! Limits of a rate.

use tokio::time::Instant;

/// A token bucket that holds the tokens of a minute and is refilled evenly.
#[derive(Debug)]
pub struct RateLimit {
    per_minute: f64,
    left: f64,
    at: Instant,
}

impl RateLimit {
    /// A full bucket.
    #[must_use]
    pub fn new(per_minute: u32, now: Instant) -> Self {
        Self { per_minute: f64::from(per_minute), left: f64::from(per_minute), at: now }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let refilled = now.duration_since(self.at).as_secs_f64() * self.per_minute / 60.0;
        self.left = (self.left + refilled).min(self.per_minute);
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn rate_limit_refills_evenly_up_to_its_size() {
        let start = Clock::system().instant();
        let mut three = RateLimit::new(3, start);
        assert_eq!([(); 4].map(|()| three.take(start)), [true, true, true, false]);
        assert!(!three.take(start + Duration::from_secs(19)));
        assert!(three.take(start + Duration::from_secs(20)));
        let later = start + Duration::from_secs(3_600);
        assert_eq!([(); 4].map(|()| three.take(later)), [true, true, true, false]);
    }
}
