//! Coverage figures for each minute of polling, for the store.
//!
//! A minute is assessed at the first assessment after its end. When assessments are more than a
//! minute apart, as without a token, the missed events are spread evenly over the minutes between.

use std::collections::VecDeque;

use super::estimate::IdCoverage;
use crate::model::activity::{MinuteSample, MissedRange};
use crate::model::coverage::Missed;
use crate::model::window::{Minute, Timestamp};

/// Maximum number of minutes remembered for a slow store; more than the estimate's window holds.
const REMEMBERED: usize = 12;
/// Maximum number of minutes between two assessments that say anything about the time between: the
/// estimate's window.
const APART: i64 = 10;

/// The last minutes, oldest first.
#[derive(Debug, Default)]
pub(super) struct AssessedMinutes {
    /// The start of the minutes not assessed yet, and whether the figures were known throughout.
    open: Option<(Timestamp, bool)>,
    samples: VecDeque<MinuteSample>,
}

impl AssessedMinutes {
    /// Records an assessment; `is_known` says whether its figures are meaningful. `lag` is the
    /// median lag in milliseconds.
    pub(super) fn roll(
        &mut self,
        now: Timestamp,
        is_known: bool,
        sequences: &[IdCoverage; 2],
        lag: Option<u32>,
    ) {
        let Some((from, was_known)) = &mut self.open else {
            self.open = Some((now, false));
            return;
        };
        *was_known &= is_known;
        let (first, end) = (from.minute(), now.minute());
        if end <= first {
            // Starts again after the clock was set back.
            if end < first {
                self.open = Some((now, false));
            }
            return;
        }
        let (from, was_known) = (*from, *was_known);
        self.open = Some((now, is_known));
        if !was_known || end.0 - first.0 > APART {
            return;
        }
        let missed = sequences.each_ref().map(|sequence| sequence.missed_since(from));
        // A sequence without reads has shown nothing; without reads of either, nothing is known.
        if missed.iter().all(Option::is_none) {
            return;
        }
        let minutes = u32::try_from(end.0 - first.0).unwrap_or(1);
        let missed = missed.map(|missed| range(missed).times(1.0 / f64::from(minutes)));
        for minute in (first.0..end.0).map(Minute) {
            self.samples.push_back(MinuteSample { minute, missed, lag });
        }
        while self.samples.len() > REMEMBERED {
            self.samples.pop_front();
        }
    }

    /// The last minutes with known figures, oldest first.
    pub(super) fn samples(&self) -> Vec<MinuteSample> {
        self.samples.iter().copied().collect()
    }
}

fn range(missed: Option<Missed>) -> MissedRange {
    let Missed { low, estimate, high, .. } = missed.unwrap_or_default();
    MissedRange { low, estimate, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(6_000 + second)
    }

    /// Reads `count` ids from `first` on, four apart.
    fn read(sequence: &mut IdCoverage, first: u64, count: u64, second: i64) {
        sequence.take((0..count).map(|n| first + 4 * n).collect(), at(second));
    }

    #[test]
    fn a_minute_has_the_gaps_that_were_found_in_it() {
        let (mut minutes, mut sequences) =
            (AssessedMinutes::default(), <[IdCoverage; 2]>::default());
        minutes.roll(at(-10), true, &sequences, None);
        read(&mut sequences[0], 1_000, 50, -5);
        minutes.roll(at(0), true, &sequences, None);
        assert_eq!(minutes.samples(), [], "the minute of the first assessment is not whole");
        // A gap of 200 ids, 50 events; then none.
        read(&mut sequences[0], 1_400, 50, 10);
        minutes.roll(at(30), true, &sequences, None);
        minutes.roll(at(61), true, &sequences, Some(1_500));
        read(&mut sequences[0], 1_600, 50, 70);
        minutes.roll(at(121), true, &sequences, Some(2_500));
        let samples = minutes.samples();
        assert_eq!(samples.iter().map(|s| s.minute.0).collect::<Vec<_>>(), [100, 101]);
        let found = samples[0].missed[0].estimate;
        assert!((45.0..55.0).contains(&found), "{found}");
        assert_eq!(samples[1].missed[0], MissedRange::default());
        assert_eq!(samples[1].lag, Some(2_500));
    }

    #[test]
    fn minutes_between_two_reads_share_the_missed_events() {
        let (mut minutes, mut sequences) =
            (AssessedMinutes::default(), <[IdCoverage; 2]>::default());
        minutes.roll(at(-90), true, &sequences, None);
        read(&mut sequences[1], 1_000, 50, -1);
        minutes.roll(at(0), true, &sequences, None);
        read(&mut sequences[1], 1_600, 50, 179);
        minutes.roll(at(180), true, &sequences, None);
        let samples = minutes.samples();
        assert_eq!(samples.len(), 3);
        let sum: f64 = samples.iter().map(|sample| sample.missed[1].estimate).sum();
        assert!((90.0..110.0).contains(&sum), "{sum}");
    }

    #[test]
    fn unknown_minutes_give_no_sample() {
        let (mut minutes, sequences) = (AssessedMinutes::default(), <[IdCoverage; 2]>::default());
        for second in [0, 1, 60, 120] {
            minutes.roll(at(second), second != 60, &sequences, None);
        }
        assert_eq!(minutes.samples(), [], "frozen in between, and nothing read");
        minutes.roll(at(-600), true, &sequences, None);
        assert_eq!(minutes.samples(), []);
    }
}
