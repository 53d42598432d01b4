//! What a client sends: params, read with patience for spelling and none for nonsense.
//!
//! Keys match without regard to case, unknown ones are passed over, and null, an empty text or an
//! empty list is as good as nothing. Everything else that is wrong is named, with what would be
//! right.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::hub::{
    Conditions, FieldPath, LanguageQuery, SamplingEncoding, SamplingQuery, VALUE_BYTES, check_paths,
};
use crate::model::json;

/// What is wrong with params.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadParams {
    /// The key; none when the text is no JSON object.
    pub(crate) field: Option<&'static str>,
    /// What is wrong and what is accepted.
    pub(crate) message: String,
}

/// Params of `/sampling`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SamplingParams {
    pub(crate) rate: u64,
    pub(crate) subscription: SamplingQuery,
}

/// The most languages that a connection may ask for by name; GitHub knows about 800, and whoever
/// wants that many asks for all.
const LANGUAGES: usize = 200;

/// An example of each key, as a message quotes it.
const RATE: &str = r#"{"samplingRate":1}"#;
const EVENT_TYPE: &str = r#"{"samplingRate":1,"eventType":"PullRequestEvent"}"#;
const REPO_NAME: &str = r#"{"samplingRate":1,"repoName":"owner/name"}"#;
const USER_NAME: &str = r#"{"samplingRate":1,"userName":"octocat"}"#;
const FILTER: &str = r#"{"samplingRate":1,"filter":["event.id","payload.merge"]}"#;
const RETURN_TYPE: &str = r#"{"samplingRate":1,"filter":["event.id"],"returnType":"list"}"#;
const LANGUAGE: &str = r#"{"language":["Java","C++"]}"#;
const WINDOW: &str = r#"{"window":"1m"}"#;
const TOP: &str = r#"{"top":10}"#;

/// Reads params of `/sampling`; a filter has at most `paths` paths.
pub(crate) fn sampling(text: &str, paths: usize) -> Result<SamplingParams, BadParams> {
    let fields = Fields::read(text, RATE)?;
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
    let filter = read_filter(fields.list("filter", FILTER)?, paths)?;
    let list = match fields.text("returnType", RETURN_TYPE)?.as_deref() {
        None | Some("map") => false,
        Some("list") => true,
        Some(other) => {
            let what = format!("is `{}`", shown(other));
            return Err(bad("returnType", &what, "give \"list\" or \"map\"", RETURN_TYPE));
        }
    };
    let encoding = match (filter.is_empty(), list) {
        (true, _) => SamplingEncoding::Whole,
        (false, true) => SamplingEncoding::List(filter),
        (false, false) => SamplingEncoding::map(filter),
    };
    check_paths(encoding.paths()).map_err(|error| {
        bad("filter", &error.to_string(), "give fewer or shorter paths", FILTER)
    })?;
    Ok(SamplingParams { rate, subscription: SamplingQuery { conditions, encoding } })
}

/// Reads params of `/language/latest`.
pub(crate) fn latest(text: &str) -> Result<LanguageQuery, BadParams> {
    let fields = Fields::read(text, TOP)?;
    let names = read_languages(&fields)?;
    let top = fields.whole("top", 0, TOP)?.unwrap_or(0);
    Ok(LanguageQuery::new(names, usize::try_from(top).unwrap_or(usize::MAX)))
}

/// Reads params of `/language/watch`: the languages.
pub(crate) fn watch(text: &str) -> Result<Vec<Box<str>>, BadParams> {
    read_languages(&Fields::read(text, LANGUAGE)?)
}

/// Reads params of what takes none: any JSON object.
pub(crate) fn nothing(text: &str) -> Result<(), BadParams> {
    Fields::read(text, "{}").map(drop)
}

/// Reads params of the rolling counts: the window, if one is named.
pub(crate) fn window(text: &str) -> Result<Option<Box<str>>, BadParams> {
    Fields::read(text, WINDOW)?.name("window", WINDOW)
}

fn read_languages(fields: &Fields<'_>) -> Result<Vec<Box<str>>, BadParams> {
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

fn read_filter(texts: Vec<Box<str>>, most: usize) -> Result<Vec<FieldPath>, BadParams> {
    if texts.len() > most {
        let what = format!("has {} paths", texts.len());
        return Err(bad("filter", &what, &format!("give at most {most}"), FILTER));
    }
    let accepted = "give paths that begin with `event` or `payload`";
    let path = |text: Box<str>| {
        FieldPath::read(&text).map_err(|error| bad("filter", &error.to_string(), accepted, FILTER))
    };
    texts.into_iter().map(path).collect()
}

/// Names are bounded, because each connection may keep them as long as it lives.
fn check_length(field: &'static str, text: &str, example: &str) -> Result<(), BadParams> {
    if text.len() <= VALUE_BYTES {
        return Ok(());
    }
    let what = format!("has a text of {} bytes", text.len());
    Err(bad(field, &what, &format!("give at most {VALUE_BYTES} bytes"), example))
}

pub(crate) fn bad(field: &'static str, what: &str, accepted: &str, example: &str) -> BadParams {
    let message = format!("{field}: {what}; {accepted}, such as {example}");
    BadParams { field: Some(field), message }
}

/// The beginning of a text, for a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The members of an object, values as text.
pub(crate) struct Fields<'a>(Vec<(Cow<'a, [u8]>, &'a str)>);

impl<'a> Fields<'a> {
    pub(crate) fn read(text: &'a str, example: &str) -> Result<Self, BadParams> {
        let no_object = |what: String| BadParams {
            field: None,
            message: format!("{what}; send one JSON object, such as {example}"),
        };
        let mut reader = serde_json::Deserializer::from_str(text);
        // Any whole value first, so that a list is told apart from text that is no JSON.
        let value: &RawValue = serde::Deserialize::deserialize(&mut reader)
            .and_then(|value| reader.end().map(|()| value))
            .map_err(|error| no_object(format!("this is no JSON: {error}")))?;
        if !json::is_object(value.get()) {
            return Err(no_object("this is JSON but no object".to_owned()));
        }
        let members = json::members(value.get());
        members.map(Self).map_err(|error| no_object(format!("this is no JSON: {error}")))
    }

    /// The value of a key, unless it is as good as nothing; of doubled ones the last.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let values =
            self.0.iter().rev().filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
        values.map(|(_, value)| *value).find(|value| {
            let is_empty_list = value.starts_with('[') && json::compact(value) == "[]";
            !matches!(*value, "null" | "\"\"") && !is_empty_list
        })
    }

    /// The keys, as they came, each once; of at most so many, that nobody has us compare many.
    pub(crate) fn names(&self, most: usize) -> Result<Vec<&str>, BadParams> {
        if self.0.len() > most {
            let message = format!("{} members; give at most {most}", self.0.len());
            return Err(BadParams { field: None, message });
        }
        let mut names: Vec<&str> = Vec::new();
        for key in self.0.iter().filter_map(|(key, _)| std::str::from_utf8(key).ok()) {
            if !names.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                names.push(key);
            }
        }
        Ok(names)
    }

    /// A text, a number, true or false, or a list of them, as texts; `None` for anything else.
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

    fn text(&self, name: &'static str, example: &str) -> Result<Option<Box<str>>, BadParams> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match json::text(value) {
            Some(text) => Ok(Some(text.into())),
            None => Err(bad(name, &format!("is {}", kind(value)), "give one text", example)),
        }
    }

    /// A text that is the name of something.
    fn name(&self, name: &'static str, example: &str) -> Result<Option<Box<str>>, BadParams> {
        let text = self.text(name, example)?;
        text.as_deref().map_or(Ok(()), |text| check_length(name, text, example))?;
        Ok(text)
    }

    fn list(&self, name: &'static str, example: &str) -> Result<Vec<Box<str>>, BadParams> {
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

    /// A whole number that is `least` or more; 0 is told to who may not send it by the caller.
    fn whole(
        &self,
        name: &'static str,
        least: u64,
        example: &str,
    ) -> Result<Option<u64>, BadParams> {
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

/// `1.0` and `1e3` are whole numbers too; up to where every whole number has its own float.
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

/// What a JSON value is, in words.
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
