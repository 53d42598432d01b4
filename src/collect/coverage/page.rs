//! What is known of one page: its last read, what it usually shows, and what is odd about it.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::estimate::IdCoverage;
use super::pulse::Pulse;
use super::slots::RecentCounts;
use crate::collect::overlap::{KINDS, PageSighting};
use crate::model::window::Timestamp;

/// The weight of the newest read in the rate of new events of a page.
const NEWEST_WEIGHT: f64 = 0.3;
/// A page that was not read for this long takes precedence, whatever its rate.
const LONGEST_UNREAD: Duration = Duration::from_secs(30);
/// Maximum number of events on a page.
const MOST_BROUGHT: f64 = 100.0;
/// A page stands still when this many events were expected on it and none arrived, …
const EXPECTED: f64 = 15.0;
/// … in at least this many responses.
const STILL_ANSWERS: u32 = 2;
/// A type of which a page showed this many events does not disappear from it between two reads, …
const FIRM: u32 = 15;
/// … if the page showed as many for this long: a feed that fills up mixes types for a few seconds.
const FIRM_FOR: Duration = Duration::from_secs(10);
/// After this time, the comparison with the usual numbers decides whether a type is missing.
const JUDGED_AFTER: Duration = Duration::from_secs(180);

#[derive(Debug, Default)]
pub(super) struct PageRecord {
    pub(super) hashes: HashSet<u64>,
    pub(super) overlap: Option<f64>,
    pub(super) read_at: Option<Timestamp>,
    pub(super) sequences: [IdCoverage; 2],
    pub(super) recent_counts: RecentCounts,
    pub(super) pulse: Pulse,
    /// The time of the last response or failure.
    pub(super) responded_at: Option<Timestamp>,
    pub(super) lags: VecDeque<u32>,
    pub(super) is_empty: bool,
    /// Since when the page is unexpectedly empty, and the total of new events at that time.
    pub(super) empty_since: Option<(Timestamp, u64)>,
    /// Number of events of each type in the last read.
    pub(super) content: [u32; KINDS.len()],
    /// Types that left the page gradually as new events pushed them on; they are not missing.
    pub(super) faded: [bool; KINDS.len()],
    /// When the page last showed each type.
    pub(super) shown_at: [Option<Timestamp>; KINDS.len()],
    /// Since when every read showed at least [`FIRM`] events of each type.
    firm_since: [Option<Timestamp>; KINDS.len()],
    /// When each type disappeared of which the page had shown many events.
    vanished_at: [Option<Timestamp>; KINDS.len()],
    /// When a new event last arrived on the page, and the number of responses without one since.
    pub(super) moved_at: Option<Timestamp>,
    pub(super) still_answers: u32,
    /// Whether expected events are missing on the page.
    pub(super) stands_still: bool,
    pub(super) failing_since: Option<Timestamp>,
    pub(super) same_since: Option<Timestamp>,
    pub(super) same_as: usize,
    pub(super) in_trouble: bool,
    /// Events per second found only on this page, as a weighted average.
    pub(super) new_rate: f64,
}

impl PageRecord {
    /// Records a read with this many new events.
    pub(super) fn update_rate(&mut self, new: u32, at: Timestamp) {
        if let Some(before) = self.read_at {
            let seconds = at.since(before).as_secs_f64().max(0.1);
            self.new_rate += (f64::from(new) / seconds - self.new_rate) * NEWEST_WEIGHT;
        }
    }

    /// The number of events that the page is expected to bring.
    pub(super) fn need(&self, now: Timestamp) -> f64 {
        let unread = self.read_at.map_or(LONGEST_UNREAD, |at| now.since(at));
        if unread >= LONGEST_UNREAD {
            return f64::MAX;
        }
        (self.new_rate * unread.as_secs_f64()).min(MOST_BROUGHT)
    }

    /// Records a response with this many new events.
    pub(super) fn update_movement(&mut self, new: usize, at: Timestamp) {
        if new > 0 {
            (self.moved_at, self.still_answers, self.stands_still) = (Some(at), 0, false);
            return;
        }
        self.still_answers = self.still_answers.saturating_add(1);
        let still = self.moved_at.map(|moved_at| at.since(moved_at).as_secs_f64());
        let expected =
            still.zip(self.recent_counts.a_minute()).map(|(still, rate)| still / 60.0 * rate);
        self.stands_still |= self.still_answers >= STILL_ANSWERS
            && expected.is_some_and(|expected| expected >= EXPECTED);
    }

    /// Whether the figures are unreliable, `shown` being the total number of new events: something
    /// is odd that has not lasted long enough to be a problem, or never becomes one.
    pub(super) fn is_odd(&self, shown: u64, now: Timestamp) -> bool {
        let is_recent = |at: &Timestamp| now.since(*at) < JUDGED_AFTER;
        self.stands_still
            || self.vanished_at.iter().flatten().any(is_recent)
            || self.failing_since.or(self.same_since).is_some()
            || self.empty_since.is_some_and(|(_, before)| shown > before)
    }

    /// Whether anything is odd, even if only briefly so far.
    pub(super) fn is_suspect(&self) -> bool {
        self.empty_since.is_some() || self.failing_since.or(self.same_since).is_some()
    }

    /// Types of which the page shows no events although it should.
    pub(super) fn missing(&self) -> Vec<usize> {
        let mut missing = self.recent_counts.missing();
        missing.retain(|kind| !self.faded[*kind]);
        missing
    }

    /// Records the types now on the page, of which `arrived` events are new. A type whose last
    /// events were no more than those has moved on to later pages, as in a feed that fills up.
    pub(super) fn update_kinds(&mut self, seen: &[PageSighting], arrived: usize, at: Timestamp) {
        let mut content = [0_u32; KINDS.len()];
        for sighting in seen {
            content[sighting.kind] += 1;
        }
        let is_slow = arrived <= seen.len() / 2;
        for (kind, now) in content.iter().enumerate() {
            let firm_since = self.firm_since[kind].take();
            if *now > 0 {
                (self.faded[kind], self.vanished_at[kind]) = (false, None);
                self.shown_at[kind] = Some(at);
                if *now >= FIRM {
                    self.firm_since[kind] = Some(firm_since.unwrap_or(at));
                }
            } else if self.content[kind] > 0 {
                let before = usize::try_from(self.content[kind]).unwrap_or(usize::MAX);
                self.faded[kind] = is_slow && before <= arrived;
                let is_firm = firm_since.is_some_and(|since| at.since(since) >= FIRM_FOR);
                self.vanished_at[kind] = (!self.faded[kind] && is_firm).then_some(at);
            }
        }
        self.content = content;
    }
}
