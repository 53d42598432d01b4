//! Stores the coverage of each minute and hour.
//!
//! There is a row for each minute through which this node ran, with the number of missed events
//! where it polls; an hour is the sum of its minutes. A node that only follows a bus cannot know
//! what its collector missed, so its rows only record that it ran.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::collect::status::SourceStatus;
use crate::model::activity::{Coverage, MinuteSample, Span};
use crate::model::window::{Hour, Minute};
use crate::store::activity::{put_coverage, sum_hour};
use crate::store::{Store, StoreError};

/// Interval between two updates.
const EVERY: Duration = Duration::from_secs(10);
/// Maximum number of minutes written at once: after a longer suspension of the machine, or a jump
/// of the clock, the time between is unknown.
const AT_ONCE: i64 = 15;

/// Writes the rows.
struct Keeper {
    store: Store,
    /// The last minute written.
    until: Minute,
    /// The last minute for which the number of missed events was known.
    sampled: Minute,
}

/// Writes rows until `stop` is cancelled.
pub(super) async fn run(
    store: Store,
    source: Option<Receiver<SourceStatus>>,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let now = clock.now().minute();
    let mut keeper = Keeper { store, until: now, sampled: now };
    loop {
        let Some(()) = stop.run_until_cancelled(clock.sleep(EVERY)).await else { return Ok(()) };
        let report = source.as_ref().and_then(|source| source.borrow().completeness.clone());
        let samples = report.map(|report| report.minutes.clone()).unwrap_or_default();
        keeper.keep(clock.now().minute(), samples).await?;
    }
}

impl Keeper {
    async fn keep(&mut self, now: Minute, samples: Vec<MinuteSample>) -> Result<(), StoreError> {
        let last = Minute(now.0 - 1);
        if last < self.until || last.0 - self.until.0 > AT_ONCE {
            // The clock was set: the current minute is not complete.
            if last.0 + 1 != self.until.0 {
                (self.until, self.sampled) = (now, now);
            }
            return Ok(());
        }
        let mut changed = BTreeMap::new();
        for minute in self.until.0 + 1..=last.0 {
            changed.insert(minute, Coverage { watched: 1, ..Coverage::default() });
        }
        let known = self.sampled;
        for sample in samples.into_iter().filter(|s| s.minute > known && s.minute <= last) {
            self.sampled = sample.minute;
            let MinuteSample { minute, missed, lag } = sample;
            let known = Coverage { watched: 1, known: 1, missed, lag, ..Coverage::default() };
            changed.insert(minute.0, known);
        }
        self.until = last;
        if changed.is_empty() {
            return Ok(());
        }
        // Events that arrived late for the previous hour count for it too.
        let hours = changed.keys().map(|minute| minute.div_euclid(60));
        let mut hours: Vec<i64> = hours.collect();
        hours.extend(hours.first().map(|first| first - 1));
        hours.sort_unstable();
        hours.dedup();
        let (rows, wanted) = (changed.clone(), hours);
        let sums = self.store.read(move |reader| {
            let sums =
                wanted.into_iter().map(|hour| Ok((hour, sum_hour(reader, Hour(hour), &rows)?)));
            sums.collect::<Result<Vec<_>, StoreError>>()
        });
        let sums = sums.await?;
        let write = self.store.commit(move |batch| {
            for (minute, coverage) in &changed {
                put_coverage(batch, Span::Minute, *minute, coverage);
            }
            for (hour, coverage) in sums.iter().filter(|(_, sum)| sum.watched > 0) {
                put_coverage(batch, Span::Hour, *hour, coverage);
            }
            Ok(())
        });
        write.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::activity::MissedRange;
    use crate::model::window::Timestamp;
    use crate::store::Durability;
    use crate::store::activity::BatchActivity;

    const FIRST: i64 = 30_000_000;

    fn sample(minute: i64) -> MinuteSample {
        let one = MissedRange { low: 1.0, estimate: 2.0, high: 3.0 };
        MinuteSample { minute: Minute(minute), missed: [one; 2], lag: Some(900) }
    }

    async fn keeper(dir: &std::path::Path) -> Keeper {
        let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
        let counted = store.commit(|batch| {
            let mut counting = BatchActivity::default();
            let at = Timestamp::from_seconds((FIRST + 1) * 60);
            counting.count(at, at, 0);
            counting.write(batch)
        });
        counted.await.unwrap();
        Keeper { store, until: Minute(FIRST), sampled: Minute(FIRST) }
    }

    fn minutes(keeper: &Keeper) -> Vec<(i64, u16)> {
        let all = keeper.store.reader().coverage(Span::Minute, 0..i64::MAX).unwrap();
        all.iter().map(|(at, coverage)| (at - FIRST, coverage.known)).collect()
    }

    #[tokio::test]
    async fn minutes_are_kept_and_known_as_soon_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path()).await;
        keeper.keep(Minute(FIRST + 1), vec![]).await.unwrap();
        assert_eq!(minutes(&keeper), [], "the minute of the start is not whole");
        keeper.keep(Minute(FIRST + 3), vec![sample(FIRST + 1)]).await.unwrap();
        assert_eq!(minutes(&keeper), [(1, 1), (2, 0)]);
        keeper.keep(Minute(FIRST + 3), vec![sample(FIRST + 1), sample(FIRST + 2)]).await.unwrap();
        assert_eq!(minutes(&keeper), [(1, 1), (2, 1)]);
        let hours = keeper.store.reader().coverage(Span::Hour, 0..i64::MAX).unwrap();
        let hour = hours.values().next().unwrap();
        assert_eq!((hour.watched, hour.known, hour.seen), (2, 2, [1, 0]));
        let all = MissedRange { low: 4.0, estimate: 8.0, high: 12.0 };
        assert_eq!(hour.missed(), Some(all));
    }

    #[tokio::test]
    async fn a_clock_that_jumps_makes_no_minutes() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = keeper(dir.path()).await;
        keeper.keep(Minute(FIRST + 500), vec![]).await.unwrap();
        keeper.keep(Minute(FIRST + 501), vec![]).await.unwrap();
        assert_eq!(minutes(&keeper), []);
        keeper.keep(Minute(FIRST + 502), vec![]).await.unwrap();
        assert_eq!(minutes(&keeper), [(501, 0)]);
        keeper.keep(Minute(FIRST - 5), vec![]).await.unwrap();
        keeper.keep(Minute(FIRST - 3), vec![]).await.unwrap();
        assert_eq!(minutes(&keeper), [(-4, 0), (501, 0)]);
    }
}
