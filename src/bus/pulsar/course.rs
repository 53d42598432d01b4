//! How far a session has come in the topic: bookkeeping of places, nothing else.
//!
//! What was reached never goes back. When something comes that was reached before, it is either
//! delivered again, which happens all the time, or it is of a new topic under the old name, where
//! other events have the old places. The topic's end tells the one from the other, so nothing
//! of it is passed on, and so acknowledged, before the topic is known to go as far as it did.

use crate::model::position::Position;

/// An entry of the topic: ledger and number. The messages of one batch share it.
pub(super) type Entry = (u64, u64);

/// The entry that holds a place.
pub(super) fn entry_of(position: Position) -> Entry {
    (position.ledger, position.entry)
}

/// Where an entry begins.
pub(super) fn place_of((ledger, entry): Entry) -> Position {
    Position { ledger, entry, index: 0 }
}

/// An entry as people are told of it.
pub(super) fn shown((ledger, entry): Entry) -> String {
    format!("{ledger}:{entry}")
}

/// How far a session has come.
#[derive(Debug)]
pub(super) struct Course {
    /// The furthest that was delivered, or applied before.
    reached: Option<Position>,
    /// What came last in this session.
    came: Option<Position>,
    /// Whether the topic is known to go as far as `reached`.
    is_proven: bool,
    /// The first that came and was not reached before.
    began: Option<Position>,
}

/// What to do with something that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It is passed on.
    Pass,
    /// It was reached before, and the topic is not known to be the same.
    Withhold,
    /// Something is missing before it, behind this entry.
    Hole(Entry),
}

impl Course {
    /// A session's that begins with a topic that ends there, not before what was applied; `None`
    /// when that is not known.
    pub(super) fn new(applied: Option<Position>, end: Option<Entry>) -> Self {
        let is_proven = applied.is_none() || end.is_some();
        Self { reached: applied, came: None, is_proven, began: None }
    }

    /// The newest entry that was delivered, or applied before.
    pub(super) fn reached(&self) -> Option<Entry> {
        self.reached.map(entry_of)
    }

    /// The first that came in this session and was not reached before.
    pub(super) fn began(&self) -> Option<Position> {
        self.began
    }

    /// Something comes from that place. What is missing before the first new thing of a session
    /// is missing in the topic; later on it may also have been lost on the way, which a session
    /// that begins behind what was reached shows.
    pub(super) fn come_to(&mut self, at: Position) -> Step {
        if self.reached < Some(at) {
            let before = self.reached.filter(|_| self.began.is_some());
            if let Some(before) = before.filter(|before| is_hole(*before, at)) {
                return Step::Hole(entry_of(before));
            }
            self.began.get_or_insert(at);
            (self.reached, self.is_proven) = (Some(at), true);
        } else if self.came.is_some_and(|came| at <= came) {
            // The library has subscribed anew, behind our back.
            self.is_proven = false;
        }
        self.came = Some(at);
        if self.is_proven { Step::Pass } else { Step::Withhold }
    }

    /// The topic goes as far as it did.
    pub(super) fn prove(&mut self) {
        self.is_proven = true;
    }
}

/// Whether something is missing between the one place and the next that came. Where one ledger ends
/// and another begins, what is missing at the one's end does not show.
pub(super) fn is_hole(before: Position, at: Position) -> bool {
    if at <= before || entry_of(at) == entry_of(before) {
        return false;
    }
    let next = if at.ledger == before.ledger { before.entry.saturating_add(1) } else { 0 };
    at.entry > next
}

#[cfg(test)]
mod tests {
    use Step::{Hole, Pass, Withhold};

    use super::*;

    fn at(ledger: u64, entry: u64, index: u32) -> Position {
        Position { ledger, entry, index }
    }

    #[test]
    fn what_was_reached_never_goes_back() {
        let mut course = Course::new(None, None);
        for (ledger, entry, reached) in [(7, 3, (7, 3)), (2, 0, (7, 3)), (7, 4, (7, 4))] {
            course.come_to(at(ledger, entry, 0));
            assert_eq!(course.reached(), Some(reached));
        }
    }

    #[test]
    fn known_places_of_a_topic_that_does_not_say_its_end_are_not_passed_on() {
        let mut course = Course::new(Some(at(7, 3, 5)), None);
        assert_eq!(course.come_to(at(2, 0, 0)), Withhold, "it may be a new topic");
        assert_eq!(course.come_to(at(7, 3, 5)), Withhold);
        assert_eq!(course.come_to(at(7, 3, 6)), Pass, "it goes on behind what was applied");
        let mut course = Course::new(Some(at(7, 3, 5)), None);
        assert_eq!(course.come_to(at(7, 2, 0)), Withhold);
        course.prove();
        assert_eq!(course.come_to(at(7, 3, 5)), Pass);
        assert_eq!(Course::new(Some(at(7, 3, 5)), Some((7, 3))).come_to(at(7, 2, 0)), Pass);
        assert_eq!(Course::new(None, None).come_to(at(0, 0, 0)), Pass);
    }

    #[test]
    fn a_session_that_begins_again_by_itself_has_to_prove_itself_again() {
        let mut course = Course::new(Some(at(7, 3, 0)), Some((7, 9)));
        for entry in 2..9 {
            assert_eq!(course.come_to(at(7, entry, 0)), Pass);
        }
        assert_eq!(course.come_to(at(7, 5, 0)), Withhold);
        assert_eq!(course.come_to(at(7, 6, 0)), Withhold);
        assert_eq!(course.come_to(at(7, 9, 0)), Pass);
    }

    #[test]
    fn a_hole_shows_from_the_second_new_thing_on_and_stays_where_it_is() {
        let mut course = Course::new(Some(at(7, 3, 0)), Some((9, 9)));
        // Before the first the topic itself has nothing any more.
        for place in [at(7, 2, 0), at(7, 6, 0), at(7, 6, 1), at(7, 7, 0), at(9, 0, 0)] {
            assert_eq!(course.come_to(place), Pass);
        }
        for place in [at(9, 2, 0), at(9, 2, 0), at(11, 1, 0)] {
            assert_eq!(course.come_to(place), Hole((9, 0)));
        }
        assert_eq!(course.reached(), Some((9, 0)));
        assert_eq!(course.come_to(at(11, 0, 0)), Pass);
    }
}
