//! What other nodes produced: claimed here too, and what cannot be read is buried.
//!
//! A collector claims its own events on the way in. Those of another node, or of the peer, are
//! claimed where they are applied: so a collector that stands by knows everything that the other
//! one has seen, and its first poll as the new producer brings nothing twice. Own events that come
//! back over a broker are claimed again, which changes nothing.

use std::ops::RangeInclusive;

use super::aggregate::{FactsFrom, Prepared};
use crate::bus::Dead;
use crate::model::position::Cursor;
use crate::model::window::{Day, Timestamp};
use crate::store::firsts::claim_firsts;
use crate::store::keys::{DeadKey, SeenKey};
use crate::store::rows::{Place, encode_dead};
use crate::store::{Batch, StoreError};

/// Entries that the dead-letter log keeps.
const DEAD: u64 = 1_000;

/// Claims what a collector would have claimed, and fills in what nobody found out.
pub(super) fn claim_foreign(
    batch: &mut Batch<'_>,
    event: &mut Prepared,
    days: RangeInclusive<i32>,
) -> Result<(), StoreError> {
    if event.facts_from == FactsFrom::Here {
        return Ok(());
    }
    let key_on = |day| SeenKey::new(Day(day), &event.key);
    batch.claim_within(days, event.received_at.day().0, key_on)?;
    let mut flags = event.envelope.facts.flags;
    claim_firsts(batch, &mut flags, event.happened_at, event.actor_id, event.repo_id)?;
    if event.facts_from == FactsFrom::Nobody {
        event.envelope.facts.flags = flags;
    }
    Ok(())
}

/// Puts what cannot be read into the dead-letter log.
pub(super) fn bury(
    batch: &mut Batch<'_>,
    now: Timestamp,
    cursor: Cursor,
    dead: &Dead,
) -> Result<(), StoreError> {
    let reason = &dead.reason;
    tracing::warn!(%cursor, reason, "a message cannot be read; it is in the dead-letter log");
    let number = batch.next_number("dead")?;
    let place = Place {
        cursor: cursor.to_string(),
        published_at: dead.published_at.micros(),
        received: dead.received.clone(),
        schema: dead.schema.clone(),
    };
    let body = dead.body.as_deref().unwrap_or_default();
    let reason = format!("{reason}, at {cursor}");
    batch.put(&DeadKey(number), &encode_dead(now, &reason, &place, body));
    if let Some(old) = number.checked_sub(DEAD) {
        batch.delete(&DeadKey(old));
    }
    Ok(())
}
