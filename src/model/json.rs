//! Picks values out of JSON text without parsing it into a model: a value is a slice of the text.
//!
//! In GitHub's payloads any field may be missing, null, repeated, or of another type. So there is
//! no model: code picks the few members that it needs, and the rest stays text, to the last digit.
//! Of repeated members the last one counts, as in every common parser.

mod find;
mod member_name;
mod pieces;

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

pub use self::find::{FoundValues, PathSet, find, walk};
use self::member_name::{MemberName, name};
pub use self::pieces::{BrokenPiece, PieceError, pieces};

/// The members with these names, as text; all `None` when `json` is not an object.
#[must_use]
pub fn pick<'a, const N: usize>(json: &'a str, names: [&str; N]) -> [Option<&'a str>; N] {
    let paths = names.map(|name| [name]);
    find(json, std::array::from_fn(|i| &paths[i][..])).values
}

/// The value at a path of member names; `None` where the path leads nowhere.
#[must_use]
pub fn at<'a>(json: &'a str, path: &[impl AsRef<str>]) -> Option<&'a str> {
    // Level by level, without recursion: a client's path may be long.
    path.iter().try_fold(json, |value, name| pick(value, [name.as_ref()])[0])
}

/// The first values of a JSON list, up to `most`; none when `json` is not a list.
#[must_use]
pub fn items(json: &str, most: usize) -> Vec<&str> {
    let items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
    items.into_iter().take(most).map(RawValue::get).collect()
}

/// The text of a JSON string; `None` for any other value.
#[must_use]
pub fn text(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The text of a JSON string, for display: an unpaired surrogate is shown as U+FFFD. `None` for any
/// other value.
#[must_use]
pub fn shown(json: &str) -> Option<Cow<'_, str>> {
    text(json).or_else(|| {
        let bytes = name(json)?;
        // serde_json returns an unpaired surrogate as three bytes.
        let lossy = String::from_utf8_lossy(&bytes).replace("\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}");
        Some(Cow::Owned(lossy))
    })
}

/// The members of an object in the order of the text.
///
/// # Errors
/// When `object` is not a JSON object.
pub fn members(object: &str) -> Result<Vec<JsonMember<'_>>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(MembersVisitor)
}

/// A member of an object: its name as bytes, and its value as text.
pub type JsonMember<'a> = (Cow<'a, [u8]>, &'a str);

/// A whole number from 0 to 2^64 - 1; `None` for any other value.
#[must_use]
pub fn whole(json: &str) -> Option<u64> {
    json.parse().ok()
}

/// Whether the value is an object, by its first character.
#[must_use]
pub fn is_object(json: &str) -> bool {
    json.starts_with('{')
}

/// Whether the text is exactly one JSON object, with optional white space around it. Nesting may be
/// of any depth.
#[must_use]
pub fn is_only_object(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok_and(|value| is_object(value.get()))
}

/// The value without white space between its tokens.
#[must_use]
pub fn compact(json: &str) -> Cow<'_, str> {
    let Some(first) = first_space(json) else { return Cow::Borrowed(json) };
    let mut out = String::with_capacity(json.len());
    out.push_str(&json[..first]);
    let (mut copied, mut inside, mut escaped) = (first, false, false);
    for (i, byte) in json.bytes().enumerate().skip(first) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b' ' | b'\n' | b'\r' | b'\t' if !inside => {
                out.push_str(&json[copied..i]);
                copied = i + 1;
            }
            _ => {}
        }
    }
    out.push_str(&json[copied..]);
    Cow::Owned(out)
}

/// The offset of the first white space outside strings.
fn first_space(json: &str) -> Option<usize> {
    let mut begin = 0;
    loop {
        // Most of the text is inside strings, where only the end matters.
        let stops = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b'"');
        let at = begin + json.as_bytes()[begin..].iter().position(stops)?;
        if json.as_bytes()[at] != b'"' {
            return Some(at);
        }
        begin = end_of_string(json, at + 1)?;
    }
}

/// The offset after the string whose content begins at `begin`.
fn end_of_string(json: &str, begin: usize) -> Option<usize> {
    let mut from = begin;
    loop {
        let at = from + json[from..].find('"')?;
        let escapes = json.as_bytes()[begin..at].iter().rev().take_while(|byte| **byte == b'\\');
        if escapes.count() % 2 == 0 {
            return Some(at + 1);
        }
        from = at + 1;
    }
}

/// Appends a JSON string.
pub fn push_text(out: &mut String, text: &str) {
    let is_escaped = |byte: &u8| *byte < b' ' || matches!(byte, b'"' | b'\\');
    if text.as_bytes().iter().any(is_escaped) {
        out.push_str(&encoded(text));
    } else {
        out.extend(["\"", text, "\""]);
    }
}

/// A message or report of ours as JSON.
///
/// # Panics
///
/// If a key of a map is not text, or the value's own serialization fails.
#[must_use]
pub fn encoded<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("text and numbers can always be written as JSON")
}

/// The offset of `part` in `whole`; `None` when it is not a slice of it.
#[must_use]
pub fn offset_in(whole: &str, part: &str) -> Option<usize> {
    let offset = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (offset + part.len() <= whole.len()).then_some(offset)
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<JsonMember<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(MemberName(key)) = map.next_key::<MemberName<'de>>()? {
            members.push((key, map.next_value::<&'de RawValue>()?.get()));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn members_are_picked_as_text() {
        let json = r#"{"a":1.50,"b":{"c":"x\n"},"a":12345678901234567890123}"#;
        assert_eq!(pick(json, ["b", "z", "a"])[0], Some(r#"{"c":"x\n"}"#));
        assert_eq!(pick(json, ["z"])[0], None);
        assert_eq!(pick(json, ["a"])[0], Some("12345678901234567890123"));
        assert_eq!(at(json, &["b", "c"]), Some(r#""x\n""#));
        assert_eq!(text(r#""x\n""#).as_deref(), Some("x\n"));
    }

    #[test]
    fn other_values_have_no_members() {
        for json in ["null", "[1]", "3", "\"{}\"", "", "{\"a\":"] {
            assert_eq!(pick(json, ["a"]), [None], "{json}");
        }
    }

    #[test]
    fn first_items_of_a_list_are_picked_as_text() {
        let json = r#"[1.50, {"a":1},"x\n"]"#;
        assert_eq!(items(json, 9), ["1.50", r#"{"a":1}"#, r#""x\n""#]);
        assert_eq!(items(json, 2), ["1.50", r#"{"a":1}"#]);
        for no_list in ["", "null", "{}", "[1,", "\"[]\""] {
            assert_eq!(items(no_list, 9), Vec::<&str>::new(), "{no_list}");
        }
    }

    #[test]
    fn escaped_name_is_the_same_name() {
        assert_eq!(pick(r#"{"\u0061":1}"#, ["a"]), [Some("1")]);
    }

    #[test]
    fn unpaired_surrogate_hides_no_other_member() {
        let json = r#"{"\ud800":1,"a":"\udc00","b":{"\ud83d":{}},"c\u0000":2}"#;
        assert_eq!(
            pick(json, ["a", "b", "c\0"]),
            [Some(r#""\udc00""#), Some(r#"{"\ud83d":{}}"#), Some("2")]
        );
        assert_eq!(text(r#""\udc00""#), None);
        assert_eq!(shown(r#""a\udc00b\u00e9""#).as_deref(), Some("a\u{fffd}bé"));
        assert_eq!(shown(r#""a""#).as_deref(), Some("a"));
        assert_eq!((shown("7"), shown("null"), shown("\"")), (None, None, None));
    }

    #[test]
    fn compact_leaves_strings_alone() {
        let json = "{ \"a b\" : [ 1 ,\n\"c \\\" d\" ] }";
        assert_eq!(compact(json), r#"{"a b":[1,"c \" d"]}"#);
        assert!(matches!(compact(r#"{"a b":1}"#), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(json in ".{0,200}") {
            let _ = (pick(&json, ["a", "b"]), at(&json, &["a"]), text(&json), compact(&json));
        }

        #[test]
        fn compact_keeps_the_value(
            pretty in prop::collection::hash_map(".{0,8}", ".{0,8}", 0..4)
        ) {
            let text = serde_json::to_string_pretty(&pretty).unwrap();
            let back: std::collections::HashMap<String, String> =
                serde_json::from_str(&compact(&text)).unwrap();
            prop_assert_eq!(back, pretty);
        }
    }
}
