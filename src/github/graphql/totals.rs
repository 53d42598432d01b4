//! Queries the totals of many repositories at once.
//!
//! Repositories are named, because their node ids are not in events; GitHub follows renames. The
//! answer says whose totals they are, so a name that belongs to another repository by now is
//! recognized.

use std::collections::HashMap;

use super::queried::ObjectLookup;
use super::query::{alias, by_names};
use super::response::{Read, read_body};
use crate::github::limits::AUDIT_POINTS;
use crate::model::json;

/// Maximum number of repositories in a query, which then costs [`AUDIT_POINTS`]: a hundredth of the
/// lists in it, of which each repository has four.
pub const MOST_REPOSITORIES: usize = 100;
const _: () = assert!(MOST_REPOSITORIES as u64 * 4 / 100 == AUDIT_POINTS);
/// What is asked for. Forks are counted by their list, because `forkCount` is that of the whole
/// network: forks of forks raise it too, and their events are about the fork.
const TOTALS: &str = "databaseId stargazerCount forks{totalCount} releases{totalCount} \
                      pullRequests{totalCount} issues{totalCount}";

/// The totals of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepositoryCounts {
    /// GitHub's id of it.
    pub repo_id: u64,
    /// Stars.
    pub stars: u32,
    /// Direct forks.
    pub forks: u32,
    /// Published releases.
    pub releases: u32,
    /// Pull requests, open or not.
    pub pull_requests: u32,
    /// Issues, open or not.
    pub issues: u32,
}

/// The result for one repository: unanswered also where this account may not see it.
pub type CountsLookup = ObjectLookup<RepositoryCounts>;

/// Writes the request body.
pub(super) fn write(names: &[String]) -> String {
    by_names(names.iter().map(|name| (&**name, TOTALS.to_owned())))
}

/// Parses a response about this many repositories.
pub(super) fn read(count: usize, body: &[u8]) -> Read<CountsLookup> {
    read_body(body, |data, errors| {
        let members: HashMap<_, _> = json::members(data?).ok()?.into_iter().collect();
        let found = (0..count).map(|at| {
            let value = members.get(alias(at).as_bytes()).copied();
            match value.and_then(counts) {
                Some(counts) => CountsLookup::Found(counts),
                None if errors.says_gone(&alias(at)) => CountsLookup::Gone,
                None => CountsLookup::Unanswered,
            }
        });
        Some(found.collect())
    })
}

/// Returns `None` when the value is null or a total is missing.
fn counts(value: &str) -> Option<RepositoryCounts> {
    let names = ["databaseId", "stargazerCount", "forks", "releases", "pullRequests", "issues"];
    let [id, stars, lists @ ..] = json::pick(value, names);
    let number = |text: &str| json::whole(text).and_then(|number| u32::try_from(number).ok());
    let list = |list: Option<&str>| number(json::pick(list?, ["totalCount"])[0]?);
    let [forks, releases, pull_requests, issues] = lists.map(list);
    Some(RepositoryCounts {
        repo_id: id.and_then(json::whole)?,
        stars: stars.and_then(number)?,
        forks: forks?,
        releases: releases?,
        pull_requests: pull_requests?,
        issues: issues?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::outcome::QueryOutcome;
    use super::*;

    #[test]
    fn each_repository_gets_its_own_result() {
        let list = |n: u32| format!(r#"{{"totalCount":{n}}}"#);
        let whole = format!(
            r#"{{"databaseId":7,"stargazerCount":1,"forks":{},"releases":{},"pullRequests":{},
            "issues":{}}}"#,
            list(2),
            list(3),
            list(4),
            list(5)
        );
        let body = format!(
            r#"{{"data":{{"rateLimit":{{"cost":3,"remaining":9,"resetAt":"2027-01-01T00:00:00Z"}},
            "p0":{whole},"p1":null,"p2":null,"p3":{{"databaseId":8}}}},"errors":[
            {{"type":"NOT_FOUND","path":["p1"],"message":"no"}},
            {{"type":"FORBIDDEN","path":["p2"],"message":"no"}}]}}"#
        );
        let read = read(5, body.as_bytes());
        let Ok(QueryOutcome::Answered(found)) = read.answer else { panic!() };
        let counts = RepositoryCounts {
            repo_id: 7,
            stars: 1,
            forks: 2,
            releases: 3,
            pull_requests: 4,
            issues: 5,
        };
        let not = CountsLookup::Unanswered;
        let whole = CountsLookup::Found(counts);
        assert_eq!(found, [whole, CountsLookup::Gone, not.clone(), not.clone(), not]);
        let rate = read.rate.unwrap();
        assert_eq!((rate.remaining, rate.cost), (9, Some(3)));
    }

    #[test]
    fn names_are_written_as_strings() {
        let body = write(&["a/b".to_owned(), r#"x"/y"#.to_owned()]);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let query = body["query"].as_str().unwrap();
        assert!(query.contains(r#"p0:repository(owner:"a",name:"b"){databaseId"#), "{query}");
        assert!(query.contains(r#"p1:repository(owner:"x\"",name:"y")"#), "{query}");
    }
}
