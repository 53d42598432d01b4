//! `/client.js` and `/client.py`: clients of the streams, one file each, without dependencies.
//! `/client.d.ts` has the types of the first.
//!
//! Both read NDJSON over HTTP, resume by cursor and save it in a checkpoint. Cached copies are
//! revalidated by `ETag`, so an upgrade of the server reaches every page.

use axum::response::Response;
use http::{HeaderMap, header};

use crate::serve::http::etag;

#[derive(Debug, Clone, Copy)]
pub(crate) struct File {
    pub(crate) kind: &'static str,
    text: &'static str,
}

impl File {
    /// A file of this media type.
    pub(super) const fn new(kind: &'static str, text: &'static str) -> Self {
        Self { kind, text }
    }
}

pub(crate) const JAVASCRIPT: File =
    File { kind: "text/javascript; charset=utf-8", text: include_str!("ui/client.js") };
pub(crate) const TYPES: File =
    File { kind: "text/plain; charset=utf-8", text: include_str!("ui/client.d.ts") };
pub(crate) const PYTHON: File =
    File { kind: "text/x-python; charset=utf-8", text: include_str!("ui/client.py") };

/// The file, or 304 when the client has it.
pub(crate) fn show(file: File, headers: &HeaderMap) -> Response {
    let content = ([(header::CONTENT_TYPE, file.kind)], file.text);
    etag::answer(headers, etag::of(file.text), "public, no-cache", content)
}
