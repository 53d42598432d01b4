//! The resume token of counts: the last counted event, and the hash of the value.
//!
//! A window changes even without new events, so a position alone does not identify the value that a
//! subscriber has. The hash does: a returning subscriber gets the delta from exactly that value to
//! the current one, whichever node sent it, or else a snapshot. The token's text is the cursor's,
//! followed by `~` and sixteen hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use super::position::{Cursor, InvalidCursor};

/// The token with which a subscriber of counts resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeToken {
    /// The last counted event.
    pub cursor: Cursor,
    /// The hash of the value; `None` when a delta from it is impossible.
    pub value: Option<u64>,
}

const DIGITS: usize = 16;

impl fmt::Display for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cursor)?;
        self.value.map_or(Ok(()), |value| write!(f, "~{value:0DIGITS$x}"))
    }
}

impl FromStr for ResumeToken {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let Some((cursor, value)) = text.split_once('~') else {
            return Ok(Self { cursor: text.parse()?, value: None });
        };
        let is_hash = value.len() == DIGITS
            && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let value = u64::from_str_radix(value, 16).ok().filter(|_| is_hash);
        let read = cursor.parse().ok().zip(value);
        let (cursor, value) = read.ok_or_else(|| InvalidCursor::of(text))?;
        Ok(Self { cursor, value: Some(value) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_token_is_a_cursor_and_the_hash_of_a_value() {
        let cursor: Cursor = "51a70c3e-be1f4b".parse().unwrap();
        for (text, value) in [
            ("51a70c3e-be1f4b", None),
            ("51a70c3e-be1f4b~00000000000000ff", Some(255)),
            ("51a70c3e-be1f4b~ffffffffffffffff", Some(u64::MAX)),
        ] {
            assert_eq!(text.parse(), Ok(ResumeToken { cursor, value }));
            assert_eq!(ResumeToken { cursor, value }.to_string(), text);
        }
        for wrong in [
            "",
            "~",
            "51a70c3e-be1f4b~",
            "51a70c3e-be1f4b~ff",
            "51a70c3e-be1f4b~00000000000000FF",
            "51a70c3e-be1f4b~+0000000000000ff",
            "51a70c3e-be1f4b~00000000000000ff~",
            "~00000000000000ff",
        ] {
            assert!(wrong.parse::<ResumeToken>().is_err(), "{wrong}");
        }
    }
}
