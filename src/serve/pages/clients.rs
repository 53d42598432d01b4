//! `/client.js` and `/client.py`: clients of the streams, one file each, without dependencies.
//!
//! Both read NDJSON over HTTP, resume by cursor and save it in a checkpoint. Cached copies are
//! revalidated by `ETag`, so an upgrade of the server reaches every page.

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use xxhash_rust::xxh3::xxh3_64;

/// A file to serve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    /// Its media type.
    pub(crate) kind: &'static str,
    text: &'static str,
}

/// `/client.js`.
pub(crate) const JAVASCRIPT: File =
    File { kind: "text/javascript; charset=utf-8", text: include_str!("ui/client.js") };
/// `/client.py`.
pub(crate) const PYTHON: File =
    File { kind: "text/x-python; charset=utf-8", text: include_str!("ui/client.py") };

/// Returns the file, or 304 when `If-None-Match` names it (RFC 9110 §13.1.2: compared weakly).
pub(crate) fn show(file: File, headers: &HeaderMap) -> Response {
    let tag = format!("\"{:016x}\"", xxh3_64(file.text.as_bytes()));
    let is_known = is_known(headers, &tag);
    let caching = [(header::ETAG, tag), (header::CACHE_CONTROL, "public, no-cache".to_owned())];
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, file.kind)], file.text).into_response()
}

/// Whether `If-None-Match` names the text with this tag (RFC 9110 §13.1.2: compared weakly).
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    known
        .flat_map(|list| list.split(','))
        .any(|one| matches!(one.trim(), "*") || one.trim().trim_start_matches("W/") == tag)
}
