//! How many events passed unseen, by the ids of those that were seen.
//!
//! The method. GitHub draws ids in order, for private events too, so an id is a clock that our
//! reads cannot disturb. What one read shows of a sequence is a run of neighbours: it covers the
//! ids from its first to its last. Where two runs meet, nothing was missed between them. Where
//! they do not, the gap of G ids held about G x d - 1 events, d being how many events there are
//! an id, as the runs themselves show. The sum over all gaps of the last ten minutes is the
//! estimate. Its interval comes from the spacings in the gaps (their number times v, the squared
//! coefficient of variation, is a variance) and from d, whose relative error is that of a mean
//! of as many spacings as were seen.
//!
//! A read need not show all neighbours: then two runs over the same ids show different events, and
//! how many they share tells which part p of what is there one read shows (Petersen). What n reads
//! of the same ids leave unseen is (1 - p)^n.
//!
//! Of a page: its gaps, as far as no other page shows what is in them. So a page misses nothing
//! where nothing was missed, and events that wander from page to page are counted once.
//!
//! What is not known: what GitHub itself never shows. No poller sees that.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::coverage::Missed;
use crate::model::window::Timestamp;

/// How far back the estimate reaches.
pub const WINDOW: Duration = Duration::from_secs(600);
/// Runs that are kept; older ones go, and the window is shorter then.
const MOST_RUNS: usize = 4_096;
/// A step so many times the middle one ends a run: a late event far below is no neighbour.
const RUN_BREAK: u64 = 24;
/// Fewer ids are no run.
const SHORTEST_RUN: usize = 6;
/// Two runs that are no more than so many usual steps apart meet: two pages of one moment do.
const NEIGHBOURS: f64 = 3.0;
/// Standard deviations to each side of a 95 % interval, and a little for what is not modelled.
const DEVIATIONS: f64 = 2.4;
/// Events must be shared by more than this part for a run to count as all neighbours.
const WHOLE: f64 = 0.9;
/// Ids are told apart by how many reads covered them, up to so many.
const DEPTHS: usize = 32;
/// Fewer events in common ranges say nothing of the part that a read shows.
const ENOUGH_COMMON: f64 = 60.0;

/// The runs of ids that reads of one sequence covered.
#[derive(Debug, Default)]
pub(super) struct IdCoverage {
    runs: VecDeque<Run>,
    /// The ids of the read before, ascending.
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
    /// Events in the ids that the read before covered too: in either, and twice those in both.
    either: f64,
    both: f64,
}

/// A stretch of ids that is covered.
#[derive(Debug, Clone, Copy)]
struct Island {
    /// When its first part was read.
    at: Timestamp,
    first: u64,
    last: u64,
}

impl Missed {
    /// Two sequences, or two pages, together.
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

    /// The missed part of all events, 0 to 1: lower end, most likely, upper end.
    #[must_use]
    pub fn shares(self) -> [f64; 3] {
        let share = |missed: f64| if missed > 0.0 { missed / (missed + self.seen) } else { 0.0 };
        [share(self.low), share(self.estimate), share(self.high)]
    }
}

impl IdCoverage {
    /// A read showed these ids of the sequence, in any order.
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

    /// Lets go of what is older than the window.
    pub(super) fn roll(&mut self, now: Timestamp) {
        let from = now.minus(WINDOW);
        while self.runs.front().is_some_and(|run| run.at < from) {
            self.runs.pop_front();
        }
    }

    /// What was missed in the window.
    pub(super) fn missed(&self) -> Missed {
        self.estimate(&self.islands(), &self.gaps())
    }

    /// What was missed of what was to be read since `from`: the gaps below what was read since
    /// then. `None` when nothing was read since.
    pub(super) fn missed_since(&self, from: Timestamp) -> Option<Missed> {
        let read = self.islands_since(from);
        if read.is_empty() {
            return None;
        }
        let islands = self.islands();
        let pairs = islands.windows(2).filter(|pair| pair[0].at <= pair[1].at);
        let gaps: Vec<(u64, u64)> = pairs
            .filter(|pair| pair[1].at >= from)
            .map(|pair| (pair[0].last, pair[1].first))
            .collect();
        Some(self.estimate(&read, &gaps))
    }

    /// What was missed of what passed one page: the part of its gaps that no other page shows
    /// either. `self` is all pages together. A page that is taken up by another sequence for a
    /// while, as when the feed is short, has gaps that mean nothing.
    pub(super) fn missed_on(&self, page: &Self) -> Missed {
        self.estimate(&page.islands(), &common(&page.gaps(), &self.gaps()))
    }

    /// Islands of ids that are covered, and what lies in these gaps, by the spacing of all ids.
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
        // A sum of nothing is -0, which would be shown.
        let gap_ids = gaps.iter().fold(0.0, |sum, (from, to)| sum + float(to - from));
        let number = count(gaps.len());
        let expected = (gap_ids * density - number).max(0.0);
        // Every spacing was seen by many reads and tells something once.
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

    /// Stretches of ids that are covered, ascending.
    fn islands(&self) -> Vec<Island> {
        self.islands_since(Timestamp::from_micros(i64::MIN))
    }

    /// The same of what was read since a time.
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

    /// Gaps between islands, ascending. A gap is one only when what lies above it was read no
    /// earlier than what lies below: after GitHub began its ids anew, or served an old page, there
    /// is nothing between the two.
    fn gaps(&self) -> Vec<(u64, u64)> {
        let islands = self.islands();
        let pairs = islands.windows(2).filter(|pair| pair[0].at <= pair[1].at);
        pairs.map(|pair| (pair[0].last, pair[1].first)).collect()
    }

    /// Adds what lies unseen between the events of reads that show only a part.
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
        // What is seen of all, and how many there are: a read's density is a part of the true one.
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

    /// How many ids were covered by one read, by two, and so on; the last stands for more.
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

/// The part that no read shows, when each shows `part` of the ids that it covers.
fn hidden(depths: &[f64; DEPTHS], part: f64) -> f64 {
    let (mut missed, mut all, mut unseen) = (0.0, 0.0, 1.0);
    for length in depths {
        unseen *= 1.0 - part;
        missed += length * unseen;
        all += length;
    }
    if all > 0.0 { (missed / all).min(0.98) } else { 0.0 }
}

/// What both of two lists of stretches hold; both ascending.
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
