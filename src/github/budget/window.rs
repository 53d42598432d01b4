//! What is known of a limit: the window that GitHub reported, or that it reported none.

use std::cmp::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::github::limits::Reset;

/// The length of GitHub's window.
pub(super) const WINDOW: Duration = Duration::from_secs(3_600);
/// Seconds by which the ends may differ that responses report of one window: GitHub's differ by a
/// second or two. The ends of two windows differ by an hour.
const SAME_END: u64 = 10;

#[derive(Debug, Clone, Copy)]
pub(super) enum BudgetMeter {
    /// Nothing is known: the assumed limit applies to every span of an hour.
    Assumed,
    /// The server reports an interval and no limit.
    Interval,
    /// What GitHub reported, less what was sent since.
    Reported(LimitWindow),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct LimitWindow {
    pub(super) limit: u64,
    pub(super) left: u64,
    /// When it ends, as the first response about it said, in seconds since 1970 by GitHub's clock;
    /// identifies it.
    pub(super) epoch: i64,
    /// The latest end that a response about it said.
    pub(super) latest: i64,
    /// That time by our clock, never earlier.
    pub(super) reset: Instant,
    /// When the previous window ended, as long as no response has described this one.
    pub(super) rolled: Option<Instant>,
    /// When it was first seen, and what was left then.
    pub(super) first: (Instant, u64),
}

/// The shortest time from which the pace of other programs is estimated.
const WATCHED: Duration = Duration::from_secs(600);

impl LimitWindow {
    /// Whether a window that ends at `epoch` is later (`Greater`), earlier or this one.
    pub(super) fn compare(&self, epoch: i64) -> Ordering {
        if epoch.abs_diff(self.epoch) <= SAME_END {
            Ordering::Equal
        } else {
            epoch.cmp(&self.epoch)
        }
    }

    /// Applies the end that a response about this window reported.
    pub(super) fn ends(&mut self, reported: Reset, now: Instant) {
        let apart = Duration::from_secs(reported.epoch.abs_diff(self.latest));
        if reported.epoch > self.latest {
            self.latest = reported.epoch;
            self.reset = (self.reset + apart).min(now + reported.after);
        } else {
            self.reset = self.reset.min(now + reported.after + apart);
        }
    }

    /// Points that other programs will probably use until the window ends, if they send as before.
    /// `own` were used by this process.
    pub(super) fn expected(&self, own: u64, now: Instant) -> u64 {
        let (since, left) = self.first;
        let others = u128::from(left.saturating_sub(self.left).saturating_sub(own));
        let watched = now.saturating_duration_since(since).max(WATCHED);
        let ahead = self.reset.saturating_duration_since(now);
        let expected = others.saturating_mul(ahead.as_millis()) / watched.as_millis().max(1);
        u64::try_from(expected).unwrap_or(u64::MAX)
    }

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
            latest: self.latest.max(other.latest),
            reset: self.reset.max(other.reset),
            rolled: self.rolled.max(other.rolled),
            first: self.first.min(other.first),
        }
    }
}

impl BudgetMeter {
    /// Whether `other` is about a later (`Greater`), an earlier or the same window, as far as is
    /// known.
    pub(super) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Reported(one), Self::Reported(two)) => one.compare(two.epoch),
            _ => Ordering::Equal,
        }
    }

    /// Combines two observations of a limit.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Reported(one), Self::Reported(two)) => {
                Self::Reported(match one.compare(two.epoch) {
                    Ordering::Equal => one.join(two),
                    Ordering::Less => one,
                    Ordering::Greater => two,
                })
            }
            (reported @ Self::Reported(_), _) | (_, reported @ Self::Reported(_)) => reported,
            (Self::Assumed, Self::Assumed) => Self::Assumed,
            _ => Self::Interval,
        }
    }
}
