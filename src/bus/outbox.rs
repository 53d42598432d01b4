//! Reads the outbox for a bus, and removes the entries that the bus has taken over.

use std::sync::Arc;

use crate::model::entity::entity_refs;
use crate::model::envelope::{Envelope, written_back};
use crate::model::event::Event;
use crate::model::event_summary::EventSummary;
use crate::store::keys::{BodyKey, Key as _, MetaKey, OutboxKey};
use crate::store::rows::{OutboxRow, commit_bytes, decode_outbox};
use crate::store::{BACKLOG, Batch, Reader, Store, StoreError};

/// An entry of the outbox with its body.
#[derive(Debug)]
pub struct OutboxEntry {
    /// What the event is, with its facts.
    pub envelope: Envelope,
    /// What was parsed of it.
    pub summary: EventSummary,
    /// Frees the entry once the bus has it.
    pub spent: OutboxReceipt,
}

/// Identifies an entry that the bus has taken over, so that it can be removed.
#[derive(Debug, Clone, Copy)]
pub struct OutboxReceipt {
    /// Its number in the outbox.
    pub entry: u64,
    /// The number of the event's admission.
    pub admission: u64,
    /// Bytes that count as held until then.
    bytes: usize,
}

/// Reads the entries from number `from` on, in order: up to `entries` of them and up to `bytes` of
/// bodies and the commits to be written into them, but at least one. Blocks.
pub fn read(
    reader: Reader<'_>,
    from: u64,
    entries: usize,
    bytes: usize,
) -> Result<Vec<OutboxEntry>, StoreError> {
    let mut found = Vec::new();
    let mut taken = 0;
    reader.scan(&OutboxKey(from), |key, value| {
        let OutboxRow { admission, mut facts, commit_bytes: counted } = decode_outbox(key, value)?;
        let body = BodyKey(admission);
        let missing = || StoreError::corrupt("bodies", &body.to_bytes());
        let raw = reader.get(&body)?.ok_or_else(missing)?;
        taken += raw.len() + commit_bytes(&facts);
        if taken > bytes && !found.is_empty() {
            return Ok(false);
        }
        let text = std::str::from_utf8(&raw).map_err(|_| missing())?;
        let event = Event::read(text).map_err(|_| missing())?;
        let written: Arc<str> = Arc::from(written_back(&event, &facts));
        let mut summary = EventSummary::of(event);
        if facts.push.is_some() {
            let event = Event::read(&written).map_err(|_| missing())?;
            summary.entity_refs = entity_refs(&event).into();
        }
        facts.forget_written();
        let envelope = Envelope { facts, event: written };
        let spent = OutboxReceipt { entry: key.0, admission, bytes: raw.len() + counted };
        found.push(OutboxEntry { envelope, summary, spent });
        Ok(found.len() < entries)
    })?;
    Ok(found)
}

/// Removes entries and their bodies, in the batch that writes their successors or in its own.
pub fn settle(spent: &[OutboxReceipt], batch: &mut Batch<'_>) -> Result<(), StoreError> {
    let mut freed = 0_i64;
    for spent in spent {
        batch.delete(&OutboxKey(spent.entry));
        batch.delete(&BodyKey(spent.admission));
        freed = freed.saturating_add(i64::try_from(spent.bytes).unwrap_or(i64::MAX));
    }
    batch.add(&MetaKey(BACKLOG.to_owned()), -freed)?;
    Ok(())
}

/// Updates the backlog after that batch is on disk, which resumes a paused poller.
pub fn settled(store: &Store, spent: &[OutboxReceipt]) {
    let freed: usize = spent.iter().map(|spent| spent.bytes).sum();
    store.watermarks().shrink_backlog(freed as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::envelope::Facts;
    use crate::model::push::PushedCommits;
    use crate::store::new_store;
    use crate::store::rows::encode_outbox;

    #[tokio::test]
    async fn bytes_that_were_counted_are_freed_and_no_others() {
        const EVENT: &str = r#"{"id":"1","type":"PushEvent","payload":{}}"#;
        let (_dir, store) = new_store();
        let commits = r#"[{"sha":"1"}]"#.to_owned();
        let counted = commits.len();
        let push = PushedCommits { size: Some(1), commits };
        let facts = Facts { push: Some(Box::new(push)), ..Facts::default() };
        let held = || store.reader().count(&MetaKey(BACKLOG.to_owned())).unwrap();
        // An older version did not count the commits.
        for (version, counted) in [(2, counted), (1, 0)] {
            let mut row = encode_outbox(1, &facts);
            row[0] = version;
            let bytes = i64::try_from(EVENT.len() + counted).unwrap();
            let fill = store.commit(move |batch| {
                batch.put(&BodyKey(1), EVENT.as_bytes());
                batch.put(&OutboxKey(1), &row);
                batch.add(&MetaKey(BACKLOG.to_owned()), bytes)?;
                Ok(())
            });
            fill.await.unwrap();
            assert_eq!(held(), bytes);
            let entries = read(store.reader(), 1, 10, usize::MAX).unwrap();
            assert!(entries[0].envelope.event.contains("commits"));
            let spent: Vec<OutboxReceipt> = entries.iter().map(|entry| entry.spent).collect();
            store.commit(move |batch| settle(&spent, batch)).await.unwrap();
            assert_eq!(held(), 0, "version {version}");
        }
    }
}
