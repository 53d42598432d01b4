//! Endpoints: the three WebSockets of OSSInsight.

use std::collections::BTreeMap;

use axum::routing::get;
use serde_json::json;

use crate::hub::{FirstOfSampling, FirstOfWatch, LanguageDifference, LanguageMap};
use crate::model::envelope::Flags;
use crate::serve::api::endpoint::{ApiMessage, Endpoint, Operation, SocketMessages};
use crate::serve::api::schema::{flags, object, reference};
use crate::serve::readers::params::requests::{LatestRequest, SamplingRequest, WatchRequest};
use crate::serve::readers::{RefusedParams, languages, sampling};

pub(super) fn all() -> Vec<Endpoint> {
    vec![
        Endpoint::public("/sampling", get(sampling::sampling))
            .on(Operation::get("Events as they come: a WebSocket"))
            .with_frames(sampling()),
        Endpoint::public("/language/latest", get(languages::latest))
            .on(Operation::get("Pull-request events by language, each tick: a WebSocket"))
            .with_frames(latest()),
        Endpoint::public("/language/watch", get(languages::watch))
            .on(Operation::get("What changes in it: a WebSocket"))
            .with_frames(watch()),
    ]
}

fn sampling() -> SocketMessages {
    let whole_event = object(&[("event", reference("Event")), ("payload", object(&flags()))]);
    let event =
        json!({ "id": "23683424409", "type": "PushEvent", "created_at": "2026-01-01T00:00:05Z" });
    let flags = Flags::default().named().map(|(name, set)| (name, u8::from(set)));
    let flags = BTreeMap::from(flags);
    SocketMessages {
        summary: "The year's counts first, unasked; then, after params, events without end",
        sent: vec![ApiMessage::of::<SamplingRequest>(
            "samplingParams",
            json!(SamplingRequest {
                sampling_rate: 1,
                event_type: Some("PullRequestEvent".to_owned()),
                ..SamplingRequest::default()
            }),
        )],
        received: vec![
            first_of_sampling(),
            ApiMessage {
                name: "wholeEvent",
                summary: "An event as GitHub sent it, without a `filter`".to_owned(),
                payload: whole_event,
                example: json!({ "event": event, "payload": flags }),
            },
            ApiMessage {
                name: "filteredMap",
                summary: "Its fields by path, with a `filter`".to_owned(),
                payload: json!({ "type": "object" }),
                example: json!({ "event.type": "PushEvent", "payload.merge": 0 }),
            },
            ApiMessage {
                name: "filteredList",
                summary: "Its fields in the filter's order, with `returnType` list".to_owned(),
                payload: json!({ "type": "array" }),
                example: json!(["PushEvent", 0]),
            },
            refused_first(),
        ],
    }
}

fn first_of_sampling() -> ApiMessage {
    let day = json!({ "2026-01-01": "34" });
    ApiMessage::of::<FirstOfSampling<'_>>(
        "counts",
        json!({
            "firstMessageTag": true, "apiVersion": 2, "eventMap": day, "openMap": day,
            "mergeMap": {}, "closeMap": {}, "devMap": { "2026-01-01": "17" },
            "sumMap": { "additions": "0", "deletions": "0", "dev": "17", "repo": "21" },
        }),
    )
}

fn latest() -> SocketMessages {
    SocketMessages {
        summary: "After params, at each tick: the rolling window by language",
        sent: vec![ApiMessage::of::<LatestRequest>(
            "latestParams",
            json!(LatestRequest { top: Some(10), ..LatestRequest::default() }),
        )],
        received: vec![
            ApiMessage::of::<LanguageMap<'_>>("languages", json!({ "Go": 112, "Rust": 178 })),
            refused_first(),
        ],
    }
}

fn watch() -> SocketMessages {
    let first = json!({ "firstMessageTag": true, "apiVersion": 2, "languageMap": { "C": 4 } });
    let changes = json!({
        "Deletions": {}, "Additions": { "Java": "1" },
        "deletions": {}, "additions": { "Java": "1" },
    });
    SocketMessages {
        summary: "The map first, unasked; then, after params, what changes at each tick",
        sent: vec![ApiMessage::of::<WatchRequest>(
            "watchParams",
            json!(WatchRequest { language: vec!["Java".to_owned()] }),
        )],
        received: vec![
            ApiMessage::of::<FirstOfWatch<'_>>("languageMap", first),
            ApiMessage::of::<LanguageDifference<'_>>("changes", changes),
            refused_first(),
        ],
    }
}

/// The same where a connection needs valid parameters.
fn refused_first() -> ApiMessage {
    let message = refused();
    let summary = "Invalid parameters, by name; the first ones end the connection with 1008, later \
                   ones change nothing";
    ApiMessage { summary: summary.to_owned(), ..message }
}

/// The message that reports invalid parameters.
pub(super) fn refused() -> ApiMessage {
    ApiMessage::of::<RefusedParams<'_>>(
        "refused",
        json!({ "error": {
            "code": "invalid_params", "field": "samplingRate",
            "message": "samplingRate: must not be 0; give a whole number from 1 on",
        }}),
    )
}
