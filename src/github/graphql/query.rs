//! Writes queries. Fields without lists cost nothing, so a query for pull requests costs one point.

use std::fmt::Write as _;

use super::pull::{AskedBy, WantedPull};
use crate::github::node_id;

/// The fields of a pull request.
const PULL: &str = "id fullDatabaseId additions deletions changedFiles title isDraft";
/// The fields of its base repository.
const REPO: &str = "databaseId primaryLanguage{name}";
/// The fields of our rate limit.
const RATE: &str = "rateLimit{cost remaining resetAt}";

/// The alias of repository number `at` in a query by name.
pub(super) fn alias(at: usize) -> String {
    format!("p{at}")
}

/// A GraphQL string: every JSON string is one.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The request body that asks for repositories by name: `owner/name` and the fields of each.
pub(super) fn by_names<'a>(repositories: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut query = format!("query{{{RATE}");
    for (at, (repo, fields)) in repositories.enumerate() {
        let (owner, name) = repo.split_once('/').unwrap_or(("", repo));
        let (alias, owner, name) = (alias(at), quoted(owner), quoted(name));
        let _ = write!(query, " {alias}:repository(owner:{owner},name:{name}){{{fields}}}");
    }
    query.push('}');
    serde_json::json!({ "query": query }).to_string()
}

/// The request body that asks for pull requests.
pub(super) fn write(form: AskedBy, wanted: &[WantedPull]) -> String {
    match form {
        AskedBy::NodeIds => {
            let ids: Vec<_> =
                wanted.iter().map(|one| node_id::of_pull(one.base_repo_id, one.pull_id)).collect();
            let query = format!(
                "query($ids:[ID!]!){{{RATE} nodes(ids:$ids){{... on PullRequest{{{PULL} \
                 baseRepository{{{REPO}}}}}}}}}"
            );
            serde_json::json!({ "query": query, "variables": { "ids": ids } }).to_string()
        }
        AskedBy::Names => by_names(wanted.iter().map(|one| {
            let fields = format!("{REPO} pullRequest(number:{}){{{PULL}}}", one.number);
            (&*one.repo, fields)
        })),
    }
}
