//! Files that are part of the program and served unchanged.
//!
//! Cached copies are revalidated by `ETag`, so an upgrade of the server reaches every page.

use axum::response::Response;
use http::{HeaderMap, header};

use crate::serve::http::etag;

#[derive(Debug, Clone, Copy)]
pub(crate) struct StaticFile {
    /// Its media type.
    pub(crate) kind: &'static str,
    text: &'static str,
}

impl StaticFile {
    /// A file of this media type.
    pub(super) const fn new(kind: &'static str, text: &'static str) -> Self {
        Self { kind, text }
    }
}

/// The file, or 304 when the client has it.
pub(crate) fn show(file: StaticFile, headers: &HeaderMap) -> Response {
    let content = ([(header::CONTENT_TYPE, file.kind)], file.text);
    etag::answer(headers, etag::of(file.text), "public, no-cache", content)
}
