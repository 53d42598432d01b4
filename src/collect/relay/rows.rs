//! Rows between admission and the topic: batches to send, rows already on the topic, and the
//! number of waiting rows.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::bus::outbox::{self, OutboxEntry, OutboxReceipt};
use crate::model::event::EventKey;
use crate::model::gap::Outage;
use crate::model::message::Outgoing;
use crate::model::window::{Day, Timestamp};
use crate::store::firsts::Announced;
use crate::store::keys::{AppliedKey, InboxKey, OutboxKey, SeenKey};
use crate::store::outages::{OutageCarrier, PendingOutage};
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
    /// Attaches pending outages to messages.
    pub(super) outages: OutageCarrier,
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
        self.outages.update(outages::pending(reader)?);
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
            message.outage = self.outages.next_before(spent.admission);
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
/// every node, so an outage of no length travels with the next message, unless another collector
/// has sent it already.
pub(super) fn move_to_rejects(
    batch: &mut Batch<'_>,
    row: OutboxReceipt,
    (now, reason): (Timestamp, &str),
) -> Result<(), StoreError> {
    let found = outbox::read(batch, row.entry, 1, 0)?.pop();
    let Some(entry) = found.filter(|found| found.spent.entry == row.entry) else {
        return Ok(());
    };
    rejects::keep(batch, now, reason, entry.envelope.event.as_bytes())?;
    let outage = outage_of(&entry);
    if !outages::arrived(batch)?.contains(&outage) {
        outages::keep_pending(batch, PendingOutage { outage, before: row.admission })?;
    }
    outbox::settle(&[row], batch)
}

/// The outage of no length that stands for an event: the same on every node that has admitted it,
/// and another one for each event, of which many are created in one second.
fn outage_of(entry: &OutboxEntry) -> Outage {
    let hash = xxh3_64(entry.summary.key.to_string().as_bytes());
    let created_at = entry.summary.created_at.unwrap_or(entry.envelope.facts.received_at);
    let at = created_at.second().start().plus(Duration::from_micros(hash % 1_000_000));
    Outage { since: at, until: at }
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

/// Forgets the outages of polling that wait for a message, unless rows wait that will carry them:
/// a page that was held may have come meanwhile, with its rows.
pub(super) fn forget_uncarried(batch: &mut Batch<'_>) -> Result<(), StoreError> {
    if count(batch)? == WaitingRows::default() {
        outages::forget_polling_outages(batch)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::envelope::Facts;
    use crate::model::event::EventId;
    use crate::model::push::PushedCommits;
    use crate::model::window::Timestamp;
    use crate::store::keys::BodyKey;
    use crate::store::rows::encode_outbox;
    use crate::store::{Store, new_store};

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
    async fn outages_are_forgotten_only_when_no_row_will_carry_them() {
        let (_dir, store) = new_store();
        let times = [1, 2].map(Timestamp::from_seconds);
        let outage = Outage { since: times[0], until: times[1] };
        store
            .commit(move |batch| outages::keep_pending(batch, PendingOutage { outage, before: 1 }))
            .await
            .unwrap();
        fill(&store, 1..=1).await;
        store.commit(forget_uncarried).await.unwrap();
        assert!(outages::has_polling_outage(store.reader()).unwrap(), "a row has come meanwhile");
        let taken = |batch: &mut Batch<'_>| {
            batch.delete(&OutboxKey(1));
            Ok(())
        };
        store.commit(taken).await.unwrap();
        store.commit(forget_uncarried).await.unwrap();
        assert!(!outages::has_polling_outage(store.reader()).unwrap());
    }

    /// Puts events into the outbox, by id, created within ten seconds.
    async fn fill(store: &Store, ids: std::ops::RangeInclusive<u64>) {
        let fill = store.commit(move |batch| {
            for n in ids {
                let created_at = format!("2026-03-01T10:00:0{}Z", n % 10);
                let event =
                    format!(r#"{{"id":"{n}","type":"PushEvent","created_at":"{created_at}"}}"#);
                batch.put(&BodyKey(n), event.as_bytes());
                batch.put(&OutboxKey(n), &encode_outbox(n, &Facts::default()));
            }
            Ok(())
        });
        fill.await.unwrap();
    }

    /// Sets the event with this id aside; returns the outages that are pending then.
    async fn set_aside(store: &Store, id: u64) -> Vec<PendingOutage> {
        let now = Timestamp::from_seconds(1_800_000_000);
        let row = outbox::read(store.reader(), id, 1, 0).unwrap()[0].spent;
        let moved = store.commit(move |batch| move_to_rejects(batch, row, (now, "too large")));
        moved.await.unwrap();
        outages::pending(store.reader()).unwrap()
    }

    #[tokio::test]
    async fn each_outage_has_its_place_in_what_is_sent() {
        let (_dir, store) = new_store();
        fill(&store, 1..=30).await;
        let at = |second: i64| Timestamp::from_seconds(1_800_000_000 + second);
        let away = Outage { since: at(0), until: at(60) };
        let keep = move |batch: &mut Batch<'_>| {
            outages::keep_pending(batch, PendingOutage { outage: away, before: 21 })
        };
        store.commit(keep).await.unwrap();
        assert_eq!(set_aside(&store, 11).await.len(), 2);
        let mut rows = RowReader::default();
        let batch = rows.read(store.reader(), 1, Day(0)).unwrap();
        let carried = batch.messages.iter().zip(&batch.sources);
        let carried = carried.filter_map(|(sent, row)| Some((row.entry, sent.outage?)));
        let carried: Vec<_> = carried.collect();
        assert_eq!(carried.iter().map(|(entry, _)| *entry).collect::<Vec<_>>(), [12, 21]);
        assert_eq!(carried[1].1, away);
        // They are on their way: no other message carries them.
        let batch = rows.read(store.reader(), 1, Day(0)).unwrap();
        assert!(batch.messages.iter().all(|message| message.outage.is_none()));
    }

    #[tokio::test]
    async fn event_that_two_collectors_set_aside_is_one_outage() {
        let [(_dir, one), (_other, other)] = [new_store(), new_store()];
        for store in [&one, &other] {
            fill(store, 1..=20).await;
        }
        let [found] = set_aside(&one, 7).await[..] else { panic!("it is missing") };
        assert_eq!(set_aside(&other, 7).await, [found], "on each node");
        let arrive = move |batch: &mut Batch<'_>| outages::arrive(batch, &[found.outage]);
        for store in [&one, &other] {
            store.commit(arrive).await.unwrap();
            assert_eq!(outages::pending(store.reader()).unwrap(), []);
        }
        // It is shown again, and admitted again.
        fill(&other, 7..=7).await;
        assert_eq!(set_aside(&other, 7).await, []);
        // Others of the same second are others.
        assert_ne!(set_aside(&other, 17).await[0].outage, found.outage);
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
