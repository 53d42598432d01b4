//! Looking into a store: which families there are, and rows of one as a person can read them.
//!
//! Nothing here fails at a row: what does not decode is shown in hexadecimal digits and as damaged,
//! because a damaged store is looked into to find just that. Answers are bounded in rows and in
//! bytes, and say when there is more. The store holds no secrets.

mod rows;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use self::rows::Shown;
use super::database::Database;
use super::families::{self, Family};
use super::{Reader, StoreError, lock};

/// Rows that one answer has at most.
pub const ROWS: usize = 1_000;
/// Bytes of rows that one answer has at most, unless the first row alone is larger.
const ROW_BYTES: usize = 2 << 20;
/// Rows that are looked at for those that begin as asked for.
const LOOKED_AT: usize = 2_000_000;

/// Why nothing was looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// No family of that name.
    #[error("`{name}` is no family: choose one of {}", names())]
    NoFamily {
        /// What was asked for.
        name: String,
    },
    /// The store itself fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A family, in figures that RocksDB estimates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectedFamily {
    /// Its name.
    pub family: String,
    /// What it holds.
    pub holds: String,
    /// About so many rows; what was deleted lately may still be among them.
    pub about_rows: u64,
    /// About so many bytes, compressed on the disk and as they are in memory.
    pub about_bytes: u64,
}

/// Rows of a family.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inspection {
    /// In the order of their keys.
    pub rows: Vec<InspectedRow>,
    /// Whether there are, or may be, more behind the last one.
    pub more: bool,
    /// Whether the look ended because it had passed too many rows that begin otherwise.
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

/// A store that nobody has, opened to be looked into. Nothing in its directory is written, so that
/// who may only read may look, and what root looked into still belongs to its owner.
pub struct Inspector {
    database: Database,
    _lock: lock::Lock,
}

impl Inspector {
    /// Opens the store in `dir`. Blocks. Fails when a process has it.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let lock = lock::Lock::look(dir)?;
        lock::check_no_backup(dir)?;
        lock::expect_version(dir)?;
        Ok(Self { database: Database::open_to_look(dir)?, _lock: lock })
    }

    /// Reads it as it is.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader { database: &self.database }
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        self.database.close();
    }
}

/// All families, in the order of the data's way. Blocks.
pub fn families(reader: Reader<'_>) -> Result<Vec<InspectedFamily>, StoreError> {
    let look = |&(family, name, _): &(Family, &str, families::Access)| {
        let (about_rows, about_bytes) = reader.database.about(family)?;
        let holds = rows::shown(family).holds.to_owned();
        Ok(InspectedFamily { family: name.to_owned(), holds, about_rows, about_bytes })
    };
    families::ALL.iter().map(look).collect()
}

/// The first rows of a family whose keys begin with `prefix`, at most `limit`. Blocks.
pub fn rows(
    reader: Reader<'_>,
    family: &str,
    prefix: &str,
    limit: usize,
) -> Result<Inspection, InspectError> {
    let known = families::ALL.iter().find(|(_, name, _)| *name == family);
    let Some((family, ..)) = known else {
        return Err(InspectError::NoFamily { name: family.chars().take(80).collect() });
    };
    let Shown { sorted, start, key, value, .. } = rows::shown(*family);
    let limit = limit.clamp(1, ROWS);
    let mut looked = Inspection { rows: Vec::new(), more: false, gave_up: false };
    let (mut bytes, mut passed) = (0_usize, 0_usize);
    let start = start(prefix).unwrap_or_default();
    reader.database.scan_bytes(*family, &start, |raw_key, raw_value| {
        let text = key(raw_key).unwrap_or_else(|| format!("0x{}", hex(raw_key)));
        if !text.starts_with(prefix) {
            passed += 1;
            looked.gave_up = passed > LOOKED_AT;
            // In the part of the key that is sorted as text, all that follows is behind, too.
            return !looked.gave_up && !is_behind(&text, prefix, sorted);
        }
        let value = value(raw_key, raw_value).unwrap_or_else(|| damaged(raw_value));
        bytes += text.len() + value.get().len();
        if looked.rows.len() >= limit || (bytes > ROW_BYTES && !looked.rows.is_empty()) {
            looked.more = true;
            return false;
        }
        looked.rows.push(InspectedRow { key: text, value });
        true
    })?;
    looked.more |= looked.gave_up;
    Ok(looked)
}

fn is_behind(text: &str, prefix: &str, sorted: usize) -> bool {
    let compared = prefix.len().min(sorted);
    let head = |text: &str| text.as_bytes()[..text.len().min(compared)].to_vec();
    head(text) > head(prefix)
}

fn damaged(value: &[u8]) -> Box<RawValue> {
    let mut about = serde_json::Map::new();
    about.insert("damaged".to_owned(), Value::Bool(true));
    about.insert("bytes".to_owned(), hex(&value[..value.len().min(256)]).into());
    to_raw_value(&about).expect("texts are JSON")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn names() -> String {
    families::ALL.iter().map(|(_, name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
