//! The budget of one of an account's limits: how many requests are left, and when the next one may
//! be sent. Several kinds of requests share it, each with its own pace: those that the stream
//! needs, those for the commits of pushes, and those beside the stream.
//!
//! Guarantees: there are never more requests in a window than GitHub reported as left (less the
//! share kept for other programs), including those in flight. No kind sends more than its share of
//! the limit, whatever the others do; but after a restart within the hour nothing is known of
//! what it sent before, so it may then send more, as long as GitHub reports that much as left. When
//! a share changes within a window, what was sent counts in proportion. When other programs leave
//! less, all kinds send less, in the proportion of what each could still send. Requests are spread
//! evenly to the end of the window instead of being used up at once, and slower when other programs
//! will use a part of what is left. A small burst lets the pages of a round go together where
//! possible.
//!
//! Pure: takes the current time as an argument and never waits. A value from GitHub is used when
//! it is lower than ours or belongs to a newer window, because responses overtake each other.

mod pace;
mod unheard;
mod window;

use std::cmp::Ordering;
use std::time::Duration;

use tokio::time::Instant;

pub use self::pace::Plan;
use self::pace::{BudgetPace, part};
use self::unheard::UnheardPoints;
use self::window::{BudgetMeter, LimitWindow, WINDOW};
use crate::github::limits::{RateLimits, Reset};

/// GitHub's limit of 900 points per minute and endpoint, a request being one point.
const FASTEST: Duration = Duration::from_millis(67);
/// A shorter poll interval, in a response without limits, is the server's permission to poll more
/// often.
const USUAL_INTERVAL: Duration = Duration::from_secs(60);
/// Requests become this many times slower at most for what other programs will probably use,
/// because that is an estimate.
const MOST_SLOWED: u64 = 5;
/// How long before the end of a window, by our clock, a response may say that it is over, or
/// describe the next one.
const EARLY: Duration = Duration::from_secs(60);
/// Number of kinds of requests.
pub const KINDS: usize = 3;
/// All kinds, in the order of their paces.
const USES: [BudgetUse; KINDS] = [BudgetUse::Stream, BudgetUse::Pushes, BudgetUse::Extra];

/// The kind of a request. All are counted against the same limit, each has a share of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetUse {
    /// The stream needs it.
    Stream = 0,
    /// It asks for the commits of pushes.
    Pushes = 1,
    /// It adds to the stream or checks it.
    Extra = 2,
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
    of: BudgetUse,
    at: Instant,
    points: u64,
    /// By how much it delayed the next request.
    step: Duration,
}

/// One account's budget for one of GitHub's resources.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Points per hour assumed until GitHub reports a limit.
    assumed: u64,
    meter: BudgetMeter,
    unheard: UnheardPoints,
    /// By [`BudgetUse`].
    paces: [BudgetPace; KINDS],
}

/// What a response said about the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LimitNews {
    /// Nothing that is believed.
    Nothing,
    /// It describes a window that is over here.
    Outdated,
    /// It describes the window that is known, or one that replaces it long before its end.
    Same,
    /// It describes a new window.
    New,
}

impl Budget {
    /// A budget without any response yet, with the plan of each [`BudgetUse`].
    #[must_use]
    pub fn new(assumed: u64, plans: [Plan; KINDS], now: Instant) -> Self {
        Self {
            assumed,
            meter: BudgetMeter::Assumed,
            unheard: UnheardPoints::default(),
            paces: plans.map(|plan| BudgetPace::new(plan, now)),
        }
    }

    /// Changes the fraction of the limit that a kind may use, and up to which it may be used. Where
    /// it is smaller than before, the kind continues at a slower pace in this window too.
    pub fn share(&mut self, of: BudgetUse, share: f64, within: f64) {
        let pace = self.pace_mut(of);
        pace.share(share);
        pace.plan.within = within;
    }

    /// Changes the minimum interval between two requests of a kind, in multiples of the response
    /// time.
    pub fn space(&mut self, of: BudgetUse, answer_times: f64) {
        self.pace_mut(of).plan.answer_times = answer_times;
    }

    /// Returns the first instant, not before `now`, at which a request may be sent.
    pub fn ready_at(&mut self, of: BudgetUse, now: Instant) -> Instant {
        self.roll(now);
        let pace = self.pace(of);
        let blocked = pace.blocked_until.unwrap_or(now);
        let budget = match self.meter {
            BudgetMeter::Reported(window) if self.usable(of) == 0 => window.reset,
            _ => {
                let slack = self.step(of, now) * (pace.plan.burst.max(1) - 1);
                pace.due.checked_sub(slack).unwrap_or(now)
            }
        };
        now.max(blocked).max(budget)
    }

    /// Takes one request from the budget. Call [`Budget::ready_at`] first.
    pub fn take(&mut self, of: BudgetUse, now: Instant) -> Reservation {
        let step = self.step(of, now);
        let pace = self.pace_mut(of);
        let points = pace.points();
        pace.in_flight = pace.in_flight.saturating_add(points);
        pace.due = pace.due.max(now) + step;
        Reservation { of, at: now, points, step }
    }

    /// Settles a request with its response, or with the end of the wait for it.
    pub fn settle(&mut self, now: Instant, taken: Reservation, spent: Spent, limits: &RateLimits) {
        let pace = self.pace_mut(taken.of);
        pace.in_flight = pace.in_flight.saturating_sub(taken.points);
        if spent == Spent::Nothing {
            pace.due = pace.due.checked_sub(taken.step).unwrap_or(pace.due);
        }
        let before = USES.map(|of| self.step(of, now));
        let news = self.hear(now, taken, limits);
        let pace = self.pace_mut(taken.of);
        let points = match (spent, limits.cost) {
            (Spent::Nothing, _) => 0,
            (Spent::One, Some(cost)) => pace.costs(cost),
            (Spent::One, None) => taken.points,
        };
        pace.spend(points);
        match news {
            LimitNews::Nothing => self.miss(now, points),
            LimitNews::Outdated | LimitNews::Same => self.keep_pace(now, before),
            LimitNews::New => self.begin_pace(now, taken.of, points),
        }
        self.unheard.settle(news != LimitNews::Nothing, self.in_flight() == 0);
    }

    /// Records the response time of a request that was not refused.
    pub fn answered(&mut self, of: BudgetUse, took: Duration) {
        self.pace_mut(of).answered(took);
    }

    /// Records that a limit was exceeded: nothing is sent for `wait`, or, where no time was
    /// specified, for a minute and then twice as long each time. Refusals that arrive together
    /// count as one.
    pub fn refused(&mut self, of: BudgetUse, now: Instant, wait: Option<Duration>) {
        self.pace_mut(of).refused(now, wait);
    }

    /// Brings the end of the window and of all waits forward by `time`, which has passed without
    /// the monotonic clock: the machine was suspended.
    pub fn bring_forward(&mut self, time: Duration, now: Instant) {
        let earlier = |at: Instant| at.checked_sub(time).unwrap_or(now);
        if let BudgetMeter::Reported(window) = &mut self.meter {
            window.reset = earlier(window.reset);
        }
        for pace in &mut self.paces {
            pace.due = earlier(pace.due);
            pace.blocked_until = pace.blocked_until.map(earlier);
        }
    }

    /// Merges another budget that turned out to be for the same limit: requests in flight and
    /// those of this window are added, and the more careful of the reported values apply.
    pub fn join(&mut self, mut other: Self, now: Instant) {
        self.roll(now);
        other.roll(now);
        let newer = self.meter.compare(other.meter);
        for (pace, theirs) in self.paces.iter_mut().zip(&other.paces) {
            pace.join(theirs, newer, now);
        }
        self.unheard.join(&other.unheard, now);
        self.meter = self.meter.join(other.meter);
    }

    /// Whether a kind is refused for now, or has used up its share until the window ends.
    pub fn is_exhausted(&mut self, of: BudgetUse, now: Instant) -> bool {
        self.roll(now);
        let blocked = self.pace(of).blocked_until.is_some_and(|until| until > now);
        blocked || (matches!(self.meter, BudgetMeter::Reported(_)) && self.usable(of) == 0)
    }

    /// Ends what is over: a window or a penalty.
    fn roll(&mut self, now: Instant) {
        if let BudgetMeter::Reported(window) = &mut self.meter
            && window.reset <= now
        {
            for pace in &mut self.paces {
                pace.due = pace.due.min(window.reset);
                pace.begin_count();
            }
            // Nothing would be sent any more, and so nothing heard of a new limit.
            if window.limit == 0 {
                self.meter = BudgetMeter::Assumed;
                return;
            }
            // A request without a response may have arrived after GitHub's window ended, which is
            // slightly earlier than ours.
            window.left = window.limit.saturating_sub(self.unheard.after(window.reset));
            window.rolled = Some(window.reset);
            window.reset = now + WINDOW;
            window.first = (now, window.left);
        }
    }

    fn pace(&self, of: BudgetUse) -> &BudgetPace {
        &self.paces[of as usize]
    }

    fn pace_mut(&mut self, of: BudgetUse) -> &mut BudgetPace {
        &mut self.paces[of as usize]
    }

    /// Points of all requests in flight.
    fn in_flight(&self) -> u64 {
        self.paces.iter().fold(0, |sum, pace| sum.saturating_add(pace.in_flight))
    }

    /// Requests of a kind that may still be sent in this window; meaningless unless the meter has a
    /// reported limit.
    fn usable(&self, of: BudgetUse) -> u64 {
        match self.meter {
            BudgetMeter::Reported(LimitWindow { limit, left, .. }) => self.part_of(of, limit, left),
            _ => u64::MAX,
        }
    }

    /// The same where this many points of the limit are left.
    fn part_of(&self, of: BudgetUse, limit: u64, left: u64) -> u64 {
        let (within, points) = (self.pace(of).plan.within, self.pace(of).points());
        let above = |within| {
            let above = left.saturating_sub(limit - part(limit, within));
            above.saturating_sub(self.in_flight())
        };
        let unspent = USES.map(|kind| {
            let pace = self.pace(kind);
            let unspent = pace.unspent(limit);
            // A kind that must leave more than this one gets no more than is above that.
            let is_behind = pace.plan.within < within;
            if is_behind { unspent.min(above(pace.plan.within)) } else { unspent }
        });
        let (left, own) = (u128::from(above(within)), u128::from(unspent[of as usize]));
        let all = unspent.into_iter().map(u128::from).sum::<u128>();
        // Rounded up, so that the last point is not left to nobody: it is there once only, because
        // a request in flight has left the budget already.
        let own = if left < all { (own * left).div_ceil(all) } else { own };
        u64::try_from(own).unwrap_or(u64::MAX) / points
    }

    fn step(&self, of: BudgetUse, now: Instant) -> Duration {
        let pace = self.pace(of);
        let plan = pace.plan;
        let spread = match self.meter {
            BudgetMeter::Interval => Duration::ZERO,
            BudgetMeter::Assumed => {
                // The burst comes on top of the even flow, so it is deducted from the hour first.
                let part = part(self.assumed, plan.share) / pace.points();
                divide(WINDOW, part.saturating_sub(u64::from(plan.burst)).max(1))
            }
            BudgetMeter::Reported(window) => {
                let LimitWindow { limit, left, reset, .. } = window;
                let spent = self.paces.iter().fold(0, |sum: u64, it| sum.saturating_add(it.spent));
                let left_then = left.saturating_sub(window.expected(spent, now));
                let least = self.part_of(of, limit, left) / MOST_SLOWED;
                let count = self.part_of(of, limit, left_then).max(least);
                divide(reset.saturating_duration_since(now), count.max(1))
            }
        };
        spread.max(FASTEST).max(pace.work())
    }

    /// Applies the limits in a response.
    fn hear(&mut self, now: Instant, taken: Reservation, limits: &RateLimits) -> LimitNews {
        let Some(reported_left) = limits.remaining else {
            let short = limits.poll_interval.is_some_and(|interval| interval < USUAL_INTERVAL);
            if short && !limits.reports_budget() && matches!(self.meter, BudgetMeter::Assumed) {
                self.meter = BudgetMeter::Interval;
                self.paces.iter_mut().for_each(|pace| pace.due = now);
            }
            return LimitNews::Nothing;
        };
        let left = reported_left.saturating_sub(self.unheard.missing_in(taken.at));
        let unnamed = match self.meter {
            BudgetMeter::Reported(window) => {
                let after = window.reset.saturating_duration_since(now);
                Reset { epoch: window.latest, after }
            }
            // One of an hour begins with the first response.
            _ => Reset { epoch: 0, after: WINDOW },
        };
        let reported = limits.reset.unwrap_or(unnamed);
        if let BudgetMeter::Reported(window) = &mut self.meter {
            match (window.compare(reported.epoch), window.rolled) {
                // What was known of the window that is over here was wrong.
                (Ordering::Less, Some(over)) if taken.at >= over && !reported.after.is_zero() => {}
                (Ordering::Less, _) if taken.at >= window.first.0 => return LimitNews::Nothing,
                (Ordering::Less, _) => return LimitNews::Outdated,
                // The response describes a window that is over here. A request sent since then
                // that still reports the old window is right: it has not ended.
                (Ordering::Equal, Some(over)) if taken.at < over => return LimitNews::Outdated,
                // But not when it reports that the window is over.
                (Ordering::Equal, Some(_)) if reported.after.is_zero() => {
                    return LimitNews::Nothing;
                }
                (Ordering::Equal, _) => {
                    window.limit = limits.limit.unwrap_or(window.limit).max(reported_left);
                    window.left = left.min(window.left);
                    window.ends(reported, now);
                    return LimitNews::Same;
                }
                (Ordering::Greater, _) => {}
            }
        }
        // If the last window has ended here too, what was sent since then is in this one. Counting
        // begins anew only if this window comes near the end of the last one, or if the last one
        // is over by GitHub's clock, because this machine was suspended.
        let (is_rolled, is_early) = match self.meter {
            BudgetMeter::Reported(LimitWindow { rolled, reset, latest, .. }) => {
                let is_early = rolled.is_none() && reset > now + EARLY;
                (rolled.is_some(), is_early && !reported.is_sent_after(latest))
            }
            _ => (false, false),
        };
        let is_over = reported.after.is_zero();
        if !is_rolled && !is_early {
            self.paces.iter_mut().for_each(BudgetPace::begin_count);
        }
        let limit = limits.limit.unwrap_or(reported_left).max(reported_left);
        let after = if is_over { WINDOW } else { reported.after };
        // What was left of a window that is over says nothing about the next one.
        let left = if is_over { limit } else { left };
        let (epoch, latest, reset) = (reported.epoch, reported.epoch, now + after);
        let (rolled, first) = (is_over.then_some(now), (now, left));
        let window = LimitWindow { limit, left, epoch, latest, reset, rolled, first };
        self.meter = BudgetMeter::Reported(window);
        if is_early || is_over { LimitNews::Same } else { LimitNews::New }
    }

    /// Counts a request whose response said nothing that is believed about what is left.
    fn miss(&mut self, now: Instant, points: u64) {
        self.unheard.add(now, points);
        if let BudgetMeter::Reported(window) = &mut self.meter {
            window.left = window.left.saturating_sub(points);
        }
    }

    /// A new window starts without the old one's delay, except for the round of the request whose
    /// response reported it.
    fn begin_pace(&mut self, now: Instant, of: BudgetUse, spent: u64) {
        for other in USES {
            let step = self.step(other, now);
            let ended = if other == of { spent } else { 0 };
            self.pace_mut(other).begin(now, step, ended);
        }
    }

    /// Requests that were sent ahead of time stay the same number of requests ahead at the new
    /// pace.
    fn keep_pace(&mut self, now: Instant, before: [Duration; KINDS]) {
        for (of, before) in USES.into_iter().zip(before) {
            let change = self.step(of, now).as_secs_f64() / before.as_secs_f64();
            self.pace_mut(of).change(now, change);
        }
    }
}

fn divide(span: Duration, parts: u64) -> Duration {
    let nanos = span.as_nanos() / u128::from(parts.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
