//! `/topics`: the routing keys to subscribe to, as JSON for programs and as a page for browsers.

use std::fmt::Write as _;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::model::routing::{
    ABSENT_COLLECTIONS, ABSENT_KEYS, ENTITY_TOPICS, EVENT_TYPES, RoutingKey,
};
use crate::serve::admin::status::wants_page;
use crate::serve::pages;
use crate::serve::pages::TextPage;
use crate::serve::server::SharedServer;

/// How patterns match, in one sentence.
const PATTERNS: &str = "Patterns are those of a topic exchange of AMQP 0-9-1: words are split at \
    `.`, `*` is exactly one word, `#` none or more; at most 255 bytes and two `#`";
/// How keys of unlisted types are formed.
const RULE: &str = "The second word is GitHub's type without `Event`, in lower case; a type that \
    GitHub adds has its key at once, without being listed here";

pub(crate) async fn show(State(server): SharedServer, request: Request) -> Response {
    if wants_page(request.uri().query(), request.headers()) {
        let shown = TextPage {
            title: "Topics",
            description: "Every routing key of GitHub's public events that can be subscribed to",
            verdict: ("What there is to subscribe to", ""),
            body: &readable(),
            is_live: false,
        };
        return pages::text(&server, &shown);
    }
    axum::Json(catalogue()).into_response()
}

/// All routing keys.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TopicCatalogue {
    /// How patterns match.
    patterns: &'static str,
    /// How keys of unlisted types are formed.
    rule: &'static str,
    /// Events.
    events: Vec<EventRoutingKey>,
    /// Documents.
    entities: Vec<EntityKeys>,
    /// Keys that never occur.
    never: Vec<AbsentTopic>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventKey")]
struct EventRoutingKey {
    key: String,
    r#type: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct EntityKeys {
    collection: &'static str,
    keys: [String; 2],
    /// Types of the events from which the document is derived.
    from: &'static [&'static str],
    /// What causes an `insert`.
    insert: &'static str,
    /// What a document marked `partial` is missing.
    partial: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
enum AbsentTopic {
    Collection { collection: &'static str, why: &'static str },
    Key { key: &'static str, why: &'static str },
}

fn catalogue() -> TopicCatalogue {
    let events = EVENT_TYPES
        .map(|kind| EventRoutingKey { key: RoutingKey::of_event(kind).to_string(), r#type: kind });
    let entities = ENTITY_TOPICS.iter().map(|topic| EntityKeys {
        collection: topic.name,
        keys: keys(topic.name),
        from: topic.from,
        insert: topic.insert,
        partial: topic.partial,
    });
    let never =
        ABSENT_COLLECTIONS.map(|(collection, why)| AbsentTopic::Collection { collection, why });
    let absent = ABSENT_KEYS.map(|(key, why)| AbsentTopic::Key { key, why });
    TopicCatalogue {
        patterns: PATTERNS,
        rule: RULE,
        events: events.into(),
        entities: entities.collect(),
        never: never.into_iter().chain(absent).collect(),
    }
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
    for kind in EVENT_TYPES {
        line(format_args!("  {:<38}{kind}", RoutingKey::of_event(kind).as_str()));
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
    for (collection, why) in ABSENT_COLLECTIONS {
        line(format_args!("  ent.{:<20}{why}", format!("{collection}.*")));
    }
    line(format_args!("\nKeys that never appear\n"));
    for (key, why) in ABSENT_KEYS {
        line(format_args!("  {key:<30}{why}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::routing::known_keys;

    #[test]
    fn every_known_key_is_in_both_forms() {
        let (json, text) = (serde_json::to_string(&catalogue()).unwrap(), readable());
        for key in known_keys() {
            assert!(json.contains(&format!("\"{key}\"")), "{key}");
            assert!(text.lines().any(|line| line.split(' ').any(|word| word == key.as_str())));
        }
        for never in ["users", "geo_cache", "followers", "evt.gist.insert", "ent.*.delete"] {
            assert!(json.contains(never) && text.contains(never));
        }
    }
}
