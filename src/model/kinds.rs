//! The event types that counts tell apart, and GitHub's two sequences of ids.

/// The types that are counted by name, in the order of the columns of every count by type. The
/// last column counts every other type. The order is on disk ([`crate::model::activity`]): a new
/// type goes before nothing; it needs a new layout.
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

/// How many columns counts by type have.
pub const COLUMNS: usize = KINDS.len();

/// The column of a type.
#[must_use]
pub fn column(kind: &str) -> usize {
    KINDS.iter().position(|known| *known == kind).unwrap_or(COLUMNS - 1)
}

/// Which of GitHub's two sequences the ids of a type are from: 0 for pushes, creations and
/// deletions, 1 for the rest.
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
