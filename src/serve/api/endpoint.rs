//! An endpoint: its path, its handler and its documentation.

use std::sync::Arc;

use axum::routing::MethodRouter;
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::schema::{derived, named, text, variant};
use crate::config::ServerConfig;
use crate::serve::http::peer::Audience;
use crate::serve::http::problem::ProblemBody;
use crate::serve::server::ServerState;

pub(crate) struct Endpoint {
    pub(crate) path: EndpointPath,
    pub(crate) audience: Audience,
    pub(crate) route: MethodRouter<Arc<ServerState>>,
    pub(crate) operations: Vec<Operation>,
    /// The messages, if the endpoint accepts WebSockets.
    pub(crate) frames: Option<SocketMessages>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndpointPath {
    /// A fixed path.
    At(&'static str),
    /// A form of the path of another endpoint, which serves it too.
    Form(&'static str),
    /// `server.health`.
    Health,
    /// `server.syncEvent`.
    SyncEvent,
}

/// One method of an endpoint.
pub(crate) struct Operation {
    /// In lower case.
    pub(crate) method: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) parameters: Vec<Value>,
    /// Schema of the JSON body.
    pub(crate) request: Option<Value>,
    pub(crate) answers: Vec<ApiResponse>,
}

/// One response of an operation.
pub(crate) struct ApiResponse {
    pub(crate) status: u16,
    pub(crate) meaning: &'static str,
    /// Media type and schema.
    pub(crate) content: Vec<(&'static str, Value)>,
}

pub(crate) struct SocketMessages {
    pub(crate) summary: &'static str,
    /// From the client.
    pub(crate) sent: Vec<ApiMessage>,
    /// From the server.
    pub(crate) received: Vec<ApiMessage>,
}

/// One kind of message.
pub(crate) struct ApiMessage {
    /// In camel case.
    pub(crate) name: &'static str,
    pub(crate) summary: String,
    pub(crate) payload: Value,
    pub(crate) example: Value,
}

impl From<&'static str> for EndpointPath {
    fn from(path: &'static str) -> Self {
        Self::At(path)
    }
}

impl EndpointPath {
    /// The configured path.
    pub(crate) fn resolve(self, config: &ServerConfig) -> &str {
        match self {
            Self::At(path) | Self::Form(path) => path,
            Self::Health => &config.health,
            Self::SyncEvent => &config.sync_event,
        }
    }

    /// Whether this path is the endpoint's own, or matches its parameter.
    pub(crate) fn covers(self, path: &str) -> bool {
        let Self::At(fixed) = self else { return false };
        let below = fixed.split_once('{').map(|(above, _)| above);
        fixed == path || below.is_some_and(|above| path.starts_with(above))
    }
}

impl ApiMessage {
    /// A message of this type, described by the type's documentation.
    pub(super) fn of<T: JsonSchema>(name: &'static str, example: Value) -> Self {
        Self::described(name, derived::<T>(), example)
    }

    /// The message of an enum with this `type`, described by the variant's documentation. The
    /// example is without the `type`.
    pub(super) fn variant<T: JsonSchema>(kind: &'static str, mut example: Value) -> Self {
        example["type"] = kind.into();
        let name = if kind == "caught_up" { "caughtUp" } else { kind };
        Self::described(name, variant::<T>(kind), example)
    }

    fn described(name: &'static str, payload: Value, example: Value) -> Self {
        let summary = payload["description"].as_str().unwrap_or_default().replace('\n', " ");
        Self { name, summary, payload, example }
    }
}

impl Endpoint {
    pub(super) fn public(
        path: impl Into<EndpointPath>,
        route: MethodRouter<Arc<ServerState>>,
    ) -> Self {
        let (path, audience) = (path.into(), Audience::Public);
        Self { path, audience, route, operations: Vec::new(), frames: None }
    }

    pub(super) fn ops(path: &'static str, route: MethodRouter<Arc<ServerState>>) -> Self {
        Self { audience: Audience::Ops, ..Self::public(path, route) }
    }

    pub(super) fn on(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    pub(super) fn with_frames(mut self, frames: SocketMessages) -> Self {
        self.frames = Some(frames);
        self
    }

    /// Adds the responses that every endpoint has.
    pub(super) fn complete(mut self) -> Self {
        for operation in &mut self.operations {
            let has_body = operation.request.is_some();
            let mut refuses =
                |status, meaning| operation.document(status, meaning, Some(problem()));
            refuses(400, "A head that breaks a rule, such as two `Host` lines");
            if self.audience == Audience::Public {
                refuses(403, "A page of an origin that may not ask (`server.allowedOrigins`)");
                refuses(429, "Too many connections or queries of one address; `Retry-After`");
                refuses(503, "No slot is free, or the server is stopping; `Retry-After`");
            }
            if has_body {
                refuses(413, "A body of more than 64 KiB");
                refuses(415, "A body that is not JSON, or comes from a page");
            }
            if self.frames.is_some() {
                operation.document(101, "A WebSocket; its messages are in /asyncapi.json", None);
                let meaning = if operation.answers.iter().any(|answer| answer.status == 200) {
                    "A handshake of another version than 13: one line that says which is spoken"
                } else {
                    "Without a handshake of version 13: one line that says how to connect"
                };
                operation.document(426, meaning, Some((TEXT, text())));
            }
        }
        self
    }
}

fn problem() -> (&'static str, Value) {
    (PROBLEM, named::<ProblemBody<'_>>())
}

impl Operation {
    pub(super) fn get(summary: &'static str) -> Self {
        Self::of("get", summary)
    }

    pub(super) fn post(summary: &'static str) -> Self {
        Self::of("post", summary)
    }

    fn of(method: &'static str, summary: &'static str) -> Self {
        Self { method, summary, parameters: Vec::new(), request: None, answers: Vec::new() }
    }

    /// A parameter of the URL. Of one with an enum, an empty value counts as absent.
    pub(super) fn parameter(mut self, name: &str, meaning: &str, schema: Value) -> Self {
        let mut parameter = json!({ "name": name, "in": "query", "description": meaning });
        if schema.get("enum").is_some() {
            parameter["allowEmptyValue"] = true.into();
        }
        parameter["schema"] = schema;
        self.parameters.push(parameter);
        self
    }

    /// The parameter that selects one of these media types.
    fn format(self, names: &[&str]) -> Self {
        let schema = json!({ "type": "string", "enum": names });
        self.parameter("format", "Which form; without it by `Accept`, else JSON", schema)
    }

    /// The same content as JSON or as a page.
    pub(super) fn json_or_page(self, meaning: &'static str, schema: Value) -> Self {
        self.format(&["json", "html"]).json(meaning, schema).says(200, meaning, HTML)
    }

    /// A table as JSON, or as CSV with these lines.
    pub(super) fn json_or_csv(
        self,
        meaning: &'static str,
        schema: Value,
        lines: &'static str,
    ) -> Self {
        let table = self.format(&["json", "csv"]).json(meaning, schema).says(200, lines, CSV);
        table.refuses(406, "Neither JSON nor CSV is taken")
    }

    /// These fields of the type of a query as parameters.
    pub(super) fn query<T: JsonSchema>(mut self, names: &[&str]) -> Self {
        let mut fields = derived::<T>()["properties"].take();
        for name in names {
            let mut schema = fields[name].take();
            let meaning = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            let parameter =
                json!({ "name": name, "in": "query", "description": meaning, "schema": schema });
            self.parameters.push(parameter);
        }
        self
    }

    pub(super) fn takes(mut self, schema: Value) -> Self {
        self.request = Some(schema);
        self
    }

    pub(super) fn answers(
        mut self,
        status: u16,
        meaning: &'static str,
        kind: &'static str,
        schema: Value,
    ) -> Self {
        self.document(status, meaning, Some((kind, schema)));
        self
    }

    pub(super) fn says(self, status: u16, meaning: &'static str, kind: &'static str) -> Self {
        self.answers(status, meaning, kind, text())
    }

    pub(super) fn json(self, meaning: &'static str, schema: Value) -> Self {
        self.answers(200, meaning, JSON, schema)
    }

    pub(super) fn refuses(mut self, status: u16, meaning: &'static str) -> Self {
        self.document(status, meaning, Some(problem()));
        self
    }

    /// A response without a body.
    pub(super) fn empty(mut self, status: u16, meaning: &'static str) -> Self {
        self.document(status, meaning, None);
        self
    }

    /// The response to a client that has the current answer already.
    pub(super) fn cached(self) -> Self {
        self.empty(304, "`If-None-Match` names what would be sent")
    }

    /// Adds a response, unless there is one with this status and media type.
    fn document(
        &mut self,
        status: u16,
        meaning: &'static str,
        content: Option<(&'static str, Value)>,
    ) {
        let Some(known) = self.answers.iter_mut().find(|answer| answer.status == status) else {
            let content = content.into_iter().collect();
            return self.answers.push(ApiResponse { status, meaning, content });
        };
        let is_new = |(kind, _): &(&str, _)| known.content.iter().all(|(other, _)| other != kind);
        if let Some(content) = content.filter(is_new) {
            known.content.push(content);
        }
    }
}

pub(super) const JSON: &str = "application/json";
pub(super) const PROBLEM: &str = "application/problem+json";
pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
const CSV: &str = "text/csv; charset=utf-8";
