//! The values of the rows that move along the way, each behind a version byte.

use super::error::StoreError;
use super::keys::{InboxKey, Key as _, OutboxKey};
use crate::model::envelope::Facts;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::Timestamp;

const VERSION: u8 = 1;

/// The value of an [`InboxKey`]: when the event was received.
#[must_use]
pub fn encode_inbox(received_at: Timestamp) -> [u8; 9] {
    let mut out = [VERSION; 9];
    out[1..].copy_from_slice(&received_at.micros().to_be_bytes());
    out
}

/// Reads it.
pub fn decode_inbox(key: InboxKey, value: &[u8]) -> Result<Timestamp, StoreError> {
    let read = || {
        let micros = value.strip_prefix(&[VERSION])?.try_into().ok()?;
        Some(Timestamp::from_micros(i64::from_be_bytes(micros)))
    };
    read().ok_or_else(|| StoreError::corrupt("inbox", &key.to_bytes()))
}

/// The value of an [`OutboxKey`]: whose body, and what was added.
#[must_use]
pub fn encode_outbox(admission: u64, facts: &Facts) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    out.push(VERSION);
    out.extend_from_slice(&admission.to_be_bytes());
    facts.encode(&mut out);
    out
}

/// Reads it.
pub fn decode_outbox(key: OutboxKey, value: &[u8]) -> Result<(u64, Facts), StoreError> {
    let read = || {
        let (admission, rest) = value.strip_prefix(&[VERSION])?.split_first_chunk::<8>()?;
        let (facts, rest) = Facts::decode(rest)?;
        rest.is_empty().then_some((u64::from_be_bytes(*admission), facts))
    };
    read().ok_or_else(|| StoreError::corrupt("outbox", &key.to_bytes()))
}

/// The value of a cursor.
#[must_use]
pub fn encode_cursor(cursor: Cursor) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&cursor.tag.0.to_be_bytes());
    out.extend_from_slice(&cursor.position.to_bytes());
    out
}

/// Reads it.
pub fn decode_cursor(name: &str, value: &[u8]) -> Result<Cursor, StoreError> {
    let read = || {
        let (tag, rest) = value.strip_prefix(&[VERSION])?.split_first_chunk::<4>()?;
        let position = Position::from_bytes(rest.try_into().ok()?);
        Some(Cursor { tag: BusTag(u32::from_be_bytes(*tag)), position })
    };
    read().ok_or_else(|| StoreError::corrupt("cursors", name.as_bytes()))
}

/// The value of an entry of the reject or dead-letter log. The text is cut at [`LOGGED_BYTES`].
#[must_use]
pub fn encode_refused(at: Timestamp, reason: &str, text: &[u8]) -> Vec<u8> {
    let text = &text[..text.len().min(LOGGED_BYTES)];
    let reason = reason.as_bytes();
    let mut out = Vec::with_capacity(13 + reason.len() + text.len());
    out.push(VERSION);
    out.extend_from_slice(&at.micros().to_be_bytes());
    let length = u32::try_from(reason.len()).expect("reasons are our own words");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(reason);
    out.extend_from_slice(text);
    out
}

/// Reads it: when, why, and what it was. `None` for anything else.
#[must_use]
pub fn decode_refused(value: &[u8]) -> Option<(Timestamp, String, Vec<u8>)> {
    let (at, rest) = value.strip_prefix(&[VERSION])?.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (reason, text) = rest.split_at_checked(length)?;
    let reason = String::from_utf8(reason.to_vec()).ok()?;
    Some((Timestamp::from_micros(i64::from_be_bytes(*at)), reason, text.to_vec()))
}

/// How much of a refused text is kept.
pub const LOGGED_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_from_their_bytes() {
        let at = Timestamp::from_micros(5);
        assert_eq!(decode_inbox(InboxKey(1), &encode_inbox(at)).unwrap(), at);
        let facts = Facts { received_at: at, additions: Some(3), ..Facts::default() };
        let outbox = encode_outbox(7, &facts);
        assert_eq!(decode_outbox(OutboxKey(1), &outbox).unwrap(), (7, facts));
        let cursor = Cursor { tag: BusTag(3), position: Position::counted(9) };
        assert_eq!(decode_cursor("x", &encode_cursor(cursor)).unwrap(), cursor);
        let refused = encode_refused(at, "why", b"what");
        assert_eq!(decode_refused(&refused), Some((at, "why".to_owned(), b"what".to_vec())));
    }

    #[test]
    fn other_bytes_are_damage_and_never_a_panic() {
        for bytes in [&b""[..], b"\x01", b"\x02aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", b"\x01aaaaaaaaa\xff"]
        {
            assert!(decode_inbox(InboxKey(1), bytes).is_err());
            assert!(decode_outbox(OutboxKey(1), bytes).is_err());
            assert!(decode_cursor("x", bytes).is_err());
            assert_eq!(decode_refused(&bytes[..bytes.len().min(9)]), None);
        }
    }
}
