//! Commits of a repository: `object(oid:)` and its `history`.

use serde_json::{Value, json};

use super::super::commits::{CommitGraph, SimulatedCommit};
use super::super::payloads::time;
use super::fields::object;
use super::language::Field;
use crate::model::window::Second;

/// Most entries of a list in one response.
const MOST_ENTRIES: u64 = 100;

/// A repository of which commits are wanted.
pub(super) fn repository(graph: &CommitGraph, field: &Field) -> Result<Value, String> {
    object(field, "Repository", |field| {
        Ok(Some(match field.name.as_str() {
            "databaseId" => json!(graph.repository.id),
            "nameWithOwner" => json!(graph.repository.full_name()),
            "object" => {
                let oid = field.argument("oid").as_str().unwrap_or_default();
                match graph.commit(oid) {
                    // An object that is not there is null, without an error.
                    None => Value::Null,
                    Some(found) => commit(graph, (oid, found), field)?,
                }
            }
            _ => return Ok(None),
        }))
    })
}

fn commit(
    graph: &CommitGraph,
    (oid, found): (&str, &SimulatedCommit),
    field: &Field,
) -> Result<Value, String> {
    object(field, "Commit", |field| {
        Ok(Some(match field.name.as_str() {
            "oid" => json!(oid),
            "committedDate" => json!(time(Second(found.committed))),
            "message" => json!(found.message),
            "author" => object(field, "GitActor", |field| {
                Ok(match field.name.as_str() {
                    "name" => Some(json!(found.name)),
                    "email" => Some(json!(found.email)),
                    _ => None,
                })
            })?,
            "history" => history(graph, oid, field)?,
            _ => return Ok(None),
        }))
    })
}

fn history(graph: &CommitGraph, oid: &str, field: &Field) -> Result<Value, String> {
    let first = field.argument("first").as_u64();
    let all = graph.history(oid);
    object(field, "CommitHistoryConnection", |field| {
        Ok(Some(match field.name.as_str() {
            "totalCount" => json!(all.len()),
            "nodes" => {
                let first = first.filter(|first| (1..=MOST_ENTRIES).contains(first));
                let first = first.ok_or(
                    "You must provide a `first` or `last` value from 1 to 100 to properly \
                     paginate the `history` connection.",
                )?;
                let first = usize::try_from(first).unwrap_or(usize::MAX);
                let nodes =
                    all.iter().take(first).map(|(oid, found)| commit(graph, (oid, found), field));
                Value::Array(nodes.collect::<Result<_, _>>()?)
            }
            _ => return Ok(None),
        }))
    })
}
