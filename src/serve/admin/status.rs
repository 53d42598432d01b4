//! `/status`: how everything is, as JSON for programs and as a page for browsers.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Request};
use serde_json::Value;

use super::redaction;
use crate::serve::http::negotiation;
use crate::serve::pages;
use crate::serve::pages::Text;
use crate::serve::server::Server;

pub(crate) async fn show(
    State(server): State<Arc<Server>>,
    request: Request<axum::body::Body>,
) -> Response {
    let clients = server.public.count();
    let mut status = server.operate.status(clients);
    if !redaction::sees_details(&server, &request) {
        status.json = redaction::status(status.json, &redaction::parts(server.operate.parts()));
        status.text = server.operate.screen(&status.json);
    }
    if wants_page(request.uri().query(), request.headers()) {
        let (verdict, class) = verdict(&status.json);
        return pages::text(&Text {
            title: "Status",
            verdict: (&verdict, class),
            body: &status.text,
            is_live: true,
            simulated: server.operate.simulated(),
        });
    }
    axum::Json(status.json).into_response()
}

/// Browsers say that they want HTML; what asks for anything, such as curl, gets JSON.
pub(crate) fn wants_page(query: Option<&str>, headers: &HeaderMap) -> bool {
    let format = query.into_iter().flat_map(|query| query.split('&'));
    let format = format.filter_map(|pair| pair.strip_prefix("format=")).next_back();
    match format {
        Some("json") => false,
        Some("html") => true,
        // What takes neither of the two gets JSON, as it would without saying so.
        _ => negotiation::choose(headers, 0, &["application/json", "text/html"]) == Some(1),
    }
}

/// What all of it comes to, in a line, and its class on a page.
fn verdict(status: &Value) -> (String, &'static str) {
    let wrong = |part: &Value| matches!(part["state"].as_str(), Some("degraded" | "down"));
    let parts = status["parts"].as_array().into_iter().flatten().filter(|part| wrong(part));
    let mut all: Vec<String> =
        parts.map(|part| format!("{} {}", word(&part["name"]), word(&part["state"]))).collect();
    let troubles = status["completeness"]["troubles"].as_array().into_iter().flatten();
    all.extend(troubles.map(|trouble| word(&trouble["kind"]).replace('_', " ")));
    match (status["ready"] == true, all.is_empty()) {
        (true, true) => ("Ready".to_owned(), "ok"),
        (true, false) => (format!("Ready, but: {}", all.join(", ")), "warn"),
        (false, true) => ("Not ready".to_owned(), "bad"),
        (false, false) => (format!("Not ready: {}", all.join(", ")), "bad"),
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::header;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_verdict_names_what_is_wrong() {
        let part = |state: &str| json!([{"name": "bus", "state": state}]);
        let frozen = json!({"troubles": [{"kind": "frozen_feed"}]});
        for (status, wanted, class) in [
            (json!({"ready": true, "parts": part("off")}), "Ready", "ok"),
            (json!({"ready": true, "completeness": frozen}), "Ready, but: frozen feed", "warn"),
            (json!({"ready": false, "parts": part("down")}), "Not ready: bus down", "bad"),
            (json!({}), "Not ready", "bad"),
        ] {
            assert_eq!(verdict(&status), (wanted.to_owned(), class));
        }
    }

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
