//! Routing keys, which describe a message in three words, and patterns of them.

mod catalogue;
mod key;
mod pattern;

pub use catalogue::{
    ABSENT_COLLECTIONS, ABSENT_KEYS, Collection, ENTITY_TOPICS, EVENT_TYPES, known_keys,
};
pub use key::{Change, KEY_BYTES, RoutingKey};
pub use pattern::{InvalidPattern, MANY_WORDS, RoutingPattern};
