//! The budget of one token: how many requests are left, and when the next one may be sent.
//!
//! Guarantees: there are never more requests in a window than GitHub reported as left (less the
//! share kept for other uses), including those in flight. Requests are spread evenly to the end of
//! the window instead of being used up at once. A small burst lets the pages of a round go
//! together where possible.
//!
//! Pure: takes the current time as an argument and never waits. A value from GitHub is used when
//! it is lower than ours or belongs to a newer window, because responses overtake each other.

use std::time::Duration;

use tokio::time::Instant;

use crate::github::limits::{RateLimits, Reset};

/// The length of GitHub's window.
const WINDOW: Duration = Duration::from_secs(3_600);
/// GitHub's limit of 900 points per minute and endpoint, a request being one point.
const FASTEST: Duration = Duration::from_millis(67);
/// The weight of the newest response in the mean response time.
const NEWEST_WEIGHT: f64 = 0.2;
/// A shorter poll interval, in a response without limits, is the server's permission to poll more
/// often.
const USUAL_INTERVAL: Duration = Duration::from_secs(60);
/// Wait after the first refusal that specifies no time.
const FIRST_PENALTY: Duration = Duration::from_secs(60);
/// Maximum number of seconds by which pacing alone delays the next request; the end of a window
/// ends the delay earlier.
const MOST_AHEAD: f64 = 10.0 * 3_600.0;
/// Maximum wait, however often refusals repeat.
const LONGEST_PENALTY: Duration = Duration::from_secs(3_600);

/// How a budget is used; the same for a whole pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Requests per hour assumed until GitHub reports a limit.
    pub assumed: u64,
    /// The fraction of the limit that may be used here, above 0 and up to 1; the rest is for other
    /// uses.
    pub share: f64,
    /// How many requests may go together when the pace allows; at least 1.
    pub burst: u32,
    /// Minimum interval between two requests, in multiples of the response time: GitHub also
    /// limits the seconds of work for each user. 0 where that does not matter.
    pub answer_times: f64,
}

/// The cost of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// It counts against the limit.
    One,
    /// It is free: a 304, or it was never sent.
    Nothing,
}

/// A request taken from a budget, to be passed to [`Budget::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    at: Instant,
    /// By how much it delayed the next request.
    step: Duration,
}

/// One token's budget for one of GitHub's resources.
#[derive(Debug, Clone)]
pub struct Budget {
    plan: Plan,
    meter: BudgetMeter,
    /// Number of requests in flight.
    under_way: u64,
    /// Requests that ended without a response while others were in flight. A response sent before
    /// them may arrive later and does not include them.
    unheard: u64,
    /// Requests that ended without a response before any of those in flight were sent. The next
    /// response includes them; a window that began by our clock alone does not.
    lost: u64,
    /// When the next request would be due if all of them were evenly spread.
    due: Instant,
    blocked_until: Option<Instant>,
    penalties: u32,
    /// Mean response time, as a weighted average.
    answer_time: Duration,
}

#[derive(Debug, Clone, Copy)]
enum BudgetMeter {
    /// Nothing is known: the plan's assumption applies to every span of an hour.
    Assumed,
    /// The server reports an interval and no limit.
    Interval,
    /// What GitHub reported, less what was sent since.
    Told(LimitWindow),
}

#[derive(Debug, Clone, Copy)]
struct LimitWindow {
    limit: u64,
    left: u64,
    /// GitHub's identifier of the window: the time at which it ends.
    epoch: i64,
    /// The same time by our clock, never earlier.
    reset: Instant,
    /// When the previous window ended, as long as no response has described this one.
    rolled: Option<Instant>,
}

impl LimitWindow {
    /// Combines two observations of one window.
    fn join(self, other: Self) -> Self {
        match (self.rolled, other.rolled) {
            (Some(_), None) => return self,
            (None, Some(_)) => return other,
            _ => {}
        }
        let limit = self.limit.min(other.limit);
        Self {
            limit,
            left: self.left.min(other.left).min(limit),
            epoch: self.epoch,
            reset: self.reset.max(other.reset),
            rolled: self.rolled.max(other.rolled),
        }
    }
}

impl BudgetMeter {
    /// Combines two observations of a limit.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Told(one), Self::Told(two)) if one.epoch == two.epoch => {
                Self::Told(one.join(two))
            }
            (Self::Told(one), Self::Told(two)) => {
                Self::Told(if one.epoch > two.epoch { one } else { two })
            }
            (told @ Self::Told(_), _) | (_, told @ Self::Told(_)) => told,
            (Self::Assumed, Self::Assumed) => Self::Assumed,
            _ => Self::Interval,
        }
    }
}

impl Budget {
    /// A budget without any response yet.
    #[must_use]
    pub fn new(plan: Plan, now: Instant) -> Self {
        Self {
            plan,
            meter: BudgetMeter::Assumed,
            under_way: 0,
            unheard: 0,
            lost: 0,
            due: now,
            blocked_until: None,
            penalties: 0,
            answer_time: Duration::ZERO,
        }
    }

    /// Changes the fraction of the limit that may be used.
    pub fn share(&mut self, share: f64) {
        self.plan.share = share;
    }

    /// Returns the first instant, not before `now`, at which a request may be sent.
    pub fn ready_at(&mut self, now: Instant) -> Instant {
        self.roll(now);
        let blocked = self.blocked_until.unwrap_or(now);
        let budget = match self.meter {
            BudgetMeter::Told(window) if self.usable() == 0 => window.reset,
            _ => {
                let slack = self.step(now) * (self.plan.burst.max(1) - 1);
                self.due.checked_sub(slack).unwrap_or(now)
            }
        };
        now.max(blocked).max(budget)
    }

    /// Takes one request from the budget. Call [`Budget::ready_at`] first.
    pub fn take(&mut self, now: Instant) -> Reservation {
        let step = self.step(now);
        self.under_way += 1;
        self.due = self.due.max(now) + step;
        Reservation { at: now, step }
    }

    /// Settles a request with its response, or with the end of the wait for it.
    pub fn settle(&mut self, now: Instant, taken: Reservation, spent: Spent, limits: &RateLimits) {
        self.under_way = self.under_way.saturating_sub(1);
        if spent == Spent::Nothing {
            self.due = self.due.checked_sub(taken.step).unwrap_or(self.due);
        }
        if self.hear(now, taken, spent, limits) {
            self.lost = 0;
        } else if spent == Spent::One {
            self.unheard += 1;
            if let BudgetMeter::Told(window) = &mut self.meter {
                window.left = window.left.saturating_sub(1);
            }
        }
        if self.under_way == 0 {
            self.lost += std::mem::take(&mut self.unheard);
        }
    }

    /// Sets the requests per hour that are assumed while nothing is reported; `None` changes
    /// nothing.
    pub fn assume(&mut self, now: Instant, limit: Option<u64>) {
        let limit = limit.unwrap_or(self.plan.assumed).max(1);
        if limit != self.plan.assumed {
            self.plan.assumed = limit;
            self.due = now + self.step(now);
        }
    }

    /// Records the response time of a request that was not refused.
    pub fn answered(&mut self, took: Duration) {
        let before = self.answer_time.as_secs_f64();
        let mean = before + (took.as_secs_f64() - before) * NEWEST_WEIGHT;
        self.answer_time = Duration::from_secs_f64(mean.max(0.0));
        self.penalties = 0;
    }

    /// Records that a limit was exceeded: nothing is sent for `wait`, or, where no time was
    /// specified, for a minute and then twice as long each time. Refusals that arrive together
    /// count as one.
    pub fn refused(&mut self, now: Instant, wait: Option<Duration>) {
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

    /// Merges another budget that turned out to be for the same limit: requests in flight are
    /// added, and the more careful of the reported values apply.
    pub fn join(&mut self, other: &Self, now: Instant) {
        let ahead = |due: Instant| due.saturating_duration_since(now);
        self.due = self.due.min(now) + ahead(self.due) + ahead(other.due);
        self.under_way += other.under_way;
        self.unheard += std::mem::take(&mut self.lost) + other.unheard + other.lost;
        self.blocked_until = self.blocked_until.max(other.blocked_until);
        self.penalties = self.penalties.max(other.penalties);
        self.answer_time = self.answer_time.max(other.answer_time);
        self.meter = self.meter.join(other.meter);
    }

    /// Whether it is refused for now, or used up until its window ends.
    pub fn is_exhausted(&mut self, now: Instant) -> bool {
        self.roll(now);
        let blocked = self.blocked_until.is_some_and(|until| until > now);
        blocked || (matches!(self.meter, BudgetMeter::Told(_)) && self.usable() == 0)
    }

    /// Ends what is over: a window or a penalty.
    fn roll(&mut self, now: Instant) {
        if let BudgetMeter::Told(window) = &mut self.meter
            && window.reset <= now
        {
            self.due = self.due.min(window.reset);
            // A request without a response may have arrived after GitHub's window ended, which is
            // slightly earlier than ours.
            window.left = window.limit.saturating_sub(self.unheard + self.lost);
            window.rolled = Some(window.reset);
            window.reset = now + WINDOW;
        }
    }

    /// Requests that may still be sent in this window; meaningless unless the meter has a reported
    /// limit.
    fn usable(&self) -> u64 {
        let BudgetMeter::Told(LimitWindow { limit, left, .. }) = self.meter else {
            return u64::MAX;
        };
        left.saturating_sub(limit - self.part(limit)).saturating_sub(self.under_way)
    }

    /// Our share of a limit: at least one, so that a share of a tiny limit is not zero.
    fn part(&self, limit: u64) -> u64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a limit beyond 2^52 is no limit, and the share lies between 0 and 1"
        )]
        let part = (limit as f64 * self.plan.share) as u64;
        part.clamp(limit.min(1), limit)
    }

    fn step(&self, now: Instant) -> Duration {
        let spread = match self.meter {
            BudgetMeter::Interval => Duration::ZERO,
            BudgetMeter::Assumed => {
                // The burst comes on top of the even flow, so it is deducted from the hour first.
                let part = self.part(self.plan.assumed);
                divide(WINDOW, part.saturating_sub(u64::from(self.plan.burst)).max(1))
            }
            BudgetMeter::Told(LimitWindow { reset, .. }) => {
                divide(reset.saturating_duration_since(now), self.usable().max(1))
            }
        };
        let work = self.answer_time.mul_f64(self.plan.answer_times);
        spread.max(FASTEST).max(work)
    }

    /// Applies the limits in a response. Returns whether it reported what is left.
    fn hear(
        &mut self,
        now: Instant,
        taken: Reservation,
        spent: Spent,
        limits: &RateLimits,
    ) -> bool {
        let Some(told_left) = limits.remaining else {
            let short = limits.poll_interval.is_some_and(|interval| interval < USUAL_INTERVAL);
            if short && !limits.tells_budget() && matches!(self.meter, BudgetMeter::Assumed) {
                self.meter = BudgetMeter::Interval;
                self.due = now;
            }
            return false;
        };
        let before = self.step(now);
        // Without a named window, one of an hour begins with the first response.
        let told = limits.reset.unwrap_or(Reset { epoch: 0, after: WINDOW });
        let left_now = told_left.saturating_sub(self.unheard);
        match &mut self.meter {
            BudgetMeter::Told(window) if told.epoch < window.epoch => {}
            // The response describes a window that is over here. A request sent since then that
            // still reports the old window is right: it has not ended.
            BudgetMeter::Told(LimitWindow { epoch, rolled: Some(over), .. })
                if told.epoch == *epoch && taken.at < *over => {}
            BudgetMeter::Told(window) if told.epoch == window.epoch => {
                window.limit = limits.limit.unwrap_or(window.limit).max(told_left);
                window.left = left_now.min(window.left);
                window.reset = window.reset.min(now + told.after);
            }
            meter => {
                let limit = limits.limit.unwrap_or(told_left).max(told_left);
                let (epoch, reset) = (told.epoch, now + told.after);
                *meter = BudgetMeter::Told(LimitWindow {
                    limit,
                    left: left_now,
                    epoch,
                    reset,
                    rolled: None,
                });
                // A new window starts without the old one's delay, except for the round that this
                // request is part of.
                let round = self.under_way + u64::from(spent == Spent::One);
                let round = round.min(self.plan.burst.into());
                self.due = now + self.step(now) * u32::try_from(round).unwrap_or(u32::MAX);
                return true;
            }
        }
        // Requests that were sent ahead of time stay the same number of requests ahead at the new
        // pace.
        let ahead = self.due.saturating_duration_since(now).as_secs_f64();
        let pace = self.step(now).as_secs_f64() / before.as_secs_f64();
        self.due = self.due.min(now) + Duration::from_secs_f64((ahead * pace).min(MOST_AHEAD));
        true
    }
}

fn divide(span: Duration, parts: u64) -> Duration {
    let nanos = span.as_nanos() / u128::from(parts.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
