//! The values of the ledger's rows.

use crate::model::ledger::{DayHours, SlotCounts};
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::families::Family;
use crate::store::keys::Key;
use crate::store::keys::ledger::LedgerKey;

/// Decodes the counts of a row; empty when there is none.
pub(super) fn decode_counts(
    family: Family,
    key: &[u8],
    stored: Option<&[u8]>,
) -> Result<SlotCounts, StoreError> {
    let Some(value) = stored else { return Ok(SlotCounts::default()) };
    SlotCounts::decode(value).ok_or_else(|| StoreError::corrupt(family.name(), key))
}

/// The bit of a day that was filled from a database; no hour has it.
const FILLED: u32 = 1 << 31;

/// Decodes the hours of a day; without a row, none are imported.
pub(crate) fn decode_hours(day: &LedgerKey, stored: Option<&[u8]>) -> Result<DayHours, StoreError> {
    let Some(value) = stored else { return Ok(DayHours::default()) };
    let read = || {
        let (imported, folded) = value.split_first_chunk::<4>()?;
        let folded = u32::from_be_bytes(folded.try_into().ok()?);
        let imported = u32::from_be_bytes(*imported);
        let is_filled = imported & FILLED != 0;
        Some(DayHours { imported: imported & !FILLED, folded, is_filled })
    };
    read().ok_or_else(|| StoreError::corrupt(Family::Ledger.name(), &day.to_bytes()))
}

/// Puts the hours of a day.
pub(super) fn put_hours(batch: &mut Batch<'_>, day: &LedgerKey, hours: DayHours) {
    let DayHours { imported, folded, is_filled } = hours;
    let imported = if is_filled { imported | FILLED } else { imported };
    batch.put(day, &[imported.to_be_bytes(), folded.to_be_bytes()].concat());
}

/// Puts the counts of a row, or deletes it when there are none.
pub(super) fn put_counts<K: Key>(batch: &mut Batch<'_>, key: &K, counts: &SlotCounts) {
    if counts.is_empty() {
        return batch.delete(key);
    }
    let mut value = Vec::with_capacity(16);
    counts.encode(&mut value);
    batch.put(key, &value);
}
