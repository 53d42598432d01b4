//! The bus of a node without a broker: the outbox itself.
//!
//! It has no rows of its own. An entry of the outbox is delivered from where it lies, and the
//! batch that applies it deletes it and its body. So nothing can be acknowledged and not applied,
//! or the reverse.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Bus, BusError, Delivery};
use crate::model::envelope::{Envelope, written_back};
use crate::model::event::Event;
use crate::model::position::{BusTag, Position};
use crate::store::keys::{BodyKey, Key as _, MetaKey, OutboxKey};
use crate::store::rows::decode_outbox;
use crate::store::{BACKLOG, Batch, Reader, Store, StoreError};

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

/// What an applied entry frees.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    entry: u64,
    admission: u64,
    body_bytes: usize,
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
    type Receipt = Receipt;

    fn tag(&self) -> BusTag {
        self.store.bus_tag()
    }

    async fn next(&mut self) -> Result<Vec<Delivery<Receipt>>, BusError> {
        loop {
            let head = *self.head.borrow_and_update();
            if head > self.delivered {
                let from = self.delivered + 1;
                let deliveries = self.store.read(move |reader| read(reader, from)).await?;
                if let Some(last) = deliveries.last() {
                    self.delivered = last.receipt.entry;
                    return Ok(deliveries);
                }
                // All up to the head was applied before this start.
                self.delivered = head;
            }
            if self.head.changed().await.is_err() {
                return Err(StoreError::Closed.into());
            }
        }
    }

    fn settle(receipts: &[Receipt], batch: &mut Batch<'_>) -> Result<(), StoreError> {
        let mut freed = 0_i64;
        for receipt in receipts {
            batch.delete(&OutboxKey(receipt.entry));
            batch.delete(&BodyKey(receipt.admission));
            freed = freed.saturating_add(i64::try_from(receipt.body_bytes).unwrap_or(i64::MAX));
        }
        batch.add(&MetaKey(BACKLOG.to_owned()), -freed)?;
        Ok(())
    }

    async fn acknowledge(&mut self, receipts: Vec<Receipt>) -> Result<(), BusError> {
        let freed: usize = receipts.iter().map(|receipt| receipt.body_bytes).sum();
        let backlog = &self.store.heads().backlog;
        backlog.send_modify(|bytes| *bytes = bytes.saturating_sub(freed as u64));
        Ok(())
    }
}

fn read(reader: Reader<'_>, from: u64) -> Result<Vec<Delivery<Receipt>>, StoreError> {
    let mut deliveries = Vec::new();
    let mut bytes = 0;
    reader.scan(&OutboxKey(from), |key, value| {
        let (admission, mut facts) = decode_outbox(key, value)?;
        let body = BodyKey(admission);
        let missing = || StoreError::corrupt("bodies", &body.to_bytes());
        let raw = reader.get(&body)?.ok_or_else(missing)?;
        let text = std::str::from_utf8(&raw).map_err(|_| missing())?;
        let event = Event::read(text).map_err(|_| missing())?;
        let written = Arc::from(written_back(&event, &facts));
        facts.forget_written();
        let envelope = Envelope { facts, event: written };
        let receipt = Receipt { entry: key.0, admission, body_bytes: raw.len() };
        bytes += raw.len();
        deliveries.push(Delivery { position: Position::counted(key.0), envelope, receipt });
        Ok(deliveries.len() < DELIVERIES && bytes < DELIVERY_BYTES)
    })?;
    Ok(deliveries)
}
