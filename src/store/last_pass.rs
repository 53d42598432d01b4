//! The time of the last pass of retention, which came from a trusted clock, and how far ahead of it
//! a stored time is certainly wrong.

use std::time::Duration;

use super::error::StoreError;
use super::keys::MetaKey;
use super::reader::Reader;
use crate::model::window::Timestamp;

/// How far ahead of a right clock a stored time is certainly wrong. A time that is less far ahead
/// may be of another node whose clock is ahead, and will soon have come.
pub(super) const CERTAINLY_AHEAD: Duration = Duration::from_secs(2 * 86_400);

/// The row of the time, in microseconds since 1970.
pub(super) fn last_pass_key() -> MetaKey {
    MetaKey("retained_at".to_owned())
}

/// The time of the last pass; `None` before the first.
pub(super) fn last_pass_at(reader: Reader<'_>) -> Result<Option<Timestamp>, StoreError> {
    let value = reader.get(&last_pass_key())?;
    let micros = value.and_then(|value| value.try_into().ok()).map(i64::from_be_bytes);
    Ok(micros.map(Timestamp::from_micros))
}
