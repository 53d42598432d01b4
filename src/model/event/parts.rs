//! All parts of an event that any module uses, found in one pass over its text.
//!
//! Parts are slices of the event, and `None` when they are missing. Their meaning is up to
//! [`super::super::missing_fields`] and [`super::super::entity`].

use crate::model::json;

/// The parts of an event, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct EventParts<'a> {
    pub(in crate::model) id: Option<&'a str>,
    pub(in crate::model) kind: Option<&'a str>,
    pub(in crate::model) actor: Option<&'a str>,
    pub(in crate::model) actor_id: Option<&'a str>,
    pub(in crate::model) actor_login: Option<&'a str>,
    pub(in crate::model) repo: Option<&'a str>,
    pub(in crate::model) repo_id: Option<&'a str>,
    pub(in crate::model) repo_name: Option<&'a str>,
    pub(in crate::model) org_login: Option<&'a str>,
    pub(in crate::model) created_at: Option<&'a str>,
    pub(in crate::model) payload: Option<&'a str>,
    pub(in crate::model) inside: PayloadParts<'a>,
    /// Whether the event has no white space between its tokens.
    pub(in crate::model) is_compact: bool,
}

/// The parts of the payload, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct PayloadParts<'a> {
    pub(in crate::model) action: Option<&'a str>,
    pub(in crate::model) ref_type: Option<&'a str>,
    pub(in crate::model) commits: Option<&'a str>,
    pub(in crate::model) issue: PayloadObject<'a>,
    pub(in crate::model) comment: PayloadObject<'a>,
    pub(in crate::model) member: PayloadObject<'a>,
    pub(in crate::model) forkee: PayloadObject<'a>,
    pub(in crate::model) forkee_language: Option<&'a str>,
    pub(in crate::model) pull: PayloadObject<'a>,
    pub(in crate::model) number: Option<&'a str>,
    pub(in crate::model) merged: Option<&'a str>,
    pub(in crate::model) additions: Option<&'a str>,
    pub(in crate::model) deletions: Option<&'a str>,
    pub(in crate::model) changed_files: Option<&'a str>,
    pub(in crate::model) title: Option<&'a str>,
    pub(in crate::model) draft: Option<&'a str>,
    pub(in crate::model) base_repo: PayloadObject<'a>,
    pub(in crate::model) base_language: Option<&'a str>,
}

/// A member of the payload that is, or should be, an object with an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct PayloadObject<'a> {
    text: Option<&'a str>,
    id: Option<&'a str>,
}

impl<'a> PayloadObject<'a> {
    /// Its text, when it is an object.
    pub(in crate::model) fn text(self) -> Option<&'a str> {
        self.text.filter(|text| json::is_object(text))
    }

    /// Its `id`, when that is a whole number.
    pub(in crate::model) fn id(self) -> Option<u64> {
        self.id.and_then(json::whole)
    }
}

/// The paths of the parts, in the order in which [`EventParts::read`] uses them.
const PATHS: [&[&str]; 35] = [
    &["id"],
    &["type"],
    &["actor"],
    &["actor", "id"],
    &["actor", "login"],
    &["repo"],
    &["repo", "id"],
    &["repo", "name"],
    &["org", "login"],
    &["created_at"],
    &["payload"],
    &["payload", "action"],
    &["payload", "ref_type"],
    &["payload", "commits"],
    &["payload", "issue"],
    &["payload", "issue", "id"],
    &["payload", "comment"],
    &["payload", "comment", "id"],
    &["payload", "member"],
    &["payload", "member", "id"],
    &["payload", "forkee"],
    &["payload", "forkee", "id"],
    &["payload", "forkee", "language"],
    &["payload", "pull_request"],
    &["payload", "pull_request", "id"],
    &["payload", "pull_request", "number"],
    &["payload", "pull_request", "merged"],
    &["payload", "pull_request", "additions"],
    &["payload", "pull_request", "deletions"],
    &["payload", "pull_request", "changed_files"],
    &["payload", "pull_request", "title"],
    &["payload", "pull_request", "draft"],
    &["payload", "pull_request", "base", "repo"],
    &["payload", "pull_request", "base", "repo", "id"],
    &["payload", "pull_request", "base", "repo", "language"],
];

impl<'a> EventParts<'a> {
    /// Finds the parts of an event; none when it is not an object.
    pub(super) fn read(event: &'a str) -> Self {
        let json::FoundValues { values, is_compact } = json::find(event, PATHS);
        let [id, kind, actor, actor_id, actor_login, values @ ..] = values;
        let [repo, repo_id, repo_name, org_login, created_at, payload, values @ ..] = values;
        let inside = PayloadParts::named(&values);
        Self {
            id,
            kind,
            actor,
            actor_id,
            actor_login,
            repo,
            repo_id,
            repo_name,
            org_login,
            created_at,
            payload,
            inside,
            is_compact,
        }
    }
}

impl<'a> PayloadParts<'a> {
    fn named(values: &[Option<&'a str>; 24]) -> Self {
        let &[action, ref_type, commits, ref values @ ..] = values;
        let &[issue, issue_id, comment, comment_id, member, member_id, ref values @ ..] = values;
        let &[forkee, forkee_id, forkee_language, pull, pull_id, ref values @ ..] = values;
        let &[number, merged, additions, deletions, changed_files, title, draft, ref base @ ..] =
            values;
        let &[base_repo, base_repo_id, base_language] = base;
        let object = |text, id| PayloadObject { text, id };
        Self {
            action,
            ref_type,
            commits,
            issue: object(issue, issue_id),
            comment: object(comment, comment_id),
            member: object(member, member_id),
            forkee: object(forkee, forkee_id),
            forkee_language,
            pull: object(pull, pull_id),
            number,
            merged,
            additions,
            deletions,
            changed_files,
            title,
            draft,
            base_repo: object(base_repo, base_repo_id),
            base_language,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_found_at_its_path() {
        // Each value is its own path, so that a mix-up shows.
        let mut event = serde_json::json!({});
        for path in PATHS {
            let mut place = &mut event;
            for name in path {
                place = &mut place[name];
            }
            if place.is_null() && !PATHS.iter().any(|p| p.len() > path.len() && p.starts_with(path))
            {
                *place = path.join(".").into();
            }
        }
        let text = event.to_string();
        let parts = EventParts::read(&text);
        let said = |value: Option<&str>, path: &str| {
            assert_eq!(value.and_then(json::text).as_deref(), Some(path));
        };
        said(parts.id, "id");
        said(parts.kind, "type");
        said(parts.actor_id, "actor.id");
        said(parts.actor_login, "actor.login");
        said(parts.repo_id, "repo.id");
        said(parts.repo_name, "repo.name");
        said(parts.org_login, "org.login");
        said(parts.created_at, "created_at");
        let inside = parts.inside;
        said(inside.action, "payload.action");
        said(inside.ref_type, "payload.ref_type");
        said(inside.commits, "payload.commits");
        said(inside.issue.id, "payload.issue.id");
        said(inside.comment.id, "payload.comment.id");
        said(inside.member.id, "payload.member.id");
        said(inside.forkee.id, "payload.forkee.id");
        said(inside.forkee_language, "payload.forkee.language");
        said(inside.pull.id, "payload.pull_request.id");
        said(inside.number, "payload.pull_request.number");
        said(inside.merged, "payload.pull_request.merged");
        said(inside.additions, "payload.pull_request.additions");
        said(inside.deletions, "payload.pull_request.deletions");
        said(inside.changed_files, "payload.pull_request.changed_files");
        said(inside.title, "payload.pull_request.title");
        said(inside.draft, "payload.pull_request.draft");
        said(inside.base_repo.id, "payload.pull_request.base.repo.id");
        said(inside.base_language, "payload.pull_request.base.repo.language");
        for (object, path) in [
            (parts.actor, &["actor"][..]),
            (parts.repo, &["repo"]),
            (parts.payload, &["payload"]),
            (inside.issue.text(), &["payload", "issue"]),
            (inside.comment.text(), &["payload", "comment"]),
            (inside.member.text(), &["payload", "member"]),
            (inside.forkee.text(), &["payload", "forkee"]),
            (inside.pull.text(), &["payload", "pull_request"]),
            (inside.base_repo.text(), &["payload", "pull_request", "base", "repo"]),
        ] {
            assert_eq!(object, json::at(&text, path), "{path:?}");
            assert!(object.is_some());
        }
        assert!(parts.is_compact);
    }
}
