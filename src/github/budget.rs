//! The arithmetic of one token's limits: how many requests are left, and when the next one may go.
//!
//! Promises: never more requests in a window than GitHub said are left (less the share kept for
//! others), counting those under way; spread evenly to the window's end instead of spent at once
//! and waited for; a small burst, so that the pages of a round go together while they can.
//!
//! Pure: it is told the time and never waits. What GitHub says is believed when it is less than
//! what we think, or about a newer window; answers overtake each other.

use std::time::Duration;

use tokio::time::Instant;

use crate::github::limits::{RateLimits, Reset};

/// GitHub's window.
const WINDOW: Duration = Duration::from_secs(3_600);
/// 900 points a minute and endpoint, a request being one.
const FASTEST: Duration = Duration::from_millis(67);
/// The weight of the newest answer in the mean of the times that answers take.
const NEWEST_WEIGHT: f64 = 0.2;
/// A poll interval under this, with no other word on limits, is a server's own leave to ask more.
const USUAL_INTERVAL: Duration = Duration::from_secs(60);
/// After a refusal without any time in it.
const FIRST_PENALTY: Duration = Duration::from_secs(60);
/// The most seconds the next request is put off by pace alone; a window's end lets go of it before.
const MOST_AHEAD: f64 = 10.0 * 3_600.0;
/// However often it happens.
const LONGEST_PENALTY: Duration = Duration::from_secs(3_600);

/// How a budget is used; the same for a whole pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Requests an hour that are taken for granted until GitHub says.
    pub assumed: u64,
    /// The part of the limit that may be used here, above 0 and up to 1; the rest is for others.
    pub share: f64,
    /// How many requests may go together when the pace allows; at least 1.
    pub burst: u32,
    /// The least time between two, in times that an answer takes: GitHub also counts its own
    /// seconds of work for each user. 0 where that does not matter.
    pub answer_times: f64,
}

/// What came of a request, as far as a budget cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// It counts.
    One,
    /// It does not: a 304, or it never left.
    Nothing,
}

/// A request that was taken out of a budget, to be given to [`Budget::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    at: Instant,
    /// By how much it moved the pace.
    step: Duration,
}

/// One token's budget for one of GitHub's resources.
#[derive(Debug, Clone)]
pub struct Budget {
    plan: Plan,
    meter: BudgetMeter,
    /// Requests whose answer is not there yet.
    under_way: u64,
    /// Requests that ended without a word while others were under way: an answer sent before
    /// them may come after them, and does not know of them.
    unheard: u64,
    /// Those that ended so before any that is under way went out. The next answer knows of them;
    /// a window that began by our clock alone does not.
    lost: u64,
    /// When the next request would be due, were all of them evenly spread.
    due: Instant,
    blocked_until: Option<Instant>,
    penalties: u32,
    /// How long answers take, newest weighted.
    answer_time: Duration,
}

#[derive(Debug, Clone, Copy)]
enum BudgetMeter {
    /// Nothing is known: the plan's assumption, in every span of an hour.
    Assumed,
    /// The server names an interval and no limit.
    Interval,
    /// What GitHub said, less what went out since.
    Told(LimitWindow),
}

#[derive(Debug, Clone, Copy)]
struct LimitWindow {
    limit: u64,
    left: u64,
    /// GitHub's name for it: when it ends.
    epoch: i64,
    /// The same by our clock, never earlier.
    reset: Instant,
    /// When the one before ended, if nobody has told us of this one yet.
    rolled: Option<Instant>,
}

impl LimitWindow {
    /// What is known of one window by two ways.
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
    /// What is known of a limit by two ways.
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
    /// A budget nobody has said anything about yet.
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

    /// The first instant, not before `now`, at which a request may go.
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

    /// Takes one request out. Ask [`Budget::ready_at`] first.
    pub fn take(&mut self, now: Instant) -> Reservation {
        let step = self.step(now);
        self.under_way += 1;
        self.due = self.due.max(now) + step;
        Reservation { at: now, step }
    }

    /// The answer to a request that was taken out, or the end of waiting for it.
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

    /// An answer came that is no refusal, after so long.
    pub fn answered(&mut self, took: Duration) {
        let before = self.answer_time.as_secs_f64();
        let mean = before + (took.as_secs_f64() - before) * NEWEST_WEIGHT;
        self.answer_time = Duration::from_secs_f64(mean.max(0.0));
        self.penalties = 0;
    }

    /// Too much was asked: nothing goes out for `wait`, or, where nobody said how long, for a
    /// minute and then twice as long each time. Refusals that arrive together count as one.
    pub fn refused(&mut self, now: Instant, wait: Option<Duration>) {
        let already = self.blocked_until.is_some_and(|until| until > now);
        if !already {
            self.penalties = self.penalties.saturating_add(1);
        }
        let times = self.penalties.saturating_sub(1).min(12);
        let growing = |first: Duration, most: Duration| first.saturating_mul(1 << times).min(most);
        let wait = match wait {
            // "0" and a reset in the past must not become a tight loop.
            Some(wait) => wait.max(growing(Duration::from_secs(1), FIRST_PENALTY)),
            None => growing(FIRST_PENALTY, LONGEST_PENALTY),
        };
        let until = now + wait;
        self.blocked_until = Some(self.blocked_until.map_or(until, |earlier| earlier.max(until)));
    }

    /// Takes in another budget, which was found to be one for the same limit: what both have out
    /// counts, and of what both were told the more careful.
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

    /// Lets go of what is over.
    fn roll(&mut self, now: Instant) {
        if let BudgetMeter::Told(window) = &mut self.meter
            && window.reset <= now
        {
            self.due = self.due.min(window.reset);
            // Whoever has not been heard of may have come after GitHub's window had ended, which
            // is a little earlier than ours.
            window.left = window.limit.saturating_sub(self.unheard + self.lost);
            window.rolled = Some(window.reset);
            window.reset = now + WINDOW;
        }
    }

    /// Requests that may still go in this window; meaningless without a meter that was told.
    fn usable(&self) -> u64 {
        let BudgetMeter::Told(LimitWindow { limit, left, .. }) = self.meter else {
            return u64::MAX;
        };
        left.saturating_sub(limit - self.part(limit)).saturating_sub(self.under_way)
    }

    /// Our part of a limit: at least one, so that a share of a tiny limit is not nothing.
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
                // The burst comes on top of the even flow, so it is taken off the hour first.
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

    /// Takes in what an answer says; whether it said what is left.
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
        // Where no window is named, there is one of an hour, from the first word on.
        let told = limits.reset.unwrap_or(Reset { epoch: 0, after: WINDOW });
        let left_now = told_left.saturating_sub(self.unheard);
        match &mut self.meter {
            BudgetMeter::Told(window) if told.epoch < window.epoch => {}
            // The end of a window that is over here; who went out since then and is still told of
            // it knows better.
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
                // A new window owes the old one nothing but the round that this is one of.
                let round = self.under_way + u64::from(spent == Spent::One);
                let round = round.min(self.plan.burst.into());
                self.due = now + self.step(now) * u32::try_from(round).unwrap_or(u32::MAX);
                return true;
            }
        }
        // What has gone out ahead of time stays so many requests ahead, at the new pace.
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
