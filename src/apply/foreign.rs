//! What other nodes produced: claimed here too, and what cannot be read is buried.
//!
//! A collector claims its own events on the way in. Those of another node, or of the peer, are
//! claimed where they are applied: so a collector that stands by knows everything that the other
//! one has seen, and its first poll as the new producer brings nothing twice. Own events that come
//! back over a broker are claimed again, which changes nothing.

use std::ops::RangeInclusive;

use super::aggregate::{FactsFrom, Prepared};
use crate::model::position::Cursor;
use crate::model::window::{Day, Timestamp};
use crate::store::firsts::claim_firsts;
use crate::store::keys::{DeadKey, SeenKey};
use crate::store::rows::encode_refused;
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
    reason: &str,
    body: &[u8],
) -> Result<(), StoreError> {
    tracing::warn!(%cursor, reason, "a message cannot be read; it is in the dead-letter log");
    let number = batch.next_number("dead")?;
    batch.put(&DeadKey(number), &encode_refused(now, &format!("{reason}, at {cursor}"), body));
    if let Some(old) = number.checked_sub(DEAD) {
        batch.delete(&DeadKey(old));
    }
    Ok(())
}
