//! `/robots.txt` (RFC 9309): what crawlers may fetch.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use crate::serve::server::SharedServer;

/// What is written for people, as RFC 9309 patterns. The longest match decides, so that everything
/// else is disallowed: streams never end, and queries cost more than a page.
const ALLOWED: [&str; 6] = ["/$", "/?", "/docs", "/topics", "/play", "/favicon.ico"];

/// The rules, with and without `server.basePath`: both paths are served.
pub(crate) async fn show(State(server): SharedServer) -> Response {
    let base = server.options.config.base_path.as_deref().unwrap_or_default();
    let mut text = "User-agent: *\n".to_owned();
    let prefixes = if base.is_empty() { vec![""] } else { vec!["", base] };
    for prefix in prefixes {
        for path in ALLOWED {
            let _ = writeln!(text, "Allow: {prefix}{path}");
        }
    }
    text.push_str("Disallow: /\n");
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, text).into_response()
}
