//! One page as it is sent: its events, `ETag` and bytes, after faults are applied.

use std::fmt::Write;

use axum::http::header::{self, HeaderMap};

use super::faults::{Fault, FaultKind, lot};
use super::feed::FeedEntry;
use super::json::list;
use super::state::{SharedWorld, Ticket};

/// Mixed into the randomness, so that what a fault does is independent of whether it applies.
const SALT: u64 = 64;

/// A page before it is sent.
pub(super) struct SimulatedPage {
    pub(super) entries: Vec<FeedEntry>,
    pub(super) body: String,
    /// `None` for a garbage page.
    pub(super) etag: Option<String>,
    /// The fault that was applied.
    pub(super) fault: Option<&'static str>,
}

/// Takes the page from the feed. `key` is its number, from 1, and its size.
pub(super) fn take(shared: &SharedWorld, ticket: &Ticket, key: (usize, usize)) -> SimulatedPage {
    let mut state = shared.state();
    // Several faults may apply; the first one names the response.
    let mut fault = None;
    let mut hit = |kind: FaultKind| {
        let found: Option<&Fault> = ticket.fault(kind);
        fault = fault.or(found.map(|found| found.kind.name()));
        found.is_some()
    };
    let old = if hit(FaultKind::Stale) { state.recent.oldest(key) } else { None };
    let mut entries = match old {
        Some(entries) => entries,
        None if hit(FaultKind::Frozen) => {
            let state = &mut *state;
            state.frozen.get_or_insert_with(|| state.feed.clone()).page(key.0, key.1)
        }
        None => {
            let entries = state.feed.page(key.0, key.1);
            state.recent.remember(key, &entries);
            entries
        }
    };
    drop(state);
    if key.0 == 2 && hit(FaultKind::PageMissing) {
        entries.clear();
    }
    let mut rng = lot(shared.seed, ticket.number, SALT);
    if hit(FaultKind::Reordered) {
        rng.shuffle(&mut entries);
    }
    let body = list(entries.iter().map(|entry| &*entry.text));
    if hit(FaultKind::Garbage) {
        return garbage(rng.u32(0..5), entries, &body, fault);
    }
    let etag = Some(etag_of(&body));
    SimulatedPage { entries, body, etag, fault }
}

/// The `ETag` of a page: weak, with its quotes.
pub(super) fn etag_of(body: &str) -> String {
    format!("W/\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(body.as_bytes()))
}

/// A body that is not a page, in five variants.
fn garbage(
    way: u32,
    entries: Vec<FeedEntry>,
    body: &str,
    fault: Option<&'static str>,
) -> SimulatedPage {
    let spoilt = |body: String| SimulatedPage { entries: Vec::new(), body, etag: None, fault };
    match way {
        0 => spoilt("<html><body><h1>Whoa there!</h1></body></html>\n".to_owned()),
        1 => {
            let mut middle = body.len() / 2;
            while !body.is_char_boundary(middle) {
                middle -= 1;
            }
            spoilt(body[..middle].to_owned())
        }
        2 => spoilt(r#"{"message":"Something went wrong","events":[]}"#.to_owned()),
        3 => spoilt(String::new()),
        _ => {
            // The events among the rubbish are valid.
            let rubbish = ["null", "42", "\"text\"", "[]", "true", "{}"];
            let mut mixed = String::from("[null");
            for (n, entry) in entries.iter().enumerate() {
                let _ = write!(mixed, ",{}", entry.text);
                if n % 10 == 0 {
                    let _ = write!(mixed, ",{}", rubbish[n / 10 % rubbish.len()]);
                }
            }
            mixed.push(']');
            SimulatedPage { entries, body: mixed, etag: None, fault }
        }
    }
}

/// Whether the client that sent these headers has the page already.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let is_it = |tag: &str| tag.trim() == "*" || strong(tag) == strong(etag);
    known.is_some_and(|known| known.split(',').any(is_it))
}
