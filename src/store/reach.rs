//! How much of the disk the journal takes, and how far back it reaches.

use super::database::Database;
use super::families::Family;
use super::keys::{JournalKey, Key as _};
use super::retention::MinuteRow;
use super::{Reader, StoreError};
use crate::model::position::{BusTag, Position};
use crate::model::window::Timestamp;

/// Behind every position of a bus.
const END: Position = Position { ledger: u64::MAX, entry: u64::MAX, index: u32::MAX };

/// What the journal of one bus is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// Bytes on the disk, compressed, and in memory what is not there yet.
    pub bytes: u64,
    /// When the oldest event that it still has was received; `None` when it is empty. The oldest by
    /// position: an event that came late with an old time is not the beginning.
    pub oldest: Option<Timestamp>,
}

/// Reads how far the journal of a bus reaches.
pub fn reach(reader: Reader<'_>, tag: BusTag) -> Result<Reach, StoreError> {
    let (_, bytes) = reader.database.about(Family::Journal)?;
    let journal = reader.journal(tag)?;
    let mut oldest = None;
    journal.read_behind(journal.dropped().unwrap_or_default(), |_, row| {
        oldest = Some(row.facts.received_at);
        Ok(false)
    })?;
    Ok(Reach { bytes, oldest })
}

/// Bytes on the disk of the journal's minutes, which are in the order of their positions. What is
/// only in memory yet is counted as it is there, before compression.
pub(super) fn bytes_on_disk(database: &Database, tag: BusTag, minutes: &[MinuteRow]) -> Vec<u64> {
    let key = |position| JournalKey { tag, position }.to_bytes();
    let firsts = minutes.iter().map(|row| key(row.first));
    let ends: Vec<Vec<u8>> = firsts.chain([key(END)]).collect();
    let sizes = database.sizes(Family::Journal, &ends);
    let minutes = minutes.iter().zip(sizes);
    minutes.map(|(row, size)| if size == 0 { row.bytes } else { size }).collect()
}
