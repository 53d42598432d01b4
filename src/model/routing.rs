//! Routing keys, which describe a message in three words, and patterns of them.

mod catalogue;
mod key;
mod pattern;

pub use catalogue::{
    ABSENT_COLLECTIONS, ABSENT_KEYS, AbsentCollection, AbsentKey, Collection, ENTITY_TOPICS,
    EventTopic, event_topics,
};
pub use key::{COLLECTIONS, Change, EVENT_WORDS, KEY_BYTES, RoutingKey, known_keys};
pub use pattern::{InvalidPattern, MANY_WORDS, RoutingPattern};
