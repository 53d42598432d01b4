//! Endpoints for operators.

use axum::routing::{get, post};
use serde_json::json;

use crate::serve::admin::operate::{ArchiveRequest, StoreRequest, SyncAnswer};
use crate::serve::admin::ops;
use crate::serve::api::endpoint::{Endpoint, EndpointPath, JSON, Operation};
use crate::serve::api::schema::named;

pub(super) fn all() -> Vec<Endpoint> {
    let sync_now = "Asks TiDB now; from this machine, or with the token";
    vec![
        Endpoint::public(EndpointPath::SyncEvent, get(ops::sync).post(ops::sync))
            .on(sync(Operation::get(sync_now)))
            .on(sync(Operation::post(sync_now))),
        Endpoint::ops("/metrics", get(ops::exposition)).on(Operation::get(
            "What is measured, for Prometheus",
        )
        .says(200, "Text exposition", "text/plain; version=0.0.4; charset=utf-8")
        .refuses(404, "Not on the ops listener")),
        Endpoint::ops("/window", get(ops::window)).on(Operation::get(
            "The live window of the merge script (`script check --url`)",
        )
        .json("Its seconds that have counts", json!({ "type": "object" }))
        .refuses(404, "Not on the ops listener")),
        Endpoint::ops("/recorded", post(ops::archive)).on(command(
            "Takes recorded hours in, or writes hours out (`import`, `export`)",
        )
        .takes(named::<ArchiveRequest>())
        .json("What came of it", json!({ "type": "object" }))
        .refuses(422, "A file is not an hour")),
        Endpoint::ops("/store", post(ops::store)).on(command(
            "Copies the store, looks into it, or tries dead letters again (`backup`, \
                         `inspect`, `requeue`)",
        )
        .takes(named::<StoreRequest>())
        .json("What came of it", json!({ "type": ["object", "array"] }))
        .refuses(422, "What was asked for cannot be")),
    ]
}

/// What a command of ghpulse sends.
fn command(summary: &'static str) -> Operation {
    Operation::post(summary)
        .refuses(401, "Without the text of `ops.secret` in the data directory as bearer")
        .refuses(404, "Not on the ops listener")
        .refuses(507, "A file cannot be read or written")
}

fn sync(operation: Operation) -> Operation {
    let answer = named::<SyncAnswer>();
    operation
        .json("Every figure was written", answer.clone())
        .answers(502, "A query failed or was not asked; what was written is named", JSON, answer)
        .refuses(401, "Without the right token; on the ops listener, a POST without its secret")
        .refuses(403, "From elsewhere or from a page, and no token is configured")
}
