//! Encodes and decodes the values of rows. Each begins with a version byte.

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::keys::{InboxKey, JournalKey, Key as _, MinuteKey, OutboxKey};
use crate::model::envelope::Facts;
use crate::model::event::Event;
use crate::model::event_index::EventIndex;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::privacy::ExcludedNames;
use crate::model::window::Timestamp;

const VERSION: u8 = 1;
/// The version of rows of the inbox whose events come from the simulated GitHub.
const VERSION_SIMULATED: u8 = 2;
/// The version of rows of the outbox whose commits count as held bytes. Rows with commits that an
/// older version wrote have the first version, and their commits do not count.
const VERSION_COMMITS: u8 = 2;
/// The version of entries of the dead-letter queue that record their origin.
const VERSION_DEAD: u8 = 2;

/// Encodes the value of an [`InboxKey`]: when the event was received, and whether it is simulated.
#[must_use]
pub fn encode_inbox(received_at: Timestamp, is_simulated: bool) -> [u8; 9] {
    let mut out = [if is_simulated { VERSION_SIMULATED } else { VERSION }; 9];
    out[1..].copy_from_slice(&received_at.micros().to_be_bytes());
    out
}

/// Decodes the value of an [`InboxKey`].
pub fn decode_inbox(key: InboxKey, value: &[u8]) -> Result<(Timestamp, bool), StoreError> {
    let read = || {
        let [version @ (VERSION | VERSION_SIMULATED), micros @ ..] = value else { return None };
        let micros = i64::from_be_bytes(micros.try_into().ok()?);
        Some((Timestamp::from_micros(micros), *version == VERSION_SIMULATED))
    };
    read().ok_or_else(|| StoreError::corrupt("inbox", &key.to_bytes()))
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The admission that has the body.
    pub admission: u64,
    /// The event's facts.
    pub facts: Facts,
    /// Bytes of commits in the facts that count as held.
    pub commit_bytes: usize,
}

/// Encodes the value of an [`OutboxKey`]: the admission that has the body, and the event's facts.
/// The bytes of commits in the facts, [`commit_bytes`], count as held from then on.
#[must_use]
pub fn encode_outbox(admission: u64, facts: &Facts) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    out.push(if facts.push.is_some() { VERSION_COMMITS } else { VERSION });
    out.extend_from_slice(&admission.to_be_bytes());
    facts.encode(&mut out);
    out
}

/// Bytes of the commits that are written into an event when it leaves the outbox.
#[must_use]
pub fn commit_bytes(facts: &Facts) -> usize {
    facts.push.as_ref().map_or(0, |push| push.commits.len())
}

/// Decodes the value of an [`OutboxKey`].
pub fn decode_outbox(key: OutboxKey, value: &[u8]) -> Result<OutboxRow, StoreError> {
    let read = || {
        let (version, rest) = value.split_first()?;
        let (admission, rest) = rest.split_first_chunk::<8>()?;
        let (facts, rest) = Facts::decode(rest)?;
        let commit_bytes = match *version {
            VERSION => 0,
            VERSION_COMMITS => commit_bytes(&facts),
            _ => return None,
        };
        let admission = u64::from_be_bytes(*admission);
        rest.is_empty().then_some(OutboxRow { admission, facts, commit_bytes })
    };
    read().ok_or_else(|| StoreError::corrupt("outbox", &key.to_bytes()))
}

/// The first byte of a journal row with an index before the facts. A row without an index begins
/// with the facts, whose first byte is a small number.
const INDEXED: u8 = 0x80;

/// A row of the journal.
#[derive(Debug, Clone)]
pub struct JournalRow<'v> {
    /// The event's facts.
    pub facts: Facts,
    /// The event's text.
    pub event: &'v str,
    index: Option<&'v [u8]>,
}

impl JournalRow<'_> {
    /// The fields that queries select by. Rows of older versions have none, nor have events with a
    /// value that is too long.
    #[must_use]
    pub fn index(&self) -> Option<EventIndex> {
        self.index.and_then(|index| EventIndex::decode(index, &self.facts))
    }

    /// Whether the event is among what is left out now.
    pub(super) fn is_among(&self, excluded: &ExcludedNames) -> bool {
        if let Some([repo, actor, org]) = self.index.and_then(EventIndex::stored_names) {
            return excluded.hold(actor, org, repo);
        }
        Event::read(self.event).is_ok_and(|event| {
            let names = [&event.actor_login, &event.org_login, &event.repo_name];
            let [actor, org, repo] = names.map(|name| name.as_deref());
            excluded.hold(actor, org, repo)
        })
    }
}

/// Appends the value of a [`JournalKey`]. The index is stored so that a replay need not parse each
/// event.
pub fn push_journal(out: &mut Vec<u8>, index: &EventIndex, facts: &Facts, event: &str) {
    let begin = out.len();
    out.push(INDEXED);
    if !index.encode(out) {
        out.truncate(begin);
    }
    facts.encode(out);
    out.extend_from_slice(event.as_bytes());
}

/// Decodes the value of a [`JournalKey`].
pub fn decode_journal<'v>(key: &JournalKey, value: &'v [u8]) -> Result<JournalRow<'v>, StoreError> {
    let read = || {
        let (index, rest) = match value.strip_prefix(&[INDEXED]) {
            Some(rest) => EventIndex::split(rest).map(|(index, rest)| (Some(index), rest))?,
            None => (None, value),
        };
        let (facts, text) = Facts::decode(rest)?;
        Some(JournalRow { facts, event: std::str::from_utf8(text).ok()?, index })
    };
    read().ok_or_else(|| StoreError::corrupt("journal", &key.to_bytes()))
}

/// The value of a [`MinuteKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinuteRow {
    /// The lowest position of an event received in the minute.
    pub first: Position,
    /// Bytes of the minute's events in the journal.
    pub bytes: u64,
}

impl MinuteRow {
    /// Encodes the row.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut out = vec![1];
        out.extend_from_slice(&self.first.to_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out
    }

    /// Decodes a row.
    pub fn decode(key: &MinuteKey, value: &[u8]) -> Result<Self, StoreError> {
        let read = || {
            let rest = value.strip_prefix(&[1])?;
            let (first, rest) = rest.split_first_chunk::<20>()?;
            let bytes = rest.try_into().ok()?;
            Some(Self { first: Position::from_bytes(*first), bytes: u64::from_be_bytes(bytes) })
        };
        read().ok_or_else(|| StoreError::corrupt("minutes", &key.to_bytes()))
    }
}

/// Encodes a cursor.
#[must_use]
pub fn encode_cursor(cursor: Cursor) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&cursor.tag.0.to_be_bytes());
    out.extend_from_slice(&cursor.position.to_bytes());
    out
}

/// Decodes the cursor of that name.
pub fn decode_cursor(name: &str, value: &[u8]) -> Result<Cursor, StoreError> {
    let read = || {
        let (tag, rest) = value.strip_prefix(&[VERSION])?.split_first_chunk::<4>()?;
        let position = Position::from_bytes(rest.try_into().ok()?);
        Some(Cursor { tag: BusTag(u32::from_be_bytes(*tag)), position })
    };
    read().ok_or_else(|| StoreError::corrupt("cursors", name.as_bytes()))
}

/// Encodes an entry of the reject log. The text is cut at [`LOGGED_BYTES`].
#[must_use]
pub fn encode_rejected(at: Timestamp, reason: &str, text: &[u8]) -> Vec<u8> {
    entry(VERSION, at, reason.as_bytes(), &text[..text.len().min(LOGGED_BYTES)])
}

/// Encodes an entry of the dead-letter queue, with everything that a retry needs. The text is cut
/// at [`DEAD_LETTER_BYTES`]; an entry that was cut cannot be retried.
#[must_use]
pub fn encode_dead_letter(
    at: Timestamp,
    reason: &str,
    origin: &DeadLetterOrigin,
    text: &[u8],
) -> Vec<u8> {
    let whole = text.len() <= DEAD_LETTER_BYTES;
    let header = DeadLetterHeader { reason: reason.to_owned(), origin: origin.clone(), whole };
    let header = serde_json::to_vec(&header).expect("texts and numbers are JSON");
    entry(VERSION_DEAD, at, &header, &text[..text.len().min(DEAD_LETTER_BYTES)])
}

fn entry(version: u8, at: Timestamp, header: &[u8], text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(header.len()).expect("a header is shorter than a message");
    [&[version][..], &at.micros().to_be_bytes(), &length.to_be_bytes(), header, text].concat()
}

/// Decodes an entry of the reject log or the dead-letter queue; `None` for other bytes.
#[must_use]
pub fn decode_rejected(value: &[u8]) -> Option<RejectedInput> {
    let (version, rest) = value.split_first()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let at = Timestamp::from_micros(i64::from_be_bytes(*at));
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (header, text) = rest.split_at_checked(length)?;
    let text = text.to_vec();
    match *version {
        VERSION => {
            let reason = String::from_utf8(header.to_vec()).ok()?;
            Some(RejectedInput { at, reason, whole: text.len() < LOGGED_BYTES, text, origin: None })
        }
        VERSION_DEAD => {
            let DeadLetterHeader { reason, origin, whole } = serde_json::from_slice(header).ok()?;
            Some(RejectedInput { at, reason, text, whole, origin: Some(origin) })
        }
        _ => None,
    }
}

/// An entry of the reject log or of the dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedInput {
    /// When it was rejected.
    pub at: Timestamp,
    /// The reason.
    pub reason: String,
    /// Its text, or the beginning of it.
    pub text: Vec<u8>,
    /// Whether the text is complete.
    pub whole: bool,
    /// The origin of a message of the bus.
    pub origin: Option<DeadLetterOrigin>,
}

/// The origin of a dead letter: its position on the bus, and its properties.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterOrigin {
    /// Its position as a cursor.
    pub cursor: String,
    /// When it was published, microseconds since 1970.
    pub published_at: i64,
    /// Its property `received`.
    pub received: Option<String>,
    /// Its property `schema`.
    pub schema: Option<String>,
    /// Whether it has the property `simulated`.
    #[serde(default)]
    pub simulated: bool,
}

#[derive(Serialize, Deserialize)]
struct DeadLetterHeader {
    reason: String,
    #[serde(flatten)]
    origin: DeadLetterOrigin,
    whole: bool,
}

/// Bytes of an unreadable message that are kept.
pub const DEAD_LETTER_BYTES: usize = 256 << 10;

/// Bytes of a rejected text that are kept.
pub const LOGGED_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::Event;
    use crate::model::push::PushedCommits;

    #[test]
    fn rows_are_decoded_as_encoded() {
        let at = Timestamp::from_micros(5);
        for is_simulated in [false, true] {
            let inbox = encode_inbox(at, is_simulated);
            assert_eq!(decode_inbox(InboxKey(1), &inbox).unwrap(), (at, is_simulated));
        }
        let facts = Facts { received_at: at, additions: Some(3), ..Facts::default() };
        let outbox = encode_outbox(7, &facts);
        let row = OutboxRow { admission: 7, facts: facts.clone(), commit_bytes: 0 };
        assert_eq!(decode_outbox(OutboxKey(1), &outbox).unwrap(), row);
        let push = PushedCommits { size: Some(0), commits: "[]".to_owned() };
        let facts = Facts { push: Some(Box::new(push)), ..facts };
        let mut outbox = encode_outbox(7, &facts);
        let row = OutboxRow { admission: 7, facts, commit_bytes: 2 };
        assert_eq!(decode_outbox(OutboxKey(1), &outbox).unwrap(), row);
        // As older versions wrote it.
        outbox[0] = VERSION;
        let row = OutboxRow { commit_bytes: 0, ..row };
        assert_eq!(decode_outbox(OutboxKey(1), &outbox).unwrap(), row);
        let cursor = Cursor { tag: BusTag(3), position: Position::counted(9) };
        assert_eq!(decode_cursor("x", &encode_cursor(cursor)).unwrap(), cursor);
        let refused = encode_rejected(at, "why", b"what");
        let reason = "why".to_owned();
        let wanted =
            RejectedInput { at, reason, text: b"what".to_vec(), whole: true, origin: None };
        assert_eq!(decode_rejected(&refused), Some(wanted.clone()));
        let origin = DeadLetterOrigin {
            cursor: cursor.to_string(),
            published_at: 7,
            received: Some("8".to_owned()),
            schema: None,
            simulated: true,
        };
        let dead = encode_dead_letter(at, "why", &origin, b"what");
        assert_eq!(
            decode_rejected(&dead),
            Some(RejectedInput { origin: Some(origin.clone()), ..wanted })
        );
        let cut = decode_rejected(&encode_dead_letter(
            at,
            "",
            &origin,
            &vec![b'x'; DEAD_LETTER_BYTES + 1],
        ));
        let cut = cut.unwrap();
        assert!(!cut.whole && cut.text.len() == DEAD_LETTER_BYTES);
    }

    #[test]
    fn journal_rows_have_an_index_or_none() {
        let key = JournalKey { tag: BusTag(3), position: Position::counted(9) };
        let text = r#"{"id":"7","type":"PushEvent","repo":{"name":"a/b"}}"#;
        let facts = Facts { language: Some("Go".to_owned()), ..Facts::default() };
        let head = EventIndex::of(&Event::read(text).unwrap(), &facts);
        let mut with = Vec::new();
        push_journal(&mut with, &head, &facts, text);
        let row = decode_journal(&key, &with).unwrap();
        assert_eq!((row.index(), row.event, &row.facts), (Some(head.clone()), text, &facts));

        let mut without = Vec::new();
        facts.encode(&mut without);
        without.extend_from_slice(text.as_bytes());
        let row = decode_journal(&key, &without).unwrap();
        assert_eq!((row.index(), row.event, &row.facts), (None, text, &facts));

        let long = format!(r#"{{"id":"7","repo":{{"name":"{}"}}}}"#, "n".repeat(70_000));
        let head = EventIndex::of(&Event::read(&long).unwrap(), &facts);
        let mut bytes = Vec::new();
        push_journal(&mut bytes, &head, &facts, &long);
        let row = decode_journal(&key, &bytes).unwrap();
        assert_eq!((row.index(), row.event), (None, &*long));

        for end in 0..with.len() - text.len() {
            assert!(decode_journal(&key, &with[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn other_bytes_are_an_error_and_never_a_panic() {
        for bytes in [
            &b""[..],
            b"\x01",
            b"\x03\0\0\0\0\0\0\0\0",
            b"\x02\0\0\0\0\0\0\0\0\0\0\0\x09{}",
            b"\x02aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            b"\x01aaaaaaaaa\xff",
        ] {
            assert!(decode_inbox(InboxKey(1), bytes).is_err());
            assert!(decode_outbox(OutboxKey(1), bytes).is_err());
            assert!(decode_cursor("x", bytes).is_err());
            assert_eq!(decode_rejected(&bytes[..bytes.len().min(9)]), None);
        }
    }
}
