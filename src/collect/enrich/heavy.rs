//! The objects that make a query heavy although it asks for nothing else, such as pushes to a
//! repository with a history that GitHub takes seconds to count.
//!
//! Pure: takes the current time as an argument and performs no I/O.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long an object is asked for alone.
const ALONE_FOR: Duration = Duration::from_secs(3_600);
/// How long one that is too heavy is not asked for. It may only have met an outage of GitHub's.
const TOO_HEAVY_FOR: Duration = Duration::from_secs(600);
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
    /// It is asked for alone.
    Alone,
    /// It is not asked for.
    TooHeavy,
}

/// The heavy objects, by their source.
#[derive(Debug, Default)]
pub(super) struct HeavyObjects(HashMap<u64, (ObjectWeight, Instant)>);

impl HeavyObjects {
    /// Records the result of a query for an object of this source alone. An object that is not
    /// answered twice in a row is too heavy. Returns how heavy it is now.
    pub(super) fn learn(
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
            (LoneResult::Unanswered, Some(_)) => ObjectWeight::TooHeavy,
            (LoneResult::Slow | LoneResult::Unanswered, _) => ObjectWeight::Alone,
        };
        if self.0.len() >= MOST {
            self.0.clear();
        }
        let time = match weight {
            ObjectWeight::Alone => ALONE_FOR,
            ObjectWeight::TooHeavy => TOO_HEAVY_FOR,
        };
        self.0.insert(source, (weight, now + time));
        Some(weight)
    }

    /// How heavy an object of this source is, as far as is known.
    pub(super) fn of(&self, source: u64, now: Instant) -> Option<ObjectWeight> {
        self.0.get(&source).filter(|(_, until)| *until > now).map(|(weight, _)| *weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn object_without_an_answer_twice_is_not_asked_for_a_while() {
        let (mut heavy, now) = (HeavyObjects::default(), Clock::system().instant());
        let alone = Some(ObjectWeight::Alone);
        assert_eq!(heavy.learn(7, LoneResult::Unanswered, now), alone);
        assert_eq!(heavy.learn(7, LoneResult::Quick, now), None);
        assert_eq!(heavy.learn(7, LoneResult::Slow, now), alone);
        assert_eq!(heavy.learn(7, LoneResult::Unanswered, now), Some(ObjectWeight::TooHeavy));
        assert_eq!(heavy.of(8, now), None);
        assert_eq!(heavy.of(7, now + TOO_HEAVY_FOR), None);
        for source in 0..2 * MOST as u64 {
            heavy.learn(source, LoneResult::Slow, now);
        }
        assert!(heavy.0.len() <= MOST);
    }
}
