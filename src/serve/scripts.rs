//! `/scripts`: the state, current output, cost and counters of each script, as JSON and as a page.
//! Read-only: scripts are files that the operator edits.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::model::script_report::{CounterReport, ScriptReport};
use crate::serve::admin::status::wants_page;
use crate::serve::history::written::{Ranked, ranked};
use crate::serve::pages;
use crate::serve::server::{ServerState, SharedServer};

/// Most entries of an output.
const ENTRIES: usize = 20;

/// All scripts, the merge script first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ScriptList {
    scripts: Vec<ListedScript>,
}

/// A script, and what it has counted.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ListedScript {
    name: Box<str>,
    #[serde(flatten)]
    script: ScriptReport,
    /// Of an aggregate alone.
    #[serde(flatten)]
    counter: Option<CounterReport>,
    /// Its current value, the largest counts first; `null` before the first.
    output: Option<Ranked>,
    /// The endpoint that serves the value.
    path: String,
}

pub(crate) async fn show(State(server): SharedServer, request: Request) -> Response {
    if wants_page(request.uri().query(), request.headers()) {
        return pages::scripts(&server);
    }
    axum::Json(all(&server)).into_response()
}

fn all(server: &ServerState) -> ScriptList {
    let merge = server.operate.merge_script().map(|script| ListedScript {
        name: "merge_latest".into(),
        script,
        counter: None,
        output: Some(ranked(&server.hub.latest_values.tick().map, ENTRIES)),
        path: "/language/latest".to_owned(),
    });
    let topics = &server.hub.aggregates;
    let aggregates = topics.names().into_iter().filter_map(|name| {
        let topic = topics.get(&name)?;
        let about = (*topic.about()?).clone();
        Some(ListedScript {
            path: format!("/aggregate/{name}"),
            name,
            script: about.script,
            counter: Some(about.counter),
            output: topic.latest().map(|shown| ranked(&shown.value, ENTRIES)),
        })
    });
    ScriptList { scripts: merge.into_iter().chain(aggregates).collect() }
}
