//! The only place that asks what time it is.
//!
//! A [`Clock`] is passed to whoever needs the time, so that a test can begin at any date and let
//! days pass at once. It is one small enum and not a trait: the two kinds differ in one addition,
//! and a type parameter on every stage would say no more.

pub mod witness;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::window::Timestamp;

/// Wall time (what goes into keys and windows) and monotonic time (what is waited for).
#[derive(Debug, Clone, Copy)]
pub struct Clock(Kind);

#[derive(Debug, Clone, Copy)]
enum Kind {
    System,
    /// The machine's clock, moved by this many microseconds.
    Stepped(&'static AtomicI64),
    /// Wall time is `wall` plus what tokio's clock has moved since `start`.
    Simulated {
        wall: Timestamp,
        start: Instant,
    },
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// The machine's clock, moved by as many microseconds as `by` says at each reading: for tests
    /// of clocks that jump.
    #[must_use]
    pub fn stepped(by: &'static AtomicI64) -> Self {
        Self(Kind::Stepped(by))
    }

    /// A clock that shows `wall` now and moves with tokio's clock, which tests may pause.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self(Kind::Simulated { wall, start: Instant::now() })
    }

    /// Wall time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let system = || {
            let since = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap_or_default();
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        };
        match self.0 {
            Kind::System => Timestamp::from_micros(system()),
            Kind::Stepped(by) => {
                Timestamp::from_micros(system().saturating_add(by.load(Ordering::Relaxed)))
            }
            Kind::Simulated { wall, start } => wall.plus(start.elapsed()),
        }
    }

    /// Monotonic time, tokio's, for deadlines and durations.
    #[must_use]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Waits.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// How long a piece of work took.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> (T, Duration) {
        let start = std::time::Instant::now();
        let result = work();
        (result, start.elapsed())
    }
}

/// Real time passed, which no test pauses: for limits and measures of work that computes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
impl Stopwatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// How long ago it began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Time for which this thread computes: it stands still while the thread waits or the machine has
/// other things to do. Only the thread that began it may ask.
#[derive(Debug, Clone, Copy)]
pub struct WorkWatch {
    wall: Stopwatch,
    began: Duration,
}

impl WorkWatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { wall: Stopwatch::start(), began: computed() }
    }

    /// Whether this thread has computed for at least so long since.
    #[must_use]
    pub fn has_reached(&self, limit: Duration) -> bool {
        // The wall's clock is cheap to ask, and never behind.
        self.wall.elapsed() >= limit && computed().saturating_sub(self.began) >= limit
    }
}

/// For how long this thread has computed in all.
fn computed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
