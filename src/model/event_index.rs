//! The fields that queries select events by, extracted once per event.
//!
//! One allocation per event holds the values one after the other as GitHub wrote them, and once
//! more in lower case: names on GitHub are case-insensitive, and must not be folded once per
//! subscriber.

use xxhash_rust::xxh3::xxh3_64;

use super::envelope::Facts;
use super::event::{self, Event, EventKey};
use super::event_summary::EventSummary;
use super::routing::RoutingKey;

/// The indexed fields of an event. A missing field is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventIndex {
    /// Routing key, type, repository, actor, organization, language; then the same in lower case.
    text: Box<str>,
    /// The end of each value in the first half.
    ends: [u32; VALUES],
    /// One bit for each value that exists.
    given: u8,
    hash: u64,
}

const VALUES: usize = 6;
/// The values that are stored, in this order.
const KEPT: [IndexedField; 4] =
    [IndexedField::Kind, IndexedField::Repo, IndexedField::Actor, IndexedField::Org];
/// The stored length of a missing value.
const ABSENT: u16 = u16::MAX;
/// Bytes of the hash.
const HASH: usize = 8;

/// A field that a filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexedField {
    /// The routing key.
    Key = 0,
    /// GitHub's type.
    Kind = 1,
    /// `owner/name`.
    Repo = 2,
    /// The actor's login.
    Actor = 3,
    /// The organization's login.
    Org = 4,
    /// The language of the repository.
    Language = 5,
}

impl EventIndex {
    /// The index of a parsed event.
    #[must_use]
    pub fn of(event: &Event<'_>, facts: &Facts) -> Self {
        let names = [&event.repo_name, &event.actor_login, &event.org_login];
        let [repo, actor, org] = names.map(|name| name.as_deref());
        Self::of_key(&event.key, [repo, actor, org, facts.language.as_deref()])
    }

    /// The index of an event by its summary.
    #[must_use]
    pub fn of_summary(summary: &EventSummary, facts: &Facts) -> Self {
        let names = [&summary.repo_name, &summary.actor_login, &summary.org_login];
        let [repo, actor, org] = names.map(|name| name.as_deref());
        Self::of_key(&summary.key, [repo, actor, org, facts.language.as_deref()])
    }

    fn of_key(key: &EventKey, names: [Option<&str>; 4]) -> Self {
        let kind = Some(&*key.kind).filter(|kind| !kind.is_empty());
        Self::pack(sampling_hash(key), kind, names)
    }

    fn pack(hash: u64, kind: Option<&str>, names: [Option<&str>; 4]) -> Self {
        let routing = RoutingKey::of_event(kind.unwrap_or_default());
        let [repo, actor, org, language] = names;
        let values = [Some(routing.as_str()), kind, repo, actor, org, language];
        let length: usize = values.iter().flatten().map(|value| value.len()).sum();
        let mut text = String::with_capacity(2 * length);
        let mut head = Self { hash, ..Self::default() };
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

    /// Appends the index, encoded for the store, without what is in the row's facts. Returns false
    /// and appends nothing when a value is too long.
    #[must_use]
    pub fn encode(&self, out: &mut Vec<u8>) -> bool {
        let values = KEPT.map(|field| self.get(field));
        let lengths = values.map(|value| {
            value.map_or(Ok(ABSENT), |value| {
                u16::try_from(value.len()).ok().filter(|length| *length != ABSENT).ok_or(())
            })
        });
        if lengths.contains(&Err(())) {
            return false;
        }
        out.extend_from_slice(&self.hash.to_be_bytes());
        for length in lengths.into_iter().flatten() {
            out.extend_from_slice(&length.to_be_bytes());
        }
        for value in values.into_iter().flatten() {
            out.extend_from_slice(value.as_bytes());
        }
        true
    }

    /// Splits what [`Self::encode`] wrote from the bytes after it; `None` for other bytes.
    #[must_use]
    pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let (lengths, values) = read_lengths(bytes.get(HASH..)?)?;
        let all: usize = lengths.into_iter().flatten().sum();
        bytes.split_at_checked(bytes.len() - values.len() + all)
    }

    /// Decodes the index of an event with these facts; `None` for other bytes.
    #[must_use]
    pub fn decode(bytes: &[u8], facts: &Facts) -> Option<Self> {
        let (hash, [kind, repo, actor, org]) = stored(bytes)?;
        Some(Self::pack(hash, kind, [repo, actor, org, facts.language.as_deref()]))
    }

    /// The repository, the actor and the organization in an encoded index; `None` for other bytes.
    #[must_use]
    pub fn stored_names(bytes: &[u8]) -> Option<[Option<&str>; 3]> {
        let (_, [_, repo, actor, org]) = stored(bytes)?;
        Some([repo, actor, org])
    }

    /// The routing key; empty only when the event could not be parsed.
    #[must_use]
    pub fn key(&self) -> &str {
        self.get(IndexedField::Key).unwrap_or_default()
    }

    /// A field as GitHub wrote it; the language is that of the repository, of events about pull
    /// requests.
    #[must_use]
    pub fn get(&self, field: IndexedField) -> Option<&str> {
        self.value(field, 0)
    }

    /// The repository, the actor and the organization.
    #[must_use]
    pub fn names(&self) -> [Option<&str>; 3] {
        [IndexedField::Repo, IndexedField::Actor, IndexedField::Org].map(|field| self.get(field))
    }

    /// The hash that sampling uses, which is the same on every node and never changes: XXH3 (64
    /// bits) of the type, a space, and the id.
    #[must_use]
    pub fn sampling_hash(&self) -> u64 {
        self.hash
    }

    /// Whether it is a pull-request event.
    #[must_use]
    pub fn is_pull_request(&self) -> bool {
        self.get(IndexedField::Kind) == Some(event::PULL_REQUEST)
    }

    /// A value in ASCII lower case.
    #[must_use]
    pub fn folded(&self, value: IndexedField) -> Option<&str> {
        self.value(value, self.text.len() / 2)
    }

    fn value(&self, value: IndexedField, half: usize) -> Option<&str> {
        let i = value as usize;
        if self.given & (1 << i) == 0 {
            return None;
        }
        let begin = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        self.text.get(half + begin..half + self.ends[i] as usize)
    }
}

/// The hash and the stored values; `None` for other bytes.
fn stored(bytes: &[u8]) -> Option<(u64, [Option<&str>; KEPT.len()])> {
    let (hash, rest) = bytes.split_first_chunk()?;
    let (lengths, mut rest) = read_lengths(rest)?;
    let mut values = [None; KEPT.len()];
    for (value, length) in values.iter_mut().zip(lengths) {
        if let Some(length) = length {
            let (text, behind) = rest.split_at_checked(length)?;
            (*value, rest) = (Some(std::str::from_utf8(text).ok()?), behind);
        }
    }
    rest.is_empty().then_some((u64::from_be_bytes(*hash), values))
}

/// The lengths of the stored values, `None` for a missing one, and the bytes after them.
fn read_lengths(bytes: &[u8]) -> Option<([Option<usize>; KEPT.len()], &[u8])> {
    let (lengths, rest) = bytes.split_first_chunk::<{ 2 * KEPT.len() }>()?;
    let mut read = [None; KEPT.len()];
    for (length, two) in read.iter_mut().zip(lengths.chunks_exact(2)) {
        let written = u16::from_be_bytes([two[0], two[1]]);
        *length = (written != ABSENT).then_some(written.into());
    }
    Some((read, rest))
}

fn sampling_hash(key: &EventKey) -> u64 {
    xxh3_64(key.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_kept_as_sent_and_in_lower_case() {
        let text = r#"{"id":"7","type":"PushEvent","actor":{"login":"Ann"},
            "repo":{"name":"Ann/Tool"},"org":{"login":""}}"#;
        let facts = Facts { language: Some("C++".to_owned()), ..Facts::default() };
        let event = Event::read(text).unwrap();
        let head = EventIndex::of(&event, &facts);
        assert_eq!(
            (head.key(), head.get(IndexedField::Kind)),
            ("evt.push.insert", Some("PushEvent"))
        );
        assert_eq!(
            (head.get(IndexedField::Repo), head.get(IndexedField::Actor)),
            (Some("Ann/Tool"), Some("Ann"))
        );
        assert_eq!(
            (head.get(IndexedField::Org), head.get(IndexedField::Language)),
            (Some(""), Some("C++"))
        );
        let folded = [
            IndexedField::Kind,
            IndexedField::Repo,
            IndexedField::Actor,
            IndexedField::Org,
            IndexedField::Language,
        ];
        let folded = folded.map(|value| head.folded(value).unwrap());
        assert_eq!(folded, ["pushevent", "ann/tool", "ann", "", "c++"]);
        assert_eq!(EventIndex::of_summary(&EventSummary::of(event), &facts), head);
    }

    #[test]
    fn missing_values_are_none() {
        let text = r#"{"id":"7","repo":{"name":"ann/Übung"}}"#;
        let head = EventIndex::of(&Event::read(text).unwrap(), &Facts::default());
        assert_eq!(
            (
                head.get(IndexedField::Kind),
                head.get(IndexedField::Actor),
                head.get(IndexedField::Language)
            ),
            (None, None, None)
        );
        assert_eq!(head.get(IndexedField::Repo), Some("ann/Übung"));
        assert_eq!(EventIndex::default().get(IndexedField::Repo), None);
    }

    #[test]
    fn sampling_hash_never_changes() {
        let text = r#"{"id":"4936706147","type":"PushEvent"}"#;
        let head = EventIndex::of(&Event::read(text).unwrap(), &Facts::default());
        assert_eq!(head.sampling_hash(), xxh3_64(b"PushEvent 4936706147"));
        assert_eq!(head.sampling_hash(), 12_192_772_503_300_875_015);
    }

    proptest! {
        #[test]
        fn index_is_decoded_as_encoded(
            hash: u64,
            kind in proptest::option::of("\\PC{1,20}"),
            names in proptest::array::uniform4(proptest::option::of("\\PC{0,20}")),
            behind in "\\PC{0,8}",
        ) {
            let [_, _, _, language] = &names;
            let facts = Facts { language: language.clone(), ..Facts::default() };
            let names = names.each_ref().map(Option::as_deref);
            let head = EventIndex::pack(hash, kind.as_deref(), names);
            let mut bytes = Vec::new();
            prop_assert!(head.encode(&mut bytes));
            bytes.extend_from_slice(behind.as_bytes());
            let (own, rest) = EventIndex::split(&bytes).unwrap();
            prop_assert_eq!(rest, behind.as_bytes());
            prop_assert_eq!(EventIndex::decode(own, &facts), Some(head));
            for short in 0..own.len() {
                prop_assert_eq!(EventIndex::split(&own[..short]), None);
                prop_assert_eq!(EventIndex::decode(&own[..short], &facts), None);
            }
        }
    }

    #[test]
    fn too_long_value_is_not_encoded() {
        for (length, is_kept) in [(65_534, true), (65_535, false), (70_000, false)] {
            let name = "n".repeat(length);
            let head = EventIndex::pack(1, Some("PushEvent"), [None, Some(&name), None, None]);
            let mut bytes = vec![7];
            assert_eq!(head.encode(&mut bytes), is_kept, "{length}");
            let read = EventIndex::decode(&bytes[1..], &Facts::default());
            assert_eq!((read, bytes.len() > 1), (is_kept.then_some(head), is_kept));
        }
    }
}
