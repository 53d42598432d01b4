//! Content that clients may keep: entity tags, and 304 for a client that has it (RFC 9110 §13.1.2).

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use xxhash_rust::xxh3::xxh3_64;

use super::negotiation::elements;

/// The tag of a text. With `W/` before it, it names a text that is sent plain or compressed (RFC
/// 9110 §8.8.3.3).
pub(crate) fn of(text: &str) -> String {
    format!("\"{:016x}\"", xxh3_64(text.as_bytes()))
}

/// Whether `If-None-Match` names the content with this tag, compared weakly.
pub(crate) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let tag = tag.trim_start_matches("W/");
    let is_it = |one: &str| one == "*" || one.trim_start_matches("W/") == tag;
    elements(headers, header::IF_NONE_MATCH).any(is_it)
}

/// Content that a client may keep as `Cache-Control` says, or 304 when the client has it.
pub(crate) fn answer(
    asked: &HeaderMap,
    tag: String,
    cache_control: &'static str,
    content: impl IntoResponse,
) -> Response {
    let is_known = is_known(asked, &tag);
    let caching = [(header::ETAG, tag), (header::CACHE_CONTROL, cache_control.to_owned())];
    if is_known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, content).into_response()
}
