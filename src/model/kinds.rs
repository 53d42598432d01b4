//! The event types that counts distinguish, and GitHub's two id sequences.

/// The event types with their own column, in the column order of every count by type. The last
/// column counts all other types. The order is stored on disk ([`crate::model::activity`]): adding
/// a type requires a new layout.
pub const KINDS: [&str; 17] = [
    "PushEvent",
    "PullRequestEvent",
    "CreateEvent",
    "DeleteEvent",
    "IssueCommentEvent",
    "IssuesEvent",
    "WatchEvent",
    "ForkEvent",
    "PullRequestReviewEvent",
    "PullRequestReviewCommentEvent",
    "ReleaseEvent",
    "MemberEvent",
    "GollumEvent",
    "CommitCommentEvent",
    "PublicEvent",
    "DiscussionEvent",
    "other",
];

/// Number of columns of a count by type.
pub const COLUMNS: usize = KINDS.len();

/// Returns the column of a type.
#[must_use]
pub fn column(kind: &str) -> usize {
    KINDS.iter().position(|known| *known == kind).unwrap_or(COLUMNS - 1)
}

/// Returns which of GitHub's two id sequences a type belongs to: 0 for pushes, creations and
/// deletions, 1 for all others.
#[must_use]
pub fn sequence(kind: &str) -> usize {
    usize::from(!matches!(kind, "PushEvent" | "CreateEvent" | "DeleteEvent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_share_the_last_column() {
        assert_eq!((column("PushEvent"), column("DiscussionEvent")), (0, 15));
        assert_eq!((column("SponsorshipEvent"), column("")), (16, 16));
        assert_eq!((sequence("DeleteEvent"), sequence("WatchEvent"), sequence("other")), (0, 1, 1));
    }
}
