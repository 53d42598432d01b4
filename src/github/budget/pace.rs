//! The pace of one kind of request within a budget.

use std::cmp::Ordering;
use std::time::Duration;

use tokio::time::Instant;

/// The weight of the newest response in the mean response time.
const NEWEST_WEIGHT: f64 = 0.2;
/// Wait after the first refusal that specifies no time.
const FIRST_PENALTY: Duration = Duration::from_secs(60);
/// Maximum number of seconds by which pacing alone delays the next request; the end of a window
/// ends the delay earlier.
const MOST_AHEAD: f64 = 10.0 * 3_600.0;
/// Longest response time that is believed: no request may take so long.
const LONGEST_ANSWER: Duration = Duration::from_secs(3_600);
/// Maximum number of points that a request is believed to have cost: ten times what any of ours
/// costs by GitHub's formula. A wrong number must not use up an hour's limit.
const MOST_COST: u64 = 40;
/// The costs of requests are averaged in parts of a point.
const COST_UNIT: u64 = 1_000;
/// Maximum wait, however often refusals repeat.
const LONGEST_PENALTY: Duration = Duration::from_secs(3_600);

/// How one kind of request uses a limit; the same for a whole pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// The fraction of the limit that this kind may use, from 0 to 1.
    pub share: f64,
    /// The fraction of the limit up to which all programs together may use it; the rest is kept for
    /// other programs. At least `share`.
    pub within: f64,
    /// How many requests may go together when the pace allows; at least 1.
    pub burst: u32,
    /// Minimum interval between two requests, in multiples of the response time: GitHub also
    /// limits the seconds of work for each user. 0 where that does not matter.
    pub answer_times: f64,
    /// How much of the limit a request uses, as long as no response says more; at least 1.
    pub points: u64,
}

/// The pace of one kind of request, and what it used.
#[derive(Debug, Clone)]
pub(super) struct BudgetPace {
    pub(super) plan: Plan,
    /// Points of its requests in flight.
    pub(super) in_flight: u64,
    /// Points of its requests that ended in this window.
    pub(super) spent: u64,
    /// How many points of its share they count as.
    counted: u64,
    /// What a request costs, in thousandths of a point: the weighted average of what responses
    /// said.
    cost: u64,
    /// When the next request would be due if all of them were evenly spread.
    pub(super) due: Instant,
    pub(super) blocked_until: Option<Instant>,
    penalties: u32,
    /// Mean response time, as a weighted average.
    answer_time: Duration,
}

impl BudgetPace {
    pub(super) fn new(plan: Plan, now: Instant) -> Self {
        Self {
            plan,
            in_flight: 0,
            spent: 0,
            counted: 0,
            cost: plan.points.saturating_mul(COST_UNIT),
            due: now,
            blocked_until: None,
            penalties: 0,
            answer_time: Duration::ZERO,
        }
    }

    /// Points of its share of `limit` that are neither spent nor in flight.
    pub(super) fn unspent(&self, limit: u64) -> u64 {
        part(limit, self.plan.share).saturating_sub(self.counted.saturating_add(self.in_flight))
    }

    /// Points that a request is assumed to use: what responses say, and at least the plan's.
    pub(super) fn points(&self) -> u64 {
        self.cost.div_ceil(COST_UNIT).max(self.plan.points).max(1)
    }

    /// Records the points that a response says its request has cost. Returns what counts.
    pub(super) fn costs(&mut self, points: u64) -> u64 {
        let points = points.min(MOST_COST);
        self.cost = self.cost.saturating_mul(4).saturating_add(points * COST_UNIT) / 5;
        points
    }

    /// Counts a request that ended.
    pub(super) fn spend(&mut self, points: u64) {
        self.spent = self.spent.saturating_add(points);
        self.counted = self.counted.saturating_add(points);
    }

    /// Changes its share of the limit. What was spent of the old share counts as the same part of
    /// the new one, but never as more than was spent.
    pub(super) fn share(&mut self, share: f64) {
        let before = std::mem::replace(&mut self.plan.share, share);
        if before > 0.0 && share > 0.0 {
            self.counted = scaled(self.counted, share / before).min(self.spent);
        }
    }

    /// Begins to count what is spent.
    pub(super) fn begin_count(&mut self) {
        (self.spent, self.counted) = (0, 0);
    }

    /// Minimum interval between two requests for the time that responses take.
    pub(super) fn work(&self) -> Duration {
        self.answer_time.mul_f64(self.plan.answer_times)
    }

    /// Records the response time of a request that was not refused.
    pub(super) fn answered(&mut self, took: Duration) {
        let before = self.answer_time.as_secs_f64();
        let took = took.min(LONGEST_ANSWER).as_secs_f64();
        let mean = before + (took - before) * NEWEST_WEIGHT;
        self.answer_time = Duration::from_secs_f64(mean.max(0.0));
        self.penalties = 0;
    }

    /// Waits after a refusal: for `wait`, or, where no time was specified, for a minute and then
    /// twice as long each time.
    pub(super) fn refused(&mut self, now: Instant, wait: Option<Duration>) {
        let already = self.blocked_until.is_some_and(|until| until > now);
        if !already {
            self.penalties = self.penalties.saturating_add(1);
        }
        let times = self.penalties.saturating_sub(1).min(12);
        let growing = |first: Duration, most: Duration| first.saturating_mul(1 << times).min(most);
        let wait = match wait {
            // "0" or a reset in the past must not cause a tight loop.
            Some(wait) => wait.max(growing(Duration::from_secs(1), FIRST_PENALTY)),
            None => growing(FIRST_PENALTY, LONGEST_PENALTY),
        };
        let until = now + wait;
        self.blocked_until = Some(self.blocked_until.map_or(until, |earlier| earlier.max(until)));
    }

    /// Merges the same kind of another budget; `newer` compares the other's window with ours. The
    /// longer delay applies, not their sum: what both sent is deducted from what is left of the
    /// limit, and many budgets of one account, each slightly ahead, would silence it for minutes.
    pub(super) fn join(&mut self, other: &Self, newer: Ordering, now: Instant) {
        let most = Duration::from_secs_f64(MOST_AHEAD);
        self.due = self.due.max(other.due).min(now + most);
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
        let of_both = |ours: u64, theirs: u64| match newer {
            Ordering::Less => ours,
            Ordering::Equal => ours.saturating_add(theirs),
            Ordering::Greater => theirs,
        };
        self.spent = of_both(self.spent, other.spent);
        self.counted = of_both(self.counted, other.counted);
        self.cost = self.cost.max(other.cost);
        self.blocked_until = self.blocked_until.max(other.blocked_until);
        self.penalties = self.penalties.max(other.penalties);
        self.answer_time = self.answer_time.max(other.answer_time);
    }

    /// Begins a window with `step` between two requests; `ended` points of the round that is being
    /// sent have been settled.
    pub(super) fn begin(&mut self, now: Instant, step: Duration, ended: u64) {
        let round = self.in_flight.saturating_add(ended) / self.points();
        let round = u32::try_from(round).unwrap_or(u32::MAX).min(self.plan.burst);
        self.due = now + step * round;
    }

    /// Multiplies the time by which requests are ahead.
    pub(super) fn change(&mut self, now: Instant, factor: f64) {
        let ahead = self.due.saturating_duration_since(now).as_secs_f64();
        let ahead = Duration::from_secs_f64((ahead * factor).min(MOST_AHEAD));
        self.due = self.due.min(now) + ahead;
    }
}

/// A fraction of a limit: at least one, so that a share of a tiny limit is not zero, unless the
/// fraction is.
pub(super) fn part(limit: u64, fraction: f64) -> u64 {
    let least = if fraction > 0.0 { limit.min(1) } else { 0 };
    scaled(limit, fraction).clamp(least, limit)
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "limits stay below 2^52 points, and the factor is not negative"
)]
fn scaled(points: u64, factor: f64) -> u64 {
    (points as f64 * factor) as u64
}
