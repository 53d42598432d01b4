//! Which of an event's documents belong to objects that this store has not seen before.

use crate::model::entity::EntityRef;
use crate::model::window::Timestamp;
use crate::store::keys::entity::EntityKey;
use crate::store::{Batch, StoreError};

/// Claims the objects of an event and returns the `inserted` bits of its facts. Uses the time of
/// receipt, which is part of the message.
pub(super) fn claim_entities(
    batch: &mut Batch<'_>,
    received_at: Timestamp,
    entity_refs: &[EntityRef],
) -> Result<u64, StoreError> {
    let periods = EntityKey::periods(received_at);
    let mut inserted = 0;
    for (i, entity_ref) in entity_refs.iter().enumerate() {
        let key_in = |period| EntityKey { period, id: entity_ref.id };
        let is_first = batch.claim_again(periods.clone(), key_in)?;
        inserted |= u64::from(is_first && entity_ref.is_new) << i;
    }
    Ok(inserted)
}
