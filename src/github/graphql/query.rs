//! The two query forms. Fields without lists cost nothing, so each query costs one point.

use std::fmt::Write as _;

use super::pull::{AskedBy, WantedPull};
use crate::github::node_id;

/// The fields of a pull request.
const PULL: &str = "id fullDatabaseId additions deletions changedFiles title isDraft";
/// The fields of its base repository.
const REPO: &str = "databaseId primaryLanguage{name}";
/// The fields of our rate limit.
pub(super) const RATE: &str = "rateLimit{cost remaining resetAt}";

/// The alias of repository number `at` in a query by name.
pub(super) fn alias(at: usize) -> String {
    format!("p{at}")
}

/// Writes the request body.
pub(super) fn write(form: AskedBy, wanted: &[WantedPull]) -> String {
    let body = match form {
        AskedBy::NodeIds => {
            let ids: Vec<_> =
                wanted.iter().map(|one| node_id::of_pull(one.base_repo_id, one.pull_id)).collect();
            let query = format!(
                "query($ids:[ID!]!){{{RATE} nodes(ids:$ids){{... on PullRequest{{{PULL} \
                 baseRepository{{{REPO}}}}}}}}}"
            );
            serde_json::json!({ "query": query, "variables": { "ids": ids } })
        }
        AskedBy::Names => {
            let mut query = format!("query{{{RATE}");
            for (at, one) in wanted.iter().enumerate() {
                let (owner, name) = one.repo.split_once('/').unwrap_or(("", &one.repo));
                // JSON strings are valid GraphQL strings.
                let text = |text: &str| serde_json::Value::from(text).to_string();
                let (alias, owner, name) = (alias(at), text(owner), text(name));
                let _ = write!(
                    query,
                    " {alias}:repository(owner:{owner},name:{name}){{{REPO} \
                     pullRequest(number:{}){{{PULL}}}}}",
                    one.number
                );
            }
            query.push('}');
            serde_json::json!({ "query": query })
        }
    };
    body.to_string()
}
