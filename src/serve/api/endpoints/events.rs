//! Endpoint: `/stream`.

use axum::routing::get;
use serde_json::{Value, json};

use crate::hub::StreamMessage;
use crate::serve::api::endpoint::{
    ApiMessage, ApiResponse, Endpoint, EndpointPath, Operation, SocketMessages,
};
use crate::serve::api::schema::{MARK, cursor, list, number, object, reference, text, variant};
use crate::serve::readers::stream;

const SSE: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";
const CURSOR: &str = "51a70c3e-be1f4b";

/// The parameters' descriptions, in the order of their names.
const MEANINGS: [&str; stream::NAMES.len()] = [
    "Patterns of routing keys as AMQP has them: `evt.push.*`, `ent.#`; with `ent.` also entities",
    "GitHub's types, such as PushEvent",
    "Repositories, such as rust-lang/*",
    "Logins of actors, such as !*[bot]",
    "Logins of organisations",
    "Languages, which events about pull requests have",
    "`payload.action`, such as opened",
    "Lists of the server (`lists.dir`), such as mine or !bots: events of what is on one",
    "One in N, by a hash of type and id: the same events for everyone",
    "Only these values: paths that begin with `event` or `payload`",
    "Behind this cursor",
    "From then on: a time, a day, or how long ago (15m)",
    "The last N that match, then live",
    "1: what is there now, and end; from the oldest on when nothing else is said",
    "With `poll`: ends after this many events and documents; continue at the cursor of `caught_up`",
];

/// The endpoint.
pub(super) fn endpoint() -> Endpoint {
    let mut get_it =
        Operation::get("Events by cursor, replayed and live: WebSocket, SSE or NDJSON")
            .answers(200, "Messages without end, or up to now with `poll=1`", SSE, text())
            .answers(200, "Messages without end, or up to now with `poll=1`", NDJSON, text())
            .refuses(400, "A query that cannot be read; the reason names the parameter")
            .refuses(403, "A page of an origin that may not connect (`server.allowedOrigins`)")
            .refuses(406, "`Accept` asks for neither of the two forms")
            .refuses(429, "Too many searches of the journal wait for your address; `Retry-After`")
            .refuses(503, "Stopping, or no place is left; `Retry-After` says when to try again");
    for (name, meaning) in stream::NAMES.into_iter().zip(MEANINGS) {
        let schema = match name {
            "limit" => json!({ "type": "integer", "minimum": 1, "maximum": stream::LIMIT_MOST }),
            "sample" | "latest" => json!({ "type": "integer", "minimum": 1 }),
            "poll" => json!({ "type": "string", "enum": ["0", "1", "false", "true"] }),
            // Of an event, of a document made from it, or of counts.
            "cursor" => cursor(&format!("(\\.({})|{MARK})", number(8))),
            "since" => text(),
            _ => list(&text()),
        };
        get_it = get_it.parameter(name, meaning, &schema);
    }
    let meaning = "A WebSocket; its messages are in /asyncapi.json";
    get_it.answers.insert(0, ApiResponse { status: 101, meaning, content: Vec::new() });
    Endpoint::public(EndpointPath::At("/stream"), get(stream::stream))
        .on(get_it)
        .with_frames(frames())
}

fn typed(name: &str, more: &[(&str, Value)]) -> Value {
    let mut properties = vec![("type", json!({ "const": name }))];
    properties.extend(more.iter().cloned());
    object(&properties)
}

fn frames() -> SocketMessages {
    SocketMessages {
        summary: "hello and an ack for the URL's query, then events; another query at any time",
        sent: vec![ApiMessage {
            name: "query",
            summary: "Replaces the query; the parameters of the URL, as a JSON object",
            payload: json!({ "type": "object" }),
            example: json!({ "types": ["PushEvent"], "repos": ["rust-lang/*"] }),
        }],
        received: vec![
            ApiMessage {
                name: "event",
                summary: "An event at its place; with `fields`, these values in place of the rest",
                payload: typed(
                    "event",
                    &[
                        ("cursor", text()),
                        ("key", text()),
                        ("event?", reference("Event")),
                        ("payload?", json!({ "type": "object" })),
                        ("fields?", json!({ "type": "object" })),
                    ],
                ),
                example: json!({
                    "type": "event", "cursor": CURSOR, "key": "evt.push.insert",
                    "event": { "id": "1", "type": "PushEvent" }, "payload": { "pr": 0 },
                }),
            },
            ApiMessage {
                name: "entity",
                summary: "A document made from an event, where `keys` asks for `ent.`",
                payload: typed(
                    "entity",
                    &[
                        ("cursor", text()),
                        ("key", text()),
                        ("document", json!({ "type": "object" })),
                    ],
                ),
                example: json!({
                    "type": "entity", "cursor": format!("{CURSOR}.c1"),
                    "key": "ent.watchers.insert", "document": { "user_id": 1 },
                }),
            },
            control(
                "hello",
                "The first message: the newest event, and what is kept",
                &json!({
                    "type": "hello", "version": "0.1.0", "cursor": CURSOR, "oldest": CURSOR,
                    "retention": {
                        "seconds": 172_800, "bytes": 8_589_934_592_u64, "reach_seconds": 171_200,
                        "used_bytes": 8_123_456_789_u64,
                    },
                    "simulated": false,
                }),
            ),
            control(
                "ack",
                "The query is in force after this cursor",
                &json!({
                    "type": "ack", "cursor": CURSOR, "warnings": [],
                }),
            ),
            control(
                "caught_up",
                "Everything up to here was sent; live events follow, or a poll ends",
                &json!({
                    "type": "caught_up", "cursor": CURSOR,
                }),
            ),
            control(
                "heartbeat",
                "Every 15 seconds: where the reader is",
                &json!({
                    "type": "heartbeat", "cursor": CURSOR,
                }),
            ),
            control(
                "gap",
                "Events after `from` and not after `to` are missing",
                &json!({
                    "type": "gap", "from": CURSOR, "to": CURSOR, "count": null, "reason": "retention",
                }),
            ),
            control(
                "error",
                "A query was rejected; the earlier one stays in force",
                &json!({
                    "type": "error", "code": "invalid_query", "field": "latest",
                    "message": "latest: is `x`; give a whole number from 1 on, such as latest=100",
                }),
            ),
            control(
                "bye",
                "The last message: why, where to resume, and when",
                &json!({
                    "type": "bye", "reason": "the server is stopping", "cursor": CURSOR,
                    "retry_after": 5_000,
                }),
            ),
        ],
    }
}

/// A message of [`StreamMessage`].
fn control(kind: &'static str, summary: &'static str, example: &Value) -> ApiMessage {
    let name = if kind == "caught_up" { "caughtUp" } else { kind };
    ApiMessage {
        name,
        summary,
        payload: variant::<StreamMessage<'_>>(kind),
        example: example.clone(),
    }
}
