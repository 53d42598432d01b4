//! Reads an event as GitHub sent it, and the few fields of it that are used.
//!
//! Both formats are read: today's trimmed one (since October 2025) and the old full one. A field
//! that is missing, null or of another type is unknown; only input that is not an event is an
//! error.

mod parts;

use std::borrow::Cow;
use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use self::parts::EventParts;
pub(super) use self::parts::PayloadObject;
use super::json;
use super::window::Timestamp;

/// The type whose events are counted by day and by language.
pub const PULL_REQUEST: &str = "PullRequestEvent";

/// The largest event in bytes; Pulsar's default limit of a message is 5 MiB.
pub const EVENT_BYTES: usize = 4 << 20;
/// The most bytes that enrichment may add to an event.
pub const WRITTEN_BACK_BYTES: usize = 64 << 10;

/// Identifies an event: its type and its id.
///
/// Ids alone are not unique: GitHub draws them from two sequences and reset both in October 2025.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey {
    /// GitHub's id.
    pub id: EventId,
    /// GitHub's type; empty when the event has none.
    pub kind: String,
}

/// GitHub's id of an event: a decimal number written as a string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventId {
    /// As GitHub has always written it.
    Number(u64),
    /// Any other text. Without an id it is `#` and a hash of the event without white space between
    /// its tokens. Fields that are written back into the event change it.
    Text(String),
}

/// The parsed fields of one event, as slices of its text.
#[derive(Debug, Clone)]
pub struct Event<'a> {
    /// The whole event.
    pub text: &'a str,
    /// Its identity.
    pub key: EventKey,
    /// `created_at`, when it is a valid time.
    pub created_at: Option<Timestamp>,
    /// `actor.id`.
    pub actor_id: Option<u64>,
    /// `actor.login`.
    pub actor_login: Option<Cow<'a, str>>,
    /// `repo.id`.
    pub repo_id: Option<u64>,
    /// `repo.name`, which is `owner/name`.
    pub repo_name: Option<Cow<'a, str>>,
    /// `org.login`.
    pub org_login: Option<Cow<'a, str>>,
    /// `payload`, as text.
    pub payload: Option<&'a str>,
    /// The other fields that are used, as text.
    pub(super) parts: EventParts<'a>,
}

/// The parsed payload of a pull-request event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullRequest<'a> {
    /// `payload.action`.
    pub action: Option<Cow<'a, str>>,
    /// `merged` as GitHub sent it; `None` when it is missing.
    pub merged: Option<bool>,
    /// `additions` as GitHub sent it.
    pub additions: Option<u64>,
    /// `deletions` as GitHub sent it.
    pub deletions: Option<u64>,
    /// `base.repo.language` as GitHub sent it.
    pub language: Option<Cow<'a, str>>,
}

/// A member that may be written back into an event: its name, whether the event lacks it, and its
/// value as JSON, if it is known.
pub(super) type WrittenMember = (&'static str, bool, Option<String>);

/// Why an entry of a page is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// It is a list, a number, a string, null, or not JSON.
    #[error("not a JSON object")]
    NotAnObject,
    /// It is an object with neither an id nor a type.
    #[error("an object with neither `id` nor `type`")]
    Nameless,
    /// It is larger than [`EVENT_BYTES`].
    #[error("an event of {0} bytes, above the limit of {EVENT_BYTES}")]
    TooLarge(usize),
}

impl<'a> Event<'a> {
    /// Parses an event, also one that another node has admitted and enriched.
    ///
    /// # Errors
    /// When the text is not an event, or is too large.
    pub fn read(text: &'a str) -> Result<Self, InvalidEvent> {
        if !json::is_object(text) {
            return Err(InvalidEvent::NotAnObject);
        }
        if text.len() > EVENT_BYTES + WRITTEN_BACK_BYTES {
            return Err(InvalidEvent::TooLarge(text.len()));
        }
        let parts = EventParts::read(text);
        let kind = parts.kind.and_then(json::text);
        let id = parts.id.and_then(EventId::read);
        if id.is_none() && kind.is_none() {
            return Err(InvalidEvent::Nameless);
        }
        let hash = || {
            let text = if parts.is_compact { Cow::Borrowed(text) } else { json::compact(text) };
            EventId::Text(format!("#{:032x}", xxh3_128(text.as_bytes())))
        };
        let key =
            EventKey { id: id.unwrap_or_else(hash), kind: kind.unwrap_or_default().into_owned() };
        Ok(Self {
            text,
            key,
            created_at: parts.created_at.and_then(json::text).and_then(|at| Timestamp::parse(&at)),
            actor_id: parts.actor_id.and_then(json::whole),
            actor_login: parts.actor_login.and_then(json::text),
            repo_id: parts.repo_id.and_then(json::whole),
            repo_name: parts.repo_name.and_then(json::text),
            org_login: parts.org_login.and_then(json::text),
            payload: parts.payload,
            parts,
        })
    }

    /// The text without white space between its tokens.
    #[must_use]
    pub fn compact(&self) -> Cow<'a, str> {
        if self.is_compact() { Cow::Borrowed(self.text) } else { json::compact(self.text) }
    }

    /// Whether the text has no white space between its tokens.
    #[must_use]
    pub fn is_compact(&self) -> bool {
        self.parts.is_compact
    }

    /// The text with members appended to some of its objects, compact. The objects are slices of
    /// the text, in the order of their ends.
    pub(super) fn with_members(&self, objects: &[(&str, &[WrittenMember])]) -> String {
        let mut text = String::with_capacity(self.text.len() + 160);
        let mut copied = 0;
        for (object, members) in objects {
            let Some(offset) = json::offset_in(self.text, object) else { continue };
            let end = offset + object.len() - 1;
            text.push_str(&self.text[copied..end]);
            copied = end;
            let mut comma = if object[1..object.len() - 1].trim().is_empty() { "" } else { "," };
            for (name, is_missing, value) in *members {
                let Some(value) = value.as_deref().filter(|_| *is_missing) else { continue };
                text.extend([comma, "\"", name, "\":", value]);
                comma = ",";
            }
        }
        text.push_str(&self.text[copied..]);
        if self.is_compact() { text } else { json::compact(&text).into_owned() }
    }

    /// The pull request of a [`PULL_REQUEST`] event; `None` for other types.
    #[must_use]
    pub fn pull_request(&self) -> Option<PullRequest<'a>> {
        if self.key.kind != PULL_REQUEST {
            return None;
        }
        let parts = &self.parts;
        Some(PullRequest {
            action: parts.action.and_then(json::text),
            merged: parts.merged.and_then(|merged| merged.parse().ok()),
            additions: parts.additions.and_then(json::whole),
            deletions: parts.deletions.and_then(json::whole),
            language: parts.base_language.and_then(json::text).filter(|l| !l.is_empty()),
        })
    }
}

/// Whether a JSON object looks like an event, and not like an object inside an event: all event
/// types that GitHub ever had end with `Event`.
#[must_use]
pub fn is_event(object: &str) -> bool {
    let kind = || json::pick(object, ["type"])[0].and_then(json::text);
    object.contains("Event\"") && kind().is_some_and(|kind| kind.ends_with("Event"))
}

impl PullRequest<'_> {
    /// Whether the pull request was merged: since October 2025 an action of its own, before that
    /// `closed` with `merged` true.
    #[must_use]
    pub fn is_merge(&self) -> bool {
        match self.action.as_deref() {
            Some("merged") => true,
            Some("closed") => self.merged == Some(true),
            _ => false,
        }
    }

    /// Whether the pull request was closed without a merge.
    #[must_use]
    pub fn is_close(&self) -> bool {
        self.action.as_deref() == Some("closed") && !self.is_merge()
    }

    /// Whether the pull request was opened; reopening does not count.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.action.as_deref() == Some("opened")
    }
}

impl EventId {
    /// Parses the value of `id`; `None` when it is null, empty, or neither a string nor a number.
    fn read(value: &str) -> Option<Self> {
        let text = json::text(value).unwrap_or(Cow::Borrowed(value));
        if text.is_empty() || text == "null" || value.starts_with(['{', '[']) {
            return None;
        }
        Some(Self::of(text))
    }

    /// The id that is displayed as this text.
    #[must_use]
    pub fn of(text: Cow<'_, str>) -> Self {
        // Only the canonical spelling of a number is that number: "007" is not "7".
        match text.parse::<u64>() {
            Ok(number) if number.to_string() == text => Self::Number(number),
            _ => Self::Text(text.into_owned()),
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TODAY: &str = r#"{"id":"6849554848","type":"PullRequestEvent","actor":{"id":7,"login":"ann"},
        "repo":{"id":9,"name":"ann/tool"},"payload":{"action":"merged","number":2,"pull_request":
        {"id":3322702490,"base":{"ref":"main","repo":{"id":9,"name":"tool"}}}},"public":true,
        "created_at":"2026-02-24T21:33:46Z"}"#;

    #[test]
    fn current_merge_is_a_separate_action() {
        let event = Event::read(TODAY).unwrap();
        assert_eq!(event.key.to_string(), "PullRequestEvent 6849554848");
        assert_eq!(event.repo_name.as_deref(), Some("ann/tool"));
        let pull = event.pull_request().unwrap();
        assert!(pull.is_merge() && !pull.is_close() && !pull.is_open());
        assert_eq!((pull.additions, pull.language), (None, None));
    }

    #[test]
    fn merge_in_the_old_format_is_closed_with_merged_true() {
        let shape = |merged: &str| {
            format!(
                r#"{{"id":"5","type":"PullRequestEvent","payload":{{"action":"closed",
                "pull_request":{{"merged":{merged},"additions":3,"deletions":1,
                "base":{{"repo":{{"language":"Rust"}}}}}}}}}}"#
            )
        };
        let merged = shape("true");
        let pull = Event::read(&merged).unwrap().pull_request().unwrap();
        assert!(pull.is_merge() && !pull.is_close());
        assert_eq!((pull.additions, pull.language.as_deref()), (Some(3), Some("Rust")));
        for not_merged in ["false", "null"] {
            let text = shape(not_merged);
            let pull = Event::read(&text).unwrap().pull_request().unwrap();
            assert!(pull.is_close() && !pull.is_merge());
        }
    }

    #[test]
    fn other_types_have_no_pull_request() {
        let text = TODAY.replace("PullRequestEvent", "PullRequestReviewEvent");
        assert_eq!(Event::read(&text).unwrap().pull_request(), None);
    }

    #[test]
    fn missing_and_odd_fields_are_accepted() {
        for text in [
            r#"{"id":"1"}"#,
            r#"{"type":"NewEvent"}"#,
            r#"{"id":17,"type":null,"actor":null,"repo":[],"payload":"x","created_at":5}"#,
            r#"{"id":"abc","type":"PullRequestEvent","payload":{"pull_request":null}}"#,
            r#"{"id":"1","id":"2","type":"PushEvent"}"#,
        ] {
            assert!(Event::read(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn error_names_why_text_is_not_an_event() {
        assert_eq!(Event::read("[]").unwrap_err(), InvalidEvent::NotAnObject);
        assert_eq!(Event::read("null").unwrap_err(), InvalidEvent::NotAnObject);
        assert_eq!(Event::read(r#"{"message":"x"}"#).unwrap_err(), InvalidEvent::Nameless);
        let large = "x".repeat(EVENT_BYTES + WRITTEN_BACK_BYTES);
        let large = format!(r#"{{"id":"1","type":"A","x":"{large}"}}"#);
        assert_eq!(Event::read(&large).unwrap_err(), InvalidEvent::TooLarge(large.len()));
    }

    #[test]
    fn events_without_an_id_differ_by_their_text() {
        let one = Event::read(r#"{"type":"A","n":1}"#).unwrap().key;
        let two = Event::read(r#"{"type":"A","n":2}"#).unwrap().key;
        assert_ne!(one, two);
        let spaced = Event::read("{ \"type\": \"A\",\n\"n\": 1 }").unwrap();
        assert_eq!(spaced.key, one, "white space is not part of it");
        assert_eq!(Event::read(&spaced.compact()).unwrap().key, one);
    }

    #[test]
    fn only_canonical_numbers_are_numbers() {
        assert_eq!(EventId::read("\"7\""), EventId::read("7"));
        assert_ne!(EventId::read("\"007\""), EventId::read("\"7\""));
        assert_eq!(EventId::read("\"18446744073709551615\""), Some(EventId::Number(u64::MAX)));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,300}") {
            let _ = Event::read(&text).map(|event| event.pull_request().map(|p| p.is_merge()));
        }
    }
}
