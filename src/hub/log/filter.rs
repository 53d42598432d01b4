//! Which events a reader of the stream asked for: its query as it came, and made ready.
//!
//! A query is compiled once; looking at an event then takes no memory and a time that is bounded by
//! the limits below, linear in what is looked at. Values of a dimension are alternatives, one with
//! a leading `!` excludes, dimensions all have to hold. An event that lacks what a dimension is
//! about is none of its values: it is excluded by no `!`, and taken by nothing else.
//!
//! All values but keys are the same in upper and lower case (A to Z): GitHub's names are, and
//! no two types, languages or actions differ in that alone. Keys are AMQP's, where case counts.
//! Queries that ask for the same by the same values compile to equal filters, in whatever order
//! and case the values come, so that their readers can share the work.

mod words;

use crate::hub::log::tail::TailEvent;
use crate::model::event_index::IndexedField;
use crate::model::routing::{EVENT_WORDS, KEY_BYTES, RoutingPattern, known_keys};
use words::{Choice, Words};

/// The most values of a query, patterns of keys not counted.
pub const QUERY_VALUES: usize = 200;
/// The most of them with a `*` inside.
pub const QUERY_GLOBS: usize = 32;
/// The most `*` in one value.
pub const GLOB_STARS: usize = 8;
/// The most patterns of keys of a query.
pub const QUERY_PATTERNS: usize = 32;
/// The longest value, bytes; GitHub's longest names have 140.
pub const VALUE_BYTES: usize = KEY_BYTES;

/// A query as it came: lists of text. Empty lists, and values that are empty, ask for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamQuery {
    /// Patterns of routing keys, `!` before one excludes. None: every event, no entities.
    pub keys: Vec<String>,
    /// GitHub's types, such as `PushEvent`.
    pub types: Vec<String>,
    /// Repositories as `owner/name`.
    pub repos: Vec<String>,
    /// Logins of actors.
    pub actors: Vec<String>,
    /// Logins of organisations.
    pub orgs: Vec<String>,
    /// Languages, which events about pull requests have.
    pub languages: Vec<String>,
    /// `payload.action`, such as `opened`.
    pub actions: Vec<String>,
    /// Keeps one event in N, chosen by its hash
    /// ([`crate::model::event_index::EventIndex::sampling_hash`]); `None` keeps all.
    pub sample: Option<u64>,
}

/// A query made ready. Equal ones take the same events.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    sample: u64,
    types: Choice,
    repos: Choice,
    actors: Choice,
    orgs: Choice,
    languages: Choice,
    actions: Choice,
    keys: Keys,
    wants_entities: bool,
}

/// Patterns of keys: any of the first, and none of the second.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Keys {
    any: Vec<RoutingPattern>,
    none: Vec<RoutingPattern>,
}

/// Why a query is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StreamQueryError {
    /// The part of the query.
    pub field: &'static str,
    /// The value that is refused, its beginning when it is long.
    pub value: String,
    /// What is wrong with it, and what is accepted.
    pub message: String,
}

/// What is taken as it is and most likely not meant so.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct QueryWarning {
    /// The part of the query.
    pub field: &'static str,
    /// The value.
    pub value: String,
    /// What is odd about it.
    pub message: String,
}

/// Characters of a value that an error repeats.
const SHOWN: usize = 80;

impl Filter {
    /// Makes a query ready, or says what is wrong with it; and what is odd about it.
    pub fn compile(query: &StreamQuery) -> Result<(Self, Vec<QueryWarning>), StreamQueryError> {
        let mut compiler = Compiler::default();
        let sample = query.sample.unwrap_or(1);
        if sample == 0 {
            let accepted = "takes whole numbers from 1: 1 is all, 10 is one event in ten";
            return Err(refused("sample", "0", accepted));
        }
        let mut filter = Self {
            sample,
            types: compiler.choice("types", &query.types)?,
            repos: compiler.choice("repos", &query.repos)?,
            actors: compiler.choice("actors", &query.actors)?,
            orgs: compiler.choice("orgs", &query.orgs)?,
            languages: compiler.choice("languages", &query.languages)?,
            actions: compiler.choice("actions", &query.actions)?,
            keys: compiler.keys(&query.keys)?,
            wants_entities: false,
        };
        filter.wants_entities = known_keys()
            .any(|key| key.as_str().starts_with("ent.") && filter.takes_key(key.as_str()));
        Ok((filter, compiler.warnings))
    }

    /// Whether the event itself is asked for.
    #[must_use]
    pub fn matches(&self, event: &TailEvent) -> bool {
        self.takes_key(event.index().key()) && self.holds(event)
    }

    /// Whether all but the keys hold: then what is made from the event is asked for where
    /// [`Self::takes_key`] takes its key.
    #[must_use]
    pub fn holds(&self, event: &TailEvent) -> bool {
        let head = event.index();
        let takes = |choice: &Choice, value| choice.is_empty() || choice.takes(head.folded(value));
        (self.sample <= 1 || head.sampling_hash().is_multiple_of(self.sample))
            && takes(&self.types, IndexedField::Kind)
            && takes(&self.languages, IndexedField::Language)
            && takes(&self.actors, IndexedField::Actor)
            && takes(&self.orgs, IndexedField::Org)
            && takes(&self.repos, IndexedField::Repo)
            && (self.actions.is_empty() || self.actions.takes(event.action()))
    }

    /// Whether a routing key is asked for.
    #[must_use]
    pub fn takes_key(&self, key: &str) -> bool {
        let Keys { any, none } = &self.keys;
        let wanted = match &**any {
            [] => key.starts_with("evt."),
            any => any.iter().any(|pattern| pattern.matches(key)),
        };
        wanted && !none.iter().any(|pattern| pattern.matches(key))
    }

    /// How many values with `*` an event may be compared with: what looking at one costs.
    #[must_use]
    pub fn globs(&self) -> usize {
        let choices = [&self.types, &self.repos, &self.actors, &self.orgs, &self.languages];
        choices.into_iter().chain([&self.actions]).map(Choice::globs).sum()
    }

    /// Whether any entity can be asked for at all; without, nobody need make them.
    #[must_use]
    pub fn wants_entities(&self) -> bool {
        self.wants_entities
    }
}

/// What is counted and noted over the whole query.
#[derive(Default)]
struct Compiler {
    values: usize,
    globs: usize,
    warnings: Vec<QueryWarning>,
}

impl Compiler {
    fn choice(
        &mut self,
        field: &'static str,
        values: &[String],
    ) -> Result<Choice, StreamQueryError> {
        let mut choice = Choice::default();
        for written in values.iter().map(|value| value.trim()).filter(|value| !value.is_empty()) {
            let (value, words) = match written.strip_prefix('!') {
                Some(value) => (value, &mut choice.none),
                None => (written, &mut choice.any),
            };
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
            self.globs += usize::from(words.add(value));
            if self.globs > QUERY_GLOBS {
                let message =
                    format!("is one value with `*` too many: a query takes {QUERY_GLOBS} in all");
                return Err(refused(field, written, &message));
            }
            if let Some(message) = odd(field, value) {
                self.warnings.push(QueryWarning { field, value: shown(written), message });
            }
        }
        choice.shrink();
        Ok(choice)
    }

    fn keys(&mut self, values: &[String]) -> Result<Keys, StreamQueryError> {
        const FIELD: &str = "keys";
        let mut keys = Keys::default();
        for (i, written) in values.iter().enumerate() {
            if i == QUERY_PATTERNS {
                let message = format!("is one pattern too many: a query takes {QUERY_PATTERNS}");
                return Err(refused(FIELD, written, &message));
            }
            let (text, list) = match written.strip_prefix('!') {
                Some(text) => (text, &mut keys.none),
                None => (&**written, &mut keys.any),
            };
            let pattern = RoutingPattern::read(text).map_err(|error| {
                let example = "patterns are as AMQP's, such as `evt.pullrequest.*` or `ent.#`";
                let message = format!("keys: {error}; {example}");
                StreamQueryError { field: FIELD, value: shown(written), message }
            })?;
            if !pattern.can_match_a_known_key() {
                let message = "no routing key that is known today is matched; /topics lists them";
                let value = shown(written);
                self.warnings.push(QueryWarning {
                    field: FIELD,
                    value,
                    message: message.to_owned(),
                });
            }
            list.push(pattern);
        }
        for list in [&mut keys.any, &mut keys.none] {
            list.sort();
            list.dedup();
        }
        if keys.any.iter().any(RoutingPattern::takes_all) {
            keys.any.retain(RoutingPattern::takes_all);
        }
        Ok(keys)
    }
}

/// What is odd about a value.
fn odd(field: &str, value: &str) -> Option<String> {
    match field {
        "types" => {
            let mut wanted = Words::default();
            wanted.add(value);
            let is_known = |word: &&str| wanted.have(&format!("{word}event"));
            let is_odd = !EVENT_WORDS.iter().any(is_known);
            is_odd.then(|| "no type that is known today has this name; see /topics".to_owned())
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
