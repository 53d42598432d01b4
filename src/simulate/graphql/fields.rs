//! What the types of the schema have in common: objects of scalars, and refusals.

use serde_json::{Map, Value};

use super::language::Field;

/// An object of scalar fields.
pub(super) fn pick(
    field: &Field,
    kind: &str,
    names: &[&str],
    value: impl Fn(&str) -> Value,
) -> Result<Value, String> {
    let mut out = Map::new();
    for inner in &field.fields {
        if !names.contains(&inner.name.as_str()) {
            return Err(no_field(&inner.name, kind));
        }
        out.insert(inner.alias.clone(), value(&inner.name));
    }
    Ok(Value::Object(out))
}

pub(super) fn no_field(name: &str, kind: &str) -> String {
    format!("Field '{name}' doesn't exist on type '{kind}'")
}
