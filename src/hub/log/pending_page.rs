//! A requested page: read on a blocking thread, in turn with other clients.

use std::sync::{Arc, Mutex, Weak};

use super::event_log::{JournalFeed, PageReader};
use super::page::{self, PageRequest, StreamPage};
use crate::hub::fanout::fair_queue::{Priority, SlicedWork};
use crate::hub::fanout::notifier::Notifier;
use crate::store::{Store, StoreError};
use crate::sync::lock;

/// Where the page is put. When it is dropped, the page is not requested any more.
type PageSlot = Mutex<Option<Result<StreamPage, StoreError>>>;

/// A requested page. Dropping it cancels the request; reading then ends at the next event.
#[derive(Debug)]
pub(super) struct PendingPage {
    slot: Arc<PageSlot>,
    /// The share of memory that the page counts to.
    pub(super) reading: PageReader,
}

/// The job that reads a page, slice by slice.
struct PageJob {
    store: Store,
    request: PageRequest,
    slot: Weak<PageSlot>,
    notifier: Arc<Notifier>,
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
        let job = PageJob { store, request, slot: waiting, notifier };
        feed.page_queue.push(client, priority, Box::new(job));
        Self { slot, reading }
    }

    /// The page, once, if it is there.
    pub(super) fn take(&self) -> Option<Result<StreamPage, StoreError>> {
        lock(&self.slot).take()
    }
}

impl SlicedWork for PageJob {
    fn run(mut self: Box<Self>) -> Option<Box<dyn SlicedWork>> {
        let slot = Weak::clone(&self.slot);
        let is_wanted = || slot.strong_count() > 0;
        if !is_wanted() {
            return None;
        }
        let page = match page::read(self.store.reader(), &mut self.request, &is_wanted) {
            Ok(None) => return Some(self),
            Ok(Some(page)) => Ok(page),
            Err(error) => Err(error),
        };
        if let Some(slot) = self.slot.upgrade() {
            *lock(&slot) = Some(page);
            self.notifier.notify();
        }
        None
    }
}
