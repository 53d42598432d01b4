//! The stream: events by cursor, from the journal into live without a seam.
//!
//! A reader is a [`Follower`]: one place, and the ways on from it. Near the head equal readers
//! form groups; further back each reads the ring, and further still the journal, a page at a time
//! beside the async workers. How much all pages hold together, and how many are read at once, is
//! bounded; so who reads slowly holds one page, and nobody waits for anybody.

pub(super) mod control;
pub(super) mod encoding;
pub(super) mod filter;
pub(super) mod follower;
pub(super) mod live;
pub(super) mod page;
pub(super) mod paths;
mod pending_page;
pub(super) mod projection;
pub(super) mod query;
pub(super) mod sampling;
pub(super) mod searches;
pub(super) mod selector;
pub(super) mod tail;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::watch;

use self::control::RetentionLimits;
use self::encoding::StreamEncoding;
use self::follower::Follower;
use self::live::StreamGroups;
use self::searches::Searches;
use self::selector::{StreamSelection, StreamSelector};
use super::Hub;
use super::fanout::fair_queue::Turns;
use super::fanout::notifier::Notifier;
use super::lock::lock;
use crate::model::offset::Offset;
use crate::model::position::{BusTag, Cursor, Position};
use crate::store::{Reader, Store, gaps};

/// Bytes of all pages that wait for their readers, about; a page is at least [`PAGE_LEAST`].
const PAGES_BYTES: usize = 64 << 20;
/// Bytes of a page.
const PAGE_LEAST: usize = 16 << 10;
const PAGE_MOST: usize = 512 << 10;
/// Gaps of the bus that are looked at when another was found.
const GAPS_NOTED: usize = 1_000;
/// Pages that are read at once; the machine has other things to do.
const READS_AT_ONCE: usize = 2;

/// Where the stream is read from when it is further back than the ring.
#[derive(Clone)]
pub struct StreamJournal {
    /// The store with the journal.
    pub store: Store,
    /// The bus it is of.
    pub tag: BusTag,
    /// Everything up to here is in the journal, and what comes next will be appended to the hub.
    pub applied: Option<Position>,
    /// What is kept of it.
    pub kept: RetentionLimits,
}

/// The journal, and who follows it live.
pub(super) struct Streams {
    journal: StreamJournal,
    pub(super) groups: Arc<StreamGroups>,
    turns: Arc<Turns>,
    searches: Arc<Searches>,
    readers: Arc<AtomicUsize>,
    /// How many gaps of the bus were known when they were last looked at, and where the last of
    /// them ends.
    last_gap: Mutex<(u64, Position)>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("tag", &self.journal.tag).finish_non_exhaustive()
    }
}

/// One of those who read pages, while it is held. A clone is the same one.
#[derive(Debug, Clone)]
struct Reading(Arc<Counted>);

#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Reading {
    /// Bytes of its next page: an equal share, twice, because one is written while one is read.
    fn page_bytes(&self) -> usize {
        let readers = self.0.0.load(Ordering::Relaxed).max(1);
        (PAGES_BYTES / 2 / readers).clamp(PAGE_LEAST, PAGE_MOST)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Streams {
    fn begin_reading(&self) -> Reading {
        self.readers.fetch_add(1, Ordering::Relaxed);
        Reading(Arc::new(Counted(Arc::clone(&self.readers))))
    }

    /// How many gaps of the bus were found in this life.
    fn gaps(&self) -> u64 {
        *self.journal.store.watermarks().gaps.borrow()
    }

    /// Looks where the last of them is; only then is it known that none lies behind an event.
    pub(super) async fn note_gaps(&self) {
        let (count, tag) = (self.gaps(), self.journal.tag);
        let (_, from) = *lock(&self.last_gap);
        let read = move |reader: Reader<'_>| gaps::behind(reader, tag, from, GAPS_NOTED);
        match self.journal.store.read(read).await {
            Ok(known) if known.len() < GAPS_NOTED => {
                let last = known.iter().map(|gap| gap.after.max(gap.until)).max();
                *lock(&self.last_gap) = (count, last.unwrap_or(from).max(from));
            }
            // Then the journal is asked each time.
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the gaps of the journal cannot be read"),
        }
    }

    /// Whether no gap of the bus lies behind that place.
    fn is_behind_all_gaps(&self, position: Position) -> bool {
        let count = self.gaps();
        let (noted, last) = *lock(&self.last_gap);
        count == 0 || (count == noted && position > last)
    }

    /// Tells of them.
    pub(super) fn gaps_found(&self) -> watch::Receiver<u64> {
        self.journal.store.watermarks().gaps.subscribe()
    }

    /// The newest event there is.
    fn newest(&self, hub: &Hub) -> Cursor {
        let none = Cursor { tag: self.journal.tag, position: Position::default() };
        hub.tail().newest().unwrap_or(none)
    }

    /// Behind this is the oldest event that is kept.
    fn oldest(&self) -> Cursor {
        let tag = self.journal.tag;
        let dropped = self.journal.store.watermarks().dropped.borrow().get(&tag).copied();
        Cursor { tag, position: dropped.unwrap_or_default() }
    }
}

/// What [`Hub`] holds of the stream; nothing, where there is no journal.
pub(super) type MaybeStreams = OnceLock<Streams>;

impl Hub {
    /// Gives the stream its journal, once, before the first event is appended.
    pub fn attach_journal(&self, journal: StreamJournal) {
        let StreamJournal { tag, applied, .. } = journal;
        self.tail().begin_behind(Cursor { tag, position: applied.unwrap_or_default() });
        let streams = Streams {
            journal,
            groups: Arc::default(),
            turns: Arc::new(Turns::new(READS_AT_ONCE)),
            searches: Arc::default(),
            readers: Arc::default(),
            last_gap: Mutex::default(),
        };
        let is_first = self.streams.set(streams).is_ok();
        debug_assert!(is_first, "a hub has one journal");
    }

    /// A reader of the stream, behind the newest event until it asks for something else; `None`
    /// where there is no journal. The notifier rings when there is something to take.
    #[must_use]
    pub fn follow(
        self: &Arc<Self>,
        form: StreamEncoding,
        notifier: &Arc<Notifier>,
    ) -> Option<Follower> {
        let streams = self.streams()?;
        let choice = Arc::new(StreamSelector::new(StreamSelection::default()));
        let place = Offset::after(streams.newest(self));
        Some(Follower::new(Arc::clone(self), form, choice, place, Arc::clone(notifier)))
    }

    /// Whether there is a journal, and so a stream.
    #[must_use]
    pub fn has_journal(&self) -> bool {
        self.streams.get().is_some()
    }

    pub(super) fn streams(&self) -> Option<&Streams> {
        self.streams.get()
    }
}
