//! What travels on the bus: an event and the facts that were added to it.
//!
//! The event stays text. Facts that belong at an old place of the event (`merged` today; what
//! enrichment asks for later) are written back into that text by [`written_back`], never over a
//! value that GitHub sent. The bytes of [`Facts::encode`] are kept in the store: they begin with
//! a version and may only grow by new versions.

use std::sync::Arc;

use super::event::Event;
use super::json;
use super::window::Timestamp;

/// An event with its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What was added.
    pub facts: Facts,
    /// The event as compact JSON, facts written back.
    pub event: Arc<str>,
}

/// What is known about an event beside itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// When it was first seen here: what windows count by.
    pub received_at: Timestamp,
    /// What it counts as.
    pub flags: Flags,
    /// Whether nothing is missing that a pull-request event should have.
    pub enriched: bool,
    /// Language of the base repository, of pull-request events.
    pub language: Option<String>,
    /// Lines added, of pull-request events.
    pub additions: Option<u64>,
    /// Lines deleted, of pull-request events.
    pub deletions: Option<u64>,
}

/// The seven flags of the payload; each counts one or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "seven flags are what the wire has")]
pub struct Flags {
    /// A pull-request event of any action.
    pub pr: bool,
    /// It was opened.
    pub open: bool,
    /// It was merged.
    pub merge: bool,
    /// It was closed without a merge.
    pub close: bool,
    /// This developer's first pull-request event of the UTC day.
    pub dev_day: bool,
    /// This developer's first of the UTC year.
    pub dev_year: bool,
    /// This repository's first of the UTC year.
    pub repo_year: bool,
}

/// The first byte of encoded facts.
const VERSION: u8 = 1;

impl Facts {
    /// What the event says by itself: its action's flags, and what GitHub sent of language and
    /// lines. First-time flags are claimed later.
    #[must_use]
    pub fn of(event: &Event<'_>, received_at: Timestamp) -> Self {
        let Some(pull) = event.pull_request() else {
            return Self { received_at, enriched: true, ..Self::default() };
        };
        let flags = Flags {
            pr: true,
            open: pull.is_open(),
            merge: pull.is_merge(),
            close: pull.is_close(),
            ..Flags::default()
        };
        Self {
            received_at,
            flags,
            enriched: pull.additions.is_some() && pull.deletions.is_some(),
            language: pull.language.map(std::borrow::Cow::into_owned),
            additions: pull.additions,
            deletions: pull.deletions,
        }
    }

    /// Appends the bytes that the store keeps.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.received_at.micros().to_be_bytes());
        out.push(self.flags.to_bits());
        let present = u8::from(self.enriched)
            | u8::from(self.language.is_some()) << 1
            | u8::from(self.additions.is_some()) << 2
            | u8::from(self.deletions.is_some()) << 3;
        out.push(present);
        for number in [self.additions, self.deletions].into_iter().flatten() {
            out.extend_from_slice(&number.to_be_bytes());
        }
        if let Some(language) = &self.language {
            let length = u32::try_from(language.len()).expect("an event is smaller than 4 GiB");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(language.as_bytes());
        }
    }

    /// Reads what [`Self::encode`] wrote and gives the bytes behind it; `None` for any others.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&[version], rest) = bytes.split_first_chunk::<1>()?;
        if version != VERSION {
            return None;
        }
        let (received_at, rest) = rest.split_first_chunk::<8>()?;
        let (&[flags, present], mut rest) = rest.split_first_chunk::<2>()?;
        let mut number = |is_there: bool| -> Option<Option<u64>> {
            if !is_there {
                return Some(None);
            }
            let (number, behind) = rest.split_first_chunk::<8>()?;
            rest = behind;
            Some(Some(u64::from_be_bytes(*number)))
        };
        let additions = number(present & 4 != 0)?;
        let deletions = number(present & 8 != 0)?;
        let mut language = None;
        if present & 2 != 0 {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let (text, behind) = behind.split_at_checked(length)?;
            language = Some(String::from_utf8(text.to_vec()).ok()?);
            rest = behind;
        }
        let facts = Self {
            received_at: Timestamp::from_micros(i64::from_be_bytes(*received_at)),
            flags: Flags::from_bits(flags),
            enriched: present & 1 != 0,
            language,
            additions,
            deletions,
        };
        Some((facts, rest))
    }
}

impl Flags {
    /// Their names on the wire, in its order, with their values.
    #[must_use]
    pub fn named(self) -> [(&'static str, bool); 7] {
        [
            ("pr", self.pr),
            ("open", self.open),
            ("merge", self.merge),
            ("close", self.close),
            ("devDay", self.dev_day),
            ("devYear", self.dev_year),
            ("repoYear", self.repo_year),
        ]
    }

    fn to_bits(self) -> u8 {
        self.named().iter().enumerate().fold(0, |bits, (i, (_, set))| bits | u8::from(*set) << i)
    }

    fn from_bits(bits: u8) -> Self {
        let set = |i: u8| bits & (1 << i) != 0;
        Self {
            pr: set(0),
            open: set(1),
            merge: set(2),
            close: set(3),
            dev_day: set(4),
            dev_year: set(5),
            repo_year: set(6),
        }
    }
}

/// The event as readers get it: compact, with `merged` written back from the action where GitHub
/// left it out of a pull request.
#[must_use]
pub fn written_back(event: &Event<'_>) -> String {
    let whole = event.text;
    let lacking = event.pull_request().filter(super::event::PullRequest::lacks_merged);
    let place = lacking.as_ref().and_then(|pull| {
        let object = pull.object?;
        Some((pull, object, json::offset_in(whole, object)?))
    });
    let Some((pull, object, offset)) = place else {
        return json::compact(whole).into_owned();
    };
    let end = offset + object.len() - 1;
    let comma = if object[1..object.len() - 1].trim().is_empty() { "" } else { "," };
    let merged = format!("{comma}\"merged\":{}", pull.is_merge());
    let text = [&whole[..end], &merged, &whole[end..]].concat();
    match json::compact(&text) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(compact) => compact,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts() -> impl Strategy<Value = Facts> {
        let number = || prop::option::of(any::<u64>());
        (any::<i64>(), any::<u8>(), any::<bool>(), prop::option::of(".{0,20}"), number(), number())
            .prop_map(|(at, flags, enriched, language, additions, deletions)| Facts {
                received_at: Timestamp::from_micros(at),
                flags: Flags::from_bits(flags),
                enriched,
                language,
                additions,
                deletions,
            })
    }

    #[test]
    fn the_bytes_of_facts_stay() {
        let facts = Facts {
            received_at: Timestamp::from_micros(0x0102_0304),
            flags: Flags { pr: true, merge: true, repo_year: true, ..Flags::default() },
            enriched: true,
            language: Some("C".to_owned()),
            additions: Some(5),
            deletions: None,
        };
        let mut bytes = Vec::new();
        facts.encode(&mut bytes);
        let golden = [1, 0, 0, 0, 0, 1, 2, 3, 4, 0x45, 7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, b'C'];
        assert_eq!(bytes, golden);
    }

    #[test]
    fn merged_is_written_back_from_the_action_alone() {
        let read = |text: &str| written_back(&Event::read(text).unwrap());
        assert_eq!(
            read(
                r#"{"id":"1","type":"PullRequestEvent","payload":{"action":"merged","pull_request":{"id":3}}}"#
            ),
            r#"{"id":"1","type":"PullRequestEvent","payload":{"action":"merged","pull_request":{"id":3,"merged":true}}}"#
        );
        assert_eq!(
            read(
                r#"{"id":"1", "type":"PullRequestEvent","payload":{"action":"closed","pull_request":{ }}}"#
            ),
            r#"{"id":"1","type":"PullRequestEvent","payload":{"action":"closed","pull_request":{"merged":false}}}"#
        );
    }

    #[test]
    fn a_value_that_github_sent_stays() {
        for text in [
            r#"{"id":"1","type":"PullRequestEvent","payload":{"action":"merged","pull_request":{"merged":null}}}"#,
            r#"{"id":"1","type":"PullRequestEvent","payload":{"action":"opened","pull_request":null}}"#,
            r#"{"id":"1","type":"PushEvent","payload":{"pull_request":{"id":1}}}"#,
        ] {
            assert_eq!(written_back(&Event::read(text).unwrap()), text);
        }
    }

    proptest! {
        #[test]
        fn facts_come_back_from_their_bytes(facts in facts(), behind in any::<Vec<u8>>()) {
            let mut bytes = Vec::new();
            facts.encode(&mut bytes);
            bytes.extend_from_slice(&behind);
            prop_assert_eq!(Facts::decode(&bytes), Some((facts, behind.as_slice())));
        }

        #[test]
        fn any_bytes_decode_without_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = Facts::decode(&bytes);
        }
    }
}
