//! Parses a response with status 200, which may have all of the data, a part of it, or only
//! errors.
//!
//! Fields are extracted from the text, as for events: a title that no Rust string can hold, or a
//! number out of range, becomes unknown and does not affect other fields.

use std::borrow::Cow;
use std::collections::HashMap;

use super::outcome::QueryOutcome;
use super::pull::MOST_PULLS;
use super::queried::{AskedBy, ObjectLookup, Queried};
use super::query::alias;
use crate::github::shown::first_words;
use crate::model::json;
use crate::model::window::Timestamp;

/// Maximum number of errors in a response that are processed: one per pull request, and some about
/// the whole query.
const MOST_ERRORS: usize = 2 * MOST_PULLS;

/// A part of GitHub's message for its timeouts, and for other faults; in lower case.
const SOMETHING_WENT_WRONG: &str = "something went wrong";

/// The content of the body.
pub(super) struct Read<T> {
    /// The error says why data are missing. How long a limit lasts is not in the body.
    pub(super) answer: Result<QueryOutcome<T>, String>,
    pub(super) rate: Option<QueryRate>,
}

/// What the response says about the hourly limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct QueryRate {
    /// Points left.
    pub(super) remaining: u64,
    /// Until when.
    pub(super) reset: Timestamp,
    /// Points that this query has cost.
    pub(super) cost: Option<u64>,
}

/// An error in the response.
struct GraphqlError<'a> {
    kind: GraphqlErrorKind,
    message: Cow<'a, str>,
    /// Its path in the data, as JSON: names and numbers.
    path: Vec<&'a str>,
}

/// The class of an error.
#[derive(Clone, Copy, PartialEq)]
enum GraphqlErrorKind {
    NotFound,
    /// The token's account may not see it; others may.
    Forbidden,
    Heavy,
    Limited,
    Other,
}

/// The data, as far as a query form requests it: the value of each object, if there is one.
enum ResponseData<'a> {
    Nodes(Vec<&'a str>),
    Names(HashMap<Cow<'a, [u8]>, &'a str>),
}

/// Parses a response about these objects.
pub(super) fn read<W: Queried>(
    form: AskedBy,
    wanted: &[W],
    body: &[u8],
) -> Read<ObjectLookup<W::Details>> {
    read_body(body, |data, errors| {
        // An error without a path applies to everything that is missing.
        let is_general = |error: &&GraphqlError<'_>| {
            error.kind == GraphqlErrorKind::Forbidden && error.path.is_empty()
        };
        let forbidden = errors.0.iter().find(is_general).map(GraphqlError::forbids);
        let forbidden = forbidden.map(ObjectLookup::Forbidden);
        let Some(data) = data.and_then(|data| ResponseData::read(form, data)) else {
            return forbidden.map(|forbidden| vec![forbidden; wanted.len()]);
        };
        let partial = errors.has(GraphqlErrorKind::Heavy) || errors.has(GraphqlErrorKind::Other);
        let found = wanted.iter().enumerate().map(|(at, wanted)| {
            let value = data.value(at);
            if let Some(details) = value.and_then(|value| wanted.details(form, value)) {
                return ObjectLookup::Found(details);
            }
            let own = errors.0.iter().find(|error| error.is_of(form, at));
            match (own.map(|own| (own, own.kind)), &forbidden) {
                (Some((_, GraphqlErrorKind::NotFound)), _) => ObjectLookup::Gone,
                (Some((own, GraphqlErrorKind::Forbidden)), _) => {
                    ObjectLookup::Forbidden(own.forbids())
                }
                (Some(_), _) => ObjectLookup::Unanswered,
                (None, Some(forbidden)) => forbidden.clone(),
                (None, None) if partial || value.is_none() => ObjectLookup::Unanswered,
                (None, None) => ObjectLookup::Gone,
            }
        });
        Some(found.collect())
    })
}

/// Parses what all responses have in common. `found` returns the objects from the data and the
/// errors; `None` without data.
pub(super) fn read_body<T>(
    body: &[u8],
    found: impl FnOnce(Option<&str>, &ResponseErrors<'_>) -> Option<Vec<T>>,
) -> Read<T> {
    let text = String::from_utf8_lossy(body);
    let [data, errors] = json::pick(text.trim(), ["data", "errors"]);
    let rate = data.and_then(rate);
    let errors = ResponseErrors::read(errors);
    let answer = if errors.has(GraphqlErrorKind::Limited) {
        Ok(QueryOutcome::Limited { wait: None })
    } else if let Some(found) = found(data, &errors) {
        Ok(QueryOutcome::Answered(found))
    } else {
        errors.without_data(body)
    };
    Read { answer, rate }
}

/// The errors of a response.
pub(super) struct ResponseErrors<'a>(Vec<GraphqlError<'a>>);

impl<'a> ResponseErrors<'a> {
    /// Parses the list of errors; there are none without one.
    fn read(errors: Option<&'a str>) -> Self {
        let errors = json::items(errors.unwrap_or_default(), MOST_ERRORS);
        Self(errors.into_iter().map(GraphqlError::read).collect())
    }

    /// Whether the object with this alias does not exist.
    pub(super) fn says_gone(&self, alias: &str) -> bool {
        let is_named = |error: &&GraphqlError<'_>| {
            error.path.first().copied().and_then(json::text).is_some_and(|name| name == alias)
        };
        let found = self.0.iter().find(is_named);
        found.is_some_and(|error| error.kind == GraphqlErrorKind::NotFound)
    }

    /// What a response without data means.
    fn without_data<T>(&self, body: &[u8]) -> Result<QueryOutcome<T>, String> {
        let words = match self.0.first() {
            Some(error) => words_of(error.message.as_bytes()),
            None => words_of(body),
        };
        if self.has(GraphqlErrorKind::Heavy) {
            Ok(QueryOutcome::TooHeavy { why: words, is_reported: self.names_limit() })
        } else {
            Err(words)
        }
    }

    /// Whether an error names a resource limit. "Something went wrong" may also be a fault of
    /// GitHub's.
    fn names_limit(&self) -> bool {
        let is_vague =
            |error: &GraphqlError<'_>| error.message.to_lowercase().contains(SOMETHING_WENT_WRONG);
        let mut heavy = self.0.iter().filter(|error| error.kind == GraphqlErrorKind::Heavy);
        heavy.any(|error| !is_vague(error))
    }

    fn has(&self, kind: GraphqlErrorKind) -> bool {
        self.0.iter().any(|error| error.kind == kind)
    }
}

impl<'a> ResponseData<'a> {
    /// Returns `None` when the data contains nothing that the form requests.
    fn read(form: AskedBy, data: &'a str) -> Option<Self> {
        match form {
            AskedBy::NodeIds => {
                let [nodes] = json::pick(data, ["nodes"]);
                let nodes = nodes.filter(|nodes| nodes.starts_with('['))?;
                Some(Self::Nodes(json::items(nodes, MOST_PULLS)))
            }
            AskedBy::Names => Some(Self::Names(json::members(data).ok()?.into_iter().collect())),
        }
    }

    fn value(&self, at: usize) -> Option<&'a str> {
        match self {
            Self::Nodes(nodes) => nodes.get(at).copied(),
            Self::Names(names) => names.get(alias(at).as_bytes()).copied(),
        }
    }
}

impl<'a> GraphqlError<'a> {
    fn read(error: &'a str) -> Self {
        let [kind, message, path] = json::pick(error, ["type", "message", "path"]);
        let kind = kind.and_then(json::text).unwrap_or_default();
        let message = message.and_then(json::shown).unwrap_or("an error without words".into());
        let path = json::items(path.unwrap_or_default(), 2);
        Self { kind: GraphqlErrorKind::of(&kind, &message), message, path }
    }

    /// GitHub's explanation.
    fn forbids(&self) -> String {
        words_of(self.message.as_bytes())
    }

    /// Whether the error is about object number `at`.
    fn is_of(&self, form: AskedBy, at: usize) -> bool {
        let first = self.path.first().copied().and_then(json::text);
        match form {
            AskedBy::NodeIds => {
                let second = self.path.get(1).copied().and_then(json::whole);
                first.as_deref() == Some("nodes") && second == Some(at as u64)
            }
            AskedBy::Names => first.is_some_and(|name| name == alias(at)),
        }
    }
}

impl GraphqlErrorKind {
    /// Classifies an error by its type or else by its message: GitHub sets the type of only some.
    fn of(kind: &str, message: &str) -> Self {
        let words = message.to_lowercase();
        let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
        match kind {
            "NOT_FOUND" => Self::NotFound,
            // Single sign-on, an IP allow list, a token policy, or a missing permission.
            "FORBIDDEN" | "INSUFFICIENT_SCOPES" => Self::Forbidden,
            "RATE_LIMITED" => Self::Limited,
            "RESOURCE_LIMITS_EXCEEDED" | "MAX_NODE_LIMIT_EXCEEDED" | "TIMEOUT" => Self::Heavy,
            _ if says(&["rate limit", "abuse"]) => Self::Limited,
            _ if says(&["resource limit", "timeout", "timed out", SOMETHING_WENT_WRONG]) => {
                Self::Heavy
            }
            _ if says(&["saml", "ip allow list", "not accessible by", "forbids access"]) => {
                Self::Forbidden
            }
            _ => Self::Other,
        }
    }
}

fn rate(data: &str) -> Option<QueryRate> {
    let [remaining, reset, cost] =
        json::pick(json::pick(data, ["rateLimit"])[0]?, ["remaining", "resetAt", "cost"]);
    let reset = Timestamp::parse(&json::text(reset?)?)?;
    let cost = cost.and_then(json::whole);
    Some(QueryRate { remaining: json::whole(remaining?)?, reset, cost })
}

/// The beginning of a text, for the log.
pub(super) fn words_of(body: &[u8]) -> String {
    first_words(body).unwrap_or_else(|| "nothing".to_owned())
}
