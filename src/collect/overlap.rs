//! How much of a page the read before it had too: the one sign of events missed in between.
//!
//! A page is looked through, not read: only type and id of each entry, hashed. Ids alone would not
//! do, because GitHub counts in two sequences that meet.

use std::collections::HashSet;

use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

use crate::model::json;

/// The events on a page, each as a hash of type and id; `None` when the page is no JSON list.
#[must_use]
pub(super) fn ids(body: &[u8]) -> Option<HashSet<u64>> {
    let entries: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    let hash = |entry: &&RawValue| {
        let [kind, id] = json::pick(entry.get(), ["type", "id"]);
        let mut hasher = Xxh3::new();
        hasher.update(kind.unwrap_or_default().as_bytes());
        hasher.update(id?.as_bytes());
        Some(hasher.digest())
    };
    Some(entries.iter().filter_map(hash).collect())
}

/// The share of `now` that is in `before`, 0 to 1; `None` for an empty page.
#[must_use]
pub(super) fn share(now: &HashSet<u64>, before: &HashSet<u64>) -> Option<f64> {
    let of = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    (!now.is_empty()).then(|| of(now.intersection(before).count()) / of(now.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_what_is_there_now() {
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
    fn odd_entries_are_passed_over_and_what_is_no_list_is_none() {
        let odd = ids(br#"[null, 7, "x", [], {}, {"id":null}, {"id":12}, {"type":"A","id":"1"}]"#);
        assert_eq!(odd.unwrap().len(), 3);
        for body in [&b"{}"[..], b"", b"<html>", b"[{\"id\":\"1\"}", b"\xff\xfe"] {
            assert_eq!(ids(body), None);
        }
    }
}
