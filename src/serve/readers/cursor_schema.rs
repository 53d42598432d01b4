//! The schemas of cursors, as their parsers accept them. An empty cursor counts as absent.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The suffix of a cursor of counts: the hash of the value.
const HASH: &str = "(~[0-9a-f]{16})?";

/// A cursor of an event, of a document made from it, or of counts.
pub(crate) fn of_events(_: &mut SchemaGenerator) -> Schema {
    with_suffix(&format!("(\\.({})|{HASH})", number(8)))
}

/// A cursor of counts.
pub(crate) fn of_counts() -> Schema {
    with_suffix(HASH)
}

fn with_suffix(suffix: &str) -> Schema {
    let (long, short) = (number(16), number(8));
    let pattern = format!("^([0-9a-f]{{8}}-(b|{long})(b|{long})(b|{short}){suffix})?$");
    json_schema!({ "type": "string", "pattern": pattern })
}

/// A number from 1 with up to `digits` hexadecimal digits, after a letter that encodes their count.
fn number(digits: u8) -> String {
    let some = (1..=digits).map(|digits| {
        let rest = if digits > 1 { format!("[0-9a-f]{{{}}}", digits - 1) } else { String::new() };
        format!("{}[1-9a-f]{rest}", char::from(b'b' + digits))
    });
    some.collect::<Vec<_>>().join("|")
}
