//! The parts of keys, and their bytes.

use crate::model::activity::Span;
use crate::model::entity::ObjectId;
use crate::model::event::{EventId, EventKey};
use crate::model::gap::GapReason;
use crate::model::position::{BusTag, Position};
use crate::model::window::{Day, Hour, Minute, Month, Second};

/// A part of a key. Its bytes sort as its values do.
pub(in crate::store) trait KeyPart: Sized {
    /// Appends its bytes.
    fn push(&self, out: &mut Vec<u8>);
    /// Takes it from the front of a key; `None` for other bytes.
    fn take(rest: &mut &[u8]) -> Option<Self>;
}

/// Parts of a fixed number of bytes, from and to an array of them.
macro_rules! fixed {
    ($($part:ident: $to:expr, $from:expr;)*) => {$(
        impl KeyPart for $part {
            fn push(&self, out: &mut Vec<u8>) {
                let to: fn($part) -> _ = $to;
                out.extend_from_slice(&to(*self));
            }

            fn take(rest: &mut &[u8]) -> Option<Self> {
                let (part, after) = rest.split_first_chunk()?;
                *rest = after;
                Some($from(*part))
            }
        }
    )*};
}

fixed! {
    u8: u8::to_be_bytes, u8::from_be_bytes;
    u32: u32::to_be_bytes, u32::from_be_bytes;
    u64: u64::to_be_bytes, u64::from_be_bytes;
    i32: |n| (n.cast_unsigned() ^ (1 << 31)).to_be_bytes(),
        |bytes| (u32::from_be_bytes(bytes) ^ (1 << 31)).cast_signed();
    i64: |n| (n.cast_unsigned() ^ (1 << 63)).to_be_bytes(),
        |bytes| (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed();
    Position: Position::to_bytes, Position::from_bytes;
    ObjectId: ObjectId::to_bytes, ObjectId::from_bytes;
}

/// Parts that wrap another.
macro_rules! wrapped {
    ($($part:ident)*) => {$(
        impl KeyPart for $part {
            fn push(&self, out: &mut Vec<u8>) {
                self.0.push(out);
            }

            fn take(rest: &mut &[u8]) -> Option<Self> {
                KeyPart::take(rest).map(Self)
            }
        }
    )*};
}

wrapped! { Day Month Second Minute Hour BusTag }

/// Parts of one byte: an enum with its numbers.
macro_rules! numbered {
    ($($part:ident)*) => {$(
        impl $crate::store::keys::part::KeyPart for $part {
            fn push(&self, out: &mut Vec<u8>) {
                out.push(*self as u8);
            }

            fn take(rest: &mut &[u8]) -> Option<Self> {
                let number: u8 = $crate::store::keys::part::KeyPart::take(rest)?;
                Self::ALL.into_iter().find(|known| *known as u8 == number)
            }
        }
    )*};
}
pub(in crate::store) use numbered;

numbered! { Span GapReason }

/// A text takes the rest of the key.
impl KeyPart for String {
    fn push(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        String::from_utf8(std::mem::take(rest).to_vec()).ok()
    }
}

impl KeyPart for EventKey {
    fn push(&self, out: &mut Vec<u8>) {
        match &self.id {
            EventId::Number(number) => {
                out.push(0);
                number.push(out);
            }
            EventId::Text(text) => {
                out.push(1);
                u32::try_from(text.len()).expect("ids in keys are short").push(out);
                out.extend_from_slice(text.as_bytes());
            }
        }
        out.extend_from_slice(self.kind.as_bytes());
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        let id = match u8::take(rest)? {
            0 => EventId::Number(u64::take(rest)?),
            1 => {
                let length = usize::try_from(u32::take(rest)?).ok()?;
                let (mut text, after) = rest.split_at_checked(length)?;
                *rest = after;
                EventId::Text(String::take(&mut text)?)
            }
            _ => return None,
        };
        Some(Self { id, kind: String::take(rest)? })
    }
}
