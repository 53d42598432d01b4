//! `/docs`: the manual of exactly this version, one page per document of the repository.
//!
//! Pages are rendered and compressed once, at the first request, for every host: their script shows
//! the reader's address of this server, and a `Host` header never gets into a page. Browsers
//! revalidate their cached copy with the `ETag`.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::LazyLock;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::manual::{self, Form, PAGES};
use crate::serve::http::etag;
use crate::serve::http::head::Slashed;
use crate::serve::http::negotiation;
use crate::serve::http::problem::Problem;
use crate::serve::http::url_query::PathParts;

/// The content security policy: own style sheet, script and images only.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// A page, the style sheet or the script, ready to send.
struct Ready {
    kind: &'static str,
    tag: String,
    plain: Bytes,
    packed: Bytes,
}

impl Ready {
    fn new(kind: &'static str, text: String) -> Self {
        let tag = format!("W/{}", etag::of(&text));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let packed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
        Self { kind, tag, plain: text.into(), packed: packed.unwrap_or_default().into() }
    }
}

static MANUAL: LazyLock<HashMap<&'static str, Ready>> = LazyLock::new(|| {
    let names = PAGES.iter().map(|page| page.name).chain([manual::WHOLE]);
    let pages = names.filter_map(|name| {
        let html = manual::document(name, Form::Served)?;
        Some((name, Ready::new("text/html; charset=utf-8", html)))
    });
    let style = Ready::new("text/css; charset=utf-8", manual::STYLE.clone());
    let script = Ready::new("text/javascript; charset=utf-8", manual::SCRIPT.to_owned());
    pages.chain([(manual::STYLE_NAME, style), (manual::SCRIPT_NAME, script)]).collect()
});

/// `/docs`: the first page.
pub(crate) async fn start(request: Request) -> Response {
    answer("", &request)
}

/// `/docs/NAME`: another page.
pub(crate) async fn page(PathParts(name): PathParts<String>, request: Request) -> Response {
    answer(&name, &request)
}

fn answer(name: &str, request: &Request) -> Response {
    let Some(ready) = MANUAL.get(name) else {
        let names = PAGES.iter().map(|page| page.name).filter(|name| !name.is_empty());
        let names = names.collect::<Vec<_>>().join(", ");
        let shown: String = name.chars().take(80).collect();
        let detail = format!("the manual has no page `{shown}`; /docs has {names}");
        return Problem::new(StatusCode::NOT_FOUND, detail).into_response();
    };
    // Below a path that ends with `/`, relative links would resolve to the wrong address.
    if request.extensions().get::<Slashed>().is_some() {
        let to = if name.is_empty() { "docs" } else { name };
        let location = [(header::LOCATION, format!("../{to}"))];
        return (StatusCode::PERMANENT_REDIRECT, location).into_response();
    }
    sent(ready, request.headers())
}

fn sent(ready: &Ready, asked: &HeaderMap) -> Response {
    let kind = [(header::CONTENT_TYPE, ready.kind)];
    let packed = negotiation::encoding(asked, &["gzip"]).filter(|_| !ready.packed.is_empty());
    let content = match packed {
        Some(coding) => {
            (kind, [(header::CONTENT_ENCODING, coding)], ready.packed.clone()).into_response()
        }
        None => (kind, ready.plain.clone()).into_response(),
    };
    let mut response = etag::answer(asked, ready.tag.clone(), "public, no-cache", content);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY);
    response
}
