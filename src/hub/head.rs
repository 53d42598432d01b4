//! What readers choose events by, read once an event.
//!
//! One piece of memory an event: the values one behind the other as GitHub wrote them, and once
//! more in lower case, because names on GitHub are the same in any case and nobody should fold
//! them once a reader.

use xxhash_rust::xxh3::xxh3_64;

use crate::model::envelope::Facts;
use crate::model::event::{self, Event, EventKey};
use crate::model::outline::Outline;
use crate::model::routing::RoutingKey;

/// What an event is chosen by. What it does not have is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Key, type, repository, actor, organisation, language; then the same in lower case.
    text: Box<str>,
    /// Where each value ends in the first half.
    ends: [u32; VALUES],
    /// Bits of the values that are there.
    given: u8,
    hash: u64,
}

const VALUES: usize = 6;

/// One of the values that a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Key = 0,
    Kind = 1,
    Repo = 2,
    Actor = 3,
    Org = 4,
    Language = 5,
}

impl Head {
    /// Of an event that was read.
    #[must_use]
    pub fn of(event: &Event<'_>, facts: &Facts) -> Self {
        let names = [&event.repo_name, &event.actor_login, &event.org_login];
        let [repo, actor, org] = names.map(|name| name.as_deref());
        Self::pack(&event.key, [repo, actor, org, facts.language.as_deref()])
    }

    /// Of one that was read before.
    #[must_use]
    pub fn of_outline(outline: &Outline, facts: &Facts) -> Self {
        let names = [&outline.repo_name, &outline.actor_login, &outline.org_login];
        let [repo, actor, org] = names.map(|name| name.as_deref());
        Self::pack(&outline.key, [repo, actor, org, facts.language.as_deref()])
    }

    fn pack(key: &EventKey, names: [Option<&str>; 4]) -> Self {
        let routing = RoutingKey::of_event(&key.kind);
        let kind = Some(&*key.kind).filter(|kind| !kind.is_empty());
        let [repo, actor, org, language] = names;
        let values = [Some(routing.as_str()), kind, repo, actor, org, language];
        let length: usize = values.iter().flatten().map(|value| value.len()).sum();
        let mut text = String::with_capacity(2 * length);
        let mut head = Self { hash: sampling_hash(key), ..Self::default() };
        for (i, value) in values.into_iter().enumerate() {
            if let Some(value) = value {
                text.push_str(value);
                head.given |= 1 << i;
            }
            head.ends[i] = u32::try_from(text.len()).expect("an event is smaller than 4 GiB");
        }
        text.extend_from_within(..);
        text[length..].make_ascii_lowercase();
        head.text = text.into();
        head
    }

    /// The routing key; empty only of an event that could not be read.
    #[must_use]
    pub fn key(&self) -> &str {
        self.value(Value::Key, 0).unwrap_or_default()
    }

    /// GitHub's type.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.value(Value::Kind, 0)
    }

    /// `owner/name`.
    #[must_use]
    pub fn repo_name(&self) -> Option<&str> {
        self.value(Value::Repo, 0)
    }

    /// The actor's login.
    #[must_use]
    pub fn actor_login(&self) -> Option<&str> {
        self.value(Value::Actor, 0)
    }

    /// The organisation's login.
    #[must_use]
    pub fn org_login(&self) -> Option<&str> {
        self.value(Value::Org, 0)
    }

    /// The language of the repository, of events about pull requests.
    #[must_use]
    pub fn language(&self) -> Option<&str> {
        self.value(Value::Language, 0)
    }

    /// What a sample is taken by: the same for everyone, on every node, for ever. It is XXH3 (64
    /// bits) of the type, a space, and the id.
    #[must_use]
    pub fn sampling_hash(&self) -> u64 {
        self.hash
    }

    /// Whether it is of the type that is counted by day and by language.
    #[must_use]
    pub fn is_pull_request(&self) -> bool {
        self.kind() == Some(event::PULL_REQUEST)
    }

    /// A value with A to Z made a to z.
    pub(super) fn folded(&self, value: Value) -> Option<&str> {
        self.value(value, self.text.len() / 2)
    }

    fn value(&self, value: Value, half: usize) -> Option<&str> {
        let i = value as usize;
        if self.given & (1 << i) == 0 {
            return None;
        }
        let begin = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        self.text.get(half + begin..half + self.ends[i] as usize)
    }
}

fn sampling_hash(key: &EventKey) -> u64 {
    xxh3_64(key.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_there_as_they_came_and_in_lower_case() {
        let text = r#"{"id":"7","type":"PushEvent","actor":{"login":"Ann"},
            "repo":{"name":"Ann/Tool"},"org":{"login":""}}"#;
        let facts = Facts { language: Some("C++".to_owned()), ..Facts::default() };
        let event = Event::read(text).unwrap();
        let head = Head::of(&event, &facts);
        assert_eq!((head.key(), head.kind()), ("evt.push.insert", Some("PushEvent")));
        assert_eq!((head.repo_name(), head.actor_login()), (Some("Ann/Tool"), Some("Ann")));
        assert_eq!((head.org_login(), head.language()), (Some(""), Some("C++")));
        let folded = [Value::Kind, Value::Repo, Value::Actor, Value::Org, Value::Language];
        let folded = folded.map(|value| head.folded(value).unwrap());
        assert_eq!(folded, ["pushevent", "ann/tool", "ann", "", "c++"]);
        assert_eq!(Head::of_outline(&Outline::of(event), &facts), head);
    }

    #[test]
    fn what_is_missing_is_none() {
        let text = r#"{"id":"7","repo":{"name":"ann/Übung"}}"#;
        let head = Head::of(&Event::read(text).unwrap(), &Facts::default());
        assert_eq!((head.kind(), head.actor_login(), head.language()), (None, None, None));
        assert_eq!(head.repo_name(), Some("ann/Übung"));
        assert_eq!(Head::default().repo_name(), None);
    }

    #[test]
    fn the_hash_of_an_event_stays() {
        let text = r#"{"id":"4936706147","type":"PushEvent"}"#;
        let head = Head::of(&Event::read(text).unwrap(), &Facts::default());
        assert_eq!(head.sampling_hash(), xxh3_64(b"PushEvent 4936706147"));
        assert_eq!(head.sampling_hash(), 12_192_772_503_300_875_015);
    }
}
