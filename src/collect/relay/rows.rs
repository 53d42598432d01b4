//! Rows between admission and the topic: what is sent together, what came back already, and how
//! many wait.

use std::time::Duration;

use crate::bus::outbox::{self, OutboxEntry, OutboxReceipt};
use crate::model::event::EventKey;
use crate::model::gap::Outage;
use crate::model::message::Outgoing;
use crate::model::window::{Day, Timestamp};
use crate::store::firsts::Announced;
use crate::store::keys::{AppliedKey, InboxKey, OutboxKey, SeenKey};
use crate::store::retention::claim_days;
use crate::store::{Reader, StoreError, outages};

/// Events that are sent together, as one entry of the topic.
const MESSAGES: usize = 500;
/// Bytes of events that are sent together. With one event of the largest size more it still stays
/// under the 5 MiB that brokers take.
const MESSAGE_BYTES: usize = 512 << 10;
/// Rows that a collector on standby looks at each time it asks.
const LOOKED_AT: usize = 2_000;
/// Bytes of them.
const LOOKED_AT_BYTES: usize = 16 << 20;
/// Rows that are counted, of the inbox and of the outbox each.
const COUNTED: u64 = 100_000;

/// What is sent together, and the rows that are given up for it.
#[derive(Default)]
pub(super) struct OutgoingBatch {
    pub(super) bodies: Vec<Outgoing>,
    pub(super) spent: Vec<OutboxReceipt>,
}

/// What reading for the topic goes by, for as long as it is granted.
#[derive(Default)]
pub(super) struct RowReader {
    /// First-time flags that were sent.
    pub(super) announced: Announced,
    /// The outage that was sent, until it comes back.
    pub(super) outage: Option<Outage>,
    /// How long an event is remembered as applied.
    pub(super) seen_for: Duration,
}

impl RowReader {
    /// The next rows from entry `from` on, as messages. Rows of events that were applied get none.
    pub(super) fn read(
        &mut self,
        reader: Reader<'_>,
        from: u64,
    ) -> Result<OutgoingBatch, StoreError> {
        let entries = outbox::read(reader, from, MESSAGES, MESSAGE_BYTES)?;
        self.announced.prune(reader)?;
        let mut messages = OutgoingBatch::default();
        let mut pending =
            outages::pending(reader)?.filter(|found| self.outage != Some(found.outage));
        for OutboxEntry { mut envelope, summary, spent } in entries {
            let facts = &mut envelope.facts;
            // Another collector may have produced it before this one was granted the topic, or
            // while it was fenced off for a moment and did not notice.
            let is_known = is_applied(reader, &summary.key, facts.received_at, self.seen_for)?;
            messages.spent.push(spent);
            if is_known {
                continue;
            }
            let happened_at = summary.created_at.unwrap_or(facts.received_at);
            let (actor, repo) = (summary.actor_id, summary.repo_id);
            self.announced.announce(reader, &mut facts.flags, happened_at, actor, repo)?;
            let mut message = Outgoing::new(&envelope, &summary);
            if let Some(found) = pending.take_if(|found| spent.admission >= found.before) {
                message.outage = Some(found.outage);
                self.outage = message.outage;
            }
            messages.bodies.push(message);
        }
        Ok(messages)
    }
}

/// Rows behind entry `after` whose events came back over the topic, at most as many as are looked
/// at once, and the last entry of those; the largest number when there are none.
pub(super) fn came_back(
    reader: Reader<'_>,
    after: u64,
    seen_for: Duration,
) -> Result<(u64, Vec<OutboxReceipt>), StoreError> {
    let entries = outbox::read(reader, after + 1, LOOKED_AT, LOOKED_AT_BYTES)?;
    let last = entries.last().map_or(u64::MAX, |entry| entry.spent.entry);
    let mut applied = Vec::new();
    for OutboxEntry { envelope, summary, spent } in entries {
        if is_applied(reader, &summary.key, envelope.facts.received_at, seen_for)? {
            applied.push(spent);
        }
    }
    Ok((last, applied))
}

fn is_applied(
    reader: Reader<'_>,
    key: &EventKey,
    received_at: Timestamp,
    seen_for: Duration,
) -> Result<bool, StoreError> {
    for day in claim_days(received_at, seen_for) {
        if reader.get(&AppliedKey(SeenKey::new(Day(day), key)))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Rows that wait: admitted and not yet enriched, and enriched and not yet on the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WaitingRows {
    pub(super) inbox: u64,
    pub(super) outbox: u64,
}

/// Counts them.
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
