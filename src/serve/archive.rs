//! `/archive/`: the hours in `archive.dir`, as files.
//!
//! A download is a task of its own size: it has limits of its own, and is read in chunks on the
//! blocking pool. A file that is replaced or removed meanwhile is sent to its end as it was.

mod about;
pub(crate) mod directory;
mod index;
pub(crate) mod limits;
mod range;

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use self::about::HourAbout;
use self::limits::DownloadSlot;
use self::range::{Selection, Validators};
use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::hour_file::{ArchiveFile, FileKind, coverage_name};
use crate::model::window::Timestamp;
use crate::private;
use crate::serve::http::head::Slashed;
use crate::serve::http::problem::{HttpResult, Problem};
use crate::serve::http::simulated::AboutFile;
use crate::serve::http::url_query::PathParts;
use crate::serve::server::{ServerState, SharedServer};
use crate::sync::blocking;

/// Bytes that are read and sent at a time.
const CHUNK: usize = 128 << 10;
/// Lines that say that a file cannot be read; each request can cause one.
static UNREADABLE: LineLimit = LineLimit::per_minute(10);

/// `/archive/`: which hours there are.
pub(crate) async fn list(State(server): SharedServer, asked: Parts) -> HttpResult {
    // Below a path without the `/`, relative links would resolve to the wrong address.
    if asked.extensions.get::<Slashed>().is_none() {
        let query = asked.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let location = [(header::LOCATION, format!("archive/{query}"))];
        return Ok((StatusCode::PERMANENT_REDIRECT, location).into_response());
    }
    let dir = directory(&server)?.to_owned();
    let slot = server.downloads.admit(&server.options.config, &asked)?;
    index::answer(&server, &asked, dir, slot).await
}

/// `/archive/NAME`: a file.
pub(crate) async fn file(
    State(server): SharedServer,
    PathParts(name): PathParts<String>,
    asked: Parts,
) -> HttpResult {
    let dir = directory(&server)?;
    let file = ArchiveFile::parse(&name).ok_or_else(|| no_file(&name))?;
    let slot = server.downloads.admit(&server.options.config, &asked)?;
    let (path, about) = (dir.join(&name), dir.join(coverage_name(file.hour)));
    let opened = blocking(move || Opened::open(&path, &about)).await?.map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return no_file(&name);
        }
        UNREADABLE.log(|left_out| {
            tracing::warn!(%error, file = name, left_out, "a file of the archive cannot be read");
        });
        Problem::unavailable("the file cannot be read now")
    })?;
    let mut response = send(&server, &asked, file.kind, opened, slot);
    response.extensions_mut().insert(AboutFile);
    Ok(response)
}

fn directory(server: &ServerState) -> Result<&Path, Problem> {
    server.options.archive.as_deref().ok_or_else(|| {
        let detail = "this server has no archive: `archive.dir` is not set";
        Problem::new(StatusCode::NOT_FOUND, detail)
    })
}

fn no_file(name: &str) -> Problem {
    let shown: String = name.chars().take(80).collect();
    let detail = format!(
        "the archive has no file `{shown}`; /archive/ lists its hours, each as \
         YYYY-MM-DD-H.json.gz (the hour without a leading zero) or YYYY-MM-DD-H.parquet"
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

/// A file to send.
struct Opened {
    file: File,
    length: u64,
    validators: Validators,
    about: HourAbout,
}

impl Opened {
    /// Opens a file that must be a file and not a link. Blocks.
    fn open(path: &Path, about: &Path) -> io::Result<Self> {
        let file = private::open_plain(path)?;
        let metadata = file.metadata()?;
        // A file is never changed, only replaced by another: these name its bytes.
        let tag = format!(
            "\"{:x}-{:x}-{:x}.{:x}\"",
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec()
        );
        let modified = Timestamp::from_seconds(metadata.mtime());
        let validators = Validators { tag, modified };
        Ok(Self { file, length: metadata.len(), validators, about: HourAbout::read(about) })
    }
}

fn send(
    server: &ServerState,
    asked: &Parts,
    kind: FileKind,
    opened: Opened,
    slot: DownloadSlot,
) -> Response {
    let Opened { file, length, validators, about } = opened;
    let mut selection = range::select(&asked.headers, &validators, length, server.clock.now());
    // A range is defined for GET alone (RFC 9110 §14.2).
    if asked.method == Method::HEAD && matches!(selection, Selection::Part(..) | Selection::Outside)
    {
        selection = Selection::Whole;
    }
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).expect("digits, letters and quotes");
    headers.insert(header::ETAG, value(&validators.tag));
    headers.insert(header::LAST_MODIFIED, value(&validators.modified.http_date()));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // A late event replaces the file, so a kept copy is compared.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, no-cache"));
    if kind != FileKind::Coverage {
        headers.extend(about.headers());
    }
    let (status, from, until) = match selection {
        Selection::Whole => (StatusCode::OK, 0, length),
        Selection::Part(from, until) => {
            let range = format!("bytes {from}-{}/{length}", until - 1);
            headers.insert(header::CONTENT_RANGE, value(&range));
            (StatusCode::PARTIAL_CONTENT, from, until)
        }
        Selection::Current => return (StatusCode::NOT_MODIFIED, headers).into_response(),
        Selection::Changed => {
            let detail = "the file is not the one that If-Match or If-Unmodified-Since names";
            let problem = Problem::new(StatusCode::PRECONDITION_FAILED, detail);
            return (headers, problem).into_response();
        }
        Selection::Outside => {
            headers.insert(header::CONTENT_RANGE, value(&format!("bytes */{length}")));
            let detail = format!("the file has {length} bytes; the range begins behind its end");
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, detail);
            return (headers, problem).into_response();
        }
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind.media_type()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(until - from));
    let body = match asked.method {
        Method::HEAD => Body::empty(),
        _ => Body::from_stream(chunks(file, from, until, slot)),
    };
    (status, headers, body).into_response()
}

/// The bytes of a file, read one chunk ahead of the client at most. A file that became shorter
/// ends the connection with an error.
fn chunks(
    file: File,
    from: u64,
    until: u64,
    slot: DownloadSlot,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    let file = Arc::new(file);
    futures_util::stream::unfold(Some((from, slot)), move |state| {
        let file = Arc::clone(&file);
        async move {
            let (at, slot) = state.filter(|(at, _)| *at < until)?;
            let most = usize::try_from(until - at).unwrap_or(CHUNK).min(CHUNK);
            slot.pace(most).await;
            let read = move || -> io::Result<Bytes> {
                let mut chunk = vec![0; most];
                file.read_exact_at(&mut chunk, at)?;
                Ok(chunk.into())
            };
            match blocking(read).await.map_err(io::Error::other).flatten() {
                Ok(chunk) => {
                    metrics::ARCHIVE_BYTES.add(chunk.len() as u64);
                    Some((Ok(chunk), Some((at + most as u64, slot))))
                }
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}
