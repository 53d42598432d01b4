//! Ids of documents.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

/// The `_id` of a document: 24 hexadecimal digits, derived from its kind and its own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 12]);

impl ObjectId {
    /// The id of a kind (an event type or a collection) and its own id.
    #[must_use]
    pub fn of(kind: &str, id: &str) -> Self {
        let hash = xxh3_128([kind, " ", id].concat().as_bytes()).to_be_bytes();
        Self(*hash.first_chunk().expect("16 bytes hold 12"))
    }

    /// Its bytes, for the store.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        self.0
    }

    /// Reads what [`Self::to_bytes`] returned.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
