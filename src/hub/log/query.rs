//! The query of a `/sampling` subscriber: which events, and how they are encoded.
//!
//! Subscribers with equal queries share a group. The sampling rate is not part of the query,
//! because subscribers with different rates can share a group.

use crate::hub::log::filter::VALUE_BYTES;
use crate::model::event_index::{EventIndex, IndexedField};

/// Which events, and how they are encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SamplingQuery {
    /// Which events.
    pub conditions: Conditions,
    /// How they are encoded.
    pub encoding: SamplingEncoding,
}

/// All given conditions have to be equal, case included.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Conditions {
    /// GitHub's event type.
    pub kind: Option<Box<str>>,
    /// `owner/name`.
    pub repo_name: Option<Box<str>>,
    /// The actor's login.
    pub actor_login: Option<Box<str>>,
}

/// How an event is encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum SamplingEncoding {
    /// `{"event":…,"payload":…}`.
    #[default]
    Whole,
    /// `{"path":value,…}`, sorted by path, without duplicates.
    Map(Vec<FieldPath>),
    /// `[value,…]` in the order of the query, duplicates included.
    List(Vec<FieldPath>),
}

/// A path to a field of a message: names joined with `.`, the first `event` or `payload`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(Box<str>);

/// Why a path is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldPathError {
    /// It begins with neither of the two parts of a message.
    #[error("`{0}` begins with neither `event` nor `payload`")]
    UnknownRoot(String),
    /// It has more names than [`PATH_NAMES`].
    #[error("`{0}` has more than {PATH_NAMES} names")]
    TooDeep(String),
    /// It has more bytes than [`PATH_BYTES`]; the beginning of it.
    #[error("`{0}…` has more than {PATH_BYTES} bytes")]
    TooLong(String),
}

/// The most names in a path. GitHub's deepest values have fewer than ten.
pub const PATH_NAMES: usize = 32;
/// The most bytes of a path, which each message of its subscribers repeats. GitHub's longest have
/// sixty.
pub const PATH_BYTES: usize = VALUE_BYTES;

impl Conditions {
    /// Whether an event satisfies them. A missing field satisfies no condition on it.
    #[must_use]
    pub fn hold(&self, index: &EventIndex) -> bool {
        let holds = |wanted: &Option<Box<str>>, is: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == is
        };
        holds(&self.kind, index.get(IndexedField::Kind))
            && holds(&self.repo_name, index.get(IndexedField::Repo))
            && holds(&self.actor_login, index.get(IndexedField::Actor))
    }
}

impl SamplingEncoding {
    /// The map encoding of these paths, without duplicates.
    #[must_use]
    pub fn map(mut paths: Vec<FieldPath>) -> Self {
        paths.sort();
        paths.dedup();
        Self::Map(paths)
    }

    /// The paths; none for [`Self::Whole`].
    #[must_use]
    pub fn paths(&self) -> &[FieldPath] {
        match self {
            Self::Whole => &[],
            Self::Map(paths) | Self::List(paths) => paths,
        }
    }
}

impl FieldPath {
    /// Parses a path. Names may be empty.
    pub fn read(text: &str) -> Result<Self, FieldPathError> {
        let shown = || text.chars().take(80).collect();
        let mut names = text.split('.');
        if !matches!(names.next(), Some("event" | "payload")) {
            return Err(FieldPathError::UnknownRoot(shown()));
        }
        if names.count() >= PATH_NAMES {
            return Err(FieldPathError::TooDeep(shown()));
        }
        if text.len() > PATH_BYTES {
            return Err(FieldPathError::TooLong(shown()));
        }
        Ok(Self(text.into()))
    }

    /// The path as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Its names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::envelope::Facts;
    use crate::model::event::Event;

    #[test]
    fn missing_field_satisfies_no_condition() {
        let event = Event::read(r#"{"id":"1","type":"PushEvent"}"#).unwrap();
        let index = EventIndex::of(&event, &Facts::default());
        let of = |kind: Option<&str>, repo: Option<&str>| Conditions {
            kind: kind.map(Box::from),
            repo_name: repo.map(Box::from),
            actor_login: None,
        };
        assert!(of(None, None).hold(&index));
        assert!(of(Some("PushEvent"), None).hold(&index));
        assert!(!of(Some("pushevent"), None).hold(&index));
        assert!(!of(Some("PushEvent"), Some("a/b")).hold(&index));
        assert!(!of(None, Some("")).hold(&index));
    }

    #[test]
    fn path_begins_with_event_or_payload() {
        for good in ["event", "payload", "event.id", "event..id", "payload.nothing"] {
            assert_eq!(FieldPath::read(good).unwrap().text(), good);
        }
        for bad in ["", "events.id", "Event.id", "id", ".event", " event"] {
            assert_eq!(FieldPath::read(bad), Err(FieldPathError::UnknownRoot(bad.to_owned())));
        }
        assert!(FieldPath::read(&format!("event{}", ".x".repeat(31))).is_ok());
        assert!(FieldPath::read(&format!("event{}", ".x".repeat(32))).is_err());
    }

    #[test]
    fn path_has_a_limited_length() {
        let of = |bytes: usize| FieldPath::read(&format!("event.{}", "x".repeat(bytes - 6)));
        assert!(of(PATH_BYTES).is_ok());
        let refused = of(PATH_BYTES + 1).unwrap_err();
        assert!(matches!(refused, FieldPathError::TooLong(_)), "{refused}");
        assert!(refused.to_string().len() < 200, "{refused}");
    }
}
