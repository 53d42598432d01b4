//! Timers of a connection.

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
