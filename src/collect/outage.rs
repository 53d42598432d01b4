//! Outages of polling: decides whether events were missed while GitHub was not polled, because the
//! outbox was full, GitHub was unavailable, the process was down, or another collector, which has
//! ended, polled the feed.
//!
//! GitHub has no cursor, but its pages show the newest 300 events. When the pages after an outage
//! do not join what was admitted before it, events were missed. Each of GitHub's two id sequences
//! is compared separately, and a page that is not full shows everything there is. Known events
//! alone do not prove that the pages join, because pages contain stragglers that are minutes to
//! days old. Ids are assigned in order, so known events count only where their ids are as close to
//! new ones as those are to each other. Five of these join the pages, or a single one when the
//! pages show every event that was ever seen, as after the first seconds of an empty store.
//!
//! The first polls after an outage are held until every page was read, and then admitted as one
//! poll, in one batch with the result. The message of the first of these events carries the outage
//! over the bus, so subscribers of every node receive the gap before the events behind it. The
//! number of missed events is not known exactly, so the gap does not contain it; `/status` shows
//! an estimate.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::source::Poll;
use crate::clock::witness::TOLERANCE;
use crate::model::gap::Outage;
use crate::model::window::Timestamp;

/// Maximum time that the first polls after an outage are held.
pub(super) const LONGEST_HOLD: Duration = Duration::from_secs(10);
/// Maximum number of pages that are held.
const MOST_PAGES: usize = 64;
/// Maximum number of bytes of the pages that are held: one page may have 32 MiB.
const MOST_BYTES: usize = 64 << 20;
/// This many new events of a sequence for each page that was read, if they do not join, are not a
/// coincidence. A page has a hundred events, which may be of both sequences.
const MANY: usize = 30;
/// Pages that are counted for it: GitHub has three, and the others of a server may be empty.
const MOST_COUNTED: usize = 3;
/// Minimum number of known events close to new ones for pages to join what was admitted before.
const JOINING: usize = 5;
/// Close means within this multiple of the usual distance between new ids.
const CLOSE: u64 = 20;
/// A shorter time without a poll is not an outage.
pub(super) const SHORTEST: Duration = Duration::from_secs(10);

/// An event on a page, and whether it is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageEvent {
    /// Which of GitHub's sequences its id belongs to: 0 or 1.
    pub(super) sequence: usize,
    /// GitHub's id, or a hash of the event where the id is not a number.
    pub(super) id: u64,
    /// Whether it was not admitted before.
    pub(super) is_new: bool,
}

/// The first polls after an outage, held until every page was read.
#[derive(Debug)]
pub(super) struct HeldPolls {
    pub(super) outage: Outage,
    /// Everything read since the outage, as one poll.
    pub(super) poll: Poll,
    /// When the polls are admitted in any case.
    pub(super) deadline: Instant,
}

impl HeldPolls {
    /// Holds the first poll after `since`, the time of the last read of GitHub. Returns the poll
    /// when the time between is too short to be an outage. A wrong clock may have given a `since`
    /// that is still to come: then that time is not known.
    pub(super) fn hold(since: Timestamp, poll: Poll, now: Instant) -> Result<Self, Poll> {
        let until = poll.received_at;
        let is_known = since <= until.plus(TOLERANCE);
        if is_known && until.since(since) < SHORTEST {
            return Err(poll);
        }
        // It has a length also where `since` is wrong: one without stands for one event.
        let outage = Outage { since: since.min(until.minus(SHORTEST)), until };
        Ok(Self { outage, poll, deadline: now + LONGEST_HOLD })
    }

    /// Holds another poll.
    pub(super) fn push(&mut self, poll: Poll) {
        self.poll.pages.extend(poll.pages);
        self.poll.received_at = poll.received_at;
    }

    /// Whether all pages from 1 to `pages` were read, or as much is held as may be.
    pub(super) fn is_complete(&self, pages: u8) -> bool {
        let held = &self.poll.pages;
        let read: BTreeSet<u8> = held.iter().map(|page| page.number).collect();
        let bytes: usize = held.iter().map(|page| page.entries.bytes()).sum();
        read.len() >= usize::from(pages) || held.len() >= MOST_PAGES || bytes >= MOST_BYTES
    }
}

/// What the first polls after an outage show.
#[derive(Debug, Default)]
pub(super) struct PagesAfter {
    sequences: [Sequence; 2],
    /// How many pages were read.
    pages: usize,
}

impl PagesAfter {
    /// From all events of these polls, with this number of pages.
    pub(super) fn of(events: &[PageEvent], pages: usize) -> Self {
        let mut shown = Self { pages, ..Self::default() };
        for event in events {
            let Sequence { new, known } = &mut shown.sequences[event.sequence];
            if event.is_new {
                new.insert(event.id);
            } else if !new.contains(&event.id) {
                known.insert(event.id);
            }
        }
        shown
    }

    /// Number of events on the pages that were admitted before the outage.
    pub(super) fn known(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.known.len()).sum()
    }

    /// Whether events were missed before those on the pages. `are_all` means that these show every
    /// event that was ever seen.
    pub(super) fn has_missed(&self, are_all: bool) -> bool {
        let joining = if are_all { 1 } else { JOINING };
        let many = MANY * self.pages.clamp(1, MOST_COUNTED);
        self.sequences.iter().any(|sequence| sequence.has_missed(many, joining))
    }
}

/// The events of one of GitHub's sequences on the pages after an outage.
#[derive(Debug, Default)]
struct Sequence {
    /// Ids of new events; another page may show the same ones.
    new: BTreeSet<u64>,
    /// Ids of events that were admitted before the outage.
    known: BTreeSet<u64>,
}

impl Sequence {
    /// Whether there are `many` new events, and fewer than `joining` known ones close to them.
    fn has_missed(&self, many: usize, joining: usize) -> bool {
        if self.new.len() < many {
            return false;
        }
        let mut steps: Vec<u64> =
            self.new.iter().zip(self.new.iter().skip(1)).map(|(one, next)| next - one).collect();
        steps.sort_unstable();
        let usual = steps.get(steps.len() / 2).copied().unwrap_or(1);
        let close = usual.saturating_mul(CLOSE);
        let is_close = |known: &&u64| {
            let around = known.saturating_sub(close)..=known.saturating_add(close);
            self.new.range(around).next().is_some()
        };
        self.known.iter().filter(is_close).take(joining).count() < joining
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::collect::entries::Entries;
    use crate::collect::source::PolledPage;

    fn has_missed(events: &[PageEvent]) -> bool {
        PagesAfter::of(events, 3).has_missed(false)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + second)
    }

    fn page(sequence: usize, events: std::ops::Range<u64>, known_to: u64) -> Vec<PageEvent> {
        events.map(|id| PageEvent { sequence, id, is_new: id >= known_to }).collect()
    }

    #[test]
    fn pages_without_known_events_show_missed_events() {
        // Events of page 2 appear on page 3 a moment later.
        let events = [page(0, 500..600, 100), page(1, 900..1_000, 700), page(1, 830..930, 930)];
        assert!(has_missed(&events.concat()));
    }

    #[test]
    fn one_page_of_both_sequences_shows_missed_events() {
        let events = [page(0, 500..550, 0), page(1, 900..950, 0)].concat();
        assert!(PagesAfter::of(&events, 1).has_missed(false));
        assert!(!PagesAfter::of(&events, 3).has_missed(false), "three pages have more");
        let joined = [page(0, 500..550, 510), page(1, 900..950, 905)].concat();
        assert!(!PagesAfter::of(&joined, 1).has_missed(false));
    }

    #[test]
    fn stragglers_do_not_hide_missed_events() {
        // One event from before the outage on a full page: from just before it, or long before.
        for straggler in [499, 7] {
            let known = PageEvent { sequence: 0, id: straggler, is_new: false };
            let events = [&page(0, 501..600, 0)[..], &[known]].concat();
            assert!(has_missed(&events), "{straggler}");
        }
        // Many of them, of different ages.
        let known = (1..=40).map(|n| PageEvent { sequence: 0, id: n * 20_000, is_new: false });
        let new = (0..99).map(|n| PageEvent { sequence: 0, id: 1_000_000 + n * 37, is_new: true });
        assert!(has_missed(&known.chain(new).collect::<Vec<_>>()));
    }

    #[test]
    fn pages_that_join_admitted_events_show_nothing_missed() {
        let events = [page(0, 490..600, 500), page(1, 890..1_000, 900)];
        assert!(!has_missed(&events.concat()));
        // Ids far apart, as GitHub assigns them across all events, with late ones among them.
        let id = |n: u64| 5_000_000 + n * 1_000 + n * n % 700;
        let event = |n| PageEvent { sequence: 0, id: id(n), is_new: n >= 30 };
        let late = [17, 4_000_000].map(|id| PageEvent { sequence: 0, id, is_new: true });
        assert!(!has_missed(&(0..150).map(event).chain(late).collect::<Vec<_>>()));
        assert!(!has_missed(&page(0, 0..40, 0)), "pages that are not full show all there is");
    }

    #[test]
    fn one_known_event_joins_pages_that_show_all_events() {
        let few = [page(0, 500..600, 503), page(1, 900..1_000, 901)].concat();
        let pages = PagesAfter::of(&few, 3);
        assert_eq!(pages.known(), 4);
        assert!(pages.has_missed(false) && !pages.has_missed(true));
        // Nothing of one sequence was known, or only an event far away from the new ones.
        let without = page(1, 901..1_000, 0);
        for far in [&[][..], &[PageEvent { sequence: 1, id: 7, is_new: false }]] {
            let events = [&page(0, 500..600, 503)[..], &without, far].concat();
            assert!(PagesAfter::of(&events, 3).has_missed(true));
        }
    }

    #[test]
    fn polls_are_held_until_each_page_was_read() {
        let poll = |number, second| Poll {
            pages: vec![PolledPage { number, entries: Entries::default() }],
            received_at: at(second),
        };
        let now = Clock::system().instant();
        for since in [0, 60] {
            assert!(HeldPolls::hold(at(since), poll(1, 9), now).is_err(), "not an outage");
        }
        // The clock was ahead before the process ended.
        let held = HeldPolls::hold(at(900_000), poll(1, 60), now).unwrap();
        assert_eq!(held.outage, Outage { since: at(60).minus(SHORTEST), until: at(60) });
        let mut held = HeldPolls::hold(at(0), poll(1, 60), now).unwrap();
        assert_eq!(held.deadline, now + LONGEST_HOLD);
        held.push(poll(1, 61));
        assert!(!held.is_complete(2));
        held.push(poll(2, 62));
        assert!(held.is_complete(2) && !held.is_complete(3));
        let mut large = HeldPolls::hold(at(0), poll(1, 60), now).unwrap();
        let text = bytes::Bytes::from(format!("[{}]", " ".repeat(24 << 20)));
        let entries = Entries::of_list(&text);
        for is_enough in [false, false, false, true] {
            assert_eq!(large.is_complete(2), is_enough, "{} bytes a page", text.len());
            let pages = vec![PolledPage { number: 1, entries: entries.clone() }];
            large.push(Poll { pages, received_at: at(61) });
        }
        let HeldPolls { poll, outage, .. } = held;
        assert_eq!(outage, Outage { since: at(0), until: at(60) });
        assert_eq!((poll.pages.len(), poll.received_at), (3, at(62)));
    }
}
