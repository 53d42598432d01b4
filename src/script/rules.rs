//! Parses the result of an aggregate's `fn config()` into a rule.

use rhai::{Array, Dynamic};

use super::text;
use crate::script::rule::{AggregateRule, read_time};

/// A complete config, for error messages.
const EXAMPLE: &str = "#{ by: \"event.repo.name\", where: #{ \"event.type\": \"WatchEvent\" }, \
                       window: \"1h\", tick: \"1s\" }";
const KEYS: [&str; 4] = ["by", "where", "window", "tick"];

/// Parses a config; the error says what is accepted.
pub(super) fn read(config: &Dynamic) -> Result<AggregateRule, String> {
    let Ok(map) = config.as_map_ref() else {
        return Err(format!("config must return a map such as {EXAMPLE}"));
    };
    if text::weigh(config).is_err() {
        return Err(format!("config returns a text that is too long for a rule; write {EXAMPLE}"));
    }
    if let Some(key) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let known = KEYS.join(", ");
        return Err(format!("unknown key `{key}` in config; use {known}, as in {EXAMPLE}"));
    }
    let by = map.get("by").and_then(text_of);
    let by = by.ok_or_else(|| {
        format!(
            "config must set `by`, the value to count by, as in \
                                       {EXAMPLE}"
        )
    })?;
    let conditions = map.get("where").map_or(Ok(Vec::new()), conditions)?;
    let time = |name: &str| {
        let Some(value) = map.get(name) else { return Ok(None) };
        let text = text_of(value).ok_or_else(|| format!("{name}: write a text such as \"1h\""))?;
        read_time(name, &text).map(Some)
    };
    AggregateRule::new(&by, &conditions, time("window")?, time("tick")?)
}

/// `#{ "event.type": "WatchEvent", "event.actor.login": ["a", "b"] }`.
fn conditions(value: &Dynamic) -> Result<Vec<(String, Vec<String>)>, String> {
    let map = value.as_map_ref().map_err(|_| {
        "where: write a map of paths and values, such as #{ \"event.type\": \"WatchEvent\" }"
            .to_owned()
    })?;
    let mut conditions = Vec::with_capacity(map.len());
    for (at, value) in map.iter() {
        let values = match value.as_array_ref() {
            Ok(list) => texts(&list),
            Err(_) => text_of(value).map(|text| vec![text]),
        };
        let wrong = || format!("where: `{at}` must be a text, a number, true, false, or a list");
        conditions.push((at.to_string(), values.ok_or_else(wrong)?));
    }
    Ok(conditions)
}

fn texts(list: &Array) -> Option<Vec<String>> {
    list.iter().map(text_of).collect()
}

/// A text; numbers and booleans are texts as JSON writes them.
fn text_of(value: &Dynamic) -> Option<String> {
    match value.type_name() {
        "string" => value.clone().into_string().ok(),
        "i64" | "f64" | "bool" => Some(value.to_string()),
        _ => None,
    }
}
