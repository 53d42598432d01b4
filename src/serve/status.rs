//! `/status`: how everything is, as JSON for programs and as a page for browsers.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, Request, header};

use super::server::Server;

/// Seconds after which the page looks again.
const AGAIN: u32 = 5;

pub(super) async fn show(
    State(server): State<Arc<Server>>,
    request: Request<axum::body::Body>,
) -> Response {
    let clients = server.public.count();
    let status = server.operate.status(clients);
    if wants_page(request.uri().query(), request.headers()) {
        return page(&status.text);
    }
    axum::Json(status.json).into_response()
}

/// Browsers say that they want HTML; what asks for anything, such as curl, gets JSON.
fn wants_page(query: Option<&str>, headers: &HeaderMap) -> bool {
    let format = query.into_iter().flat_map(|query| query.split('&'));
    let format = format.filter_map(|pair| pair.strip_prefix("format=")).next_back();
    match format {
        Some("json") => false,
        Some("html") => true,
        _ => {
            let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
            accept.is_some_and(|accept| accept.contains("text/html"))
        }
    }
}

fn page(text: &str) -> Response {
    let mut nonce = String::new();
    write!(nonce, "{:032x}", fastrand::u128(..)).expect("a string takes all");
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"refresh\" content=\"{AGAIN}\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>ghpulse: status</title><style nonce=\"{nonce}\">:root{{color-scheme:light dark}}\
         body{{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}}\
         pre{{white-space:pre-wrap;font-size:.9rem}}</style></head><body><main><h1>Status</h1>\
         <pre>{text}</pre><p><a href=\"?format=json\">as JSON</a> · looks again every {AGAIN} s\
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
