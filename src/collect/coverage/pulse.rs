//! Tracks whether a page is still answered: the figures of a page that is not answered any more
//! are unknown, not 0.

use std::time::Duration;

use crate::model::window::Timestamp;

/// After this time without a response, a page is not followed, however often it is read.
const LEAST: Duration = Duration::from_secs(30);
/// This many usual intervals without a response count as no response.
const USUAL: f64 = 3.0;
/// The weight of the newest interval between two responses.
const WEIGHT: f64 = 0.3;

/// The responses for one page.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    last: Option<Timestamp>,
    answers: u64,
    /// Seconds between two responses, as a weighted average.
    spacing: f64,
}

impl Pulse {
    /// Records a response.
    pub(super) fn record(&mut self, at: Timestamp) {
        if let Some(last) = self.last {
            // An outage is not the usual interval, unless it happens repeatedly.
            let seconds = at.since(last).as_secs_f64().min(2.0 * self.longest_wait().as_secs_f64());
            let weight = if self.answers == 1 { 1.0 } else { WEIGHT };
            self.spacing += (seconds - self.spacing) * weight;
        }
        self.last = Some(at);
        self.answers = self.answers.saturating_add(1);
    }

    /// How long the next response may take.
    fn longest_wait(&self) -> Duration {
        LEAST.max(Duration::from_secs_f64(self.spacing * USUAL))
    }

    /// Whether the page was answered at least twice, so that what lies between is known, and
    /// recently.
    pub(super) fn is_followed(&self, now: Timestamp) -> bool {
        self.answers >= 2 && self.last.is_some_and(|last| now.since(last) <= self.longest_wait())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_followed_between_its_second_answer_and_a_silence() {
        for every in [1_i64, 20, 180] {
            let mut pulse = Pulse::default();
            let at = |n: i64| Timestamp::from_seconds(1_800_000_000 + n * every);
            pulse.record(at(0));
            assert!(!pulse.is_followed(at(0)), "one answer shows no stretch of time");
            for n in 1..40 {
                pulse.record(at(n));
                assert!(pulse.is_followed(at(n)) && pulse.is_followed(at(n + 1)), "{every} {n}");
            }
            let silent = at(39).plus(Duration::from_secs(30).max(pulse.longest_wait()));
            assert!(!pulse.is_followed(silent.plus(Duration::from_secs(1))));
        }
    }
}
