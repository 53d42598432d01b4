//! JSON schemas of requests, responses and messages.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::hub::{GaugeMessage, StreamMessage};
use crate::model::envelope::Flags;
use crate::serve::admin::operate::{ArchiveRequest, StoreRequest, SyncAnswer};
use crate::serve::admin::report::Status;
use crate::serve::http::problem::ProblemBody;
use crate::serve::ledger::written::{RepoReport, TopReport};
use crate::serve::pages::topics::TopicCatalogue;
use crate::serve::scripts::ScriptList;

/// A reference to a schema of [`schemas`].
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A reference to the schema of a type, which [`schemas`] holds.
pub(super) fn named<T: JsonSchema>() -> Value {
    reference(&T::schema_name())
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

/// An object; properties without a trailing `?` are required.
pub(super) fn object(properties: &[(&str, Value)]) -> Value {
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

/// The schema of a type, written out.
pub(super) fn derived<T: JsonSchema>() -> Value {
    T::json_schema(&mut generator()).to_value()
}

/// The schema of a message with the parameters of a URL. All may be left out; a list may be one
/// text, a number may be a text, and of an enum the texts may be numbers and booleans.
pub(super) fn message_of<T: JsonSchema>() -> Value {
    let mut schema = derived::<T>();
    schema.as_object_mut().map(|schema| schema.remove("required"));
    let properties = schema["properties"].as_object_mut().into_iter().flatten();
    for (_, property) in properties {
        if let Some(texts) = property.get_mut("enum").and_then(Value::as_array_mut) {
            let bare = texts.iter().filter_map(|text| serde_json::from_str(text.as_str()?).ok());
            let bare: Vec<Value> = bare.collect();
            texts.extend(bare);
            property.as_object_mut().map(|property| property.remove("type"));
        } else if property["type"] == "array" {
            property["type"] = json!(["string", "array"]);
        } else if property["type"] == "integer" {
            property["type"] = json!(["integer", "string"]);
            property["pattern"] = "^[0-9]+$".into();
        }
    }
    schema
}

/// The schema of the message of an enum with this `type`.
pub(super) fn variant<T: JsonSchema>(kind: &str) -> Value {
    let schema = derived::<T>();
    let variants = schema["oneOf"].as_array().into_iter().flatten();
    let mut variants = variants.filter(|variant| variant["properties"]["type"]["const"] == kind);
    variants.next().cloned().expect("the enum has a message of that type")
}

/// Creates a generator for schemas of serialised types, with OpenAPI and AsyncAPI references.
pub(super) fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    settings.into_generator()
}

/// The named schemas, derived from the serialised types; events are passed on as GitHub sent them.
pub(super) fn schemas() -> Value {
    let mut generator = generator();
    generator.subschema_for::<ProblemBody<'_>>();
    generator.subschema_for::<Status>();
    generator.subschema_for::<StreamMessage<'_>>();
    generator.subschema_for::<GaugeMessage<'_>>();
    generator.subschema_for::<TopicCatalogue>();
    generator.subschema_for::<SyncAnswer>();
    generator.subschema_for::<ArchiveRequest>();
    generator.subschema_for::<StoreRequest>();
    generator.subschema_for::<RepoReport<'_>>();
    generator.subschema_for::<TopReport<'_>>();
    generator.subschema_for::<ScriptList>();
    let mut schemas = generator.take_definitions(true);
    schemas.insert("Event".to_owned(), event_schema());
    schemas.insert(EVENT_MESSAGE.to_owned(), event_message());
    schemas.insert(ENTITY_MESSAGE.to_owned(), entity_message());
    let messages = [EVENT_MESSAGE, ENTITY_MESSAGE].map(reference);
    let messages = json!({ "oneOf": [messages[0], messages[1], named::<StreamMessage<'_>>()] });
    schemas.insert(STREAM_LINE.to_owned(), messages);
    Value::Object(schemas)
}

/// The seven flags of an event, each 0 or 1.
pub(super) fn flags() -> [(&'static str, Value); 7] {
    Flags::default().named().map(|(name, _)| (name, flag()))
}

fn flag() -> Value {
    json!({ "type": "integer", "enum": [0, 1] })
}

/// The payload of a message with an event: its flags, and its enrichment.
fn payload() -> Value {
    let lines = json!({ "type": ["integer", "null"], "minimum": 0 });
    let enrichment = [
        ("language", json!({ "type": ["string", "null"] })),
        ("additions", lines.clone()),
        ("deletions", lines),
        ("enriched", flag()),
    ];
    object(&[&flags()[..], &enrichment].concat())
}

/// The schema of a message with an event.
pub(super) const EVENT_MESSAGE: &str = "EventMessage";
/// The schema of a message with a document.
pub(super) const ENTITY_MESSAGE: &str = "EntityMessage";
/// The schema of a line of `/stream`: these two, and the control messages.
pub(super) const STREAM_LINE: &str = "StreamLine";

fn event_message() -> Value {
    object(&[
        ("type", json!({ "const": "event" })),
        ("cursor", text()),
        ("key", text()),
        ("event?", reference("Event")),
        ("payload?", payload()),
        ("fields?", json!({ "type": "object" })),
        ("simulated?", simulated()),
    ])
}

fn entity_message() -> Value {
    object(&[
        ("type", json!({ "const": "entity" })),
        ("cursor", text()),
        ("key", text()),
        ("document", json!({ "type": "object" })),
        ("simulated?", simulated()),
    ])
}

fn simulated() -> Value {
    let about = "It comes from the simulated GitHub; absent otherwise";
    json!({ "type": "boolean", "const": true, "description": about })
}

/// An event as GitHub sends it; an id repeats between types.
fn event_schema() -> Value {
    object(&[
        ("id", json!({ "type": ["string", "integer"] })),
        ("type", text()),
        ("actor?", json!({ "type": "object" })),
        ("repo?", json!({ "type": "object" })),
        ("payload?", json!({ "type": "object" })),
        ("public?", json!({ "type": "boolean" })),
        ("created_at?", json!({ "type": "string", "format": "date-time" })),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members that may be left out and may be null, below `schema`.
    fn absent_or_null(schema: &Value, at: &str, found: &mut Vec<String>) {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_null =
                property["type"].as_array().is_some_and(|types| types.contains(&json!("null")))
                    || property["anyOf"]
                        .as_array()
                        .is_some_and(|all| all.contains(&json!({ "type": "null" })));
            if is_null && !required.contains(&json!(name)) {
                found.push(format!("{at}.{name}"));
            }
        }
        let below: Vec<(String, &Value)> = match schema {
            Value::Object(members) => members.iter().map(|(name, it)| (name.clone(), it)).collect(),
            Value::Array(items) => items.iter().map(|it| (String::new(), it)).collect(),
            _ => Vec::new(),
        };
        for (name, schema) in below {
            absent_or_null(schema, &format!("{at}/{name}"), found);
        }
    }

    #[test]
    fn member_that_may_be_left_out_is_never_null() {
        let schemas = schemas();
        let mut found = Vec::new();
        absent_or_null(&schemas, "", &mut found);
        // What an aggregate counts: together absent for the merge script, and null in it.
        found.retain(|member| !member.starts_with("/ScriptList/"));
        assert_eq!(found, Vec::<String>::new());
        let part = &schemas["Part"]["properties"];
        assert_eq!(
            (&part["note"]["type"], &part["error"]["type"]),
            (&json!("string"), &json!(["string", "null"]))
        );
    }
}
