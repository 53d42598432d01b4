//! Whether the machine's clock is to be believed, by what others saw of the time.
//!
//! A clock that jumps must not delete anything: retention, backups and archives act on it only
//! while a witness agrees with it to within [`TOLERANCE`]. The witnesses are GitHub (the `Date` of
//! its answers), the newest event of the store, the last pass of retention, and the monotonic clock
//! since the two last agreed. The judgement is pure: `Evidence` takes the times as arguments.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::Clock;
use crate::model::window::Timestamp;
use crate::sync::lock;

/// Clocks that differ by no more agree.
pub const TOLERANCE: Duration = Duration::from_secs(60);
/// What a witness said is believed for so long: the monotonic clock stands still while a machine
/// sleeps.
const BELIEVED: Duration = Duration::from_secs(3_600);
/// So long after the start witnesses are waited for, before what deletes nothing goes on without.
const FIRST_WORDS: Duration = Duration::from_secs(120);
/// Time between two looks while a clock is waited for.
pub const LOOK: Duration = Duration::from_secs(2);

/// The name of a clock that is contradicted.
pub const DISAGREES: &str = "disagrees";

/// Who says what time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockWitness {
    /// GitHub, by the `Date` of its last answer and what passed since.
    GitHub,
    /// The newest event of the store: it is not earlier than that.
    NewestEvent,
    /// The last pass of retention: it is not earlier than that.
    LastPass,
    /// The monotonic clock, since the wall clock was last confirmed.
    Monotonic,
}

impl ClockWitness {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::NewestEvent => "newest_event",
            Self::LastPass => "last_pass",
            Self::Monotonic => "monotonic",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub's Date",
            Self::NewestEvent => "the newest event of the store",
            Self::LastPass => "the last pass of retention",
            Self::Monotonic => "the monotonic clock of this machine",
        }
    }
}

/// What the witnesses say of the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockVerdict {
    /// A witness agrees, and none that is better disagrees.
    Agrees,
    /// No witness can say.
    Unconfirmed,
    /// A witness says otherwise.
    Disagrees {
        /// Who.
        who: ClockWitness,
        /// By how many microseconds the machine's clock is ahead; negative: behind.
        ahead: i64,
    },
}

impl ClockVerdict {
    /// Whether something may be deleted by this clock.
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

    /// Seconds that the machine's clock is ahead of the witness that disagrees; 0 when one agrees,
    /// `None` when none can say.
    #[must_use]
    pub fn seconds_ahead(self) -> Option<f64> {
        match self {
            Self::Agrees => Some(0.0),
            Self::Unconfirmed => None,
            #[expect(clippy::cast_precision_loss, reason = "a part of a second is enough")]
            Self::Disagrees { ahead, .. } => Some(ahead as f64 / 1e6),
        }
    }
}

/// For a person: what differs, and what waits.
impl fmt::Display for ClockVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agrees => write!(f, "the clock is confirmed"),
            Self::Unconfirmed => {
                write!(f, "the clock is not confirmed by any witness yet: nothing is deleted")
            }
            Self::Disagrees { who, ahead } => {
                let side = if *ahead < 0 { "behind" } else { "ahead of" };
                let (by, who) = (Span(ahead.unsigned_abs()), who.words());
                write!(
                    f,
                    "the clock of this machine is {by} {side} {who}: nothing is deleted until \
                     they agree; set the clock"
                )
            }
        }
    }
}

/// Microseconds, as people say them: the two largest units.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000;
        let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
        let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{rest} s"),
            (0, 0, _) => write!(f, "{minutes} min {rest} s"),
            (0, _, _) => write!(f, "{hours} h {minutes} min"),
            _ => write!(f, "{days} d {hours} h"),
        }
    }
}

/// A wall time that was right at a moment of the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Sighting {
    wall: Timestamp,
    at: Instant,
}

impl Sighting {
    /// What the wall clock should show now; `None` when it was too long ago.
    fn now(self, at: Instant) -> Option<Timestamp> {
        let passed = at.saturating_duration_since(self.at);
        (passed <= BELIEVED).then(|| self.wall.plus(passed))
    }
}

/// What is known of the time.
#[derive(Debug, Default)]
struct Evidence {
    github: Option<Sighting>,
    newest: Option<Timestamp>,
    pass: Option<Timestamp>,
    /// When the wall clock was last confirmed.
    agreed: Option<Sighting>,
}

/// Microseconds from `b` to `a`.
fn ahead(a: Timestamp, b: Timestamp) -> i64 {
    a.micros().saturating_sub(b.micros())
}

fn agree(a: Timestamp, b: Timestamp) -> bool {
    a.since(b) <= TOLERANCE && b.since(a) <= TOLERANCE
}

impl Evidence {
    /// What to think of a wall clock that shows `wall`. One that is confirmed is remembered.
    fn judge(&mut self, wall: Timestamp, at: Instant) -> ClockVerdict {
        let verdict = self.look(wall, at);
        if verdict.is_trusted() {
            self.agreed = Some(Sighting { wall, at });
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

    /// The time to stamp on what GitHub served just now: the wall clock's, unless GitHub says
    /// otherwise and nothing else sides with the wall clock.
    fn stamp(&self, wall: Timestamp, at: Instant) -> Timestamp {
        let Some(github) = self.github.and_then(|heard| heard.now(at)) else { return wall };
        if agree(wall, github) {
            return wall;
        }
        if let Some(expected) = self.agreed.and_then(|agreed| agreed.now(at)) {
            // Where the two differ, the one that went on as the monotonic clock did is right.
            return if agree(wall, expected) { wall } else { github };
        }
        let is_behind = |time: Timestamp| {
            let pasts = [self.newest, self.pass];
            pasts.into_iter().flatten().any(|past| past.since(time) > TOLERANCE)
        };
        if is_behind(github) && !is_behind(wall) { wall } else { github }
    }
}

/// Collects what the witnesses say, and judges the machine's clock by it.
#[derive(Debug)]
pub struct Witness {
    clock: Clock,
    since: Instant,
    evidence: Mutex<Evidence>,
}

impl Witness {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, since: clock.instant(), evidence: Mutex::default() }
    }

    fn evidence(&self) -> MutexGuard<'_, Evidence> {
        lock(&self.evidence)
    }

    /// GitHub answered just now; its clock showed this.
    pub fn hear(&self, date: Timestamp) {
        let at = self.clock.instant();
        self.evidence().github = Some(Sighting { wall: date, at });
    }

    /// When the newest event of the store was received, about.
    pub fn saw_newest(&self, received_at: Option<Timestamp>) {
        self.evidence().newest = received_at;
    }

    /// When retention last made a pass.
    pub fn saw_pass(&self, at: Option<Timestamp>) {
        self.evidence().pass = at;
    }

    /// When retention last made a pass; `None` when it has made none.
    #[must_use]
    pub fn last_pass(&self) -> Option<Timestamp> {
        self.evidence().pass
    }

    /// What to think of the machine's clock now.
    #[must_use]
    pub fn judge(&self) -> ClockVerdict {
        let (wall, at) = (self.clock.now(), self.clock.instant());
        self.evidence().judge(wall, at)
    }

    /// The machine's clock, if something may be deleted by it.
    ///
    /// # Errors
    /// The verdict, if not.
    pub fn trusted_now(&self) -> Result<Timestamp, ClockVerdict> {
        let (wall, at) = (self.clock.now(), self.clock.instant());
        let verdict = self.evidence().judge(wall, at);
        if verdict.is_trusted() { Ok(wall) } else { Err(verdict) }
    }

    /// The machine's clock, for schedules that make something and delete nothing: `None` while a
    /// witness contradicts it, and for the first two minutes until one confirms it.
    #[must_use]
    pub fn scheduled_now(&self) -> Option<Timestamp> {
        let (wall, at) = (self.clock.now(), self.clock.instant());
        match self.evidence().judge(wall, at) {
            ClockVerdict::Agrees => Some(wall),
            ClockVerdict::Unconfirmed => (at - self.since >= FIRST_WORDS).then_some(wall),
            ClockVerdict::Disagrees { .. } => None,
        }
    }

    /// The time to stamp on what GitHub served just now: the machine's, unless GitHub says
    /// otherwise and no other witness sides with the machine.
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
        let github = Some(Sighting { wall: self::at(second), at });
        Evidence { github, ..Evidence::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn any_step_is_seen_against_github_and_events_keep_the_right_time() {
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
    async fn steps_are_seen_without_github_by_what_was_before() {
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
    async fn a_wrong_date_of_github_stops_deleting_and_changes_no_stamp() {
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
    async fn a_witness_is_believed_for_an_hour_and_silence_confirms_nothing() {
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
