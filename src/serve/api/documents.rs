//! `/openapi.json` and `/asyncapi.json`, generated from the table of endpoints.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};

use super::endpoint::{ApiMessage, ApiResponse, Endpoint, Operation, SocketMessages};
use super::schema::schemas;
use crate::config::ServerConfig;
use crate::serve::http::peer::Audience;
use crate::serve::http::reached::ReachedAddress;
use crate::serve::server::{ServerState, SharedServer};

const LICENSE: &str = "Apache-2.0";
/// Where the document that is kept has the address of each request; quotes within texts are
/// escaped, so that nothing else reads so.
const NO_SERVERS: &str = "\"servers\":null";

/// The handler of the document about the HTTP endpoints of `table`.
pub(super) fn openapi(table: fn() -> Vec<Endpoint>) -> MethodRouter<Arc<ServerState>> {
    get(async move |State(server): SharedServer| {
        let document = || openapi_of(&server.options.config, &table()).to_string().into();
        json_of(server.openapi.get_or_init(document).clone())
    })
}

/// The handler of the document about the WebSocket endpoints of `table`.
pub(super) fn asyncapi(table: fn() -> Vec<Endpoint>) -> MethodRouter<Arc<ServerState>> {
    get(async move |State(server): SharedServer, request: Request| {
        let document = || asyncapi_of(&server.options.config, &table()).to_string();
        let reached = socket_servers(&ReachedAddress::of(&server, &request));
        let document = server.asyncapi.get_or_init(document);
        json_of(document.replacen(NO_SERVERS, &format!("\"servers\":{reached}"), 1).into())
    })
}

fn json_of(document: Bytes) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], document).into_response()
}

fn openapi_of(config: &ServerConfig, table: &[Endpoint]) -> Value {
    let mut paths = Map::new();
    for endpoint in table {
        let path = endpoint.path.resolve(config).to_owned();
        let methods = endpoint.operations.iter();
        let methods: Map<_, _> = methods
            .map(|operation| (operation.method.to_owned(), described(endpoint, &path, operation)))
            .collect();
        paths.insert(path, Value::Object(methods));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ghpulse",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "GitHub's public events, live and counted, with what is missed",
            "description": "What is tagged `ops` answers on the private listener (`ops.listen`) \
                alone. The messages of the WebSocket endpoints are in /asyncapi.json.",
            "license": { "name": LICENSE, "identifier": LICENSE },
        },
        "servers": servers(config),
        "tags": [
            { "name": "public", "description": "On the public listener" },
            { "name": "ops", "description": "On the private listener alone" },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "adminToken": {
                    "type": "http", "scheme": "bearer",
                    "description": "`server.adminToken`; not needed from this machine",
                },
            },
        },
    })
}

/// Relative to the address of the document. Paths are served both with and without the prefix; a
/// proxy may pass on only those with it.
fn servers(config: &ServerConfig) -> Value {
    let prefixed = config.base_path.as_deref();
    prefixed.into_iter().chain(["/"]).map(|url| json!({ "url": url })).collect()
}

/// The address under which the document is asked for: AsyncAPI has no relative ones.
fn socket_servers(reached: &ReachedAddress<'_>) -> Value {
    let Some(host) = reached.host else { return json!({}) };
    let mut server = json!({ "host": host, "protocol": reached.socket_scheme() });
    if !reached.base.is_empty() {
        server["pathname"] = reached.base.into();
    }
    json!({ "ghpulse": server })
}

fn described(endpoint: &Endpoint, path: &str, operation: &Operation) -> Value {
    let tag = match endpoint.audience {
        Audience::Public => "public",
        Audience::Ops => "ops",
    };
    let answers: Map<_, _> = operation.answers.iter().map(answer).collect();
    let mut described = json!({
        "operationId": operation_id(operation.method, path),
        "summary": operation.summary,
        "tags": [tag],
        "responses": answers,
    });
    let in_path = in_path(path).map(|name| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
    });
    let parameters: Vec<Value> = in_path.chain(operation.parameters.iter().cloned()).collect();
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    if let Some(schema) = &operation.request {
        let content = json!({ "application/json": { "schema": schema } });
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    if operation.answers.iter().any(|answer| answer.status == 401) {
        described["security"] = json!([{}, { "adminToken": [] }]);
    }
    described
}

/// `{name}` in a path.
fn in_path(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| Some(part.strip_prefix('{')?.split_once('}')?.0))
}

fn operation_id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    if words.is_empty() {
        format!("{method}-page")
    } else {
        format!("{method}-{}", words.join("-"))
    }
}

fn answer(answer: &ApiResponse) -> (String, Value) {
    let mut described = json!({ "description": answer.meaning });
    if !answer.content.is_empty() {
        let content = answer.content.iter();
        let content =
            content.map(|(kind, schema)| ((*kind).to_owned(), json!({ "schema": schema })));
        described["content"] = Value::Object(content.collect());
    }
    (answer.status.to_string(), described)
}

fn asyncapi_of(config: &ServerConfig, table: &[Endpoint]) -> Value {
    let (mut channels, mut operations) = (Map::new(), Map::new());
    for endpoint in table {
        let Some(frames) = &endpoint.frames else { continue };
        let path = endpoint.path.resolve(config);
        let name = path.trim_start_matches('/').replace('/', "-").replace(['{', '}'], "");
        channels.insert(name.clone(), channel(path, frames));
        let mut operation = |action: &str, verb: &str, messages: &[ApiMessage]| {
            if messages.is_empty() {
                return;
            }
            let reference = |message: &ApiMessage| json!({ "$ref": format!("#/channels/{name}/messages/{}", message.name) });
            let messages: Vec<Value> = messages.iter().map(reference).collect();
            let channel = json!({ "$ref": format!("#/channels/{name}") });
            let described = json!({ "action": action, "channel": channel, "messages": messages });
            operations.insert(format!("{verb}-{name}"), described);
        };
        // `receive` and `send` are from ghpulse's point of view.
        operation("receive", "ask", &frames.sent);
        operation("send", "follow", &frames.received);
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "ghpulse",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The WebSocket endpoints: text frames of JSON. `receive` is what \
                ghpulse receives, `send` what it sends. The HTTP endpoints are in /openapi.json.",
            "license": { "name": LICENSE },
        },
        "defaultContentType": "application/json",
        "servers": null,
        "channels": channels,
        "operations": operations,
        "components": { "schemas": schemas() },
    })
}

fn channel(path: &str, frames: &SocketMessages) -> Value {
    let messages = frames.sent.iter().chain(&frames.received).map(|message| {
        let described = json!({
            "name": message.name,
            "summary": message.summary,
            "payload": message.payload,
            "examples": [{ "payload": message.example }],
        });
        (message.name.to_owned(), described)
    });
    let messages: Map<_, _> = messages.collect();
    let mut channel = json!({
        "address": path,
        "summary": frames.summary,
        "messages": messages,
        "bindings": { "ws": { "method": "GET" } },
    });
    let parameters: Map<_, _> = in_path(path).map(|name| (name.to_owned(), json!({}))).collect();
    if !parameters.is_empty() {
        channel["parameters"] = Value::Object(parameters);
    }
    channel
}
