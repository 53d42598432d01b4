//! The state of each condition, what was reported of it, and so what to report next.

use std::time::Duration;

use tokio::time::Instant;

use super::condition::AlertCondition;
use crate::backoff::Backoff;
use crate::model::window::Timestamp;

/// Maximum number of characters of a text that are reported.
const TEXT_CHARS: usize = 1_000;
/// First and longest wait between posts that fail.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// A message to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AlertMessage {
    pub(super) condition: AlertCondition,
    /// The last text.
    pub(super) text: String,
    /// Number of failures.
    pub(super) failures: u32,
    /// When it began.
    pub(super) began: Timestamp,
    /// When it ended; `None` while it lasts.
    pub(super) over: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct AlertLedger {
    tolerance: u32,
    within: Duration,
    pause: Duration,
    /// In the order of [`AlertCondition::ALL`].
    entries: [LedgerEntry; AlertCondition::ALL.len()],
}

#[derive(Debug)]
struct LedgerEntry {
    condition: AlertCondition,
    /// The condition as it holds now, and when it was first noticed.
    standing: Option<(AlertMessage, Instant)>,
    /// The condition as reported, and since when it is over.
    reported: Option<AlertMessage>,
    /// When the condition last ended.
    cleared: Option<Timestamp>,
    last_begin: Option<Instant>,
    retry_at: Option<Instant>,
    backoff: Backoff,
}

impl AlertLedger {
    /// More than `tolerance` failures in a row are reported, and a failure that lasts for
    /// `within`. The beginning of the same condition is reported at most once per `pause`.
    pub(super) fn new(tolerance: u32, within: Duration, pause: Duration) -> Self {
        let entries = AlertCondition::ALL.map(|condition| LedgerEntry {
            condition,
            standing: None,
            reported: None,
            cleared: None,
            last_begin: None,
            retry_at: None,
            backoff: Backoff::new(RETRY.0, RETRY.1),
        });
        Self { tolerance, within, pause, entries }
    }

    fn entry(&mut self, condition: AlertCondition) -> &mut LedgerEntry {
        &mut self.entries[condition as usize]
    }

    /// Records that the condition holds at `now`. `began` counts at the first of these calls.
    pub(super) fn raise(
        &mut self,
        condition: AlertCondition,
        text: &str,
        began: Timestamp,
        now: Instant,
    ) {
        let text: String = text.chars().take(TEXT_CHARS).collect();
        let entry = self.entry(condition);
        // It is back before the end was reported.
        if let Some(reported) = &mut entry.reported {
            reported.over = None;
        }
        let (standing, _) = entry.standing.get_or_insert_with(|| {
            let (failures, over) = (0, None);
            (AlertMessage { condition, text: String::new(), failures, began, over }, now)
        });
        standing.failures = standing.failures.saturating_add(1);
        standing.text = text;
    }

    /// Whether there is anything to report now.
    pub(super) fn clear(&mut self, condition: AlertCondition, wall: Timestamp) -> bool {
        let entry = self.entry(condition);
        let Some((standing, _)) = entry.standing.take() else { return false };
        entry.cleared = Some(wall);
        let Some(reported) = &mut entry.reported else {
            entry.retry_at = None;
            entry.backoff.reset();
            return false;
        };
        reported.failures = reported.failures.max(standing.failures);
        reported.over = Some(wall);
        true
    }

    /// The message to report now; otherwise when to check again, if nothing happens before.
    pub(super) fn next(&self, now: Instant) -> (Option<AlertMessage>, Option<Instant>) {
        let mut wake: Option<Instant> = None;
        for entry in &self.entries {
            let Some((message, at)) = self.pending(entry) else { continue };
            if at <= now {
                return (Some(message), None);
            }
            wake = Some(wake.map_or(at, |earlier| earlier.min(at)));
        }
        (None, wake)
    }

    /// The message to report for a condition, and when.
    fn pending(&self, entry: &LedgerEntry) -> Option<(AlertMessage, Instant)> {
        let retry_at = entry.retry_at;
        if let Some(reported) = &entry.reported {
            let at = retry_at.or(entry.last_begin)?;
            return reported.over.is_some().then(|| (reported.clone(), at));
        }
        let (standing, first) = entry.standing.as_ref()?;
        let is_ripe = !entry.condition.may_pass() || standing.failures > self.tolerance;
        let ripe_at = if is_ripe { *first } else { *first + self.within };
        let allowed_at = entry.last_begin.map_or(ripe_at, |last| ripe_at.max(last + self.pause));
        let at = retry_at.map_or(allowed_at, |retry| allowed_at.max(retry));
        Some((standing.clone(), at))
    }

    /// Records that a message was delivered.
    pub(super) fn delivered(&mut self, message: &AlertMessage, now: Instant) {
        let entry = self.entry(message.condition);
        entry.retry_at = None;
        entry.backoff.reset();
        if message.over.is_some() {
            // It came back while the post was in flight: that is a new beginning.
            entry.reported = None;
        } else {
            entry.last_begin = Some(now);
            // It may have ended while the post was in flight.
            let over = if entry.standing.is_none() { entry.cleared } else { None };
            entry.reported = Some(AlertMessage { over, ..message.clone() });
        }
    }

    /// Records that a message was not delivered. Returns how long to wait before the retry.
    pub(super) fn failed(&mut self, condition: AlertCondition, now: Instant) -> Duration {
        let entry = self.entry(condition);
        let wait = entry.backoff.next_wait();
        entry.retry_at = Some(now + wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use AlertCondition::{DiskNearlyFull, TidbFailing};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A ledger with its clock: tolerates three failures or five minutes, and pauses ten minutes.
    struct Case {
        ledger: AlertLedger,
        start: Instant,
        seconds: u64,
    }

    impl Case {
        fn new() -> Self {
            let start = crate::clock::Clock::system().instant();
            let ledger = AlertLedger::new(3, 300 * SECOND, 600 * SECOND);
            Self { ledger, start, seconds: 0 }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_secs(self.seconds)
        }

        fn wall(&self) -> Timestamp {
            Timestamp::from_seconds(i64::try_from(self.seconds).unwrap())
        }

        fn raise(&mut self, condition: AlertCondition) {
            let (wall, now) = (self.wall(), self.now());
            self.ledger.raise(condition, "no", wall, now);
        }

        fn clear(&mut self, condition: AlertCondition) {
            let wall = self.wall();
            self.ledger.clear(condition, wall);
        }

        /// Delivers what is reported at this second, if anything. Returns whether it is an end.
        fn deliver(&mut self) -> Option<bool> {
            let now = self.now();
            let message = self.ledger.next(now).0?;
            self.ledger.delivered(&message, now);
            Some(message.over.is_some())
        }

        /// In how many seconds there is something to report.
        fn wake(&self) -> Option<u64> {
            let at = self.ledger.next(self.now()).1?;
            Some(at.duration_since(self.now()).as_secs())
        }
    }

    #[test]
    fn condition_shorter_than_the_tolerance_is_not_reported() {
        let mut case = Case::new();
        for _ in 0..10 {
            for _ in 0..3 {
                case.raise(TidbFailing);
                case.seconds += 10;
                assert_eq!(case.deliver(), None);
            }
            case.clear(TidbFailing);
            assert_eq!((case.deliver(), case.wake()), (None, None));
        }
    }

    #[test]
    fn condition_is_reported_at_its_start_and_its_end() {
        let mut case = Case::new();
        for _ in 0..4 {
            assert_eq!(case.deliver(), None);
            case.raise(TidbFailing);
        }
        assert_eq!(case.deliver(), Some(false));
        for _ in 0..100 {
            case.raise(TidbFailing);
            case.seconds += 60;
            assert_eq!((case.deliver(), case.wake()), (None, None));
        }
        case.clear(TidbFailing);
        assert_eq!(case.deliver(), Some(true));
        case.clear(TidbFailing);
        assert_eq!((case.deliver(), case.wake()), (None, None));
    }

    #[test]
    fn lasting_failure_is_reported_despite_the_tolerance() {
        let mut case = Case::new();
        case.raise(TidbFailing);
        assert_eq!((case.deliver(), case.wake()), (None, Some(300)));
        case.seconds = 300;
        assert_eq!(case.deliver(), Some(false));
    }

    #[test]
    fn condition_that_needs_a_person_is_reported_at_once() {
        let mut case = Case::new();
        case.raise(DiskNearlyFull);
        assert_eq!(case.deliver(), Some(false));
    }

    #[test]
    fn flapping_condition_is_reported_once_per_pause() {
        let mut case = Case::new();
        let mut reported = 0;
        // Up and down every ten seconds for an hour.
        for _ in 0..180 {
            case.raise(DiskNearlyFull);
            reported += usize::from(case.deliver() == Some(false));
            case.seconds += 10;
            case.clear(DiskNearlyFull);
            let _ = case.deliver();
            case.seconds += 10;
        }
        assert_eq!(reported, 6);
        case.raise(DiskNearlyFull);
        assert_eq!(case.deliver(), Some(false));
        case.clear(DiskNearlyFull);
        assert_eq!(case.deliver(), Some(true));
        case.raise(DiskNearlyFull);
        assert_eq!((case.deliver(), case.wake()), (None, Some(600)));
    }

    #[test]
    fn condition_that_ends_during_its_report_is_reported_as_over() {
        let mut case = Case::new();
        case.raise(DiskNearlyFull);
        let message = case.ledger.next(case.now()).0.unwrap();
        case.seconds = 5;
        case.clear(DiskNearlyFull);
        case.ledger.delivered(&message, case.now());
        let over = case.ledger.next(case.now()).0.unwrap();
        assert_eq!(over.over, Some(Timestamp::from_seconds(5)));
        // It begins again while that is being reported.
        case.raise(DiskNearlyFull);
        case.ledger.delivered(&over, case.now());
        assert_eq!((case.deliver(), case.wake()), (None, Some(600)));
    }

    #[test]
    fn a_post_that_fails_is_tried_again_while_it_is_true() {
        let mut case = Case::new();
        case.raise(DiskNearlyFull);
        let wait = case.ledger.failed(DiskNearlyFull, case.now());
        assert!(wait >= SECOND, "{wait:?}");
        assert_eq!(case.deliver(), None);
        case.seconds = 3;
        assert_eq!(case.deliver(), Some(false));
        case.raise(TidbFailing);
        case.clear(TidbFailing);
        case.clear(DiskNearlyFull);
        case.ledger.failed(DiskNearlyFull, case.now());
        assert_eq!(case.deliver(), None);
        case.seconds = 10;
        assert_eq!(case.deliver(), Some(true));
    }
}
