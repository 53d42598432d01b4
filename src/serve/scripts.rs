//! `/scripts`: the state, current output, cost and counters of each script, as JSON and as a page.
//! Read-only: scripts are files that the operator edits.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Request;
use serde_json::{Value, json};

use crate::serve::admin::status::wants_page;
use crate::serve::history::ranked;
use crate::serve::pages;
use crate::serve::server::ServerState;

/// Most entries of an output.
const ENTRIES: usize = 20;

pub(crate) async fn show(
    State(server): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response {
    if wants_page(request.uri().query(), request.headers()) {
        return pages::scripts(server.operate.simulated());
    }
    axum::Json(all(&server)).into_response()
}

fn all(server: &ServerState) -> Value {
    let mut merge = server.operate.merge_script();
    if merge.is_object() {
        merge["name"] = json!("merge_latest");
        merge["output"] = json!(ranked(&server.hub.latest_values().tick().map, ENTRIES));
        merge["path"] = json!("/language/latest");
    }
    let topics = server.hub.aggregates();
    let aggregates = topics.names().into_iter().filter_map(|name| {
        let topic = topics.get(&name)?;
        let mut about: Value = serde_json::from_str(&topic.about()).ok()?;
        about["output"] = json!(topic.latest().map(|shown| ranked(&shown.value, ENTRIES)));
        about["path"] = json!(format!("/aggregate/{name}"));
        Some(about)
    });
    let scripts: Vec<Value> =
        [merge].into_iter().filter(Value::is_object).chain(aggregates).collect();
    json!({ "scripts": scripts })
}
