//! The events on a page as far as coverage needs them: identity, type and age.
//!
//! A page is scanned, not parsed: only type, id and `created_at` of each entry are read. An event
//! is identified by a hash of type and id, because GitHub's two id sequences overlap.

use std::collections::HashSet;

use xxhash_rust::xxh3::Xxh3;

use super::entries::Entries;
use crate::model::json;
use crate::model::kinds::column;
pub use crate::model::kinds::{KINDS, sequence};
use crate::model::window::Timestamp;

/// An event on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSighting {
    /// Hash of type and id, which identifies the event.
    pub hash: u64,
    /// GitHub's id, where it is a number.
    pub id: Option<u64>,
    /// Index of its type in [`KINDS`].
    pub kind: usize,
    /// GitHub's timestamp.
    pub created_at: Option<Timestamp>,
}

impl PageSighting {
    /// Which of GitHub's two sequences its id belongs to: 0 for pushes, creations and deletions, 1
    /// for all other types.
    #[must_use]
    pub fn sequence(&self) -> usize {
        sequence(KINDS[self.kind])
    }
}

/// The events among the entries of a page. Entries without an id are skipped.
#[must_use]
pub fn sightings(entries: &Entries) -> Vec<PageSighting> {
    let sighting = |entry: &str| {
        let [kind, id, created] = json::pick(entry, ["type", "id", "created_at"]);
        let id = id?;
        let mut hasher = Xxh3::new();
        hasher.update(kind.unwrap_or_default().as_bytes());
        hasher.update(id.as_bytes());
        let kind = kind.and_then(json::text).unwrap_or_default();
        let kind = column(&kind);
        Some(PageSighting {
            hash: hasher.digest(),
            id: json::text(id).and_then(|id| id.parse().ok()),
            kind,
            created_at: created.and_then(json::text).and_then(|text| Timestamp::parse(&text)),
        })
    };
    entries.iter().filter_map(sighting).collect()
}

/// The fraction of `now` that is also in `before`, 0 to 1; `None` for an empty page.
#[must_use]
pub(super) fn share(now: &HashSet<u64>, before: &HashSet<u64>) -> Option<f64> {
    let of = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    (!now.is_empty()).then(|| of(now.intersection(before).count()) / of(now.len()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn ids(body: &[u8]) -> Option<HashSet<u64>> {
        let entries = Entries::of_list(&Bytes::copy_from_slice(body));
        let hashes = || sightings(&entries).iter().map(|sighting| sighting.hash).collect();
        entries.is_list().then(hashes)
    }

    #[test]
    fn overlap_is_a_share_of_the_current_page() {
        let before = ids(br#"[{"type":"A","id":"1"},{"type":"A","id":"2"}]"#).unwrap();
        let now = ids(br#"[{"id":"2","type":"A"},{"type":"B","id":"1"},{"type":"A","id":"3"},
            {"type":"A","id":"4"}]"#)
        .unwrap();
        assert_eq!(share(&now, &before), Some(0.25));
        assert_eq!(share(&before, &before), Some(1.0));
        assert_eq!(share(&now, &HashSet::new()), Some(0.0));
        assert_eq!(share(&HashSet::new(), &now), None);
    }

    #[test]
    fn type_id_and_time_are_seen() {
        let page = br#"[{"id":"12","type":"WatchEvent","created_at":"2026-02-03T04:05:06Z"},
            {"id":"13","type":"DeleteEvent","created_at":7},{"id":"x","type":"NewEvent"}]"#;
        let seen = sightings(&Entries::of_list(&Bytes::copy_from_slice(page)));
        assert_eq!(
            (seen[0].id, KINDS[seen[0].kind], seen[0].sequence()),
            (Some(12), "WatchEvent", 1)
        );
        assert_eq!(seen[0].created_at.unwrap().to_string(), "2026-02-03T04:05:06Z");
        assert_eq!((seen[1].created_at, seen[1].sequence()), (None, 0));
        assert_eq!((seen[2].id, KINDS[seen[2].kind], seen[2].sequence()), (None, "other", 1));
    }

    #[test]
    fn invalid_entries_are_skipped_and_invalid_lists_are_none() {
        let odd = ids(br#"[null, 7, "x", [], {}, {"id":null}, {"id":12}, {"type":"A","id":"1"}]"#);
        assert_eq!(odd.unwrap().len(), 3);
        for body in [&b"{}"[..], b"", b"<html>", b"\xff\xfe"] {
            assert_eq!(ids(body), None);
        }
        assert_eq!(ids(b"[{\"id\":\"1\",\"x\":\"\xff\"}").unwrap().len(), 1, "damaged, and a list");
    }
}
