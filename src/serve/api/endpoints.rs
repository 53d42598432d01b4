//! The table of what is served. The router is made of it, and so are the list that a lost client
//! is given, `/openapi.json` and `/asyncapi.json`: what is not in here is not served, and what is
//! served is documented.

mod about;
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
use crate::serve::server::Server;

/// Something that is served.
pub(crate) struct Endpoint {
    pub(crate) place: Place,
    pub(crate) audience: Audience,
    pub(crate) route: MethodRouter<Arc<Server>>,
    pub(crate) operations: Vec<Operation>,
    /// What travels when it becomes a WebSocket.
    pub(crate) frames: Option<Frames>,
}

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Always there.
    At(&'static str),
    /// `server.health`.
    Health,
    /// `server.syncEvent`.
    SyncEvent,
}

/// One method of it.
pub(crate) struct Operation {
    /// In lower case.
    pub(crate) method: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) parameters: Vec<Value>,
    /// Schema of the JSON that is sent.
    pub(crate) request: Option<Value>,
    pub(crate) answers: Vec<Answer>,
}

/// One answer to it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) meaning: &'static str,
    /// Media type and schema.
    pub(crate) content: Vec<(&'static str, Value)>,
}

/// The messages of a WebSocket.
pub(crate) struct Frames {
    pub(crate) summary: &'static str,
    /// From the client.
    pub(crate) sent: Vec<Message>,
    /// From us.
    pub(crate) received: Vec<Message>,
}

/// One kind of message.
pub(crate) struct Message {
    /// In camel case.
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) payload: Value,
    pub(crate) example: Value,
}

/// Everything that is served, in the order of reading.
pub(crate) fn all() -> Vec<Endpoint> {
    let mut all = vec![about::page()];
    all.extend(sockets::all());
    all.extend(counts::all());
    all.push(events::endpoint());
    all.extend(history::all());
    all.extend(about::all());
    all.extend(operations::all());
    all.into_iter().map(Endpoint::complete).collect()
}

/// What is known of a path without asking its endpoint.
pub(crate) struct Row {
    place: Place,
    pub(crate) audience: Audience,
    /// The methods that it takes, as `Allow` lists them.
    pub(crate) allow: HeaderValue,
    /// Parameters of a GET that take only these values.
    pub(crate) listed: Vec<(String, Vec<String>)>,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| all().iter().map(Row::of).collect());

/// The row of a path, without the prefix; that of a name before that of all below it.
pub(crate) fn find(path: &str, options: &ServeOptions) -> Option<&'static Row> {
    let exact = ROWS.iter().find(|row| row.place.path(options) == path);
    exact.or_else(|| ROWS.iter().find(|row| row.place.is_over(path)))
}

impl Row {
    /// Whether it takes a method.
    pub(crate) fn takes(&self, method: &Method) -> bool {
        self.allow.to_str().unwrap_or_default().split(", ").any(|known| known == method.as_str())
    }

    fn of(endpoint: &Endpoint) -> Self {
        let mut methods = vec!["OPTIONS".to_owned()];
        for operation in &endpoint.operations {
            // A HEAD would run the sync.
            let has_head = operation.method == "get" && endpoint.place != Place::SyncEvent;
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
            place: endpoint.place,
            audience: endpoint.audience,
            allow: HeaderValue::from_str(&methods.join(", ")).expect("names of methods"),
            listed: listed.collect(),
        }
    }
}

/// The public endpoints that are always where they are.
static LISTED: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let public = all().into_iter().filter(|endpoint| endpoint.audience == Audience::Public);
    let fixed = public.filter_map(|endpoint| match endpoint.place {
        Place::At(path) => Some(path),
        Place::Health | Place::SyncEvent => None,
    });
    fixed.collect()
});

/// What a lost client is pointed to.
pub(crate) fn listed() -> &'static [&'static str] {
    &LISTED
}

impl Place {
    /// The path, as the configuration has it.
    pub(crate) fn path(self, options: &ServeOptions) -> &str {
        match self {
            Self::At(path) => path,
            Self::Health => &options.health,
            Self::SyncEvent => &options.sync_event,
        }
    }

    /// Whether it is always at that path, or below it whatever the name.
    pub(crate) fn is_over(self, path: &str) -> bool {
        let Self::At(fixed) = self else { return false };
        let below = fixed.split_once('{').map(|(above, _)| above);
        fixed == path || below.is_some_and(|above| path.starts_with(above))
    }
}

impl Endpoint {
    /// Whether it is served on the listeners of this audience.
    pub(crate) fn is_for(&self, audience: Audience) -> bool {
        self.audience.includes(audience)
    }

    fn new(audience: Audience, place: Place, route: MethodRouter<Arc<Server>>) -> Self {
        Self { place, audience, route, operations: Vec::new(), frames: None }
    }

    fn public(place: Place, route: MethodRouter<Arc<Server>>) -> Self {
        Self::new(Audience::Public, place, route)
    }

    fn ops(path: &'static str, route: MethodRouter<Arc<Server>>) -> Self {
        Self::new(Audience::Ops, Place::At(path), route)
    }

    /// With the answers that are given in front of every endpoint.
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
                    operation.answers.insert(0, Answer { status: 101, meaning, content: vec![] });
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

    fn with_frames(mut self, frames: Frames) -> Self {
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
            None => self.answers.push(Answer { status, meaning, content: vec![(kind, schema)] }),
        }
        self
    }

    /// Adds an answer of this media type, unless it has one with this status and type.
    fn known(&mut self, status: u16, meaning: &'static str, kind: &'static str) {
        let schema = if kind == PROBLEM { named::<ProblemBody<'_>>() } else { text() };
        match self.answers.iter_mut().find(|answer| answer.status == status) {
            Some(answer) if answer.content.iter().any(|(known, _)| *known == kind) => {}
            Some(answer) => answer.content.push((kind, schema)),
            None => self.answers.push(Answer { status, meaning, content: vec![(kind, schema)] }),
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

/// A cursor as its parser takes it, and what may stand behind it; an empty one is none.
fn cursor(behind: &str) -> Value {
    let tag = "[0-9a-f]{8}-";
    let (long, short) = (number(16), number(8));
    json!({ "type": "string", "pattern": format!("^({tag}(b|{long})(b|{long})(b|{short}){behind})?$") })
}

/// What stands behind a cursor of counts: the value's hash.
const MARK: &str = "(~[0-9a-f]{16})?";

/// A number from 1 on of up to so many hexadecimal digits, behind a letter that says how many.
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

/// An object with these properties, of which those without a `?` are always there.
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

/// Text -> a value of that schema.
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

/// Generates schemas of what is written, with references as OpenAPI and AsyncAPI have them.
fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    settings.into_generator()
}

/// The schemas that have a name, derived from the types that are written; events are passed on as
/// GitHub wrote them.
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
