//! The query of `/stream`, from a URL or a JSON object with the same names.
//!
//! Values may be repeated, listed, or separated by commas. Invalid values are rejected by name;
//! unknown names cause a warning in the `ack`.

use std::time::Duration;

use crate::config;
use crate::hub::{
    FieldPath, Filter, QUERY_LISTS, QueryWarning, StreamQuery, StreamQueryError, StreamSelection,
    StreamSelector, StreamStart, check_paths,
};
use crate::lists::{ListTerm, Lists};
use crate::model::offset::Offset;
use crate::model::position::InvalidCursor;
use crate::model::resume_token::ResumeToken;
use crate::model::window::Timestamp;
use crate::serve::readers::params::{InvalidParams, ParamFields, bad, shown};

/// Most events before the newest that `latest` may ask for.
const LATEST_MOST: usize = 10_000;

/// Largest `limit` of a poll.
pub(crate) const LIMIT_MOST: u64 = 10_000;

/// `since` may lie this far in the future, as clocks differ; the reader waits until then.
const AHEAD: Duration = Duration::from_secs(60);

/// Most members of a JSON object.
const MEMBERS: usize = 64;

/// The parameters, in the order of the documentation.
pub(crate) const NAMES: [&str; 15] = [
    "keys",
    "types",
    "repos",
    "actors",
    "orgs",
    "languages",
    "actions",
    "list",
    "sample",
    "fields",
    "cursor",
    "since",
    "latest",
    "poll",
    "limit",
];

/// Parameters that take a single word or number, with an example.
const NUMBERS: [(&str, &str); 4] =
    [("sample", "sample=10"), ("latest", "latest=100"), ("poll", "poll=1"), ("limit", LIMIT)];

const LIMIT: &str = "poll=1&limit=1000";

const EXAMPLE: &str = r#"{"types":["PushEvent"],"repos":["rust-lang/*"]}"#;

/// Limits of a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    /// Values and patterns in all.
    pub(super) values: usize,
    /// Paths in `fields`.
    pub(super) paths: usize,
    /// The current time.
    pub(super) now: Timestamp,
    /// The lists that it may name.
    pub(super) lists: &'a Lists,
}

/// A parsed query.
#[derive(Debug)]
pub(super) struct StreamParams {
    pub(super) choice: StreamSelector,
    pub(super) start: StreamStart,
    /// Whether it ends after all available events were sent.
    pub(super) once: bool,
    /// After how many events and documents it ends earlier; only with `once`.
    pub(super) limit: Option<u64>,
    pub(super) warnings: Vec<QueryWarning>,
}

/// Names and their values, split at commas.
#[derive(Debug, Default)]
struct RawQuery {
    values: [Vec<String>; NAMES.len()],
    warnings: Vec<QueryWarning>,
}

/// Parses the query of a URL. `last_id` is the `Last-Event-ID`, which takes precedence.
pub(super) fn of_url(
    pairs: &[(String, String)],
    last_id: Option<&str>,
    bounds: Bounds<'_>,
) -> Result<StreamParams, InvalidParams> {
    let mut given = RawQuery::default();
    for (name, value) in pairs {
        let number = NUMBERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        if let Some((name, example)) = number.filter(|_| value.trim().is_empty()) {
            return Err(bad(name, "is empty", "give a value, or leave it out", example));
        }
        given.put(name, value);
    }
    let last_id = last_id.filter(|id| !id.is_empty());
    if let Some(junk) = last_id.filter(|id| read_place(id).is_err()) {
        // A page's `EventSource` gives up permanently when refused, and cannot send another id.
        let message = "not a cursor of events; the URL says where to begin".to_owned();
        given.warnings.push(QueryWarning { field: "Last-Event-ID", value: shown(junk), message });
    } else if let Some(last_id) = last_id {
        for name in ["cursor", "since", "latest"] {
            given.values[index(name)].clear();
        }
        given.put("cursor", last_id);
    }
    given.read(bounds)
}

/// Parses a WebSocket message.
pub(super) fn of_json(text: &str, bounds: Bounds<'_>) -> Result<StreamParams, InvalidParams> {
    let fields = ParamFields::read(text, EXAMPLE)?;
    let mut given = RawQuery::default();
    for name in fields.names(MEMBERS)? {
        let Some(value) = fields.get(name) else { continue };
        let known = NAMES.iter().find(|known| known.eq_ignore_ascii_case(name));
        let field = known.copied();
        for value in ParamFields::scalars(value).ok_or_else(|| InvalidParams {
            field,
            message: format!(
                "{}: is neither a text, a number nor a list of them; such as {EXAMPLE}",
                shown(name)
            ),
        })? {
            given.put(name, &value);
        }
    }
    given.read(bounds)
}

/// Parses a cursor. A cursor of counts resumes after the last counted event.
fn read_place(text: &str) -> Result<Offset, InvalidCursor> {
    let place = text.parse::<ResumeToken>().map(|token| Offset::after(token.cursor));
    place.or_else(|_| text.parse())
}

fn index(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).expect("it is one of the names")
}

impl RawQuery {
    fn put(&mut self, name: &str, value: &str) {
        let Some(at) = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)) else {
            let message = format!("no such parameter; there are {}", NAMES.join(", "));
            let warning = QueryWarning { field: "query", value: shown(name), message };
            if !self.warnings.contains(&warning) && self.warnings.len() < NAMES.len() {
                self.warnings.push(warning);
            }
            return;
        };
        let values = value.split(',').map(str::trim).filter(|value| !value.is_empty());
        self.values[at].extend(values.map(str::to_owned));
    }

    fn take(&mut self, name: &'static str) -> Vec<String> {
        std::mem::take(&mut self.values[index(name)])
    }

    /// The single value of a name.
    fn one(&mut self, name: &'static str, example: &str) -> Result<Option<String>, InvalidParams> {
        let mut values = self.take(name);
        if values.len() > 1 {
            let what = format!("is given {} times", values.len());
            return Err(bad(name, &what, "give it once", example));
        }
        Ok(values.pop())
    }

    fn whole(&mut self, name: &'static str, example: &str) -> Result<Option<u64>, InvalidParams> {
        let Some(value) = self.one(name, example)? else { return Ok(None) };
        let number = value.parse().ok().filter(|number| *number > 0);
        number.map(Some).ok_or_else(|| {
            let what = format!("is `{}`", shown(&value));
            bad(name, &what, "give a whole number from 1 on", example)
        })
    }

    fn read(mut self, bounds: Bounds<'_>) -> Result<StreamParams, InvalidParams> {
        let once = match self.one("poll", "poll=1")?.as_deref() {
            None | Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => {
                return Err(bad("poll", &format!("is `{}`", shown(other)), "give 1", "poll=1"));
            }
        };
        let limit = self.limit(once)?;
        let start = self.start(once, bounds.now)?;
        let fields = self.take("fields");
        if fields.len() > bounds.paths {
            let what = format!("has {} paths", fields.len());
            let accepted = format!("give at most {} (server.limits.filterPaths)", bounds.paths);
            return Err(bad("fields", &what, &accepted, "fields=event.repo.name"));
        }
        let path = |text: &String| {
            FieldPath::read(text).map_err(|error| {
                let accepted = "give paths that begin with `event` or `payload`";
                bad("fields", &error.to_string(), accepted, "fields=event.repo.name,payload.merge")
            })
        };
        let fields = fields.iter().map(path).collect::<Result<Vec<_>, _>>()?;
        let sample = self.whole("sample", "sample=10")?;
        let query = StreamQuery {
            keys: self.take("keys"),
            types: self.take("types"),
            repos: self.take("repos"),
            actors: self.take("actors"),
            orgs: self.take("orgs"),
            languages: self.take("languages"),
            actions: self.take("actions"),
            lists: self.lists(bounds.lists)?,
            sample,
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
        check_paths(ask.fields()).map_err(|error| {
            bad("fields", &error.to_string(), "give fewer or shorter paths", "fields=event.id")
        })?;
        let choice = StreamSelector::new(ask);
        Ok(StreamParams { choice, start, once, limit, warnings })
    }

    fn lists(&mut self, known: &Lists) -> Result<Vec<ListTerm>, InvalidParams> {
        let names = self.take("list").into_iter().take(QUERY_LISTS + 1);
        let term = |name: String| {
            known.term(&name).map_err(|error| InvalidParams {
                field: Some("list"),
                message: format!("list: {error}"),
            })
        };
        names.map(term).collect()
    }

    fn limit(&mut self, once: bool) -> Result<Option<u64>, InvalidParams> {
        let Some(limit) = self.whole("limit", LIMIT)? else { return Ok(None) };
        let what = format!("is {limit}");
        if limit > LIMIT_MOST {
            return Err(bad("limit", &what, &format!("give at most {LIMIT_MOST}"), LIMIT));
        }
        if !once {
            return Err(bad("limit", &what, "give it together with `poll`", LIMIT));
        }
        Ok(Some(limit))
    }

    fn start(&mut self, once: bool, now: Timestamp) -> Result<StreamStart, InvalidParams> {
        const LATEST: &str = "latest=100";
        const SINCE: &str = "since=2026-01-01T00:00:00Z or since=15m";
        let named: Vec<&str> = ["cursor", "since", "latest"]
            .into_iter()
            .filter(|name| !self.values[index(name)].is_empty())
            .collect();
        if named.len() > 1 {
            let message =
                format!("{}: give one of them: each says where to begin", named.join(", "));
            return Err(InvalidParams { field: Some("cursor"), message });
        }
        if let Some(text) = self.one("cursor", "cursor=51a70c3e-be1f4b")? {
            let place = read_place(&text).map_err(|error| {
                let message = format!("cursor: {error}");
                InvalidParams { field: Some("cursor"), message }
            })?;
            return Ok(StreamStart::Behind(place));
        }
        if let Some(text) = self.one("since", SINCE)? {
            // A `+` in a URL is decoded as a space.
            let with_plus = || text.rsplit_once(' ').map(|(time, zone)| format!("{time}+{zone}"));
            let since = config::moment(&text, now).or_else(|| Timestamp::parse(&with_plus()?));
            let what = || format!("is `{}`", shown(&text));
            let since = since.ok_or_else(|| {
                bad(
                    "since",
                    &what(),
                    "give a time (without an offset it is UTC), a day, or how long ago, as 90s, \
                     1h30m or 2d",
                    SINCE,
                )
            })?;
            if since > now.plus(AHEAD) {
                let accepted = "give a time at most a minute ahead";
                return Err(bad("since", &what(), accepted, SINCE));
            }
            return Ok(StreamStart::Since(since));
        }
        if let Some(most) = self.whole("latest", LATEST)? {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            if most > LATEST_MOST {
                let accepted = format!("give at most {LATEST_MOST}, or `since`");
                return Err(bad("latest", &format!("is {most}"), &accepted, LATEST));
            }
            return Ok(StreamStart::Latest(most));
        }
        Ok(if once { StreamStart::Oldest } else { StreamStart::Here })
    }
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
        assert_eq!(one.choice.selection(), other.choice.selection());
        assert_eq!((one.start, one.once), (StreamStart::Here, false));
        assert!(one.warnings.is_empty() && other.warnings.is_empty());
    }

    #[test]
    fn beginnings_are_parsed() {
        let place: Offset = "51a70c3e-be1f4b".parse().unwrap();
        assert_eq!(start("cursor=51a70c3e-be1f4b"), StreamStart::Behind(place));
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
        assert_eq!(back.start, StreamStart::Behind(place));
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
            ("latest=10001", Some("latest"), "at most 10000"),
            ("latest=5&since=1h", Some("cursor"), "since, latest: give one"),
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
    }

    #[test]
    fn unknown_names_cause_warnings() {
        let read = url("type=PushEvent&keys=evt.repos.insert").unwrap();
        let fields: Vec<_> = read.warnings.iter().map(|w| (w.field, &*w.value)).collect();
        assert_eq!(fields, [("keys", "evt.repos.insert"), ("query", "type")]);
    }
}
