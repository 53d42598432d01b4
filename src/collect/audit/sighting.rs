//! What the audit takes from an event.

use crate::model::audit::AuditedKind;
use crate::model::json;
use crate::model::window::Timestamp;

/// The paths of the parts, in the order in which [`AuditedEvent::read`] uses them.
const PATHS: [&[&str]; 9] = [
    &["type"],
    &["repo", "id"],
    &["repo", "name"],
    &["created_at"],
    &["payload", "action"],
    &["payload", "number"],
    &["payload", "pull_request", "number"],
    &["payload", "issue", "number"],
    &["payload", "discussion", "number"],
];
/// Numbers of a repository beyond this are not taken seriously.
const MOST_NUMBER: u64 = 1 << 30;

/// An event, as far as the audit needs it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AuditedEvent {
    pub(super) repo_id: u64,
    /// `owner/name`.
    pub(super) repo: String,
    pub(super) created_at: Timestamp,
    /// The total that it raises, if any.
    pub(super) raises: Option<AuditedKind>,
    /// The number that its issue, pull request or discussion was given with it, if any.
    pub(super) number: Option<u32>,
}

impl AuditedEvent {
    /// Reads an event; `None` when its repository or its time is missing.
    pub(super) fn read(event: &str) -> Option<Self> {
        let [kind, repo_id, repo, created_at, action, number, pull, issue, discussion] =
            json::find(event, PATHS).values;
        let repo = repo.and_then(json::text).filter(|name| name.contains('/'))?;
        let created_at = Timestamp::parse(&created_at.and_then(json::text)?)?;
        let kind = kind.and_then(json::text)?;
        let action = action.and_then(json::text).unwrap_or_default();
        let (raises, given) = match (&*kind, &*action) {
            ("WatchEvent", _) => (Some(AuditedKind::Stars), None),
            ("ForkEvent", _) => (Some(AuditedKind::Forks), None),
            ("ReleaseEvent", "published") => (Some(AuditedKind::Releases), None),
            ("PullRequestEvent", "opened") => (Some(AuditedKind::PullRequests), number.or(pull)),
            ("IssuesEvent", "opened") => (Some(AuditedKind::Issues), issue),
            ("DiscussionEvent", "created") => (None, discussion),
            _ => (None, None),
        };
        let number = given.and_then(json::whole).filter(|n| (1..MOST_NUMBER).contains(n));
        Some(Self {
            repo_id: repo_id.and_then(json::whole)?,
            repo: repo.into_owned(),
            created_at,
            raises,
            number: number.and_then(|number| u32::try_from(number).ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_that_raise_a_total_count() {
        let read = |kind: &str, payload: &str| {
            let text = format!(
                r#"{{"type":"{kind}","repo":{{"id":7,"name":"a/b"}},"payload":{payload},
                "created_at":"2027-01-01T00:00:00Z"}}"#
            );
            let event = AuditedEvent::read(&text).unwrap();
            assert_eq!((event.repo_id, &*event.repo), (7, "a/b"));
            (event.raises, event.number)
        };
        assert_eq!(read("PushEvent", "{}"), (None, None));
        let opened = r#"{"action":"opened","number":12,"pull_request":{"number":12}}"#;
        assert_eq!(read("PullRequestEvent", opened), (Some(AuditedKind::PullRequests), Some(12)));
        let merged = r#"{"action":"merged","number":12}"#;
        assert_eq!(read("PullRequestEvent", merged), (None, None));
        let issue = r#"{"action":"opened","issue":{"number":3}}"#;
        assert_eq!(read("IssuesEvent", issue), (Some(AuditedKind::Issues), Some(3)));
        let issue = r#"{"action":"closed","issue":{"number":3}}"#;
        assert_eq!(read("IssuesEvent", issue), (None, None));
        let talk = r#"{"action":"created","discussion":{"number":4}}"#;
        assert_eq!(read("DiscussionEvent", talk), (None, Some(4)));
        assert_eq!(read("WatchEvent", r#"{"action":"started"}"#), (Some(AuditedKind::Stars), None));
        for text in ["", "[]", r#"{"type":"WatchEvent"}"#, r#"{"repo":{"id":1,"name":"x"}}"#] {
            assert_eq!(AuditedEvent::read(text), None, "{text}");
        }
        let huge = r#"{"action":"opened","issue":{"number":99999999999}}"#;
        assert_eq!(read("IssuesEvent", huge), (Some(AuditedKind::Issues), None));
    }
}
