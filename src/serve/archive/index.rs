//! The list of the archive's hours, as a page or as JSON.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::IntoResponse;
use http::request::Parts;

use super::directory::{ListedFile, ListedHours};
use super::limits::DownloadSlot;
use crate::logging::line_limit::LineLimit;
use crate::model::hour_file::HourName;
use crate::model::window::Timestamp;
use crate::serve::admin::status;
use crate::serve::history;
use crate::serve::http::problem::{HttpResult, Problem};
use crate::serve::http::url_query::UrlQuery;
use crate::serve::pages;
use crate::serve::server::ServerState;
use crate::sync::blocking;

/// The default range: the last 31 days.
const USUAL: Duration = Duration::from_secs(31 * 86_400);
/// Lines that say that the archive cannot be listed; each request can cause one.
static UNLISTED: LineLimit = LineLimit::per_minute(10);

/// The answer to a request for the list.
pub(super) async fn answer(
    server: &ServerState,
    asked: &Parts,
    dir: PathBuf,
    slot: DownloadSlot,
) -> HttpResult {
    let hours = history::hours_of(server, &UrlQuery::of(&asked.uri)?, USUAL)?;
    let is_page = status::wants_page(asked.uri.query(), &asked.headers);
    let (index, clock) = (Arc::clone(&server.archive), server.clock);
    let read = move || {
        let _held = slot;
        index.list(&dir, hours, clock)
    };
    let listed = blocking(read).await?.map_err(|error| {
        UNLISTED.log(|left_out| tracing::warn!(%error, left_out, "the archive cannot be listed"));
        Problem::unavailable("the archive cannot be listed now")
    })?;
    if is_page {
        return Ok(pages::archive(server, &rows(&listed), &range(&listed), &others(&listed)));
    }
    Ok(Json(listed).into_response())
}

/// The rows of the table. Everything in them is made of numbers.
fn rows(listed: &ListedHours) -> String {
    let mut out = String::new();
    for hour in &listed.hours {
        let files = hour.files.iter().map(|file| {
            let ListedFile { name, bytes, .. } = file;
            let form = name.split_once('.').map_or("", |(_, form)| form);
            format!("<a href=\"{name}\">{form}</a> <span class=\"soft\">{}</span>", size(*bytes))
        });
        let seen = seen(hour.coverage, hour.minutes_known);
        let cut = match hour.cut {
            Some(true) => "beginning may be missing",
            Some(false) => "no",
            None => "unknown",
        };
        let name = HourName(hour.hour.hour());
        let simulated = if hour.simulated { " (simulated)" } else { "" };
        let files: Vec<String> = files.collect();
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{name}{simulated}</th><td>{}</td><td><a \
             href=\"{name}.coverage.json\">{seen}</a></td><td>{cut}</td></tr>",
            files.join("<br>")
        );
    }
    out
}

/// How much was seen, with the minutes of which this is known unless it is of the whole hour.
fn seen(coverage: Option<f64>, minutes_known: Option<u8>) -> String {
    let share = coverage.map(|share| format!("{:.1} %", share * 100.0));
    match (share, minutes_known) {
        (None, _) => "unknown".to_owned(),
        (Some(share), Some(60)) => share,
        (Some(share), Some(minutes)) => format!("{share} of {minutes} min"),
        (Some(share), None) => format!("{share} of the known minutes"),
    }
}

fn range(listed: &ListedHours) -> String {
    let Some((earliest, latest)) = listed.earliest.zip(listed.latest) else {
        return "There is no hour yet: the first file is written ten minutes after a whole hour \
                has ended."
            .to_owned();
    };
    format!(
        "Hours: {}, from {} until {}; the archive has hours from {} to {}.",
        listed.hours.len(),
        listed.from,
        listed.until,
        HourName(earliest.hour()),
        HourName(latest.hour()),
    )
}

/// Links to the hours before and after those listed, as HTML made of numbers.
fn others(listed: &ListedHours) -> String {
    let Some((earliest, latest)) = listed.earliest.zip(listed.latest) else { return String::new() };
    let link = |since: Timestamp, until: Timestamp, words| {
        format!("<a href=\"?since={since}&amp;until={until}\">{words}</a> · ")
    };
    let earlier = (earliest < listed.from)
        .then(|| link(listed.from.minus(USUAL), listed.from, "Earlier hours"));
    let later = (latest > listed.until)
        .then(|| link(listed.until, listed.until.plus(USUAL), "Later hours"));
    [earlier, later].into_iter().flatten().collect()
}

fn size(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    if tenths < 10 {
        return format!("{} KiB", bytes.div_ceil(1024));
    }
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
