//! Endpoints for operators.

use axum::routing::{get, post};
use serde_json::json;

use crate::serve::admin::operate::{ArchiveRequest, StoreRequest, SyncAnswer};
use crate::serve::admin::ops;
use crate::serve::api::endpoint::{Endpoint, EndpointPath, JSON, Operation};
use crate::serve::api::schema::named;

const NO_SECRET: &str = "Without the text of `ops.secret` in the data directory as bearer";

/// The endpoints of this module.
pub(super) fn all() -> Vec<Endpoint> {
    vec![
        Endpoint::public(EndpointPath::SyncEvent, get(ops::sync).post(ops::sync))
            .on(sync(Operation::get("Asks TiDB now; from this machine, or with the token")))
            .on(sync(Operation::post("Asks TiDB now; from this machine, or with the token"))),
        Endpoint::ops("/metrics", get(ops::exposition)).on(Operation::get(
            "What is measured, for Prometheus",
        )
        .says(200, "Text exposition", "text/plain; version=0.0.4; charset=utf-8")
        .refuses(404, "Not on the ops listener")),
        Endpoint::ops("/window", get(ops::window)).on(Operation::get(
            "The live window that the merge script is given (`ghpulse script check --url`)",
        )
        .json("Its seconds that have counts", json!({ "type": "object" }))
        .refuses(404, "Not on the ops listener")),
        Endpoint::ops("/recorded", post(ops::archive)).on(Operation::post(
            "Takes recorded hours in, or writes hours out (`ghpulse import`, `ghpulse export`)",
        )
        .takes(named::<ArchiveRequest>())
        .json("What came of it", json!({ "type": "object" }))
        .refuses(401, NO_SECRET)
        .refuses(404, "Not on the ops listener")
        .refuses(422, "A file is not an hour")
        .refuses(507, "A file cannot be read or written")),
        Endpoint::ops("/store", post(ops::store)).on(Operation::post(
            "Copies the store, looks into it, or tries dead letters again (`ghpulse backup`, \
             `inspect`, `requeue`)",
        )
        .takes(named::<StoreRequest>())
        .json("What came of it", json!({ "type": ["object", "array"] }))
        .refuses(401, NO_SECRET)
        .refuses(404, "Not on the ops listener")
        .refuses(422, "What was asked for cannot be")
        .refuses(507, "A file cannot be read or written")),
    ]
}

fn sync(operation: Operation) -> Operation {
    let answer = named::<SyncAnswer>();
    operation
        .json("Every figure was written", answer.clone())
        .answers(502, "A query failed or was not asked; what was written is named", JSON, answer)
        .refuses(401, "Without the right token; on the ops listener, a POST without its secret")
        .refuses(403, "From elsewhere or from a page, and no token is configured")
}
