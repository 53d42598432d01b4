//! The catalogue of topics: the known event types and collections, and the collections and keys of
//! GHTorrent that cannot exist, with the reason.

use super::key::{Change, RoutingKey};

/// The keys of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collection {
    /// Its name, the second word of its keys.
    pub name: &'static str,
    /// The events that its documents are made of.
    pub from: &'static [&'static str],
    /// When a document with a new id is an insert; all others are updates.
    pub insert: &'static str,
    /// When a document has `"partial":true`.
    pub partial: &'static str,
}

/// The event types in GitHub's feed today. Other types have keys too.
pub const EVENT_TYPES: [&str; 17] = [
    "CommitCommentEvent",
    "CreateEvent",
    "DeleteEvent",
    "DiscussionEvent",
    "ForkEvent",
    "GollumEvent",
    "IssueCommentEvent",
    "IssuesEvent",
    "MemberEvent",
    "PublicEvent",
    "PullRequestEvent",
    "PullRequestReviewEvent",
    "PullRequestReviewCommentEvent",
    "PushEvent",
    "ReleaseEvent",
    "SponsorshipEvent",
    "WatchEvent",
];

const ALWAYS: &str = "always: the event has only part of it";

/// The collections whose documents are made from events.
pub const ENTITY_TOPICS: [Collection; 10] = [
    Collection {
        name: "commit_comments",
        from: &["CommitCommentEvent"],
        insert: "a comment was made",
        partial: "where the event has no `author_association`, as it does since October 2025",
    },
    Collection {
        name: "commits",
        from: &["PushEvent"],
        insert: "a commit was pushed; only where the event has its commits: before October 2025, \
                 and in repositories on lists",
        partial: ALWAYS,
    },
    Collection {
        name: "forks",
        from: &["ForkEvent"],
        insert: "a repository was forked",
        partial: "where the event has no `subscribers_count`, which it mostly does",
    },
    Collection {
        name: "issue_comments",
        from: &["IssueCommentEvent"],
        insert: "a comment was made on an issue or a pull request",
        partial: "where the event has no `body`, which it mostly has",
    },
    Collection {
        name: "issues",
        from: &["IssuesEvent"],
        insert: "an issue was opened",
        partial: "where the event has no `title`, which it mostly has",
    },
    Collection {
        name: "pull_request_comments",
        from: &["PullRequestReviewCommentEvent"],
        insert: "a comment was made on a line of a pull request",
        partial: "where the event has no `author_association`, as it does since October 2025",
    },
    Collection {
        name: "pull_requests",
        from: &["PullRequestEvent"],
        insert: "a pull request was opened",
        partial: "where the event has no `commits`, as it does since October 2025; enriched \
                  fields are in it",
    },
    Collection {
        name: "repo_collaborators",
        from: &["MemberEvent"],
        insert: "somebody became a collaborator",
        partial: ALWAYS,
    },
    Collection {
        name: "repos",
        from: &["CreateEvent", "ForkEvent"],
        insert: "a repository was created, or a fork was made",
        partial: "where the event has no `subscribers_count`, which it mostly does",
    },
    Collection {
        name: "watchers",
        from: &["WatchEvent"],
        insert: "somebody starred a repository",
        partial: ALWAYS,
    },
];

/// The collections that GHTorrent made with further requests to GitHub, and why events cannot give
/// them.
pub const ABSENT_COLLECTIONS: [(&str, &str); 6] = [
    ("followers", "the feed has no events about followers since 2013"),
    ("geo_cache", "no event says where somebody lives"),
    ("issue_events", "they are not in the feed of public events"),
    ("org_members", "no event says who belongs to an organisation"),
    ("repo_labels", "no event is about the labels of a repository"),
    ("users", "an event only names its actor; see `actor` in each `evt.*`"),
];

const NOT_IN_FEED: &str = "a webhook event: GitHub does not put it in the feed of public events";
const GONE: &str = "GitHub has not made such events since 2013";
const NOT_PUBLIC: &str = "GitHub never puts it in the public feed: it is about members of a team";

/// Keys, or patterns of keys, on GHTorrent's page that no event of GitHub's public feed can have,
/// and why. Binding to them is allowed and receives nothing.
pub const ABSENT_KEYS: [(&str, &str); 12] = [
    ("ent.*.delete", "the feed does not tell which objects are gone"),
    ("evt.deployment.insert", NOT_IN_FEED),
    ("evt.deploymentstatus.insert", NOT_IN_FEED),
    ("evt.download.insert", GONE),
    ("evt.follow.insert", GONE),
    ("evt.forkapply.insert", GONE),
    ("evt.gist.insert", GONE),
    ("evt.membership.insert", NOT_PUBLIC),
    ("evt.pagebuild.insert", NOT_IN_FEED),
    ("evt.repository.insert", NOT_IN_FEED),
    ("evt.status.insert", NOT_IN_FEED),
    ("evt.teamadd.insert", NOT_PUBLIC),
];

/// All known keys: those of [`EVENT_TYPES`] and of [`ENTITY_TOPICS`].
pub fn known_keys() -> impl Iterator<Item = RoutingKey> {
    let events = EVENT_TYPES.into_iter().map(RoutingKey::of_event);
    let entities = ENTITY_TOPICS.iter().flat_map(|collection| {
        [Change::Insert, Change::Update]
            .map(|change| RoutingKey::of_entity(collection.name, change))
    });
    events.chain(entities)
}

#[cfg(test)]
mod tests {
    use super::super::RoutingPattern;
    use super::*;

    #[test]
    fn what_is_absent_is_not_known() {
        let known: Vec<RoutingKey> = known_keys().collect();
        for (name, _) in ABSENT_COLLECTIONS {
            assert!(ENTITY_TOPICS.iter().all(|known| known.name != name), "{name}");
        }
        for (key, _) in ABSENT_KEYS {
            let pattern = RoutingPattern::read(key).unwrap();
            assert!(!known.iter().any(|key| pattern.matches(key.as_str())), "{key}");
        }
    }
}
