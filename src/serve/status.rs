//! `/status`: how everything is, as JSON for programs and as a page for browsers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, Request, header};

use super::public;
use super::server::Server;
use super::wish;
use crate::secrets;

/// Seconds after which the page looks again.
const AGAIN: u32 = 5;

pub(super) async fn show(
    State(server): State<Arc<Server>>,
    request: Request<axum::body::Body>,
) -> Response {
    let clients = server.public.count();
    let mut status = server.operate.status(clients);
    if !public::sees_details(&server, &request) {
        status.json = public::status(status.json, &public::parts(server.operate.parts()));
        status.text = server.operate.screen(&status.json);
    }
    if wants_page(request.uri().query(), request.headers()) {
        return page("Status", &status.text, Some(AGAIN));
    }
    axum::Json(status.json).into_response()
}

/// Browsers say that they want HTML; what asks for anything, such as curl, gets JSON.
pub(super) fn wants_page(query: Option<&str>, headers: &HeaderMap) -> bool {
    let format = query.into_iter().flat_map(|query| query.split('&'));
    let format = format.filter_map(|pair| pair.strip_prefix("format=")).next_back();
    match format {
        Some("json") => false,
        Some("html") => true,
        // What takes neither of the two gets JSON, as it would without saying so.
        _ => wish::choose(headers, 0, &["application/json", "text/html"]) == Some(1),
    }
}

/// A page of plain text that can also be had as JSON; `again` is the seconds after which it looks
/// again.
pub(super) fn page(title: &str, text: &str, again: Option<u32>) -> Response {
    let nonce = secrets::word();
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (refresh, says) = again.map_or_else(Default::default, |seconds| {
        let refresh = format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">");
        (refresh, format!(" · looks again every {seconds} s"))
    });
    let small = title.to_lowercase();
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         {refresh}<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>ghpulse: {small}</title><style nonce=\"{nonce}\">:root{{color-scheme:light dark}}\
         body{{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}\
         pre{{white-space:pre-wrap;font-size:.9rem}}</style></head><body><main><h1>{title}</h1>\
         <pre>{text}</pre><p><a href=\"?format=json\">as JSON</a>{says}\
         </p></main></body></html>"
    );
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_the_query_then_that_of_the_header() {
        let accept = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, value.parse().unwrap());
            headers
        };
        let browser = accept("text/html,application/xhtml+xml,*/*;q=0.8");
        assert!(wants_page(None, &browser));
        assert!(!wants_page(Some("format=json"), &browser));
        assert!(!wants_page(None, &accept("*/*")) && !wants_page(None, &HeaderMap::new()));
        assert!(!wants_page(None, &accept("application/json")));
        assert!(wants_page(Some("x=1&format=html"), &accept("application/json")));
    }
}
