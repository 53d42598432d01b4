//! Activity: numbers of events, distinct repositories and distinct developers.
//!
//! Distinct counts over a rolling window are exact: each id has the second in which it was last
//! seen, and each second the number of ids last seen in it. So a window's number is a sum over its
//! seconds.

use std::collections::{BTreeMap, HashMap};

use super::rolling::{longest, snapshot_of};
use crate::hub::Hub;
use crate::model::position::Cursor;
use crate::model::tally::Tally;
use crate::model::window::{Second, Window};
use crate::script::rule::Subject;

/// The most distinct ids of one kind at once, about 36 bytes each.
const DIFFERENT: usize = 1_000_000;
/// Seconds kept beyond the window, so that a clock may be set back a little.
const SLACK: i64 = 60;
/// The most events held until their second comes, because another node's clock is ahead, or ours
/// was; further ones are left out and reported.
const AHEAD: usize = 100_000;
/// Seconds between two removals of ids that left the window.
const SWEEP: i64 = 60;

/// Events, repositories and developers.
pub(super) struct ActiveCounter {
    windows: &'static [(&'static str, u32)],
    events: SecondRing,
    repositories: DistinctIds,
    developers: DistinctIds,
    /// Repository and developer of each event of a future second.
    ahead: BTreeMap<i64, Vec<[Option<u64>; 2]>>,
    waiting: usize,
    /// The current second.
    now: i64,
    left_out: u64,
    /// The newest second of an event whose repository or developer was left out.
    left_out_at: Option<i64>,
}

/// A number per second for the last seconds, in a ring buffer.
struct SecondRing {
    numbers: Vec<u32>,
    /// How many seconds it has.
    span: i64,
    /// The newest second of the ring.
    newest: Option<i64>,
}

/// Ids with the second in which each was last seen.
struct DistinctIds {
    last: HashMap<u64, i64, foldhash::fast::RandomState>,
    seconds: SecondRing,
    swept_at: i64,
}

impl ActiveCounter {
    pub(super) fn new(windows: &'static [(&'static str, u32)]) -> Self {
        let span = i64::from(longest(windows)) + SLACK;
        Self {
            windows,
            events: SecondRing::new(span),
            repositories: DistinctIds::new(span),
            developers: DistinctIds::new(span),
            ahead: BTreeMap::new(),
            waiting: 0,
            now: i64::MIN,
            left_out: 0,
            left_out_at: None,
        }
    }

    pub(super) fn span(&self) -> i64 {
        longest(self.windows).into()
    }

    /// Advances to a second and counts events that were held for it.
    pub(super) fn reach(&mut self, now: Second) {
        self.now = now.0;
        while let Some(entry) = self.ahead.first_entry()
            && *entry.key() <= self.now
        {
            let (second, events) = entry.remove_entry();
            self.waiting -= events.len();
            for ids in events {
                self.see(second, ids);
            }
        }
    }

    pub(super) fn count(&mut self, event: &Subject<'_>) {
        let second = event.facts().received_at.second().0;
        let ids = ["repo", "actor"].map(|who| event.number_of(who));
        if second <= self.now {
            self.see(second, ids);
        } else if self.waiting < AHEAD {
            // The ring ends at the newest second, and other nodes' clocks set events' seconds: a
            // future one must not advance it.
            self.ahead.entry(second).or_default().push(ids);
            self.waiting += 1;
        } else {
            self.left_out += 1;
        }
    }

    fn see(&mut self, second: i64, [repository, developer]: [Option<u64>; 2]) {
        self.events.add(second);
        let seen = [(repository, &mut self.repositories), (developer, &mut self.developers)];
        for (id, different) in seen {
            let fits = id.is_none_or(|id| different.see(id, second));
            if !fits {
                self.left_out += 1;
                self.left_out_at = self.left_out_at.max(Some(second));
            }
        }
    }

    pub(super) fn tick(&mut self, hub: &Hub, now: Second, cursor: Cursor, since: Second) {
        let span = self.span();
        self.repositories.sweep(now.0, span);
        self.developers.sweep(now.0, span);
        for (name, seconds) in self.windows {
            let window = Window::ending_with(now, *seconds);
            let numbers = [
                ("developers", self.developers.seconds.sum(window)),
                ("events", self.events.sum(window)),
                ("repositories", self.repositories.seconds.sum(window)),
            ];
            let value: Tally = numbers.into_iter().filter(|(_, n)| *n > 0).collect();
            // A window with a second in which an id was left out is incomplete.
            let left_out = self.left_out_at.map(|second| Second(second.saturating_add(1)));
            let since = left_out.filter(|left| *left > window.from).unwrap_or(since).max(since);
            let snapshot = snapshot_of(window, cursor, since, self.left_out, value);
            hub.rolling.open(&format!("activity/{name}")).publish(snapshot);
        }
    }
}

impl SecondRing {
    fn new(span: i64) -> Self {
        let length = usize::try_from(span).expect("a day and some");
        Self { numbers: vec![0; length], span, newest: None }
    }

    fn place(&self, second: i64) -> usize {
        usize::try_from(second.rem_euclid(self.span)).expect("it is not negative")
    }

    /// Whether the ring covers a second.
    fn holds(&self, second: i64) -> bool {
        self.newest.is_some_and(|newest| second <= newest && newest - second < self.span)
    }

    /// Counts an id in a second. Seconds before the ring are ignored.
    fn add(&mut self, second: i64) {
        if let Some(newest) = self.newest
            && second > newest
        {
            for passed in newest.max(second - self.span) + 1..=second {
                let at = self.place(passed);
                self.numbers[at] = 0;
            }
        }
        self.newest = Some(self.newest.map_or(second, |newest| newest.max(second)));
        if self.holds(second) {
            let at = self.place(second);
            self.numbers[at] += 1;
        }
    }

    fn take_back(&mut self, second: i64) {
        if self.holds(second) {
            let at = self.place(second);
            self.numbers[at] = self.numbers[at].saturating_sub(1);
        }
    }

    fn sum(&self, window: Window) -> i64 {
        let held = (window.from.0..window.until.0).filter(|second| self.holds(*second));
        held.map(|second| i64::from(self.numbers[self.place(second)])).sum()
    }
}

impl DistinctIds {
    fn new(span: i64) -> Self {
        Self { last: HashMap::default(), seconds: SecondRing::new(span), swept_at: i64::MIN }
    }

    /// Returns `false` when the limit is reached.
    fn see(&mut self, id: u64, second: i64) -> bool {
        let is_full = self.last.len() >= DIFFERENT;
        match self.last.get_mut(&id) {
            Some(last) if *last >= second => {}
            Some(last) => {
                let before = std::mem::replace(last, second);
                self.seconds.take_back(before);
                self.seconds.add(second);
            }
            None if is_full => return false,
            None => {
                self.last.insert(id, second);
                self.seconds.add(second);
            }
        }
        true
    }

    /// Removes ids that were not seen for this many seconds.
    fn sweep(&mut self, now: i64, span: i64) {
        // Not by a clock ahead of every event counted so far.
        let now = self.seconds.newest.map_or(now, |newest| now.min(newest.saturating_add(SWEEP)));
        if now.saturating_sub(self.swept_at) >= SWEEP {
            self.swept_at = now;
            self.last.retain(|_, last| now - *last <= span);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn different_ones_are_counted_as_a_set_counts_them(
            seen in prop::collection::vec((0_u64..6, 0_i64..40, 0_i64..4), 0..60),
            length in 1_u32..12,
        ) {
            let mut different = DistinctIds::new(12);
            let mut list = Vec::new();
            let mut now = 1_000;
            for (id, step, late) in seen {
                // Time advances, and some events are late.
                now += step / 10;
                let at = now - late;
                prop_assert!(different.see(id, at));
                list.push((id, at));
                different.sweep(now, 12);
                // As at a tick: window and sweep use the same clock.
                let window = Window::ending_with(Second(now), length);
                let inside = list.iter().filter(|(_, at)| window.contains(Second(*at)));
                let wanted: BTreeSet<u64> = inside.map(|(id, _)| *id).collect();
                prop_assert_eq!(usize::try_from(different.seconds.sum(window)), Ok(wanted.len()));
            }
        }
    }

    #[test]
    fn distinct_names_are_limited() {
        let mut different = DistinctIds::new(10);
        for id in 0..DIFFERENT as u64 {
            assert!(different.see(id, 5));
        }
        assert!(!different.see(u64::MAX, 5) && different.see(7, 6));
        different.sweep(100, 10);
        assert!(different.see(u64::MAX, 100));
    }
}
