//! What the types of the schema have in common: objects with the requested fields, and refusals.

use serde_json::{Map, Value};

use super::language::Field;

/// The value of a field; `None` when its type does not have it. The error is a refusal.
pub(super) type FieldValue = Result<Option<Value>, String>;

/// An object of the type `kind` with the fields that are requested of it.
pub(super) fn object(
    field: &Field,
    kind: &str,
    value: impl Fn(&Field) -> FieldValue,
) -> Result<Value, String> {
    let mut out = Map::new();
    let is_of = |inner: &&Field| inner.on.as_deref().is_none_or(|on| on == kind);
    for inner in field.fields.iter().filter(is_of) {
        let value = value(inner)?.ok_or_else(|| no_field(&inner.name, kind))?;
        out.insert(inner.alias.clone(), value);
    }
    Ok(Value::Object(out))
}

/// An object with a single scalar field.
pub(super) fn scalar(
    field: &Field,
    kind: &str,
    name: &str,
    value: impl Into<Value>,
) -> Result<Value, String> {
    let value = value.into();
    object(field, kind, |inner| Ok((inner.name == name).then(|| value.clone())))
}

pub(super) fn no_field(name: &str, kind: &str) -> String {
    format!("Field '{name}' doesn't exist on type '{kind}'")
}
