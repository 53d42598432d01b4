//! Rules of aggregates: which events are counted, under which name, over which window.
//!
//! A rule is data: it is read from a script's `config()` once and then applied to each event. The
//! values it uses are slices of the event's own text, found by path; the text is scanned once for
//! all rules. A missing value, null, an object or a list is not a name: the event is not counted.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::Duration;

use crate::config::{BareUnit, duration, show_duration};
use crate::hub::FieldPath;
use crate::model::envelope::{Facts, Flags};
use crate::model::glob;
use crate::model::json;
use crate::model::routing::{RoutingKey, RoutingPattern};
use crate::model::script_report::RuleReport;
use crate::model::tally::BucketLayout;

/// The longest window; the journal should reach back twice as far.
pub const WINDOW: Duration = Duration::from_secs(86_400);
/// The longest time between two ticks.
pub const TICK: Duration = Duration::from_secs(3_600);
/// The most buckets of a window. Longer windows have wider buckets.
pub const BUCKETS: u32 = 3_600;
/// The most distinct names, in the window and the previous one.
pub const NAMES: usize = 30_000;
/// The longest name, in bytes; a repository's has at most 140.
pub const NAME_BYTES: usize = 256;
/// The most counts, 16 bytes each: one per name and bucket.
pub const CELLS: usize = 500_000;
/// The most conditions of a rule, and the most values of one.
pub const CONDITIONS: usize = 16;
/// The most lists of a rule.
pub const LISTS: usize = 10;
/// The longest value of a condition, in bytes.
const VALUE_BYTES: usize = 512;

/// The rule of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateRule {
    by: ValueSource,
    conditions: Vec<RuleCondition>,
    /// Lists as a query names them: `NAME`, or `!NAME`.
    lists: Vec<String>,
    /// Length of the window in seconds: a multiple of the step.
    window: u32,
    /// Seconds between two ticks.
    tick: u32,
}

/// One condition: a path and its accepted values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCondition {
    at: ValueSource,
    /// Accepted values; if there are any, one of them must match.
    wanted: Vec<Pattern>,
    /// Excluded values.
    unwanted: Vec<Pattern>,
}

/// Form of a value in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// Of any value other than a routing key; `*` matches any text.
    Text(Box<str>),
    /// Of a routing key.
    Key(RoutingPattern),
}

/// Source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ValueSource {
    /// The event's routing key.
    Key,
    /// From the event; the path behind `event`.
    Event(Vec<Box<str>>),
    /// From the payload; the name behind `payload`.
    Payload(Box<str>),
}

/// An event as rules see it. Values that were looked up are cached for the next rule.
#[derive(Debug)]
pub struct Subject<'a> {
    facts: &'a Facts,
    text: &'a str,
    top: OnceCell<[Option<&'a str>; TOP.len()]>,
    /// Repository and actor, in lower case.
    listed: OnceCell<[Option<String>; 2]>,
}

/// Members of an event, read together.
const TOP: [&str; 8] = ["type", "actor", "repo", "org", "payload", "id", "public", "created_at"];

impl AggregateRule {
    /// Builds a rule from a script's config: `by`, the conditions, and the two durations. The error
    /// says what is accepted.
    pub fn new(
        by: &str,
        conditions: &[(String, Vec<String>)],
        window: Option<Duration>,
        tick: Option<Duration>,
    ) -> Result<Self, String> {
        let mut list = Vec::with_capacity(conditions.len() + 1);
        if conditions.len() > CONDITIONS {
            return Err(format!("where has more than {CONDITIONS} conditions"));
        }
        let mut lists = Vec::new();
        for (place, values) in conditions {
            if place == LIST {
                lists = read_lists(values)?;
            } else {
                list.push(RuleCondition::read(place, values)?);
            }
        }
        // A routing key, or a pattern of keys, is condition and name in one.
        let by = if by.starts_with("evt.") {
            list.push(RuleCondition::read("key", &[by.to_owned()])?);
            ValueSource::Key
        } else {
            ValueSource::read(by).map_err(|reason| format!("by: {reason}"))?
        };
        let window = window.unwrap_or(Duration::from_secs(3_600));
        let whole = whole_seconds(window).filter(|_| window <= WINDOW);
        let seconds = whole.ok_or_else(|| {
            let most = show_duration(WINDOW);
            let given = show_duration(window);
            format!(
                "window: {given} is not accepted; give whole seconds up to {most}, such as \
                     \"1h\""
            )
        })?;
        let step = seconds.div_ceil(BUCKETS);
        let least = Duration::from_secs(step.into());
        let tick = tick.unwrap_or(least);
        let ticked = whole_seconds(tick).filter(|seconds| *seconds >= step && tick <= TICK);
        let tick = ticked.ok_or_else(|| {
            let (given, least) = (show_duration(tick), show_duration(least));
            let most = show_duration(TICK);
            format!(
                "tick: {given} is not accepted; give whole seconds from {least} (a window has at \
                 most {BUCKETS} buckets) to {most}"
            )
        })?;
        let window = seconds.div_ceil(step) * step;
        Ok(Self { by, conditions: list, lists, window, tick })
    }

    /// The lists that select events, as a query names them; the caller applies them.
    #[must_use]
    pub fn lists(&self) -> &[String] {
        &self.lists
    }

    /// The name under which an event is counted, if the lists select it; `None` when it is not
    /// counted.
    #[must_use]
    pub fn name<'a>(&self, event: &Subject<'a>) -> Option<Cow<'a, str>> {
        if !self.conditions.iter().all(|condition| condition.holds(event)) {
            return None;
        }
        event.value(&self.by).filter(|name| !name.is_empty())
    }

    /// Every path it reads: the name's first, then those of the conditions.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.sources().map(ToString::to_string).collect()
    }

    /// Whether an event has a value at the path of this index in [`Self::paths`].
    #[must_use]
    pub fn has(&self, path: usize, event: &Subject<'_>) -> bool {
        self.sources().nth(path).is_some_and(|source| event.value(source).is_some())
    }

    fn sources(&self) -> impl Iterator<Item = &ValueSource> {
        std::iter::once(&self.by).chain(self.conditions.iter().map(|condition| &condition.at))
    }

    /// Length of its window in seconds.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Seconds between two ticks.
    #[must_use]
    pub fn tick(&self) -> u32 {
        self.tick
    }

    /// Layout of its buckets.
    #[must_use]
    pub fn shape(&self) -> BucketLayout {
        let step = self.window.div_ceil(BUCKETS);
        BucketLayout { step, name_bytes: NAME_BYTES, names: NAMES, cells: CELLS }
    }

    /// A sample name for `by`, in the form that events have.
    #[must_use]
    pub fn sample_name(&self, language: &str) -> String {
        let word: String = language.chars().filter(char::is_ascii_alphanumeric).collect();
        match &self.by {
            ValueSource::Key => format!("evt.{}.insert", word.to_ascii_lowercase()),
            ValueSource::Event(names) => {
                match names.iter().map(|name| &**name).collect::<Vec<_>>()[..] {
                    ["repo", "name"] => format!("sample/{word}"),
                    ["type"] => format!("{word}Event"),
                    _ => language.to_owned(),
                }
            }
            ValueSource::Payload(_) => language.to_owned(),
        }
    }

    /// The rule as everybody may see it.
    #[must_use]
    pub fn report(&self) -> RuleReport {
        let conditions = self.conditions.iter().map(|c| (c.at.to_string(), c.texts()));
        let lists = (!self.lists.is_empty()).then(|| (LIST.to_owned(), self.lists.clone()));
        RuleReport {
            by: self.by.to_string(),
            conditions: conditions.chain(lists).collect(),
            window: show_duration(Duration::from_secs(self.window.into())),
            tick: show_duration(Duration::from_secs(self.tick.into())),
        }
    }
}

/// The condition that names lists instead of a path.
const LIST: &str = "list";

/// Names of lists, each with or without a leading `!`.
fn read_lists(values: &[String]) -> Result<Vec<String>, String> {
    let is_name = |text: &String| {
        let name = text.strip_prefix('!').unwrap_or(text);
        !name.is_empty() && name.len() <= VALUE_BYTES && !name.contains('*')
    };
    if values.is_empty() || values.len() > LISTS || !values.iter().all(is_name) {
        return Err(format!(
            "where: `{LIST}` takes 1 to {LISTS} names of lists, such as \"mine\" or [\"mine\", \
             \"!bots\"]"
        ));
    }
    Ok(values.to_vec())
}

/// Names in the payload besides the flags.
const KNOWN: [&str; 4] = ["language", "additions", "deletions", "enriched"];

fn is_known(name: &str) -> bool {
    KNOWN.contains(&name) || Flags::default().named().iter().any(|(flag, _)| *flag == name)
}

/// `None` for a fraction or a missing value.
fn whole_seconds(duration: Duration) -> Option<u32> {
    let seconds = u32::try_from(duration.as_secs()).ok()?;
    (duration.subsec_nanos() == 0 && seconds > 0).then_some(seconds)
}

/// Parses a duration of a script: `"90s"`, `"1h"`, or a number of seconds.
pub fn read_time(name: &str, text: &str) -> Result<Duration, String> {
    duration(text, BareUnit::Seconds).ok_or_else(|| {
        let shown: String = text.chars().take(20).collect();
        format!("{name}: invalid duration `{shown}`; write one such as \"90s\" or \"1h\"")
    })
}

impl ValueSource {
    fn read(text: &str) -> Result<Self, String> {
        if text == "key" {
            return Ok(Self::Key);
        }
        let path = FieldPath::read(text).map_err(|error| {
            format!("{error}; write `key`, or a path such as event.repo.name or payload.language")
        })?;
        let mut names = path.names().map(Box::from);
        let first: Option<Box<str>> = names.next();
        let names: Vec<Box<str>> = names.collect();
        match (first.as_deref(), &names[..]) {
            (_, []) => Err(format!("`{text}` is not a single value; write a path below it")),
            (Some("payload"), [name]) if is_known(name) => Ok(Self::Payload(name.clone())),
            (Some("payload"), [_]) => {
                let flags = Flags::default().named().map(|(name, _)| name).join(", ");
                let known = KNOWN.join(", ");
                Err(format!("`{text}` is not in the payload, which has {known}, {flags}"))
            }
            (Some("payload"), _) => Err(format!(
                "`{text}`: the payload has no nested objects; GitHub's payload is \
                             event.payload"
            )),
            _ => Ok(Self::Event(names)),
        }
    }
}

impl std::fmt::Display for ValueSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key => f.write_str("key"),
            Self::Event(names) => {
                f.write_str("event")?;
                names.iter().try_for_each(|name| write!(f, ".{name}"))
            }
            Self::Payload(name) => write!(f, "payload.{name}"),
        }
    }
}

impl RuleCondition {
    fn read(place: &str, values: &[String]) -> Result<Self, String> {
        let at = ValueSource::read(place).map_err(|reason| format!("where: {reason}"))?;
        if values.len() > CONDITIONS {
            return Err(format!("where: `{place}` has more than {CONDITIONS} values"));
        }
        if values.iter().any(|value| value.len() > VALUE_BYTES) {
            return Err(format!("where: a value of `{place}` has more than {VALUE_BYTES} bytes"));
        }
        let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
        for value in values {
            match value.strip_prefix('!') {
                Some(value) => unwanted.push(Pattern::read(&at, value)?),
                None => wanted.push(Pattern::read(&at, value)?),
            }
        }
        Ok(Self { at, wanted, unwanted })
    }

    /// A missing value matches neither accepted nor excluded values.
    fn holds(&self, event: &Subject<'_>) -> bool {
        let Some(value) = event.value(&self.at) else { return self.wanted.is_empty() };
        let is_one = |forms: &[Pattern]| forms.iter().any(|form| form.matches(&value));
        (self.wanted.is_empty() || is_one(&self.wanted)) && !is_one(&self.unwanted)
    }

    fn texts(&self) -> Vec<String> {
        let wanted = self.wanted.iter().map(Pattern::text);
        wanted.chain(self.unwanted.iter().map(|form| format!("!{}", form.text()))).collect()
    }
}

impl Pattern {
    fn read(at: &ValueSource, text: &str) -> Result<Self, String> {
        if *at != ValueSource::Key {
            return Ok(Self::Text(text.into()));
        }
        RoutingPattern::read(text).map(Self::Key).map_err(|error| format!("where: key: {error}"))
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Text(text) => glob::matches(text, value.as_bytes()),
            Self::Key(pattern) => pattern.matches(value),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.to_string(),
            Self::Key(pattern) => pattern.to_string(),
        }
    }
}

impl<'a> Subject<'a> {
    /// Creates it from an event and its facts.
    #[must_use]
    pub fn new(facts: &'a Facts, text: &'a str) -> Self {
        Self { facts, text, top: OnceCell::new(), listed: OnceCell::new() }
    }

    /// The event's facts.
    #[must_use]
    pub fn facts(&self) -> &'a Facts {
        self.facts
    }

    /// GitHub's type.
    #[must_use]
    pub fn kind(&self) -> Option<Cow<'a, str>> {
        self.member("type").and_then(json::text)
    }

    /// The id of the actor or of the repository.
    #[must_use]
    pub fn number_of(&self, who: &str) -> Option<u64> {
        self.member(who).and_then(|object| json::pick(object, ["id"])[0]).and_then(json::whole)
    }

    /// The name of the repository.
    #[must_use]
    pub fn repository(&self) -> Option<Cow<'a, str>> {
        let name = self.member("repo").and_then(|object| json::pick(object, ["name"])[0]);
        name.and_then(json::text).filter(|name| name.len() <= NAME_BYTES)
    }

    /// The names by which lists select: of the repository and of the actor, in lower case.
    #[must_use]
    pub fn listed(&self) -> [Option<&str>; 2] {
        let name = |member: &str, name| {
            let text = json::text(json::pick(self.member(member)?, [name])[0]?)?;
            Some(text.to_ascii_lowercase())
        };
        let names = self.listed.get_or_init(|| [name("repo", "name"), name("actor", "login")]);
        names.each_ref().map(Option::as_deref)
    }

    fn member(&self, name: &str) -> Option<&'a str> {
        let Some(at) = TOP.iter().position(|known| *known == name) else {
            return json::pick(self.text, [name])[0];
        };
        self.top.get_or_init(|| json::pick(self.text, TOP))[at]
    }

    fn value(&self, source: &ValueSource) -> Option<Cow<'a, str>> {
        match source {
            ValueSource::Key => {
                let key = RoutingKey::of_event(&self.kind().unwrap_or_default());
                Some(Cow::Owned(key.as_str().to_owned()))
            }
            ValueSource::Event(names) => {
                let (first, below) = names.split_first()?;
                scalar(json::at(self.member(first)?, below)?)
            }
            ValueSource::Payload(name) => self.known(name),
        }
    }

    /// A value of the bus payload.
    fn known(&self, name: &str) -> Option<Cow<'a, str>> {
        let facts = self.facts;
        let number = |n: Option<u64>| n.map(|n| Cow::Owned(n.to_string()));
        let flag = |set: bool| Some(Cow::Borrowed(if set { "1" } else { "0" }));
        match name {
            "language" => facts.language.as_deref().map(Cow::Borrowed),
            "additions" => number(facts.additions),
            "deletions" => number(facts.deletions),
            "enriched" => flag(facts.enriched),
            _ => {
                let named = facts.flags.named();
                named.iter().find(|(known, _)| *known == name).and_then(|(_, set)| flag(*set))
            }
        }
    }
}

/// A text, a number, true or false.
fn scalar(value: &str) -> Option<Cow<'_, str>> {
    match value.as_bytes().first()? {
        b'"' => json::text(value),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(value)),
    }
}

#[cfg(test)]
mod tests;
