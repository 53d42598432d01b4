//! Holes in the numbers of issues, pull requests and discussions, which share one sequence in each
//! repository: a number that was given and not seen is an event that was not seen.
//!
//! In each window the numbers between the first and the last seen one are counted. These two are
//! left out: they are known to be seen, and what is before and behind them is not known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::interval::Clusters;
use super::sighting::AuditedEvent;
use crate::model::window::Timestamp;

/// Maximum number of repositories in a window: a random sample of all.
const MOST_REPOS: usize = 10_000;
/// Maximum number of windows: the current one, those that wait for late events, and those that the
/// shares are about.
const MOST_WINDOWS: usize = 16;

/// The numbers seen in one repository in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct NumberRange(u32, u32, u32);

/// A window, by the hashes of repositories.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct NumberWindow {
    repos: BTreeMap<u64, NumberRange>,
    /// No repository with a greater hash is taken any more; `None` while there is room for all.
    most: Option<u64>,
}

/// All windows, by their number since 1970.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct NumberGaps {
    windows: BTreeMap<i64, NumberWindow>,
    /// Windows before this one are closed.
    open_from: i64,
}

impl NumberGaps {
    /// Takes an event; `hash` is that of its repository, `span` the length of a window in seconds.
    pub(super) fn observe(&mut self, hash: u64, event: &AuditedEvent, span: i64) {
        let Some(number) = event.number else { return };
        let at = event.created_at.second().0.div_euclid(span);
        let is_new = !self.windows.contains_key(&at);
        if at < self.open_from || (is_new && self.windows.len() >= MOST_WINDOWS) {
            return;
        }
        self.windows.entry(at).or_default().take(hash, number);
    }

    /// Closes windows that ended before `settled`, and forgets those that ended before `from` or
    /// lie in the future.
    pub(super) fn close(&mut self, from: Timestamp, settled: Timestamp, now: Timestamp, span: i64) {
        let (first, last) = (from.second().0.div_euclid(span), now.second().0.div_euclid(span));
        if self.open_from > last {
            // The clock was ahead: numbers of this window were not taken, so the next is the first.
            self.windows.clear();
            self.open_from = last + 1;
        }
        self.open_from = self.open_from.max(settled.second().0.div_euclid(span));
        self.windows.retain(|at, _| (first..=last).contains(at));
        for window in self.windows.range_mut(..self.open_from).map(|(_, window)| window) {
            window.repos.retain(|_, range| range.1 - range.0 > 1);
        }
    }

    /// Forgets everything: events in between may be missing.
    pub(super) fn clear(&mut self) {
        self.windows.clear();
    }

    /// Seen and given numbers by repository, of closed windows.
    pub(super) fn clusters(&self) -> Clusters {
        let mut clusters = Clusters::default();
        for window in self.windows.range(..self.open_from).map(|(_, window)| window) {
            for (hash, NumberRange(first, last, seen)) in &window.repos {
                let between = i64::from(last - first) - 1;
                if between > 0 {
                    clusters.add(*hash, seen.saturating_sub(2), between);
                }
            }
        }
        clusters
    }
}

impl NumberWindow {
    fn take(&mut self, hash: u64, number: u32) {
        if self.most.is_some_and(|most| hash > most) {
            return;
        }
        let range = self.repos.entry(hash).or_insert(NumberRange(number, number, 0));
        range.0 = range.0.min(number);
        range.1 = range.1.max(number);
        // Each number is given once, and each event is admitted once.
        range.2 = range.2.saturating_add(1);
        if self.repos.len() > MOST_REPOS {
            self.repos.pop_last();
            self.most = self.repos.last_key_value().map(|(hash, _)| *hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::audit::AuditedKind;

    const SPAN: i64 = 3_600;

    fn opened(number: u32, at: i64) -> AuditedEvent {
        AuditedEvent {
            repo_id: 1,
            repo: "a/b".to_owned(),
            created_at: Timestamp::from_seconds(at),
            raises: Some(AuditedKind::Issues),
            number: Some(number),
        }
    }

    fn sum(gaps: &NumberGaps) -> (u32, i32) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        gaps.clusters()
            .sums()
            .fold((0, 0), |(seen, all), sum| (seen + sum.seen as u32, all + sum.grown as i32))
    }

    #[test]
    fn only_numbers_between_the_first_and_the_last_count() {
        let mut gaps = NumberGaps::default();
        for number in [10, 14, 12, 20] {
            gaps.observe(1, &opened(number, 100), SPAN);
        }
        gaps.observe(2, &opened(7, 100), SPAN);
        gaps.observe(3, &opened(7, 100), SPAN);
        gaps.observe(3, &opened(8, 100), SPAN);
        let at = Timestamp::from_seconds;
        assert_eq!(sum(&gaps), (0, 0), "the window is open");
        gaps.close(at(0), at(SPAN), at(SPAN + 1), SPAN);
        assert_eq!(sum(&gaps), (2, 9), "12 and 14 of 11 to 19");
        gaps.close(at(0), at(SPAN + 1), at(SPAN + 2), SPAN);
        assert_eq!(sum(&gaps), (2, 9), "the same window is open");
        gaps.observe(1, &opened(15, 200), SPAN);
        assert_eq!(sum(&gaps), (2, 9), "too late");
        gaps.close(at(SPAN), at(SPAN), at(SPAN + 1), SPAN);
        assert_eq!(sum(&gaps), (0, 0), "forgotten");
    }

    #[test]
    fn windows_and_repositories_are_bounded() {
        let mut gaps = NumberGaps::default();
        for window in 0..1_000 {
            gaps.observe(1, &opened(7, window * SPAN), SPAN);
        }
        assert_eq!(gaps.windows.len(), MOST_WINDOWS);
        for repo in (0..2 * MOST_REPOS as u64).rev() {
            gaps.observe(repo, &opened(7, 0), SPAN);
        }
        let window = &gaps.windows[&0];
        assert_eq!((window.repos.len(), window.most), (MOST_REPOS, Some(MOST_REPOS as u64 - 1)));
        gaps.observe(u64::MAX, &opened(8, 0), SPAN);
        assert_eq!(gaps.windows[&0].repos.len(), MOST_REPOS);
    }
}
