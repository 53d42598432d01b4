//! The pull requests that a query asks for, and what GitHub reports of each.

use std::borrow::Cow;

use super::queried::{AskedBy, ObjectLookup, Queried};
use super::query::{RATE, by_names};
use crate::github::node_id;
use crate::model::json;

/// Maximum number of pull requests in a query; GitHub accepts no more node ids.
pub const MOST_PULLS: usize = 100;
/// The fields of a pull request.
const PULL: &str = "id fullDatabaseId additions deletions changedFiles title isDraft";
/// The fields of its base repository.
const REPO: &str = "databaseId primaryLanguage{name}";

/// A pull request, with all names by which it can be queried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPull {
    /// GitHub's id of its base repository.
    pub base_repo_id: u64,
    /// GitHub's id of the pull request.
    pub pull_id: u64,
    /// `owner/name` of the base repository.
    pub repo: String,
    /// Its number in that repository.
    pub number: u64,
}

/// The details of a pull request; a field missing from the response is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PullDetails {
    /// GitHub's node id.
    pub node_id: Option<String>,
    /// Lines added.
    pub additions: Option<u64>,
    /// Lines deleted.
    pub deletions: Option<u64>,
    /// Files changed.
    pub changed_files: Option<u64>,
    /// The title.
    pub title: Option<String>,
    /// Whether it is a draft.
    pub draft: Option<bool>,
    /// The language of its base repository, as far as it is known.
    pub language: Language,
}

/// The language of a repository, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Language {
    /// Not known.
    #[default]
    Unknown,
    /// The repository has no language.
    Absent,
    /// The name of the language.
    Named(String),
}

/// The result for one pull request.
pub type PullLookup = ObjectLookup<Box<PullDetails>>;

impl Queried for WantedPull {
    type Details = Box<PullDetails>;
    const MOST: usize = MOST_PULLS;

    fn write(form: AskedBy, wanted: &[Self]) -> String {
        match form {
            AskedBy::NodeIds => {
                let ids: Vec<_> = wanted
                    .iter()
                    .map(|one| node_id::of_pull(one.base_repo_id, one.pull_id))
                    .collect();
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

    /// Returns `None` when the value is null, not a pull request, or another one than requested.
    fn details(&self, form: AskedBy, value: &str) -> Option<Box<PullDetails>> {
        let (pull, repo) = match form {
            AskedBy::NodeIds => (value, json::pick(value, ["baseRepository"])[0]),
            AskedBy::Names => (json::pick(value, ["pullRequest"])[0]?, Some(value)),
        };
        let names =
            ["id", "fullDatabaseId", "additions", "deletions", "changedFiles", "title", "isDraft"];
        let [node_id, id, additions, deletions, changed_files, title, draft] =
            json::pick(pull, names);
        let additions = additions.and_then(json::whole)?;
        // A name may meanwhile belong to another repository. GitHub writes the number as a string.
        let id = id.and_then(|id| json::whole(id.trim_matches('"')));
        if id.is_some_and(|id| id != self.pull_id) {
            return None;
        }
        let text = |value: Option<&str>| value.and_then(json::text).map(Cow::into_owned);
        Some(Box::new(PullDetails {
            node_id: text(node_id),
            additions: Some(additions),
            deletions: deletions.and_then(json::whole),
            changed_files: changed_files.and_then(json::whole),
            title: text(title),
            draft: draft.and_then(|draft| draft.parse().ok()),
            language: repo.map(language).unwrap_or_default(),
        }))
    }
}

fn language(repo: &str) -> Language {
    match json::pick(repo, ["primaryLanguage"]) {
        [None] => Language::Unknown,
        [Some(language)] if json::is_object(language) => {
            let name = json::pick(language, ["name"])[0].and_then(json::text);
            name.map_or(Language::Unknown, |name| Language::Named(name.into_owned()))
        }
        [Some(_)] => Language::Absent,
    }
}
