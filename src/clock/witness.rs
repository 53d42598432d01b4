//! Decides whether the machine's clock can be trusted, by comparing it with other sources of time.
//!
//! A clock that jumps must not delete anything: retention, backups and archives use it only while a
//! witness agrees with it to within [`TOLERANCE`]. The witnesses are GitHub (the `Date` of its
//! responses), the newest event of the store, the last pass of retention, and the monotonic clock
//! since the wall clock was last confirmed. `Evidence` is pure: it takes the times as arguments.

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
/// How long a witness counts. The monotonic clock does not advance while a machine is suspended.
const BELIEVED: Duration = Duration::from_secs(3_600);
/// How long after the start schedules that delete nothing wait for a first witness.
const FIRST_WORDS: Duration = Duration::from_secs(120);
/// Time between two checks while waiting for a trusted clock.
pub const LOOK: Duration = Duration::from_secs(2);

/// Before this program existed, in seconds since 1970: a clock that shows an earlier time has lost
/// its own. It decides which of two clocks that disagree is right when nothing else is known, at a
/// node's first start.
const FIRST_VERSION: i64 = 1_793_491_200;

/// The name of the verdict that a witness contradicts the clock.
pub const DISAGREES: &str = "disagrees";

names! {
    /// A source of time that the machine's clock is compared with.
    pub enum ClockWitness {
        /// GitHub: the `Date` of its last response, plus the time since.
        GitHub = "github",
        /// The newest event of the store: a lower bound.
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
                write!(f, "the clock is not confirmed by any witness yet: nothing is deleted")
            }
            Self::Disagrees { who, ahead } => {
                let side = if *ahead < 0 { "behind" } else { "ahead of" };
                let (by, who) = (shown(ahead.unsigned_abs()), who.words());
                write!(
                    f,
                    "the clock of this machine is {by} {side} {who}: nothing is deleted until \
                     they agree; set the clock"
                )
            }
        }
    }
}

/// Microseconds in their two largest units.
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

/// A wall time that was right at an instant of the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct KnownTime {
    wall: Timestamp,
    at: Instant,
}

impl KnownTime {
    /// The wall time at `at`; `None` when the known time is too old.
    fn now(self, at: Instant) -> Option<Timestamp> {
        let passed = at.saturating_duration_since(self.at);
        (passed <= BELIEVED).then(|| self.wall.plus(passed))
    }
}

/// The times that the witnesses have reported.
#[derive(Debug, Default)]
struct Evidence {
    github: Option<KnownTime>,
    newest: Option<Timestamp>,
    pass: Option<Timestamp>,
    /// When the wall clock was last confirmed.
    agreed: Option<KnownTime>,
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
        let verdict = self.look(wall, at);
        if verdict.is_trusted() {
            self.agreed = Some(KnownTime { wall, at });
        }
        verdict
    }

    fn look(&self, wall: Timestamp, at: Instant) -> ClockVerdict {
        let disagrees = |who, other| ClockVerdict::Disagrees { who, ahead: ahead(wall, other) };
        if let Some(github) = self.github.and_then(|heard| heard.now(at)) {
            return if agree(wall, github) {
                ClockVerdict::Agrees
            } else {
                disagrees(ClockWitness::GitHub, github)
            };
        }
        for (who, past) in
            [(ClockWitness::NewestEvent, self.newest), (ClockWitness::LastPass, self.pass)]
        {
            if let Some(past) = past.filter(|past| past.since(wall) > TOLERANCE) {
                return disagrees(who, past);
            }
        }
        if let Some(expected) = self.agreed.and_then(|agreed| agreed.now(at))
            && !agree(wall, expected)
        {
            return disagrees(ClockWitness::Monotonic, expected);
        }
        match self.newest {
            Some(newest) if agree(wall, newest) => ClockVerdict::Agrees,
            _ => ClockVerdict::Unconfirmed,
        }
    }

    /// The receive time for a response of GitHub: the wall clock's, unless GitHub contradicts it
    /// and no other witness supports it.
    fn stamp(&self, wall: Timestamp, at: Instant) -> Timestamp {
        let Some(github) = self.github.and_then(|heard| heard.now(at)) else { return wall };
        if agree(wall, github) {
            return wall;
        }
        if let Some(expected) = self.agreed.and_then(|agreed| agreed.now(at)) {
            // The one that advanced like the monotonic clock is right.
            return if agree(wall, expected) { wall } else { github };
        }
        let is_behind = |time: Timestamp| {
            let pasts = [self.newest, self.pass, Some(Timestamp::from_seconds(FIRST_VERSION))];
            pasts.into_iter().flatten().any(|past| past.since(time) > TOLERANCE)
        };
        if is_behind(github) && !is_behind(wall) { wall } else { github }
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
    pub fn hear(&self, date: Timestamp) {
        let at = self.clock.instant();
        self.evidence().github = Some(KnownTime { wall: date, at });
    }

    /// Records when the newest event of the store was received.
    pub fn saw_newest(&self, received_at: Option<Timestamp>) {
        self.evidence().newest = received_at;
    }

    /// Records the time of retention's last pass.
    pub fn saw_pass(&self, at: Option<Timestamp>) {
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
            ClockVerdict::Unconfirmed => (at - self.since >= FIRST_WORDS).then_some(wall),
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
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    /// Steps of a clock, seconds.
    const STEPS: &[i64] =
        &[61, 3_600, 90_000, 4 * 86_400, 30 * 86_400, -61, -7_200, -3 * 86_400, -700 * 86_400];

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(NOW + second)
    }

    fn heard(second: i64, at: Instant) -> Evidence {
        let github = Some(KnownTime { wall: self::at(second), at });
        Evidence { github, ..Evidence::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn github_reveals_any_step_and_events_keep_the_right_time() {
        let start = Clock::system().instant();
        let later = start + Duration::from_secs(5);
        for step in STEPS {
            // Before the step both agreed, or nothing is known of the time before.
            for known in [true, false] {
                let mut evidence = heard(0, start);
                if known {
                    assert_eq!(evidence.judge(at(0), start), ClockVerdict::Agrees);
                }
                let wall = at(5 + step);
                let found = evidence.judge(wall, later);
                let wanted =
                    ClockVerdict::Disagrees { who: ClockWitness::GitHub, ahead: step * 1_000_000 };
                assert_eq!(found, wanted);
                assert_eq!(evidence.stamp(wall, later), at(5), "{step} {known}");
                assert_eq!(evidence.judge(at(5), later), ClockVerdict::Agrees, "back again");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn earlier_times_reveal_steps_without_github() {
        let start = Clock::system().instant();
        for step in STEPS {
            let newest = Some(at(-20));
            let mut evidence = Evidence { newest, ..Evidence::default() };
            assert_eq!(evidence.judge(at(0), start), ClockVerdict::Agrees);
            let found = evidence.judge(at(*step), start);
            assert!(matches!(found, ClockVerdict::Disagrees { .. }), "{step}: {found}");
            // At a start only a step back can be seen; a step forward may be a long pause.
            let newest = Some(at(0));
            let mut evidence = Evidence { newest, pass: newest, ..Evidence::default() };
            let found = evidence.judge(at(*step), start);
            assert!(!found.is_trusted(), "{step}: {found}");
            let is_named = matches!(found, ClockVerdict::Disagrees { .. });
            assert_eq!(is_named, *step < 0, "{step}: {found}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_date_of_github_stops_deletion_and_keeps_stamps() {
        let start = Clock::system().instant();
        let mut evidence = heard(0, start);
        assert!(evidence.judge(at(0), start).is_trusted());
        evidence.github = heard(-500_000, start).github;
        assert!(!evidence.judge(at(1), start).is_trusted());
        assert_eq!(evidence.stamp(at(1), start), at(1));
        // After a start the store contradicts a date before its newest event.
        let newest = Some(at(-300));
        let evidence = Evidence { github: evidence.github, newest, ..Evidence::default() };
        assert_eq!(evidence.stamp(at(1), start), at(1));
    }

    #[tokio::test(start_paused = true)]
    async fn clock_that_has_lost_its_time_stamps_nothing() {
        let start = Clock::system().instant();
        for lost in [0, 946_684_800, FIRST_VERSION - 300] {
            let mut evidence = heard(lost - NOW, start);
            assert_eq!(evidence.stamp(at(1), start), at(1), "{lost}");
            assert!(!evidence.judge(at(1), start).is_trusted(), "still nothing is deleted");
            // The other way round, and both.
            let lost_too = at(lost - NOW + 90);
            assert_eq!(evidence.stamp(lost_too, start), at(lost - NOW), "{lost}");
            assert_eq!(heard(0, start).stamp(lost_too, start), at(0), "{lost}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn witness_counts_for_an_hour() {
        let start = Clock::system().instant();
        let mut evidence = heard(0, start);
        let hour = Duration::from_secs(3_600);
        assert!(evidence.judge(at(3_600), start + hour).is_trusted());
        assert_eq!(evidence.look(at(9_000), start + 3 * hour), ClockVerdict::Unconfirmed);
        assert!(ClockVerdict::Unconfirmed.to_string().contains("nothing is deleted"));
        let far =
            ClockVerdict::Disagrees { who: ClockWitness::GitHub, ahead: 4 * 86_400_000_000 + 5 };
        assert!(far.to_string().starts_with("the clock of this machine is 4 d 0 h ahead of"));
    }
}
