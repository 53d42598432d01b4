//! The types of events, their frequencies, and the two sequences of their ids.

use fastrand::Rng;

use super::options::Shape;

/// Shares of the types in today's feed, per mille.
pub(super) const SHARES: &[(EventKind, u32)] = &[
    (EventKind::Push, 450),
    (EventKind::PullRequest, 270),
    (EventKind::Create, 80),
    (EventKind::IssueComment, 55),
    (EventKind::Watch, 40),
    (EventKind::Delete, 30),
    (EventKind::Review, 25),
    (EventKind::Issues, 18),
    (EventKind::ReviewComment, 10),
    (EventKind::Fork, 10),
    (EventKind::Release, 4),
    (EventKind::CommitComment, 2),
    (EventKind::Member, 2),
    (EventKind::Gollum, 2),
    (EventKind::Public, 1),
    (EventKind::Discussion, 1),
];

/// One in this many ids of a sequence comes after its successor.
const INVERSION: u32 = 150;

/// A type of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventKind {
    Push,
    PullRequest,
    Create,
    IssueComment,
    Watch,
    Delete,
    Review,
    Issues,
    ReviewComment,
    Fork,
    Release,
    CommitComment,
    Member,
    Gollum,
    Public,
    Discussion,
}

impl EventKind {
    /// GitHub's name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Push => "PushEvent",
            Self::PullRequest => "PullRequestEvent",
            Self::Create => "CreateEvent",
            Self::IssueComment => "IssueCommentEvent",
            Self::Watch => "WatchEvent",
            Self::Delete => "DeleteEvent",
            Self::Review => "PullRequestReviewEvent",
            Self::Issues => "IssuesEvent",
            Self::ReviewComment => "PullRequestReviewCommentEvent",
            Self::Fork => "ForkEvent",
            Self::Release => "ReleaseEvent",
            Self::CommitComment => "CommitCommentEvent",
            Self::Member => "MemberEvent",
            Self::Gollum => "GollumEvent",
            Self::Public => "PublicEvent",
            Self::Discussion => "DiscussionEvent",
        }
    }
    /// The type of the next event.
    pub(super) fn next(rng: &mut Rng, shape: Shape) -> Self {
        let mut left = rng.u32(0..SHARES.iter().map(|(_, share)| share).sum());
        for &(kind, share) in SHARES {
            if left < share {
                return match (kind, shape) {
                    // The feed did not contain discussions then.
                    (Self::Discussion, Shape::Old) => Self::Issues,
                    _ => kind,
                };
            }
            left -= share;
        }
        Self::Push
    }
}

/// One of the two sequences of event ids.
pub(super) struct Ids {
    last: u64,
    step: u64,
    /// The id that was skipped and comes next.
    held: Option<u64>,
}

impl Ids {
    /// A sequence starting after `first`, with steps of usually up to `step`.
    pub(super) fn new(first: u64, step: u64) -> Self {
        Self { last: first, step, held: None }
    }

    /// The next id; ids never repeat.
    pub(super) fn next(&mut self, rng: &mut Rng) -> u64 {
        if let Some(held) = self.held.take() {
            return held;
        }
        self.last += rng.u64(1..=self.step);
        if rng.u32(0..INVERSION) == 0 {
            self.held = Some(self.last);
            self.last += rng.u64(1..=self.step);
        }
        self.last
    }
}
