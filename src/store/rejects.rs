//! The reject log: malformed input from outside, with the reason, for `ghpulse inspect rejects`.
//! Bounded.

use super::batch::Batch;
use super::error::StoreError;
use super::keys::RejectKey;
use super::rows::encode_rejected;
use crate::model::window::Timestamp;

/// The most entries that are kept; the oldest are dropped first.
pub const KEPT: u64 = 1_000;

/// Adds a rejected text with its reason.
///
/// # Errors
/// When the log's number cannot be read.
pub fn keep(
    batch: &mut Batch<'_>,
    at: Timestamp,
    reason: &str,
    text: &[u8],
) -> Result<(), StoreError> {
    let number = batch.next_number("rejects")?;
    batch.put(&RejectKey(number), &encode_rejected(at, reason, text));
    if let Some(old) = number.checked_sub(KEPT) {
        batch.delete(&RejectKey(old));
    }
    Ok(())
}
