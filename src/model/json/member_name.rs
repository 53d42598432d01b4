//! Names of members.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

/// The name of a member, from its quoted text.
pub(super) fn name(quoted: &str) -> Option<Cow<'_, [u8]>> {
    let mut reader = serde_json::Deserializer::from_str(quoted);
    MemberName::deserialize(&mut reader).ok().map(|MemberName(name)| name)
}

/// A member's name, borrowed when it has no escapes. It is bytes, because JSON allows an unpaired
/// surrogate in a name, and such a name must not hide the other members.
pub(super) struct MemberName<'a>(pub(super) Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for MemberName<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_bytes(NameVisitor).map(Self)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_bytes<E>(self, name: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_vec()))
    }
}
