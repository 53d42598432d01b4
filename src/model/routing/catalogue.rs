//! The catalogue of topics: each known key with its source, and the collections and keys of
//! GHTorrent that cannot exist, with the reason.

use super::key::{COLLECTIONS, EVENT_WORDS};

/// The key of an event type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTopic {
    /// `evt.<word>.insert`
    pub key: String,
    /// GitHub's type.
    pub kind: &'static str,
}

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

/// A collection of GHTorrent that cannot be made from events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsentCollection {
    /// Its name.
    pub name: &'static str,
    /// The reason.
    pub why: &'static str,
}

/// GitHub's types, in the order of [`EVENT_WORDS`].
const KINDS: [&str; EVENT_WORDS.len()] = [
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

/// The collections, in the order of [`COLLECTIONS`].
pub const ENTITY_TOPICS: [Collection; COLLECTIONS.len()] = [
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

/// The collections that GHTorrent made with further requests to GitHub.
pub const ABSENT_COLLECTIONS: [AbsentCollection; 6] = [
    AbsentCollection {
        name: "followers",
        why: "the feed has no events about followers since 2013",
    },
    AbsentCollection { name: "geo_cache", why: "no event says where somebody lives" },
    AbsentCollection { name: "issue_events", why: "they are not in the feed of public events" },
    AbsentCollection { name: "org_members", why: "no event says who belongs to an organisation" },
    AbsentCollection { name: "repo_labels", why: "no event is about the labels of a repository" },
    AbsentCollection {
        name: "users",
        why: "an event only names its actor; see `actor` in each `evt.*`",
    },
];

/// A key on GHTorrent's page that no event of GitHub's public feed can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsentKey {
    /// The key, or a pattern of keys.
    pub key: &'static str,
    /// The reason.
    pub why: &'static str,
}

const NOT_IN_FEED: &str = "a webhook event: GitHub does not put it in the feed of public events";
const GONE: &str = "GitHub has not made such events since 2013";
const NOT_PUBLIC: &str = "GitHub never puts it in the public feed: it is about members of a team";

/// Keys of the page that never occur. Binding to them is allowed and receives nothing.
pub const ABSENT_KEYS: [AbsentKey; 12] = [
    AbsentKey { key: "ent.*.delete", why: "the feed does not tell which objects are gone" },
    AbsentKey { key: "evt.deployment.insert", why: NOT_IN_FEED },
    AbsentKey { key: "evt.deploymentstatus.insert", why: NOT_IN_FEED },
    AbsentKey { key: "evt.download.insert", why: GONE },
    AbsentKey { key: "evt.follow.insert", why: GONE },
    AbsentKey { key: "evt.forkapply.insert", why: GONE },
    AbsentKey { key: "evt.gist.insert", why: GONE },
    AbsentKey { key: "evt.membership.insert", why: NOT_PUBLIC },
    AbsentKey { key: "evt.pagebuild.insert", why: NOT_IN_FEED },
    AbsentKey { key: "evt.repository.insert", why: NOT_IN_FEED },
    AbsentKey { key: "evt.status.insert", why: NOT_IN_FEED },
    AbsentKey { key: "evt.teamadd.insert", why: NOT_PUBLIC },
];

/// The keys of events.
pub fn event_topics() -> impl Iterator<Item = EventTopic> {
    let both = EVENT_WORDS.iter().zip(KINDS);
    both.map(|(word, kind)| EventTopic { key: format!("evt.{word}.insert"), kind })
}

#[cfg(test)]
mod tests {
    use super::super::{RoutingKey, RoutingPattern};
    use super::*;

    #[test]
    fn related_lists_are_in_the_same_order() {
        for topic in event_topics() {
            assert_eq!(RoutingKey::of_event(topic.kind).as_str(), topic.key);
        }
        assert_eq!(ENTITY_TOPICS.map(|collection| collection.name), COLLECTIONS);
        assert!(ABSENT_COLLECTIONS.iter().all(|never| !COLLECTIONS.contains(&never.name)));
        let known: Vec<RoutingKey> = super::super::known_keys().collect();
        for absent in ABSENT_KEYS {
            let pattern = RoutingPattern::read(absent.key).unwrap();
            assert!(!known.iter().any(|key| pattern.matches(key.as_str())), "{}", absent.key);
        }
    }
}
