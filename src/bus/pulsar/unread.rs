//! Entries that came and could not be unpacked. The library says that there was one, but not where:
//! they are held until the next message, or the topic's end, shows their places.

use std::collections::VecDeque;

use super::course::Entry;

/// Reasons that are kept of a run of them, the newest: as many as the dead-letter log holds.
/// However long a run is, it holds nothing up that comes behind it.
const REASONS: usize = 1_000;

/// A run of them.
#[derive(Debug, Default)]
pub(super) struct Unread {
    count: u64,
    reasons: VecDeque<String>,
}

impl Unread {
    /// Another one.
    pub(super) fn add(&mut self, reason: String) {
        if self.count.is_multiple_of(REASONS as u64) {
            let before = self.count;
            tracing::warn!(before, reason, "the topic has entries that cannot be unpacked");
        }
        self.count = self.count.saturating_add(1);
        if self.reasons.len() == REASONS {
            self.reasons.pop_front();
        }
        self.reasons.push_back(reason);
    }

    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Where they were that came before `next`, and why each cannot be unpacked where that is kept.
    /// None is left.
    pub(super) fn take(
        &mut self,
        before: Option<Entry>,
        next: Entry,
    ) -> impl Iterator<Item = (Entry, Option<String>)> + use<> {
        let Self { count, mut reasons } = std::mem::take(self);
        let mut unkept = count - reasons.len() as u64;
        places(before, count, next).filter_map(move |place| {
            let reason = match unkept.checked_sub(1) {
                Some(fewer) => {
                    unkept = fewer;
                    None
                }
                None => reasons.pop_front(),
            };
            place.map(|place| (place, reason))
        })
    }
}

/// Where as many entries were that came before `next` and could not be unpacked. Numbers in a
/// ledger are without holes, so they are the ones before `next`; those of a ledger that ended
/// there go on behind `before`, the entry before them. When what was delivered is delivered again,
/// `before` is ahead of `next`, and says nothing: those were put aside the first time.
fn places(
    before: Option<Entry>,
    count: u64,
    next: Entry,
) -> impl Iterator<Item = Option<Entry>> + use<> {
    let in_ledger = count.min(next.1);
    let before = before.filter(|before| *before < next);
    let behind = move |n| before.map(|(ledger, entry): Entry| (ledger, entry.saturating_add(n)));
    let ended = (1..=count - in_ledger).map(behind);
    ended.chain((next.1 - in_ledger..next.1).map(move |entry| Some((next.0, entry))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_cannot_be_unpacked_is_where_the_next_one_shows() {
        let places = |before, count, next| places(before, count, next).collect::<Vec<_>>();
        assert_eq!(places(Some((7, 3)), 0, (7, 4)), []);
        assert_eq!(places(Some((7, 3)), 2, (7, 6)), [Some((7, 4)), Some((7, 5))]);
        assert_eq!(places(None, 2, (7, 2)), [Some((7, 0)), Some((7, 1))]);
        // The one ledger ended with two of them, the other began with one.
        let across = [Some((7, 4)), Some((7, 5)), Some((9, 0))];
        assert_eq!(places(Some((7, 3)), 3, (9, 1)), across);
        // Delivered again.
        assert_eq!(places(Some((7, 9)), 1, (7, 3)), [Some((7, 2))]);
        assert_eq!(places(Some((9, 5)), 2, (9, 1)), [None, Some((9, 0))]);
        assert_eq!(places(None, 1, (9, 0)), [None]);
    }

    #[test]
    fn of_a_long_run_all_places_are_known_and_the_newest_reasons_are_kept() {
        let mut unread = Unread::default();
        let all = REASONS as u64 + 5;
        for n in 0..all {
            unread.add(n.to_string());
        }
        assert_eq!(unread.count(), all);
        let taken: Vec<_> = unread.take(Some((7, 3)), (7, 4 + all)).collect();
        assert_eq!(unread.count(), 0);
        for (n, (place, reason)) in (0..).zip(&taken) {
            assert_eq!(*place, (7, 4 + n));
            assert_eq!(*reason, (n >= 5).then(|| n.to_string()));
        }
        assert_eq!(taken.len() as u64, all);
    }
}
