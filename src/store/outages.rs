//! Outages of polling: when any node last polled GitHub, and an outage that was found and is not
//! yet on the bus.

use super::batch::Batch;
use super::error::StoreError;
use super::keys::MetaKey;
use super::reader::Reader;
use crate::model::gap::Outage;
use crate::model::window::Timestamp;

/// Row of the time of the last poll.
const POLLED_AT: &str = "polled_at";
/// Row of the outage that the next message will carry.
const PENDING: &str = "outage_pending";
/// Row of the last outage that arrived over the bus.
const ARRIVED: &str = "outage_arrived";

fn key(name: &str) -> MetaKey {
    MetaKey(name.to_owned())
}

/// Records when this node last polled GitHub.
pub fn keep_polled(batch: &mut Batch<'_>, at: Timestamp) {
    batch.put(&key(POLLED_AT), &at.micros().to_be_bytes());
}

/// Records that another node polled GitHub then, unless a later time is known.
pub fn keep_polled_elsewhere(batch: &mut Batch<'_>, at: Timestamp) -> Result<(), StoreError> {
    let known = batch.get(&key(POLLED_AT))?.and_then(|value| read_time(&value));
    if known < Some(at) {
        keep_polled(batch, at);
    }
    Ok(())
}

/// When GitHub was last polled, as far as this node knows; `None` before the first poll.
pub fn polled(reader: Reader<'_>) -> Result<Option<Timestamp>, StoreError> {
    Ok(reader.get(&key(POLLED_AT))?.and_then(|value| read_time(&value)))
}

/// Stores an outage until a message has carried it, merged with one that is stored already.
pub fn keep_pending(batch: &mut Batch<'_>, outage: Outage) -> Result<(), StoreError> {
    let kept = batch.get(&key(PENDING))?.and_then(|value| read(&value));
    let outage = kept.map_or(outage, |kept| kept.with(outage));
    batch.put(&key(PENDING), &written(outage));
    Ok(())
}

/// The outage that is to be carried by the next message.
pub fn pending(reader: Reader<'_>) -> Result<Option<Outage>, StoreError> {
    Ok(reader.get(&key(PENDING))?.and_then(|value| read(&value)))
}

/// Records an outage that arrived over the bus, which is then no longer pending. Returns false when
/// it arrived before, since a message may be sent twice.
pub fn arrive(batch: &mut Batch<'_>, outage: Outage) -> Result<bool, StoreError> {
    if batch.get(&key(PENDING))?.and_then(|value| read(&value)) == Some(outage) {
        batch.delete(&key(PENDING));
    }
    let is_new = batch.get(&key(ARRIVED))?.and_then(|value| read(&value)) != Some(outage);
    batch.put(&key(ARRIVED), &written(outage));
    Ok(is_new)
}

fn written(outage: Outage) -> Vec<u8> {
    [outage.since, outage.until].iter().flat_map(|at| at.micros().to_be_bytes()).collect()
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
    use crate::store::new_store;

    #[tokio::test]
    async fn outage_is_pending_until_it_arrives_once() {
        let (_dir, store) = new_store();
        let at = Timestamp::from_seconds;
        let outage = move |since, until| Outage { since: at(since), until: at(until) };
        store.commit(move |batch| keep_pending(batch, outage(5, 9))).await.unwrap();
        store.commit(move |batch| keep_pending(batch, outage(7, 20))).await.unwrap();
        assert_eq!(pending(store.reader()).unwrap(), Some(outage(5, 20)));
        let arrive = |outage| store.commit(move |batch| arrive(batch, outage));
        assert!(arrive(outage(1, 2)).await.unwrap(), "of another node");
        assert_eq!(pending(store.reader()).unwrap(), Some(outage(5, 20)));
        assert!(arrive(outage(5, 20)).await.unwrap());
        assert_eq!(pending(store.reader()).unwrap(), None);
        assert!(!arrive(outage(5, 20)).await.unwrap());
    }

    #[tokio::test]
    async fn last_poll_is_the_latest_of_all_nodes() {
        let (_dir, store) = new_store();
        let at = Timestamp::from_seconds;
        assert_eq!(polled(store.reader()).unwrap(), None);
        store.commit(move |batch| keep_polled_elsewhere(batch, at(9))).await.unwrap();
        store.commit(move |batch| keep_polled_elsewhere(batch, at(7))).await.unwrap();
        assert_eq!(polled(store.reader()).unwrap(), Some(at(9)));
    }
}
