//! Rows of the table: what only whoever runs the appliance may ask.

use axum::routing::{any, get, post};
use serde_json::{Value, json};

use super::{Endpoint, JSON, Operation, Place, nullable, object, text};
use crate::serve::admin::ops;

const NO_SECRET: &str = "Without the text of `ops.secret` in the data directory as bearer";

/// Their rows.
pub(super) fn all() -> Vec<Endpoint> {
    vec![
        Endpoint::public(Place::SyncEvent, get(ops::sync).post(ops::sync))
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
        Endpoint::ops("/archive", post(ops::archive)).on(Operation::post(
            "Takes recorded hours in, or writes hours out (`ghpulse import`, `ghpulse export`)",
        )
        .takes(archive_schema())
        .json("What came of it", json!({ "type": "object" }))
        .refuses(401, NO_SECRET)
        .refuses(404, "Not on the ops listener")
        .refuses(422, "A file is no hour")
        .refuses(507, "A file cannot be read or written")),
        Endpoint::ops("/store", post(ops::store)).on(Operation::post(
            "Copies the store, looks into it, or tries dead letters again (`ghpulse backup`, \
             `inspect`, `requeue`)",
        )
        .takes(store_schema())
        .json("What came of it", json!({ "type": ["object", "array"] }))
        .refuses(401, NO_SECRET)
        .refuses(404, "Not on the ops listener")
        .refuses(422, "What was asked for cannot be")
        .refuses(507, "A file cannot be read or written")),
    ]
}

fn sync(operation: Operation) -> Operation {
    let answer = object(&[("synced", json!({ "type": "boolean" })), ("message", text())]);
    operation
        .json("Every figure was written", answer.clone())
        .answers(502, "A query failed or was not asked; what was written is named", JSON, answer)
        .refuses(401, "Without the right token; on the ops listener, a POST without its secret")
        .refuses(403, "From elsewhere or from a page, and no token is configured")
}

fn archive_schema() -> Value {
    let import = object(&[("from", exchange()), ("file", text())]);
    let hour = json!({ "type": "integer", "description": "Hours since 1970" });
    let export = object(&[("from", hour.clone()), ("until", hour), ("into", exchange())]);
    json!({ "oneOf": [object(&[("import", import)]), object(&[("export", export)])] })
}

/// The name of a directory in the data directory through which files pass.
fn exchange() -> Value {
    json!({ "type": "string", "pattern": "^\\.exchange-[0-9a-f]{32}$" })
}

fn store_schema() -> Value {
    let inspect = object(&[
        ("family", nullable(&text())),
        ("prefix", text()),
        ("limit", json!({ "type": "integer", "minimum": 1 })),
    ]);
    json!({ "oneOf": [
        object(&[("backup", object(&[("into", exchange())]))]),
        object(&[("inspect", inspect)]),
        object(&[("requeue", json!({ "type": "object" }))]),
    ] })
}
