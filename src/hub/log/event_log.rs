//! The newest events in memory, and the journal of all earlier ones.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::watch;

use crate::clock::Clock;
use crate::hub::fanout::fair_queue::FairQueue;
use crate::hub::log::control::RetentionLimits;
use crate::hub::log::live::LiveSubscribers;
use crate::hub::log::searches::SearchLimit;
use crate::hub::log::tail::Tail;
use crate::logging::line_limit::LineLimit;
use crate::model::position::{BusTag, Cursor, Position};
use crate::store::keys::MetaKey;
use crate::store::{ENTRIES, Reader, Store, gaps};
use crate::sync::lock;

/// About the most bytes of all pages in memory. A page has at least [`PAGE_LEAST`].
pub(super) const PAGES_BYTES: usize = 64 << 20;
/// The least and the most bytes of a page.
pub(super) const PAGE_LEAST: usize = 16 << 10;
pub(super) const PAGE_MOST: usize = 512 << 10;
/// The most gaps of the bus that are read when a new one was found.
pub(super) const GAPS_NOTED: usize = 1_000;
/// Pages that are read at the same time; the machine has other work to do.
const READS_AT_ONCE: usize = 2;
/// Lines that say that the gaps of the journal cannot be read.
static UNREADABLE: LineLimit = LineLimit::per_minute(2);

/// The journal, from which the stream is read behind the ring.
#[derive(Clone)]
pub struct StreamJournal {
    /// The store with the journal.
    pub store: Store,
    /// The bus whose events it holds.
    pub tag: BusTag,
    /// The last event in the journal at the start. Every later one will be appended to the hub.
    pub applied: Option<Position>,
    /// Whether the newest event in it is simulated.
    pub simulated: bool,
    /// The configured retention.
    pub kept: RetentionLimits,
}

impl StreamJournal {
    /// Whether a cursor cannot be of this journal: it is of another bus, or beyond all that this
    /// store has given out, such as one of a store restored from its backup.
    pub(super) fn is_foreign(&self, cursor: Cursor) -> bool {
        let Self { store, tag, .. } = self;
        if cursor.tag != *tag || *tag != store.bus_tag() {
            return cursor.tag != *tag;
        }
        let is_beyond = |entry| cursor.position >= Position::counted(entry + 1);
        // The watermark follows the commit of the entries, which may have been delivered before.
        is_beyond(*store.watermarks().outbox.borrow()) && {
            let entries = store.reader().count(&MetaKey(ENTRIES.to_owned()));
            entries.is_ok_and(|entries| u64::try_from(entries).is_ok_and(is_beyond))
        }
    }
}

/// The newest events, and the journal once it is attached.
#[derive(Debug)]
pub(in crate::hub) struct EventLog {
    pub(in crate::hub) tail: Tail,
    pub(in crate::hub) clock: Clock,
    journal: OnceLock<JournalFeed>,
}

/// The journal, its live subscribers, and the queue for reading pages of it.
pub(in crate::hub) struct JournalFeed {
    pub(super) journal: StreamJournal,
    pub(in crate::hub) live: LiveSubscribers,
    /// Reads pages on blocking threads, fair between clients.
    pub(super) page_queue: Arc<FairQueue>,
    pub(super) searches: Arc<SearchLimit>,
    /// How many subscribers read pages now.
    pub(super) readers: Arc<AtomicUsize>,
    /// The number of gaps of the bus when they were last read, and the end of the last one.
    pub(super) last_gap: Mutex<(u64, Position)>,
}

impl std::fmt::Debug for JournalFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalFeed").field("tag", &self.journal.tag).finish_non_exhaustive()
    }
}

/// Counts one subscriber that reads pages, until the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct PageReader(Arc<ReaderCount>);

#[derive(Debug)]
struct ReaderCount(Arc<AtomicUsize>);

impl PageReader {
    /// The bytes of its next page: an equal share of the limit, divided by two, because one page is
    /// sent while the next is read.
    pub(super) fn page_bytes(&self) -> usize {
        let readers = self.0.0.load(Ordering::Relaxed).max(1);
        (PAGES_BYTES / 2 / readers).clamp(PAGE_LEAST, PAGE_MOST)
    }
}

impl Drop for ReaderCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl EventLog {
    /// An empty log for up to `tail_bytes` bytes of events, without a journal.
    pub(in crate::hub) fn new(tail_bytes: usize, clock: Clock) -> Self {
        Self { tail: Tail::new(tail_bytes), clock, journal: OnceLock::new() }
    }

    /// Attaches the journal, once, before the first event is appended.
    pub(in crate::hub) fn attach_journal(&self, journal: StreamJournal) {
        let StreamJournal { tag, applied, .. } = journal;
        self.tail.begin_behind(Cursor { tag, position: applied.unwrap_or_default() });
        let feed = JournalFeed {
            journal,
            live: LiveSubscribers::default(),
            page_queue: Arc::new(FairQueue::new(READS_AT_ONCE)),
            searches: Arc::default(),
            readers: Arc::default(),
            last_gap: Mutex::default(),
        };
        let is_first = self.journal.set(feed).is_ok();
        debug_assert!(is_first, "a hub has one journal");
    }

    /// The journal; `None` until one is attached.
    pub(in crate::hub) fn journal(&self) -> Option<&JournalFeed> {
        self.journal.get()
    }

    /// The newest event, or where the log begins. `feed` is its journal.
    pub(in crate::hub) fn newest(&self, feed: &JournalFeed) -> Cursor {
        let none = Cursor { tag: feed.journal.tag, position: Position::default() };
        self.tail.newest().unwrap_or(none)
    }
}

impl JournalFeed {
    pub(super) fn begin_reading(&self) -> PageReader {
        self.readers.fetch_add(1, Ordering::Relaxed);
        PageReader(Arc::new(ReaderCount(Arc::clone(&self.readers))))
    }

    /// The number of gaps of the bus that were found since the start.
    pub(super) fn gaps(&self) -> u64 {
        *self.journal.store.watermarks().gaps.borrow()
    }

    /// Reads where the last gap is. Without this, [`Self::is_behind_all_gaps`] returns false.
    pub(in crate::hub) async fn note_gaps(&self) {
        let (count, tag) = (self.gaps(), self.journal.tag);
        let (_, from) = *lock(&self.last_gap);
        let read = move |reader: Reader<'_>| gaps::behind(reader, tag, from, GAPS_NOTED);
        match self.journal.store.read(read).await {
            Ok(known) if known.len() < GAPS_NOTED => {
                let last = known.iter().map(|gap| gap.after.max(gap.until)).max();
                *lock(&self.last_gap) = (count, last.unwrap_or(from).max(from));
            }
            // Too many: then followers ask the journal each time.
            Ok(_) => {}
            Err(error) => {
                UNREADABLE.log(|left_out| {
                    tracing::warn!(%error, left_out, "cannot read the gaps of the journal");
                });
            }
        }
    }

    /// Whether it is known that no gap of the bus comes after this position.
    pub(super) fn is_behind_all_gaps(&self, position: Position) -> bool {
        let count = self.gaps();
        let (noted, last) = *lock(&self.last_gap);
        count == 0 || (count == noted && position > last)
    }

    /// The number of gaps of the bus; changes when another is found.
    pub(in crate::hub) fn gaps_found(&self) -> watch::Receiver<u64> {
        self.journal.store.watermarks().gaps.subscribe()
    }

    /// The last event that retention has dropped: the oldest one that is kept comes after it.
    pub(super) fn oldest(&self) -> Cursor {
        let tag = self.journal.tag;
        let dropped = self.journal.store.watermarks().dropped.borrow().get(&tag).copied();
        Cursor { tag, position: dropped.unwrap_or_default() }
    }
}
