//! Reads one feed: its first page, and further ones until events of the last read are met.

use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::super::entries::Entries;
use super::super::overlap;
use crate::clock::Clock;
use crate::clock::witness::Witness;
use crate::github::rest::{PageOutcome, Rest, RestError};
use crate::github::tokens::{Lease, TokenGrant, TokenPool};
use crate::lists::ListedName;
use crate::model::window::Timestamp;
use crate::store::feeds::FeedRow;

/// Pages of a feed: GitHub shows 300 events.
pub(super) const PAGES: u8 = 3;
/// Events per page.
pub(super) const PAGE_EVENTS: usize = 100;
/// Events of the last read have to be met before this position of a page, or the next page is read
/// too: an event may appear late, behind newer ones.
const MET_BEFORE: usize = 70;
/// How long a further page waits for a token's budget; then the feed is read again later. Longer
/// than the slowest pace, because a read that gives up has spent its first page for nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Sends the requests.
#[derive(Debug)]
pub(super) struct FeedReader {
    pub(super) rest: Rest,
    pub(super) pool: Arc<TokenPool>,
    pub(super) witness: Arc<Witness>,
    pub(super) clock: Clock,
}

/// The result of reading a feed.
#[derive(Debug)]
pub(super) struct FinishedRead {
    pub(super) name: ListedName,
    /// The pages that were read, newest events first.
    pub(super) pages: Vec<Entries>,
    pub(super) ended: ReadEnd,
    /// The interval in which GitHub allows the next read.
    pub(super) poll_interval: Option<Duration>,
}

/// How a read ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadEnd {
    /// Nothing has changed.
    Unchanged,
    /// All that is new was read.
    Whole {
        /// The `ETag` of the first page.
        etag: Option<String>,
        /// Whether an event of the last read was met, or the feed has no more events.
        is_joined: bool,
        /// Whether all pages were read.
        has_all: bool,
    },
    /// GitHub does not show the feed.
    Closed(u16),
    /// A limit applies, or the token is refused: nothing is wrong with the feed.
    Refused,
    /// It failed.
    Failed(String),
}

impl FeedReader {
    /// Reads the feed. `first` is the permission for the first request.
    pub(super) async fn read(&self, name: ListedName, row: FeedRow, first: Lease) -> FinishedRead {
        let path = path_of(&name, row.is_user);
        let is_deep = is_deep(&row, self.witness.stamp());
        let mut read =
            FinishedRead { name, pages: Vec::new(), ended: ReadEnd::Refused, poll_interval: None };
        let (mut lease, mut etag, mut is_joined) = (Some(first), None, false);
        for page in 1..=PAGES {
            let Some(lease) = self.lease(lease.take(), &read.name).await else { return read };
            let known = row.etag.as_deref().filter(|_| page == 1);
            let response = self.rest.fetch_feed(&path, page, lease, known).await;
            read.poll_interval = response.limits.poll_interval.or(read.poll_interval);
            if let Some(date) = response.limits.date {
                self.witness.record_date(date);
            }
            let ended = match response.outcome {
                PageOutcome::Fresh { body, etag: newest } => {
                    if page == 1 {
                        etag = newest;
                    }
                    let is_simulated = response.simulated == Some(true);
                    let entries = Entries::of_list(&body).with_simulated(is_simulated);
                    if !entries.is_whole() {
                        read.ended = ReadEnd::Failed("the page is not a JSON list".to_owned());
                        return read;
                    }
                    let all = overlap::sightings(&entries);
                    let met = all.iter().position(|event| row.head.contains(&event.hash));
                    is_joined |= met.is_some() || all.len() < PAGE_EVENTS;
                    let is_end = all.len() < PAGE_EVENTS
                        || (met.is_some_and(|at| at < MET_BEFORE) && !is_deep);
                    read.pages.push(entries);
                    if !is_end && page < PAGES {
                        continue;
                    }
                    let has_all = page == PAGES || all.len() < PAGE_EVENTS;
                    ReadEnd::Whole { etag: etag.take(), is_joined, has_all }
                }
                PageOutcome::NotModified => ReadEnd::Unchanged,
                PageOutcome::Failed(RestError::Closed { status }) => ReadEnd::Closed(status),
                PageOutcome::Limited { .. } | PageOutcome::TokenDead { .. } => ReadEnd::Refused,
                PageOutcome::Failed(error) => ReadEnd::Failed(error.to_string()),
            };
            read.ended = ended;
            return read;
        }
        read
    }

    /// The given lease, or the next one, if there is one soon.
    async fn lease(&self, given: Option<Lease>, name: &ListedName) -> Option<Lease> {
        if given.is_some() {
            return given;
        }
        let begun = self.clock.instant();
        loop {
            match self.pool.grant_feed(token_of(name)) {
                TokenGrant::Go(lease) => return Some(lease),
                TokenGrant::Wait(until) if until.duration_since(begun) > LONGEST_WAIT => {
                    return None;
                }
                TokenGrant::Wait(until) => {
                    let wait = until.saturating_duration_since(self.clock.instant());
                    self.clock.sleep(wait.max(Duration::from_millis(10))).await;
                }
            }
        }
    }
}

/// Whether all pages are to be read: once an hour, because an event may appear hours late, behind
/// more newer ones than a page has.
fn is_deep(row: &FeedRow, now: Timestamp) -> bool {
    const EVERY: Duration = Duration::from_secs(3_600);
    #[expect(clippy::cast_precision_loss, reason = "70 is small")]
    let is_busy = row.rate > MET_BEFORE as f64;
    is_busy && row.whole_at.is_some_and(|at| now.since(at) >= EVERY)
}

/// Chooses the token of a feed.
pub(super) fn token_of(name: &ListedName) -> u64 {
    xxh3_64(name.to_string().as_bytes())
}

/// The path of a feed.
pub(super) fn path_of(name: &ListedName, is_user: bool) -> String {
    match name {
        ListedName::Repo(name) => format!("repos/{name}/events"),
        ListedName::Owner(owner) if !is_user => format!("orgs/{}/events", escaped(owner)),
        ListedName::Owner(login) | ListedName::Login(login) => {
            format!("users/{}/events/public", escaped(login))
        }
    }
}

/// A login in a path: those of apps end with `[bot]`.
fn escaped(login: &str) -> String {
    login.replace('[', "%5B").replace(']', "%5D")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_github() {
        let path = |name: &str, is_user| path_of(&ListedName::parse(name).unwrap(), is_user);
        assert_eq!(path("Rust-Lang/Rust", false), "repos/rust-lang/rust/events");
        assert_eq!(path("tokio-rs/*", false), "orgs/tokio-rs/events");
        assert_eq!(path("torvalds/*", true), "users/torvalds/events/public");
        assert_eq!(path("@renovate[bot]", false), "users/renovate%5Bbot%5D/events/public");
    }
}
