//! What is known of the feeds of single repositories, owners and people (`Family::Feeds`), and
//! the counts of each list.
//!
//! A row survives restarts, so that a feed continues where it was: with its `ETag`, its pace, and
//! the newest events of the last read, by which the next one recognizes that nothing lies between.

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::database::Database;
use super::error::StoreError;
use super::keys::keys;
use super::keys::{Key as _, MetaKey, SeenKey};
use crate::model::event::EventKey;
use crate::model::window::{Day, Timestamp};

const VERSION: u8 = 1;
/// The value of a claim of an event that its own feed showed before the public one. Other claims
/// have no value.
pub const OWN: &[u8] = b"own";

/// The name of a feed as on a list, in lower case: `owner/repo`, `owner/*` or `@login`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedKey(pub String);

keys! {
    FeedKey Feeds (0);
}

/// What is known of a feed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedRow {
    /// The `ETag` of its first page.
    pub etag: Option<String>,
    /// When it was last read, or was unchanged; `None` before the first time.
    pub read_at: Option<Timestamp>,
    /// When all its pages were last read.
    pub whole_at: Option<Timestamp>,
    /// When it is due.
    pub due_at: Timestamp,
    /// Events per hour, lately.
    pub rate: f64,
    /// Hashes of the newest events at the last read, newest first.
    pub head: Vec<u64>,
    /// Whether the owner is a user: GitHub has no feed of an organization for it.
    pub is_user: bool,
    /// Since when GitHub does not show it, and how.
    pub closed: Option<ClosedFeed>,
    /// The new name of a renamed repository.
    pub renamed_to: Option<String>,
    /// Number of times when certainly not all events were seen: more than the feed shows came
    /// between two reads.
    pub holes: u64,
    /// The last of these times: between these two reads.
    pub last_hole: Option<(Timestamp, Timestamp)>,
}

/// A feed that GitHub does not show.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClosedFeed {
    /// The status: 404, 403, 410 or 451.
    pub status: u16,
    /// Since when.
    pub since: Timestamp,
    /// Number of attempts so far.
    pub times: u32,
}

impl FeedRow {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        serde_json::to_writer(&mut out, self).expect("texts and numbers can be written");
        out
    }

    /// Reads its bytes.
    pub fn decode(key: &FeedKey, value: &[u8]) -> Result<Self, StoreError> {
        let text = value.strip_prefix(&[VERSION]);
        let row = text.and_then(|text| serde_json::from_slice(text).ok());
        row.ok_or_else(|| StoreError::corrupt("feeds", &key.to_bytes()))
    }
}

impl Database {
    /// All feeds. A damaged row is left out: its feed is then read as a new one.
    pub fn feeds(&self) -> Result<Vec<(FeedKey, FeedRow)>, StoreError> {
        let mut feeds = Vec::new();
        self.scan(&FeedKey(String::new()), |key: FeedKey, value| {
            if let Ok(row) = FeedRow::decode(&key, value) {
                feeds.push((key, row));
            }
            Ok(true)
        })?;
        Ok(feeds)
    }

    /// The counts of a list.
    pub fn list_counts(&self, list: &str) -> Result<ListCounts, StoreError> {
        let count = |what| {
            let count = self.count(&ListCounts::key(list, what))?;
            Ok::<u64, StoreError>(u64::try_from(count).unwrap_or_default())
        };
        Ok(ListCounts { seen: count("seen")?, filled: count("filled")?, holes: count("holes")? })
    }
}

/// The counts of a list since it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ListCounts {
    /// Events admitted, whichever feed showed them.
    pub seen: u64,
    /// Those of them that a feed of its own showed first.
    pub filled: u64,
    /// Times when certainly not all events of one of its feeds were seen.
    pub holes: u64,
}

impl ListCounts {
    fn key(list: &str, what: &str) -> MetaKey {
        MetaKey(format!("list.{what}/{list}"))
    }

    /// Adds these numbers to a list's.
    pub fn add(self, batch: &mut Batch<'_>, list: &str) -> Result<(), StoreError> {
        for (what, n) in [("seen", self.seen), ("filled", self.filled), ("holes", self.holes)] {
            if n > 0 {
                batch.add(&Self::key(list, what), i64::try_from(n).unwrap_or(i64::MAX))?;
            }
        }
        Ok(())
    }
}

/// Whether the claim of an admitted event says that its own feed showed it first.
pub fn is_own(batch: &Batch<'_>, days: &[i32], event: &EventKey) -> Result<bool, StoreError> {
    for day in days.iter().rev() {
        if let Some(value) = batch.get(&SeenKey::new(Day(*day), event))? {
            return Ok(value == OWN);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_is_decoded_as_encoded() {
        let key = FeedKey("rust-lang/rust".to_owned());
        let at = Timestamp::from_seconds(1_800_000_000);
        let row = FeedRow {
            etag: Some("W/\"x\"".to_owned()),
            read_at: Some(at),
            due_at: at,
            rate: 2.5,
            head: vec![u64::MAX, 1],
            closed: Some(ClosedFeed { status: 451, since: at, times: 3 }),
            last_hole: Some((at, at)),
            ..FeedRow::default()
        };
        assert_eq!(FeedRow::decode(&key, &row.encode()).unwrap(), row);
        for damaged in [&b""[..], b"\x02{}", b"\x01{", b"\x01[]x"] {
            assert!(FeedRow::decode(&key, damaged).is_err());
        }
        assert_eq!(FeedKey::decode(&key.to_bytes()), Some(key));
    }
}
