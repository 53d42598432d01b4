//! Endpoints: health, status, pages, and the documents about the API.

use axum::routing::get;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::model::part::Part;
use crate::serve::admin::report::Status;
use crate::serve::admin::{ops, status};
use crate::serve::api::documents;
use crate::serve::api::endpoint::{
    ApiResponse, Endpoint, EndpointPath, HTML, JSON, Operation, TEXT,
};
use crate::serve::api::schema::{list, named};
use crate::serve::pages;
use crate::serve::pages::topics::{self, TopicCatalogue};
use crate::serve::pages::{clients, docs};
use crate::serve::scripts::{self, ScriptList};

/// The start page.
pub(super) fn page() -> Endpoint {
    let what = "A page: what this is, how it is, and the events passing";
    Endpoint::public(EndpointPath::At("/"), get(pages::show))
        .on(Operation::get(what).says(200, "The page", HTML))
}

/// The other endpoints of this module. The documents about the API list the endpoints of `table`.
pub(super) fn all(table: fn() -> Vec<Endpoint>) -> Vec<Endpoint> {
    let document = || json!({ "type": "object" });
    vec![
        Endpoint::public(EndpointPath::At("/play"), get(pages::play)).on(Operation::get(
            "A page to try the stream: queries, events, cursors, and the same for curl",
        )
        .says(200, "The page", HTML)),
        client("/client.js", clients::JAVASCRIPT, "A client for JavaScript, one module to import"),
        client("/client.py", clients::PYTHON, "A client for Python, one file to download"),
        Endpoint::public(EndpointPath::Health, get(async || "OK")).on(Operation::get(
            "Whether the process serves (`server.health`)",
        )
        .says(200, "`OK`", TEXT)),
        Endpoint::public(EndpointPath::At("/readyz"), get(ops::ready)).on(Operation::get(
            "How each part is: store, source, bus, tidb, amqp, scripts",
        )
        .json("Ready", list(&named::<Part>()))
        .answers(503, "Store, bus or source is down", JSON, list(&named::<Part>()))),
        Endpoint::public(EndpointPath::At("/status"), get(status::show)).on(status_operation()),
        Endpoint::public(EndpointPath::At("/scripts"), get(scripts::show)).on(scripts_operation()),
        Endpoint::public(EndpointPath::At("/topics"), get(topics::show)).on(topics_operation()),
        Endpoint::public(EndpointPath::At("/docs"), get(docs::start)).on(manual(
            "The manual of this version: its first page, with links to the others",
        )),
        Endpoint::public(EndpointPath::At("/docs/{page}"), get(docs::page)).on(manual(
            "A page of the manual, such as `config` or `api`; `all` has them all",
        )
        .says(200, "The style of the pages, `style.css`", "text/css; charset=utf-8")
        .refuses(404, "The manual has no such page")),
        Endpoint::public(EndpointPath::At("/openapi.json"), documents::openapi(table)).on(Operation::get(
            "This document: the HTTP endpoints",
        )
        .json("OpenAPI 3.1", document())),
        Endpoint::public(EndpointPath::At("/asyncapi.json"), documents::asyncapi(table)).on(Operation::get(
            "The WebSocket endpoints and their messages",
        )
        .json("AsyncAPI 3.0", document())),
    ]
}

fn client(path: &'static str, file: clients::File, what: &'static str) -> Endpoint {
    let kind = file.kind;
    let mut operation = Operation::get(what).says(200, "Its text", kind);
    let meaning = "`If-None-Match` names the text that is served";
    operation.answers.push(ApiResponse { status: 304, meaning, content: Vec::new() });
    let route = get(async move |headers: HeaderMap| clients::show(file, &headers));
    Endpoint::public(EndpointPath::At(path), route).on(operation)
}

/// A page of the manual, which a browser may keep.
fn manual(what: &'static str) -> Operation {
    let mut operation = Operation::get(what).says(200, "The page", HTML);
    let meaning = "`If-None-Match` names the page that is served";
    operation.answers.push(ApiResponse { status: 304, meaning, content: Vec::new() });
    operation
}

const FORM: &str = "Which form; without it a page for clients that accept HTML, else JSON";

fn form() -> Value {
    json!({ "type": "string", "enum": ["json", "html"] })
}

fn scripts_operation() -> Operation {
    Operation::get("Each script: its state, output, cost, what it counted, its last error")
        .parameter("format", FORM, &form())
        .json("All of them", named::<ScriptList>())
        .says(200, "All of them", HTML)
}

fn topics_operation() -> Operation {
    Operation::get("What there is to subscribe to: every known routing key")
        .parameter("format", FORM, &form())
        .json("The catalogue", named::<TopicCatalogue>())
        .says(200, "The catalogue", HTML)
}

fn status_operation() -> Operation {
    Operation::get("How everything is: parts, source, completeness, lag, bus, clients, disk")
        .parameter("format", FORM, &form())
        .json("Everything", named::<Status>())
        .says(200, "Everything", HTML)
}
