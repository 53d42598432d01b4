//! Kept counts over HTTP: `/history` and `/days` for charts, `/now` for the latest values,
//! `/completeness` and `/hours` for citing.
//!
//! A chart and the latest values are the same for every client, so the server computes each at most
//! once every few seconds and shares the response ([`SharedResponses`](shared::SharedResponses)).

mod csv;
pub(crate) mod shared;
pub(crate) mod written;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode, Uri, header};

use self::shared::SharedResponse;
use crate::config;
use crate::model::json;
use crate::model::window::Timestamp;
use crate::serve::admin::operate::{KeptCounts, KeptQuery, OpsError};
use crate::serve::admin::redaction;
use crate::serve::http::negotiation;
use crate::serve::http::problem::Problem;
use crate::serve::server::ServerState;

/// The default range: the last 24 hours.
const USUAL: Duration = Duration::from_secs(86_400);
/// The longest range of one response: 31 days plus the current hour.
const MOST_HOURS: i64 = 31 * 24 + 1;
/// How far `since` may lie ahead of this machine's clock.
const AHEAD: Duration = Duration::from_secs(60);
const JSON: &str = "application/json";
const CSV: &str = "text/csv; charset=utf-8";

impl From<OpsError> for Problem {
    fn from(refusal: OpsError) -> Self {
        unavailable(&refusal.reason)
    }
}

/// `/history?span=15m|24h`: events by type over time, and the part of all that was seen.
pub(crate) async fn history(
    State(server): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response {
    let asked = negotiation::pairs(request.uri()).map_err(|error| bad("the URL's query", error));
    let asked = asked.and_then(|pairs| match last(&pairs, "span") {
        None | Some("15m") => Ok((SharedResponse::Recent, KeptQuery::Recent)),
        Some("24h") => Ok((SharedResponse::Day, KeptQuery::Day)),
        Some(other) => Err(bad("span", format!("`{}`: give 15m or 24h", shown(other)))),
    });
    let (which, query) = match asked {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    let made = async {
        match server.operate.kept(query).await? {
            KeptCounts::Chart(chart) => Ok(written::chart(&chart)),
            _ => Err(unavailable("no counts are kept here")),
        }
    };
    server.shared.get(which, server.clock, made).await
}

/// `/now`: today's figures, languages of the current and the previous window, the busiest
/// repositories, and the value of each aggregate.
pub(crate) async fn now(State(server): State<Arc<ServerState>>) -> Response {
    let made = async {
        let languages = match server.operate.kept(KeptQuery::Languages).await {
            Ok(KeptCounts::Languages(languages)) => Some(languages),
            _ => None,
        };
        Ok::<_, Problem>(written::now(&server, languages.as_ref()))
    };
    server.shared.get(SharedResponse::Now, server.clock, made).await
}

/// `/days`: pull requests of this UTC year by day, and how many hours of each day were imported.
pub(crate) async fn days(State(server): State<Arc<ServerState>>) -> Response {
    let made = async {
        let days = server.clock.now().year().days();
        let hours = i64::from(days.start) * 24..i64::from(days.end) * 24;
        match server.operate.kept(KeptQuery::Imported(hours)).await? {
            KeptCounts::Imported(hours) => Ok(written::days(&server, &hours)),
            _ => Err(unavailable("no counts are kept here")),
        }
    };
    server.shared.get(SharedResponse::Year, server.clock, made).await
}

/// `/completeness?since=…[&until=…][&format=csv]`: events received and missed, by hour and type.
pub(crate) async fn completeness(
    State(server): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response {
    let asked = asked(&server, &request);
    let lists = redaction::lists(server.operate.lists());
    table(&server, asked, KeptQuery::Completeness, move |counts, hours, is_csv| match counts {
        KeptCounts::Completeness(all, shares) if is_csv => Some(csv::completeness(&all, &shares)),
        KeptCounts::Completeness(all, shares) => {
            Some(json::encoded(&written::completeness((&all, &shares), hours, &lists)))
        }
        _ => None,
    })
    .await
}

/// `/hours?since=…[&until=…][&format=csv]`: counts by hour of `created_at` and origin.
pub(crate) async fn hours(
    State(server): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response {
    let asked = asked(&server, &request);
    table(&server, asked, KeptQuery::Hours, |counts, hours, is_csv| match counts {
        KeptCounts::Hours(all) if is_csv => Some(csv::hours(&all)),
        KeptCounts::Hours(all) => Some(json::encoded(&written::hours(&all, hours))),
        _ => None,
    })
    .await
}

/// A table of the requested hours, as CSV or JSON. `write` returns `None` for other counts than
/// those of `query`.
async fn table(
    server: &ServerState,
    asked: Result<(Range<i64>, bool), Problem>,
    query: fn(Range<i64>) -> KeptQuery,
    write: impl FnOnce(KeptCounts, &Range<i64>, bool) -> Option<String> + Send + 'static,
) -> Response {
    let written = async {
        let (hours, is_csv) = asked?;
        let counts = server.operate.kept(query(hours.clone())).await?;
        // The text may be long, so it is written on the blocking pool.
        let text = tokio::task::spawn_blocking(move || write(counts, &hours, is_csv)).await;
        let text = text.map_err(|_| unavailable("the server is stopping"))?;
        let text = text.ok_or_else(|| unavailable("no counts are kept here"))?;
        Ok::<_, Problem>((if is_csv { CSV } else { JSON }, text))
    };
    match written.await {
        Ok((kind, text)) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// Parses the requested hours, and whether the client wants CSV.
fn asked(server: &ServerState, request: &Request<Body>) -> Result<(Range<i64>, bool), Problem> {
    let pairs = negotiation::pairs(request.uri()).map_err(|error| bad("the URL's query", error))?;
    let is_csv = match last(&pairs, "format") {
        Some("csv") => true,
        Some("json") => false,
        Some(other) => {
            return Err(bad("format", format!("`{}`: give json or csv", shown(other))));
        }
        None => {
            let chosen = negotiation::choose(request.headers(), 0, &[JSON, "text/csv"]);
            let detail = "it comes as application/json or as text/csv";
            chosen.ok_or_else(|| Problem::new(StatusCode::NOT_ACCEPTABLE, detail))? == 1
        }
    };
    Ok((hours_in(server, &pairs, USUAL)?, is_csv))
}

/// The hours that a request asks for by `since` and `until`; without `since` those of the last
/// `usual`.
pub(crate) fn hours_of(
    server: &ServerState,
    uri: &Uri,
    usual: Duration,
) -> Result<Range<i64>, Problem> {
    let pairs = negotiation::pairs(uri).map_err(|error| bad("the URL's query", error))?;
    hours_in(server, &pairs, usual)
}

fn hours_in(
    server: &ServerState,
    pairs: &[(String, String)],
    usual: Duration,
) -> Result<Range<i64>, Problem> {
    let now = server.clock.now();
    let since =
        last(pairs, "since").map_or(Ok(now.minus(usual)), |text| moment("since", text, now))?;
    let given = last(pairs, "until").map(|text| moment("until", text, now)).transpose()?;
    let until = given.unwrap_or(now);
    if given.is_some_and(|until| until.hour() < since.hour()) {
        return Err(bad("since", format!("{since} is not before `until`")));
    }
    if since > now.plus(AHEAD) {
        return Err(bad("since", format!("{since} has not come yet")));
    }
    let hours = since.hour().0..until.hour().0 + 1;
    if hours.end - hours.start > MOST_HOURS {
        let detail = format!("{since}: one answer holds {} days; give `until`", MOST_HOURS / 24);
        return Err(bad("since", detail));
    }
    Ok(hours)
}

/// Reads a time: RFC 3339, a day, or how long ago.
pub(crate) fn moment(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    // The `+` of a UTC offset is decoded as a space in a query string.
    let with_plus = || text.rsplit_once(' ').map(|(time, zone)| format!("{time}+{zone}"));
    let read = config::moment(text, now).or_else(|| Timestamp::parse(&with_plus()?));
    read.ok_or_else(|| {
        let accepted = "give a time (without an offset it is UTC), a day, or how long ago, as 2d";
        bad(name, format!("`{}`: {accepted}", shown(text)))
    })
}

/// The last value of a repeated parameter.
pub(crate) fn last<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut named = pairs.iter().rev().filter(|(known, _)| known == name);
    named.next().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// The beginning of a text from outside, for a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A refused parameter.
pub(crate) fn bad(name: &str, reason: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("{name}: {reason}"))
}

/// What cannot be answered now.
pub(crate) fn unavailable(reason: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason).retry_within(1..=3)
}
