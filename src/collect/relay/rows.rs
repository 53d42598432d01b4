//! Rows between admission and the topic: batches to send, rows already on the topic, and the
//! number of waiting rows.

use crate::bus::outbox::{self, OutboxEntry, OutboxReceipt};
use crate::model::event::EventKey;
use crate::model::gap::Outage;
use crate::model::message::Outgoing;
use crate::model::window::{Day, Timestamp};
use crate::store::firsts::Announced;
use crate::store::keys::{AppliedKey, InboxKey, OutboxKey, SeenKey};
use crate::store::outages::PendingOutage;
use crate::store::{Batch, Reader, StoreError, outages, rejects};

/// Maximum number of messages sent together, as one entry of the topic.
const MESSAGES: usize = 500;
/// Maximum number of bytes of events, with the commits of pushes, sent together: far below the
/// 5 MiB that brokers accept by default, as is the largest event, which is sent alone. Each batch
/// waits for the receipt of the one before, so larger ones drain a backlog faster.
const MESSAGE_BYTES: usize = 1 << 20;
/// Maximum number of rows that a collector on standby compares each time it asks for the topic.
const LOOKED_AT: usize = 2_000;
/// Maximum number of bytes of their events, with the commits of pushes.
const LOOKED_AT_BYTES: usize = 16 << 20;
/// Maximum number of rows counted in each of inbox and outbox.
const COUNTED: u64 = 100_000;

/// A batch to send, and the rows to delete once it is acknowledged.
#[derive(Default)]
pub(super) struct OutgoingBatch {
    pub(super) messages: Vec<Outgoing>,
    /// The rows of the messages, in their order.
    pub(super) sources: Vec<OutboxReceipt>,
    pub(super) spent: Vec<OutboxReceipt>,
    /// How many rows get no message because `privacy.exclude` leaves their events out now.
    pub(super) left_out: u64,
}

/// State used to read rows for the topic while it is granted.
#[derive(Default)]
pub(super) struct RowReader {
    /// The first-time flags that were sent.
    pub(super) announced: Announced,
    /// The outage that was sent, until it comes back.
    pub(super) outage: Option<Outage>,
}

impl RowReader {
    /// Reads the next rows from entry `from` on as messages. Rows of events already applied get no
    /// message, nor do those of events that are left out since they were admitted.
    pub(super) fn read(
        &mut self,
        reader: Reader<'_>,
        from: u64,
        today: Day,
    ) -> Result<OutgoingBatch, StoreError> {
        let entries = outbox::read(reader, from, MESSAGES, MESSAGE_BYTES)?;
        self.announced.prune(reader)?;
        let days = reader.days_of_applied(today)?;
        let mut batch = OutgoingBatch::default();
        let mut pending =
            outages::pending(reader)?.filter(|found| self.outage != Some(found.outage));
        for OutboxEntry { mut envelope, summary, spent } in entries {
            // Another collector may have produced it before this one was granted the topic, or
            // while this one was briefly fenced off without noticing.
            let is_known = is_applied(reader, &summary.key, &days)?;
            batch.spent.push(spent);
            if is_known {
                continue;
            }
            let names = [&summary.actor_login, &summary.org_login, &summary.repo_name];
            let [actor, org, repo] = names.map(|name| name.as_deref());
            if reader.privacy().leaves_out(actor, org, repo) {
                batch.left_out += 1;
                continue;
            }
            if let Some(hashed) = reader.privacy().hashed(&envelope.event) {
                envelope.event = hashed.into();
            }
            let facts = &mut envelope.facts;
            let happened_at = summary.created_at.unwrap_or(facts.received_at);
            let (actor, repo) = (summary.actor_id, summary.repo_id);
            self.announced.announce(reader, &mut facts.flags, happened_at, actor, repo)?;
            let mut message = Outgoing::new(&envelope, &summary);
            if let Some(found) = pending.take_if(|found| spent.admission >= found.before) {
                message.outage = Some(found.outage);
                self.outage = message.outage;
            }
            batch.messages.push(message);
            batch.sources.push(spent);
        }
        Ok(batch)
    }
}

/// Finds rows after entry `after` whose events came back over the topic, within the limit for one
/// look. Returns them with the last entry compared, or with the largest number when there are no
/// more.
pub(super) fn find_applied(
    reader: Reader<'_>,
    after: u64,
    today: Day,
) -> Result<(u64, Vec<OutboxReceipt>), StoreError> {
    let entries = outbox::read(reader, after + 1, LOOKED_AT, LOOKED_AT_BYTES)?;
    let last = entries.last().map_or(u64::MAX, |entry| entry.spent.entry);
    let (days, mut applied) = (reader.days_of_applied(today)?, Vec::new());
    for OutboxEntry { summary, spent, .. } in entries {
        if is_applied(reader, &summary.key, &days)? {
            applied.push(spent);
        }
    }
    Ok((last, applied))
}

/// Moves a row that is larger than the broker accepts to the reject log. Its event is missing on
/// every node, so an outage of no length travels with the next message: at the present time, so
/// that no two are the same.
pub(super) fn set_aside(
    batch: &mut Batch<'_>,
    row: OutboxReceipt,
    (now, reason): (Timestamp, &str),
) -> Result<(), StoreError> {
    let found = outbox::read(batch, row.entry, 1, 0)?.pop();
    let Some(OutboxEntry { envelope, .. }) = found.filter(|it| it.spent.entry == row.entry) else {
        return Ok(());
    };
    rejects::keep(batch, now, reason, envelope.event.as_bytes())?;
    let outage = Outage { since: now, until: now };
    outages::keep_pending(batch, PendingOutage { outage, before: row.admission })?;
    outbox::settle(&[row], batch)
}

/// Whether an event was applied. Looks at every stored day, as admission does: another node may
/// have received it at another time, by a clock that was wrong.
fn is_applied(reader: Reader<'_>, key: &EventKey, days: &[i32]) -> Result<bool, StoreError> {
    for day in days {
        if reader.get(&AppliedKey(SeenKey::new(Day(*day), key)))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Waiting rows: admitted but not yet enriched, and enriched but not yet on the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WaitingRows {
    pub(super) inbox: u64,
    pub(super) outbox: u64,
}

/// Counts the waiting rows.
pub(super) fn count(reader: Reader<'_>) -> Result<WaitingRows, StoreError> {
    let mut waiting = WaitingRows::default();
    reader.scan(&InboxKey(0), |_, _| {
        waiting.inbox += 1;
        Ok(waiting.inbox < COUNTED)
    })?;
    reader.scan(&OutboxKey(0), |_, _| {
        waiting.outbox += 1;
        Ok(waiting.outbox < COUNTED)
    })?;
    Ok(waiting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::envelope::Facts;
    use crate::model::event::EventId;
    use crate::model::push::PushedCommits;
    use crate::model::window::Timestamp;
    use crate::store::keys::BodyKey;
    use crate::store::new_store;
    use crate::store::rows::encode_outbox;

    #[tokio::test]
    async fn event_that_another_node_received_by_a_wrong_clock_is_not_sent_again() {
        let (_dir, store) = new_store();
        let received_at = Timestamp::from_seconds(1_000 * 86_400);
        let fill = store.commit(move |batch| {
            for n in 1..=2 {
                let event = format!(r#"{{"id":"{n}","type":"WatchEvent"}}"#);
                batch.put(&BodyKey(n), event.as_bytes());
                let facts = Facts { received_at, ..Facts::default() };
                batch.put(&OutboxKey(n), &encode_outbox(n, &facts));
            }
            let key = EventKey { id: EventId::Number(1), kind: "WatchEvent".to_owned() };
            batch.put(&AppliedKey(SeenKey::new(Day(400), &key)), b"");
            Ok(())
        });
        fill.await.unwrap();
        let today = received_at.day();
        let sent = RowReader::default().read(store.reader(), 1, today).unwrap();
        assert_eq!((sent.messages.len(), sent.spent.len()), (1, 2));
        let (_, back) = find_applied(store.reader(), 0, today).unwrap();
        assert_eq!(back.iter().map(|spent| spent.entry).collect::<Vec<_>>(), [1]);
        // Another clock has left claims of many days to come. The second event came by a clock for
        // which it is tomorrow.
        let fill = store.commit(|batch| {
            let key = |id| EventKey { id: EventId::Number(id), kind: "WatchEvent".to_owned() };
            for day in 1_001..1_501 {
                batch.put(&AppliedKey(SeenKey::new(Day(day), &key(9))), b"");
            }
            batch.put(&AppliedKey(SeenKey::new(Day(1_001), &key(2))), b"");
            Ok(())
        });
        fill.await.unwrap();
        assert!(RowReader::default().read(store.reader(), 1, today).unwrap().messages.is_empty());
        let (_, back) = find_applied(store.reader(), 0, today).unwrap();
        assert_eq!(back.iter().map(|spent| spent.entry).collect::<Vec<_>>(), [1, 2]);
    }

    #[tokio::test]
    async fn events_that_were_left_out_while_they_waited_are_not_sent() {
        let (_dir, store) = new_store();
        let fill = store.commit(move |batch| {
            for (n, login) in [(1, "ann"), (2, "bob"), (3, "ANN")] {
                let commits = r#"[{"author":{"email":"b@example.org","name":"b"}}]"#;
                let event = format!(
                    r#"{{"id":"{n}","type":"PushEvent","actor":{{"id":{n},"login":"{login}"}},"payload":{{"commits":{commits}}}}}"#
                );
                batch.put(&BodyKey(n), event.as_bytes());
                batch.put(&OutboxKey(n), &encode_outbox(n, &Facts::default()));
            }
            Ok(())
        });
        fill.await.unwrap();
        store.privacy().set(&["ann".to_owned()], true);
        let batch = RowReader::default().read(store.reader(), 1, Day(0)).unwrap();
        assert_eq!((batch.messages.len(), batch.spent.len(), batch.left_out), (1, 3, 2));
        let body = &batch.messages[0].body;
        assert!(body.contains(r#""login":"bob""#), "{body}");
        assert!(body.contains("@example.org") && !body.contains("b@example.org"), "{body}");
    }

    #[tokio::test]
    async fn batch_of_full_pushes_stays_within_its_bytes() {
        const PUSHES: u64 = 40;
        let (_dir, store) = new_store();
        let commits = format!(r#"[{{"sha":"1","message":"{}"}}]"#, "x".repeat(60 << 10));
        let push = PushedCommits { size: Some(1), commits };
        let facts = Facts { push: Some(Box::new(push)), ..Facts::default() };
        let fill = store.commit(move |batch| {
            for n in 1..=PUSHES {
                let event = format!(r#"{{"id":"{n}","type":"PushEvent","payload":{{}}}}"#);
                batch.put(&BodyKey(n), event.as_bytes());
                batch.put(&OutboxKey(n), &encode_outbox(n, &facts));
            }
            Ok(())
        });
        fill.await.unwrap();
        let (mut rows, mut from, mut sent) = (RowReader::default(), 1, 0);
        while from <= PUSHES {
            let batch = rows.read(store.reader(), from, Day(0)).unwrap();
            let bytes: usize = batch.messages.iter().map(|message| message.body.len()).sum();
            assert!(batch.messages[0].body.contains("xxx"), "the commits are sent");
            assert!(bytes < MESSAGE_BYTES + MESSAGE_BYTES / 8, "{bytes} bytes from {from} on");
            assert!(batch.messages.len() > 1 || from == PUSHES, "they go together");
            sent += batch.messages.len() as u64;
            from = batch.spent.last().unwrap().entry + 1;
        }
        assert_eq!(sent, PUSHES);
    }
}
