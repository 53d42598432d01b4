//! The ledger over HTTP: `/repo/{owner}/{name}` (JSON and CSV by day), the same with `.svg` (a
//! chart, or a badge for a README), and `/top`.
//!
//! Each figure comes with its coverage: how much of the public feed was seen in those days.

mod picture;
pub(crate) mod written;

use std::ops::Range;

use axum::extract::State;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use self::picture::Picture;
use crate::model::ledger::{MOST_RANKED, RankedBy, RankedWindow, RepoSeries, is_repo_name};
use crate::serve::admin::operate::TopQuery;
use crate::serve::http::etag;
use crate::serve::http::negotiation::{CSV, JSON};
use crate::serve::http::problem::{HttpResult, Problem};
use crate::serve::http::url_query::{PathParts, UrlQuery};
use crate::serve::server::{ServerState, SharedServer};

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

const SVG: &str = "image/svg+xml";
/// How long others may keep an answer. A picture in a README is fetched by many.
const FRESH: &str = "public, max-age=60";
const FRESH_PICTURE: &str = "public, max-age=600, stale-while-revalidate=3600";
/// A picture loads nothing and runs nothing.
const PICTURE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
);

/// `/repo/{owner}/{name}`, and the same with `.svg`.
pub(crate) async fn repo(
    State(server): SharedServer,
    PathParts((owner, name)): PathParts<(String, String)>,
    asked: Parts,
) -> HttpResult {
    let query = UrlQuery::of(&asked.uri)?;
    let pictured = name.strip_suffix(".svg").filter(|_| query.last("format").is_none());
    if let Some(name) = pictured {
        let svg = picture(&server, &format!("{owner}/{name}"), &query).await?;
        let mut response = sent(&asked.headers, SVG, svg, FRESH_PICTURE);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, PICTURE_POLICY);
        return Ok(response);
    }
    let is_csv = query.wants_csv(&asked.headers)?;
    let series = series(&server, &format!("{owner}/{name}"), days(&server, &query)?).await?;
    let text = if is_csv { written::series_csv(&series) } else { written::series(&series) };
    Ok(sent(&asked.headers, kind(is_csv), text, FRESH))
}

/// `/top?by=…&window=…[&language=…][&limit=…]`.
pub(crate) async fn top(State(server): SharedServer, asked: Parts) -> HttpResult {
    let query = UrlQuery::of(&asked.uri)?;
    let by = ranked_by(&query)?;
    let window = query.one_of("window", &RankedWindow::ALL.map(|it| (it.name(), it)))?;
    let language = query.last("language").map(str::to_owned);
    if language.as_ref().is_some_and(|language| language.len() > LANGUAGE_BYTES) {
        let reason = format!("it has more than {LANGUAGE_BYTES} bytes");
        return Err(Problem::parameter("language", reason));
    }
    let most = query.number("limit", USUAL_TOP, 1..=MOST_TOP)?;
    let is_csv = query.wants_csv(&asked.headers)?;
    let wanted = TopQuery { by, window, language, most };
    let top = server.operate.top(wanted.clone()).await?;
    let top = top.ok_or_else(|| Problem::unavailable("the ranking is being computed"))?;
    let text = if is_csv { written::top_csv(&top) } else { written::top(&top, &wanted) };
    Ok(sent(&asked.headers, kind(is_csv), text, FRESH))
}

fn kind(is_csv: bool) -> &'static str {
    if is_csv { CSV } else { JSON }
}

fn ranked_by(query: &UrlQuery) -> Result<RankedBy, Problem> {
    query.one_of("by", &RankedBy::ALL.map(|by| (by.name(), by)))
}

async fn picture(server: &ServerState, name: &str, query: &UrlQuery) -> Result<String, Problem> {
    let by = ranked_by(query)?;
    let is_badge = query.one_of("style", &[("chart", false), ("badge", true)])?;
    let days = query.number("days", PICTURED_DAYS, FEWEST_DAYS..=MOST_DAYS)?;
    let until = server.clock.now().day().0 + 1;
    let series = series(server, name, until - days..until).await?;
    let picture = Picture { series: &series, by };
    Ok(if is_badge { picture.badge() } else { picture.chart() })
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
    let series = server.operate.repo(name.to_owned(), days).await?;
    series.ok_or_else(|| unknown(name))
}

/// An answer that others may keep.
fn sent(asked: &HeaderMap, kind: &'static str, text: String, fresh: &'static str) -> Response {
    let tag = format!("W/{}", etag::of(&text));
    etag::answer(asked, tag, fresh, ([(header::CONTENT_TYPE, kind)], text))
}

fn days(server: &ServerState, query: &UrlQuery) -> Result<Range<i32>, Problem> {
    let now = server.clock.now();
    let until = query.time("until", now)?.unwrap_or(now).min(now).day().0 + 1;
    let since = query.time("since", now)?.map_or(until - USUAL_DAYS, |since| since.day().0);
    if since >= until {
        return Err(Problem::parameter("since", "it is not before `until` and now"));
    }
    if until - since > MOST_DAYS {
        let reason = format!("one answer holds {MOST_DAYS} days; give `until`");
        return Err(Problem::parameter("since", reason));
    }
    Ok(since..until)
}

#[cfg(test)]
mod tests;
