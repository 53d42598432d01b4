//! The table of endpoints. The router, the list in a 404, `/openapi.json` and `/asyncapi.json` are
//! generated from it, so everything served is documented.

mod about;
mod archive;
mod counts;
mod events;
mod history;
mod operations;
mod sockets;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use axum::routing::MethodRouter;
use http::{HeaderValue, Method};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::hub::StreamMessage;
use crate::serve::admin::operate::{ArchiveRequest, StoreRequest, SyncAnswer};
use crate::serve::admin::report::Status;
use crate::serve::http::peer::Audience;
use crate::serve::http::problem::ProblemBody;
use crate::serve::options::ServeOptions;
use crate::serve::pages::topics::TopicCatalogue;
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

/// All endpoints, in reading order.
pub(crate) fn all() -> Vec<Endpoint> {
    let mut all = vec![about::page()];
    all.extend(sockets::all());
    all.extend(counts::all());
    all.push(events::endpoint());
    all.extend(history::all());
    all.extend(archive::all());
    all.extend(about::all());
    all.extend(operations::all());
    all.into_iter().map(Endpoint::complete).collect()
}

/// The properties of a path, known before its handler runs.
pub(crate) struct EndpointRow {
    path: EndpointPath,
    pub(crate) audience: Audience,
    /// The value of `Allow`.
    pub(crate) allow: HeaderValue,
    /// Parameters of a GET with a fixed set of values.
    pub(crate) listed: Vec<(String, Vec<String>)>,
}

static ROWS: LazyLock<Vec<EndpointRow>> =
    LazyLock::new(|| all().iter().map(EndpointRow::of).collect());

/// The row of a path without the prefix. An exact path takes precedence over a parameter.
pub(crate) fn find(path: &str, options: &ServeOptions) -> Option<&'static EndpointRow> {
    let exact = ROWS.iter().find(|row| row.path.resolve(options) == path);
    exact.or_else(|| ROWS.iter().find(|row| row.path.covers(path)))
}

impl EndpointRow {
    /// Whether the method is allowed.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        self.allow.to_str().unwrap_or_default().split(", ").any(|known| known == method.as_str())
    }

    /// The methods except OPTIONS, as listed in the `Allow` header of a 405.
    pub(crate) fn methods(&self) -> HeaderValue {
        let allow = self.allow.to_str().unwrap_or_default().split(", ");
        let methods: Vec<&str> = allow.filter(|method| *method != "OPTIONS").collect();
        HeaderValue::from_str(&methods.join(",")).expect("names of methods")
    }

    fn of(endpoint: &Endpoint) -> Self {
        let mut methods = vec!["OPTIONS".to_owned()];
        for operation in &endpoint.operations {
            // A HEAD request would run the sync.
            let has_head = operation.method == "get" && endpoint.path != EndpointPath::SyncEvent;
            methods.extend(has_head.then(|| "HEAD".to_owned()));
            methods.push(operation.method.to_uppercase());
        }
        methods.sort();
        let parameters = endpoint.operations.iter().filter(|operation| operation.method == "get");
        let listed = parameters.flat_map(|operation| &operation.parameters).filter_map(|it| {
            let values = it["schema"]["enum"].as_array()?;
            let values = values.iter().map(|value| value.as_str().map(str::to_owned));
            Some((it["name"].as_str()?.to_owned(), values.collect::<Option<Vec<_>>>()?))
        });
        Self {
            path: endpoint.path,
            audience: endpoint.audience,
            allow: HeaderValue::from_str(&methods.join(", ")).expect("names of methods"),
            listed: listed.collect(),
        }
    }
}

/// The public endpoints with fixed paths.
static LISTED: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let public = all().into_iter().filter(|endpoint| endpoint.audience == Audience::Public);
    let fixed = public.filter_map(|endpoint| match endpoint.path {
        EndpointPath::At(path) => Some(path),
        EndpointPath::Health | EndpointPath::SyncEvent => None,
    });
    fixed.collect()
});

/// The public endpoints with fixed paths, for the body of a 404.
pub(crate) fn listed() -> &'static [&'static str] {
    &LISTED
}

impl EndpointPath {
    /// The configured path.
    pub(crate) fn resolve(self, options: &ServeOptions) -> &str {
        match self {
            Self::At(path) => path,
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

    fn new(audience: Audience, path: EndpointPath, route: MethodRouter<Arc<ServerState>>) -> Self {
        Self { path, audience, route, operations: Vec::new(), frames: None }
    }

    fn public(path: EndpointPath, route: MethodRouter<Arc<ServerState>>) -> Self {
        Self::new(Audience::Public, path, route)
    }

    fn ops(path: &'static str, route: MethodRouter<Arc<ServerState>>) -> Self {
        Self::new(Audience::Ops, EndpointPath::At(path), route)
    }

    /// Adds the responses that every endpoint has.
    fn complete(mut self) -> Self {
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

    fn on(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    fn with_frames(mut self, frames: SocketMessages) -> Self {
        self.frames = Some(frames);
        self
    }
}

impl Operation {
    fn get(summary: &'static str) -> Self {
        Self::of("get", summary)
    }

    fn post(summary: &'static str) -> Self {
        Self::of("post", summary)
    }

    fn of(method: &'static str, summary: &'static str) -> Self {
        Self { method, summary, parameters: Vec::new(), request: None, answers: Vec::new() }
    }

    fn parameter(mut self, name: &str, meaning: &str, schema: &Value) -> Self {
        self.parameters
            .push(json!({ "name": name, "in": "query", "description": meaning, "schema": schema }));
        self
    }

    fn takes(mut self, schema: Value) -> Self {
        self.request = Some(schema);
        self
    }

    fn answers(
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

    fn says(self, status: u16, meaning: &'static str, kind: &'static str) -> Self {
        self.answers(status, meaning, kind, text())
    }

    fn json(self, meaning: &'static str, schema: Value) -> Self {
        self.answers(200, meaning, JSON, schema)
    }

    fn refuses(self, status: u16, meaning: &'static str) -> Self {
        self.answers(status, meaning, PROBLEM, named::<ProblemBody<'_>>())
    }
}

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A reference to a schema of [`schemas`].
fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A reference to the schema of a type, which [`schemas`] holds.
fn named<T: JsonSchema>() -> Value {
    reference(&T::schema_name())
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// A cursor as its parser accepts it, with this suffix; an empty string is no cursor.
fn cursor(behind: &str) -> Value {
    let tag = "[0-9a-f]{8}-";
    let (long, short) = (number(16), number(8));
    json!({ "type": "string", "pattern": format!("^({tag}(b|{long})(b|{long})(b|{short}){behind})?$") })
}

/// The suffix of a cursor of counts: the hash of the value.
const MARK: &str = "(~[0-9a-f]{16})?";

/// A number from 1 with up to `digits` hexadecimal digits, after a letter that encodes their count.
fn number(digits: u8) -> String {
    let some = (1..=digits).map(|digits| {
        let rest = if digits > 1 { format!("[0-9a-f]{{{}}}", digits - 1) } else { String::new() };
        format!("{}[1-9a-f]{rest}", char::from(b'b' + digits))
    });
    some.collect::<Vec<_>>().join("|")
}

fn whole() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn list(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// An object; properties without a trailing `?` are required.
fn object(properties: &[(&str, Value)]) -> Value {
    let required = properties.iter().map(|(name, _)| *name).filter(|name| !name.ends_with('?'));
    let required: Vec<&str> = required.collect();
    let all = properties.iter();
    let all = all.map(|(name, schema)| (name.trim_end_matches('?').to_owned(), schema.clone()));
    let all: serde_json::Map<_, _> = all.collect();
    let mut schema = json!({ "type": "object", "properties": all });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A value of that schema, or null.
fn nullable(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

/// A map from text to values of this schema.
fn map(values: &Value) -> Value {
    json!({ "type": "object", "additionalProperties": values })
}

/// The schema of the message of an enum with this `type`.
fn variant<T: JsonSchema>(kind: &str) -> Value {
    let schema = T::json_schema(&mut generator()).to_value();
    let variants = schema["oneOf"].as_array().into_iter().flatten();
    let mut variants = variants.filter(|variant| variant["properties"]["type"]["const"] == kind);
    variants.next().cloned().expect("the enum has a message of that type")
}

/// Creates a generator for schemas of serialised types, with OpenAPI and AsyncAPI references.
fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    settings.into_generator()
}

/// The named schemas, derived from the serialised types; events are passed on as GitHub sent them.
pub(crate) fn schemas() -> Value {
    let mut generator = generator();
    generator.subschema_for::<ProblemBody<'_>>();
    generator.subschema_for::<Status>();
    generator.subschema_for::<StreamMessage<'_>>();
    generator.subschema_for::<TopicCatalogue>();
    generator.subschema_for::<SyncAnswer>();
    generator.subschema_for::<ArchiveRequest>();
    generator.subschema_for::<StoreRequest>();
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Event".to_owned(), sockets::event_schema());
    Value::Object(schemas)
}
