//! The bus of a node without a broker: the outbox itself.
//!
//! It has no rows of its own. An entry of the outbox is delivered from where it lies, and the
//! batch that applies it deletes it and its body. So nothing can be acknowledged and not applied,
//! or the reverse.

use tokio::sync::watch;

use super::outbox::{self, Spent};
use super::{Bus, BusError, Content, Delivery};
use crate::model::position::{BusTag, Position};
use crate::store::{Batch, Reader, Store, StoreError};

/// Deliveries at once.
const DELIVERIES: usize = 1_000;
/// Bytes of events at once.
const DELIVERY_BYTES: usize = 8 << 20;

/// The outbox as a bus.
pub struct EmbeddedBus {
    store: Store,
    head: watch::Receiver<u64>,
    /// Entries up to here were delivered in this life of the process.
    delivered: u64,
}

impl EmbeddedBus {
    /// The bus of this store; it begins with the oldest entry that was not applied.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let head = store.heads().outbox.subscribe();
        Self { store, head, delivered: 0 }
    }
}

impl Bus for EmbeddedBus {
    type Receipt = Spent;

    fn tag(&self) -> BusTag {
        self.store.bus_tag()
    }

    async fn next(&mut self) -> Result<Vec<Delivery<Spent>>, BusError> {
        loop {
            let head = *self.head.borrow_and_update();
            if head > self.delivered {
                let from = self.delivered + 1;
                let read = move |reader: Reader<'_>| {
                    outbox::read(reader, from, DELIVERIES, DELIVERY_BYTES)
                };
                let entries = self.store.read(read).await?;
                if let Some(last) = entries.last() {
                    self.delivered = last.spent.entry;
                    return Ok(entries.into_iter().map(delivery).collect());
                }
                // All up to the head was applied before this start.
                self.delivered = head;
            }
            if self.head.changed().await.is_err() {
                return Err(StoreError::Closed.into());
            }
        }
    }

    fn settle(receipts: &[Spent], batch: &mut Batch<'_>) -> Result<(), StoreError> {
        outbox::settle(receipts, batch)
    }

    async fn acknowledge(&mut self, receipts: Vec<Spent>) -> Result<(), BusError> {
        outbox::settled(&self.store, &receipts);
        Ok(())
    }
}

fn delivery(entry: outbox::Entry) -> Delivery<Spent> {
    Delivery {
        position: Position::counted(entry.spent.entry),
        content: Content::Own(entry.envelope),
        receipt: entry.spent,
    }
}
