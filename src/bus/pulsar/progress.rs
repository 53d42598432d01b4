//! The progress of a session through the topic. Positions only; no I/O.
//!
//! The furthest position never goes back. A message at or before it is either a redelivery, which
//! is common, or belongs to a topic that was created again under the same name, where other events
//! have the old positions. The end of the topic tells which: until the topic is known to reach as
//! far as before, such messages are withheld and not acknowledged.
//!
//! Brokers write entries of their own into a topic, markers, for transactions and for subscriptions
//! that are replicated to other clusters. They have numbers and are never delivered, so that
//! entries seem to be missing. The property `after` of the message behind them shows that none are.

use crate::model::position::Position;

/// Identifies an entry of the topic: ledger and number. The messages of one batch share an entry.
pub(super) type EntryId = (u64, u64);

/// The entry that holds a position.
pub(super) fn entry_of(position: Position) -> EntryId {
    (position.ledger, position.entry)
}

/// The position of an entry's first message.
pub(super) fn position_of((ledger, entry): EntryId) -> Position {
    Position { ledger, entry, index: 0 }
}

/// An entry as errors and logs show it, `ledger:entry`.
pub(super) fn shown((ledger, entry): EntryId) -> String {
    format!("{ledger}:{entry}")
}

/// Where a session resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ResumePoint {
    /// The position up to which the store has applied the topic.
    pub(super) applied: Option<Position>,
    /// Where the session before ended because entries are missing: its first new position.
    pub(super) expected: Option<Position>,
    /// Whether the topic is known to have markers.
    pub(super) has_markers: bool,
}

/// The progress of one session.
#[derive(Debug)]
pub(super) struct TopicProgress {
    /// The furthest position that was delivered, or applied before.
    reached: Option<Position>,
    /// The position that was received last in this session.
    last: Option<Position>,
    /// Whether the topic is known to extend to `reached`.
    is_proven: bool,
    /// The first new position of this session, and the entry that it names in the property `after`.
    began: Option<(Position, Option<EntryId>)>,
    /// That of the session before, which ended because entries before it are missing.
    expected: Option<Position>,
    /// Whether the topic is known to have markers: in this session, or by those before it.
    pub(super) has_markers: bool,
}

/// What to do with a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextStep {
    /// Pass it on.
    Pass,
    /// Withhold it: it was reached before, and the topic may be another one.
    Withhold,
    /// Entries between this one and the message are missing.
    Hole(EntryId),
}

impl TopicProgress {
    /// The progress of a new session. `end` is the topic's last entry, not before what was applied;
    /// `None` when the broker does not say.
    pub(super) fn new(resume: ResumePoint, end: Option<EntryId>) -> Self {
        let ResumePoint { applied, expected, has_markers } = resume;
        let is_proven = applied.is_none() || end.is_some();
        let (last, began) = (None, None);
        Self { reached: applied, last, is_proven, began, expected, has_markers }
    }

    /// The furthest entry that was delivered, or applied before.
    pub(super) fn reached(&self) -> Option<EntryId> {
        self.reached.map(entry_of)
    }

    /// The first new position of this session, and the entry that it names in the property `after`.
    pub(super) fn began(&self) -> Option<(Position, Option<EntryId>)> {
        self.began
    }

    /// Records a received position; `named_before` is the entry that it names in the property
    /// `after`. Entries that are missing before it may have been lost in transit, or its id may be
    /// damaged: a new session shows which. They are missing in the topic, or are markers, when two
    /// sessions in a row begin with the same position. On a topic that is known to have markers, no
    /// second session is needed to know that these are markers. So there a wrong bit in the number
    /// of the next entry goes unnoticed: the entries after it, up to that number, count as
    /// redelivered, and are lost without a gap.
    pub(super) fn advance(&mut self, at: Position, named_before: Option<EntryId>) -> NextStep {
        if self.reached < Some(at) {
            let is_confirmed = self.began.is_none() && self.expected == Some(at);
            if let Some(before) = self.reached {
                let has_markers = are_markers(before, at, named_before);
                let is_doubtful = has_markers && !self.has_markers;
                if !is_confirmed && (is_doubtful || is_hole(before, at, named_before)) {
                    return NextStep::Hole(entry_of(before));
                }
                self.has_markers |= has_markers;
            }
            self.began.get_or_insert((at, named_before));
            (self.reached, self.is_proven) = (Some(at), true);
        } else if self.last.is_some_and(|last| at <= last) {
            // The broker went back: the subscription was reset.
            self.is_proven = false;
        }
        self.last = Some(at);
        if self.is_proven { NextStep::Pass } else { NextStep::Withhold }
    }

    /// The topic extends to the furthest position.
    pub(super) fn prove(&mut self) {
        self.is_proven = true;
    }
}

/// Whether entries are missing between two positions that were received one after the other. When
/// the second one begins another ledger, only the entry that it names in the property `after` can
/// tell. An entry that cannot be before it is ignored. Within a ledger the numbers tell, unless the
/// entries that they skip are markers.
pub(super) fn is_hole(before: Position, at: Position, named_before: Option<EntryId>) -> bool {
    let (from, to) = (entry_of(before), entry_of(at));
    let is_named_missing = named_before.is_some_and(|named| from < named && named.0 < to.0);
    is_named_missing || skips(from, to) && !are_markers(before, at, named_before)
}

/// Whether the entries between two positions are markers: the numbers skip some, but the second
/// message names the first one as the last before it. Its producer has the topic to itself.
fn are_markers(before: Position, at: Position, named_before: Option<EntryId>) -> bool {
    let (from, to) = (entry_of(before), entry_of(at));
    skips(from, to) && named_before == Some(from)
}

/// Whether the numbers of two entries skip some between them.
fn skips(from: EntryId, to: EntryId) -> bool {
    from < to && if from.0 == to.0 { to.1 > from.1.saturating_add(1) } else { to.1 > 0 }
}

#[cfg(test)]
mod tests {
    use NextStep::{Hole, Pass, Withhold};

    use super::*;

    fn resume(applied: Option<Position>, expected: Option<Position>) -> ResumePoint {
        ResumePoint { applied, expected, has_markers: false }
    }

    fn at(ledger: u64, entry: u64, index: u32) -> Position {
        Position { ledger, entry, index }
    }

    #[test]
    fn entry_is_that_of_each_of_its_positions() {
        assert_eq!(entry_of(at(7, 3, 5)), (7, 3));
        assert_eq!(position_of((7, 3)), at(7, 3, 0));
    }

    #[test]
    fn furthest_position_never_goes_back() {
        let mut progress = TopicProgress::new(resume(None, None), None);
        for (ledger, entry, reached) in [(7, 3, (7, 3)), (2, 0, (7, 3)), (7, 4, (7, 4))] {
            progress.advance(at(ledger, entry, 0), None);
            assert_eq!(progress.reached(), Some(reached));
        }
    }

    #[test]
    fn known_positions_are_withheld_until_the_end_is_known() {
        let mut progress = TopicProgress::new(resume(Some(at(7, 3, 5)), None), None);
        assert_eq!(progress.advance(at(2, 0, 0), None), Withhold, "it may be a new topic");
        assert_eq!(progress.advance(at(7, 3, 5), None), Withhold);
        assert_eq!(
            progress.advance(at(7, 3, 6), None),
            Pass,
            "it continues after what was applied"
        );
        let mut progress = TopicProgress::new(resume(Some(at(7, 3, 5)), None), None);
        assert_eq!(progress.advance(at(7, 2, 0), None), Withhold);
        progress.prove();
        assert_eq!(progress.advance(at(7, 3, 5), None), Pass);
        assert_eq!(
            TopicProgress::new(resume(Some(at(7, 3, 5)), None), Some((7, 3)))
                .advance(at(7, 2, 0), None),
            Pass
        );
        assert_eq!(TopicProgress::new(resume(None, None), None).advance(at(0, 0, 0), None), Pass);
    }

    #[test]
    fn reset_subscription_has_to_be_proven_again() {
        let mut progress = TopicProgress::new(resume(Some(at(7, 3, 0)), None), Some((7, 9)));
        for entry in 2..9 {
            assert_eq!(progress.advance(at(7, entry, 0), None), Pass);
        }
        assert_eq!(progress.advance(at(7, 5, 0), None), Withhold);
        assert_eq!(progress.advance(at(7, 6, 0), None), Withhold);
        assert_eq!(progress.advance(at(7, 9, 0), None), Pass);
    }

    #[test]
    fn hole_shows_when_two_sessions_begin_with_it() {
        let applied = Some(at(7, 3, 0));
        let mut progress = TopicProgress::new(resume(applied, None), Some((9, 9)));
        assert_eq!(progress.advance(at(7, 6, 0), None), Hole((7, 3)), "its id may be damaged");
        assert_eq!(progress.began(), None);
        let mut progress = TopicProgress::new(resume(applied, Some(at(7, 6, 0))), Some((9, 9)));
        assert_eq!(progress.advance(at(7, 5, 0), None), Hole((7, 3)), "it is another one");
        // Nothing is left in the topic before it.
        for position in [at(7, 2, 0), at(7, 6, 0), at(7, 6, 1), at(7, 7, 0), at(9, 0, 0)] {
            assert_eq!(progress.advance(position, None), Pass);
        }
        for position in [at(9, 2, 0), at(9, 2, 0), at(11, 1, 0)] {
            assert_eq!(progress.advance(position, None), Hole((9, 0)));
        }
        assert_eq!(progress.reached(), Some((9, 0)));
        assert_eq!(progress.advance(at(11, 0, 0), None), Pass);
    }

    #[test]
    fn end_of_a_ledger_is_missing_when_the_next_one_names_an_entry_that_was_not_received() {
        let (before, first) = (at(7, 3, 5), at(9, 0, 0));
        for after in [(7, 4), (8, 0), (8, u64::MAX)] {
            assert!(is_hole(before, first, Some(after)), "{after:?}");
            let mut progress = TopicProgress::new(resume(Some(before), None), Some((9, 9)));
            assert_eq!(progress.advance(first, Some(after)), Hole((7, 3)));
            // The next session begins with it, too: the topic no longer has them.
            let mut progress = TopicProgress::new(resume(Some(before), Some(first)), Some((9, 9)));
            assert_eq!(progress.advance(first, Some(after)), Pass);
            assert_eq!(progress.began(), Some((first, Some(after))));
            assert_eq!(progress.advance(at(9, 0, 1), None), Pass, "the rest of the batch");
            // A message about events that are known to be missing adds no gap.
            assert_eq!(progress.advance(at(9, 1, 0), Some(after)), Pass);
            assert_eq!(progress.advance(at(11, 0, 0), Some(after)), Pass);
        }
        // Nothing is missing; what its producer knew was older; it is itself, or after it; nothing
        // is named.
        let named = [Some((7, 3)), Some((7, 0)), Some((0, 0)), Some((9, 0)), Some((9, 7)), None];
        for after in named.into_iter().chain([Some((u64::MAX, 0))]) {
            assert!(!is_hole(before, first, after), "{after:?}");
        }
        // Within a ledger, and at what was received before, the property changes nothing.
        for known in [at(7, 3, 6), at(7, 4, 0), at(7, 2, 0), at(5, 0, 0)] {
            assert!(!is_hole(before, known, Some((8, 0))), "{known:?}");
        }
        assert!(is_hole(before, at(7, 5, 0), Some((7, 2))));
        assert!(is_hole(before, at(9, 1, 0), None));
        let mut new = TopicProgress::new(resume(None, None), Some((9, 9)));
        assert_eq!(new.advance(first, Some((8, 0))), Pass, "a new node");
    }

    #[test]
    fn markers_are_not_missing_entries() {
        let (applied, named) = (at(7, 3, 5), Some((7, 3)));
        for after_markers in [at(7, 6, 0), at(9, 1, 0)] {
            assert!(!is_hole(applied, after_markers, named));
            assert!(is_hole(applied, after_markers, None));
            let mut progress = TopicProgress::new(resume(Some(applied), None), Some((9, 9)));
            assert_eq!(progress.advance(after_markers, named), Hole((7, 3)), "or a damaged id");
            assert!(!progress.has_markers);
            let confirmed = resume(Some(applied), Some(after_markers));
            let mut progress = TopicProgress::new(confirmed, Some((9, 9)));
            assert_eq!(progress.advance(after_markers, named), Pass);
            assert!(progress.has_markers);
            // Others need no further session, in this one or in those after it.
            let more = at(9, 4, 0);
            assert_eq!(progress.advance(more, Some(entry_of(after_markers))), Pass);
            let later = ResumePoint { has_markers: true, ..resume(Some(applied), None) };
            let mut progress = TopicProgress::new(later, Some((9, 9)));
            assert_eq!(progress.advance(after_markers, named), Pass);
            assert_eq!(progress.advance(at(9, 9, 0), Some((7, 2))), Hole(entry_of(after_markers)));
        }
    }
}
