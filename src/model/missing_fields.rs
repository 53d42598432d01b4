//! What GitHub left out of an event about a pull request, and where it used to be.
//!
//! Since October 2025 a pull request has five keys. What is learnt of it elsewhere goes back to
//! its old place, and never over a value that GitHub sent: a key that is there, null too, is no
//! gap.

use super::event::{Event, PULL_REQUEST};
use super::json;

/// Types beside [`PULL_REQUEST`] whose payload has a pull request; of these only the language of
/// its base repository is put back.
const REVIEWS: [&str; 2] = ["PullRequestReviewEvent", "PullRequestReviewCommentEvent"];

/// The pull request of an event, and which of its keys are not there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each key that may be missing")]
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
    /// `base.repo.language` as it was sent, null too.
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
    /// Looks for them; `None` for an event without a pull request.
    #[must_use]
    pub fn of(event: &Event<'a>) -> Option<Self> {
        let whole = event.key.kind == PULL_REQUEST;
        if !whole && !REVIEWS.contains(&event.key.kind.as_str()) {
            return None;
        }
        let inside = &event.parts.inside;
        let object = inside.pull.text()?;
        let missing = |found: Option<&str>| whole && found.is_none();
        let base_repo = inside.base_repo.text();
        Some(Self {
            object,
            base_repo,
            pull_id: inside.pull.id(),
            number: inside.number.and_then(json::whole),
            base_repo_id: inside.base_repo.id(),
            sent_language: inside.base_language,
            merged: missing(inside.merged),
            additions: missing(inside.additions),
            deletions: missing(inside.deletions),
            changed_files: missing(inside.changed_files),
            title: missing(inside.title),
            draft: missing(inside.draft),
            language: base_repo.is_some() && inside.base_language.is_none(),
        })
    }

    /// Whether something is missing that is worth asking for: what is counted. Old events lack
    /// `draft` and more because it did not exist then.
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
    fn a_null_that_github_sent_is_no_gap_and_no_repository_has_no_language() {
        let nulls = r#"{"merged":null,"additions":null,"deletions":null,"base":{"repo":null}}"#;
        assert_eq!(missing("PullRequestEvent", nulls), Some((false, false, false, false)));
    }

    #[test]
    fn a_review_lacks_the_language_only() {
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
        fn any_payload_is_looked_at_without_a_panic(payload in ".{0,200}") {
            let text = format!(r#"{{"id":"1","type":"PullRequestEvent","payload":{payload}}}"#);
            let _ = Event::read(&text).map(|event| MissingFields::of(&event).is_some());
        }
    }
}
