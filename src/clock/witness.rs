//! Decides whether the machine's clock can be trusted, by comparing it with other sources of time.
//!
//! A clock that jumps must not delete anything: retention, backups and archives use it only while a
//! witness agrees with it to within [`TOLERANCE`]. The witnesses are GitHub (the `Date` of its
//! responses), the newest event of the store, the last pass of retention, and the monotonic clock
//! since the wall clock was last confirmed. The newest event may have been stamped by the very
//! clock that it is compared with, so it confirms that clock only where GitHub's `created_at` is
//! close to the time of receipt. `Date` may come from that clock, too: a proxy writes its own. So
//! after a start or a jump of the clock `created_at` must not contradict both. `Evidence` is pure:
//! it takes the times as arguments.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::Clock;
use crate::model::names::names;
use crate::model::window::Timestamp;
use crate::sync::lock;

/// The largest difference between clocks that agree.
pub const TOLERANCE: Duration = Duration::from_secs(60);
/// How long the time of a witness is extended by the monotonic clock, which does not advance while
/// the machine is suspended.
const VALID_FOR: Duration = Duration::from_secs(3_600);
/// How long after its last confirmation a wall clock that advances like the monotonic clock is
/// believed rather than GitHub's `Date`. Not for good: after a pause of the machine both clocks are
/// behind by the same time, which events show.
const DATE_DOUBTED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// How long new events must have confirmed the clock until it outweighs a pass of retention in the
/// future: that pass was made by a clock, and confirmed by a witness, that were wrong.
const IN_STEP: Duration = Duration::from_secs(600);
/// How long after a start, or a jump of the clock, GitHub's `Date` has to agree with it where no
/// events come and none wait: those that GitHub shows are applied meanwhile.
const SETTLED: Duration = Duration::from_secs(10);
/// How long after the start schedules that delete nothing wait for a first witness.
const FIRST_WITNESS_WAIT: Duration = Duration::from_secs(120);
/// Time between two checks while waiting for a trusted clock.
pub const LOOK: Duration = Duration::from_secs(2);

/// Seconds since 1970 at a moment before this program existed: a clock that shows an earlier time
/// has lost its own. It decides which of two clocks that disagree is right when nothing else is
/// known, at a node's first start.
const FIRST_VERSION: i64 = 1_793_491_200;

/// The name of the verdict that a witness contradicts the clock.
pub const DISAGREES: &str = "disagrees";

names! {
    /// A source of time that the machine's clock is compared with.
    pub enum ClockWitness {
        /// GitHub: the `Date` of its last response, plus the time since.
        GitHub = "github",
        /// The newest event of the store: a lower bound, which may confirm the clock.
        NewestEvent = "newest_event",
        /// The last pass of retention: a lower bound.
        LastPass = "last_pass",
        /// The monotonic clock, since the wall clock was last confirmed.
        Monotonic = "monotonic",
    }
}

impl ClockWitness {
    fn words(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub's Date",
            Self::NewestEvent => "the newest event of the store",
            Self::LastPass => "the last pass of retention",
            Self::Monotonic => "the monotonic clock of this machine",
        }
    }
}

/// Whether the witnesses confirm the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockVerdict {
    /// A witness agrees, and no stronger one disagrees.
    Agrees,
    /// There is no evidence.
    Unconfirmed,
    /// A witness contradicts the clock.
    Disagrees {
        /// The witness.
        who: ClockWitness,
        /// How many microseconds the machine's clock is ahead of it; negative when behind.
        ahead: i64,
    },
}

impl ClockVerdict {
    /// Whether data may be deleted by this clock.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        self == Self::Agrees
    }

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Unconfirmed => "unconfirmed",
            Self::Disagrees { .. } => DISAGREES,
        }
    }

    /// Seconds that the machine's clock is ahead of the witness that disagrees; 0 when it is
    /// confirmed, `None` without evidence.
    #[must_use]
    pub fn seconds_ahead(self) -> Option<f64> {
        match self {
            Self::Agrees => Some(0.0),
            Self::Unconfirmed => None,
            #[expect(clippy::cast_precision_loss, reason = "fractions of a second do not matter")]
            Self::Disagrees { ahead, .. } => Some(ahead as f64 / 1e6),
        }
    }
}

/// For operators: the difference, and its consequence.
impl fmt::Display for ClockVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agrees => write!(f, "the clock is confirmed"),
            Self::Unconfirmed => {
                write!(f, "the clock is not confirmed yet: nothing expires by age")
            }
            Self::Disagrees { who, ahead } => {
                let side = if *ahead < 0 { "behind" } else { "ahead of" };
                let (by, who) = (shown(ahead.unsigned_abs()), who.words());
                write!(
                    f,
                    "the clock of this machine is {by} {side} {who}: nothing expires by age until \
                     they agree; set the clock"
                )
            }
        }
    }
}

/// A duration in its two largest units.
fn shown(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest} s"),
        (0, 0, _) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// When the newest event of the store was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewestReceipt {
    /// The time that is stored.
    pub at: Timestamp,
    /// Whether GitHub's `created_at` confirms it.
    pub is_confirmed: bool,
    /// Whether GitHub created the events of that time later: the clock that stamped them was
    /// behind.
    pub is_before_created: bool,
}

impl NewestReceipt {
    /// The time that is stored is the end of a minute; the event came up to a minute before.
    fn earliest(self) -> Timestamp {
        self.at.minus(Duration::from_secs(60))
    }

    /// Whether the event was received just now, by a clock that shows `wall`.
    fn is_about(self, wall: Timestamp) -> bool {
        (self.earliest().minus(TOLERANCE)..=self.at.plus(TOLERANCE)).contains(&wall)
    }
}

/// A wall time that was right at an instant of the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct KnownTime {
    wall: Timestamp,
    at: Instant,
}

impl KnownTime {
    /// The wall time at `at`; `None` when the known time is too old.
    fn wall_at(self, at: Instant) -> Option<Timestamp> {
        (at.saturating_duration_since(self.at) <= VALID_FOR).then(|| self.advanced_to(at))
    }

    /// The wall time at `at`, if the machine was not suspended since.
    fn advanced_to(self, at: Instant) -> Timestamp {
        self.wall.plus(at.saturating_duration_since(self.at))
    }
}

/// The times that the witnesses have reported.
#[derive(Debug, Default)]
struct Evidence {
    github: Option<KnownTime>,
    newest: Option<NewestReceipt>,
    pass: Option<Timestamp>,
    /// When the wall clock was last confirmed.
    agreed: Option<KnownTime>,
    /// Since when the newest event has confirmed the wall clock without a break.
    in_step: Option<Instant>,
    /// Since when GitHub has agreed with the wall clock, without a jump of both.
    github_agrees: Option<KnownTime>,
    /// Whether an event arrived while GitHub's `Date` agreed with the wall clock, and its
    /// `created_at` was far from both.
    events_contradict_date: bool,
}

/// Microseconds from `b` to `a`.
fn ahead(a: Timestamp, b: Timestamp) -> i64 {
    a.micros().saturating_sub(b.micros())
}

fn agree(a: Timestamp, b: Timestamp) -> bool {
    a.since(b) <= TOLERANCE && b.since(a) <= TOLERANCE
}

impl Evidence {
    /// Judges a wall clock that shows `wall`, and remembers a confirmed one.
    fn judge(&mut self, wall: Timestamp, at: Instant) -> ClockVerdict {
        self.in_step = self.newest_confirms(wall).then(|| self.in_step.unwrap_or(at));
        let agrees = self.github_now(at).is_some_and(|github| agree(wall, github));
        let since = self.github_agrees.filter(|since| agree(wall, since.advanced_to(at)));
        self.github_agrees = agrees.then(|| since.unwrap_or(KnownTime { wall, at }));
        if self.in_step.is_some() || self.is_continuous(wall, at) {
            self.events_contradict_date = false;
        } else if agrees && self.newest.is_some_and(|newest| newest.is_about(wall)) {
            self.events_contradict_date = true;
        }
        let verdict = self.verdict(wall, at);
        if verdict.is_trusted() {
            self.agreed = Some(KnownTime { wall, at });
        }
        verdict
    }

    /// Asks the witnesses one after another, the most reliable first.
    fn verdict(&self, wall: Timestamp, at: Instant) -> ClockVerdict {
        let disagrees = |who, other| ClockVerdict::Disagrees { who, ahead: ahead(wall, other) };
        if let Some(github) = self.github_now(at) {
            return if !agree(wall, github) {
                disagrees(ClockWitness::GitHub, github)
            } else if self.supports_github(wall, at) {
                ClockVerdict::Agrees
            } else {
                ClockVerdict::Unconfirmed
            };
        }
        let is_in_step = self.in_step.is_some_and(|since| at - since >= IN_STEP);
        let newest = self.newest.map(NewestReceipt::earliest);
        let pass = self.pass.filter(|_| !is_in_step);
        for (who, past) in [(ClockWitness::NewestEvent, newest), (ClockWitness::LastPass, pass)] {
            if let Some(past) = past.filter(|past| past.since(wall) > TOLERANCE) {
                return disagrees(who, past);
            }
        }
        if let Some(expected) = self.agreed.and_then(|agreed| agreed.wall_at(at))
            && !agree(wall, expected)
        {
            return disagrees(ClockWitness::Monotonic, expected);
        }
        if self.newest_confirms(wall) { ClockVerdict::Agrees } else { ClockVerdict::Unconfirmed }
    }

    /// Whether the newest event confirms the wall clock.
    fn newest_confirms(&self, wall: Timestamp) -> bool {
        self.newest.is_some_and(|newest| newest.is_confirmed && newest.is_about(wall))
    }

    /// What time it is by GitHub's last `Date`.
    fn github_now(&self, at: Instant) -> Option<Timestamp> {
        self.github.and_then(|heard| heard.wall_at(at))
    }

    /// Whether the wall clock has advanced with the monotonic one since it was confirmed.
    fn is_continuous(&self, wall: Timestamp, at: Instant) -> bool {
        let expected = self.agreed.and_then(|agreed| agreed.wall_at(at));
        expected.is_some_and(|expected| agree(wall, expected))
    }

    /// Whether something else supports a `Date` that agrees with the wall clock, or nothing is to
    /// be expected to.
    fn supports_github(&self, wall: Timestamp, at: Instant) -> bool {
        let is_settled = || self.github_agrees.is_some_and(|since| at - since.at >= SETTLED);
        self.newest.is_none()
            || self.newest_confirms(wall)
            || self.is_continuous(wall, at)
            || !self.events_contradict_date && is_settled()
    }

    /// The receive time for a response of GitHub: the wall clock's, unless GitHub contradicts it
    /// and no other witness supports it.
    fn stamp(&self, wall: Timestamp, at: Instant) -> Timestamp {
        let Some(github) = self.github_now(at) else { return wall };
        if agree(wall, github) {
            return wall;
        }
        let is_impossible = |time: Timestamp| {
            let newest = self.newest.map(NewestReceipt::earliest);
            let pasts = [newest, self.pass, Some(Timestamp::from_seconds(FIRST_VERSION))];
            pasts.into_iter().flatten().any(|past| past.since(time) > TOLERANCE)
        };
        if let Some(agreed) = self.agreed {
            // The one that advanced like the monotonic clock is right, unless events show that the
            // machine was paused.
            let is_late = self.newest.is_some_and(|newest| newest.is_before_created);
            let is_in_step =
                at - agreed.at <= DATE_DOUBTED_FOR && agree(wall, agreed.advanced_to(at));
            if is_in_step && !is_late && !is_impossible(wall) {
                return wall;
            }
            if agreed.wall_at(at).is_some() {
                return github;
            }
        }
        if is_impossible(github) && !is_impossible(wall) { wall } else { github }
    }
}

/// Collects the times of the witnesses, and judges the machine's clock by them.
#[derive(Debug)]
pub struct Witness {
    clock: Clock,
    since: Instant,
    evidence: Mutex<Evidence>,
}

impl Witness {
    /// Starts without evidence.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, since: clock.instant(), evidence: Mutex::default() }
    }

    fn evidence(&self) -> MutexGuard<'_, Evidence> {
        lock(&self.evidence)
    }

    /// Records the `Date` of a response that GitHub sent just now.
    pub fn record_date(&self, date: Timestamp) {
        let at = self.clock.instant();
        self.evidence().github = Some(KnownTime { wall: date, at });
    }

    /// Records when the newest event of the store was received.
    pub fn record_newest(&self, newest: Option<NewestReceipt>) {
        self.evidence().newest = newest;
    }

    /// Records whether admitted events wait to be applied. While they do, the newest event of the
    /// store is an old one, which neither contradicts GitHub's `Date` nor supports it, so the
    /// time for which `Date` has to agree begins again.
    pub fn record_waiting(&self, is_waiting: bool) {
        if is_waiting {
            self.evidence().github_agrees = None;
        }
    }

    /// Records the time of retention's last pass.
    pub fn record_pass(&self, at: Option<Timestamp>) {
        self.evidence().pass = at;
    }

    /// The time of retention's last pass; `None` before the first.
    #[must_use]
    pub fn last_pass(&self) -> Option<Timestamp> {
        self.evidence().pass
    }

    /// Judges the machine's clock now.
    #[must_use]
    pub fn judge(&self) -> ClockVerdict {
        let (wall, at) = (self.clock.now(), self.clock.instant());
        self.evidence().judge(wall, at)
    }

    /// The machine's time, when data may be deleted by it.
    ///
    /// # Errors
    /// The verdict, when the clock is not trusted.
    pub fn trusted_now(&self) -> Result<Timestamp, ClockVerdict> {
        let (wall, at) = (self.clock.now(), self.clock.instant());
        let verdict = self.evidence().judge(wall, at);
        if verdict.is_trusted() { Ok(wall) } else { Err(verdict) }
    }

    /// The machine's time, for schedules that delete nothing: `None` while a witness contradicts
    /// it, and in the first two minutes until one confirms it.
    #[must_use]
    pub fn scheduled_now(&self) -> Option<Timestamp> {
        let (wall, at) = (self.clock.now(), self.clock.instant());
        match self.evidence().judge(wall, at) {
            ClockVerdict::Agrees => Some(wall),
            ClockVerdict::Unconfirmed => (at - self.since >= FIRST_WITNESS_WAIT).then_some(wall),
            ClockVerdict::Disagrees { .. } => None,
        }
    }

    /// The receive time for a response of GitHub: the machine's time, unless GitHub contradicts it
    /// and no other witness supports it.
    #[must_use]
    pub fn stamp(&self) -> Timestamp {
        let (wall, at) = (self.clock.now(), self.clock.instant());
        self.evidence().stamp(wall, at)
    }
}

#[cfg(test)]
mod tests;
