//! The ledger over HTTP: `/repo/{owner}/{name}` (JSON and CSV by day), the same with `.svg` (a
//! chart, or a badge for a README), and `/top`.
//!
//! Each figure comes with its coverage: how much of the public feed was seen in those days.

mod picture;
pub(crate) mod written;

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Request, StatusCode, header};
use xxhash_rust::xxh3::xxh3_64;

use self::picture::Picture;
use crate::model::ledger::{
    MOST_RANKED, RankedBy, RankedWindow, RepoSeries, TopRepos, is_repo_name,
};
use crate::serve::admin::operate::{LedgerAnswer, LedgerQuery};
use crate::serve::history::{bad, last, moment, shown, unavailable};
use crate::serve::http::negotiation::{self, JSON};
use crate::serve::http::path_parts::PathParts;
use crate::serve::http::problem::Problem;
use crate::serve::pages::clients::is_known;
use crate::serve::server::ServerState;

/// Days of a series when nothing else is asked for.
const USUAL_DAYS: i32 = 30;
/// The most days of one answer: two years.
pub(crate) const MOST_DAYS: i32 = 731;
/// The fewest days of a picture.
pub(crate) const FEWEST_DAYS: i32 = 7;
/// Days of a picture when nothing else is asked for.
const PICTURED_DAYS: i32 = 90;
/// Repositories of a ranking when nothing else is asked for.
const USUAL_TOP: usize = 25;
/// The most repositories of a ranking.
pub(crate) const MOST_TOP: usize = MOST_RANKED;
/// The longest name of a language, in bytes.
const LANGUAGE_BYTES: usize = 200;

const CSV: &str = "text/csv; charset=utf-8";
const SVG: &str = "image/svg+xml";
/// How long others may keep an answer. A picture in a README is fetched by many.
const FRESH: &str = "public, max-age=60";
const FRESH_PICTURE: &str = "public, max-age=600, stale-while-revalidate=3600";
/// A picture loads nothing and runs nothing.
const PICTURE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Query parameters, decoded.
type Pairs = Vec<(String, String)>;

/// `/repo/{owner}/{name}`, and the same with `.svg`.
pub(crate) async fn repo(
    State(server): State<Arc<ServerState>>,
    PathParts((owner, name)): PathParts<(String, String)>,
    request: Request<Body>,
) -> Response {
    let (head, _) = request.into_parts();
    let answer = async {
        let pairs = pairs(&head.uri)?;
        let pictured = name.strip_suffix(".svg").filter(|_| last(&pairs, "format").is_none());
        match pictured {
            Some(name) => show_picture(&server, &format!("{owner}/{name}"), &pairs).await,
            None => show_series(&server, &format!("{owner}/{name}"), &pairs, &head.headers).await,
        }
    };
    sent(answer.await, &head.headers)
}

/// `/top?by=…&window=…[&language=…][&limit=…]`.
pub(crate) async fn top(
    State(server): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response {
    let (head, _) = request.into_parts();
    let answer = async {
        let pairs = pairs(&head.uri)?;
        let by = RankedBy::ALL.into_iter().find(|by| named(&pairs, "by", "stars") == by.name());
        let by = by.ok_or_else(|| bad("by", "give stars, forks, prs or pushes"))?;
        let window = RankedWindow::ALL.into_iter();
        let window = window.clone().find(|it| named(&pairs, "window", "24h") == it.name());
        let window = window.ok_or_else(|| bad("window", "give 24h, 7d or 30d"))?;
        let language = last(&pairs, "language").map(str::to_owned);
        if language.as_ref().is_some_and(|language| language.len() > LANGUAGE_BYTES) {
            return Err(bad("language", format!("it has more than {LANGUAGE_BYTES} bytes")));
        }
        let most = number(&pairs, "limit", USUAL_TOP, 1..=MOST_TOP)?;
        let is_csv = is_csv(&pairs, &head.headers)?;
        let query = LedgerQuery::Top { by, window, language: language.clone(), most };
        let LedgerAnswer::Top(top) = server.operate.ledger(query).await? else {
            return Err(unavailable("the ranking is being computed"));
        };
        Ok(show_top(&top, (by, window), language.as_deref(), is_csv))
    };
    sent(answer.await, &head.headers)
}

/// An answer that others may keep.
struct CachedAnswer {
    kind: &'static str,
    text: String,
    fresh: &'static str,
}

fn show_top(
    top: &TopRepos,
    (by, window): (RankedBy, RankedWindow),
    language: Option<&str>,
    is_csv: bool,
) -> CachedAnswer {
    if is_csv {
        return CachedAnswer { kind: CSV, text: written::top_csv(top), fresh: FRESH };
    }
    CachedAnswer { kind: JSON, text: written::top(top, by, window, language), fresh: FRESH }
}

/// A series as JSON or CSV.
async fn show_series(
    server: &ServerState,
    name: &str,
    pairs: &Pairs,
    headers: &HeaderMap,
) -> Result<CachedAnswer, Problem> {
    let is_csv = is_csv(pairs, headers)?;
    let series = series(server, name, days(server, pairs)?).await?;
    let text = if is_csv { written::series_csv(&series) } else { written::series(&series) };
    Ok(CachedAnswer { kind: if is_csv { CSV } else { JSON }, text, fresh: FRESH })
}

/// A series as a chart or a badge.
async fn show_picture(
    server: &ServerState,
    name: &str,
    pairs: &Pairs,
) -> Result<CachedAnswer, Problem> {
    let by = RankedBy::ALL.into_iter().find(|by| named(pairs, "by", "stars") == by.name());
    let by = by.ok_or_else(|| bad("by", "give stars, forks, prs or pushes"))?;
    let draw = match named(pairs, "style", "chart") {
        "chart" => Picture::chart,
        "badge" => Picture::badge,
        _ => return Err(bad("style", "give chart or badge")),
    };
    let most = usize::try_from(MOST_DAYS).unwrap_or(usize::MAX);
    let few = usize::try_from(FEWEST_DAYS).unwrap_or(1);
    let usual = usize::try_from(PICTURED_DAYS).unwrap_or(1);
    let count = number(pairs, "days", usual, few..=most)?;
    let today = server.clock.now().day().0;
    let first = today.saturating_sub(i32::try_from(count).unwrap_or(PICTURED_DAYS) - 1);
    let series = series(server, name, first..today + 1).await?;
    let text = draw(&Picture { series: &series, by });
    Ok(CachedAnswer { kind: SVG, text, fresh: FRESH_PICTURE })
}

/// Reads the series of a repository, or says that there is none.
async fn series(server: &ServerState, name: &str, days: Range<i32>) -> Result<RepoSeries, Problem> {
    let unknown = |what: &str| {
        let detail = format!("no event of {what} was counted here; a name is owner/name");
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    if !is_repo_name(name) {
        return Err(unknown("a repository of that name"));
    }
    let query = LedgerQuery::Repo { name: name.to_owned(), days };
    match server.operate.ledger(query).await? {
        LedgerAnswer::Repo(series) => Ok(series),
        LedgerAnswer::Top(_) | LedgerAnswer::Nothing => Err(unknown(name)),
    }
}

fn sent(answer: Result<CachedAnswer, Problem>, headers: &HeaderMap) -> Response {
    let CachedAnswer { kind, text, fresh } = match answer {
        Ok(answer) => answer,
        Err(problem) => return problem.into_response(),
    };
    let tag = format!("\"{:016x}\"", xxh3_64(text.as_bytes()));
    let is_unchanged = is_known(headers, &tag);
    // Weak: it names the text, which is sent plain or compressed (RFC 9110 §8.8.3.3).
    let tag = format!("W/{tag}");
    let caching = [(header::ETAG, tag), (header::CACHE_CONTROL, fresh.to_owned())];
    if is_unchanged {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let mut response = (caching, [(header::CONTENT_TYPE, kind)], text).into_response();
    if kind == SVG {
        let policy = http::HeaderValue::from_static(PICTURE_POLICY);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn pairs(uri: &http::Uri) -> Result<Pairs, Problem> {
    negotiation::pairs(uri).map_err(|error| bad("the URL's query", error))
}

/// The value of a parameter, or its default.
fn named<'a>(pairs: &'a Pairs, name: &str, usual: &'static str) -> &'a str {
    last(pairs, name).unwrap_or(usual)
}

/// A whole number within a range.
fn number(
    pairs: &Pairs,
    name: &str,
    usual: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<usize, Problem> {
    let Some(text) = last(pairs, name) else { return Ok(usual) };
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        let (first, last) = (range.start(), range.end());
        bad(name, format!("`{}`: give a whole number from {first} to {last}", shown(text)))
    })
}

/// Whether the client wants CSV.
fn is_csv(pairs: &Pairs, headers: &HeaderMap) -> Result<bool, Problem> {
    match last(pairs, "format") {
        Some("csv") => Ok(true),
        Some("json") => Ok(false),
        Some(other) => Err(bad("format", format!("`{}`: give json or csv", shown(other)))),
        None => {
            let chosen = negotiation::choose(headers, 0, &[JSON, "text/csv"]);
            let detail = "it comes as application/json or as text/csv";
            let chosen = chosen.ok_or_else(|| Problem::new(StatusCode::NOT_ACCEPTABLE, detail));
            Ok(chosen? == 1)
        }
    }
}

/// The requested days.
fn days(server: &ServerState, pairs: &Pairs) -> Result<Range<i32>, Problem> {
    let now = server.clock.now();
    let until = last(pairs, "until").map_or(Ok(now), |text| moment("until", text, now))?;
    let until = until.min(now).day().0 + 1;
    let since = match last(pairs, "since") {
        Some(text) => moment("since", text, now)?.day().0,
        None => until - USUAL_DAYS,
    };
    if since >= until {
        return Err(bad("since", "it is not before `until` and now"));
    }
    if until - since > MOST_DAYS {
        return Err(bad("since", format!("one answer holds {MOST_DAYS} days; give `until`")));
    }
    Ok(since..until)
}

#[cfg(test)]
mod tests;
