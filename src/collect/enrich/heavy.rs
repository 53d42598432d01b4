//! The objects that make a query heavy although it asks for nothing else, such as pushes to a
//! repository with a history that GitHub takes seconds to count.
//!
//! Pure: takes the current time as an argument and performs no I/O.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long an object is asked for alone.
const ALONE_FOR: Duration = Duration::from_secs(3_600);
/// How long a too heavy object is skipped. GitHub may only have had an outage.
const TOO_HEAVY_FOR: Duration = Duration::from_secs(600);
/// How long an object is suspected that was not answered together with others.
const SUSPECTED_FOR: Duration = Duration::from_secs(600);
/// Maximum number of objects that are remembered; beyond it, all are forgotten.
const MOST: usize = 10_000;

/// The result of a query for a single object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoneResult {
    /// It was answered quickly.
    Quick,
    /// It was answered, and took long.
    Slow,
    /// It was not answered, while others were.
    Unanswered,
}

/// How heavy an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ObjectWeight {
    /// It, or another one of the same query, made that query too heavy. The next query for it has
    /// at most this many objects.
    Suspected(usize),
    /// It is asked for alone.
    Alone,
    /// It is not asked for.
    TooHeavy,
}

impl ObjectWeight {
    /// Maximum number of objects in a query for it; `None` when it is not asked for.
    pub(super) fn most(self) -> Option<usize> {
        match self {
            Self::Suspected(most) => Some(most),
            Self::Alone => Some(1),
            Self::TooHeavy => None,
        }
    }
}

/// The heavy objects, by their source, and since when they are.
#[derive(Debug, Default)]
pub(super) struct HeavyObjects(HashMap<u64, (ObjectWeight, Instant)>);

impl HeavyObjects {
    /// Records that an object of this source was not answered together with others. The next query
    /// for one has at most `most` objects.
    pub(super) fn suspect(&mut self, source: u64, most: usize, now: Instant) {
        match self.of(source, now) {
            Some(ObjectWeight::Suspected(before)) => {
                self.insert(source, ObjectWeight::Suspected(before.min(most)), now);
            }
            Some(_) => {}
            None => self.insert(source, ObjectWeight::Suspected(most), now),
        }
    }

    /// Records that an object of this source was answered.
    pub(super) fn clear_suspicion(&mut self, source: u64) {
        if matches!(self.0.get(&source), Some((ObjectWeight::Suspected(_), _))) {
            self.0.remove(&source);
        }
    }

    /// Records the result of a query for an object of this source alone. An object that is not
    /// answered is too heavy if it was slow or not answered alone before. Returns how heavy it is
    /// now.
    pub(super) fn record(
        &mut self,
        source: u64,
        result: LoneResult,
        now: Instant,
    ) -> Option<ObjectWeight> {
        let weight = match (result, self.of(source, now)) {
            (LoneResult::Quick, _) => {
                self.0.remove(&source);
                return None;
            }
            (LoneResult::Unanswered, Some(ObjectWeight::Alone | ObjectWeight::TooHeavy)) => {
                ObjectWeight::TooHeavy
            }
            (LoneResult::Slow | LoneResult::Unanswered, _) => ObjectWeight::Alone,
        };
        self.insert(source, weight, now);
        Some(weight)
    }

    fn insert(&mut self, source: u64, weight: ObjectWeight, now: Instant) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(source, (weight, now));
    }

    /// How heavy an object of this source is, as far as is known. One that was too heavy is asked
    /// for alone first.
    pub(super) fn of(&self, source: u64, now: Instant) -> Option<ObjectWeight> {
        let (weight, since) = *self.0.get(&source)?;
        let age = now.saturating_duration_since(since);
        match weight {
            ObjectWeight::Suspected(_) => (age < SUSPECTED_FOR).then_some(weight),
            ObjectWeight::TooHeavy if age < TOO_HEAVY_FOR => Some(weight),
            ObjectWeight::Alone | ObjectWeight::TooHeavy => {
                (age < ALONE_FOR).then_some(ObjectWeight::Alone)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn object_without_an_answer_twice_is_not_asked_for_a_while() {
        let (mut heavy, now) = (HeavyObjects::default(), Clock::system().instant());
        let (alone, too_heavy) = (Some(ObjectWeight::Alone), Some(ObjectWeight::TooHeavy));
        assert_eq!(heavy.record(7, LoneResult::Unanswered, now), alone);
        assert_eq!(heavy.record(7, LoneResult::Quick, now), None);
        assert_eq!(heavy.record(7, LoneResult::Slow, now), alone);
        assert_eq!(heavy.record(7, LoneResult::Unanswered, now), too_heavy);
        assert_eq!((heavy.of(7, now), heavy.of(8, now)), (too_heavy, None));
        let later = now + TOO_HEAVY_FOR;
        assert_eq!(heavy.of(7, later), alone, "it is tried, without any others");
        assert_eq!(heavy.of(7, now + ALONE_FOR), None);
        assert_eq!(heavy.record(7, LoneResult::Unanswered, later), too_heavy);
        for source in 0..2 * MOST as u64 {
            heavy.record(source, LoneResult::Slow, now);
        }
        assert!(heavy.0.len() <= MOST);
    }

    #[test]
    fn suspected_object_is_in_smaller_queries_until_it_is_answered() {
        let (mut heavy, now) = (HeavyObjects::default(), Clock::system().instant());
        for (most, expected) in [(4, 4), (2, 2), (4, 2)] {
            heavy.suspect(7, most, now);
            assert_eq!(heavy.of(7, now), Some(ObjectWeight::Suspected(expected)));
        }
        assert_eq!(heavy.of(7, now + SUSPECTED_FOR), None);
        assert_eq!(heavy.record(7, LoneResult::Unanswered, now), Some(ObjectWeight::Alone));
        heavy.suspect(7, 4, now);
        heavy.clear_suspicion(7);
        assert_eq!(heavy.of(7, now), Some(ObjectWeight::Alone), "no suspicion: it was alone");
        heavy.suspect(8, 4, now);
        heavy.clear_suspicion(8);
        assert_eq!(heavy.of(8, now), None);
    }
}
