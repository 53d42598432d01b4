//! Estimates how many events were missed from the ids of those that were seen.
//!
//! Method: GitHub assigns ids in order, for private events too, so an id is a clock that our reads
//! cannot disturb. One read shows a run of neighbours of a sequence, which covers the ids from its
//! first to its last. Where two runs meet, nothing was missed between them. Otherwise the gap of G
//! ids held about G × d − 1 events, where d is the density of events per id in the runs. The
//! estimate is the sum over all gaps of the last ten minutes. Its interval comes from the spacings
//! in the gaps (their number times v, the squared coefficient of variation, is a variance) and
//! from d, whose relative error is that of a mean over all spacings seen.
//!
//! A read may leave out some neighbours. Two runs over the same ids then show different events,
//! and the number they share gives the fraction p of events that one read shows (Petersen
//! estimator). After n reads of the same ids, the fraction (1 − p)^n remains unseen.
//!
//! For a single page, only those parts of its gaps count that no other page shows. So a page
//! misses nothing when nothing was missed, and events that move from page to page are counted
//! once.
//!
//! Events that GitHub never shows are not part of the estimate, because no poller sees them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::coverage::Missed;
use crate::model::window::Timestamp;

/// The period that the estimate covers.
pub const WINDOW: Duration = Duration::from_secs(600);
/// Maximum number of runs; older ones are dropped, which shortens the window.
const MOST_RUNS: usize = 4_096;
/// A step larger than this multiple of the median step ends a run: a late event far below is not a
/// neighbour.
const RUN_BREAK: u64 = 24;
/// Minimum number of ids in a run.
const SHORTEST_RUN: usize = 6;
/// Two runs at most this many usual steps apart meet, like two pages of the same moment.
const NEIGHBOURS: f64 = 3.0;
/// Ids that advance this many times as fast as the ids that were read have jumped. When one read a
/// minute shows the newest 300 of 300 events a second, they advance 60 times as fast.
const LEAP: f64 = 1_000.0;
/// The pace of ids is measured over at least this time.
const PACE: Duration = Duration::from_secs(60);
/// Standard deviations on each side of a 95 % interval, plus a margin for what is not modelled.
const DEVIATIONS: f64 = 2.4;
/// Two reads must share more than this fraction of their events for a run to count as complete.
const WHOLE: f64 = 0.9;
/// Maximum number of reads up to which ids are distinguished by how many reads covered them.
const DEPTHS: usize = 32;
/// Minimum number of events in common ranges to estimate the fraction that a read shows.
const ENOUGH_COMMON: f64 = 60.0;

/// The runs of ids covered by the reads of one sequence.
#[derive(Debug, Default)]
pub(super) struct IdCoverage {
    runs: VecDeque<Run>,
    /// The ids of the previous read, ascending.
    before: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    at: Timestamp,
    first: u64,
    last: u64,
    events: u32,
    /// Sum of the squares of the steps.
    squares: f64,
    /// Events among the ids that the previous read covered too: in either read, and twice those in
    /// both.
    either: f64,
    both: f64,
}

/// A covered range of ids.
#[derive(Debug, Clone, Copy)]
struct Island {
    /// When its first part was read.
    at: Timestamp,
    first: u64,
    last: u64,
}

impl Missed {
    /// The sum for two sequences or two pages.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let spread = |a: f64, b: f64| a.hypot(b);
        let estimate = self.estimate + other.estimate;
        let below = spread(self.estimate - self.low, other.estimate - other.low);
        let above = spread(self.high - self.estimate, other.high - other.estimate);
        Self {
            seen: self.seen + other.seen,
            low: (estimate - below).max(0.0),
            estimate,
            high: estimate + above,
        }
    }

    /// The missed fraction of all events, 0 to 1: lower bound, most likely value, upper bound.
    #[must_use]
    pub fn shares(self) -> [f64; 3] {
        let share = |missed: f64| if missed > 0.0 { missed / (missed + self.seen) } else { 0.0 };
        [share(self.low), share(self.estimate), share(self.high)]
    }
}

impl IdCoverage {
    /// Records the ids of the sequence shown by a read, in any order.
    pub(super) fn take(&mut self, mut ids: Vec<u64>, at: Timestamp) {
        ids.sort_unstable();
        ids.dedup();
        let mut steps: Vec<u64> = ids.windows(2).map(|pair| pair[1] - pair[0]).collect();
        steps.sort_unstable();
        let Some(middle) = steps.get(steps.len() / 2) else { return };
        let most = middle.saturating_mul(RUN_BREAK);
        for run in ids.chunk_by(|a, b| b - a <= most).filter(|run| run.len() >= SHORTEST_RUN) {
            let (first, last) = (run[0], run[run.len() - 1]);
            let before = within(&self.before, first, last);
            let (mut either, mut both) = (0.0, 0.0);
            if let (Some(low), Some(high)) = (before.first(), before.last()) {
                let now = within(run, *low, *high);
                either = count(before.len()) + count(now.len());
                both =
                    2.0 * count(now.iter().filter(|id| before.binary_search(id).is_ok()).count());
            }
            let squares = run.windows(2).map(|pair| float(pair[1] - pair[0]).powi(2)).sum();
            let events = u32::try_from(run.len()).unwrap_or(u32::MAX);
            self.runs.push_back(Run { at, first, last, events, squares, either, both });
        }
        self.before = ids;
        while self.runs.len() > MOST_RUNS {
            self.runs.pop_front();
        }
    }

    /// Drops everything older than the window.
    pub(super) fn roll(&mut self, now: Timestamp) {
        let from = now.minus(WINDOW);
        while self.runs.front().is_some_and(|run| run.at < from) {
            self.runs.pop_front();
        }
    }

    /// Estimates the events missed in the window.
    pub(super) fn missed(&self) -> Missed {
        self.estimate(&self.islands(), &self.gaps())
    }

    /// Estimates the events missed since `from`: the gaps below what was read since then. `None`
    /// when nothing was read since.
    pub(super) fn missed_since(&self, from: Timestamp) -> Option<Missed> {
        let read = self.islands_since(from);
        if read.is_empty() {
            return None;
        }
        let islands = self.islands();
        Some(self.estimate(&read, &gaps(&islands, |above| above.at >= from)))
    }

    /// Estimates the events missed on one page: the parts of its gaps that no other page shows.
    /// `self` is all pages together. Gaps of a page that another sequence occupies for a while, as
    /// when the feed is short, are meaningless.
    pub(super) fn missed_on(&self, page: &Self) -> Missed {
        self.estimate(&page.islands(), &common(&page.gaps(), &self.gaps()))
    }

    /// Estimates the events in the gaps from the spacing of all ids in the covered islands.
    fn estimate(&self, islands: &[Island], gaps: &[(u64, u64)]) -> Missed {
        let steps: f64 = self.runs.iter().map(|run| f64::from(run.events - 1)).sum();
        let length: f64 = self.runs.iter().map(|run| float(run.last - run.first)).sum();
        if length <= 0.0 {
            return Missed::default();
        }
        let (density, mean) = (steps / length, length / steps);
        let squares: f64 = self.runs.iter().map(|run| run.squares).sum();
        let variation = (squares / steps / (mean * mean) - 1.0).clamp(0.1, 25.0);
        let events = |islands: &[Island]| {
            let ids: f64 = islands.iter().map(|island| float(island.last - island.first)).sum();
            ids * density + count(islands.len())
        };
        let seen = events(islands);
        // An empty sum is -0, which would be displayed.
        let gap_ids = gaps.iter().fold(0.0, |sum, (from, to)| sum + float(to - from));
        let number = count(gaps.len());
        let expected = (gap_ids * density - number).max(0.0);
        // A spacing seen by several reads is one observation.
        let drawn = events(&self.islands()).max(1.0);
        let known = (DEVIATIONS * (variation / drawn).sqrt()).min(0.9);
        let own = DEVIATIONS * ((gap_ids * density + number) * variation).sqrt();
        let own = if gaps.is_empty() { 0.0 } else { own };
        let below = own.hypot(expected - expected / (1.0 + known));
        let above = own.hypot(expected / (1.0 - known) - expected);
        self.with_holes(Missed {
            seen,
            low: (expected - below).max(0.0),
            estimate: expected,
            high: expected + above,
        })
    }

    /// The covered ranges of ids, ascending.
    fn islands(&self) -> Vec<Island> {
        self.islands_since(Timestamp::from_micros(i64::MIN))
    }

    /// The covered ranges of ids read since a time, ascending.
    fn islands_since(&self, from: Timestamp) -> Vec<Island> {
        let mut runs: Vec<&Run> = self.runs.iter().filter(|run| run.at >= from).collect();
        runs.sort_unstable_by_key(|run| run.first);
        let ids: f64 = runs.iter().map(|run| float(run.last - run.first)).sum();
        let events: f64 = runs.iter().map(|run| f64::from(run.events)).sum();
        let near = NEIGHBOURS * ids / events.max(1.0);
        let mut islands: Vec<Island> = Vec::new();
        for run in runs {
            match islands.last_mut() {
                Some(island) if float(run.first.saturating_sub(island.last)) <= near => {
                    island.last = run.last.max(island.last);
                    island.at = run.at.min(island.at);
                }
                _ => islands.push(Island { at: run.at, first: run.first, last: run.last }),
            }
        }
        islands
    }

    /// The gaps between islands, ascending.
    fn gaps(&self) -> Vec<(u64, u64)> {
        gaps(&self.islands(), |_| true)
    }

    /// Adds the events that reads left out between those they showed.
    fn with_holes(&self, gap: Missed) -> Missed {
        let either: f64 = self.runs.iter().map(|run| run.either).sum();
        let both: f64 = self.runs.iter().map(|run| run.both).sum();
        if either < ENOUGH_COMMON {
            return gap;
        }
        let part = both / either;
        let error = DEVIATIONS * (part * (1.0 - part) / either * 2.0).sqrt();
        if part + error > WHOLE {
            return gap;
        }
        let depths = self.depths();
        // The fraction seen corrects the number of events: the density of a read is only part of
        // the true one.
        let shown = |part: f64| 1.0 - hidden(&depths, part.clamp(0.02, 1.0));
        let there = |part: f64| gap.seen / part.clamp(0.02, 1.0);
        let seen = there(part) * shown(part);
        let missed = |gap: f64, part: f64| {
            let shown = shown(part);
            gap / part.clamp(0.02, 1.0) + seen * (1.0 - shown) / shown
        };
        let estimate = missed(gap.estimate, part);
        Missed {
            seen,
            low: missed(gap.low, part + error).min(estimate),
            estimate,
            high: missed(gap.high, part - error).max(estimate),
        }
    }

    /// The number of ids covered by one read, by two, and so on; the last element includes all
    /// higher counts.
    fn depths(&self) -> [f64; DEPTHS] {
        let mut ends: Vec<(u64, bool)> = Vec::with_capacity(2 * self.runs.len());
        for run in &self.runs {
            ends.extend([(run.first, true), (run.last, false)]);
        }
        ends.sort_unstable();
        let (mut depths, mut depth, mut from) = ([0.0; DEPTHS], 0_usize, 0);
        for (id, begins) in ends {
            if depth > 0 {
                depths[(depth - 1).min(DEPTHS - 1)] += float(id - from);
            }
            depth = if begins { depth + 1 } else { depth.saturating_sub(1) };
            from = id;
        }
        depths
    }
}

/// The gaps between islands, ascending, below those that are `wanted`. A gap counts only when the
/// range above it was read no earlier than the range below: after GitHub restarted its ids or
/// served an old page, there is nothing between the two. Nor is there where the ids advanced
/// [`LEAP`] times as fast as those that were read: the sequence began anew further up.
fn gaps(islands: &[Island], wanted: impl Fn(&Island) -> bool) -> Vec<(u64, u64)> {
    let covered: f64 = islands.iter().map(|island| float(island.last - island.first)).sum();
    let first = islands.iter().map(|island| island.at).min();
    let last = islands.iter().map(|island| island.at).max();
    let seconds = |from: Timestamp, to: Timestamp| to.since(from).max(PACE).as_secs_f64();
    let span = first.zip(last).map_or(PACE.as_secs_f64(), |(first, last)| seconds(first, last));
    let fastest = if covered > 0.0 { LEAP * covered / span } else { f64::INFINITY };
    let pairs = islands.windows(2).map(|pair| (pair[0], pair[1]));
    pairs
        .filter(|(below, above)| below.at <= above.at && wanted(above))
        .filter(|(below, above)| {
            float(above.first - below.last) <= fastest * seconds(below.at, above.at)
        })
        .map(|(below, above)| (below.last, above.first))
        .collect()
}

/// The fraction that no read shows, when each shows `part` of the ids that it covers.
fn hidden(depths: &[f64; DEPTHS], part: f64) -> f64 {
    let (mut missed, mut all, mut unseen) = (0.0, 0.0, 1.0);
    for length in depths {
        unseen *= 1.0 - part;
        missed += length * unseen;
        all += length;
    }
    if all > 0.0 { (missed / all).min(0.98) } else { 0.0 }
}

/// The intersection of two lists of ranges, both ascending.
fn common(one: &[(u64, u64)], other: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let (mut both, mut a, mut b) = (Vec::new(), 0, 0);
    while let (Some(left), Some(right)) = (one.get(a), other.get(b)) {
        let (from, to) = (left.0.max(right.0), left.1.min(right.1));
        if from < to {
            both.push((from, to));
        }
        if left.1 < right.1 { a += 1 } else { b += 1 }
    }
    both
}

fn within(ids: &[u64], first: u64, last: u64) -> &[u64] {
    let from = ids.partition_point(|id| *id < first);
    let to = ids.partition_point(|id| *id <= last);
    &ids[from..to.max(from)]
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "ids stay far below 2^53")]
fn float(ids: u64) -> f64 {
    ids as f64
}

#[cfg(test)]
mod tests;
