//! Retries dead letters, which a newer version of ghpulse may be able to read.
//!
//! A message keeps its position. Once readable, it is applied as it would have been: claimed,
//! counted, and put into the journal at its own position. All nodes that do so have the same
//! numbers and the same journal, and a replay shows it in the right place. Readers past that
//! position do not receive it, and where the journal was dropped it is only counted. One batch
//! holds what was applied and the removal of its dead letter, so a crash repeats nothing.

use serde::{Deserialize, Serialize};

use super::prepared::Prepared;
use super::stage::{Applied, Apply, BatchTotals, apply_once};
use crate::bus::FactsFrom;
use crate::model::message::Incoming;
use crate::model::window::Timestamp;
use crate::store::StoreError;
use crate::store::keys::DeadKey;
use crate::store::rows::{DeadLetterOrigin, RejectedInput, decode_rejected};
use crate::{fault, metrics};

/// Number of dead letters retried in one batch.
const AT_ONCE: usize = 50;
/// Maximum number of reasons reported for letters that are still unreadable.
const REASONS: usize = 20;

/// The result of retrying all dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requeued {
    /// Number retried.
    pub tried: u64,
    /// Number read and applied.
    pub applied: u64,
    /// Number read whose events had been applied before.
    pub known: u64,
    /// Number read whose events `privacy.exclude` leaves out.
    #[serde(default)]
    pub left_out: u64,
    /// Number still unreadable.
    pub dead: u64,
    /// The reasons of the first of these.
    pub reasons: Vec<String>,
}

impl Apply {
    /// Retries every dead letter.
    pub async fn requeue(&self) -> Result<Requeued, StoreError> {
        let mut requeued = Requeued::default();
        let mut next = DeadKey(0);
        loop {
            let from = next;
            let letters = self.store.read(move |reader| {
                let mut letters = Vec::with_capacity(AT_ONCE);
                reader.scan(&from, |key: DeadKey, value| {
                    letters.push((key, read_again(value)));
                    Ok(letters.len() < AT_ONCE)
                })?;
                Ok(letters)
            });
            let letters = letters.await?;
            let Some((last, _)) = letters.last() else { return Ok(requeued) };
            next = DeadKey(last.0.saturating_add(1));
            requeued.tried += letters.len() as u64;
            let mut read = Vec::new();
            for (key, tried) in letters {
                match tried {
                    Ok(event) => read.push((key, event.under(self.store.privacy()))),
                    Err(reason) => {
                        requeued.dead += 1;
                        if requeued.reasons.len() < REASONS {
                            requeued.reasons.push(format!("{}: {reason}", key.0));
                        }
                    }
                }
            }
            let done = self.apply_letters(read).await?;
            requeued.applied += done.applied;
            requeued.known += done.known;
            requeued.left_out += done.left_out;
        }
    }

    /// Applies letters that were read. Returns what became of them.
    async fn apply_letters(&self, read: Vec<(DeadKey, Prepared)>) -> Result<Requeued, StoreError> {
        if read.is_empty() {
            return Ok(Requeued::default());
        }
        let (seen_for, history) = (self.seen_for, self.history.clone());
        let committed = self.store.commit(move |batch| {
            let (mut fresh, mut done) = (Vec::new(), Requeued::default());
            let mut totals = BatchTotals::of_old_positions();
            for (key, mut event) in read {
                match apply_once(batch, &mut event, &mut totals, seen_for)? {
                    Applied::Fresh => fresh.push(event),
                    Applied::Duplicate => done.known += 1,
                    Applied::LeftOut => done.left_out += 1,
                }
                batch.delete(&key);
            }
            totals.write(batch)?;
            history.count(batch, fresh.iter().map(|e| (&e.envelope.facts, e.happened_at)));
            fault::point("requeue.before_commit");
            done.applied = fresh.len() as u64;
            Ok((fresh, done))
        });
        let (fresh, done) = committed.await?;
        fault::point("requeue.after_commit");
        metrics::EVENTS_APPLIED.add(done.applied);
        metrics::LETTERS_REQUEUED.add(done.applied);
        self.numbers.add(fresh.iter().map(|event| (&event.envelope.facts, event.happened_at)));
        Ok(done)
    }
}

/// Parses a dead letter again. Returns the event, or why it is still unreadable.
fn read_again(value: &[u8]) -> Result<Prepared, String> {
    let RejectedInput { reason, text, whole, origin, .. } =
        decode_rejected(value).ok_or("the entry of the dead-letter log is damaged")?;
    let DeadLetterOrigin { cursor, published_at, received, schema, simulated } =
        origin.ok_or("it was kept without its place on the bus")?;
    if !whole {
        return Err("it was too long to be kept whole".to_owned());
    }
    let cursor = cursor.parse().map_err(|_| "its place on the bus is damaged")?;
    let properties = [received.as_deref(), schema.as_deref()];
    let published_at = Timestamp::from_micros(published_at);
    let Incoming { mut envelope, summary, flags_given } =
        Incoming::read(&text, properties, published_at).map_err(|_| reason)?;
    envelope.facts.simulated = simulated;
    Ok(Prepared::new(cursor, envelope, summary, FactsFrom::of_message(flags_given)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::alerts::Alerts;
    use crate::apply::numbers::NodeCounters;
    use crate::clock::Clock;
    use crate::config;
    use crate::hub::{Hub, HubOptions};
    use crate::model::position::{BusTag, Cursor, Position};
    use crate::store::journal::DROPPED;
    use crate::store::keys::JournalKey;
    use crate::store::rows::encode_dead_letter;
    use crate::store::{Durability, Store};
    use crate::tidb::{History, Setup};

    const TAG: BusTag = BusTag(7);

    fn at(entry: u64) -> Cursor {
        Cursor { tag: TAG, position: Position { ledger: 3, entry, index: 0 } }
    }

    /// The row of a readable letter with that position, about an event of `login`.
    fn row(entry: u64, id: u64, login: &str) -> Vec<u8> {
        let event = format!(
            r#"{{"id":"{id}","type":"WatchEvent","actor":{{"login":"{login}"}},
                "created_at":"2026-03-01T10:00:00Z"}}"#
        );
        let body = format!(r#"{{"event":{event},"payload":{{}}}}"#);
        let cursor = at(entry).to_string();
        let published_at = Timestamp::from_seconds(1_790_000_000).micros();
        let (received, schema, simulated) = (None, None, false);
        let origin = DeadLetterOrigin { cursor, published_at, received, schema, simulated };
        encode_dead_letter(Timestamp::from_seconds(1), "no", &origin, body.as_bytes())
    }

    fn letter(entry: u64) -> Prepared {
        read_again(&row(entry, entry, "ann")).unwrap_or_else(|why| panic!("{why}"))
    }

    #[tokio::test]
    async fn excluded_letters_and_duplicates_are_told_apart() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let store = Store::open(dir.path(), Durability::EveryBatch, clock).unwrap();
        let interval = config::defaults().interval;
        let numbers = NodeCounters::load(&store, interval.latest_during, clock).unwrap();
        let setup = Setup { tidb: None, interval, on_request: true };
        let (history, _) = History::load(&store, setup, Alerts::off(), clock).unwrap();
        let apply = Apply {
            store: store.clone(),
            numbers: Arc::new(numbers),
            history,
            hub: Arc::new(Hub::new(&HubOptions::default(), clock)),
            seen_for: Duration::from_secs(3_600),
            clock,
        };
        store.privacy().set(&["ann".to_owned()], false);
        let put = store.commit(|batch| {
            let letters = [(1, "ann"), (2, "ann"), (3, "bob"), (3, "bob"), (3, "bob"), (4, "eve")];
            for (entry, (id, login)) in (1..).zip(letters) {
                batch.put(&DeadKey(entry), &row(entry, id, login));
            }
            Ok(())
        });
        put.await.unwrap();
        let wanted =
            Requeued { tried: 6, applied: 2, known: 2, left_out: 2, ..Requeued::default() };
        assert_eq!(apply.requeue().await.unwrap(), wanted);
        assert_eq!(apply.requeue().await.unwrap(), Requeued::default(), "none is left");
    }

    #[tokio::test]
    async fn dead_letter_before_the_journal_is_only_counted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
        let other = Cursor { tag: BusTag(8), ..at(900) };
        for dropped in [at(500), other] {
            store.commit(move |batch| batch.put_cursor(DROPPED, dropped)).await.unwrap();
        }
        let applied = store.commit(|batch| {
            let mut totals = BatchTotals::of_old_positions();
            let seen_for = Duration::from_secs(3_600);
            let mut fresh = Vec::new();
            for entry in [499, 500, 501] {
                let mut event = letter(entry);
                fresh.push(apply_once(batch, &mut event, &mut totals, seen_for)?);
            }
            totals.write(batch)?;
            Ok(fresh)
        });
        assert_eq!(applied.await.unwrap(), [Applied::Fresh; 3]);
        let mut kept = Vec::new();
        let start = JournalKey { tag: TAG, position: Position::default() };
        let read = |key: JournalKey, _: &[u8]| {
            kept.push(key.position.entry);
            Ok(true)
        };
        store.reader().scan(&start, read).unwrap();
        assert_eq!(kept, [501]);
    }
}
