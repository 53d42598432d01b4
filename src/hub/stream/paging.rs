//! A page on its way: read in its turn, beside the async workers, while somebody waits for it.

use std::sync::{Arc, Mutex, Weak};

use tokio::task::AbortHandle;

use super::page::{self, Page, Wanted};
use super::{Reading, Streams};
use crate::hub::bell::Bell;
use crate::hub::lock;
use crate::store::StoreError;

/// Where a page is put. Nobody waits for it any more when this is gone.
type Slot = Mutex<Option<Result<Page, StoreError>>>;

/// A page on its way, and the right to be counted as one who reads pages. Who drops it waits no
/// more; what has begun to be read then ends at the next event.
#[derive(Debug)]
pub(super) struct Paging {
    slot: Arc<Slot>,
    task: AbortHandle,
    reading: Reading,
}

impl Paging {
    /// Sends for a page; the bell rings when it is there.
    pub(super) fn begin(
        streams: &Streams,
        wanted: Wanted,
        reading: Reading,
        bell: &Arc<Bell>,
    ) -> Self {
        let (store, turns) = (streams.journal.store.clone(), Arc::clone(&streams.turns));
        let (slot, bell) = (Arc::new(Slot::default()), Arc::clone(bell));
        let waiting = Arc::downgrade(&slot);
        let task = tokio::spawn(async move {
            let turn = turns.acquire_owned().await;
            let still = Weak::clone(&waiting);
            let read = move |reader: crate::store::Reader<'_>| {
                // What blocks goes on where nobody waits for it: the turn is over when it is.
                let _turn = turn;
                page::read(reader, wanted, &|| still.strong_count() > 0)
            };
            let page = store.read(read).await;
            if let Some(slot) = waiting.upgrade() {
                *lock(&slot) = Some(page);
                bell.ring();
            }
        });
        Self { slot, task: task.abort_handle(), reading }
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

impl Drop for Paging {
    fn drop(&mut self) {
        self.task.abort();
    }
}
