//! Limits of a list of paths: how often the same part of an event may be written.
//!
//! A message must not be larger than a small multiple of its event, whatever the query. Paths that
//! lead into each other, and duplicate paths to an object, would multiply the event; they are
//! refused when the query arrives. Duplicate paths to a scalar are accepted, as ossinsight-plugin
//! does; the bytes of such values are bounded when a message is encoded (see [`room`]).

use std::cmp::Ordering;

use crate::hub::log::query::FieldPath;

/// How often one part of an event may be written in a message.
pub const OVERLAP: usize = 2;
/// The most bytes of all paths of a query, which each message in map encoding repeats.
pub const PATHS_BYTES: usize = 8 << 10;
/// The most bytes of repeated values in a message.
const REPEATED_BYTES: usize = 1 << 20;
/// Bytes for repeated numbers, times and names if the event is small.
const SCALARS_BYTES: usize = 4 << 10;

/// Members of GitHub's events that are objects or lists, wherever they occur. Two paths that end
/// with the same one of them repeat an object.
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
    /// A part of an event would be written more often than [`OVERLAP`].
    #[error(
        "`{path}` would be written {times} times in each message: paths that repeat an object, or \
         lead into one that is asked for too, may write the same part of an event at most \
         {OVERLAP} times"
    )]
    Overlap {
        /// The innermost of the paths.
        path: String,
        /// How often its value would be written.
        times: usize,
    },
    /// Together they have more bytes than [`PATHS_BYTES`], as written in a message.
    #[error("the paths have {0} bytes together, more than {PATHS_BYTES}")]
    TooLong(usize),
}

/// Bytes of a path in a message, with the escapes of JSON (RFC 8259 §7).
fn written_bytes(path: &str) -> usize {
    let of = |char: char| match char {
        '"' | '\\' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    };
    path.chars().map(of).sum()
}

/// Checks that a message with these paths stays a small multiple of its event. Duplicates count, so
/// the map encoding is checked after its duplicates were removed.
pub fn check(paths: &[FieldPath]) -> Result<(), PathsError> {
    let bytes = paths.iter().map(|path| written_bytes(path.text())).sum();
    if bytes > PATHS_BYTES {
        return Err(PathsError::TooLong(bytes));
    }
    let mut sorted: Vec<&FieldPath> = paths.iter().collect();
    sorted.sort_by(|a, b| by_names(a, b));
    // The paths that lead to or through the current one, and how often each is written.
    let mut around: Vec<(&FieldPath, usize)> = Vec::new();
    let mut at = 0;
    while let Some(path) = sorted.get(at) {
        let copies = sorted[at..].iter().take_while(|other| other == &path).count();
        let leads_on = sorted.get(at + copies).is_some_and(|next| leads_into(path, next));
        let times = if leads_on || is_object(path) { copies } else { 1 };
        around.retain(|(outer, _)| leads_into(outer, path));
        around.push((path, times));
        let times = around.iter().map(|(_, times)| times).sum();
        if times > OVERLAP {
            return Err(PathsError::Overlap {
                path: path.text().chars().take(80).collect(),
                times,
            });
        }
        at += copies;
    }
    Ok(())
}

/// The most bytes of all values in a message, for an event of `weight` bytes: the event once, and
/// once more up to a limit. A value that does not fit is written as `null`.
pub(in crate::hub) fn room(weight: usize) -> usize {
    weight.saturating_add(weight.min(REPEATED_BYTES)).saturating_add(SCALARS_BYTES)
}

/// Orders paths by their names, so that paths into a value follow the path to it.
pub(in crate::hub) fn by_names(a: &FieldPath, b: &FieldPath) -> Ordering {
    a.names().cmp(b.names())
}

/// Whether the second path leads into the value of the first.
fn leads_into(outer: &FieldPath, inner: &FieldPath) -> bool {
    inner.text().strip_prefix(outer.text()).is_some_and(|rest| rest.starts_with('.'))
}

fn is_object(path: &FieldPath) -> bool {
    let mut names = path.names().collect::<Vec<_>>().into_iter().rev();
    match (names.next(), names.next()) {
        // `base` and `head` are objects in a pull request and texts in a push.
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
        assert!(OBJECTS.is_sorted(), "binary search needs an order");
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
    fn total_length_of_paths_is_limited() {
        let long = format!("event.{}", "x".repeat(249));
        let texts: Vec<String> = (0..33).map(|i| format!("{}{i:02}", &long[..253])).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(of(&texts[..32]), Ok(()));
        assert_eq!(of(&texts), Err(PathsError::TooLong(33 * 255)));
        // Escapes of JSON count.
        let escaped = format!("event.{}", "\u{1}".repeat(240));
        let texts: Vec<String> = (0..6).map(|i| format!("{escaped}{i}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(of(&texts[..5]), Ok(()));
        assert_eq!(of(&texts), Err(PathsError::TooLong(6 * (7 + 6 * 240))));
    }
}
