//! The content of `/events`: the newest events of each part, split by position as GitHub splits
//! it.
//!
//! The first 100 positions are the newest Push, Create and Delete events, the 200 behind them the
//! newest of all other types. A part that is short is filled from the other, so all of up to 300
//! events are always visible. An event only ever moves to later positions, so a client that reads
//! the pages in order cannot miss one between two of them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use serde::Deserialize;

/// Number of events that are visible; there are no pages behind them.
pub(super) const VISIBLE: usize = 300;
/// Number of pushes, creates and deletes among them, if there are enough.
const PUSHES: usize = 100;

/// An event in the feed.
#[derive(Debug, Clone)]
pub(super) struct FeedEntry {
    /// Its number in the order in which events were put into the feed.
    pub(super) number: u64,
    pub(super) text: Arc<str>,
}

/// The newest events of each part, newest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Feed {
    pushes: VecDeque<FeedEntry>,
    rest: VecDeque<FeedEntry>,
    next: u64,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

impl Feed {
    /// Puts an event into the feed.
    pub(super) fn put(&mut self, text: &Arc<str>) {
        let kind = serde_json::from_str::<Typed>(text).map_or(Cow::Borrowed(""), |it| it.kind);
        let part = match &*kind {
            "PushEvent" | "CreateEvent" | "DeleteEvent" => &mut self.pushes,
            _ => &mut self.rest,
        };
        part.push_front(FeedEntry { number: self.next, text: text.clone() });
        part.truncate(VISIBLE);
        self.next += 1;
    }

    /// Leaves out an event, which still has a number.
    pub(super) fn skip(&mut self) {
        self.next += 1;
    }

    /// The total number of events ever put into the feed.
    pub(super) fn len(&self) -> u64 {
        self.next
    }

    /// A page, newest first; pages count from 1. Empty behind the last event.
    pub(super) fn page(&self, page: usize, per_page: usize) -> Vec<FeedEntry> {
        let start = page.saturating_sub(1).saturating_mul(per_page);
        let mut entries: Vec<FeedEntry> =
            self.positions().skip(start).take(per_page.min(VISIBLE)).cloned().collect();
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.number));
        entries
    }

    /// All visible events in the order of positions.
    fn positions(&self) -> impl Iterator<Item = &FeedEntry> {
        let pushes = self.pushes.len().min(PUSHES);
        self.pushes
            .iter()
            .take(pushes)
            .chain(&self.rest)
            .take(VISIBLE)
            .chain(self.pushes.iter().skip(pushes))
            .take(VISIBLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, n: usize) -> Arc<str> {
        format!(r#"{{"id":"{n}","type":"{kind}"}}"#).into()
    }

    fn fed(kinds: &[(&str, usize)]) -> Feed {
        let mut feed = Feed::default();
        for (kind, count) in kinds {
            for n in 0..*count {
                feed.put(&event(kind, n));
            }
        }
        feed
    }

    fn count(page: &[FeedEntry], kind: &str) -> usize {
        page.iter().filter(|entry| entry.text.contains(&format!("\"{kind}\""))).count()
    }

    #[test]
    fn page_one_is_pushes_and_the_others_are_the_rest() {
        let kinds = [("PushEvent", 150), ("WatchEvent", 150), ("DeleteEvent", 90), ("New", 130)];
        let feed = fed(&kinds);
        let pages: Vec<_> = (1..=4).map(|page| feed.page(page, 100)).collect();
        assert_eq!(count(&pages[0], "DeleteEvent"), 90);
        assert_eq!(count(&pages[0], "PushEvent"), 10);
        assert_eq!(count(&pages[1], "New"), 100);
        assert_eq!((count(&pages[2], "New"), count(&pages[2], "WatchEvent")), (30, 70));
        assert!(pages[3].is_empty());
        for page in &pages {
            assert!(page.is_sorted_by(|a, b| a.number > b.number));
        }
    }

    #[test]
    fn small_pages_lie_in_the_push_part() {
        let feed = fed(&[("PushEvent", 150), ("WatchEvent", 150)]);
        for page in 1..=3 {
            assert_eq!(count(&feed.page(page, 30), "PushEvent"), 30);
        }
    }

    #[test]
    fn newest_three_hundred_events_are_visible() {
        for pushes in 0..=300 {
            let feed = fed(&[("WatchEvent", 300 - pushes), ("CreateEvent", pushes)]);
            let mut seen: Vec<u64> =
                (1..=3).flat_map(|page| feed.page(page, 100)).map(|entry| entry.number).collect();
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..300), "{pushes} pushes");
        }
    }

    #[test]
    fn an_event_only_moves_to_later_pages() {
        let mut rng = fastrand::Rng::with_seed(9);
        let mut feed = Feed::default();
        let mut before = std::collections::HashMap::new();
        for n in 0..2_000 {
            feed.put(&event(if rng.bool() { "PushEvent" } else { "WatchEvent" }, n));
            for page in 1..=3 {
                for entry in feed.page(page, 100) {
                    let earlier = before.insert(entry.number, page).unwrap_or(1);
                    assert!(earlier <= page, "event {} went back", entry.number);
                }
            }
        }
    }

    #[test]
    fn invalid_entry_is_served_with_the_others() {
        let mut feed = fed(&[("PushEvent", 120)]);
        for odd in ["null", "3", "[]", r#"{"type":7}"#, r#"{"type":"Push\u0045vent"}"#] {
            feed.put(&odd.into());
        }
        assert_eq!(feed.page(2, 100).len(), 4 + 21);
        assert!(feed.page(1, 100)[0].text.contains("u0045"));
    }
}
