//! Kept counts over HTTP: `/history` and `/days` for charts, `/now` for the latest values,
//! `/completeness` and `/hours` for citing.
//!
//! A chart and the latest values are the same for every client, so the server computes each at most
//! once every few seconds and shares the response ([`SharedResponses`](shared::SharedResponses)).

mod csv;
pub(crate) mod shared;
pub(crate) mod written;

use std::ops::Range;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use http::request::Parts;

use self::shared::SharedResponse;
use crate::model::json;
use crate::serve::admin::operate::ChartSpan;
use crate::serve::admin::redaction;
use crate::serve::http::negotiation::{CSV, JSON};
use crate::serve::http::problem::{HttpResult, Problem};
use crate::serve::http::url_query::UrlQuery;
use crate::serve::server::{ServerState, SharedServer};
use crate::sync::blocking;

/// The default range: the last 24 hours.
const USUAL: Duration = Duration::from_secs(86_400);
/// The longest range of one response: 31 days plus the current hour.
const MOST_HOURS: i64 = 31 * 24 + 1;
/// How far `since` may lie ahead of this machine's clock.
const AHEAD: Duration = Duration::from_secs(60);

/// `/history?span=15m|24h`: events by type over time, and the part of all that was seen.
pub(crate) async fn history(State(server): SharedServer, asked: Parts) -> HttpResult {
    let recent = (ChartSpan::Recent, SharedResponse::Recent);
    let spans = [("15m", recent), ("24h", (ChartSpan::Day, SharedResponse::Day))];
    let (span, which) = UrlQuery::of(&asked.uri)?.one_of("span", &spans)?;
    let made = async { Ok(written::chart(&server.operate.chart(span).await?)) };
    server.shared.get(which, server.clock, made).await
}

/// `/now`: today's figures, languages of the current and the previous window, the busiest
/// repositories, and the value of each aggregate.
pub(crate) async fn now(State(server): SharedServer) -> HttpResult {
    let made = async {
        let languages = server.operate.languages().await.ok();
        Ok(written::now(&server, languages.as_ref()))
    };
    server.shared.get(SharedResponse::Now, server.clock, made).await
}

/// `/days`: pull requests of this UTC year by day, and how many hours of each day were imported.
pub(crate) async fn days(State(server): SharedServer) -> HttpResult {
    let days = server.clock.now().year().days();
    let hours = i64::from(days.start) * 24..i64::from(days.end) * 24;
    let made = async {
        let imported = server.operate.imported_hours(hours).await?;
        Ok(written::days(&server, &imported))
    };
    server.shared.get(SharedResponse::Year, server.clock, made).await
}

/// `/completeness?since=…[&until=…][&format=csv]`: events received and missed, by hour and type.
pub(crate) async fn completeness(State(server): SharedServer, asked: Parts) -> HttpResult {
    let (range, is_csv) = asked_hours(&server, &asked)?;
    let lists = redaction::lists(server.operate.lists());
    let (hours, shares) = server.operate.completeness(range.clone()).await?;
    table(is_csv, move || {
        if is_csv {
            csv::completeness(&hours, &shares)
        } else {
            json::encoded(&written::completeness(&hours, &shares, &range, &lists))
        }
    })
    .await
}

/// `/hours?since=…[&until=…][&format=csv]`: counts by hour of `created_at` and origin.
pub(crate) async fn hours(State(server): SharedServer, asked: Parts) -> HttpResult {
    let (range, is_csv) = asked_hours(&server, &asked)?;
    let hours = server.operate.counted_hours(range.clone()).await?;
    table(is_csv, move || {
        if is_csv { csv::hours(&hours) } else { json::encoded(&written::hours(&hours, &range)) }
    })
    .await
}

/// A table as CSV or JSON. The text may be long, so it is written on the blocking pool.
async fn table(is_csv: bool, write: impl FnOnce() -> String + Send + 'static) -> HttpResult {
    let text = blocking(write).await?;
    Ok(([(header::CONTENT_TYPE, if is_csv { CSV } else { JSON })], text).into_response())
}

/// The hours that a request asks for, and whether as CSV.
fn asked_hours(server: &ServerState, asked: &Parts) -> Result<(Range<i64>, bool), Problem> {
    let query = UrlQuery::of(&asked.uri)?;
    let is_csv = query.wants_csv(&asked.headers)?;
    Ok((hours_of(server, &query, USUAL)?, is_csv))
}

/// The hours that a request asks for by `since` and `until`; without `since` those of the last
/// `usual`.
pub(crate) fn hours_of(
    server: &ServerState,
    query: &UrlQuery,
    usual: Duration,
) -> Result<Range<i64>, Problem> {
    let now = server.clock.now();
    let since = query.time("since", now)?.unwrap_or_else(|| now.minus(usual));
    let given = query.time("until", now)?;
    let until = given.unwrap_or(now);
    let refused = |reason: &str| Err(Problem::parameter("since", format_args!("{since}{reason}")));
    if given.is_some_and(|until| until.hour() < since.hour()) {
        return refused(" is not before `until`");
    }
    if since > now.plus(AHEAD) {
        return refused(" has not come yet");
    }
    let hours = since.hour().0..until.hour().0 + 1;
    if hours.end - hours.start > MOST_HOURS {
        return refused(": one answer holds 31 days; give `until`");
    }
    Ok(hours)
}
