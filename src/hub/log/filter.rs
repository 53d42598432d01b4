//! The filter of `/stream`: a query, and its compiled form.
//!
//! A query is compiled once. Matching an event then allocates nothing, and its time is bounded by
//! the limits below. The values of a dimension are alternatives, a value with a leading `!`
//! excludes, and all dimensions have to match. An event without the field of a dimension equals
//! none of its values: it is not excluded by `!`, and not matched by any value.
//!
//! Values except keys ignore the case of A to Z, because GitHub's names do, and no two types,
//! languages or actions differ in case alone. Keys are routing keys of AMQP, where case matters.
//! Queries with the same values in any order and case compile to equal filters, so that their
//! subscribers share a group.

mod automaton;
mod keys;
mod texts;
mod values;

use crate::hub::log::streamed_event::StreamedEvent;
use crate::lists::{ListSet, ListTerm};
use crate::model::event_index::{EventIndex, IndexedField};
use crate::model::glob;
use crate::model::nearest::nearest;
use crate::model::routing::{
    ABSENT_KEYS, EVENT_TYPES, KEY_BYTES, RoutingKey, RoutingPattern, known_keys,
};
use automaton::STATES;
use keys::KeyPatterns;
use values::ValueSet;

/// The most values of a query, without patterns of keys.
pub const QUERY_VALUES: usize = 200;
/// The most values with `*`.
pub const QUERY_GLOBS: usize = 32;
/// The most `*` in one value.
pub const GLOB_STARS: usize = 8;
/// The most bytes of all values with more than one `*`, which bounds the time to match an event:
/// those that are not `*`, and one for each value.
pub const QUERY_STAR_BYTES: usize = STATES;
/// The most patterns of keys of a query.
pub const QUERY_PATTERNS: usize = 32;
/// The most lists of a query.
pub const QUERY_LISTS: usize = 10;
/// The longest value in bytes. GitHub's longest names have 140.
pub const VALUE_BYTES: usize = KEY_BYTES;

/// A query as the client sent it. Empty lists and empty values do not restrict anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamQuery {
    /// Patterns of routing keys; a leading `!` excludes. None: every event and no entities.
    pub keys: Vec<String>,
    /// GitHub's types, such as `PushEvent`.
    pub types: Vec<String>,
    /// Repositories as `owner/name`.
    pub repos: Vec<String>,
    /// Logins of actors.
    pub actors: Vec<String>,
    /// Logins of organisations.
    pub orgs: Vec<String>,
    /// Languages; only events of pull requests have one.
    pub languages: Vec<String>,
    /// `payload.action`, such as `opened`.
    pub actions: Vec<String>,
    /// Lists; an event is on one when its repository, its owner or its actor is.
    pub lists: Vec<ListTerm>,
    /// Keeps one event in N, chosen by its hash
    /// ([`crate::model::event_index::EventIndex::sampling_hash`]); `None` keeps all.
    pub sample: Option<u64>,
}

/// A compiled query. Equal filters match the same events.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    sample: u64,
    types: Dimension,
    repos: Dimension,
    actors: Dimension,
    orgs: Dimension,
    languages: Dimension,
    actions: Dimension,
    lists: ListSet,
    /// `None` takes the keys of all events.
    keys: Option<Box<KeyPatterns>>,
    wants_entities: bool,
}

/// The values of a dimension; `None` takes everything.
type Dimension = Option<Box<ValueSet>>;

/// Why a query is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StreamQueryError {
    /// The name of the parameter.
    pub field: &'static str,
    /// The refused value, cut to 80 characters.
    pub value: String,
    /// What is wrong, and what is accepted.
    pub message: String,
}

/// A value that is accepted but most likely a mistake.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct QueryWarning {
    /// The name of the parameter.
    pub field: &'static str,
    /// The value.
    pub value: String,
    /// Why it is probably a mistake.
    pub message: String,
}

/// The most characters of a value in an error message.
const SHOWN: usize = 80;

impl Filter {
    /// Compiles a query. Also returns warnings about values that are probably mistakes.
    pub fn compile(query: &StreamQuery) -> Result<(Self, Vec<QueryWarning>), StreamQueryError> {
        let mut compiler = FilterCompiler {
            values: 0,
            globs: 0,
            star_bytes: QUERY_STAR_BYTES,
            warnings: Vec::new(),
        };
        let sample = query.sample.unwrap_or(1);
        if sample == 0 {
            let accepted = "takes whole numbers from 1: 1 is all, 10 is one event in ten";
            return Err(refused("sample", "0", accepted));
        }
        let mut filter = Self {
            sample,
            types: compiler.dimension("types", &query.types)?,
            repos: compiler.dimension("repos", &query.repos)?,
            actors: compiler.dimension("actors", &query.actors)?,
            orgs: compiler.dimension("orgs", &query.orgs)?,
            languages: compiler.dimension("languages", &query.languages)?,
            actions: compiler.dimension("actions", &query.actions)?,
            lists: list_set(&query.lists)?,
            keys: compiler.keys(&query.keys)?,
            wants_entities: false,
        };
        filter.wants_entities = known_keys()
            .any(|key| key.as_str().starts_with("ent.") && filter.takes_key(key.as_str()));
        Ok((filter, compiler.warnings))
    }

    /// Whether the event matches.
    #[must_use]
    pub fn matches(&self, event: &impl StreamedEvent) -> bool {
        self.takes_key(event.index().key()) && self.holds(event)
    }

    /// Whether the event matches all dimensions except the keys. Its entities are then wanted if
    /// [`Self::takes_key`] accepts their keys.
    #[must_use]
    pub fn holds(&self, event: &impl StreamedEvent) -> bool {
        let index = event.index();
        let takes = |dimension: &Dimension, value| {
            dimension.as_ref().is_none_or(|set| set.takes(index.folded(value)))
        };
        (self.sample <= 1 || index.sampling_hash().is_multiple_of(self.sample))
            && takes(&self.types, IndexedField::Kind)
            && takes(&self.languages, IndexedField::Language)
            && takes(&self.actors, IndexedField::Actor)
            && takes(&self.orgs, IndexedField::Org)
            && takes(&self.repos, IndexedField::Repo)
            && self.actions.as_ref().is_none_or(|set| set.takes(event.action()))
            && is_on(&self.lists, index)
    }

    /// Whether a routing key matches.
    #[must_use]
    pub fn takes_key(&self, key: &str) -> bool {
        self.keys.as_ref().map_or_else(|| key.starts_with("evt."), |keys| keys.take(key))
    }

    /// Whether any entity can match. If not, entities need not be derived from events.
    #[must_use]
    pub fn wants_entities(&self) -> bool {
        self.wants_entities
    }
}

/// Totals and warnings over all parameters of a query.
struct FilterCompiler {
    values: usize,
    globs: usize,
    /// What is left of [`QUERY_STAR_BYTES`].
    star_bytes: usize,
    warnings: Vec<QueryWarning>,
}

impl FilterCompiler {
    fn dimension(
        &mut self,
        field: &'static str,
        values: &[String],
    ) -> Result<Dimension, StreamQueryError> {
        let mut read = Vec::new();
        for written in values.iter().map(|value| value.trim()).filter(|value| !value.is_empty()) {
            let excluded = written.strip_prefix('!');
            let value = excluded.unwrap_or(written);
            if value.is_empty() {
                return Err(refused(field, written, "needs a value behind `!`, as `!dependabot*`"));
            }
            if value.len() > VALUE_BYTES {
                let message = format!("has a value of more than {VALUE_BYTES} bytes");
                return Err(refused(field, written, &message));
            }
            self.values += 1;
            if self.values > QUERY_VALUES {
                let message = format!("is one value too many: a query takes {QUERY_VALUES} in all");
                return Err(refused(field, written, &message));
            }
            if value.bytes().filter(|byte| *byte == b'*').count() > GLOB_STARS {
                let message =
                    format!("has more than {GLOB_STARS} `*`: write fewer, or more values");
                return Err(refused(field, written, &message));
            }
            self.globs += usize::from(value.contains('*'));
            if self.globs > QUERY_GLOBS {
                let message =
                    format!("is one value with `*` too many: a query takes {QUERY_GLOBS} in all");
                return Err(refused(field, written, &message));
            }
            if let Some(message) = suspicious(field, value) {
                self.warnings.push(QueryWarning { field, value: shown(written), message });
            }
            read.push((value, excluded.is_some()));
        }
        if read.is_empty() {
            return Ok(None);
        }
        read.sort_unstable();
        read.dedup();
        let set = ValueSet::new(read.iter().copied(), &mut self.star_bytes).map_err(|value| {
            let message = format!(
                "is too long: values with more than one `*` have {QUERY_STAR_BYTES} bytes in all \
                 at most, without `*` and with one more each; write shorter or fewer ones"
            );
            let mark = if read.contains(&(value, true)) { "!" } else { "" };
            refused(field, &format!("{mark}{value}"), &message)
        })?;
        Ok(Some(Box::new(set)))
    }

    fn keys(&mut self, values: &[String]) -> Result<Option<Box<KeyPatterns>>, StreamQueryError> {
        const FIELD: &str = "keys";
        let (mut any, mut none) = (Vec::new(), Vec::new());
        for (i, written) in values.iter().enumerate() {
            if i == QUERY_PATTERNS {
                let message = format!("is one pattern too many: a query takes {QUERY_PATTERNS}");
                return Err(refused(FIELD, written, &message));
            }
            let (text, list) = match written.strip_prefix('!') {
                Some(text) => (text, &mut none),
                None => (&**written, &mut any),
            };
            let pattern = RoutingPattern::read(text).map_err(|error| {
                let example = "patterns are as AMQP's, such as `evt.pullrequest.*` or `ent.#`";
                let message = format!("keys: {error}; {example}");
                StreamQueryError { field: FIELD, value: shown(written), message }
            })?;
            if !pattern.can_match_a_known_key() {
                let (value, message) = (shown(written), unmatched(text));
                self.warnings.push(QueryWarning { field: FIELD, value, message });
            }
            list.push(pattern);
        }
        Ok((!values.is_empty()).then(|| Box::new(KeyPatterns::new(&any, &none))))
    }
}

fn list_set(terms: &[ListTerm]) -> Result<ListSet, StreamQueryError> {
    if let Some(term) = terms.get(QUERY_LISTS) {
        let message = format!("is one list too many: a query takes {QUERY_LISTS}");
        return Err(refused("list", term.list.name(), &message));
    }
    Ok(ListSet::new(terms))
}

fn is_on(lists: &ListSet, index: &EventIndex) -> bool {
    lists.is_empty() || {
        let [repo, actor] = [IndexedField::Repo, IndexedField::Actor].map(|it| index.folded(it));
        lists.takes(repo, actor)
    }
}

/// Why a pattern of keys that matches no known key is probably a mistake.
fn unmatched(pattern: &str) -> String {
    let message = "no routing key that is known today is matched; /topics lists them";
    if pattern.is_empty() || pattern.ends_with('.') {
        return format!("{message}. In a URL `#` begins a fragment: write `%23`");
    }
    if let Some((_, why)) = ABSENT_KEYS.iter().find(|(key, _)| *key == pattern) {
        return format!("{message}; {why}");
    }
    let keys: Vec<RoutingKey> = known_keys().collect();
    match nearest(pattern, keys.iter().map(RoutingKey::as_str)) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None => message.to_owned(),
    }
}

/// Why a value is probably a mistake.
fn suspicious(field: &str, value: &str) -> Option<String> {
    match field {
        "types" => {
            let value = value.to_ascii_lowercase();
            let is_known =
                |kind: &&str| glob::matches(&value, kind.to_ascii_lowercase().as_bytes());
            if EVENT_TYPES.iter().any(is_known) {
                return None;
            }
            let message = "no type that is known today has this name; see /topics";
            // `push` and `PushEvents` both mean `PushEvent`.
            let near = nearest(&value, EVENT_TYPES)
                .or_else(|| nearest(&format!("{value}event"), EVENT_TYPES));
            Some(match near {
                Some(near) => format!("{message}; did you mean {near}?"),
                None => message.to_owned(),
            })
        }
        "repos" => (!value.contains(['/', '*']))
            .then(|| format!("a repository is `owner/name`; all of an owner are `{value}/*`")),
        _ => None,
    }
}

fn refused(field: &'static str, value: &str, message: &str) -> StreamQueryError {
    let value = shown(value);
    StreamQueryError { field, message: format!("{field}: `{value}` {message}"), value }
}

fn shown(value: &str) -> String {
    value.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests;
