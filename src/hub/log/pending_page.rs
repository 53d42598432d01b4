//! A requested page: read on a blocking thread, in turn with other clients.

use std::sync::{Arc, Mutex, Weak};

use super::event_log::{JournalFeed, PageReader};
use super::page::{self, PageRequest, StreamPage};
use crate::hub::fanout::fair_queue::{FairQueue, Priority, SlicedWork};
use crate::hub::fanout::memory::{self, MemoryCharge};
use crate::hub::fanout::notifier::Notifier;
use crate::store::{Store, StoreError};
use crate::sync::lock;

/// Where the page is put. When it is dropped, the page is not requested any more.
type PageSlot = Mutex<Option<PageState>>;

/// What came of a request.
enum PageState {
    /// The page, charged to its client until it is taken.
    Read { page: Result<StreamPage, StoreError>, _charge: Option<MemoryCharge> },
    /// This client had no memory left when its turn came: not read yet.
    Postponed(Box<PageJob>),
}

/// A requested page. Dropping it cancels the request; reading then ends at the next event.
pub(super) struct PendingPage {
    slot: Arc<PageSlot>,
    queue: Arc<FairQueue>,
    /// The share of memory that the page counts to.
    pub(super) reading: PageReader,
}

/// The job that reads a page, slice by slice.
struct PageJob {
    store: Store,
    request: PageRequest,
    priority: Priority,
    slot: Weak<PageSlot>,
    notifier: Arc<Notifier>,
}

impl std::fmt::Debug for PendingPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingPage").finish_non_exhaustive()
    }
}

impl PendingPage {
    /// Requests a page; the connection is notified when it is there.
    pub(super) fn begin(
        feed: &JournalFeed,
        request: PageRequest,
        priority: Priority,
        reading: PageReader,
        notifier: &Arc<Notifier>,
    ) -> Self {
        let (slot, notifier) = (Arc::new(PageSlot::default()), Arc::clone(notifier));
        let (store, waiting) = (feed.journal.store.clone(), Arc::downgrade(&slot));
        let client = notifier.client;
        let job = PageJob { store, request, priority, slot: waiting, notifier };
        feed.page_queue.push(client, priority, Box::new(job));
        Self { slot, queue: Arc::clone(&feed.page_queue), reading }
    }

    /// The page, once, if it is there. If it was postponed, it is requested again as soon as there
    /// is memory for the client, of which the connection is notified.
    pub(super) fn take(&self) -> Option<Result<StreamPage, StoreError>> {
        // The lock is not held meanwhile: pushing a job may run it.
        let state = lock(&self.slot).take()?;
        match state {
            PageState::Read { page, .. } => return Some(page),
            PageState::Postponed(job) if memory::has_room_for(&job.notifier) => {
                self.queue.push(job.notifier.client, job.priority, job);
            }
            postponed @ PageState::Postponed(_) => *lock(&self.slot) = Some(postponed),
        }
        None
    }
}

impl SlicedWork for PageJob {
    fn run(mut self: Box<Self>) -> Option<Box<dyn SlicedWork>> {
        let slot = Weak::clone(&self.slot);
        let is_wanted = || slot.strong_count() > 0;
        if !is_wanted() {
            return None;
        }
        let notifier = Arc::clone(&self.notifier);
        let outcome = if memory::has_room_for(&notifier) {
            let page = match page::read(self.store.reader(), &mut self.request, &is_wanted) {
                Ok(None) => return Some(self),
                Ok(Some(page)) => Ok(page),
                Err(error) => Err(error),
            };
            let bytes = page.as_ref().map_or(0, |page| page.bytes.len());
            PageState::Read { page, _charge: memory::charge(notifier.client, bytes) }
        } else {
            PageState::Postponed(self)
        };
        if let Some(slot) = slot.upgrade() {
            *lock(&slot) = Some(outcome);
            notifier.notify();
        }
        None
    }
}
