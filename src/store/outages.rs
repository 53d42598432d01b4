//! Outages of polling: when GitHub was last read, by whichever node, and an outage that was found
//! and has not arrived over the bus yet.

use super::batch::Batch;
use super::error::StoreError;
use super::keys::MetaKey;
use super::reader::Reader;
use crate::model::gap::Outage;
use crate::model::window::Timestamp;

/// Row of the time of the last poll.
const POLLED_AT: &str = "polled_at";
/// Row of the outage that waits for its message.
const PENDING: &str = "outage_pending";
/// Row of the last outage that arrived over the bus.
const ARRIVED: &str = "outage_arrived";

/// An outage, and before which event subscribers are to be notified of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingOutage {
    /// When GitHub was not read.
    pub outage: Outage,
    /// The first admission after it: the first message of this or a later one carries the outage.
    pub before: u64,
}

fn key(name: &str) -> MetaKey {
    MetaKey(name.to_owned())
}

/// Records when this node last polled GitHub.
pub fn keep_polled(batch: &mut Batch<'_>, at: Timestamp) {
    batch.put(&key(POLLED_AT), &at.micros().to_be_bytes());
}

/// Records that another node polled GitHub then, unless a later time is known that has come.
pub fn keep_polled_elsewhere(batch: &mut Batch<'_>, at: Timestamp) -> Result<(), StoreError> {
    let known = polled(batch)?;
    if known < Some(at) || known.map_or(Ok(false), |known| batch.is_ahead(known))? {
        keep_polled(batch, at);
    }
    Ok(())
}

/// When GitHub was last polled, as far as this node knows; `None` before the first poll.
pub fn polled(reader: Reader<'_>) -> Result<Option<Timestamp>, StoreError> {
    Ok(reader.get(&key(POLLED_AT))?.and_then(|value| read_time(&value)))
}

/// Keeps an outage until a message has carried it. An outage that is still pending is widened by
/// the new one, and keeps its place.
pub fn keep_pending(batch: &mut Batch<'_>, found: PendingOutage) -> Result<(), StoreError> {
    let kept = pending(batch)?;
    let PendingOutage { outage, before } = kept.map_or(found, |kept| PendingOutage {
        outage: kept.outage.with(found.outage),
        before: kept.before.min(found.before),
    });
    let mut value = written(outage);
    value.extend_from_slice(&before.to_be_bytes());
    batch.put(&key(PENDING), &value);
    Ok(())
}

/// The outage that waits for its message. To be read after the messages: both are written in one
/// batch.
pub fn pending(reader: Reader<'_>) -> Result<Option<PendingOutage>, StoreError> {
    Ok(reader.get(&key(PENDING))?.and_then(|value| read_pending(&value)))
}

/// An outage arrived over the bus, and is no longer pending.
pub fn arrive(batch: &mut Batch<'_>, outage: Outage) -> Result<(), StoreError> {
    if pending(batch)?.is_some_and(|pending| pending.outage == outage) {
        batch.delete(&key(PENDING));
    }
    batch.put(&key(ARRIVED), &written(outage));
    Ok(())
}

/// The last outage that arrived over the bus.
pub fn arrived(reader: Reader<'_>) -> Result<Option<Outage>, StoreError> {
    Ok(reader.get(&key(ARRIVED))?.and_then(|value| read(&value)))
}

fn written(outage: Outage) -> Vec<u8> {
    [outage.since, outage.until].iter().flat_map(|at| at.micros().to_be_bytes()).collect()
}

/// Earlier versions wrote no admission: then the next message carries the outage.
fn read_pending(value: &[u8]) -> Option<PendingOutage> {
    let (outage, before) = value.split_at_checked(16)?;
    let before = before.try_into().map_or(0, u64::from_be_bytes);
    Some(PendingOutage { outage: read(outage)?, before })
}

fn read(value: &[u8]) -> Option<Outage> {
    let (since, until) = value.split_first_chunk::<8>()?;
    Some(Outage {
        since: Timestamp::from_micros(i64::from_be_bytes(*since)),
        until: read_time(until)?,
    })
}

fn read_time(value: &[u8]) -> Option<Timestamp> {
    Some(Timestamp::from_micros(i64::from_be_bytes(value.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::last_pass::last_pass_key;
    use crate::store::new_store;

    #[tokio::test]
    async fn outage_is_pending_until_it_arrives() {
        let (_dir, store) = new_store();
        let at = Timestamp::from_seconds;
        let outage = move |since, until| Outage { since: at(since), until: at(until) };
        let found = move |outage, before| PendingOutage { outage, before };
        store.commit(move |batch| keep_pending(batch, found(outage(5, 9), 3))).await.unwrap();
        store.commit(move |batch| keep_pending(batch, found(outage(7, 20), 8))).await.unwrap();
        assert_eq!(pending(store.reader()).unwrap(), Some(found(outage(5, 20), 3)));
        let arrive = |outage| store.commit(move |batch| arrive(batch, outage));
        arrive(outage(1, 2)).await.unwrap();
        assert_eq!(pending(store.reader()).unwrap(), Some(found(outage(5, 20), 3)), "of another");
        arrive(outage(5, 20)).await.unwrap();
        assert_eq!(pending(store.reader()).unwrap(), None);
        assert_eq!(arrived(store.reader()).unwrap(), Some(outage(5, 20)));
        let old = written(outage(5, 9));
        assert_eq!(read_pending(&old), Some(found(outage(5, 9), 0)), "of an earlier version");
    }

    #[tokio::test]
    async fn last_poll_is_the_latest_of_all_nodes() {
        let (_dir, store) = new_store();
        let at = Timestamp::from_seconds;
        assert_eq!(polled(store.reader()).unwrap(), None);
        store.commit(move |batch| keep_polled_elsewhere(batch, at(9))).await.unwrap();
        store.commit(move |batch| keep_polled_elsewhere(batch, at(7))).await.unwrap();
        assert_eq!(polled(store.reader()).unwrap(), Some(at(9)));
        // This node's clock was a century ahead.
        store.commit(move |batch| keep_polled_elsewhere(batch, at(4_900_000_000))).await.unwrap();
        let pass = |batch: &mut Batch<'_>| {
            batch.put(&last_pass_key(), &12_000_000_i64.to_be_bytes());
            Ok(())
        };
        store.commit(pass).await.unwrap();
        store.commit(move |batch| keep_polled_elsewhere(batch, at(11))).await.unwrap();
        assert_eq!(polled(store.reader()).unwrap(), Some(at(11)));
    }
}
