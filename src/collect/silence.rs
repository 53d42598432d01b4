//! What passed unseen while GitHub was not read: the outbox was full, GitHub away, this process not
//! running, or another collector, which has ended, read it before.
//!
//! GitHub has no cursor, but its pages show a while. When what they show afterwards does not join
//! what was admitted before, events passed between the two; each of GitHub's two sequences is
//! looked at separately, and a page that is not full shows all there is. Known events alone join
//! nothing: GitHub's pages hold stragglers of minutes to days. Ids are drawn in order, so known
//! events join only where their ids lie as close to new ones as those lie to each other.
//!
//! On a node without a broker the gap is recorded behind the last event that was applied by then.
//! With a broker it waits for the next message and travels with it, so that every node records it
//! at the same place. How many events it was is not known for sure, so it is not said there;
//! `/status` estimates it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::gap::{Gap, GapReason, Outage};
use crate::model::window::Timestamp;
use crate::store::{APPLIED, Store, StoreError, gaps, outages};

/// The pages that are looked at come within this long of each other.
const TOGETHER: Duration = Duration::from_secs(10);
/// So many new events of a sequence that join nothing are no accident.
const MANY: usize = 90;
/// Known events that have to lie close to new ones, so that pages join what was admitted before.
const JOINING: usize = 5;
/// How close: this multiple of the usual distance between new ones.
const CLOSE: u64 = 20;
/// Shorter times are no silence.
const SHORTEST: Duration = Duration::from_secs(10);

/// An event on a page, as ingest finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// The page's number.
    pub(super) page: u8,
    /// Which of GitHub's sequences it is from: 0 or 1.
    pub(super) sequence: usize,
    /// GitHub's id; a hash of the event where that is no number.
    pub(super) id: u64,
    /// Whether it was admitted just now.
    pub(super) new: bool,
}

/// A time in which GitHub was not read, until it is known whether anything was missed.
#[derive(Debug)]
pub(super) struct Silence {
    since: Timestamp,
    until: Option<Timestamp>,
    pages: BTreeSet<u8>,
    sequences: [Sequence; 2],
}

/// What pages show of one of GitHub's sequences after a silence.
#[derive(Debug, Default)]
struct Sequence {
    /// Events admitted since: another page may show them again.
    own: BTreeSet<u64>,
    /// Events admitted before.
    known: BTreeSet<u64>,
}

impl Silence {
    /// Since then, and until the next poll.
    pub(super) fn new(since: Timestamp) -> Self {
        Self { since, until: None, pages: BTreeSet::new(), sequences: Default::default() }
    }

    /// Looks at what a poll brought; tells whether events were missed once that is known, when
    /// so many pages are followed.
    pub(super) fn look(&mut self, looks: &[Look], pages: u8, at: Timestamp) -> Option<bool> {
        let until = *self.until.get_or_insert(at);
        if at.since(until) <= TOGETHER {
            for look in looks {
                self.pages.insert(look.page);
                let sequence = &mut self.sequences[look.sequence];
                if look.new {
                    sequence.own.insert(look.id);
                } else if !sequence.own.contains(&look.id) {
                    sequence.known.insert(look.id);
                }
            }
            if self.pages.len() < usize::from(pages) {
                return None;
            }
        }
        let has_missed = self.sequences.iter().any(Sequence::has_missed);
        Some(until.since(self.since) >= SHORTEST && has_missed)
    }

    /// Tells the log, and readers of the bus across it: here, or over the broker on every node.
    pub(super) async fn record(
        &self,
        store: &Store,
        now: Timestamp,
        has_broker: bool,
    ) -> Result<(), StoreError> {
        let (since, until) = (self.since, self.until.unwrap_or(now).max(self.since));
        tracing::warn!(%since, %until, "GitHub was not read for a while, and events were missed");
        store
            .commit(move |batch| {
                if has_broker {
                    return outages::keep_pending(batch, Outage { since, until });
                }
                let Some(cursor) = batch.cursor(APPLIED)? else { return Ok(()) };
                let (after, until, noticed_at) = (cursor.position, cursor.position, now);
                let gap =
                    Gap { after, until, count: None, reason: GapReason::Upstream, noticed_at };
                gaps::record(batch, cursor.tag, gap)
            })
            .await
    }
}

impl Sequence {
    /// Whether there are many new events, and too few known ones close to them.
    fn has_missed(&self) -> bool {
        if self.own.len() < MANY {
            return false;
        }
        let mut steps: Vec<u64> =
            self.own.iter().zip(self.own.iter().skip(1)).map(|(one, next)| next - one).collect();
        steps.sort_unstable();
        let usual = steps.get(steps.len() / 2).copied().unwrap_or(1);
        let close = usual.saturating_mul(CLOSE);
        let is_close = |known: &&u64| {
            let around = known.saturating_sub(close)..=known.saturating_add(close);
            self.own.range(around).next().is_some()
        };
        self.known.iter().filter(is_close).take(JOINING).count() < JOINING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + second)
    }

    fn page(page: u8, events: std::ops::Range<u64>, known_to: u64) -> Vec<Look> {
        let sequence = usize::from(page > 1);
        let look = |id| Look { page, sequence, id, new: id >= known_to };
        events.map(look).collect()
    }

    #[test]
    fn pages_that_hold_nothing_known_show_that_events_were_missed() {
        let mut silence = Silence::new(at(0));
        assert_eq!(silence.look(&page(1, 500..600, 100), 3, at(60)), None);
        // What page 2 brought is on page 3 a moment later.
        assert_eq!(silence.look(&page(2, 900..1_000, 700), 3, at(60)), None);
        assert_eq!(silence.look(&page(3, 830..930, 930), 3, at(61)), Some(true));
    }

    #[test]
    fn stragglers_do_not_hide_that_events_were_missed() {
        // One event from before the silence on a full page: just before it, and long before.
        for straggler in [499, 7] {
            let mut silence = Silence::new(at(0));
            let known = Look { page: 1, sequence: 0, id: straggler, new: false };
            let looks = [&page(1, 501..600, 0)[..], &[known]].concat();
            assert_eq!(silence.look(&looks, 1, at(60)), Some(true), "{straggler}");
        }
        // Many of them, of all times.
        let mut silence = Silence::new(at(0));
        let known = (1..=40).map(|n| Look { page: 1, sequence: 0, id: n * 20_000, new: false });
        let new = (0..99).map(|n| Look { page: 1, sequence: 0, id: 1_000_000 + n * 37, new: true });
        let looks: Vec<_> = known.chain(new).collect();
        assert_eq!(silence.look(&looks, 1, at(60)), Some(true));
    }

    #[test]
    fn pages_that_join_what_was_admitted_show_that_nothing_was_missed() {
        let mut silence = Silence::new(at(0));
        assert_eq!(silence.look(&page(1, 490..600, 500), 2, at(60)), None);
        assert_eq!(silence.look(&page(2, 890..1_000, 900), 2, at(60)), Some(false));
        // Ids far apart, as GitHub draws them for all events, with late ones among them.
        let mut silence = Silence::new(at(0));
        let id = |n: u64| 5_000_000 + n * 1_000 + n * n % 700;
        let look = |n| Look { page: 1, sequence: 0, id: id(n), new: n >= 30 };
        let late = [17, 4_000_000].map(|id| Look { page: 1, sequence: 0, id, new: true });
        let looks: Vec<_> = (0..150).map(look).chain(late).collect();
        assert_eq!(silence.look(&looks, 1, at(60)), Some(false));
    }

    #[test]
    fn pages_that_are_not_full_show_all_there_is_and_a_moment_is_no_silence() {
        let mut silence = Silence::new(at(0));
        assert_eq!(silence.look(&page(1, 0..40, 0), 1, at(60)), Some(false));
        let mut silence = Silence::new(at(0));
        assert_eq!(silence.look(&page(1, 0..100, 0), 1, at(2)), Some(false));
    }

    #[test]
    fn pages_that_do_not_come_are_not_waited_for() {
        let mut silence = Silence::new(at(0));
        assert_eq!(silence.look(&page(1, 0..100, 0), 3, at(60)), None);
        assert_eq!(silence.look(&[], 3, at(75)), Some(true));
    }
}
