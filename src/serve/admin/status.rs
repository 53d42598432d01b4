//! `/status`: the status as JSON for programs and as a page for browsers.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;

use super::redaction;
use super::report::Status;
use crate::model::part::PartState;
use crate::serve::http::negotiation;
use crate::serve::pages;
use crate::serve::pages::TextPage;
use crate::serve::server::SharedServer;

pub(crate) async fn show(State(server): SharedServer, request: Request) -> Response {
    let clients = server.public.count();
    let mut status = server.operate.status(clients);
    if !redaction::sees_details(&server, &request) {
        status = redaction::status(status);
    }
    if wants_page(request.uri().query(), request.headers()) {
        let (verdict, class) = verdict(&status);
        let shown = TextPage {
            title: "Status",
            description: "How this server is: its parts, its source, how much it sees, its store",
            verdict: (&verdict, class),
            body: &status.screen(),
            is_live: true,
        };
        return pages::text(&server, &shown);
    }
    axum::Json(status).into_response()
}

/// Whether the client is a browser. Programs that accept any media type, such as curl, get JSON.
pub(crate) fn wants_page(query: Option<&str>, headers: &HeaderMap) -> bool {
    let format = query.into_iter().flat_map(|query| query.split('&'));
    let format = format.filter_map(|pair| pair.strip_prefix("format=")).next_back();
    match format {
        Some("json") => false,
        Some("html") => true,
        // JSON also if neither is acceptable.
        _ => negotiation::choose(headers, 0, &["application/json", "text/html"]) == Some(1),
    }
}

/// The state in one line, and its class on the page.
fn verdict(status: &Status) -> (String, &'static str) {
    let is_wrong = |state| matches!(state, PartState::Degraded | PartState::Down);
    let parts = status.parts.iter().filter(|part| is_wrong(part.state));
    let parts = parts.map(|part| format!("{} {}", part.name, part.state.name()));
    let troubles = status.completeness.iter().flat_map(|report| &report.troubles);
    let troubles = troubles.map(|trouble| trouble.kind.name().replace('_', " "));
    let all: Vec<String> = parts.chain(troubles).collect();
    match (status.ready, all.is_empty()) {
        (true, true) => ("Ready".to_owned(), "ok"),
        (true, false) => (format!("Ready, but: {}", all.join(", ")), "warn"),
        (false, true) => ("Not ready".to_owned(), "bad"),
        (false, false) => (format!("Not ready: {}", all.join(", ")), "bad"),
    }
}

#[cfg(test)]
mod tests {
    use http::header;
    use serde_json::json;

    use super::*;

    #[test]
    fn verdict_names_the_failing_part() {
        let since = "2027-01-01T00:00:00Z";
        let part = |state| json!([{"name": "bus", "state": state, "since": since, "error": null}]);
        let frozen = json!({
            "at": since, "method": "", "pages": [], "tokens": [],
            "all": {"types": {}},
            "troubles": [{"kind": "frozen_feed", "of": 0, "since": since, "text": ""}],
        });
        for (status, wanted, class) in [
            (json!({"ready": true, "parts": part("off")}), "Ready", "ok"),
            (json!({"ready": true, "completeness": frozen}), "Ready, but: frozen feed", "warn"),
            (json!({"ready": false, "parts": part("down")}), "Not ready: bus down", "bad"),
            (json!({}), "Not ready", "bad"),
        ] {
            let status = serde_json::from_value(status).unwrap();
            assert_eq!(verdict(&status), (wanted.to_owned(), class));
        }
    }

    #[test]
    fn format_parameter_takes_precedence_over_accept() {
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
