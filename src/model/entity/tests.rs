use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn documents_of(kind: &str, payload: &str, inserted: u64) -> Vec<(String, Value)> {
    let event = format!(
        r#"{{"id":"1","type":"{kind}","actor":{{"id":7,"login":"ann"}},
        "repo":{{"id":9,"name":"bob/tool","url":"https://x/bob/tool"}},
        "payload":{payload},"created_at":"2026-02-24T21:33:46Z"}}"#
    );
    let event = json::compact(&event);
    let made = entities(&Event::read(&event).unwrap(), inserted).into_iter();
    made.map(|made| {
        assert!(made.document.starts_with(&format!(r#"{{"_id":{{"$oid":"{}"}}"#, made.id)));
        let mut document: Value = serde_json::from_str(&made.document).unwrap();
        document.as_object_mut().unwrap().remove("_id");
        (made.key.to_string(), document)
    })
    .collect()
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

#[test]
fn each_type_makes_the_documents_of_its_payload() {
    let bound = r#""repo":"tool","owner":"bob""#;
    for (kind, payload, key, document) in [
        (
            "WatchEvent",
            r#"{"action":"started"}"#,
            "ent.watchers.insert",
            format!(
                r#"{{"id":7,"login":"ann",{bound},"created_at":"2026-02-24T21:33:46Z",
                "partial":true}}"#
            ),
        ),
        (
            "PullRequestEvent",
            r#"{"action":"opened","pull_request":{"id":3,"number":1,"title":"T"}}"#,
            "ent.pull_requests.insert",
            format!(r#"{{"id":3,"number":1,"title":"T",{bound},"partial":true}}"#),
        ),
        (
            "IssuesEvent",
            r#"{"action":"opened","issue":{"id":3,"title":"T","owner":null}}"#,
            "ent.issues.insert",
            r#"{"id":3,"title":"T","owner":null,"repo":"tool"}"#.to_owned(),
        ),
        (
            "IssueCommentEvent",
            r#"{"action":"created","issue":{},"comment":{"id":4,"body":"B"}}"#,
            "ent.issue_comments.insert",
            format!(r#"{{"id":4,"body":"B",{bound}}}"#),
        ),
        (
            "PullRequestReviewCommentEvent",
            r#"{"action":"created","comment":{"id":5,"body":"B"}}"#,
            "ent.pull_request_comments.insert",
            format!(r#"{{"id":5,"body":"B",{bound},"partial":true}}"#),
        ),
        (
            "CommitCommentEvent",
            r#"{"comment":{"id":5,"body":"B","author_association":"NONE"}}"#,
            "ent.commit_comments.insert",
            format!(r#"{{"id":5,"body":"B","author_association":"NONE",{bound}}}"#),
        ),
        (
            "MemberEvent",
            r#"{"action":"added","member":{"id":8,"login":"eve"}}"#,
            "ent.repo_collaborators.insert",
            format!(r#"{{"id":8,"login":"eve",{bound},"partial":true}}"#),
        ),
        (
            "CreateEvent",
            r#"{"ref":null,"ref_type":"repository","master_branch":"main","description":null}"#,
            "ent.repos.insert",
            r#"{"id":9,"name":"tool","full_name":"bob/tool","owner":{"login":"bob"},
            "url":"https://x/bob/tool","description":null,"default_branch":"main",
            "partial":true}"#
                .to_owned(),
        ),
        (
            "PushEvent",
            r#"{"commits":[{"sha":"c0ffee","message":"M"}]}"#,
            "ent.commits.insert",
            format!(r#"{{"sha":"c0ffee","message":"M",{bound},"partial":true}}"#),
        ),
    ] {
        let made = documents_of(kind, payload, 1);
        assert_eq!(made, [(key.to_owned(), value(&document))], "{kind}");
        let again = documents_of(kind, payload, 0);
        assert_eq!(again[0].0, key.replace("insert", "update"));
    }
}

#[test]
fn a_fork_is_a_fork_and_a_repository() {
    let made = documents_of("ForkEvent", r#"{"forkee":{"id":3,"name":"tool","private":false}}"#, 1);
    let document = value(
        r#"{"id":3,"name":"tool","private":false,"parent":{"id":9,"name":"tool",
        "full_name":"bob/tool","owner":{"login":"bob"},"url":"https://x/bob/tool"},
        "partial":true}"#,
    );
    let keys: Vec<&str> = made.iter().map(|(key, _)| &**key).collect();
    assert_eq!(keys, ["ent.forks.insert", "ent.repos.update"]);
    assert!(made.iter().all(|(_, made)| *made == document));
}

#[test]
fn deletions_and_objects_without_id_make_no_document() {
    for (kind, payload) in [
        ("IssuesEvent", r#"{"action":"deleted","issue":{"id":3}}"#),
        ("IssueCommentEvent", r#"{"action":"deleted","comment":{"id":3}}"#),
        ("MemberEvent", r#"{"action":"removed","member":{"id":8}}"#),
        ("IssuesEvent", r#"{"action":"opened","issue":{"number":3}}"#),
        ("PullRequestEvent", r#"{"action":"opened","pull_request":null}"#),
        ("CreateEvent", r#"{"ref":"repository","ref_type":"branch"}"#),
        ("PushEvent", r#"{"commits":[{"message":"M"},null,7]}"#),
        ("PushEvent", r#"{"ref":"x"}"#),
        ("DeleteEvent", r#"{"ref":"x"}"#),
        ("ReleaseEvent", r#"{"action":"published","release":{"id":1}}"#),
        ("ForkEvent", "[]"),
    ] {
        assert_eq!(documents_of(kind, payload, 1), [], "{kind} {payload}");
    }
}

#[test]
fn other_actions_make_updates() {
    let entity_ref = |payload: &str| {
        let (kind, repo) = ("IssuesEvent", r#"{"id":1,"name":"a/b"}"#);
        let event = format!(r#"{{"type":"{kind}","repo":{repo},"payload":{payload}}}"#);
        entity_refs(&Event::read(&event).unwrap())[0]
    };
    let opened = entity_ref(r#"{"action":"opened","issue":{"id":3}}"#);
    let closed = entity_ref(r#"{"action":"closed","issue":{"id":3}}"#);
    assert!(opened.is_new && !closed.is_new);
    assert_eq!(opened.id, closed.id);
}

#[test]
fn no_event_makes_more_than_the_limit() {
    let commits: Vec<String> = (0..100).map(|n| format!(r#"{{"sha":"{n}"}}"#)).collect();
    let payload = format!(r#"{{"commits":[{}]}}"#, commits.join(","));
    assert_eq!(documents_of("PushEvent", &payload, u64::MAX).len(), ENTITIES);
}

#[test]
fn ids_never_change() {
    assert_eq!(ObjectId::of("PushEvent", "1").to_string(), "2add7c90af659d8e6669be92");
    let document = event_document(ObjectId::from_bytes([1; 12]), r#"{"id":"1"}"#);
    assert_eq!(document, r#"{"_id":{"$oid":"010101010101010101010101"},"id":"1"}"#);
    assert_eq!(ObjectId::from_bytes(ObjectId::of("a", "b").to_bytes()), ObjectId::of("a", "b"));
}

proptest! {
    #[test]
    fn any_payload_makes_json_or_nothing(
        kind in prop::sample::select(vec!["PushEvent", "CreateEvent", "ForkEvent", "IssuesEvent"]),
        name in prop::sample::select(vec!["commits", "issue", "forkee", "ref_type"]),
        value in "(\\{\"id\":1,\"a\":\\[1\\]\\}|\\[\\{\"sha\":\"a\"\\}\\]|\"repository\"|null| \\{ \\})",
    ) {
        documents_of(kind, &format!(r#"{{"{name}":{value}}}"#), 3);
    }
}
