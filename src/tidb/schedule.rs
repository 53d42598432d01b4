//! When each query runs: at its own interval, sooner after a failure.

use tokio::time::Instant;

use super::query::FigureQuery;
use crate::config::IntervalConfig;

/// When each query runs next, by query; `None` means only on request.
#[derive(Debug)]
pub(super) struct QuerySchedule {
    at: [Option<Instant>; 2],
    /// Failures of the current round.
    failures: u32,
}

impl QuerySchedule {
    /// Both at the same time, or only on request.
    pub(super) fn starting(at: Option<Instant>) -> Self {
        Self { at: [at; 2], failures: 0 }
    }

    /// When the next query is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.at.into_iter().flatten().min()
    }

    /// The queries that are due.
    pub(super) fn due(&self, now: Instant) -> Vec<FigureQuery> {
        let is_due = |query: &FigureQuery| self.at[*query as usize].is_some_and(|at| at <= now);
        FigureQuery::ALL.into_iter().filter(is_due).collect()
    }

    /// After `asked` ran at `now`: schedules an early retry of those in `failed`, up to the
    /// configured number of attempts; then they wait for their interval.
    pub(super) fn advance(
        &mut self,
        asked: &[FigureQuery],
        failed: impl Fn(FigureQuery) -> bool,
        interval: &IntervalConfig,
        now: Instant,
    ) {
        let any = asked.iter().any(|query| failed(*query));
        let again = any && self.failures + 1 < interval.retry;
        self.failures = if again { self.failures + 1 } else { 0 };
        for &query in asked {
            let pace = match query {
                FigureQuery::Daily => interval.day_count,
                FigureQuery::Yearly => interval.year_count,
            };
            let wait = if again && failed(query) { interval.retry_wait } else { pace };
            self.at[query as usize] = Some(now + wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use FigureQuery::{Daily, Yearly};

    use super::*;
    use crate::clock::Clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn interval() -> IntervalConfig {
        IntervalConfig {
            daily: 60 * SECOND,
            day_count: 60 * SECOND,
            year_count: 300 * SECOND,
            retry: 3,
            retry_wait: 10 * SECOND,
            latest: SECOND,
            latest_during: 3600,
        }
    }

    /// At which seconds which queries are asked, when `failed` says what fails at which one.
    fn asked(
        times: usize,
        failed: impl Fn(u64, FigureQuery) -> bool,
    ) -> Vec<(u64, Vec<FigureQuery>)> {
        let start = Clock::system().instant();
        let mut schedule = QuerySchedule::starting(Some(start));
        let mut all = Vec::new();
        for _ in 0..times {
            let now = schedule.next().unwrap();
            let (second, due) = ((now - start).as_secs(), schedule.due(now));
            schedule.advance(&due, |query| failed(second, query), &interval(), now);
            all.push((second, due));
        }
        all
    }

    #[test]
    fn each_query_has_its_own_pace() {
        let both = vec![Daily, Yearly];
        let mut expected: Vec<_> = (0..5).map(|n| (n * 60, vec![Daily])).collect();
        expected[0].1.clone_from(&both);
        expected.push((300, both));
        assert_eq!(asked(6, |_, _| false), expected);
    }

    #[test]
    fn failed_query_is_retried_then_waits_for_its_turn() {
        let all = asked(5, |_, query| query == Yearly);
        let expected = [(0, vec![Daily, Yearly]), (10, vec![Yearly]), (20, vec![Yearly])];
        assert_eq!(all[..3], expected);
        assert_eq!(all[3..], [(60, vec![Daily]), (120, vec![Daily])]);
    }

    #[test]
    fn after_it_has_worked_there_are_all_retries_again() {
        let seconds: Vec<u64> =
            asked(6, |second, _| !(10..=60).contains(&second)).iter().map(|(at, _)| *at).collect();
        assert_eq!(seconds, [0, 10, 70, 80, 90, 150]);
    }

    #[test]
    fn without_a_pace_nothing_is_due() {
        let schedule = QuerySchedule::starting(None);
        assert_eq!(schedule.next(), None);
        assert!(schedule.due(Clock::system().instant()).is_empty());
    }
}
