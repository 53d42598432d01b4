//! What a reader of `/sampling` asked for: which events, and in which form.
//!
//! Two readers who asked for the same are equal here, so that they can share the work; how many of
//! the events each of them takes is its own and not part of it.

use crate::hub::log::filter::VALUE_BYTES;
use crate::model::event_index::EventIndex;

/// Which events in which form. Readers with equal subscriptions form a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SamplingQuery {
    /// Which events.
    pub conditions: Conditions,
    /// In which form.
    pub form: SamplingEncoding,
}

/// All that are given must hold, letter by letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Conditions {
    /// GitHub's type.
    pub kind: Option<Box<str>>,
    /// `owner/name`.
    pub repo_name: Option<Box<str>>,
    /// The actor's login.
    pub actor_login: Option<Box<str>>,
}

/// How an event is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum SamplingEncoding {
    /// `{"event":…,"payload":…}`.
    #[default]
    Whole,
    /// `{"path":value,…}`, sorted by path, each once.
    Map(Vec<FieldPath>),
    /// `[value,…]`, in the order asked for, doubles kept.
    List(Vec<FieldPath>),
}

/// A place in a message: names with points between, the first `event` or `payload`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(Box<str>);

/// Text that is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldPathError {
    /// It leads into neither of the two parts of a message.
    #[error("`{0}` begins with neither `event` nor `payload`")]
    Astray(String),
    /// It has more names than [`PATH_NAMES`].
    #[error("`{0}` has more than {PATH_NAMES} names")]
    Deep(String),
    /// It has more bytes than [`PATH_BYTES`]; its beginning.
    #[error("`{0}…` has more than {PATH_BYTES} bytes")]
    Long(String),
}

/// The most names of a path; GitHub's deepest values lie below ten.
pub const PATH_NAMES: usize = 32;
/// The most bytes of a path; it stands in each message of who asks for it. GitHub's longest have
/// sixty.
pub const PATH_BYTES: usize = VALUE_BYTES;

impl Conditions {
    /// Whether an event satisfies them. What an event does not have satisfies no condition on it.
    #[must_use]
    pub fn hold(&self, head: &EventIndex) -> bool {
        let holds = |wanted: &Option<Box<str>>, is: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == is
        };
        holds(&self.kind, head.kind())
            && holds(&self.repo_name, head.repo_name())
            && holds(&self.actor_login, head.actor_login())
    }
}

impl SamplingEncoding {
    /// The map form of these paths, each once.
    #[must_use]
    pub fn map(mut paths: Vec<FieldPath>) -> Self {
        paths.sort();
        paths.dedup();
        Self::Map(paths)
    }

    /// The paths; none of the whole form.
    #[must_use]
    pub fn paths(&self) -> &[FieldPath] {
        match self {
            Self::Whole => &[],
            Self::Map(paths) | Self::List(paths) => paths,
        }
    }
}

impl FieldPath {
    /// Reads a path; names are taken as they are, also empty ones.
    pub fn read(text: &str) -> Result<Self, FieldPathError> {
        let shown = || text.chars().take(80).collect();
        let mut names = text.split('.');
        if !matches!(names.next(), Some("event" | "payload")) {
            return Err(FieldPathError::Astray(shown()));
        }
        if names.count() >= PATH_NAMES {
            return Err(FieldPathError::Deep(shown()));
        }
        if text.len() > PATH_BYTES {
            return Err(FieldPathError::Long(shown()));
        }
        Ok(Self(text.into()))
    }

    /// As it was asked for.
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
    fn what_an_event_lacks_satisfies_no_condition() {
        let event = Event::read(r#"{"id":"1","type":"PushEvent"}"#).unwrap();
        let head = EventIndex::of(&event, &Facts::default());
        let of = |kind: Option<&str>, repo: Option<&str>| Conditions {
            kind: kind.map(Box::from),
            repo_name: repo.map(Box::from),
            actor_login: None,
        };
        assert!(of(None, None).hold(&head));
        assert!(of(Some("PushEvent"), None).hold(&head));
        assert!(!of(Some("pushevent"), None).hold(&head));
        assert!(!of(Some("PushEvent"), Some("a/b")).hold(&head));
        assert!(!of(None, Some("")).hold(&head));
    }

    #[test]
    fn a_path_begins_in_one_of_the_two_parts() {
        for good in ["event", "payload", "event.id", "event..id", "payload.nothing"] {
            assert_eq!(FieldPath::read(good).unwrap().text(), good);
        }
        for bad in ["", "events.id", "Event.id", "id", ".event", " event"] {
            assert_eq!(FieldPath::read(bad), Err(FieldPathError::Astray(bad.to_owned())));
        }
        assert!(FieldPath::read(&format!("event{}", ".x".repeat(31))).is_ok());
        assert!(FieldPath::read(&format!("event{}", ".x".repeat(32))).is_err());
    }

    #[test]
    fn a_path_has_a_length_because_each_message_repeats_it() {
        let of = |bytes: usize| FieldPath::read(&format!("event.{}", "x".repeat(bytes - 6)));
        assert!(of(PATH_BYTES).is_ok());
        let refused = of(PATH_BYTES + 1).unwrap_err();
        assert!(matches!(refused, FieldPathError::Long(_)), "{refused}");
        assert!(refused.to_string().len() < 200, "{refused}");
    }
}
