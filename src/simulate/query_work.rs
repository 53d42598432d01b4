//! The work that queries cause: GitHub limits it by the minute and account.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// Work of queries is counted over this span.
const MINUTE: Duration = Duration::from_secs(60);
/// Maximum number of accounts whose work is counted; beyond it, all are forgotten.
const MOST_WORKERS: usize = 10_000;

/// The work of each account in the last minute.
#[derive(Default)]
pub(super) struct QueryWork(HashMap<String, VecDeque<(Instant, Duration)>>);

impl QueryWork {
    /// Adds work. Returns how long to wait when there was too much of it before.
    pub(super) fn add(
        &mut self,
        account: &str,
        now: Instant,
        work: Duration,
        most: Duration,
    ) -> Option<Duration> {
        if self.0.len() >= MOST_WORKERS && !self.0.contains_key(account) {
            self.0.clear();
        }
        let done = self.0.entry(account.to_owned()).or_default();
        while done.front().is_some_and(|(at, _)| now.duration_since(*at) >= MINUTE) {
            done.pop_front();
        }
        let sum: Duration = done.iter().map(|(_, work)| *work).sum();
        if sum > most
            && let Some((oldest, _)) = done.front()
        {
            return Some(MINUTE.saturating_sub(now.duration_since(*oldest)));
        }
        done.push_back((now, work));
        None
    }
}
