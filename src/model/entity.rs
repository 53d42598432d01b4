//! Documents of GitHub's objects, made from events: `ent.<collection>.<insert|update>`.
//!
//! A document is the object in the event's payload, with the fields that enrichment has written
//! back, the names of its repository and owner as in GHTorrent, and `"partial":true` when GitHub's
//! own object has more. Nothing is invented, and an object without an id has no document. Which
//! documents of an event are new is part of its facts, so that a replay equals the live stream.

mod compose;
mod id;

use std::borrow::Cow;

use self::compose::DocumentBody;
pub use self::id::ObjectId;
use super::event::{Event, PULL_REQUEST, PayloadObject};
use super::json;
use super::routing::{Change, RoutingKey};

/// The most documents of one event; GitHub sends at most 20 commits.
pub const ENTITIES: usize = 64;

/// A document of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// Its routing key: the collection, and whether it is new.
    pub key: RoutingKey,
    /// Its id, the same for all documents of one object.
    pub id: ObjectId,
    /// JSON, `_id` first.
    pub document: String,
}

/// A document to be made of an event.
#[derive(Debug, Clone)]
struct EntityDraft<'a> {
    collection: &'static str,
    id: ObjectId,
    /// Whether the event says that the object is new.
    is_new: bool,
    body: DocumentBody<'a>,
}

impl<'a> EntityDraft<'a> {
    /// `id` identifies the object in its collection.
    fn new(collection: &'static str, id: &str, is_new: bool, body: DocumentBody<'a>) -> Self {
        Self { collection, id: ObjectId::of(collection, id), is_new, body }
    }
}

/// The object of a document, by which apply decides whether the document is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityRef {
    /// The object.
    pub id: ObjectId,
    /// Whether the event says that it is new; otherwise the document is an update.
    pub is_new: bool,
}

/// The objects that an event has documents of, in the order of [`entities`].
#[must_use]
pub fn entity_refs(event: &Event<'_>) -> Vec<EntityRef> {
    let drafts = drafts(event).into_iter();
    drafts.map(|draft| EntityRef { id: draft.id, is_new: draft.is_new }).collect()
}

/// The documents of an event, with their keys. Bit `i` of `inserted` is set when document `i` is
/// new.
#[must_use]
pub fn entities(event: &Event<'_>, inserted: u64) -> Vec<Entity> {
    let make = |(i, draft): (usize, EntityDraft<'_>)| {
        let change = if inserted & (1 << i) != 0 { Change::Insert } else { Change::Update };
        Entity {
            key: RoutingKey::of_entity(draft.collection, change),
            id: draft.id,
            document: draft.body.document(draft.id),
        }
    };
    drafts(event).into_iter().enumerate().map(make).collect()
}

/// An event with `_id` as its first member, as GHTorrent's consumers expect.
#[must_use]
pub fn event_document(id: ObjectId, event: &str) -> String {
    compose::with_id(id, event, "")
}

/// The documents to be made of an event; none for deletions and removals.
fn drafts<'a>(event: &Event<'a>) -> Vec<EntityDraft<'a>> {
    if !event.payload.is_some_and(json::is_object) {
        return Vec::new();
    }
    let parts = &event.parts;
    let from = EntitySource { event };
    let draft = match event.key.kind.as_str() {
        "PushEvent" => return from.commits(),
        "ForkEvent" => return from.forks(),
        "CreateEvent" => from.created(),
        "WatchEvent" => from.watcher(),
        "MemberEvent" => from.collaborator(),
        "IssuesEvent" => from.member(parts.issue, "issues", "opened"),
        PULL_REQUEST => from.member(parts.pull, "pull_requests", "opened"),
        "IssueCommentEvent" => from.member(parts.comment, "issue_comments", "created"),
        "CommitCommentEvent" => from.member(parts.comment, "commit_comments", "created"),
        "PullRequestReviewCommentEvent" => {
            from.member(parts.comment, "pull_request_comments", "created")
        }
        _ => None,
    };
    draft.into_iter().collect()
}

/// The event that documents are made of.
struct EntitySource<'e, 'a> {
    event: &'e Event<'a>,
}

impl<'a> EntitySource<'_, 'a> {
    fn action(&self) -> Option<Cow<'a, str>> {
        self.event.parts.action.and_then(json::text)
    }

    /// An object of a repository.
    fn bound(&self, object: &'a str, collection: &'static str) -> DocumentBody<'a> {
        DocumentBody::Bound {
            object,
            repo: self.event.parts.repo,
            whole_by: compose::whole_by(collection),
        }
    }

    /// The object in a member of the payload; new when the action is `new_by`.
    fn member(
        &self,
        member: PayloadObject<'a>,
        collection: &'static str,
        new_by: &str,
    ) -> Option<EntityDraft<'a>> {
        let action = self.action();
        let action = action.as_deref();
        if matches!(action, Some("deleted" | "transferred")) {
            return None;
        }
        let (object, id) = member.text().zip(member.id())?;
        // Old comments on commits have no action: all are new.
        let is_new = action.map_or(collection == "commit_comments", |action| action == new_by);
        let body = self.bound(object, collection);
        Some(EntityDraft::new(collection, &id.to_string(), is_new, body))
    }

    fn forks(&self) -> Vec<EntityDraft<'a>> {
        let forkee = self.event.parts.forkee;
        let Some((forkee, id)) = forkee.text().zip(forkee.id()) else { return Vec::new() };
        let (id, repo) = (id.to_string(), self.event.parts.repo);
        let draft = |collection| {
            let body = DocumentBody::Fork { forkee, repo, whole_by: compose::whole_by(collection) };
            EntityDraft::new(collection, &id, true, body)
        };
        ["forks", "repos"].map(draft).into()
    }

    fn watcher(&self) -> Option<EntityDraft<'a>> {
        let parts = &self.event.parts;
        let (who, what) = self.event.actor_id.zip(self.event.repo_id)?;
        let (actor, repo, at) = (parts.actor?, parts.repo, parts.created_at);
        let body = DocumentBody::Watcher { actor, repo, at };
        Some(EntityDraft::new("watchers", &format!("{what} {who}"), true, body))
    }

    fn collaborator(&self) -> Option<EntityDraft<'a>> {
        let action = self.action();
        if action.as_deref() == Some("removed") {
            return None;
        }
        let member = self.event.parts.member;
        let (who, what) = member.id().zip(self.event.repo_id)?;
        let (collection, is_new) = ("repo_collaborators", action.as_deref() == Some("added"));
        let body = self.bound(member.text()?, collection);
        Some(EntityDraft::new(collection, &format!("{what} {who}"), is_new, body))
    }

    fn created(&self) -> Option<EntityDraft<'a>> {
        let parts = &self.event.parts;
        if parts.ref_type.and_then(json::text).as_deref() != Some("repository") {
            return None;
        }
        let id = self.event.repo_id?.to_string();
        let body = DocumentBody::created(parts.repo?, self.event.payload?)?;
        Some(EntityDraft::new("repos", &id, true, body))
    }

    fn commits(&self) -> Vec<EntityDraft<'a>> {
        let commits = self.event.parts.commits.unwrap_or_default();
        let commits = json::items(commits, ENTITIES);
        let draft = |commit: &'a str| {
            let sha = json::text(json::pick(commit, ["sha"])[0]?).filter(|sha| !sha.is_empty())?;
            Some(EntityDraft::new("commits", &sha, true, self.bound(commit, "commits")))
        };
        commits.into_iter().filter_map(draft).collect()
    }
}

#[cfg(test)]
mod tests;
