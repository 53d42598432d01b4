//! Endpoints: health, status, pages, and the documents about the API.

use axum::routing::get;
use http::HeaderMap;
use serde_json::json;

use crate::model::part::Part;
use crate::serve::admin::report::Status;
use crate::serve::admin::{ops, status};
use crate::serve::api::documents;
use crate::serve::api::endpoint::{Endpoint, EndpointPath, HTML, JSON, Operation, TEXT};
use crate::serve::api::schema::{derived, named};
use crate::serve::pages::static_file::{self, StaticFile};
use crate::serve::pages::topics::{self, TopicCatalogue};
use crate::serve::pages::{self, clients, docs, robots};
use crate::serve::scripts::{self, ScriptList};

pub(super) fn page() -> Endpoint {
    let what = "A page: what this is, how it is, and the events passing";
    Endpoint::public("/", get(pages::show)).on(Operation::get(what).says(200, "The page", HTML))
}

/// The other endpoints of this module. The documents about the API list the endpoints of `table`.
pub(super) fn all(table: fn() -> Vec<Endpoint>) -> Vec<Endpoint> {
    let get_page = |what| Operation::get(what).says(200, "The page", HTML);
    let get_document = |what, kind| Operation::get(what).json(kind, json!({ "type": "object" }));
    vec![
        Endpoint::public("/play", get(pages::play))
            .on(get_page("A page to try the stream: queries, events, cursors, the same for curl")),
        file("/client.js", clients::JAVASCRIPT, "A client for JavaScript, one module to import"),
        file("/client.d.ts", clients::TYPES, "TypeScript's types of `/client.js`"),
        file("/client.py", clients::PYTHON, "A client for Python, one file to download"),
        file("/favicon.ico", pages::ICON, "The icon of the pages"),
        Endpoint::public("/robots.txt", get(robots::show)).on(Operation::get(
            "What crawlers may fetch: the pages and the manual",
        )
        .says(200, "The rules (RFC 9309)", TEXT)),
        Endpoint::public(EndpointPath::Health, get(async || "OK"))
            .on(Operation::get("Whether the process serves (`server.health`)")
                .says(200, "`OK`", TEXT)),
        Endpoint::public("/readyz", get(ops::ready)).on(readiness()),
        Endpoint::public("/status", get(status::show))
            .on(Operation::get("How everything is: parts, source, completeness, lag, disk")
                .json_or_page("Everything", named::<Status>())),
        Endpoint::public("/scripts", get(scripts::show))
            .on(Operation::get("Each script: state, output, cost, what it counted, last error")
                .json_or_page("All of them", named::<ScriptList>())),
        Endpoint::public("/topics", get(topics::show))
            .on(Operation::get("What there is to subscribe to: every known routing key")
                .json_or_page("The catalogue", named::<TopicCatalogue>())),
        Endpoint::public("/docs", get(docs::start))
            .on(get_page("The manual of this version: its first page, with links").cached()),
        Endpoint::public("/docs/{page}", get(docs::page)).on(get_page(
            "A page of the manual, such as `config`; `all` has them all",
        )
        .says(200, "The style of the pages, `style.css`", "text/css; charset=utf-8")
        .says(200, "Their script, `address.js`", "text/javascript; charset=utf-8")
        .cached()
        .refuses(404, "The manual has no such page")),
        Endpoint::public("/openapi.json", documents::openapi(table))
            .on(get_document("This document: the HTTP endpoints", "OpenAPI 3.1")),
        Endpoint::public("/asyncapi.json", documents::asyncapi(table))
            .on(get_document("The WebSocket endpoints and their messages", "AsyncAPI 3.0")),
    ]
}

fn file(path: &'static str, file: StaticFile, what: &'static str) -> Endpoint {
    let route = get(async move |headers: HeaderMap| static_file::show(file, &headers));
    Endpoint::public(path, route).on(Operation::get(what).says(200, "Its text", file.kind).cached())
}

fn readiness() -> Operation {
    let parts = derived::<Vec<Part>>();
    Operation::get("How each part is: store, source, bus, tidb, amqp, scripts")
        .json("Ready", parts.clone())
        .answers(503, "Store, bus or source is down", JSON, parts)
}
