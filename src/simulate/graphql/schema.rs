//! The schema: the fields of each type, and their values. A field that GitHub does not have is an
//! error, so that a client requesting one fails here rather than at GitHub.

use serde_json::{Map, Value, json};

use super::super::cast::Repository;
use super::super::commits::CommitGraph;
use super::super::known::{QueriedWorld, node};
use super::super::payloads::time;
use super::super::pulls::SimulatedPull;
use super::super::totals::{RepositoryTotal, RepositoryTotals};
use super::fields::{no_field, object, scalar};
use super::language::Field;
use super::objects;

/// Maximum number of ids in one call of `nodes`.
const MOST_IDS: usize = 100;

/// The inputs of a response.
pub(super) struct QueryAnswering<'a> {
    pub(super) known: &'a QueriedWorld,
    /// `rateLimit`: cost, remaining, resetAt.
    pub(super) rate: Value,
    /// Node ids are refused, and those in responses differ: GitHub changed them.
    pub(super) foreign_ids: bool,
    /// Which of the requested objects, in order, the response leaves out, and why.
    pub(super) left_out: &'a dyn Fn(usize) -> Option<QueryTrouble>,
}

/// Why an object is left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum QueryTrouble {
    Gone,
    Forbidden,
    TooMuch,
}

/// What a query asks for by the name of a repository.
enum NamedObject<'a> {
    Pull(&'a SimulatedPull),
    Commits(&'a CommitGraph),
    Totals(&'a RepositoryTotals),
}

/// Data and errors.
pub(super) type SchemaAnswer = (Map<String, Value>, Vec<Value>);

/// Number of objects that a query requests.
pub(super) fn count(fields: &[Field]) -> usize {
    let of = |field: &Field| match field.name.as_str() {
        "nodes" => field.argument("ids").as_array().map_or(0, Vec::len),
        "repository" => 1,
        _ => 0,
    };
    fields.iter().map(of).sum()
}

/// Points that a query costs: a hundredth of the requests that its lists need, at least one. A list
/// in a list needs one for each entry. GitHub documents this; that a list without `first` needs one
/// is an assumption.
pub(super) fn cost(fields: &[Field]) -> u32 {
    let requests: u64 = fields.iter().map(|field| requests(field, 1)).sum();
    u32::try_from(requests.div_ceil(100)).unwrap_or(u32::MAX).max(1)
}

/// Requests that the lists in a field need, when the field occurs this often.
fn requests(field: &Field, times: u64) -> u64 {
    let is_list =
        ["forks", "releases", "pullRequests", "issues", "history"].contains(&&*field.name);
    let entries = if is_list { field.argument("first").as_u64().unwrap_or(1) } else { 1 };
    let inside = |field| requests(field, times.saturating_mul(entries));
    field.fields.iter().map(inside).fold(if is_list { times } else { 0 }, u64::saturating_add)
}

impl QueryAnswering<'_> {
    /// Answers a query; the error is a message when it requests something that does not exist.
    pub(super) fn answer(&self, fields: &[Field]) -> Result<SchemaAnswer, String> {
        let (mut data, mut errors) = (Map::new(), Vec::new());
        let mut asked = 0;
        for field in fields {
            let value = match field.name.as_str() {
                "rateLimit" => {
                    object(field, "RateLimit", |field| Ok(self.rate.get(&field.name).cloned()))?
                }
                "nodes" => {
                    let ids = field.argument("ids").as_array().cloned().unwrap_or_default();
                    if ids.len() > MOST_IDS {
                        return Err(format!("You may not provide more than {MOST_IDS} node ids"));
                    }
                    let mut nodes = Vec::with_capacity(ids.len());
                    for (at, id) in ids.iter().enumerate() {
                        let path = json!([field.alias, at]);
                        let pull = self.known.node(id.as_str().unwrap_or_default());
                        let pull = pull.filter(|_| !self.foreign_ids);
                        let what = "Could not resolve to a node with the global id of";
                        let missing = format!("{what} '{}'", id.as_str().unwrap_or_default());
                        let pull = self.unless_left_out(asked, pull, &path, &missing, &mut errors);
                        asked += 1;
                        nodes.push(pull.map_or(Ok(Value::Null), |pull| self.pull(pull, field))?);
                    }
                    Value::Array(nodes)
                }
                "repository" => {
                    let text = |name| field.argument(name).as_str().unwrap_or_default();
                    let name = format!("{}/{}", text("owner"), text("name"));
                    let path = json!([field.alias]);
                    let missing = format!("Could not resolve to a Repository '{name}'");
                    let found = self.named(&name, field);
                    let found = self.unless_left_out(asked, found, &path, &missing, &mut errors);
                    asked += 1;
                    match found {
                        None => Value::Null,
                        Some(NamedObject::Pull(pull)) => {
                            self.repository(&pull.repository, Some(pull), field)?
                        }
                        Some(NamedObject::Commits(graph)) => objects::repository(graph, field)?,
                        Some(NamedObject::Totals(totals)) => {
                            self.repository(&totals.repository, None, field)?
                        }
                    }
                }
                other => return Err(no_field(other, "Query")),
            };
            data.insert(field.alias.clone(), value);
        }
        Ok((data, errors))
    }

    /// What is asked for of a repository.
    fn named(&self, name: &str, field: &Field) -> Option<NamedObject<'_>> {
        let inner = |name: &str| field.fields.iter().find(|inner| inner.name == name);
        let number = inner("pullRequest").and_then(|inner| inner.argument("number").as_u64());
        if let Some(number) = number {
            self.known.named(name, number).map(NamedObject::Pull)
        } else if inner("object").is_some() {
            self.known.commits.named(name).map(NamedObject::Commits)
        } else {
            self.known.totals.named(name).map(NamedObject::Totals)
        }
    }

    fn unless_left_out<T>(
        &self,
        at: usize,
        found: Option<T>,
        path: &Value,
        missing: &str,
        errors: &mut Vec<Value>,
    ) -> Option<T> {
        let trouble = (self.left_out)(at).or(found.is_none().then_some(QueryTrouble::Gone));
        match trouble {
            None => found,
            Some(QueryTrouble::Gone) => {
                errors.push(json!({ "type": "NOT_FOUND", "path": path, "message": missing }));
                None
            }
            Some(QueryTrouble::Forbidden) => {
                let message = "Resource protected by organization SAML enforcement. You must \
                               grant your Personal Access token access to this organization.";
                let extensions = json!({ "saml_failure": true });
                errors.push(json!({
                    "type": "FORBIDDEN", "path": path, "extensions": extensions,
                    "message": message,
                }));
                None
            }
            // GitHub reports once that it stopped, but not what it left out.
            Some(QueryTrouble::TooMuch) => None,
        }
    }

    fn pull(&self, pull: &SimulatedPull, field: &Field) -> Result<Value, String> {
        object(field, "PullRequest", |field| {
            Ok(Some(match field.name.as_str() {
                "id" if self.foreign_ids => json!(format!("NEW_{}", pull.id)),
                "id" => json!(node(pull)),
                "fullDatabaseId" => json!(pull.id.to_string()),
                "number" => json!(pull.number),
                "title" => json!(pull.title),
                "isDraft" => json!(pull.draft),
                "additions" => json!(pull.additions),
                "deletions" => json!(pull.deletions),
                "changedFiles" => json!(pull.changed_files),
                "merged" => json!(matches!(pull.ended, Some((_, true)))),
                "mergedAt" => pull.ended.filter(|ended| ended.1).map(|(at, _)| time(at)).into(),
                "closedAt" => pull.ended.map(|(at, _)| time(at)).into(),
                "createdAt" => json!(time(pull.created)),
                "state" => json!(match pull.ended {
                    None => "OPEN",
                    Some((_, true)) => "MERGED",
                    Some((_, false)) => "CLOSED",
                }),
                "author" => scalar(field, "Actor", "login", &*pull.author.login)?,
                "baseRepository" => self.repository(&pull.repository, Some(pull), field)?,
                _ => return Ok(None),
            }))
        })
    }

    fn repository(
        &self,
        repository: &Repository,
        pull: Option<&SimulatedPull>,
        field: &Field,
    ) -> Result<Value, String> {
        let totals = self.known.totals.of(repository.id);
        let count = |total| totals.map_or(0, |totals| totals.of(total));
        let counted =
            |field: &Field, total| scalar(field, "Connection", "totalCount", count(total));
        object(field, "Repository", |field| {
            Ok(Some(match field.name.as_str() {
                "databaseId" => json!(repository.id),
                "nameWithOwner" => json!(repository.full_name()),
                "stargazerCount" => json!(
                    totals.map_or(repository.stars, |totals| totals.of(RepositoryTotal::Stars))
                ),
                // The whole network's on GitHub; here no fork is forked.
                "forkCount" => json!(count(RepositoryTotal::Forks)),
                "forks" => counted(field, RepositoryTotal::Forks)?,
                "releases" => counted(field, RepositoryTotal::Releases)?,
                "pullRequests" => counted(field, RepositoryTotal::Pulls)?,
                "issues" => counted(field, RepositoryTotal::Issues)?,
                "primaryLanguage" => match repository.language {
                    None => Value::Null,
                    Some(name) => scalar(field, "Language", "name", name)?,
                },
                "pullRequest" => pull.map_or(Ok(Value::Null), |pull| self.pull(pull, field))?,
                _ => return Ok(None),
            }))
        })
    }
}
