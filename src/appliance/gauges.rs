//! Gauges of states that no stage reports: waiting rows, and the state of RocksDB.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::metrics;
use crate::store::keys::{InboxKey, Key, OutboxKey};
use crate::store::pressure::Pressure;
use crate::store::{Reader, Store, StoreError};
use crate::sync::blocking;

/// Interval between measurements: about that of Prometheus.
const EVERY: Duration = Duration::from_secs(5);
/// Maximum number of rows of a queue counted one by one; those behind are assumed to have no
/// holes.
const COUNTED: u64 = 10_000;

/// The first rows of the queues. Searches start there, because queues leave tombstones behind.
#[derive(Debug, Clone, Copy, Default)]
struct Fronts {
    inbox: u64,
    outbox: u64,
}

/// Measures until `stop` is cancelled.
pub(super) async fn run(store: Store, clock: Clock, stop: CancellationToken) -> anyhow::Result<()> {
    let mut fronts = Fronts::default();
    loop {
        let measured = store.clone();
        let look = blocking(move || measure(&measured, fronts));
        fronts = look.await??;
        let Some(()) = stop.run_until_cancelled(clock.sleep(EVERY)).await else { return Ok(()) };
    }
}

/// Measures once. Blocks.
fn measure(store: &Store, mut fronts: Fronts) -> Result<Fronts, StoreError> {
    let (admitted, entries) =
        (*store.watermarks().inbox.borrow(), *store.watermarks().outbox.borrow());
    let reader = store.reader();
    let inbox = waiting(reader, InboxKey, |key| key.0, &mut fronts.inbox, admitted)?;
    let outbox = waiting(reader, OutboxKey, |key| key.0, &mut fronts.outbox, entries)?;
    metrics::INBOX_ROWS.set(number(inbox));
    metrics::OUTBOX_ROWS.set(number(outbox));
    let Pressure { stopped, delayed_to, pending_compaction } = store.pressure();
    metrics::WRITES_STOPPED.set(f64::from(u8::from(stopped)));
    metrics::WRITES_DELAYED.set(number(delayed_to));
    metrics::COMPACTION_PENDING.set(number(pending_compaction));
    Ok(fronts)
}

/// The number of rows of a queue from `front` on, which is moved to the first of them; `last` is
/// the last number that the queue has assigned.
fn waiting<K: Key>(
    reader: Reader<'_>,
    key: impl Fn(u64) -> K,
    of: impl Fn(&K) -> u64,
    front: &mut u64,
    last: u64,
) -> Result<u64, StoreError> {
    let (mut rows, mut first, mut at) = (0, None, 0);
    reader.scan(&key(*front), |found: K, _| {
        at = of(&found);
        first.get_or_insert(at);
        rows += 1;
        Ok(rows < COUNTED)
    })?;
    *front = first.unwrap_or(*front);
    let behind = if rows == COUNTED { last.saturating_sub(at) } else { 0 };
    Ok(rows + behind)
}

/// Digits beyond the 53rd bit are irrelevant here.
#[expect(clippy::cast_precision_loss, reason = "a gauge is an estimate at this size")]
fn number(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Durability;

    #[tokio::test]
    async fn rows_of_a_queue_are_counted_and_its_front_moves() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
        let put = |from: u64, until: u64| {
            store.commit(move |batch| {
                (from..until).for_each(|n| batch.put(&OutboxKey(n), b"x"));
                Ok(())
            })
        };
        let mut front = 0;
        let mut count = |last| waiting(store.reader(), OutboxKey, |key| key.0, &mut front, last);
        assert_eq!(count(0).unwrap(), 0);
        put(5, 8).await.unwrap();
        assert_eq!(count(7).unwrap(), 3);
        put(8, 30_001).await.unwrap();
        assert_eq!(count(30_000).unwrap(), 29_996);
        store
            .commit(|batch| {
                (5..20_000).for_each(|n| batch.delete(&OutboxKey(n)));
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(count(30_000).unwrap(), 10_001);
        assert_eq!(front, 20_000);
        assert!(!store.pressure().stopped);
    }
}
