//! Routing keys.

use std::fmt;

/// The longest routing key, in bytes; AMQP's limit.
pub const KEY_BYTES: usize = 255;

/// The change of a document of a collection. The feed does not report deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Its id was not seen before.
    Insert,
    /// Its id was seen before.
    Update,
}

/// Three words separated by `.`, such as `evt.push.insert`; up to [`KEY_BYTES`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoutingKey(String);

impl RoutingKey {
    /// The key of an event type: `evt.<type without "Event", lower case>.insert`. Unknown types
    /// have a key too. Characters that would break the three words (dots, spaces, wildcards) become
    /// `_`, and so does an empty type.
    #[must_use]
    pub fn of_event(kind: &str) -> Self {
        const AROUND: usize = "evt..insert".len();
        let name = kind.strip_suffix("Event").unwrap_or(kind);
        // All of GitHub's types, without a look at each character.
        let fits = (1..=KEY_BYTES - AROUND).contains(&name.len());
        if fits && name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let mut key = ["evt.", name, ".insert"].concat();
            key.make_ascii_lowercase();
            return Self(key);
        }
        let mut word = String::with_capacity(name.len());
        for c in name.chars().flat_map(char::to_lowercase) {
            let odd = c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '#');
            let c = if odd { '_' } else { c };
            if AROUND + word.len() + c.len_utf8() > KEY_BYTES {
                break;
            }
            word.push(c);
        }
        if word.is_empty() {
            word.push('_');
        }
        Self(format!("evt.{word}.insert"))
    }

    /// The key of a document: `ent.<collection>.<insert|update>`. `collection` is one of
    /// [`super::ENTITY_TOPICS`].
    #[must_use]
    pub fn of_entity(collection: &'static str, change: Change) -> Self {
        Self(format!("ent.{collection}.{}", change.word()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Change {
    /// The third word of its key.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
        }
    }
}

impl fmt::Display for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn word_of_a_type_is_its_lower_case_name_without_event() {
        for (kind, key) in [
            ("PushEvent", "evt.push.insert"),
            ("PullRequestReviewCommentEvent", "evt.pullrequestreviewcomment.insert"),
            ("Sponsorship", "evt.sponsorship.insert"),
            ("Odd.# *Event", "evt.odd____.insert"),
            ("Event", "evt._.insert"),
            ("", "evt._.insert"),
        ] {
            assert_eq!(RoutingKey::of_event(kind).as_str(), key);
        }
    }

    proptest! {
        #[test]
        fn any_type_has_a_key_of_three_words(kind in ".{0,400}") {
            let key = RoutingKey::of_event(&kind);
            prop_assert!(key.as_str().len() <= KEY_BYTES);
            prop_assert_eq!(key.as_str().split('.').count(), 3);
        }
    }
}
