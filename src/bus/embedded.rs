//! The bus of a node without a broker: the outbox itself.
//!
//! It has no rows of its own. It delivers entries straight from the outbox, and the batch that
//! applies an entry deletes it and its body. So no entry is ever acknowledged but not applied, or
//! applied but not acknowledged.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::outbox::{self, OutboxEntry, OutboxReceipt};
use super::{Bus, BusError, Content, Delivery, FactsFrom};
use crate::model::position::{BusTag, Position};
use crate::store::outages::{self, OutageCarrier, PendingOutage};
use crate::store::{Batch, Store, StoreError};

/// Most deliveries that are returned at once.
const DELIVERIES: usize = 1_000;
/// Bytes of events that are read at once, with the commits of pushes.
const DELIVERY_BYTES: usize = 8 << 20;

/// The outbox as a bus.
pub struct EmbeddedBus {
    store: Store,
    newest: watch::Receiver<u64>,
    /// The last entry that was delivered since the process started.
    delivered: u64,
    /// Reads the next entries while the delivered ones are being applied.
    ahead: Option<ReadAhead>,
    outages: OutageCarrier,
}

/// Entries, and the outages that are pending.
type OutagesAndEntries = (Vec<PendingOutage>, Vec<OutboxEntry>);

/// A read of the next entries on the blocking pool.
struct ReadAhead {
    /// The last entry of the outbox when the read began.
    newest: u64,
    entries: JoinHandle<Result<OutagesAndEntries, StoreError>>,
}

impl EmbeddedBus {
    /// The bus of this store. It begins with the oldest entry that is not applied.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let newest = store.watermarks().outbox.subscribe();
        Self { store, newest, delivered: 0, ahead: None, outages: OutageCarrier::default() }
    }

    /// Starts to read the entries after the delivered ones, if there are any.
    fn read_ahead(&mut self) {
        let newest = *self.newest.borrow_and_update();
        if newest > self.delivered && self.ahead.is_none() {
            let (store, from) = (self.store.clone(), self.delivered + 1);
            let read = move || {
                let entries = outbox::read(store.reader(), from, DELIVERIES, DELIVERY_BYTES)?;
                Ok((outages::pending(store.reader())?, entries))
            };
            self.ahead = Some(ReadAhead { newest, entries: tokio::task::spawn_blocking(read) });
        }
    }
}

impl Bus for EmbeddedBus {
    type Receipt = OutboxReceipt;

    fn tag(&self) -> BusTag {
        self.store.bus_tag()
    }

    async fn next(&mut self) -> Result<Vec<Delivery<OutboxReceipt>>, BusError> {
        loop {
            self.read_ahead();
            let Some(ahead) = &mut self.ahead else {
                if self.newest.changed().await.is_err() {
                    return Err(StoreError::Closed.into());
                }
                continue;
            };
            let newest = ahead.newest;
            let entries = (&mut ahead.entries).await;
            self.ahead = None;
            let (pending, entries) = match entries {
                Ok(entries) => entries?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return Err(StoreError::Closed.into()),
            };
            // No entries: everything up to the newest was applied before this start.
            self.delivered = entries.last().map_or(newest, |last| last.spent.entry);
            if !entries.is_empty() {
                self.read_ahead();
                self.outages.update(pending);
                let deliveries = entries.into_iter().map(|entry| Delivery {
                    position: Position::counted(entry.spent.entry),
                    outage: self.outages.next_before(entry.spent.admission),
                    content: Content::Event(entry.envelope, entry.summary, FactsFrom::Here),
                    receipt: entry.spent,
                });
                return Ok(deliveries.collect());
            }
        }
    }

    fn settle(receipts: &[OutboxReceipt], batch: &mut Batch<'_>) -> Result<(), StoreError> {
        outbox::settle(receipts, batch)
    }

    async fn acknowledge(&mut self, receipts: Vec<OutboxReceipt>) -> Result<(), BusError> {
        outbox::settled(&self.store, &receipts);
        Ok(())
    }
}
