//! A page on its way: read in its turn, beside the async workers, while somebody waits for it.

use std::sync::{Arc, Mutex, Weak};

use super::page::{self, Page, Wanted};
use super::{Reading, Streams};
use crate::hub::fanout::fair_queue::{Job, Rank};
use crate::hub::fanout::notifier::Notifier;
use crate::hub::lock::lock;
use crate::store::{Store, StoreError};

/// Where a page is put. Nobody waits for it any more when this is gone.
type Slot = Mutex<Option<Result<Page, StoreError>>>;

/// A page on its way, and the right to be counted as one who reads pages. Who drops it waits no
/// more; what has begun to be read then ends at the next event.
#[derive(Debug)]
pub(super) struct Paging {
    slot: Arc<Slot>,
    reading: Reading,
}

/// The reading of a page, as far as it has come.
struct PageJob {
    store: Store,
    wanted: Wanted,
    slot: Weak<Slot>,
    notifier: Arc<Notifier>,
}

impl Paging {
    /// Sends for a page; the notifier rings when it is there.
    pub(super) fn begin(
        streams: &Streams,
        wanted: Wanted,
        rank: Rank,
        reading: Reading,
        notifier: &Arc<Notifier>,
    ) -> Self {
        let (slot, notifier) = (Arc::new(Slot::default()), Arc::clone(notifier));
        let (store, waiting) = (streams.journal.store.clone(), Arc::downgrade(&slot));
        let client = notifier.client();
        let job = PageJob { store, wanted, slot: waiting, notifier };
        streams.turns.push(client, rank, Box::new(job));
        Self { slot, reading }
    }

    /// The page, once, when it is there.
    pub(super) fn take(&self) -> Option<Result<Page, StoreError>> {
        lock(&self.slot).take()
    }

    /// The right by which it was read.
    pub(super) fn reading(&self) -> &Reading {
        &self.reading
    }
}

impl Job for PageJob {
    fn run(mut self: Box<Self>) -> Option<Box<dyn Job>> {
        let still = Weak::clone(&self.slot);
        let is_waited_for = || still.strong_count() > 0;
        if !is_waited_for() {
            return None;
        }
        let page = match page::read(self.store.reader(), &mut self.wanted, &is_waited_for) {
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
