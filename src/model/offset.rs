//! A subscriber's offset in the stream: a cursor, and how many of the entities there it has.
//!
//! Several messages may share the position of one event: the event and the entities derived from
//! it. The text of an offset is the text of its cursor; after it come `.` and the number of
//! entities when there are any. So texts sort as offsets do, and a plain cursor is the offset
//! after the event and before its entities.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::names::text_schema;
use super::position::{Cursor, InvalidCursor, read_number, write_number};

/// A subscriber's offset in the stream; it resumes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset {
    /// The cursor of the event.
    pub cursor: Cursor,
    /// The number of entities at its position that the subscriber has.
    pub entities: u32,
}

impl Offset {
    /// The offset after an event and before its entities.
    #[must_use]
    pub fn after(cursor: Cursor) -> Self {
        Self { cursor, entities: 0 }
    }
}

impl Serialize for Offset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

text_schema!(Offset);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cursor)?;
        if self.entities > 0 {
            f.write_str(".")?;
            write_number(f, u64::from(self.entities))?;
        }
        Ok(())
    }
}

impl FromStr for Offset {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let Some((cursor, entities)) = text.split_once('.') else {
            return text.parse().map(Self::after);
        };
        let read = || {
            let cursor = cursor.parse().ok()?;
            let mut rest = entities;
            let entities = u32::try_from(read_number(entities, &mut rest)?).ok()?;
            (rest.is_empty() && entities > 0).then_some(Self { cursor, entities })
        };
        read().ok_or_else(|| InvalidCursor::of(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::position::{BusTag, Position};

    fn offsets() -> impl Strategy<Value = Offset> {
        let number = prop_oneof![any::<u64>(), 0..40_u64];
        (number.clone(), number, 0..3_u32, prop_oneof![any::<u32>(), 0..3_u32]).prop_map(
            |(ledger, entry, index, entities)| Offset {
                cursor: Cursor { tag: BusTag(7), position: Position { ledger, entry, index } },
                entities,
            },
        )
    }

    proptest! {
        #[test]
        fn texts_parse_and_sort_as_offsets_do(a in offsets(), b in offsets()) {
            prop_assert_eq!(a.to_string().cmp(&b.to_string()), a.cmp(&b));
            prop_assert_eq!(a.to_string().parse::<Offset>(), Ok(a));
        }

        #[test]
        fn nothing_is_between_a_position_and_the_one_before(a in offsets(), b in offsets()) {
            let (position, other) = (a.cursor.position, b.cursor.position);
            prop_assert_eq!(position.before().is_none(), position == Position::default());
            if let Some(before) = position.before() {
                prop_assert!(before < position && (other <= before || other >= position));
            }
        }

        #[test]
        fn other_text_never_panics(text in "[0-9a-z.-]{0,30}") {
            if let Ok(offset) = text.parse::<Offset>() {
                prop_assert_eq!(offset.to_string(), text);
            }
        }
    }

    #[test]
    fn cursor_is_an_offset_without_entities() {
        let cursor: Cursor = "51a70c3e-be1f4b".parse().unwrap();
        assert_eq!("51a70c3e-be1f4b".parse::<Offset>(), Ok(Offset::after(cursor)));
        assert_eq!(Offset { cursor, entities: 3 }.to_string(), "51a70c3e-be1f4b.c3");
        for wrong in ["51a70c3e-be1f4b.", "51a70c3e-be1f4b.b", "51a70c3e-be1f4b.c3.c3", ".c3"] {
            assert!(wrong.parse::<Offset>().is_err(), "{wrong}");
        }
    }
}
