//! Timers and rate limits of a connection.

use std::pin::Pin;

use tokio::time::Instant;

use crate::clock::Clock;

/// A timer that can be moved to an earlier time.
pub(crate) struct Timer {
    clock: Clock,
    at: Instant,
    pub(crate) sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Timer {
    pub(crate) fn new(clock: Clock, at: Instant) -> Self {
        let wait = at.saturating_duration_since(clock.instant());
        Self { clock, at, sleep: Box::pin(async move { clock.sleep(wait).await }) }
    }

    /// Fires at `at`, unless it fires earlier.
    pub(crate) fn by(&mut self, at: Instant) {
        if at < self.at {
            *self = Self::new(self.clock, at);
        }
    }
}

/// A token bucket that holds the tokens of a minute and is refilled evenly.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_minute: f64,
    left: f64,
    at: Instant,
}

impl RateLimit {
    pub(crate) fn new(per_minute: u32, now: Instant) -> Self {
        Self { per_minute: f64::from(per_minute), left: f64::from(per_minute), at: now }
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
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

    #[tokio::test(start_paused = true)]
    async fn timer_only_moves_earlier() {
        let clock = Clock::system();
        let start = clock.instant();
        let mut timer = Timer::new(clock, start + Duration::from_secs(30));
        timer.by(start + Duration::from_secs(60));
        timer.by(start + Duration::from_secs(10));
        timer.sleep.await;
        assert_eq!(clock.instant().duration_since(start).as_secs(), 10);
    }
}
