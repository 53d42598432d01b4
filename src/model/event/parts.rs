//! All parts of an event that any module uses, found in one pass over its text.
//!
//! Parts are slices of the event, and `None` when they are missing. Their meaning is up to
//! [`super::super::missing_fields`] and [`super::super::entity`].

use crate::model::json;

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

/// Makes [`EventParts`] from one row per part: its field, and its path in the event.
macro_rules! parts {
    (
        parts { $($part:ident: $($name:literal).+;)+ }
        objects { $($object:ident: $($inside:literal).+;)+ }
    ) => {
        /// The parts of an event, as text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(in crate::model) struct EventParts<'a> {
            $(pub(in crate::model) $part: Option<&'a str>,)+
            $(pub(in crate::model) $object: PayloadObject<'a>,)+
            /// Whether the event has no white space between its tokens.
            pub(in crate::model) is_compact: bool,
        }

        /// The paths of the parts; of an object, also that of its id.
        const PATHS: [&[&str]; [$(stringify!($part),)+ $(stringify!($object), "id",)+].len()] =
            [$(&[$($name),+],)+ $(&[$($inside),+], &[$($inside,)+ "id"],)+];

        impl<'a> EventParts<'a> {
            /// Finds the parts of an event; none when it is not an object.
            pub(super) fn read(event: &'a str) -> Self {
                let json::FoundValues { values, is_compact } = json::find(event, PATHS);
                let mut values = values.into_iter();
                let mut next = || values.next().flatten();
                // The fields are evaluated in this order, which is that of the paths.
                Self {
                    $($part: next(),)+
                    $($object: PayloadObject { text: next(), id: next() },)+
                    is_compact,
                }
            }
        }
    };
}

parts! {
    parts {
        id: "id";
        kind: "type";
        actor: "actor";
        actor_id: "actor"."id";
        actor_login: "actor"."login";
        repo: "repo";
        repo_id: "repo"."id";
        repo_name: "repo"."name";
        org_login: "org"."login";
        created_at: "created_at";
        payload: "payload";
        action: "payload"."action";
        ref_type: "payload"."ref_type";
        commits: "payload"."commits";
        number: "payload"."pull_request"."number";
        merged: "payload"."pull_request"."merged";
        additions: "payload"."pull_request"."additions";
        deletions: "payload"."pull_request"."deletions";
        changed_files: "payload"."pull_request"."changed_files";
        title: "payload"."pull_request"."title";
        draft: "payload"."pull_request"."draft";
        base_language: "payload"."pull_request"."base"."repo"."language";
    }
    objects {
        issue: "payload"."issue";
        comment: "payload"."comment";
        member: "payload"."member";
        forkee: "payload"."forkee";
        pull: "payload"."pull_request";
        base_repo: "payload"."pull_request"."base"."repo";
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
        said(parts.action, "payload.action");
        said(parts.ref_type, "payload.ref_type");
        said(parts.commits, "payload.commits");
        said(parts.issue.id, "payload.issue.id");
        said(parts.comment.id, "payload.comment.id");
        said(parts.member.id, "payload.member.id");
        said(parts.forkee.id, "payload.forkee.id");
        said(parts.pull.id, "payload.pull_request.id");
        said(parts.number, "payload.pull_request.number");
        said(parts.merged, "payload.pull_request.merged");
        said(parts.additions, "payload.pull_request.additions");
        said(parts.deletions, "payload.pull_request.deletions");
        said(parts.changed_files, "payload.pull_request.changed_files");
        said(parts.title, "payload.pull_request.title");
        said(parts.draft, "payload.pull_request.draft");
        said(parts.base_repo.id, "payload.pull_request.base.repo.id");
        said(parts.base_language, "payload.pull_request.base.repo.language");
        for (object, path) in [
            (parts.actor, &["actor"][..]),
            (parts.repo, &["repo"]),
            (parts.payload, &["payload"]),
            (parts.issue.text(), &["payload", "issue"]),
            (parts.comment.text(), &["payload", "comment"]),
            (parts.member.text(), &["payload", "member"]),
            (parts.forkee.text(), &["payload", "forkee"]),
            (parts.pull.text(), &["payload", "pull_request"]),
            (parts.base_repo.text(), &["payload", "pull_request", "base", "repo"]),
        ] {
            assert_eq!(object, json::at(&text, path), "{path:?}");
            assert!(object.is_some());
        }
        assert!(parts.is_compact);
    }
}
