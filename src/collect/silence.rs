//! What passed unseen while GitHub was not read: the outbox was full, GitHub away, this process not
//! running.
//!
//! GitHub has no cursor, but its pages show a while. When what they show afterwards holds nothing
//! that was admitted before, events passed between the two; each of GitHub's two sequences is
//! looked at by itself, and a page that is not full shows all there is. Readers of the bus are
//! told by a gap behind the last event that was applied by then. How many events it was is not
//! known for sure, so it is not said there; `/status` estimates it.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use crate::model::gap::{Gap, GapReason};
use crate::model::window::Timestamp;
use crate::store::keys::{CursorKey, MetaKey};
use crate::store::rows::decode_cursor;
use crate::store::{APPLIED, Batch, Store, StoreError, gaps};

/// Name of the time of the last poll.
const POLLED_AT: &str = "polled_at";
/// The pages that are looked at come within this long of each other.
const TOGETHER: Duration = Duration::from_secs(10);
/// So many events of a sequence, none of them known, are no accident.
const MANY: usize = 90;
/// Shorter times are no silence.
const SHORTEST: Duration = Duration::from_secs(10);

/// An event on a page, as ingest finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// The page's number.
    pub(super) page: u8,
    /// Which of GitHub's sequences it is from: 0 or 1.
    pub(super) sequence: usize,
    /// Of type and id.
    pub(super) hash: u64,
    /// Whether it was admitted just now.
    pub(super) new: bool,
}

/// A time in which GitHub was not read, until it is known whether anything was missed.
#[derive(Debug)]
pub(super) struct Silence {
    since: Timestamp,
    until: Option<Timestamp>,
    pages: BTreeSet<u8>,
    /// Events admitted since: another page may show them again.
    own: [HashSet<u64>; 2],
    known: [bool; 2],
}

impl Silence {
    /// Since then, and until the next poll.
    pub(super) fn new(since: Timestamp) -> Self {
        let (pages, own) = (BTreeSet::new(), Default::default());
        Self { since, until: None, pages, own, known: [false; 2] }
    }

    /// Looks at what a poll brought; tells whether events were missed once that is known, when
    /// so many pages are followed.
    pub(super) fn look(&mut self, looks: &[Look], pages: u8, at: Timestamp) -> Option<bool> {
        let until = *self.until.get_or_insert(at);
        if at.since(until) <= TOGETHER {
            for look in looks {
                self.pages.insert(look.page);
                let own = &mut self.own[look.sequence];
                if look.new {
                    own.insert(look.hash);
                } else if !own.contains(&look.hash) {
                    self.known[look.sequence] = true;
                }
            }
            if self.pages.len() < usize::from(pages) {
                return None;
            }
        }
        let missed = |sequence: usize| !self.known[sequence] && self.own[sequence].len() >= MANY;
        Some(until.since(self.since) >= SHORTEST && (missed(0) || missed(1)))
    }

    /// Tells the log, and whoever reads the bus across it.
    pub(super) async fn record(&self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        let (since, until) = (self.since, self.until.unwrap_or(now));
        tracing::warn!(%since, %until, "GitHub was not read for a while, and events were missed");
        store
            .commit(move |batch| {
                let Some(value) = batch.get(&CursorKey(APPLIED.to_owned()))? else { return Ok(()) };
                let cursor = decode_cursor(APPLIED, &value)?;
                let (after, until, noticed_at) = (cursor.position, cursor.position, now);
                let gap =
                    Gap { after, until, count: None, reason: GapReason::Upstream, noticed_at };
                gaps::record(batch, cursor.tag, gap)
            })
            .await
    }
}

/// Keeps when GitHub was last polled.
pub(super) fn keep(batch: &mut Batch<'_>, at: Timestamp) {
    batch.put(&MetaKey(POLLED_AT.to_owned()), &at.micros().to_be_bytes());
}

/// When that was, in an earlier life.
pub(super) async fn last_polled(store: &Store) -> Result<Option<Timestamp>, StoreError> {
    let value = store.read(|reader| reader.get(&MetaKey(POLLED_AT.to_owned()))).await?;
    let micros = value.and_then(|value| value.try_into().ok()).map(i64::from_be_bytes);
    Ok(micros.map(Timestamp::from_micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + second)
    }

    fn page(page: u8, events: std::ops::Range<u64>, known_to: u64) -> Vec<Look> {
        let sequence = usize::from(page > 1);
        let look = |hash| Look { page, sequence, hash, new: hash >= known_to };
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
    fn one_known_event_of_each_sequence_is_enough() {
        let mut silence = Silence::new(at(0));
        assert_eq!(silence.look(&page(1, 500..600, 501), 2, at(60)), None);
        assert_eq!(silence.look(&page(2, 900..1_000, 901), 2, at(60)), Some(false));
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
