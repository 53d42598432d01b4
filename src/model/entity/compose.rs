//! Writes documents: GitHub's object unchanged, with a few members around it.

use std::borrow::Cow;

use super::id::ObjectId;
use crate::model::json;

/// The content of a document.
#[derive(Debug, Clone)]
pub(super) enum DocumentBody<'a> {
    /// An object of a repository. `repo` and `owner` are added, as GHTorrent had them, unless the
    /// object has members of these names.
    Bound { object: &'a str, repo: Option<&'a str>, whole_by: Option<&'static str> },
    /// A fork, with the repository that it was forked from.
    Fork { forkee: &'a str, repo: Option<&'a str>, whole_by: Option<&'static str> },
    /// The user who starred a repository, and the time.
    Watcher { actor: &'a str, repo: Option<&'a str>, at: Option<&'a str> },
    /// A repository of which only the creation is known: its members, each after a comma.
    Created { members: String },
}

/// The member that tells GitHub's whole object of a collection from a trimmed one; `None` when an
/// event never has the whole object.
pub(super) fn whole_by(collection: &str) -> Option<&'static str> {
    match collection {
        "issues" => Some("title"),
        "issue_comments" => Some("body"),
        "pull_requests" => Some("commits"),
        "pull_request_comments" | "commit_comments" => Some("author_association"),
        "repos" | "forks" => Some("subscribers_count"),
        _ => None,
    }
}

/// An object with `_id` before its members and `behind` after them.
pub(super) fn with_id(id: ObjectId, object: &str, behind: &str) -> String {
    const AROUND: usize = 48;
    let inside = object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let inside = inside.unwrap_or_default().trim();
    let comma = if inside.is_empty() { "" } else { "," };
    let mut out = String::with_capacity(inside.len() + behind.len() + AROUND);
    out.push_str("{\"_id\":{\"$oid\":\"");
    out.push_str(&id.to_string());
    out.extend(["\"}", comma, inside, behind, "}"]);
    out
}

impl DocumentBody<'_> {
    /// A repository of which only the creation is known; `None` when the event does not name it.
    pub(super) fn created(repo: &str, payload: &str) -> Option<Self> {
        let mut members = repository(repo)?;
        let [description, branch] = json::pick(payload, ["description", "master_branch"]);
        for (name, value) in [("description", description), ("default_branch", branch)] {
            if let Some(value) = value {
                members.extend([",\"", name, "\":", value]);
            }
        }
        members.push_str(PARTIAL);
        Some(Self::Created { members })
    }

    pub(super) fn document(&self, id: ObjectId) -> String {
        let (object, behind) = match *self {
            Self::Bound { object, repo, whole_by } => {
                (object, behind_bound(object, repo, whole_by))
            }
            Self::Fork { forkee, repo, whole_by } => (forkee, behind_fork(forkee, repo, whole_by)),
            Self::Watcher { actor, repo, at } => (actor, behind_watcher(actor, repo, at)),
            Self::Created { ref members } => ("{}", members.clone()),
        };
        with_id(id, object, &behind)
    }
}

/// The members to append to an object of a repository, each after a comma.
fn behind_bound(object: &str, repo: Option<&str>, whole_by: Option<&str>) -> String {
    let mut behind = String::new();
    let [has_repo, has_owner] = json::pick(object, ["repo", "owner"]).map(|v| v.is_some());
    if let Some(full) = repo.and_then(full_name)
        && let Some((owner, name)) = full.split_once('/')
    {
        if !has_repo {
            push_text(&mut behind, "repo", name);
        }
        if !has_owner {
            push_text(&mut behind, "owner", owner);
        }
    }
    push_partial(&mut behind, object, whole_by);
    behind
}

/// The members to append to a fork.
fn behind_fork(forkee: &str, repo: Option<&str>, whole_by: Option<&str>) -> String {
    let mut behind = String::new();
    let is_without = json::pick(forkee, ["parent"])[0].is_none();
    if let Some(parent) = repo.and_then(repository).filter(|_| is_without) {
        behind.push_str(",\"parent\":{");
        behind.push_str(parent.strip_prefix(',').unwrap_or(&parent));
        behind.push('}');
    }
    push_partial(&mut behind, forkee, whole_by);
    behind
}

/// The members to append to the user who starred a repository.
fn behind_watcher(actor: &str, repo: Option<&str>, at: Option<&str>) -> String {
    let mut behind = behind_bound(actor, repo, None);
    if let Some(at) = at.filter(|at| at.starts_with('"')) {
        let partial = behind.len() - PARTIAL.len();
        behind.insert_str(partial, &format!(",\"created_at\":{at}"));
    }
    behind
}

const PARTIAL: &str = ",\"partial\":true";

fn push_partial(behind: &mut String, object: &str, whole_by: Option<&str>) {
    let is_whole = whole_by.is_some_and(|name| json::pick(object, [name])[0].is_some());
    if !is_whole {
        behind.push_str(PARTIAL);
    }
}

/// The event's `repo` with the member names of GitHub's repository, where `name` has no owner.
fn repository(repo: &str) -> Option<String> {
    let [id, url] = json::pick(repo, ["id", "url"]);
    let full = full_name(repo)?;
    let (owner, name) = full.split_once('/')?;
    let mut out = format!(",\"id\":{}", id?);
    push_text(&mut out, "name", name);
    push_text(&mut out, "full_name", &full);
    out.push_str(",\"owner\":{\"login\":");
    json::push_text(&mut out, owner);
    out.push('}');
    if let Some(url) = url {
        out.extend([",\"url\":", url]);
    }
    Some(out)
}

fn full_name(repo: &str) -> Option<Cow<'_, str>> {
    json::text(json::pick(repo, ["name"])[0]?)
}

fn push_text(out: &mut String, name: &str, text: &str) {
    out.extend([",\"", name, "\":"]);
    json::push_text(out, text);
}
