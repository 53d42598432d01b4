//! Outages of polling: when GitHub was last read, by whichever node, and outages that were found
//! and have not arrived over the bus yet.
//!
//! Each outage has a place of its own: the admission in front of which something is missing. A
//! broker may be away for longer than GitHub is, so several may wait, with events between them.

use super::batch::Batch;
use super::error::StoreError;
use super::keys::MetaKey;
use super::reader::Reader;
use crate::model::gap::Outage;
use crate::model::window::Timestamp;

/// Row of the time of the last poll.
const POLLED_AT: &str = "polled_at";
/// Row of the outages that wait for their messages.
const PENDING: &str = "outage_pending";
/// Row of the last outages that arrived over the bus.
const ARRIVED: &str = "outage_arrived";
/// The most outages in each of these rows.
const MOST: usize = 100;
/// Bytes of an outage in the row of those that arrived.
const OUTAGE_BYTES: usize = 16;
/// Bytes of an outage that is pending: its place is behind it.
const PENDING_BYTES: usize = OUTAGE_BYTES + 8;

/// An outage, and before which event subscribers are to be notified of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingOutage {
    /// When GitHub was not read.
    pub outage: Outage,
    /// The admission in front of which something is missing: the first message of this or a later
    /// one carries the outage.
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

/// Keeps an outage until a message has carried it. One with the same place is widened by it. Beyond
/// a hundred the last one is widened.
pub fn keep_pending(batch: &mut Batch<'_>, found: PendingOutage) -> Result<(), StoreError> {
    let mut all = pending(batch)?;
    let at = all.partition_point(|known| known.before < found.before);
    match all.get_mut(at).filter(|known| known.before == found.before) {
        Some(known) => known.outage = known.outage.with(found.outage),
        None => all.insert(at, found),
    }
    let too_many = if all.len() > MOST { all.pop() } else { None };
    if let Some((last, over)) = all.last_mut().zip(too_many) {
        last.outage = last.outage.with(over.outage);
    }
    put_pending(batch, &all);
    Ok(())
}

/// The outages that wait for their messages, by their places. To be read after the messages: both
/// are written in one batch.
pub fn pending(reader: Reader<'_>) -> Result<Vec<PendingOutage>, StoreError> {
    Ok(reader.get(&key(PENDING))?.map_or_else(Vec::new, |value| read_pending(&value)))
}

/// Whether an outage of polling is pending, besides those of no length.
pub fn has_polling_outage(reader: Reader<'_>) -> Result<bool, StoreError> {
    Ok(pending(reader)?.iter().any(|pending| !pending.outage.is_one_event()))
}

/// Keeps of the pending outages only those of no length.
pub fn forget_polling_outages(batch: &mut Batch<'_>) -> Result<(), StoreError> {
    let mut all = pending(batch)?;
    all.retain(|pending| pending.outage.is_one_event());
    put_pending(batch, &all);
    Ok(())
}

/// Records that outages arrived over the bus in this batch, which ends their wait. To be called
/// once a batch.
pub fn arrive(batch: &mut Batch<'_>, came: &[Outage]) -> Result<(), StoreError> {
    let mut waiting = pending(batch)?;
    let before = waiting.len();
    waiting.retain(|pending| !came.contains(&pending.outage));
    if waiting.len() < before {
        put_pending(batch, &waiting);
    }
    let mut all = arrived(batch)?;
    all.retain(|known| !came.contains(known));
    all.extend(came);
    let value: Vec<u8> =
        all[all.len().saturating_sub(MOST)..].iter().flat_map(|it| written(*it)).collect();
    batch.put(&key(ARRIVED), &value);
    Ok(())
}

/// The last outages that arrived over the bus, the newest last: a message may be sent twice.
pub fn arrived(reader: Reader<'_>) -> Result<Vec<Outage>, StoreError> {
    let value = reader.get(&key(ARRIVED))?.unwrap_or_default();
    Ok(value.chunks_exact(OUTAGE_BYTES).filter_map(read).collect())
}

/// The pending outages while messages are made of events. Each is carried by one message, and each
/// message carries one: of several that have the same place, the later ones come with the messages
/// behind it.
#[derive(Debug, Default)]
pub struct OutageCarrier {
    /// By their places.
    waiting: Vec<PendingOutage>,
    /// Those that a message carries, until they arrive.
    on_their_way: Vec<Outage>,
}

impl OutageCarrier {
    /// Takes over what is pending now.
    pub fn update(&mut self, pending: Vec<PendingOutage>) {
        self.on_their_way.retain(|sent| pending.iter().any(|pending| pending.outage == *sent));
        self.waiting = pending;
        self.waiting.retain(|pending| !self.on_their_way.contains(&pending.outage));
    }

    /// The outage that the message of an admission carries, to be called in the order in which
    /// messages are sent. Of several it is one of polling, which may have cost more than one event.
    pub fn next_before(&mut self, admission: u64) -> Option<Outage> {
        let reached = self.waiting.partition_point(|waiting| waiting.before <= admission);
        let of_polling = |waiting: &PendingOutage| !waiting.outage.is_one_event();
        let at = self.waiting[..reached].iter().position(of_polling);
        let at = at.or((reached > 0).then_some(0))?;
        let PendingOutage { outage, .. } = self.waiting.remove(at);
        self.on_their_way.push(outage);
        Some(outage)
    }
}

fn put_pending(batch: &mut Batch<'_>, all: &[PendingOutage]) {
    let bytes_of = |pending: &PendingOutage| {
        let mut value = written(pending.outage);
        value.extend_from_slice(&pending.before.to_be_bytes());
        value
    };
    if all.is_empty() {
        batch.delete(&key(PENDING));
    } else {
        batch.put(&key(PENDING), &all.iter().flat_map(bytes_of).collect::<Vec<u8>>());
    }
}

fn written(outage: Outage) -> Vec<u8> {
    [outage.since, outage.until].iter().flat_map(|at| at.micros().to_be_bytes()).collect()
}

fn read_pending(value: &[u8]) -> Vec<PendingOutage> {
    // Earlier versions wrote no admission: then the next message carries the outage.
    if value.len() == OUTAGE_BYTES {
        return read(value).map(|outage| PendingOutage { outage, before: 0 }).into_iter().collect();
    }
    let read_one = |value: &[u8]| {
        let (outage, before) = value.split_at_checked(OUTAGE_BYTES)?;
        let before = u64::from_be_bytes(before.try_into().ok()?);
        Some(PendingOutage { outage: read(outage)?, before })
    };
    value.chunks_exact(PENDING_BYTES).filter_map(read_one).collect()
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

    fn outage(since: i64, until: i64) -> Outage {
        Outage { since: Timestamp::from_seconds(since), until: Timestamp::from_seconds(until) }
    }

    fn found(outage: Outage, before: u64) -> PendingOutage {
        PendingOutage { outage, before }
    }

    #[tokio::test]
    async fn outages_are_pending_until_they_arrive() {
        let (_dir, store) = new_store();
        let keep = |found| store.commit(move |batch| keep_pending(batch, found));
        let arrive = |came: &[Outage]| {
            let came = came.to_vec();
            store.commit(move |batch| arrive(batch, &came))
        };
        keep(found(outage(30, 40), 8)).await.unwrap();
        keep(found(outage(5, 9), 3)).await.unwrap();
        keep(found(outage(7, 20), 3)).await.unwrap();
        let all = [found(outage(5, 20), 3), found(outage(30, 40), 8)];
        assert_eq!(pending(store.reader()).unwrap(), all, "each has its place");
        arrive(&[outage(1, 2)]).await.unwrap();
        assert_eq!(pending(store.reader()).unwrap(), all, "it was of another node");
        arrive(&[outage(30, 40)]).await.unwrap();
        assert_eq!(pending(store.reader()).unwrap(), all[..1]);
        arrive(&[outage(1, 2), outage(5, 20)]).await.unwrap();
        assert_eq!(pending(store.reader()).unwrap(), []);
        let known = [outage(30, 40), outage(1, 2), outage(5, 20)];
        assert_eq!(arrived(store.reader()).unwrap(), known);
    }

    #[tokio::test]
    async fn outages_of_polling_are_forgotten_and_missing_events_are_not() {
        let (_dir, store) = new_store();
        for (at, outage) in [(3, outage(5, 9)), (5, outage(7, 7)), (9, outage(20, 30))] {
            store.commit(move |batch| keep_pending(batch, found(outage, at))).await.unwrap();
        }
        assert!(has_polling_outage(store.reader()).unwrap());
        store.commit(forget_polling_outages).await.unwrap();
        assert_eq!(pending(store.reader()).unwrap(), [found(outage(7, 7), 5)]);
        assert!(!has_polling_outage(store.reader()).unwrap());
    }

    #[tokio::test]
    async fn number_of_outages_is_bounded() {
        let (_dir, store) = new_store();
        for at in 0..150_i64 {
            let before = at.unsigned_abs();
            let keep =
                move |batch: &mut Batch<'_>| keep_pending(batch, found(outage(at, at), before));
            store.commit(keep).await.unwrap();
            store.commit(move |batch| arrive(batch, &[outage(at, at + 1)])).await.unwrap();
        }
        let all = pending(store.reader()).unwrap();
        assert_eq!((all.len(), all[98]), (100, found(outage(98, 98), 98)));
        assert_eq!(all[99], found(outage(99, 149), 99), "the last one is widened");
        let known = arrived(store.reader()).unwrap();
        assert_eq!((known.len(), known[0], known[99]), (100, outage(50, 51), outage(149, 150)));
    }

    #[test]
    fn each_outage_is_carried_by_one_message() {
        let (a, b) = (found(outage(1, 2), 3), found(outage(4, 4), 5));
        let mut carrier = OutageCarrier::default();
        carrier.update(vec![a, b]);
        let outages = [2, 3, 4, 7, 8].map(|admission| carrier.next_before(admission));
        assert_eq!(outages, [None, Some(a.outage), None, Some(b.outage), None]);
        carrier.update(vec![a, b]);
        assert_eq!(carrier.next_before(9), None, "both are on their way");
        // Of two with reached places the longer one is first.
        let mut carrier = OutageCarrier::default();
        let (event, polling) = (found(outage(4, 4), 5), found(outage(10, 90), 6));
        carrier.update(vec![event, polling]);
        let outages = [6, 7, 8].map(|admission| carrier.next_before(admission));
        assert_eq!(outages, [Some(polling.outage), Some(event.outage), None]);
    }

    #[test]
    fn outage_that_has_arrived_may_be_found_again() {
        let (a, b) = (found(outage(1, 2), 3), found(outage(4, 4), 5));
        let mut carrier = OutageCarrier::default();
        carrier.update(vec![a, b]);
        assert!([3, 5].map(|admission| carrier.next_before(admission)).iter().all(Option::is_some));
        carrier.update(vec![b]);
        carrier.update(vec![a, b]);
        assert_eq!([9, 10].map(|it| carrier.next_before(it)), [Some(a.outage), None]);
    }

    #[test]
    fn rows_of_earlier_versions_can_be_read() {
        let old = written(outage(5, 9));
        assert_eq!(read_pending(&old), [found(outage(5, 9), 0)]);
        let old = [old, 3_u64.to_be_bytes().to_vec()].concat();
        assert_eq!(read_pending(&old), [found(outage(5, 9), 3)]);
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
