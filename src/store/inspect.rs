//! Inspects a store: lists its column families, and shows rows as text.
//!
//! No row makes it fail: a row that does not decode is shown in hexadecimal and marked as damaged,
//! because that is what an operator looks for in a damaged store. Results are bounded in rows and
//! bytes, and say when there is more. The store contains no secrets.

mod rows;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use self::rows::FamilyFormat;
use super::database::Database;
use super::error::{StoreError, hex};
use super::families::{self, Family};
use super::lock;
use super::reader::Reader;

/// Most rows of one result.
pub const ROWS: usize = 1_000;
/// Most bytes of one result, unless its first row alone is larger.
const ROW_BYTES: usize = 2 << 20;
/// Most rows that are searched for a prefix.
const LOOKED_AT: usize = 2_000_000;

/// Why a store cannot be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// There is no column family with that name.
    #[error("unknown column family `{name}`; use one of {}", names())]
    UnknownFamily {
        /// The requested name.
        name: String,
    },
    /// The store itself fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A column family, with RocksDB's estimates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectedFamily {
    /// Its name.
    pub family: String,
    /// Its content.
    pub holds: String,
    /// Estimated number of rows; recently deleted rows may still count.
    pub about_rows: u64,
    /// Estimated bytes, compressed on the disk and uncompressed in memory.
    pub about_bytes: u64,
}

/// Rows of a column family.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inspection {
    /// The rows, in the order of their keys.
    pub rows: Vec<InspectedRow>,
    /// Whether there are, or may be, more after the last one.
    pub more: bool,
    /// Whether the search ended after too many rows without the prefix.
    pub gave_up: bool,
}

/// A row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InspectedRow {
    /// Its key, as text.
    pub key: String,
    /// Its value.
    pub value: Box<RawValue>,
}

/// A store that no process uses, opened for inspection. Nothing is written, so that read permission
/// is enough, and no file becomes root's when root inspects it.
pub struct Inspector {
    database: Database,
    _lock: lock::Lock,
}

impl Inspector {
    /// Opens the store in `dir`. Blocks.
    ///
    /// # Errors
    /// When a process has the store open, or it is not a store of this version.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let lock = lock::Lock::take_shared(dir)?;
        lock::check_no_backup(dir)?;
        lock::expect_version(dir)?;
        Ok(Self { database: Database::open_read_only(dir)?, _lock: lock })
    }

    /// A reader of the store.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        &self.database
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        self.database.close();
    }
}

/// All column families, in the order of the pipeline. Blocks.
pub fn families(reader: Reader<'_>) -> Result<Vec<InspectedFamily>, StoreError> {
    let look = |&(family, name, _): &(Family, &str, families::ReadPattern)| {
        let (about_rows, about_bytes) = reader.estimate(family)?;
        let (family, holds) = (name.to_owned(), family.holds().to_owned());
        Ok(InspectedFamily { family, holds, about_rows, about_bytes })
    };
    families::ALL.iter().map(look).collect()
}

/// The first rows of a family whose keys begin with `prefix`, up to `limit`. Blocks.
pub fn rows(
    reader: Reader<'_>,
    family: &str,
    prefix: &str,
    limit: usize,
) -> Result<Inspection, InspectError> {
    let family = family_of(family)?;
    let format = rows::format_of(family);
    let mut found = RowsFound::new(limit);
    let (mut passed, mut gave_up) = (0_usize, false);
    let start = (format.start)(prefix).unwrap_or_default();
    reader.scan_bytes(family, &start, |raw_key, raw_value| {
        let text = key_of(&format, raw_key);
        if !text.starts_with(prefix) {
            passed += 1;
            gave_up = passed > LOOKED_AT;
            // Where keys sort as their text does, no later row can have the prefix.
            return !gave_up && !is_behind(&text, prefix, format.sorted);
        }
        found.add(&format, text, (raw_key, raw_value))
    })?;
    Ok(Inspection { more: found.more || gave_up, rows: found.rows, gave_up })
}

/// The last rows of a family, up to `limit`. Blocks.
pub fn last_rows(
    reader: Reader<'_>,
    family: &str,
    limit: usize,
) -> Result<Inspection, InspectError> {
    let family = family_of(family)?;
    let format = rows::format_of(family);
    let mut found = RowsFound::new(limit);
    reader.scan_bytes_back(family, |raw_key, raw_value| {
        found.add(&format, key_of(&format, raw_key), (raw_key, raw_value))
    })?;
    found.rows.reverse();
    Ok(Inspection { rows: found.rows, more: found.more, gave_up: false })
}

/// Rows of a result, within its bounds.
struct RowsFound {
    rows: Vec<InspectedRow>,
    limit: usize,
    bytes: usize,
    /// Whether one was left out.
    more: bool,
}

impl RowsFound {
    fn new(limit: usize) -> Self {
        Self { rows: Vec::new(), limit: limit.clamp(1, ROWS), bytes: 0, more: false }
    }

    /// Adds a row with this key, as text and raw. Returns whether it had room.
    fn add(&mut self, format: &FamilyFormat, key: String, (raw, value): (&[u8], &[u8])) -> bool {
        let value = (format.value)(raw, value).unwrap_or_else(|| damaged(value));
        self.bytes += key.len() + value.get().len();
        let is_full = self.bytes > ROW_BYTES && !self.rows.is_empty();
        if self.rows.len() >= self.limit || is_full {
            self.more = true;
            return false;
        }
        self.rows.push(InspectedRow { key, value });
        true
    }
}

fn family_of(name: &str) -> Result<Family, InspectError> {
    let known = families::ALL.iter().find(|(_, known, _)| *known == name);
    let unknown = || InspectError::UnknownFamily { name: name.chars().take(80).collect() };
    known.map(|(family, ..)| *family).ok_or_else(unknown)
}

fn key_of(format: &FamilyFormat, raw: &[u8]) -> String {
    (format.key)(raw).unwrap_or_else(|| format!("0x{}", hex(raw)))
}

fn is_behind(text: &str, prefix: &str, sorted: usize) -> bool {
    let compared = prefix.len().min(sorted);
    let start = |text: &str| text.as_bytes()[..text.len().min(compared)].to_vec();
    start(text) > start(prefix)
}

fn damaged(value: &[u8]) -> Box<RawValue> {
    let bytes = hex(&value[..value.len().min(256)]);
    to_raw_value(&json!({ "damaged": true, "bytes": bytes })).expect("texts are JSON")
}

fn names() -> String {
    families::ALL.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
