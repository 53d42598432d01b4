//! Parameters that a client sends as a JSON object.
//!
//! Keys are case-insensitive, and unknown keys are ignored. Null, an empty string and an empty list
//! count as absent. Any other invalid value is reported with what is accepted.

pub(crate) mod requests;

use std::borrow::Cow;
use std::fmt::Display;

use serde_json::value::RawValue;

use self::requests::{LANGUAGES, ReturnType};
use crate::hub::{
    self, Conditions, FieldPath, LanguageQuery, SamplingEncoding, SamplingQuery, VALUE_BYTES,
};
use crate::model::json;
use crate::serve::http::url_query::shown;

/// Why parameters are invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidParams {
    /// The key; `None` when the text is not a JSON object.
    pub(crate) field: Option<&'static str>,
    /// What is invalid, and what is accepted.
    pub(crate) message: String,
}

/// Parameters of `/sampling`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SamplingParams {
    pub(crate) rate: u64,
    pub(crate) subscription: SamplingQuery,
}

/// Examples for messages.
const RATE: &str = r#"{"samplingRate":1}"#;
const EVENT_TYPE: &str = r#"{"samplingRate":1,"eventType":"PullRequestEvent"}"#;
const REPO_NAME: &str = r#"{"samplingRate":1,"repoName":"owner/name"}"#;
const USER_NAME: &str = r#"{"samplingRate":1,"userName":"octocat"}"#;
const FILTER: &str = r#"{"samplingRate":1,"filter":["event.id","payload.merge"]}"#;
const RETURN_TYPE: &str = r#"{"samplingRate":1,"filter":["event.id"],"returnType":"list"}"#;
const LANGUAGE: &str = r#"{"language":["Java","C++"]}"#;
const WINDOW: &str = r#"{"window":"1m"}"#;
const TOP: &str = r#"{"top":10}"#;

/// Parses parameters of `/sampling`; a filter may have up to `paths` paths.
pub(crate) fn sampling(text: &str, paths: usize) -> Result<SamplingParams, InvalidParams> {
    let fields = ParamFields::read(text, RATE)?;
    let rate = fields.whole("samplingRate", 1, RATE)?;
    let rate = rate.filter(|rate| *rate > 0).ok_or_else(|| {
        let what = if rate.is_none() { "is missing" } else { "must not be 0" };
        bad("samplingRate", what, "give a whole number from 1 on: 1 for every event", RATE)
    })?;
    let conditions = Conditions {
        kind: fields.name("eventType", EVENT_TYPE)?,
        repo_name: fields.name("repoName", REPO_NAME)?,
        actor_login: fields.name("userName", USER_NAME)?,
    };
    let filter = read_paths("filter", &fields.list("filter", FILTER)?, paths, FILTER)?;
    let form = match fields.text("returnType", RETURN_TYPE)?.as_deref() {
        None | Some("map") => ReturnType::Map,
        Some("list") => ReturnType::List,
        Some(other) => {
            let what = format!("is `{}`", shown(other));
            return Err(bad("returnType", &what, "give \"list\" or \"map\"", RETURN_TYPE));
        }
    };
    let encoding = match form {
        _ if filter.is_empty() => SamplingEncoding::Whole,
        ReturnType::List => SamplingEncoding::List(filter),
        ReturnType::Map => SamplingEncoding::map(filter),
    };
    check_paths("filter", encoding.paths(), FILTER)?;
    Ok(SamplingParams { rate, subscription: SamplingQuery { conditions, encoding } })
}

/// Parses parameters of `/language/latest`.
pub(crate) fn latest(text: &str) -> Result<LanguageQuery, InvalidParams> {
    let fields = ParamFields::read(text, TOP)?;
    let names = read_languages(&fields)?;
    let top = fields.whole("top", 0, TOP)?.unwrap_or(0);
    Ok(LanguageQuery::new(names, usize::try_from(top).unwrap_or(usize::MAX)))
}

/// Parses parameters of `/language/watch`: the selected languages.
pub(crate) fn watch(text: &str) -> Result<Vec<Box<str>>, InvalidParams> {
    read_languages(&ParamFields::read(text, LANGUAGE)?)
}

/// Parses parameters of an endpoint that has none: any JSON object.
pub(crate) fn nothing(text: &str) -> Result<(), InvalidParams> {
    ParamFields::read(text, "{}").map(drop)
}

/// Parses parameters of the rolling counts: the window, if given.
pub(crate) fn window(text: &str) -> Result<Option<Box<str>>, InvalidParams> {
    ParamFields::read(text, WINDOW)?.name("window", WINDOW)
}

fn read_languages(fields: &ParamFields<'_>) -> Result<Vec<Box<str>>, InvalidParams> {
    let names = fields.list("language", LANGUAGE)?;
    if names.len() > LANGUAGES {
        let what = format!("has {} names", names.len());
        let accepted = format!("give at most {LANGUAGES}, or none for all of them");
        return Err(bad("language", &what, &accepted, LANGUAGE));
    }
    for name in &names {
        check_length("language", name, LANGUAGE)?;
    }
    Ok(names)
}

/// Reads up to `most` paths.
pub(crate) fn read_paths<T: AsRef<str>>(
    name: &'static str,
    texts: &[T],
    most: usize,
    example: &str,
) -> Result<Vec<FieldPath>, InvalidParams> {
    if texts.len() > most {
        let what = format!("has {} paths", texts.len());
        let accepted = format!("give at most {most} (server.limits.filterPaths)");
        return Err(bad(name, &what, &accepted, example));
    }
    let accepted = "give paths that begin with `event` or `payload`";
    let read = |text: &T| {
        let path = FieldPath::read(text.as_ref());
        path.map_err(|error| bad(name, &error.to_string(), accepted, example))
    };
    texts.iter().map(read).collect()
}

/// Refuses paths that would write a part of an event too often.
pub(crate) fn check_paths(
    name: &'static str,
    paths: &[FieldPath],
    example: &str,
) -> Result<(), InvalidParams> {
    let accepted = "give fewer or shorter paths";
    hub::check_paths(paths).map_err(|error| bad(name, &error.to_string(), accepted, example))
}

/// Limits a name, which is kept as long as the connection.
fn check_length(field: &'static str, text: &str, example: &str) -> Result<(), InvalidParams> {
    if text.len() <= VALUE_BYTES {
        return Ok(());
    }
    let what = format!("has a text of {} bytes", text.len());
    Err(bad(field, &what, &format!("give at most {VALUE_BYTES} bytes"), example))
}

pub(crate) fn bad(field: &'static str, what: &str, accepted: &str, example: &str) -> InvalidParams {
    InvalidParams::of(field, format_args!("{what}; {accepted}, such as {example}"))
}

impl InvalidParams {
    /// A reason why the value of a key is invalid.
    pub(crate) fn of(field: &'static str, reason: impl Display) -> Self {
        Self { field: Some(field), message: format!("{field}: {reason}") }
    }
}

/// The members of a JSON object; values are kept as text.
pub(crate) struct ParamFields<'a>(Vec<(Cow<'a, [u8]>, &'a str)>);

impl<'a> ParamFields<'a> {
    pub(crate) fn read(text: &'a str, example: &str) -> Result<Self, InvalidParams> {
        let no_object = |what: String| InvalidParams {
            field: None,
            message: format!("{what}; send one JSON object, such as {example}"),
        };
        let mut reader = serde_json::Deserializer::from_str(text);
        // Any value first, so that a list is distinguished from invalid JSON.
        let value: &RawValue = serde::Deserialize::deserialize(&mut reader)
            .and_then(|value| reader.end().map(|()| value))
            .map_err(|error| no_object(format!("this is not JSON: {error}")))?;
        if !json::is_object(value.get()) {
            return Err(no_object("this is JSON but no object".to_owned()));
        }
        let members = json::members(value.get());
        members.map(Self).map_err(|error| no_object(format!("this is not JSON: {error}")))
    }

    /// The value of a key, unless it counts as absent; of repeated keys the last.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let values =
            self.0.iter().rev().filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
        values.map(|(_, value)| *value).find(|value| {
            let is_empty_list = value.starts_with('[') && json::compact(value) == "[]";
            !matches!(*value, "null" | "\"\"") && !is_empty_list
        })
    }

    /// The distinct keys in order. Fails beyond `most`, which bounds the comparisons.
    pub(crate) fn names(&self, most: usize) -> Result<Vec<&str>, InvalidParams> {
        if self.0.len() > most {
            let message = format!("{} members; give at most {most}", self.0.len());
            return Err(InvalidParams { field: None, message });
        }
        let mut names: Vec<&str> = Vec::new();
        for key in self.0.iter().filter_map(|(key, _)| std::str::from_utf8(key).ok()) {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                names.push(key);
            }
        }
        Ok(names)
    }

    /// A text, number, boolean or list of them, as texts; `None` for anything else.
    pub(crate) fn scalars(value: &str) -> Option<Vec<String>> {
        let scalar = |value: &str| match value.as_bytes().first()? {
            b'"' => json::text(value).map(Cow::into_owned),
            b'[' | b'{' | b'n' => None,
            _ => Some(whole_float(value).map_or_else(|| value.to_owned(), |n| n.to_string())),
        };
        if !value.starts_with('[') {
            return scalar(value).map(|value| vec![value]);
        }
        let entries: Vec<&RawValue> = serde_json::from_str(value).ok()?;
        entries.iter().map(|entry| scalar(entry.get())).collect()
    }

    fn text(&self, name: &'static str, example: &str) -> Result<Option<Box<str>>, InvalidParams> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match json::text(value) {
            Some(text) => Ok(Some(text.into())),
            None => Err(bad(name, &format!("is {}", kind(value)), "give one text", example)),
        }
    }

    /// A non-empty text that names something.
    fn name(&self, name: &'static str, example: &str) -> Result<Option<Box<str>>, InvalidParams> {
        let text = self.text(name, example)?;
        text.as_deref().map_or(Ok(()), |text| check_length(name, text, example))?;
        Ok(text)
    }

    fn list(&self, name: &'static str, example: &str) -> Result<Vec<Box<str>>, InvalidParams> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let accepted = "give a list of texts";
        if !value.starts_with('[') {
            return Err(bad(name, &format!("is {}", kind(value)), accepted, example));
        }
        let entries: Vec<&RawValue> = serde_json::from_str(value)
            .map_err(|error| bad(name, &error.to_string(), accepted, example))?;
        let text = |entry: &&RawValue| {
            let what = || format!("has {} in its list", kind(entry.get()));
            let text = json::text(entry.get()).map(Box::from);
            text.ok_or_else(|| bad(name, &what(), accepted, example))
        };
        entries.iter().map(text).collect()
    }

    /// A whole number. `least` only appears in the message; the caller rejects smaller values.
    fn whole(
        &self,
        name: &'static str,
        least: u64,
        example: &str,
    ) -> Result<Option<u64>, InvalidParams> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = json::whole(value).or_else(|| whole_float(value));
        whole.map(Some).ok_or_else(|| {
            let is_number = value.starts_with(|c: char| c == '-' || c.is_ascii_digit());
            let what = if is_number { shown(value) } else { kind(value).to_owned() };
            let accepted = format!("give a whole number from {least} to {}", u64::MAX);
            bad(name, &format!("is {what}"), &accepted, example)
        })
    }
}

/// Accepts `1.0` and `1e3` as whole numbers, as long as floats represent every integer exactly.
fn whole_float(value: &str) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if !value.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    let number: f64 = value.parse().ok()?;
    if number.fract() != 0.0 || !(0.0..=EXACT).contains(&number) {
        return None;
    }
    format!("{:.0}", number.abs()).parse().ok()
}

/// The kind of a JSON value, in words.
fn kind(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'"') => "a text",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests;
