//! Documents of GitHub's objects, made from events: `ent.<collection>.<insert|update>`.
//!
//! A document is the object as the event's payload has it, with the enrichment that was written
//! back, the names it is bound to where GHTorrent had them, and `"partial":true` where GitHub's own
//! object has more. Nothing is made up, and what has no id of its own has no document. Which of an
//! event's documents are of ids never seen before is part of its facts, so that replay says the
//! same as the live stream did.

mod compose;

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use super::envelope::Envelope;
use super::event::PULL_REQUEST;
use super::json;
use super::routing::{Change, RoutingKey};
use compose::Body;

/// The most documents of one event; GitHub sends at most 20 commits.
pub const ENTITIES: usize = 64;

/// What `_id` says: 24 hexadecimal digits, derived from what the thing is and its own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 12]);

/// A document of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Of what, and whether it is new here.
    pub key: RoutingKey,
    /// The same for all documents of one object.
    pub id: ObjectId,
    /// JSON, `_id` first.
    pub document: String,
}

/// A document that an event could make: which object, and what is said about it.
#[derive(Debug, Clone)]
struct Draft<'a> {
    collection: &'static str,
    id: ObjectId,
    /// Whether the event says that the object is new.
    is_new: bool,
    body: Body<'a>,
}

/// What has to be known of a document before it is made: whether its id was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The object.
    pub id: ObjectId,
    /// Whether the event says that it is new; otherwise it is an update, seen before or not.
    pub is_new: bool,
}

impl ObjectId {
    /// Of a thing of a kind (a type of events, a collection) by its own id.
    #[must_use]
    pub fn of(kind: &str, id: &str) -> Self {
        let hash = xxh3_128([kind, " ", id].concat().as_bytes()).to_be_bytes();
        Self(*hash.first_chunk().expect("16 bytes hold 12"))
    }

    /// Its bytes, as the store keeps them.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        self.0
    }

    /// Reads what [`Self::to_bytes`] gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The objects that an event has documents of, in the order of [`entities`].
#[must_use]
pub fn sights(kind: &str, event: &str) -> Vec<Sight> {
    let drafts = drafts(kind, event);
    drafts.iter().map(|draft| Sight { id: draft.id, is_new: draft.is_new }).collect()
}

/// The documents of an event, with their keys. `kind` is the event's type.
#[must_use]
pub fn entities(kind: &str, envelope: &Envelope) -> Vec<Entity> {
    let make = |(i, draft): (usize, Draft<'_>)| {
        let is_insert = envelope.facts.inserted & (1 << i) != 0;
        let change = if is_insert { Change::Insert } else { Change::Update };
        Entity {
            key: RoutingKey::of_entity(draft.collection, change),
            id: draft.id,
            document: draft.body.document(draft.id),
        }
    };
    drafts(kind, &envelope.event).into_iter().enumerate().map(make).collect()
}

/// An event with an `_id` before all else, as GHTorrent's readers expect it.
#[must_use]
pub fn event_document(id: ObjectId, event: &str) -> String {
    compose::with_id(id, event, "")
}

/// What an event could make documents of. Deletions and removals make none.
fn drafts<'a>(kind: &str, event: &'a str) -> Vec<Draft<'a>> {
    // Most events are pushes, and most of those have no commits any more: no need to read them.
    let is_worth_reading = match kind {
        "PushEvent" => event.contains("\"commits\""),
        "CreateEvent" => event.contains("\"repository\""),
        "WatchEvent"
        | "ForkEvent"
        | "IssuesEvent"
        | "IssueCommentEvent"
        | "CommitCommentEvent"
        | "PullRequestReviewCommentEvent"
        | "MemberEvent"
        | PULL_REQUEST => true,
        _ => false,
    };
    if !is_worth_reading {
        return Vec::new();
    }
    let [payload, repo, actor, at] = json::pick(event, ["payload", "repo", "actor", "created_at"]);
    let Some(payload) = payload.filter(|payload| json::is_object(payload)) else {
        return Vec::new();
    };
    let from = Origin { payload, repo, actor, at, action: json::pick(payload, ["action"])[0] };
    let mut drafts = match kind {
        "PushEvent" => from.commits(),
        "CreateEvent" => from.created().into_iter().collect(),
        "WatchEvent" => from.watcher().into_iter().collect(),
        "ForkEvent" => from.fork(),
        "MemberEvent" => from.collaborator().into_iter().collect(),
        "IssuesEvent" => from.member("issue", "issues", "opened"),
        PULL_REQUEST => from.member("pull_request", "pull_requests", "opened"),
        "IssueCommentEvent" => from.member("comment", "issue_comments", "created"),
        "CommitCommentEvent" => from.member("comment", "commit_comments", "created"),
        _ => from.member("comment", "pull_request_comments", "created"),
    };
    drafts.truncate(ENTITIES);
    drafts
}

/// The parts of an event that documents are made of.
struct Origin<'a> {
    payload: &'a str,
    repo: Option<&'a str>,
    actor: Option<&'a str>,
    at: Option<&'a str>,
    action: Option<&'a str>,
}

impl<'a> Origin<'a> {
    /// A member of the payload that is the object itself; new by one action, gone by another.
    fn member(&self, name: &str, collection: &'static str, new_by: &str) -> Vec<Draft<'a>> {
        let action = self.action.and_then(json::text);
        let action = action.as_deref();
        if matches!(action, Some("deleted" | "transferred")) {
            return Vec::new();
        }
        let object = json::pick(self.payload, [name])[0];
        let Some((object, id)) = object.and_then(with_own_id) else { return Vec::new() };
        // Comments on commits had no action once: they were all new.
        let is_new = action.map_or(collection == "commit_comments", |action| action == new_by);
        let body = Body::bound(object, self.repo, compose::whole_by(collection));
        vec![Draft { collection, id: ObjectId::of(collection, id), is_new, body }]
    }

    fn fork(&self) -> Vec<Draft<'a>> {
        let forkee = json::pick(self.payload, ["forkee"])[0].and_then(with_own_id);
        let Some((forkee, id)) = forkee else { return Vec::new() };
        ["forks", "repos"]
            .map(|collection| Draft {
                collection,
                id: ObjectId::of(collection, id),
                is_new: true,
                body: Body::fork(forkee, self.repo, compose::whole_by(collection)),
            })
            .into()
    }

    fn watcher(&self) -> Option<Draft<'a>> {
        let (actor, who) = with_own_id(self.actor?)?;
        let (_, what) = with_own_id(self.repo?)?;
        Some(Draft {
            collection: "watchers",
            id: ObjectId::of("watchers", &format!("{what} {who}")),
            is_new: true,
            body: Body::watcher(actor, self.repo, self.at),
        })
    }

    fn collaborator(&self) -> Option<Draft<'a>> {
        let action = self.action.and_then(json::text);
        if action.as_deref() == Some("removed") {
            return None;
        }
        let (member, who) = with_own_id(json::pick(self.payload, ["member"])[0]?)?;
        let (_, what) = with_own_id(self.repo?)?;
        let collection = "repo_collaborators";
        Some(Draft {
            collection,
            id: ObjectId::of(collection, &format!("{what} {who}")),
            is_new: action.as_deref() == Some("added"),
            body: Body::bound(member, self.repo, compose::whole_by(collection)),
        })
    }

    fn created(&self) -> Option<Draft<'a>> {
        let [what] = json::pick(self.payload, ["ref_type"]);
        if what.and_then(json::text).as_deref() != Some("repository") {
            return None;
        }
        let (repo, id) = with_own_id(self.repo?)?;
        let body = Body::created(repo, self.payload)?;
        Some(Draft { collection: "repos", id: ObjectId::of("repos", id), is_new: true, body })
    }

    fn commits(&self) -> Vec<Draft<'a>> {
        let commits = json::pick(self.payload, ["commits"])[0].unwrap_or_default();
        let commits = json::items(commits, ENTITIES);
        let draft = |commit: &'a str| {
            let sha = json::text(json::pick(commit, ["sha"])[0]?).filter(|sha| !sha.is_empty())?;
            let body = Body::bound(commit, self.repo, compose::whole_by("commits"));
            let id = ObjectId::of("commits", &sha);
            Some(Draft { collection: "commits", id, is_new: true, body })
        };
        commits.into_iter().filter_map(draft).collect()
    }
}

/// An object and its `id`, when it is an object and has a number for it.
fn with_own_id(object: &str) -> Option<(&str, &str)> {
    let id = json::pick(object, ["id"])[0]?;
    json::whole(id).is_some().then_some((object, id))
}

#[cfg(test)]
#[path = "entity_tests.rs"]
mod tests;
