//! Endpoint: `/stream`.

use axum::routing::get;
use serde_json::{Value, json};

use crate::hub::StreamMessage;
use crate::model::envelope::Facts;
use crate::model::message::push_payload;
use crate::serve::api::endpoint::{ApiMessage, Endpoint, Operation, SocketMessages};
use crate::serve::api::schema::{
    ENTITY_MESSAGE, EVENT_MESSAGE, STREAM_LINE, message_of, reference,
};
use crate::serve::http::negotiation::{NDJSON, SSE};
use crate::serve::readers::stream::{self, StreamRequest};

const CURSOR: &str = "51a70c3e-be1f4b";

pub(super) fn endpoint() -> Endpoint {
    let messages = "Messages without end, or up to now with `poll=1`; of JSON lines the schema is \
                    that of one line";
    let operation = Operation::get("Events by cursor, replayed and live: WebSocket, SSE or NDJSON")
        .query::<StreamRequest>(StreamRequest::NAMES)
        .says(200, messages, SSE)
        .answers(200, messages, NDJSON, reference(STREAM_LINE))
        .refuses(400, "A query that cannot be read; the reason names the parameter")
        .refuses(406, "`Accept` asks for neither of the two forms")
        .refuses(429, "Too many searches of the journal wait for your address; `Retry-After`");
    Endpoint::public("/stream", get(stream::stream)).on(operation).with_frames(frames())
}

fn frames() -> SocketMessages {
    let control = ApiMessage::variant::<StreamMessage<'_>>;
    let mut payload = String::new();
    push_payload(&mut payload, &Facts::default());
    let payload: Value = serde_json::from_str(&payload).expect("a payload is JSON");
    SocketMessages {
        summary: "hello and an ack for the URL's query, then events; another query at any time",
        sent: vec![ApiMessage {
            name: "query",
            summary: "Replaces the query; the parameters of the URL, as a JSON object".to_owned(),
            payload: message_of::<StreamRequest>(),
            example: json!({ "types": ["PushEvent"], "repos": ["rust-lang/*"] }),
        }],
        received: vec![
            ApiMessage {
                name: "event",
                summary: "An event and its cursor; with `fields`, these values instead of it"
                    .to_owned(),
                payload: reference(EVENT_MESSAGE),
                example: json!({
                    "type": "event", "cursor": CURSOR, "key": "evt.push.insert",
                    "event": { "id": "1", "type": "PushEvent" }, "payload": payload,
                }),
            },
            ApiMessage {
                name: "entity",
                summary: "A document made from an event, where `keys` asks for `ent.`".to_owned(),
                payload: reference(ENTITY_MESSAGE),
                example: json!({
                    "type": "entity", "cursor": format!("{CURSOR}.c1"),
                    "key": "ent.watchers.insert", "document": { "user_id": 1 },
                }),
            },
            control(
                "hello",
                json!({
                    "version": "0.1.0", "cursor": CURSOR, "oldest": CURSOR, "simulated": false,
                    "retention": {
                        "seconds": 172_800, "bytes": 8_589_934_592_u64, "reach_seconds": 171_200,
                        "used_bytes": 8_123_456_789_u64,
                    },
                }),
            ),
            control("ack", json!({ "cursor": CURSOR, "warnings": [] })),
            control("caught_up", json!({ "cursor": CURSOR })),
            control("heartbeat", json!({ "cursor": CURSOR })),
            control(
                "gap",
                json!({
                    "from": "51a70c3e-bc3", "to": "51a70c3e-bd4f", "count": null,
                    "reason": "retention",
                }),
            ),
            control(
                "error",
                json!({
                    "code": "invalid_query", "field": "latest",
                    "message": "latest: is `x`; give a whole number from 1 on, such as latest=100",
                }),
            ),
            control(
                "bye",
                json!({
                    "reason": "the server is stopping", "cursor": CURSOR, "retry_after": 5_000,
                }),
            ),
        ],
    }
}
