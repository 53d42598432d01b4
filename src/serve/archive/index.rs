//! The list of the archive's hours, as a page or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use schemars::JsonSchema;
use serde::Serialize;

use super::about::{HourAbout, unavailable};
use super::limits::DownloadSlot;
use crate::model::hour_file::{ArchiveFile, FileKind, HourName, coverage_name};
use crate::model::window::{Hour, Timestamp};
use crate::serve::admin::status;
use crate::serve::history;
use crate::serve::http::problem::Problem;
use crate::serve::pages;
use crate::serve::server::ServerState;
use crate::sync::blocking;

/// Names of a directory that are looked at: three files an hour for 38 years.
const NAMES: usize = 1_000_000;

/// The default range: the last 31 days.
const USUAL: Duration = Duration::from_secs(31 * 86_400);

/// The hours of a range.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct ListedHours {
    from: Timestamp,
    until: Timestamp,
    /// The first hour of all.
    earliest: Option<Timestamp>,
    /// The last.
    latest: Option<Timestamp>,
    hours: Vec<ListedHour>,
}

/// An hour; `null` is not known.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct ListedHour {
    hour: Timestamp,
    /// The part of all events that was seen, 0 to 1.
    coverage: Option<f64>,
    cut: Option<bool>,
    files: Vec<ListedFile>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct ListedFile {
    name: String,
    bytes: u64,
    modified: Timestamp,
}

/// The answer to a request for the list.
pub(super) async fn answer(
    server: &ServerState,
    asked: &Parts,
    dir: PathBuf,
    slot: DownloadSlot,
) -> Result<Response, Problem> {
    let hours = history::hours_of(server, &asked.uri, USUAL)?;
    let is_page = status::wants_page(asked.uri.query(), &asked.headers);
    let read = move || {
        let _held = slot;
        list(&dir, hours)
    };
    let listed = blocking(read).await.map_err(|_| unavailable("the server is stopping"))?;
    let listed = listed.map_err(|error| {
        tracing::warn!(%error, "the archive cannot be listed");
        unavailable("the archive cannot be listed now")
    })?;
    if is_page {
        return Ok(pages::archive(&rows(&listed), &range(&listed)));
    }
    Ok(Json(listed).into_response())
}

/// Reads the directory. Blocks. One that does not exist yet is empty.
fn list(dir: &Path, asked: Range<i64>) -> io::Result<ListedHours> {
    let mut found: BTreeMap<Hour, Vec<FileKind>> = BTreeMap::new();
    let (mut earliest, mut latest): (Option<Hour>, Option<Hour>) = (None, None);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    for entry in entries.into_iter().flatten().take(NAMES) {
        let name = entry?.file_name();
        let Some(ArchiveFile { hour, kind }) = name.to_str().and_then(ArchiveFile::parse) else {
            continue;
        };
        if kind == FileKind::Coverage {
            continue;
        }
        earliest = Some(earliest.map_or(hour, |first| first.min(hour)));
        latest = Some(latest.map_or(hour, |last| last.max(hour)));
        if asked.contains(&hour.0) {
            found.entry(hour).or_default().push(kind);
        }
    }
    let listed = |(hour, mut kinds): (Hour, Vec<FileKind>)| {
        kinds.sort_unstable();
        let HourAbout { coverage, cut } = HourAbout::read(&dir.join(coverage_name(hour)));
        let coverage = coverage.map(|share| (share * 1e4).round() / 1e4);
        let files = kinds.into_iter().filter_map(|kind| {
            let name = ArchiveFile { hour, kind }.name();
            // A file that went away meanwhile is not listed.
            let metadata = std::fs::symlink_metadata(dir.join(&name)).ok()?;
            let modified = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            let modified = Timestamp::from_seconds(modified.as_secs().try_into().ok()?);
            metadata.is_file().then_some(ListedFile { name, bytes: metadata.len(), modified })
        });
        ListedHour { hour: start(hour), coverage, cut, files: files.collect() }
    };
    let hours = found.into_iter().rev().map(listed).filter(|hour| !hour.files.is_empty());
    Ok(ListedHours {
        from: start(Hour(asked.start)),
        until: start(Hour(asked.end)),
        earliest: earliest.map(start),
        latest: latest.map(start),
        hours: hours.collect(),
    })
}

fn start(hour: Hour) -> Timestamp {
    Timestamp::from_seconds(hour.0.saturating_mul(3_600))
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
        let seen = hour.coverage.map_or("unknown".to_owned(), |c| format!("{:.1} %", c * 100.0));
        let cut = match hour.cut {
            Some(true) => "beginning may be missing",
            Some(false) => "no",
            None => "unknown",
        };
        let name = HourName(hour.hour.hour());
        let files: Vec<String> = files.collect();
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{name}</th><td>{}</td><td><a \
             href=\"{name}.coverage.json\">{seen}</a></td><td>{cut}</td></tr>",
            files.join("<br>")
        );
    }
    out
}

fn range(listed: &ListedHours) -> String {
    let Some((earliest, latest)) = listed.earliest.zip(listed.latest) else {
        return "There is no hour yet: the first file is written ten minutes after a whole hour \
                has ended."
            .to_owned();
    };
    format!(
        "{} hours from {} until {}; the archive has hours from {} to {}. Others: \
         ?since=2026-11-01&until=2026-11-30",
        listed.hours.len(),
        listed.from,
        listed.until,
        HourName(earliest.hour()),
        HourName(latest.hour()),
    )
}

fn size(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    if tenths < 10 {
        return format!("{} KiB", bytes.div_ceil(1024));
    }
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
