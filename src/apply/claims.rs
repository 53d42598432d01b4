//! Further claims made when an event is applied, the dead-letter queue for unreadable ones, and the
//! gaps of outages that arrive over the bus: at the same position on every node.
//!
//! The first event of a developer or repository is claimed here for every event, so all nodes that
//! applied the same events have the same distinct counts. A collector claims its own events as
//! seen when it admits them. Events of another node or of the peer are claimed as seen when they
//! are applied, so a collector on standby knows everything that the other one has seen, and its
//! first poll as the new producer admits nothing twice. A node's own events that come back over a
//! broker are claimed as seen again, which changes nothing.

use std::ops::RangeInclusive;

use super::prepared::Prepared;
use crate::bus::{DeadLetter, FactsFrom};
use crate::logging::line_limit::LineLimit;
use crate::model::envelope::Flags;
use crate::model::gap::{Gap, GapReason, Outage};
use crate::model::position::{Cursor, Position};
use crate::model::window::{Day, Timestamp};
use crate::store::firsts::claim_firsts;
use crate::store::keys::entity::EntityKey;
use crate::store::keys::{DeadKey, SeenKey};
use crate::store::retention::claimed;
use crate::store::rows::{DeadLetterOrigin, encode_dead_letter};
use crate::store::{Batch, StoreError, gaps};

/// Maximum number of entries in the dead-letter queue.
const DEAD: u64 = 1_000;
/// Lines about unreadable messages.
static UNREADABLE: LineLimit = LineLimit::per_minute(10);

/// Claims the firsts and, for events of other nodes, that they were seen. Sets the flags that are
/// not set yet.
pub(super) fn claim_seen(
    batch: &mut Batch<'_>,
    event: &mut Prepared,
    days: RangeInclusive<i32>,
) -> Result<(), StoreError> {
    claim_id(batch, event, days)?;
    let given = event.envelope.facts.flags;
    let mut found = given;
    claim_firsts(batch, &mut found, event.happened_at, event.actor_id, event.repo_id)?;
    event.envelope.facts.flags = match event.facts_from {
        // A row of an earlier version was claimed before it was written to the outbox.
        FactsFrom::Here => Flags {
            dev_day: given.dev_day || found.dev_day,
            dev_year: given.dev_year || found.dev_year,
            repo_year: given.repo_year || found.repo_year,
            ..given
        },
        FactsFrom::Elsewhere => given,
        FactsFrom::Nobody => found,
    };
    Ok(())
}

/// Claims that an event of another node was seen. If its time of receipt cannot be true, the claim
/// is kept as long as that of an event received now.
pub(super) fn claim_id(
    batch: &mut Batch<'_>,
    event: &Prepared,
    days: RangeInclusive<i32>,
) -> Result<(), StoreError> {
    if event.facts_from != FactsFrom::Here {
        let key_on = |day| SeenKey::new(Day(day), &event.key);
        batch.claim_within(days, event.received_at.day().0, key_on)?;
        claimed::mark_impossible(batch, event.received_at, event.happened_at);
    }
    Ok(())
}

/// Claims the objects of an event and returns the `inserted` bits of its facts. Uses the time of
/// receipt, which is part of the message, unless it cannot be true: retention drops claims of such
/// times, and the object would count as new again.
pub(super) fn claim_entities(batch: &mut Batch<'_>, event: &Prepared) -> Result<u64, StoreError> {
    let periods = EntityKey::periods(batch.true_receipt(event.received_at, event.happened_at)?);
    let mut inserted = 0;
    for (i, entity_ref) in event.entity_refs.iter().enumerate() {
        let key_in = |period| EntityKey { period, id: entity_ref.id };
        let is_first = batch.claim_again(periods.clone(), key_in)?;
        inserted |= u64::from(is_first && entity_ref.is_new) << i;
    }
    Ok(inserted)
}

/// Writes an unreadable delivery to the dead-letter queue.
pub(super) fn keep_dead_letter(
    batch: &mut Batch<'_>,
    now: Timestamp,
    cursor: Cursor,
    dead: &DeadLetter,
) -> Result<(), StoreError> {
    let reason = &dead.reason;
    UNREADABLE.log(|left_out| {
        let words = "a message cannot be read; it is in the dead-letter log";
        tracing::warn!(%cursor, reason, left_out, "{words}");
    });
    let number = batch.next_number("dead")?;
    let origin = DeadLetterOrigin {
        cursor: cursor.to_string(),
        published_at: dead.published_at.micros(),
        received: dead.received.clone(),
        schema: dead.schema.clone(),
        simulated: dead.simulated,
    };
    let body = dead.body.as_deref().unwrap_or_default();
    let reason = format!("{reason}, at {cursor}");
    batch.put(&DeadKey(number), &encode_dead_letter(now, &reason, &origin, body));
    if let Some(old) = number.checked_sub(DEAD) {
        batch.delete(&DeadKey(old));
    }
    Ok(())
}

/// Records the `upstream` gap carried by a message at `at`, between the previous message and this
/// one. A node that has applied nothing before has no reader to notify.
pub(super) fn record_outage(
    batch: &mut Batch<'_>,
    before: Option<Cursor>,
    at: Cursor,
    outage: Outage,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(before) = before.filter(|before| before.tag == at.tag) else { return Ok(()) };
    let Outage { since, until } = outage;
    let count = outage.is_one_event().then_some(1);
    let words = match count {
        Some(_) => "an event is missing: it is larger than the broker of its collector accepts",
        None => "GitHub was not read for a while, and events were missed",
    };
    tracing::warn!(%since, %until, %at, "{words}");
    let (after, reason) = (before.position, GapReason::Upstream);
    let gap = Gap { after, until: after, count, reason, noticed_at: now };
    gaps::record(batch, at.tag, gap)
}

/// Records that events are missing at `at`: a damaged entry held an unknown number of them.
pub(super) fn record_damaged(
    batch: &mut Batch<'_>,
    before: Option<Cursor>,
    at: Cursor,
    now: Timestamp,
) -> Result<(), StoreError> {
    let before = before.filter(|before| before.tag == at.tag);
    let after = before.map_or_else(Position::default, |before| before.position);
    let reason = GapReason::Retention;
    let gap = Gap { after, until: at.position, count: None, reason, noticed_at: now };
    gaps::record(batch, at.tag, gap)
}
