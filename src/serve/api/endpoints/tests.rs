use crate::serve::api::endpoint::ApiResponse;
use proptest::prelude::*;
use proptest::string::string_regex;

use super::*;
use crate::config::{self, Request};
use crate::model::resume_token::ResumeToken;

/// Texts that the documented pattern of a cursor makes.
fn cursors(path: &'static str) -> impl Strategy<Value = String> {
    let endpoint = all().into_iter().find(|endpoint| endpoint.path == EndpointPath::At(path));
    let operation = endpoint.expect("it is there").operations.remove(0);
    let cursor = operation.parameters.into_iter().find(|it| it["name"] == "cursor");
    let schema = &cursor.expect("it has one")["schema"];
    let pattern = schema["pattern"].as_str().expect("a pattern");
    string_regex(pattern.trim_start_matches('^').trim_end_matches('$')).expect("a pattern")
}

proptest! {
    #[test]
    fn documented_cursors_are_read(
        of_events in cursors("/stream"),
        of_counts in cursors("/stream/types"),
    ) {
        let is_place = |text: &str| text.parse::<crate::model::offset::Offset>().is_ok();
        let is_token = |text: &str| text.parse::<ResumeToken>().is_ok();
        prop_assert!(of_events.is_empty() || is_place(&of_events) || is_token(&of_events));
        prop_assert!(of_counts.is_empty() || is_token(&of_counts));
    }
}

#[test]
fn messages_of_every_socket_have_a_summary() {
    for frames in all().into_iter().filter_map(|endpoint| endpoint.frames) {
        for message in frames.sent.iter().chain(&frames.received) {
            assert!(!message.summary.is_empty(), "{}: {}", frames.summary, message.name);
        }
    }
}

#[test]
fn responses_of_every_endpoint_are_documented() {
    for endpoint in all() {
        for operation in &endpoint.operations {
            let known = |status| operation.answers.iter().any(|it| it.status == status);
            let is_public = endpoint.audience == Audience::Public;
            let place = format!("{} {:?}", operation.method, endpoint.path);
            for (status, wanted) in [
                (400, true),
                (403, is_public),
                (429, is_public),
                (503, is_public),
                (413, operation.request.is_some()),
                (415, operation.request.is_some()),
                (101, endpoint.frames.is_some()),
                (426, endpoint.frames.is_some()),
            ] {
                assert!(known(status) || !wanted, "{place} does not document {status}");
            }
            let is_once = |at: &ApiResponse| {
                operation.answers.iter().filter(|other| other.status == at.status).count() == 1
            };
            assert!(operation.answers.iter().all(is_once), "{place}: a status twice");
        }
    }
}

#[test]
fn no_setting_takes_the_path_of_an_endpoint() {
    for endpoint in all() {
        let EndpointPath::At(path) = endpoint.path else { continue };
        let path = path.replace(['{', '}'], "");
        let variable = ("GHPULSE_SERVER_HEALTH".to_owned(), path.clone());
        let refused = config::load(&Request::of_variables(vec![variable])).unwrap_err();
        let said: Vec<String> = refused.errors.iter().map(ToString::to_string).collect();
        assert!(said[0].contains("is the path of another endpoint"), "{path}: {said:?}");
    }
}
