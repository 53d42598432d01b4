//! The only module that reads the system's clocks.
//!
//! Code that needs the time takes a [`Clock`], so that a test can start at any date and let days
//! pass at once. The clock is an enum and not a trait: its kinds differ in one addition, and a type
//! parameter on every stage would add nothing.

pub mod rate_limit;
pub mod witness;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::window::Timestamp;

/// Wall time, for keys and windows, and monotonic time, for waits and deadlines.
#[derive(Debug, Clone, Copy)]
pub struct Clock(ClockKind);

#[derive(Debug, Clone, Copy)]
enum ClockKind {
    System,
    /// The machine's clock plus this many microseconds.
    Stepped(&'static AtomicI64),
    /// Wall time is `wall` plus the time since `start` on tokio's clock.
    Simulated {
        wall: Timestamp,
        start: Instant,
        /// Microseconds to add.
        by: Option<&'static AtomicI64>,
    },
}

#[expect(clippy::disallowed_methods, reason = "the module that reads the clocks")]
impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(ClockKind::System)
    }

    /// The machine's clock plus `by` microseconds, read at each call: for tests of clocks that
    /// jump.
    #[must_use]
    pub fn stepped(by: &'static AtomicI64) -> Self {
        Self(ClockKind::Stepped(by))
    }

    /// A clock that shows `wall` now and advances with tokio's clock, which tests may pause.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self(ClockKind::Simulated { wall, start: Instant::now(), by: None })
    }

    /// The same clock with jumps: it shows `by` microseconds more.
    #[must_use]
    pub fn with_steps(self, by: &'static AtomicI64) -> Self {
        match self.0 {
            ClockKind::Simulated { wall, start, .. } => {
                Self(ClockKind::Simulated { wall, start, by: Some(by) })
            }
            ClockKind::System | ClockKind::Stepped(_) => Self(ClockKind::Stepped(by)),
        }
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
            ClockKind::System => Timestamp::from_micros(system()),
            ClockKind::Stepped(by) => {
                Timestamp::from_micros(system().saturating_add(by.load(Ordering::Relaxed)))
            }
            ClockKind::Simulated { wall, start, by } => {
                let by = by.map_or(0, |by| by.load(Ordering::Relaxed));
                Timestamp::from_micros(wall.plus(start.elapsed()).micros().saturating_add(by))
            }
        }
    }

    /// Monotonic time of tokio's clock, for deadlines and durations.
    #[must_use]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Waits on tokio's clock.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits until this instant of tokio's clock; forever without one.
    pub async fn sleep_until(&self, at: Option<Instant>) {
        match at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Measures real time, which no test pauses: for limits and measurements of computation.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

#[expect(clippy::disallowed_methods, reason = "the module that reads the clocks")]
impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Measures CPU time of this thread, which does not advance while the thread waits or is preempted.
/// Only valid on the thread that started it.
#[derive(Debug, Clone, Copy)]
pub struct CpuStopwatch {
    wall: Stopwatch,
    cpu_at_start: Duration,
}

impl CpuStopwatch {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { wall: Stopwatch::start(), cpu_at_start: thread_cpu_time() }
    }

    /// Whether this thread has used at least `limit` of CPU time since the start.
    #[must_use]
    pub fn has_reached(&self, limit: Duration) -> bool {
        // The wall clock is cheaper to read, and never behind.
        self.wall.elapsed() >= limit && thread_cpu_time().saturating_sub(self.cpu_at_start) >= limit
    }
}

/// The CPU time of this thread.
fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
