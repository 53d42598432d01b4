//! The types of events, their frequencies, and the two sequences of their ids.

use fastrand::Rng;

use super::cast::weighted;
use super::options::Shape;

/// The types with GitHub's names, and their shares in today's feed, per mille.
pub(super) const SHARES: &[(EventKind, &str, u32)] = &[
    (EventKind::Push, "PushEvent", 450),
    (EventKind::PullRequest, "PullRequestEvent", 270),
    (EventKind::Create, "CreateEvent", 80),
    (EventKind::IssueComment, "IssueCommentEvent", 55),
    (EventKind::Watch, "WatchEvent", 40),
    (EventKind::Delete, "DeleteEvent", 30),
    (EventKind::Review, "PullRequestReviewEvent", 25),
    (EventKind::Issues, "IssuesEvent", 18),
    (EventKind::ReviewComment, "PullRequestReviewCommentEvent", 10),
    (EventKind::Fork, "ForkEvent", 10),
    (EventKind::Release, "ReleaseEvent", 4),
    (EventKind::CommitComment, "CommitCommentEvent", 2),
    (EventKind::Member, "MemberEvent", 2),
    (EventKind::Gollum, "GollumEvent", 2),
    (EventKind::Public, "PublicEvent", 1),
    (EventKind::Discussion, "DiscussionEvent", 1),
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
        let row = SHARES.iter().find(|(kind, ..)| *kind == self);
        row.map(|(_, name, _)| *name).expect("each type has a row")
    }

    /// The type of the next event.
    pub(super) fn next(rng: &mut Rng, shape: Shape) -> Self {
        match (weighted(rng, SHARES, |row| row.2).0, shape) {
            // The feed did not contain discussions then.
            (Self::Discussion, Shape::Old) => Self::Issues,
            (kind, _) => kind,
        }
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
