//! Queries the commits of many pushes at once.
//!
//! GitHub's GraphQL cannot compare two commits. It is asked for the newest commits of the history
//! of both, and how many each has; what only the new one has is the push. Each push has two lists,
//! so a full query costs one point.

use std::borrow::Cow;
use std::collections::HashSet;

use super::push_range::{HistoryCommit, HistoryPart, PushRange};
use super::queried::{AskedBy, ObjectLookup, Queried};
use super::query::{by_names, quoted};
use crate::model::json;
use crate::model::push::{MOST_COMMITS, PushedCommit, is_sha};
use crate::model::window::Timestamp;

/// Maximum number of pushes in a query: as many as cost one point would be 50, but the messages of
/// their commits make a response large.
const MOST_PUSHES: usize = 25;
/// Commits of each history that are read.
const HISTORY: usize = 50;
const _: () = assert!(2 * MOST_PUSHES <= 100 && HISTORY <= 100 && MOST_COMMITS <= HISTORY);

/// A push whose commits are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPush {
    /// GitHub's id of its repository.
    pub repo_id: u64,
    /// `owner/name` of the repository.
    pub repo: String,
    /// The API's URL of the repository.
    pub repo_url: Option<String>,
    /// The hash of the newest commit.
    pub head: String,
    /// The hash of the commit that was the newest before.
    pub before: String,
}

/// The commits of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushDetails {
    /// Number of commits; `None` when it is not known.
    pub size: Option<u64>,
    /// Up to [`MOST_COMMITS`] of them, oldest first: the oldest of the push, or, when it is not
    /// known whole, the newest.
    pub commits: Vec<PushedCommit>,
    /// Whether all commits of the push are known.
    pub is_whole: bool,
}

/// The result for one push.
pub type PushLookup = ObjectLookup<PushDetails>;

impl Queried for WantedPush {
    type Details = PushDetails;
    const MOST: usize = MOST_PUSHES;

    /// Pushes have no node ids, so they are always asked for by name.
    fn write(_: AskedBy, wanted: &[Self]) -> String {
        let object = |name: &str, oid: &str, fields: &str| {
            let oid = quoted(oid);
            format!(
                " {name}:object(oid:{oid}){{... on Commit{{history(first:{HISTORY}){{totalCount \
                 nodes{{{fields}}}}}}}}}"
            )
        };
        by_names(wanted.iter().map(|one| {
            let head = object("head", &one.head, "oid committedDate message author{name email}");
            let before = object("before", &one.before, "oid committedDate");
            (&*one.repo, format!("databaseId{head}{before}"))
        }))
    }

    /// Returns `None` when the value is null, of another repository, one of the commits is missing,
    /// or nothing of the push is known.
    fn details(&self, _: AskedBy, value: &str) -> Option<PushDetails> {
        let [id, head, before] = json::pick(value, ["databaseId", "head", "before"]);
        if id.and_then(json::whole).is_some_and(|id| id != self.repo_id) {
            return None;
        }
        let head = history(head?, &self.head)?;
        let before = history(before?, &self.before)?;
        let PushRange { size, mut commits, is_whole } = PushRange::of(&head, &before);
        if size.is_none() && commits.is_empty() {
            return None;
        }
        if !is_whole {
            commits.truncate(MOST_COMMITS);
        }
        let commits = commits.iter().rev().take(MOST_COMMITS);
        let commits = commits.filter_map(|at| head.commits.get(*at)).map(commit).collect();
        Some(PushDetails { size, commits, is_whole })
    }
}

/// The history of a commit, which is the first in it.
fn history<'a>(object: &'a str, oid: &str) -> Option<HistoryPart<'a>> {
    let [total, nodes] = json::pick(json::pick(object, ["history"])[0]?, ["totalCount", "nodes"]);
    let total = total.and_then(json::whole)?;
    let mut commits = Vec::new();
    let mut seen = HashSet::new();
    for node in json::items(nodes?, HISTORY) {
        let [own, at] = json::pick(node, ["oid", "committedDate"]);
        let own = json::text(own?).filter(|own| is_sha(own))?;
        if !seen.insert(own.clone()) {
            return None;
        }
        let at = Timestamp::parse(&json::text(at?)?)?;
        commits.push(HistoryCommit { oid: own, at, node });
    }
    let is_of = commits.first().is_some_and(|first| *first.oid == *oid);
    (is_of && commits.len() as u64 <= total).then_some(HistoryPart { total, commits })
}

fn commit(commit: &HistoryCommit<'_>) -> PushedCommit {
    let [message, author] = json::pick(commit.node, ["message", "author"]);
    let [name, email] = author.map_or([None; 2], |author| json::pick(author, ["name", "email"]));
    let text = |value: Option<&str>| value.and_then(json::shown).map(Cow::into_owned);
    PushedCommit {
        sha: commit.oid.clone().into_owned(),
        name: text(name),
        email: text(email),
        message: text(message),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::outcome::QueryOutcome;
    use super::super::response::read;
    use super::*;

    fn sha(n: usize) -> String {
        format!("{n:040x}")
    }

    fn wanted(head: usize, before: usize) -> WantedPush {
        let (head, before) = (sha(head), sha(before));
        WantedPush { repo_id: 7, repo: "o/n".to_owned(), repo_url: None, head, before }
    }

    /// A history of commits `first`, `first - 1`, …, of which there are `first` in all.
    fn history(first: usize) -> Value {
        let node = |n: usize| {
            json!({
                "oid": sha(n), "committedDate": format!("2026-01-01T00:{:02}:{:02}Z", n / 60, n % 60),
                "message": format!("Commit {n}"), "author": {"name": "A", "email": "a@b.org"},
            })
        };
        let nodes: Vec<Value> = (1..=first).rev().take(HISTORY).map(node).collect();
        json!({"history": {"totalCount": first, "nodes": nodes}})
    }

    fn found(wanted: &[WantedPush], body: &Value) -> Vec<PushLookup> {
        match read(AskedBy::Names, wanted, body.to_string().as_bytes()).answer {
            Ok(QueryOutcome::Answered(found)) => found,
            _ => panic!("{body}"),
        }
    }

    fn one(wanted: &WantedPush, value: &Value) -> PushLookup {
        found(std::slice::from_ref(wanted), &json!({"data": {"p0": value}})).remove(0)
    }

    fn pushed(head: usize, before: usize) -> PushDetails {
        let value = json!({"databaseId": 7, "head": history(head), "before": history(before)});
        match one(&wanted(head, before), &value) {
            PushLookup::Found(details) => details,
            other => panic!("{other:?}"),
        }
    }

    fn messages(details: &PushDetails) -> Vec<&str> {
        details.commits.iter().map(|commit| commit.message.as_deref().unwrap()).collect()
    }

    #[test]
    fn query_names_both_commits() {
        let body: Value =
            serde_json::from_str(&WantedPush::write(AskedBy::Names, &[wanted(2, 1)])).unwrap();
        let query = body["query"].as_str().unwrap();
        let head = format!("head:object(oid:\"{}\"){{... on Commit{{history(first:50)", sha(2));
        assert!(query.contains(r#"p0:repository(owner:"o",name:"n"){databaseId"#), "{query}");
        assert!(query.contains(&head) && query.contains(&sha(1)), "{query}");
    }

    #[test]
    fn commits_of_a_push_come_oldest_first() {
        let details = pushed(103, 100);
        assert_eq!((details.size, details.is_whole), (Some(3), true));
        assert_eq!(messages(&details), ["Commit 101", "Commit 102", "Commit 103"]);
        assert_eq!(details.commits[0].email.as_deref(), Some("a@b.org"));
        let details = pushed(130, 100);
        assert_eq!((details.size, details.commits.len()), (Some(30), 20));
        assert_eq!(messages(&details)[0], "Commit 101", "the oldest, as GitHub did");
    }

    #[test]
    fn larger_push_than_can_be_read_has_no_size() {
        let details = pushed(200, 100);
        assert_eq!((details.size, details.is_whole), (None, false));
        assert_eq!(messages(&details)[19], "Commit 200");
        let details = pushed(100, 103);
        assert_eq!((details.size, details.is_whole), (Some(0), true), "the branch was set back");
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let (all, good) = (vec![wanted(2, 1); 6], history(2));
        let value = |id, head: &Value, before: &Value| json!({"databaseId": id, "head": head, "before": before});
        let body = json!({
            "data": {
                "p0": null, "p1": value(7, &Value::Null, &history(1)),
                "p2": value(8, &good, &history(1)), "p3": value(7, &good, &history(3)),
                "p4": null, "p5": value(7, &good, &history(1)),
            },
            "errors": [
                {"type": "NOT_FOUND", "path": ["p0"], "message": "no"},
                {"type": "FORBIDDEN", "path": ["p4"], "message": "SAML"},
            ],
        });
        let found = found(&all, &body);
        assert_eq!(found[..4], vec![PushLookup::Gone; 4]);
        assert_eq!(found[4], PushLookup::Forbidden("SAML".to_owned()));
        assert!(matches!(found[5], PushLookup::Found(_)));
    }

    #[test]
    fn odd_answers_cost_only_themselves() {
        let good = || json!({"databaseId": 7, "head": history(2), "before": history(1)});
        for (path, odd) in [
            ("/head/history/totalCount", json!(1)),
            ("/head/history/totalCount", json!(-1)),
            ("/head/history/nodes", json!({})),
            ("/head/history/nodes/0/oid", json!("x")),
            ("/head/history/nodes/1/oid", json!(sha(2))),
            ("/before/history/nodes/0/committedDate", json!("yesterday")),
            ("/before", json!([])),
        ] {
            let mut value = good();
            *value.pointer_mut(path).unwrap() = odd;
            assert_eq!(one(&wanted(2, 1), &value), PushLookup::Gone, "{path}");
        }
        for (path, odd) in [
            ("/head/history/nodes/0/message", json!([])),
            ("/head/history/nodes/0/author", Value::Null),
        ] {
            let mut value = good();
            *value.pointer_mut(path).unwrap() = odd;
            let PushLookup::Found(details) = one(&wanted(2, 1), &value) else { panic!("{path}") };
            assert!(details.is_whole, "{path}");
        }
    }
}
