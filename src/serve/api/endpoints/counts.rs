//! Endpoints: gauge topics.

use axum::routing::get;
use serde_json::{Value, json};

use super::sockets::refused;
use crate::hub::GaugeMessage;
use crate::model::script_report::AggregateReport;
use crate::serve::api::endpoint::{ApiMessage, Endpoint, JSON, Operation, SocketMessages};
use crate::serve::api::schema::{derived, named, variant};
use crate::serve::http::negotiation::{NDJSON, SSE};
use crate::serve::readers::cursor_schema::of_counts;
use crate::serve::readers::gauges;
use crate::serve::readers::params::requests::WindowRequest;

/// What the parameter `cursor` does.
const CURSOR: &str = "The last `cursor` that a stream of this endpoint sent: it continues with what \
    has changed since, or with a new snapshot when that is no longer known; `Last-Event-ID` is the \
    same";

pub(super) fn all() -> Vec<Endpoint> {
    vec![
        rolling("/stream/languages", "Pull-request events by language in a rolling window"),
        rolling("/stream/types", "Events by type in a rolling window"),
        rolling("/stream/activity", "Events, and how many repositories and developers they are of"),
        Endpoint::public("/aggregate", get(gauges::list))
            .on(Operation::get("The aggregates of the scripts: what they count, how they are")
                .json("All of them", derived::<Vec<AggregateReport>>())),
        aggregate(),
    ]
}

fn rolling(path: &'static str, summary: &'static str) -> Endpoint {
    let windows = json!({ "type": "string", "enum": ["1m", "1h", "24h"], "default": "1h" });
    Endpoint::public(path, get(gauges::rolling))
        .on(forms(summary)
            .parameter("window", "Which window", windows)
            .parameter("cursor", CURSOR, of_counts().into())
            .refuses(400, "No such window, or not a cursor"))
        .with_frames(SocketMessages {
            summary: "The whole first, or what has changed since `cursor`; then at each tick what \
                      has changed",
            sent: vec![ApiMessage::of::<WindowRequest>(
                "windowParams",
                json!(WindowRequest { window: Some("1m".to_owned()) }),
            )],
            received: vec![
                hello(),
                value("snapshot", "value", json!({ "Go": 12 })),
                value("delta", "changes", json!({ "Go": 2, "Rust": -1 })),
                heartbeat(),
                refused(),
                bye(),
            ],
        })
}

fn aggregate() -> Endpoint {
    let operation = forms("The value of an aggregate, now or at each tick")
        .refuses(404, "No such aggregate; the answer lists all names");
    Endpoint::public("/aggregate/{name}", get(gauges::aggregate)).on(operation).with_frames(
        SocketMessages {
            summary: "The value now, then the value at each tick",
            sent: Vec::new(),
            received: vec![
                value("snapshot", "value", json!({ "Go": 12 })),
                value("tick", "value", json!({ "Go": 12 })),
                heartbeat(),
                refused(),
                bye(),
            ],
        },
    )
}

/// An operation that responds in each encoding.
fn forms(summary: &'static str) -> Operation {
    let now = "The value now; as a stream without end where that is asked for: of JSON lines the \
               schema is that of one line";
    Operation::get(summary)
        .answers(200, now, JSON, variant::<GaugeMessage<'_>>("snapshot"))
        .says(200, "A stream", SSE)
        .answers(200, now, NDJSON, named::<GaugeMessage<'_>>())
        .refuses(406, "`Accept` asks for none of the three forms")
        .refuses(503, "Not counted yet: the journal is being read, or the script has no good text")
}

/// A message with a value, or with changes of it.
fn value(kind: &'static str, key: &str, value: Value) -> ApiMessage {
    let mut example = json!({
        "cursor": "51a70c3e-be1f4b~5d8f1c07a2e6b394", "name": "languages",
        "from": "2026-01-01T00:00:01Z", "to": "2026-01-01T01:00:00Z",
        "counted_from": "2025-12-31T00:00:00Z", "complete": true,
    });
    example[key] = value;
    ApiMessage::variant::<GaugeMessage<'_>>(kind, example)
}

fn hello() -> ApiMessage {
    let example =
        json!({ "version": "0.1.0", "simulated": false, "name": "languages", "window": "1h" });
    ApiMessage::variant::<GaugeMessage<'_>>("hello", example)
}

fn heartbeat() -> ApiMessage {
    let example = json!({ "cursor": "51a70c3e-be1f4b~5d8f1c07a2e6b394" });
    ApiMessage::variant::<GaugeMessage<'_>>("heartbeat", example)
}

fn bye() -> ApiMessage {
    let example = json!({ "reason": "the server is stopping", "retry_after": 5_000 });
    ApiMessage::variant::<GaugeMessage<'_>>("bye", example)
}
