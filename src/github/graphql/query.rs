//! Writes queries. Fields without lists cost nothing.

use std::fmt::Write as _;

/// The fields of our rate limit.
pub(super) const RATE: &str = "rateLimit{cost remaining resetAt}";

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
