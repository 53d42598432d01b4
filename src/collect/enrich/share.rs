//! The fraction of recent events with missing fields that were enriched.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::coverage::Enriched;
use crate::model::window::Timestamp;

/// The period that the figures cover.
const WINDOW: Duration = Duration::from_secs(600);
/// Length in seconds of one slot of counts.
const SLOT: i64 = 10;

/// Counts of the last ten minutes.
#[derive(Debug, Clone, Default)]
pub struct RecentShare {
    slots: VecDeque<(i64, BTreeMap<Option<&'static str>, u64>)>,
}

impl RecentShare {
    /// Counts a released event: enriched, or the reason why not.
    pub(super) fn add(&mut self, reason: Option<&'static str>, now: Timestamp) {
        let slot = now.second().0.div_euclid(SLOT);
        self.roll(slot);
        if self.slots.back().is_none_or(|(last, _)| *last < slot) {
            self.slots.push_back((slot, BTreeMap::new()));
        }
        if let Some((_, counts)) = self.slots.back_mut() {
            *counts.entry(reason).or_default() += 1;
        }
    }

    fn roll(&mut self, slot: i64) {
        let kept = i64::try_from(WINDOW.as_secs()).unwrap_or(i64::MAX) / SLOT;
        while self.slots.front().is_some_and(|(first, _)| *first <= slot - kept) {
            self.slots.pop_front();
        }
    }

    /// The current figures.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "ten minutes hold few events")]
    pub fn figures(&self, now: Timestamp) -> Enriched {
        let mut recent = self.clone();
        recent.roll(now.second().0.div_euclid(SLOT));
        let mut enriched = 0;
        let mut unenriched = BTreeMap::new();
        for (reason, count) in recent.slots.iter().flat_map(|(_, counts)| counts) {
            match reason {
                None => enriched += count,
                Some(reason) => *unenriched.entry((*reason).into()).or_default() += count,
            }
        }
        let all = enriched + unenriched.values().sum::<u64>();
        let share = (all > 0).then(|| enriched as f64 / all as f64);
        Enriched { window_seconds: WINDOW.as_secs(), enriched, unenriched, share }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + second)
    }

    #[test]
    fn the_share_is_that_of_the_last_ten_minutes() {
        let mut recent = RecentShare::default();
        assert_eq!(recent.figures(at(0)).share, None);
        recent.add(Some("late"), at(0));
        for second in 300..303 {
            recent.add(None, at(second));
        }
        let figures = recent.figures(at(400));
        assert_eq!((figures.enriched, figures.share), (3, Some(0.75)));
        assert_eq!(figures.unenriched, BTreeMap::from([("late".into(), 1)]));
        let figures = recent.figures(at(700));
        assert_eq!((figures.enriched, figures.share), (3, Some(1.0)));
        assert!(figures.unenriched.is_empty());
        assert_eq!(recent.figures(at(2_000)).share, None);
        for second in 0..5_000 {
            recent.add(None, at(second));
        }
        assert!(recent.slots.len() <= 60);
    }
}
