//! The query of `/stream`, from a URL or a JSON object with the same names.
//!
//! Values may be repeated, listed, or separated by commas. Invalid values are rejected by name;
//! unknown names cause a warning in the `ack`.

use std::num::NonZeroU64;
use std::time::Duration;

use schemars::JsonSchema;

use crate::hub::{
    Filter, QUERY_LISTS, QueryWarning, StreamQuery, StreamQueryError, StreamSelection,
    StreamSelector, StreamStart,
};
use crate::lists::{ListTerm, Lists};
use crate::model::nearest::nearest;
use crate::model::offset::Offset;
use crate::model::position::InvalidCursor;
use crate::model::resume_token::ResumeToken;
use crate::model::window::Timestamp;
use crate::serve::http::url_query::{moment, shown};
use crate::serve::readers::cursor_schema;
use crate::serve::readers::params::{InvalidParams, ParamFields, bad, check_paths, read_paths};

/// Most events before the newest that `latest` may ask for.
const LATEST_MOST: u64 = 10_000;

/// Largest `limit` of a poll.
const LIMIT_MOST: u64 = 10_000;

/// `since` may lie this far in the future, as clocks differ; the reader waits until then.
const AHEAD: Duration = Duration::from_secs(60);

/// Most members of a JSON object.
const MEMBERS: usize = 64;

/// Parameters that take a single value, with an example. In a URL an empty one is refused: a reader
/// whose checkpoint is empty would begin live and miss events.
const SINGLE: [(&str, &str); 6] = [
    ("cursor", CURSOR),
    ("since", SINCE),
    ("latest", "latest=100"),
    ("sample", "sample=10"),
    ("poll", "poll=1"),
    ("limit", LIMIT),
];

const CURSOR: &str = "cursor=51a70c3e-be1f4b";

const SINCE: &str = "since=2026-01-01T00:00:00Z or since=15m";

const LIMIT: &str = "poll=1&limit=1000";

const FIELDS: &str = "fields=event.repo.name,payload.merge";

const EXAMPLE: &str = r#"{"types":["PushEvent"],"repos":["rust-lang/*"]}"#;

/// Declares the parameters: each is a field with the values that were given, split at commas. The
/// documents about the API are derived from the comments and the schemas.
macro_rules! parameters {
    ($($(#[$about:meta])+ $name:ident,)+) => {
        /// The query of `/stream` as it was given.
        #[derive(Debug, Default, JsonSchema)]
        pub(crate) struct StreamRequest {
            $($(#[$about])+ $name: Vec<String>,)+
            #[schemars(skip)]
            warnings: Vec<QueryWarning>,
        }

        impl StreamRequest {
            /// The names of the parameters, in the order of the documentation.
            pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),+];

            /// The name and the values of a parameter, by its name in any case.
            fn parameter(&mut self, name: &str) -> Option<(&'static str, &mut Vec<String>)> {
                $(if name.eq_ignore_ascii_case(stringify!($name)) {
                    return Some((stringify!($name), &mut self.$name));
                })+
                None
            }
        }
    };
}

parameters! {
    /// Patterns of routing keys as AMQP has them: `evt.push.*`, `ent.#`; with `ent.` also entities
    keys,
    /// GitHub's types, such as `PushEvent`
    types,
    /// Repositories, such as rust-lang/*
    repos,
    /// Logins of actors, such as !*[bot]
    actors,
    /// Logins of organisations
    orgs,
    /// Languages, which events about pull requests have
    languages,
    /// `payload.action`, such as opened
    actions,
    /// Lists of the server (`lists.dir`), such as mine or !bots: events of what is on one
    list,
    /// One in N, by a hash of type and id: the same events for everyone
    #[schemars(with = "NonZeroU64")]
    sample,
    /// Only these values: paths that begin with `event` or `payload`
    fields,
    /// After this cursor
    #[schemars(schema_with = "cursor_schema::of_events")]
    cursor,
    /// From then on: a time, a day, or how long ago (15m)
    #[schemars(with = "String")]
    since,
    /// The last N that match, then live
    #[schemars(with = "NonZeroU64", range(max = LATEST_MOST))]
    latest,
    /// 1: what is there now, and end; from the oldest on when nothing else is said
    #[schemars(with = "String", extend("enum" = ["0", "1", "false", "true"]))]
    poll,
    /// With `poll`: ends after the event that makes it this many events and documents (those of
    /// one event are not split); continue at `caught_up`'s cursor
    #[schemars(with = "NonZeroU64", range(max = LIMIT_MOST))]
    limit,
}

/// Limits of a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// Values and patterns in all.
    pub(super) values: usize,
    /// Paths in `fields`.
    pub(super) paths: usize,
    pub(super) now: Timestamp,
    /// The lists that it may name.
    pub(super) lists: &'a Lists,
}

#[derive(Debug)]
pub(super) struct StreamParams {
    pub(super) selector: StreamSelector,
    pub(super) start: StreamStart,
    /// Whether it ends after all available events were sent.
    pub(super) once: bool,
    /// After how many events and documents it ends earlier, those of one event not split; only
    /// with `once`.
    pub(super) limit: Option<u64>,
    pub(super) warnings: Vec<QueryWarning>,
}

/// Parses the query of a URL. `last_id` is the `Last-Event-ID`, which takes precedence.
pub(super) fn of_url(
    pairs: &[(String, String)],
    last_id: Option<&str>,
    bounds: Bounds<'_>,
) -> Result<StreamParams, InvalidParams> {
    let mut given = StreamRequest::default();
    for (name, value) in pairs {
        let single = SINGLE.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        if let Some((name, example)) = single.filter(|_| value.trim().is_empty()) {
            return Err(bad(name, "is empty", "give a value, or leave it out", example));
        }
        given.warn_about_fragment(name, value);
        given.put(name, value);
    }
    let last_id = last_id.filter(|id| !id.is_empty());
    if let Some(junk) = last_id.filter(|id| read_offset(id).is_err()) {
        // A page's `EventSource` gives up permanently when refused, and cannot send another id.
        let message = "not a cursor of events; the URL says where to begin".to_owned();
        given.warnings.push(QueryWarning { field: "Last-Event-ID", value: shown(junk), message });
    } else if let Some(last_id) = last_id {
        given.cursor = vec![last_id.to_owned()];
        given.since.clear();
        given.latest.clear();
    }
    given.read(bounds)
}

/// Parses a WebSocket message.
pub(super) fn of_json(text: &str, bounds: Bounds<'_>) -> Result<StreamParams, InvalidParams> {
    let fields = ParamFields::read(text, EXAMPLE)?;
    let mut given = StreamRequest::default();
    for name in fields.names(MEMBERS)? {
        let Some(value) = fields.get(name) else { continue };
        let values = ParamFields::scalars(value).ok_or_else(|| InvalidParams {
            field: given.parameter(name).map(|(name, _)| name),
            message: format!(
                "{}: is neither a text, a number nor a list of them; such as {EXAMPLE}",
                shown(name)
            ),
        })?;
        for value in values {
            given.put(name, &value);
        }
    }
    given.read(bounds)
}

/// Parses a cursor. A cursor of counts resumes after the last counted event.
fn read_offset(text: &str) -> Result<Offset, InvalidCursor> {
    let offset = text.parse::<ResumeToken>().map(|token| Offset::after(token.cursor));
    offset.or_else(|_| text.parse())
}

impl StreamRequest {
    /// Adds the values of a parameter, or a warning about an unknown one.
    fn put(&mut self, name: &str, value: &str) {
        if let Some((_, values)) = self.parameter(name) {
            let given = value.split(',').map(str::trim).filter(|value| !value.is_empty());
            values.extend(given.map(str::to_owned));
            return;
        }
        let known = format!("unknown parameter; there are {}", Self::NAMES.join(", "));
        let near = nearest(name, Self::NAMES.iter().copied());
        let message = near.map_or(known, |near| format!("unknown parameter; did you mean {near}?"));
        self.warn("query", name, message);
    }

    /// Warns about patterns of a URL that end where a `#` probably began a fragment, which clients
    /// do not send.
    fn warn_about_fragment(&mut self, name: &str, value: &str) {
        let value = value.trim_end();
        if name.eq_ignore_ascii_case("keys") && (value.is_empty() || value.ends_with(',')) {
            let message = "an empty pattern, which counts as left out. In a URL `#` begins a \
                           fragment: write `%23`";
            self.warn("keys", value, message.to_owned());
        }
    }

    /// Adds a warning once, up to as many as there are parameters.
    fn warn(&mut self, field: &'static str, value: &str, message: String) {
        let warning = QueryWarning { field, value: shown(value), message };
        if !self.warnings.contains(&warning) && self.warnings.len() < Self::NAMES.len() {
            self.warnings.push(warning);
        }
    }

    fn read(mut self, bounds: Bounds<'_>) -> Result<StreamParams, InvalidParams> {
        let once = match one("poll", self.poll, "poll=1")?.as_deref() {
            None | Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => {
                return Err(bad("poll", &format!("is `{}`", shown(other)), "give 1", "poll=1"));
            }
        };
        let limit = whole("limit", self.limit, LIMIT_MOST, LIMIT)?;
        if let Some(limit) = limit.filter(|_| !once) {
            let what = format!("is {limit}");
            return Err(bad("limit", &what, "give it together with `poll`", LIMIT));
        }
        let start = start([self.cursor, self.since, self.latest], once, bounds.now)?;
        let fields = read_paths("fields", &self.fields, bounds.paths, FIELDS)?;
        let query = StreamQuery {
            keys: self.keys,
            types: self.types,
            repos: self.repos,
            actors: self.actors,
            orgs: self.orgs,
            languages: self.languages,
            actions: self.actions,
            lists: lists(self.list, bounds.lists)?,
            sample: whole("sample", self.sample, u64::MAX, "sample=10")?,
        };
        let lists = [&query.keys, &query.types, &query.repos, &query.actors, &query.orgs];
        let values = lists.into_iter().chain([&query.languages, &query.actions]).map(Vec::len);
        let values: usize = values.sum();
        if values > bounds.values {
            let message = format!(
                "{values} values and patterns, more than {} (server.limits.patterns); ask for \
                 fewer, or with `*`",
                bounds.values
            );
            return Err(InvalidParams { field: None, message });
        }
        let refused =
            |StreamQueryError { field, message, .. }| InvalidParams { field: Some(field), message };
        let (filter, mut warnings) = Filter::compile(&query).map_err(refused)?;
        warnings.append(&mut self.warnings);
        let ask = StreamSelection::new(filter, fields);
        check_paths("fields", ask.fields(), FIELDS)?;
        let selector = StreamSelector::new(ask);
        Ok(StreamParams { selector, start, once, limit, warnings })
    }
}

/// The single value of a parameter.
fn one(
    name: &'static str,
    mut values: Vec<String>,
    example: &str,
) -> Result<Option<String>, InvalidParams> {
    if values.len() > 1 {
        let what = format!("is given {} times", values.len());
        return Err(bad(name, &what, "give it once", example));
    }
    Ok(values.pop())
}

/// A whole number from 1 to `most`.
fn whole(
    name: &'static str,
    values: Vec<String>,
    most: u64,
    example: &str,
) -> Result<Option<u64>, InvalidParams> {
    let Some(value) = one(name, values, example)? else { return Ok(None) };
    let refused = |accepted: &str| bad(name, &format!("is `{}`", shown(&value)), accepted, example);
    match value.parse::<u64>() {
        Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
        Ok(number) if number > most => {
            let other = if name == "latest" { ", or `since`" } else { "" };
            Err(refused(&format!("give at most {most}{other}")))
        }
        _ => Err(refused("give a whole number from 1 on")),
    }
}

fn lists(names: Vec<String>, known: &Lists) -> Result<Vec<ListTerm>, InvalidParams> {
    let refused = |error| InvalidParams::of("list", error);
    let term = |name: String| known.term(&name).map_err(refused);
    names.into_iter().take(QUERY_LISTS + 1).map(term).collect()
}

/// Where the stream begins, by `cursor`, `since` or `latest`.
fn start(
    given: [Vec<String>; 3],
    once: bool,
    now: Timestamp,
) -> Result<StreamStart, InvalidParams> {
    let named = ["cursor", "since", "latest"].into_iter().zip(&given);
    let named: Vec<&str> =
        named.filter(|(_, values)| !values.is_empty()).map(|(name, _)| name).collect();
    if let [first, _, ..] = *named {
        let message = format!("{}: give one of them: each says where to begin", named.join(", "));
        return Err(InvalidParams { field: Some(first), message });
    }
    let [cursor, since, latest] = given;
    if let Some(text) = one("cursor", cursor, CURSOR)? {
        let offset = read_offset(&text);
        let offset = offset.map_err(|error| InvalidParams::of("cursor", error))?;
        return Ok(StreamStart::Behind(offset));
    }
    if let Some(text) = one("since", since, SINCE)? {
        let refused = |accepted| bad("since", &format!("is `{}`", shown(&text)), accepted, SINCE);
        let since = moment(&text, now).ok_or_else(|| {
            refused(
                "give a time (without an offset it is UTC), a day, or how long ago, as 90s, 1h30m \
                 or 2d",
            )
        })?;
        if since > now.plus(AHEAD) {
            return Err(refused("give a time at most a minute ahead"));
        }
        return Ok(StreamStart::Since(since));
    }
    if let Some(most) = whole("latest", latest, LATEST_MOST, "latest=100")? {
        return Ok(StreamStart::Latest(usize::try_from(most).unwrap_or(usize::MAX)));
    }
    Ok(if once { StreamStart::Oldest } else { StreamStart::Here })
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static NO_LISTS: LazyLock<Lists> = LazyLock::new(Lists::default);

    fn bounds() -> Bounds<'static> {
        let now = Timestamp::from_seconds(1_000_000);
        Bounds { values: 4, paths: 2, now, lists: &NO_LISTS }
    }

    fn url(text: &str) -> Result<StreamParams, InvalidParams> {
        let pairs: Vec<_> = text
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        of_url(&pairs, None, bounds())
    }

    fn start(text: &str) -> StreamStart {
        url(text).unwrap().start
    }

    #[test]
    fn url_and_json_give_the_same_query() {
        let one =
            url("types=PushEvent,WatchEvent&types=ForkEvent&Sample=10&fields=event.id").unwrap();
        let json =
            r#"{"types":["PushEvent","WatchEvent,ForkEvent"],"sample":10,"fields":"event.id"}"#;
        let other = of_json(json, bounds()).unwrap();
        assert_eq!(one.selector.selection, other.selector.selection);
        assert_eq!((one.start, one.once), (StreamStart::Here, false));
        assert!(one.warnings.is_empty() && other.warnings.is_empty());
    }

    #[test]
    fn beginnings_are_parsed() {
        let offset: Offset = "51a70c3e-be1f4b".parse().unwrap();
        assert_eq!(start("cursor=51a70c3e-be1f4b"), StreamStart::Behind(offset));
        assert_eq!(start("latest=7"), StreamStart::Latest(7));
        assert_eq!(start("poll=1"), StreamStart::Oldest);
        assert_eq!(start("poll=1&latest=7"), StreamStart::Latest(7));
        let limited = url("poll=1&limit=10000").unwrap();
        assert_eq!((limited.start, limited.limit), (StreamStart::Oldest, Some(10_000)));
        let ago = StreamStart::Since(Timestamp::from_seconds(1_000_000 - 900));
        assert_eq!(start("since=15m"), ago);
        assert_eq!(start("since=0.25h"), ago);
        assert_eq!(start("since=1970-01-12T13:31:40Z"), ago);
        assert_eq!(start("since=1970-01-12T14:31:40 01:00"), ago);
        assert_eq!(start("since=1970-01-12 14:31:40 01:00"), ago);
        for utc in ["1970-01-12T13:31:40", "1970-01-12 13:31:40.000", "1970-01-12T13:31:40.0"] {
            assert_eq!(start(&format!("since={utc}")), ago, "{utc}");
        }
        let ahead = StreamStart::Since(Timestamp::from_seconds(1_000_060));
        assert_eq!(start("since=1970-01-12T13:47:40"), ahead);
        let day = StreamStart::Since(Timestamp::from_seconds(11 * 86_400));
        assert_eq!(start("since=1970-01-12"), day);
        let pairs = [("since".to_owned(), "1h".to_owned())];
        let back = of_url(&pairs, Some("51a70c3e-be1f4b"), bounds()).unwrap();
        assert_eq!(back.start, StreamStart::Behind(offset));
        // An invalid id causes a warning, and the URL applies.
        let junk = of_url(&pairs, Some("junk"), bounds()).unwrap();
        assert_eq!(junk.start, StreamStart::Since(Timestamp::from_seconds(1_000_000 - 3_600)));
        assert_eq!((junk.warnings[0].field, &*junk.warnings[0].value), ("Last-Event-ID", "junk"));
    }

    #[test]
    fn invalid_values_are_rejected_by_name() {
        for (text, field, part) in [
            ("cursor=x", Some("cursor"), "invalid cursor `x`"),
            ("since=soon", Some("since"), "how long ago"),
            ("since=1970-01-13T00:00:00Z", Some("since"), "a minute ahead"),
            ("since=1970-01-12T13:47:41", Some("since"), "a minute ahead"),
            ("since=1970-01-12T13:31:40[Europe/Berlin]", Some("since"), "without an offset"),
            ("since=1970-01-12x", Some("since"), "without an offset"),
            ("latest=0", Some("latest"), "from 1 on"),
            ("latest=10001", Some("latest"), "at most 10000, or `since`, such as"),
            ("latest=5&since=1h", Some("since"), "since, latest: give one"),
            ("latest=5&cursor=51a70c3e-be1f4b", Some("cursor"), "cursor, latest: give one"),
            ("cursor=", Some("cursor"), "is empty"),
            ("poll=1&Since=", Some("since"), "is empty"),
            ("sample=1.5", Some("sample"), "whole number"),
            ("poll=2", Some("poll"), "give 1"),
            ("poll=", Some("poll"), "is empty"),
            ("poll=1&limit=0", Some("limit"), "from 1 on"),
            ("poll=1&limit=10001", Some("limit"), "at most 10000"),
            ("limit=5", Some("limit"), "together with `poll`"),
            ("Latest= ", Some("latest"), "is empty"),
            ("sample=", Some("sample"), "is empty"),
            ("fields=id", Some("fields"), "neither `event` nor `payload`"),
            ("fields=event.a,event.b,event.c", Some("fields"), "at most 2"),
            ("list=mine", Some("list"), "no list `mine`"),
            ("types=a,b,c&repos=d/e,f/g", None, "5 values and patterns"),
            ("keys=#.a.#.b.#", Some("keys"), "#.a.#.b.#"),
        ] {
            let refused = url(text).unwrap_err();
            assert_eq!(refused.field, field, "{text}");
            assert!(refused.message.contains(part), "{text}: {}", refused.message);
        }
        assert_eq!(of_json("[]", bounds()).unwrap_err().field, None);
        assert_eq!(of_json(r#"{"types":{}}"#, bounds()).unwrap_err().field, Some("types"));
        // In JSON an empty text is a parameter that is left out.
        assert_eq!(of_json(r#"{"cursor":""}"#, bounds()).unwrap().start, StreamStart::Here);
    }

    #[test]
    fn unknown_names_cause_warnings() {
        let read = url("type=PushEvent&keys=evt.repos.insert").unwrap();
        let fields: Vec<_> = read.warnings.iter().map(|w| (w.field, &*w.value)).collect();
        assert_eq!(fields, [("keys", "evt.repos.insert"), ("query", "type")]);
        let said = |text: &str| url(text).unwrap().warnings.remove(0).message;
        assert_eq!(said("type=PushEvent"), "unknown parameter; did you mean types?");
        assert!(said("nothing=1").starts_with("unknown parameter; there are keys, types, "));
    }

    #[test]
    fn hash_sign_that_began_a_fragment_causes_a_warning() {
        // What a server receives of `keys=#`, `keys=ent.#` and `keys=evt.push.*,#`.
        for cut in ["keys=", "Keys=ent.", "keys=evt.push.*,"] {
            let warnings = url(cut).unwrap().warnings;
            let said: Vec<_> = warnings.iter().map(|w| (w.field, &*w.message)).collect();
            assert!(matches!(said[..], [("keys", said)] if said.contains("`%23`")), "{said:?}");
        }
        assert!(url("keys=#&types=").unwrap().warnings.is_empty());
    }
}
