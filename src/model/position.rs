//! Positions on the bus, and cursors: the text by which a subscriber resumes.
//!
//! A position has Pulsar's parts: ledger, entry, and index in the batch; the embedded bus counts
//! entries. A cursor is a position with the tag of its bus, so that a cursor of another bus, or of
//! a store that was since replaced, is recognized and never used as a position here.
//!
//! Within a tag the texts sort as the positions do: each number is written as one letter for the
//! number of its hexadecimal digits, followed by the digits.

use std::fmt;
use std::str::FromStr;

/// Identifies a bus. A new store has a new tag for its embedded bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BusTag(pub u32);

/// A position on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Pulsar's ledger; 0 on the embedded bus.
    pub ledger: u64,
    /// Pulsar's entry; a counter that begins at 1 on the embedded bus.
    pub entry: u64,
    /// Index in the entry's batch; 0 without batches.
    pub index: u32,
}

/// A cursor, which is opaque to subscribers and the same on each node of one bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    /// The bus.
    pub tag: BusTag,
    /// The position on it.
    pub position: Position,
}

/// A text that is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid cursor `{0}`: use one exactly as it was sent, such as {example}", example = example())]
pub struct InvalidCursor(String);

impl InvalidCursor {
    /// The error for a text, of which only the beginning is kept.
    pub(super) fn of(text: &str) -> Self {
        Self(text.chars().take(80).collect())
    }
}

impl Position {
    /// The position of the `n`th entry of the embedded bus.
    #[must_use]
    pub fn counted(n: u64) -> Self {
        Self { ledger: 0, entry: n, index: 0 }
    }

    /// The last position before this one; `None` for the first.
    #[must_use]
    pub fn before(self) -> Option<Self> {
        let Self { ledger, entry, index } = self;
        match (ledger, entry, index) {
            (0, 0, 0) => None,
            (0, _, 0) | (_, 1.., 0) => Some(Self { ledger, entry: entry - 1, index: u32::MAX }),
            (_, 0, 0) => Some(Self { ledger: ledger - 1, entry: u64::MAX, index: u32::MAX }),
            _ => Some(Self { ledger, entry, index: index - 1 }),
        }
    }

    /// The first position after this one; the last position returns itself.
    #[must_use]
    pub fn next(self) -> Self {
        let Self { ledger, entry, index } = self;
        if let Some(index) = index.checked_add(1) {
            return Self { ledger, entry, index };
        }
        if let Some(entry) = entry.checked_add(1) {
            return Self { ledger, entry, index: 0 };
        }
        ledger.checked_add(1).map_or(self, |ledger| Self { ledger, entry: 0, index: 0 })
    }

    /// 20 bytes that sort as the positions do.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.ledger.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.entry.to_be_bytes());
        bytes[16..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        let (ledger, rest) = bytes.split_first_chunk::<8>().expect("20 bytes hold 8");
        let (entry, rest) = rest.split_first_chunk::<8>().expect("12 bytes hold 8");
        let (index, _) = rest.split_first_chunk::<4>().expect("4 bytes hold 4");
        Self {
            ledger: u64::from_be_bytes(*ledger),
            entry: u64::from_be_bytes(*entry),
            index: u32::from_be_bytes(*index),
        }
    }
}

fn example() -> Cursor {
    Cursor { tag: BusTag(0x51a7_0c3e), position: Position::counted(0x1f4) }
}

/// Writes `b` for no digits (zero), `c` for one, and so on up to `r` for sixteen, then the digits.
pub(super) fn write_number(f: &mut fmt::Formatter<'_>, number: u64) -> fmt::Result {
    let digits = (64 - number.leading_zeros()).div_ceil(4);
    let mut text = [b'b' + u8::try_from(digits).expect("at most 16 digits"); 17];
    for place in 0..digits {
        let digit = usize::try_from((number >> (4 * place)) & 15).expect("it is less than 16");
        text[digits as usize - place as usize] = b"0123456789abcdef"[digit];
    }
    f.write_str(str::from_utf8(&text[..=digits as usize]).expect("it is ASCII"))
}

pub(super) fn read_number<'a>(text: &'a str, rest: &mut &'a str) -> Option<u64> {
    let digits = usize::from(text.bytes().next()?.checked_sub(b'b')?);
    if digits > 16 {
        return None;
    }
    let written = text.get(1..=digits)?;
    *rest = text.get(1 + digits..)?;
    if digits == 0 {
        return Some(0);
    }
    if written.starts_with('0') || written.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    u64::from_str_radix(written, 16).ok()
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-", self.tag.0)?;
        write_number(f, self.position.ledger)?;
        write_number(f, self.position.entry)?;
        write_number(f, u64::from(self.position.index))
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let read = || {
            let (tag, mut rest) = text.split_once('-')?;
            let tag = u32::from_str_radix(tag, 16).ok()?;
            let ledger = read_number(rest, &mut rest)?;
            let entry = read_number(rest, &mut rest)?;
            let index = u32::try_from(read_number(rest, &mut rest)?).ok()?;
            let cursor = Self { tag: BusTag(tag), position: Position { ledger, entry, index } };
            // Each cursor has exactly one text.
            (rest.is_empty() && cursor.to_string() == text).then_some(cursor)
        };
        read().ok_or_else(|| InvalidCursor::of(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn positions() -> impl Strategy<Value = Position> {
        let number = prop_oneof![any::<u64>(), 0..300_u64, Just(u64::MAX)];
        (number.clone(), number, any::<u32>()).prop_map(|(ledger, entry, index)| Position {
            ledger,
            entry,
            index: index % 1_000,
        })
    }

    #[test]
    fn text_of_a_cursor_never_changes() {
        assert_eq!(example().to_string(), "51a70c3e-be1f4b");
    }

    #[test]
    fn other_spellings_of_a_cursor_are_refused() {
        for text in ["51A70C3E-be1f4b", "+1a70c3e-be1f4b", "51a70c3e-be1F4b", "51a70c3e-be1f4bb"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
        assert!("51a70c3e-bd1fb".parse::<Cursor>().is_ok());
        for text in ["51a70c3e-bd0fb", "51a70c3e-bd+fb", "51a70c3e-bd1Fb"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn behind_a_position_comes_the_next_index_then_the_next_entry() {
        let at = |entry, index| Position { ledger: 3, entry, index };
        assert_eq!(at(5, 7).next(), at(5, 8));
        assert_eq!(at(5, u32::MAX).next(), at(6, 0));
        assert_eq!(at(5, 8).before(), Some(at(5, 7)));
        assert_eq!(at(6, 0).before(), Some(at(5, u32::MAX)));
        let last = Position { ledger: 2, entry: u64::MAX, index: u32::MAX };
        assert_eq!(at(0, 0).before(), Some(last));
        assert_eq!(Position::default().before(), None);
    }

    proptest! {
        #[test]
        fn text_and_bytes_sort_as_positions_do(a in positions(), b in positions()) {
            let tag = BusTag(7);
            let (x, y) = (Cursor { tag, position: a }, Cursor { tag, position: b });
            prop_assert_eq!(x.to_string().cmp(&y.to_string()), a.cmp(&b));
            prop_assert_eq!(a.to_bytes().cmp(&b.to_bytes()), a.cmp(&b));
            prop_assert_eq!(x.to_string().parse::<Cursor>(), Ok(x));
            prop_assert_eq!(Position::from_bytes(a.to_bytes()), a);
        }

        #[test]
        fn other_text_never_panics(text in ".{0,40}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
