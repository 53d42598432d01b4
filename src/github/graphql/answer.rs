//! Reads an answer of status 200, which may be all of it, a part, or nothing but errors.

use serde_json::Value;

use super::query::alias;
use super::{Form, Found, Language, Learnt, Wanted};
use crate::github::shown::first_words;
use crate::model::window::Timestamp;

/// What the body says.
pub(super) struct Read {
    pub(super) answer: Answer,
    /// Points left, and until when.
    pub(super) rate: Option<(u64, Timestamp)>,
}

pub(super) enum Answer {
    Found(Vec<Found>),
    TooHeavy(String),
    Limited,
    /// No data, and words why.
    Nothing(String),
}

/// What an error of the answer is about.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    NotFound,
    Heavy,
    Limited,
    Other,
}

pub(super) fn read(form: Form, wanted: &[Wanted], body: &[u8]) -> Read {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return Read { answer: Answer::Nothing(words_of(body)), rate: None };
    };
    let data = &answer["data"];
    let rate = rate(&data["rateLimit"]);
    let errors = answer["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let troubles: Vec<_> = errors.iter().map(|error| (trouble(error), &error["path"])).collect();
    let has = |wanted: Trouble| troubles.iter().any(|(trouble, _)| *trouble == wanted);
    let words = || errors.first().map_or_else(|| words_of(body), message);
    let has_data = match form {
        Form::NodeIds => data["nodes"].is_array(),
        Form::Names => data.is_object(),
    };
    if has(Trouble::Limited) {
        return Read { answer: Answer::Limited, rate };
    }
    if !has_data {
        let answer =
            if has(Trouble::Heavy) { Answer::TooHeavy(words()) } else { Answer::Nothing(words()) };
        return Read { answer, rate };
    }
    let partial = has(Trouble::Heavy) || has(Trouble::Other);
    let found = wanted.iter().enumerate().map(|(at, one)| {
        let alias = alias(at);
        let value = match form {
            Form::NodeIds => data["nodes"].get(at),
            Form::Names => data.get(&alias),
        };
        if let Some(learnt) = value.and_then(|value| learnt(form, one, value)) {
            return Found::Pull(Box::new(learnt));
        }
        let own = troubles.iter().find(|(_, path)| match form {
            Form::NodeIds => path[0] == "nodes" && path[1] == at,
            Form::Names => path[0] == *alias,
        });
        match own {
            Some((Trouble::NotFound, _)) => Found::Gone,
            Some(_) => Found::Unanswered,
            None if partial || value.is_none() => Found::Unanswered,
            None => Found::Gone,
        }
    });
    Read { answer: Answer::Found(found.collect()), rate }
}

/// `None` when it is null, no pull request, or another one than was wanted.
fn learnt(form: Form, wanted: &Wanted, value: &Value) -> Option<Learnt> {
    let (pull, repo) = match form {
        Form::NodeIds => (value, &value["baseRepository"]),
        Form::Names => (&value["pullRequest"], value),
    };
    let additions = pull["additions"].as_u64()?;
    // A name may be another repository's by now.
    let id = pull["fullDatabaseId"].as_str().and_then(|id| id.parse().ok());
    if id.or(pull["fullDatabaseId"].as_u64()).is_some_and(|id: u64| id != wanted.pull_id) {
        return None;
    }
    let language = match &repo["primaryLanguage"]["name"] {
        Value::String(name) => Language::Named(name.clone()),
        _ if repo.get("primaryLanguage").is_some() => Language::Absent,
        _ => Language::Unknown,
    };
    Some(Learnt {
        node_id: pull["id"].as_str().map(str::to_owned),
        additions: Some(additions),
        deletions: pull["deletions"].as_u64(),
        changed_files: pull["changedFiles"].as_u64(),
        title: pull["title"].as_str().map(str::to_owned),
        draft: pull["isDraft"].as_bool(),
        language,
    })
}

fn rate(value: &Value) -> Option<(u64, Timestamp)> {
    let reset = value["resetAt"].as_str().and_then(Timestamp::parse)?;
    Some((value["remaining"].as_u64()?, reset))
}

/// What an error means, by its type, else by its words: GitHub gives a type to some only.
fn trouble(error: &Value) -> Trouble {
    let kind = error["type"].as_str().unwrap_or_default();
    let words = error["message"].as_str().unwrap_or_default().to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    match kind {
        "NOT_FOUND" | "FORBIDDEN" => Trouble::NotFound,
        "RATE_LIMITED" => Trouble::Limited,
        "RESOURCE_LIMITS_EXCEEDED" | "MAX_NODE_LIMIT_EXCEEDED" | "TIMEOUT" => Trouble::Heavy,
        _ if says(&["rate limit", "abuse"]) => Trouble::Limited,
        _ if says(&["resource limit", "timeout", "timed out", "something went wrong"]) => {
            Trouble::Heavy
        }
        _ => Trouble::Other,
    }
}

fn message(error: &Value) -> String {
    words_of(error["message"].as_str().unwrap_or("an error without words").as_bytes())
}

/// The beginning of a text, for whoever reads the log.
pub(super) fn words_of(body: &[u8]) -> String {
    first_words(body).unwrap_or_else(|| "nothing".to_owned())
}
