//! Requests that ended without a response that says what is left.

use std::time::Duration;

use tokio::time::Instant;

/// How long before the end of our window a request may have ended that GitHub has counted in the
/// next one. Our window ends after GitHub's by the time that the fastest response about it took:
/// seconds. If all take longer than this (`github.loop.timeout` allows it), some requests are not
/// deducted from the next window.
const NEAR_END: Duration = Duration::from_secs(60);

/// Points of requests that ended without a response about the limit.
#[derive(Debug, Clone, Default)]
pub(super) struct UnheardPoints {
    /// Those that a response to a request still in flight may not include.
    open: u64,
    /// When the last one ended.
    ended: Option<Instant>,
    /// Points that no response has included since: of requests that ended in the span of
    /// [`NEAR_END`] that began at `since`, and of those in the span before it.
    recent: u64,
    before: u64,
    since: Option<Instant>,
}

impl UnheardPoints {
    /// Adds those of a request that ended.
    pub(super) fn add(&mut self, now: Instant, points: u64) {
        if points == 0 {
            return;
        }
        let age = self.since.map(|since| now.saturating_duration_since(since));
        if age.is_none_or(|age| age >= NEAR_END) {
            let is_near = age.is_some_and(|age| age < 2 * NEAR_END);
            self.before = if is_near { self.recent } else { 0 };
            (self.recent, self.since) = (0, Some(now));
        }
        self.recent = self.recent.saturating_add(points);
        self.open = self.open.saturating_add(points);
        self.ended = Some(now);
    }

    /// What a response to a request that was sent at `sent` may not include.
    pub(super) fn missing_in(&mut self, sent: Instant) -> u64 {
        if self.ended.is_some_and(|ended| ended < sent) {
            (self.open, self.ended) = (0, None);
        }
        self.open
    }

    /// Ends a request: whether its response said what is left, and whether it was the last one in
    /// flight.
    pub(super) fn settle(&mut self, is_heard: bool, is_last: bool) {
        if is_heard {
            let recent = self.recent.saturating_add(self.before);
            (self.recent, self.before) = (recent.min(self.open), 0);
        }
        if is_last {
            self.open = 0;
        }
    }

    /// What may belong to the window after the one that ended at `end` by our clock, slightly later
    /// than by GitHub's.
    pub(super) fn after(&self, end: Instant) -> u64 {
        let is_near = self.ended.is_some_and(|ended| ended + NEAR_END >= end);
        if is_near { self.recent.saturating_add(self.before) } else { 0 }
    }

    /// Adds those of another budget for the same limit.
    pub(super) fn join(&mut self, other: &Self, now: Instant) {
        let theirs = other.open.max(other.recent.saturating_add(other.before));
        self.open = self.open.max(self.recent.saturating_add(self.before));
        self.add(now, theirs);
    }
}
