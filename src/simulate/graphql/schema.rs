//! The schema: the fields of each type, and their values. A field that GitHub does not have is an
//! error, so that a client requesting one fails here rather than at GitHub.

use serde_json::{Map, Value, json};

use super::super::known::{KnownPulls, node};
use super::super::payloads::time;
use super::super::pulls::SimulatedPull;
use super::language::Field;

/// Maximum number of ids in one call of `nodes`.
const MOST_IDS: usize = 100;

/// The inputs of a response.
pub(super) struct QueryAnswering<'a> {
    pub(super) known: &'a KnownPulls,
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

impl QueryAnswering<'_> {
    /// Answers a query; the error is a message when it requests something that does not exist.
    pub(super) fn answer(&self, fields: &[Field]) -> Result<SchemaAnswer, String> {
        let (mut data, mut errors) = (Map::new(), Vec::new());
        let mut asked = 0;
        for field in fields {
            let value = match field.name.as_str() {
                "rateLimit" => {
                    let names = ["cost", "remaining", "resetAt", "limit"];
                    pick(field, "RateLimit", &names, |name| self.rate[name].clone())?
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
                    let path = json!([field.alias]);
                    let text = |name| field.argument(name).as_str().unwrap_or_default().to_owned();
                    let name = format!("{}/{}", text("owner"), text("name"));
                    let number = field.fields.iter().find(|inner| inner.name == "pullRequest");
                    let number = number.and_then(|inner| inner.argument("number").as_u64());
                    let pull = self.known.named(&name, number.unwrap_or_default());
                    let missing = format!("Could not resolve to a Repository '{name}'");
                    let pull = self.unless_left_out(asked, pull, &path, &missing, &mut errors);
                    asked += 1;
                    pull.map_or(Ok(Value::Null), |pull| self.repository(pull, field))?
                }
                other => return Err(no_field(other, "Query")),
            };
            data.insert(field.alias.clone(), value);
        }
        Ok((data, errors))
    }

    fn unless_left_out<'p>(
        &self,
        at: usize,
        pull: Option<&'p SimulatedPull>,
        path: &Value,
        missing: &str,
        errors: &mut Vec<Value>,
    ) -> Option<&'p SimulatedPull> {
        let trouble = (self.left_out)(at).or(pull.is_none().then_some(QueryTrouble::Gone));
        match trouble {
            None => pull,
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
        let mut out = Map::new();
        for field in &field.fields {
            if field.on.as_deref().is_some_and(|kind| kind != "PullRequest") {
                continue;
            }
            let value = match field.name.as_str() {
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
                "author" => pick(field, "Actor", &["login"], |_| json!(pull.author.login))?,
                "baseRepository" => self.repository(pull, field)?,
                other => return Err(no_field(other, "PullRequest")),
            };
            out.insert(field.alias.clone(), value);
        }
        Ok(Value::Object(out))
    }

    fn repository(&self, pull: &SimulatedPull, field: &Field) -> Result<Value, String> {
        let repository = &pull.repository;
        let mut out = Map::new();
        for field in &field.fields {
            let value = match field.name.as_str() {
                "databaseId" => json!(repository.id),
                "nameWithOwner" => json!(repository.full_name()),
                "stargazerCount" => json!(repository.stars),
                "primaryLanguage" => match repository.language {
                    None => Value::Null,
                    Some(name) => pick(field, "Language", &["name"], |_| json!(name))?,
                },
                "pullRequest" => self.pull(pull, field)?,
                other => return Err(no_field(other, "Repository")),
            };
            out.insert(field.alias.clone(), value);
        }
        Ok(Value::Object(out))
    }
}

/// An object of scalar fields.
fn pick(
    field: &Field,
    kind: &str,
    names: &[&str],
    value: impl Fn(&str) -> Value,
) -> Result<Value, String> {
    let mut out = Map::new();
    for inner in &field.fields {
        if !names.contains(&inner.name.as_str()) {
            return Err(no_field(&inner.name, kind));
        }
        out.insert(inner.alias.clone(), value(&inner.name));
    }
    Ok(Value::Object(out))
}

fn no_field(name: &str, kind: &str) -> String {
    format!("Field '{name}' doesn't exist on type '{kind}'")
}
