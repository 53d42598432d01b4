//! Limits how often a line is logged that strangers or a lasting condition can cause at will.

use std::sync::Mutex;

use crate::clock::Clock;
use crate::clock::rate_limit::RateLimit;
use crate::sync::lock;

/// Limits the lines of one kind. To be kept for as long as they can come, mostly as a `static`.
#[derive(Debug)]
pub struct LineLimit {
    per_minute: u32,
    state: Mutex<Option<LineState>>,
}

#[derive(Debug)]
struct LineState {
    limit: RateLimit,
    /// Lines that were left out since the last one.
    left_out: u64,
}

impl LineLimit {
    /// Up to this number of lines at once, and in each minute.
    #[must_use]
    pub const fn per_minute(lines: u32) -> Self {
        Self { per_minute: lines, state: Mutex::new(None) }
    }

    /// Calls `line`, which logs one, unless there were too many. Its argument is how many were left
    /// out since the last one, if any: a field of the line.
    pub fn log(&self, line: impl FnOnce(Option<u64>)) {
        if let Some(left_out) = self.admit() {
            line((left_out > 0).then_some(left_out));
        }
    }

    /// The number of lines that were left out since the last one, if one may be logged now.
    fn admit(&self) -> Option<u64> {
        let now = Clock::system().instant();
        let mut state = lock(&self.state);
        let new = || LineState { limit: RateLimit::new(self.per_minute, now), left_out: 0 };
        let LineState { limit, left_out } = state.get_or_insert_with(new);
        if limit.take(now) {
            return Some(std::mem::take(left_out));
        }
        *left_out += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lines_beyond_the_limit_are_counted_in_the_next_one() {
        let limit = LineLimit::per_minute(2);
        let mut lines = Vec::new();
        for _ in 0..5 {
            limit.log(|left_out| lines.push(left_out));
        }
        assert_eq!(lines, [None, None]);
        Clock::system().sleep(Duration::from_secs(31)).await;
        for _ in 0..2 {
            limit.log(|left_out| lines.push(left_out));
        }
        assert_eq!(lines, [None, None, Some(3)]);
        Clock::system().sleep(Duration::from_secs(3_600)).await;
        for _ in 0..3 {
            limit.log(|left_out| lines.push(left_out));
        }
        assert_eq!(lines, [None, None, Some(3), Some(1), None]);
    }
}
