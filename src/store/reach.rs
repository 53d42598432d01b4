//! Measures the journal: its size on the disk, and how far back it reaches.

use super::database::Database;
use super::error::StoreError;
use super::families::Family;
use super::gaps;
use super::keys::{JournalKey, Key as _};
use super::reader::Reader;
use super::rows::MinuteRow;
use crate::model::position::{BusTag, Position};
use crate::model::window::Timestamp;

/// The extent of the journal of one bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// Compressed bytes on the disk, plus bytes in memory that are not on the disk yet.
    pub bytes: u64,
    /// When its oldest event, by position, was received, also if it is left out now; `None` when it
    /// is empty. An event that arrived late with an old time does not count as the oldest.
    pub oldest: Option<Timestamp>,
}

/// Measures the journal of a bus.
pub fn reach(reader: Reader<'_>, tag: BusTag) -> Result<Reach, StoreError> {
    let (_, bytes) = reader.estimate(Family::Journal)?;
    let journal = reader.journal(tag)?;
    let oldest = journal.first_received(journal.dropped().unwrap_or_default())?;
    Ok(Reach { bytes, oldest })
}

/// Bytes on the disk of the journal's minutes, which must be sorted by position. A minute that is
/// only in memory counts with its uncompressed size.
pub(super) fn bytes_on_disk(database: &Database, tag: BusTag, minutes: &[MinuteRow]) -> Vec<u64> {
    let key = |position| JournalKey { tag, position }.to_bytes();
    let firsts = minutes.iter().map(|row| key(row.first));
    let ends: Vec<Vec<u8>> = firsts.chain([key(gaps::LAST)]).collect();
    let sizes = database.sizes(Family::Journal, &ends);
    let minutes = minutes.iter().zip(sizes);
    minutes.map(|(row, size)| if size == 0 { row.bytes } else { size }).collect()
}

/// Bytes on the disk of the journal from a position on.
pub(super) fn bytes_from(database: &Database, tag: BusTag, from: Position) -> u64 {
    let ends = [from, gaps::LAST].map(|position| JournalKey { tag, position }.to_bytes());
    database.sizes(Family::Journal, &ends).into_iter().sum()
}
