//! Writes JSON objects with their keys in the given order.
//!
//! `serde_json` sorts the keys of its maps; GitHub's events begin with `id` and `type`, and
//! readers of the feed expect them there. Values are kept as text, so an event is encoded once.

use std::fmt::{Display, Write};

use crate::model::json;

/// A JSON object being written.
pub(super) struct Object(String);

impl Object {
    /// An object without keys.
    pub(super) fn new() -> Self {
        Self(String::from("{"))
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{key}\":");
    }

    /// Adds a member whose value is already JSON.
    pub(super) fn raw(mut self, key: &str, json: &str) -> Self {
        self.key(key);
        self.0.push_str(json);
        self
    }

    /// Adds a string member.
    pub(super) fn text(self, key: &str, value: &str) -> Self {
        self.raw(key, &json::encoded(value))
    }

    /// Adds a string member that may be null.
    pub(super) fn maybe(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.null(key),
        }
    }

    /// Adds a number, a boolean, or any value that prints as JSON.
    pub(super) fn bare(mut self, key: &str, value: impl Display) -> Self {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    /// Adds a null member.
    pub(super) fn null(self, key: &str) -> Self {
        self.raw(key, "null")
    }

    /// The object with more members, where this holds.
    pub(super) fn when(self, holds: bool, add: impl FnOnce(Self) -> Self) -> Self {
        if holds { add(self) } else { self }
    }

    /// Adds string members that are `base` followed by a suffix.
    pub(super) fn links(mut self, base: &str, links: &[(&str, &str)]) -> Self {
        for (key, tail) in links {
            self.key(key);
            let _ = write!(self.0, "\"{base}{tail}\"");
        }
        self
    }

    /// The object as text.
    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A JSON list of values that are already JSON.
pub(super) fn list<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> String {
    let mut out = String::from("[");
    for value in values {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(value.as_ref());
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_the_order_of_its_keys() {
        let json = Object::new()
            .text("id", "7")
            .bare("a", 1)
            .maybe("b", None)
            .raw("c", &list(["1", "{}"]))
            .links("https://x", &[("url", "/y")])
            .end();
        assert_eq!(json, r#"{"id":"7","a":1,"b":null,"c":[1,{}],"url":"https://x/y"}"#);
        assert_eq!(Object::new().end(), "{}");
        assert_eq!(list::<&str>([]), "[]");
    }

    #[test]
    fn texts_are_escaped() {
        let json = Object::new().text("t", "a \"b\"\n").end();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["t"], "a \"b\"\n");
    }
}
