//! The fields that GitHub leaves out of events about pull requests, and where they used to be.
//!
//! Since October 2025 a pull request in an event has only five members. Values that were learned
//! elsewhere are written back to their old place, and never over a value that GitHub sent: a member
//! that is null is not missing.

use super::event::{Event, PULL_REQUEST};
use super::json;

/// Types other than [`PULL_REQUEST`] whose payload has a pull request. In these only the language
/// of the base repository is written back.
const REVIEWS: [&str; 2] = ["PullRequestReviewEvent", "PullRequestReviewCommentEvent"];

/// The pull request of an event, and which of its members are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each member that may be missing")]
pub struct MissingFields<'a> {
    /// `payload.pull_request`, as text.
    pub object: &'a str,
    /// Its `base.repo`, as text, when it is an object.
    pub base_repo: Option<&'a str>,
    /// Its `id`.
    pub pull_id: Option<u64>,
    /// Its `number`.
    pub number: Option<u64>,
    /// `base.repo.id`.
    pub base_repo_id: Option<u64>,
    /// `base.repo.language` as GitHub sent it, also when it is null.
    pub sent_language: Option<&'a str>,
    /// `merged` is missing.
    pub merged: bool,
    /// `additions` is missing.
    pub additions: bool,
    /// `deletions` is missing.
    pub deletions: bool,
    /// `changed_files` is missing.
    pub changed_files: bool,
    /// `title` is missing.
    pub title: bool,
    /// `draft` is missing.
    pub draft: bool,
    /// `base.repo.language` is missing.
    pub language: bool,
}

impl<'a> MissingFields<'a> {
    /// Finds the missing members; `None` for an event without a pull request.
    #[must_use]
    pub fn of(event: &Event<'a>) -> Option<Self> {
        let whole = event.key.kind == PULL_REQUEST;
        if !whole && !REVIEWS.contains(&event.key.kind.as_str()) {
            return None;
        }
        let parts = &event.parts;
        let object = parts.pull.text()?;
        let missing = |found: Option<&str>| whole && found.is_none();
        let base_repo = parts.base_repo.text();
        Some(Self {
            object,
            base_repo,
            pull_id: parts.pull.id(),
            number: parts.number.and_then(json::whole),
            base_repo_id: parts.base_repo.id(),
            sent_language: parts.base_language,
            merged: missing(parts.merged),
            additions: missing(parts.additions),
            deletions: missing(parts.deletions),
            changed_files: missing(parts.changed_files),
            title: missing(parts.title),
            draft: missing(parts.draft),
            language: base_repo.is_some() && parts.base_language.is_none(),
        })
    }

    /// Whether a counted field is missing, which is worth a query. Old events have no `draft` and
    /// other fields because these did not exist then.
    #[must_use]
    pub fn is_wanting(&self) -> bool {
        self.additions || self.deletions || self.language
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn missing(kind: &str, pull: &str) -> Option<(bool, bool, bool, bool)> {
        let text = format!(r#"{{"id":"1","type":"{kind}","payload":{{"pull_request":{pull}}}}}"#);
        let event = Event::read(&text).unwrap();
        let missing = MissingFields::of(&event)?;
        Some((missing.merged, missing.additions, missing.language, missing.is_wanting()))
    }

    #[test]
    fn todays_pull_request_has_gaps_and_the_old_one_has_none() {
        let today = r#"{"id":7,"number":2,"base":{"repo":{"id":9}}}"#;
        assert_eq!(missing("PullRequestEvent", today), Some((true, true, true, true)));
        let old = r#"{"id":7,"merged":false,"additions":1,"deletions":0,
            "base":{"repo":{"id":9,"language":null}}}"#;
        assert_eq!(missing("PullRequestEvent", old), Some((false, false, false, false)));
    }

    #[test]
    fn null_is_not_missing() {
        let nulls = r#"{"merged":null,"additions":null,"deletions":null,"base":{"repo":null}}"#;
        assert_eq!(missing("PullRequestEvent", nulls), Some((false, false, false, false)));
    }

    #[test]
    fn only_the_language_is_missing_in_a_review() {
        let today = r#"{"id":7,"base":{"repo":{"id":9}}}"#;
        assert_eq!(missing("PullRequestReviewEvent", today), Some((false, false, true, true)));
        assert_eq!(
            missing("PullRequestReviewCommentEvent", today),
            Some((false, false, true, true))
        );
        assert_eq!(missing("PushEvent", today), None);
        assert_eq!(missing("PullRequestEvent", "null"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_payload_never_panics(payload in ".{0,200}") {
            let text = format!(r#"{{"id":"1","type":"PullRequestEvent","payload":{payload}}}"#);
            let _ = Event::read(&text).map(|event| MissingFields::of(&event).is_some());
        }
    }
}
