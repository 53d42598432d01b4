//! What a list of paths may make of an event: how often the same part of it may be written.
//!
//! A message must not be larger than a small multiple of its event, whatever its reader asks for.
//! Most of that is decided here, once, when the query comes: paths that lead into each other, and
//! paths that repeat an object, multiply the event and are refused. A path that repeats a scalar is
//! accepted, because the peer accepts it; how much such values may take is bounded when a message
//! is written (see [`room`]).

use std::cmp::Ordering;

use crate::hub::log::query::FieldPath;

/// The most times that one part of an event may be written in a message.
pub const OVERLAP: usize = 2;
/// The most bytes of all paths of a query together: in the map form each message repeats them.
pub const PATHS_BYTES: usize = 8 << 10;
/// Beside the event itself, the most bytes that a message takes of values that it repeats.
const REPEATED_BYTES: usize = 1 << 20;
/// Room for repeated numbers, times and names where the event is a small one.
const SCALARS_BYTES: usize = 4 << 10;

/// Members of GitHub's events that hold objects or lists, wherever they stand. A path that ends
/// with one of them repeats an object when it is given twice.
const OBJECTS: [&str; 44] = [
    "_links",
    "actor",
    "answer",
    "app",
    "assets",
    "assignee",
    "assignees",
    "author",
    "auto_merge",
    "category",
    "changes",
    "closed_by",
    "comment",
    "commit",
    "commits",
    "committer",
    "creator",
    "discussion",
    "forkee",
    "issue",
    "label",
    "labels",
    "license",
    "member",
    "merged_by",
    "milestone",
    "org",
    "organization",
    "owner",
    "pages",
    "payload",
    "performed_via_github_app",
    "permissions",
    "pull_request",
    "reactions",
    "release",
    "repo",
    "repository",
    "requested_reviewers",
    "requested_teams",
    "review",
    "sender",
    "topics",
    "user",
];

/// Why a list of paths is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// Some part of an event would be written more often than [`OVERLAP`].
    #[error(
        "`{path}` would be written {times} times in each message: paths that repeat an object, or \
         lead into one that is asked for too, may write the same part of an event at most \
         {OVERLAP} times"
    )]
    Overlap {
        /// The innermost of the paths.
        path: String,
        /// How often what lies there would be written.
        times: usize,
    },
    /// They have more bytes than [`PATHS_BYTES`], as they are written in a message.
    #[error("the paths have {0} bytes together, more than {PATHS_BYTES}")]
    Long(usize),
}

/// Bytes of a path in a message, where JSON escapes some of its characters (RFC 8259 §7).
fn written_bytes(path: &str) -> usize {
    let of = |char: char| match char {
        '"' | '\\' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    };
    path.chars().map(of).sum()
}

/// Checks that a message of these paths stays a small multiple of its event. Paths that are given
/// twice count twice, so the map form is checked after its doubles are gone.
pub fn check(paths: &[FieldPath]) -> Result<(), PathsError> {
    let bytes = paths.iter().map(|path| written_bytes(path.text())).sum();
    if bytes > PATHS_BYTES {
        return Err(PathsError::Long(bytes));
    }
    let mut sorted: Vec<&FieldPath> = paths.iter().collect();
    sorted.sort_by(|a, b| by_names(a, b));
    // The paths that lead to where this is, and how often each is written.
    let mut around: Vec<(&FieldPath, usize)> = Vec::new();
    let mut at = 0;
    while let Some(path) = sorted.get(at) {
        let doubles = sorted[at..].iter().take_while(|other| other == &path).count();
        let leads_on = sorted.get(at + doubles).is_some_and(|next| leads_into(path, next));
        let times = if leads_on || is_object(path) { doubles } else { 1 };
        around.retain(|(outer, _)| leads_into(outer, path));
        around.push((path, times));
        let times = around.iter().map(|(_, times)| times).sum();
        if times > OVERLAP {
            return Err(PathsError::Overlap {
                path: path.text().chars().take(80).collect(),
                times,
            });
        }
        at += doubles;
    }
    Ok(())
}

/// The bytes of values that a message of an event of `weight` bytes may have in all: the event
/// once, and once more up to a limit. A value that does not fit is written as `null`.
pub(in crate::hub) fn room(weight: usize) -> usize {
    weight.saturating_add(weight.min(REPEATED_BYTES)).saturating_add(SCALARS_BYTES)
}

/// Paths in the order of their names, so that what lies below one stands behind it.
pub(in crate::hub) fn by_names(a: &FieldPath, b: &FieldPath) -> Ordering {
    a.names().cmp(b.names())
}

/// Whether the second path leads into what the first leads to.
fn leads_into(outer: &FieldPath, inner: &FieldPath) -> bool {
    inner.text().strip_prefix(outer.text()).is_some_and(|rest| rest.starts_with('.'))
}

fn is_object(path: &FieldPath) -> bool {
    let mut names = path.names().collect::<Vec<_>>().into_iter().rev();
    match (names.next(), names.next()) {
        // Where a branch begins and ends: objects of a pull request, texts of a push.
        (Some("event"), None) | (Some("base" | "head"), Some("pull_request")) => true,
        (Some(name), _) => OBJECTS.binary_search(&name).is_ok(),
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Result<(), PathsError> {
        let paths: Vec<FieldPath> =
            texts.iter().map(|text| FieldPath::read(text).unwrap()).collect();
        check(&paths)
    }

    #[test]
    fn repeated_objects_and_nested_paths_are_refused() {
        assert!(OBJECTS.is_sorted(), "they are searched by halves");
        for texts in [
            &["event"; 3][..],
            &["event.payload"; 100],
            &["event.payload.pull_request"; 3],
            &["event.payload.pull_request.base"; 3],
            &["event.payload.pull_request.base.repo.owner"; 3],
            &["payload"; 3],
            &["event", "event.payload", "event.payload.issue"],
            &["event.a", "event.x", "event.a.b.c", "event.a.b"],
            &["event.a", "event.a", "event.a.b"],
            &["event.a-b", "event", "event.a", "event.a.b"],
        ] {
            assert!(matches!(of(texts), Err(PathsError::Overlap { .. })), "{texts:?}");
        }
        let refused = of(&["event.payload"; 4]).unwrap_err().to_string();
        assert!(refused.contains("`event.payload` would be written 4 times"), "{refused}");
    }

    #[test]
    fn repeated_scalars_and_neighbours_are_accepted() {
        for texts in [
            &["event.id"; 100][..],
            &["event", "event"],
            &["event", "event.id", "event.type", "event.actor"],
            &["event", "event.id", "event.id", "event.id"],
            &["event.actor", "event.actor.login", "event.actor.id", "event.actors", "payload"],
            &["event.payload.head", "event.payload.head", "event.payload.head"],
            &["payload.pr", "payload.pr", "payload.pr", "payload"],
        ] {
            assert_eq!(of(texts), Ok(()), "{texts:?}");
        }
    }

    #[test]
    fn long_names_are_bounded_together() {
        let long = format!("event.{}", "x".repeat(249));
        let texts: Vec<String> = (0..33).map(|i| format!("{}{i:02}", &long[..253])).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(of(&texts[..32]), Ok(()));
        assert_eq!(of(&texts), Err(PathsError::Long(33 * 255)));
        // What JSON escapes is counted as it is written.
        let escaped = format!("event.{}", "\u{1}".repeat(240));
        let texts: Vec<String> = (0..6).map(|i| format!("{escaped}{i}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(of(&texts[..5]), Ok(()));
        assert_eq!(of(&texts), Err(PathsError::Long(6 * (7 + 6 * 240))));
    }
}
