//! Splits a page into entries once, for all its readers: the poller, which assesses the page by
//! its events, and ingest, which admits them.
//!
//! Whether text is JSON is decided only here: an entry is the text of a whole JSON value, and its
//! readers take fields from that text. Bytes that are not UTF-8 are replaced by U+FFFD. A damaged
//! page (cut off, or with a control character in a string) still yields the entries that are
//! whole.

use std::ops::Range;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::model::event::is_event;
use crate::model::json;

/// Maximum number of entries of a page: a hundred times what GitHub sends. Further ones are counted
/// as broken parts.
const MOST_ENTRIES: usize = 10_000;
/// Maximum number of broken parts of a page that are kept; all are counted.
const MOST_BROKEN: usize = 50;

/// The entries of a page.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    /// The page as text.
    text: Bytes,
    /// The positions of the entries in the text.
    list: Vec<Range<usize>>,
    broken: Vec<BrokenEntry>,
    broken_count: usize,
    is_list: bool,
    is_simulated: bool,
}

/// A part of a page that is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokenEntry {
    pub(super) reason: String,
    pub(super) text: Bytes,
}

impl Entries {
    /// Splits a JSON list, as GitHub serves it.
    #[must_use]
    pub fn of_list(body: &Bytes) -> Self {
        let bytes = readable(body);
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let text = text.trim_start_matches('\u{feff}').trim_ascii();
        let mut entries = Self { is_list: text.starts_with('['), ..Self::default() };
        if entries.is_list {
            match serde_json::from_str::<Vec<&RawValue>>(text) {
                Ok(values) => values.iter().for_each(|value| entries.push(&bytes, value.get())),
                Err(_) => entries.salvage(&bytes, text),
            }
        } else {
            entries.reject(&bytes, "not a JSON list".to_owned(), text);
        }
        entries.text = bytes;
        entries
    }

    /// The same of a server that says whether it is a simulated GitHub.
    #[must_use]
    pub fn with_simulated(self, is_simulated: bool) -> Self {
        Self { is_simulated, ..self }
    }

    /// Whether the page comes from the simulated GitHub.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.is_simulated
    }

    /// Whether the page is a list of entries.
    #[must_use]
    pub fn is_list(&self) -> bool {
        self.is_list
    }

    /// Whether the whole page could be read.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_list && self.broken_count == 0
    }

    /// Number of bytes of the page.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The entries, each the text of a whole JSON value.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let text = std::str::from_utf8(&self.text).unwrap_or_default();
        self.list.iter().filter_map(move |range| text.get(range.clone()))
    }

    /// The same part of the page, sharing its memory.
    pub(super) fn share(&self, entry: &str) -> Bytes {
        self.text.slice_ref(entry.as_bytes())
    }

    /// The number of parts that are not JSON, and the first of them.
    pub(super) fn broken(&self) -> (usize, &[BrokenEntry]) {
        (self.broken_count, &self.broken)
    }

    fn push(&mut self, page: &Bytes, entry: &str) {
        if self.list.len() >= MOST_ENTRIES {
            let reason = format!("more than the {MOST_ENTRIES} entries that a page may have");
            return self.reject(page, reason, entry);
        }
        let begin = entry.as_ptr() as usize - page.as_ptr() as usize;
        self.list.push(begin..begin + entry.len());
    }

    fn reject(&mut self, page: &Bytes, reason: String, text: &str) {
        self.broken_count += 1;
        if self.broken.len() < MOST_BROKEN {
            let text = if text.is_empty() { Bytes::new() } else { page.slice_ref(text.as_bytes()) };
            self.broken.push(BrokenEntry { reason, text });
        }
    }

    /// Extracts the whole entries from a damaged text.
    fn salvage(&mut self, page: &Bytes, text: &str) {
        let taken = json::pieces(text, is_event, |piece| {
            match piece {
                Ok(object) => self.push(page, object),
                Err(broken) => {
                    self.reject(page, format!("no JSON: {}", broken.reason), broken.text);
                }
            }
            Ok::<(), std::convert::Infallible>(())
        });
        if taken.is_ok() && self.broken_count == 0 {
            // Only the text between the entries is damaged: a bracket is missing.
            self.reject(page, "no JSON: the list has no end".to_owned(), "");
        }
    }
}

/// Returns the same bytes when they are UTF-8, otherwise with replacement characters.
fn readable(bytes: &Bytes) -> Bytes {
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.clone(),
        Err(_) => Bytes::from(String::from_utf8_lossy(bytes).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [&str; 3] = [
        r#"{"id":"1","type":"PushEvent","actor":{"id":1}}"#,
        r#"{"id":"2","type":"PushEvent","actor":{"id":2},"x":"?"}"#,
        r#"{"id":"3","type":"PushEvent"}"#,
    ];

    fn read(page: impl Into<Vec<u8>>) -> (Vec<String>, usize, bool) {
        let entries = Entries::of_list(&page.into().into());
        let list: Vec<_> = entries.iter().map(str::to_owned).collect();
        for entry in entries.iter() {
            assert_eq!(entries.share(entry), entry);
        }
        assert_eq!(entries.is_whole(), entries.is_list() && entries.broken().0 == 0);
        (list, entries.broken().0, entries.is_list())
    }

    #[test]
    fn invalid_byte_affects_only_its_event() {
        let page = format!("[{}]", EVENTS.join(","));
        let with = |odd: &[u8]| {
            let at = page.find('?').unwrap();
            [&page.as_bytes()[..at], odd, &page.as_bytes()[at + 1..]].concat()
        };
        let all = EVENTS.map(str::to_owned).to_vec();
        let without = [EVENTS[0], EVENTS[2]].map(str::to_owned).to_vec();
        assert_eq!(read(page.clone()), (all.clone(), 0, true));
        assert_eq!(read(format!("\u{feff}{page}\r\n")), (all.clone(), 0, true), "a mark");
        let replaced = EVENTS.map(|event| event.replace('?', "\u{fffd}")).to_vec();
        assert_eq!(read(with(b"\xff")), (replaced, 0, true), "no UTF-8");
        for odd in [&b"\x01"[..], b"\n", b"\0", b"\\x", b"\"", b"\xff\x1f"] {
            assert_eq!(read(with(odd)), (without.clone(), 1, true), "{odd:?}");
        }
        assert_eq!(read(page.trim_end_matches(']')), (all, 1, true), "no bracket");
        let (list, broken, _) = read(&page[..page.len() - 5]);
        assert_eq!((list, broken), (EVENTS[..2].iter().map(|e| (*e).to_owned()).collect(), 1));
    }

    #[test]
    fn page_with_a_million_entries_is_read_up_to_a_limit() {
        let page = format!("[{}]", vec![r#"{"id":"1"}"#; 1_000_000].join(","));
        let entries = Entries::of_list(&Bytes::from(page));
        assert_eq!(entries.iter().count(), MOST_ENTRIES);
        let (count, kept) = entries.broken();
        assert_eq!((count, kept.len()), (1_000_000 - MOST_ENTRIES, MOST_BROKEN));
        assert!(!entries.is_whole() && entries.is_list());
    }

    #[test]
    fn response_that_is_not_a_list_is_reported() {
        for page in [&b"{\"message\":\"no\"}"[..], b"", b"<html>", b"\xff\xfe"] {
            assert_eq!(read(page), (Vec::new(), 1, false), "{page:?}");
        }
        assert_eq!(read("[]"), (Vec::new(), 0, true));
        assert_eq!(read("[1, null]").0, ["1", "null"], "whether it is an event is said later");
    }
}
