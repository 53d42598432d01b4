//! An endpoint: its path, its handler and its documentation.

use std::sync::Arc;

use axum::routing::MethodRouter;
use serde_json::{Value, json};

use super::schema::{named, text};
use crate::serve::http::peer::Audience;
use crate::serve::http::problem::ProblemBody;
use crate::serve::options::ServeOptions;
use crate::serve::server::ServerState;

/// An endpoint.
pub(crate) struct Endpoint {
    pub(crate) path: EndpointPath,
    pub(crate) audience: Audience,
    pub(crate) route: MethodRouter<Arc<ServerState>>,
    pub(crate) operations: Vec<Operation>,
    /// The messages, if the endpoint accepts WebSockets.
    pub(crate) frames: Option<SocketMessages>,
}

/// The path of an endpoint.
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

/// The messages of a WebSocket.
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
    pub(crate) summary: &'static str,
    pub(crate) payload: Value,
    pub(crate) example: Value,
}

impl EndpointPath {
    /// The configured path.
    pub(crate) fn resolve(self, options: &ServeOptions) -> &str {
        match self {
            Self::At(path) | Self::Form(path) => path,
            Self::Health => &options.health,
            Self::SyncEvent => &options.sync_event,
        }
    }

    /// Whether this path is the endpoint's own, or matches its parameter.
    pub(crate) fn covers(self, path: &str) -> bool {
        let Self::At(fixed) = self else { return false };
        let below = fixed.split_once('{').map(|(above, _)| above);
        fixed == path || below.is_some_and(|above| path.starts_with(above))
    }
}

impl Endpoint {
    /// Whether the endpoint is served on the listeners of this audience.
    pub(crate) fn is_for(&self, audience: Audience) -> bool {
        self.audience.includes(audience)
    }

    pub(in crate::serve::api) fn new(
        audience: Audience,
        path: EndpointPath,
        route: MethodRouter<Arc<ServerState>>,
    ) -> Self {
        Self { path, audience, route, operations: Vec::new(), frames: None }
    }

    pub(in crate::serve::api) fn public(
        path: EndpointPath,
        route: MethodRouter<Arc<ServerState>>,
    ) -> Self {
        Self::new(Audience::Public, path, route)
    }

    pub(in crate::serve::api) fn ops(
        path: &'static str,
        route: MethodRouter<Arc<ServerState>>,
    ) -> Self {
        Self::new(Audience::Ops, EndpointPath::At(path), route)
    }

    /// Adds the responses that every endpoint has.
    pub(in crate::serve::api) fn complete(mut self) -> Self {
        let becomes_socket = self.frames.is_some();
        for operation in &mut self.operations {
            operation.known(400, "A head that breaks a rule, such as two `Host` lines", PROBLEM);
            if operation.request.is_some() {
                operation.known(413, "A body of more than 64 KiB", PROBLEM);
                operation.known(415, "A body that is not JSON, or comes from a page", PROBLEM);
            }
            if self.audience == Audience::Public {
                let origins = "A page of an origin that may not ask (`server.allowedOrigins`)";
                operation.known(403, origins, PROBLEM);
                let many = "Too many connections or queries of one address; `Retry-After` says \
                    when to try again";
                operation.known(429, many, PROBLEM);
                let full = "No place is left, or it is stopping; `Retry-After` says when to try \
                    again";
                operation.known(503, full, PROBLEM);
            }
            if becomes_socket {
                let meaning = "A WebSocket; its messages are in /asyncapi.json";
                let is_known = operation.answers.iter().any(|answer| answer.status == 101);
                if !is_known {
                    operation
                        .answers
                        .insert(0, ApiResponse { status: 101, meaning, content: vec![] });
                }
                let version = "A WebSocket was asked for in a way that is not spoken here";
                operation.known(426, version, TEXT);
            }
        }
        self
    }

    pub(in crate::serve::api) fn on(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    pub(in crate::serve::api) fn with_frames(mut self, frames: SocketMessages) -> Self {
        self.frames = Some(frames);
        self
    }
}

impl Operation {
    pub(in crate::serve::api) fn get(summary: &'static str) -> Self {
        Self::of("get", summary)
    }

    pub(in crate::serve::api) fn post(summary: &'static str) -> Self {
        Self::of("post", summary)
    }

    fn of(method: &'static str, summary: &'static str) -> Self {
        Self { method, summary, parameters: Vec::new(), request: None, answers: Vec::new() }
    }

    pub(in crate::serve::api) fn parameter(
        mut self,
        name: &str,
        meaning: &str,
        schema: &Value,
    ) -> Self {
        self.parameters
            .push(json!({ "name": name, "in": "query", "description": meaning, "schema": schema }));
        self
    }

    pub(in crate::serve::api) fn takes(mut self, schema: Value) -> Self {
        self.request = Some(schema);
        self
    }

    pub(in crate::serve::api) fn answers(
        mut self,
        status: u16,
        meaning: &'static str,
        kind: &'static str,
        schema: Value,
    ) -> Self {
        match self.answers.iter_mut().find(|answer| answer.status == status) {
            Some(answer) => answer.content.push((kind, schema)),
            None => {
                self.answers.push(ApiResponse { status, meaning, content: vec![(kind, schema)] });
            }
        }
        self
    }

    /// Adds a response of this media type, unless there is one with this status and type.
    fn known(&mut self, status: u16, meaning: &'static str, kind: &'static str) {
        let schema = if kind == PROBLEM { named::<ProblemBody<'_>>() } else { text() };
        match self.answers.iter_mut().find(|answer| answer.status == status) {
            Some(answer) if answer.content.iter().any(|(known, _)| *known == kind) => {}
            Some(answer) => answer.content.push((kind, schema)),
            None => {
                self.answers.push(ApiResponse { status, meaning, content: vec![(kind, schema)] });
            }
        }
    }

    pub(in crate::serve::api) fn says(
        self,
        status: u16,
        meaning: &'static str,
        kind: &'static str,
    ) -> Self {
        self.answers(status, meaning, kind, text())
    }

    pub(in crate::serve::api) fn json(self, meaning: &'static str, schema: Value) -> Self {
        self.answers(200, meaning, JSON, schema)
    }

    pub(in crate::serve::api) fn refuses(self, status: u16, meaning: &'static str) -> Self {
        self.answers(status, meaning, PROBLEM, named::<ProblemBody<'_>>())
    }
}

pub(in crate::serve::api) const JSON: &str = "application/json";
pub(in crate::serve::api) const PROBLEM: &str = "application/problem+json";
pub(in crate::serve::api) const HTML: &str = "text/html; charset=utf-8";
pub(in crate::serve::api) const TEXT: &str = "text/plain; charset=utf-8";
