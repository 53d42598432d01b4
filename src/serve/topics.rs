//! `/topics`: what there is to subscribe to, as JSON for programs and as a page for browsers.

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use http::Request;
use serde_json::{Value, json};

use super::page::{self, Text};
use super::status::wants_page;
use crate::model::routing::{ABSENT_COLLECTIONS, ABSENT_KEYS, ENTITY_TOPICS, event_topics};

/// How patterns are read, in one sentence.
const PATTERNS: &str = "Patterns are those of a topic exchange of AMQP 0-9-1: words are split at \
    `.`, `*` is exactly one word, `#` none or more; at most 255 bytes and two `#`";
/// How a type that is not listed is named.
const RULE: &str = "The second word is GitHub's type without `Event`, in lower case; a type that \
    GitHub adds has its key at once, without being listed here";

pub(super) async fn show(request: Request<axum::body::Body>) -> Response {
    if wants_page(request.uri().query(), request.headers()) {
        return page::text(&Text {
            title: "Topics",
            verdict: ("What there is to subscribe to", ""),
            body: &readable(),
            is_live: false,
            simulated: false,
        });
    }
    axum::Json(catalogue()).into_response()
}

fn catalogue() -> Value {
    let events = event_topics().map(|topic| json!({ "key": topic.key, "type": topic.kind }));
    let entities = ENTITY_TOPICS.map(|collection| {
        json!({
            "collection": collection.name,
            "keys": keys(collection.name),
            "from": collection.from,
            "insert": collection.insert,
            "partial": collection.partial,
        })
    });
    let never =
        ABSENT_COLLECTIONS.map(|never| json!({ "collection": never.name, "why": never.why }));
    let absent = ABSENT_KEYS.map(|absent| json!({ "key": absent.key, "why": absent.why }));
    let never: Vec<Value> = never.into_iter().chain(absent).collect();
    json!({
        "patterns": PATTERNS,
        "rule": RULE,
        "events": events.collect::<Vec<_>>(),
        "entities": entities,
        "never": never,
    })
}

fn keys(collection: &str) -> [String; 2] {
    ["insert", "update"].map(|change| format!("ent.{collection}.{change}"))
}

fn readable() -> String {
    let mut text = format!("{PATTERNS}.\n\nEvents\n\n");
    let mut line = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("a string takes all");
        text.push('\n');
    };
    for topic in event_topics() {
        line(format_args!("  {:<38}{}", topic.key, topic.kind));
    }
    line(format_args!("\n{RULE}.\n\nEntities\n"));
    for collection in ENTITY_TOPICS {
        for key in keys(collection.name) {
            line(format_args!("  {key}"));
        }
        line(format_args!("      from {}", collection.from.join(", ")));
        line(format_args!("      insert: {}; update: heard of again", collection.insert));
        line(format_args!("      partial: {}", collection.partial));
    }
    line(format_args!("\nCollections that never appear\n"));
    for never in ABSENT_COLLECTIONS {
        line(format_args!("  ent.{:<20}{}", format!("{}.*", never.name), never.why));
    }
    line(format_args!("\nKeys that never appear\n"));
    for absent in ABSENT_KEYS {
        line(format_args!("  {:<30}{}", absent.key, absent.why));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::routing::known_keys;

    #[test]
    fn every_known_key_is_in_both_forms() {
        let (json, text) = (catalogue().to_string(), readable());
        for key in known_keys() {
            assert!(json.contains(&format!("\"{key}\"")), "{key}");
            assert!(text.lines().any(|line| line.split(' ').any(|word| word == key.as_str())));
        }
        for never in ["users", "geo_cache", "followers", "evt.gist.insert", "ent.*.delete"] {
            assert!(json.contains(never) && text.contains(never));
        }
    }
}
