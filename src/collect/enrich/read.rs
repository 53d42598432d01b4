//! Reads the inbox: what an event contains, which fields it is missing, and which repository
//! languages it reveals.

use std::sync::Arc;

use tokio::time::Instant;

use crate::github::graphql::{WantedPull, WantedPush};
use crate::lists::LiveList;
use crate::model::envelope::Facts;
use crate::model::event::Event;
use crate::model::json;
use crate::model::missing_fields::MissingFields;
use crate::model::push::{MissingCommits, PUSH};
use crate::model::window::Timestamp;
use crate::store::keys::{BodyKey, InboxKey, Key as _, RepoKey};
use crate::store::repos::RepoRow;
use crate::store::rows::decode_inbox;
use crate::store::{Reader, StoreError};

/// Maximum number of events read at once.
const EVENTS: usize = 1_000;
/// Maximum number of bytes of events read at once.
const EVENT_BYTES: usize = 8 << 20;

/// An admitted event with its facts.
#[derive(Debug, Clone)]
pub(super) struct AdmittedEvent {
    /// Its sequence number in the inbox.
    pub(super) admission: u64,
    pub(super) facts: Facts,
    /// Whether GitHub left the language out.
    pub(super) is_missing_language: bool,
    /// When it was received.
    pub(super) since: Instant,
}

/// A repository and its language; `None` means that it has none.
pub(super) type CachedLanguage = (RepoKey, Option<String>);

/// What has to be fetched for an event.
pub(super) enum WantedFields {
    /// Its pull request.
    Pull(WantedPull),
    /// The commits of its push.
    Push(WantedPush),
}

/// The result of reading the inbox.
#[derive(Default)]
pub(super) struct InboxBatch {
    /// The events and what to fetch for each, in admission order.
    pub(super) events: Vec<(AdmittedEvent, Option<WantedFields>)>,
    pub(super) cached: Vec<CachedLanguage>,
}

/// When the inbox is read, and since when its rows may be there.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadTime {
    pub(super) wall: Timestamp,
    pub(super) now: Instant,
    /// The rows were admitted after this: the inbox was read to its end then. `None` after a start.
    pub(super) admitted_after: Option<Instant>,
}

impl ReadTime {
    /// When an event was received. The time that it spent in the inbox counts, so a restart does
    /// not restart its wait. A clock that steps ahead makes no event of this process older.
    fn of(self, received_at: Timestamp) -> Instant {
        let since = self.now.checked_sub(self.wall.since(received_at)).unwrap_or(self.now);
        self.admitted_after.map_or(since, |after| since.max(after))
    }
}

/// Reads the inbox, starting at an admission. The commits of pushes to repositories on these lists
/// are wanted.
pub(super) fn read(
    reader: Reader<'_>,
    from: u64,
    time: ReadTime,
    lists: &[Arc<LiveList>],
) -> Result<InboxBatch, StoreError> {
    let mut reading = InboxBatch::default();
    let mut bytes = 0;
    reader.scan(&InboxKey(from), |key, value| {
        let received = decode_inbox(key, value)?;
        let body = BodyKey(key.0);
        let missing = || StoreError::corrupt("bodies", &body.to_bytes());
        let raw = reader.get(&body)?.ok_or_else(missing)?;
        let text = std::str::from_utf8(&raw).map_err(|_| missing())?;
        let event = Event::read(text).map_err(|_| missing())?;
        reading.add(reader, (key.0, &event), (received, time), lists)?;
        bytes += raw.len();
        Ok(reading.events.len() < EVENTS && bytes < EVENT_BYTES)
    })?;
    Ok(reading)
}

impl InboxBatch {
    fn add(
        &mut self,
        reader: Reader<'_>,
        (admission, event): (u64, &Event<'_>),
        ((received_at, simulated), time): ((Timestamp, bool), ReadTime),
        lists: &[Arc<LiveList>],
    ) -> Result<(), StoreError> {
        let missing = MissingFields::of(event);
        let mut admitted = AdmittedEvent {
            admission,
            facts: Facts { simulated, ..Facts::of(event, received_at) },
            is_missing_language: missing.as_ref().is_some_and(|missing| missing.language),
            since: time.of(received_at),
        };
        self.cached.extend(cached(event, missing.as_ref()));
        let mut wanted = None;
        if let Some(missing) = missing_commits(event, lists) {
            admitted.facts.enriched = false;
            wanted = wanted_push(event, missing).map(WantedFields::Push);
        }
        if let Some(missing) = missing.filter(MissingFields::is_wanting) {
            let known = match missing.base_repo_id.filter(|_| missing.language).map(RepoKey) {
                Some(key) => reader.get_as(&key, RepoRow::decode)?,
                None => None,
            };
            let fresh = known.as_ref().is_some_and(|row| row.is_fresh(time.wall));
            if let Some(row) = known {
                admitted.facts.language = row.language;
            }
            if fresh && !missing.additions && !missing.deletions {
                admitted.facts.enriched = true;
            } else {
                wanted = wanted_of(event, &missing).map(WantedFields::Pull);
            }
        }
        self.events.push((admitted, wanted));
        Ok(())
    }
}

/// The names to query GitHub with; `None` when the event does not have one of them.
fn wanted_of(event: &Event<'_>, missing: &MissingFields<'_>) -> Option<WantedPull> {
    let repo = event.repo_name.as_deref().filter(|name| name.contains('/'))?;
    Some(WantedPull {
        base_repo_id: missing.base_repo_id?,
        pull_id: missing.pull_id?,
        repo: repo.to_owned(),
        number: missing.number?,
    })
}

/// What is missing of a push to a repository on one of the lists.
fn missing_commits<'a>(event: &Event<'a>, lists: &[Arc<LiveList>]) -> Option<MissingCommits<'a>> {
    if lists.is_empty() || event.key.kind != PUSH {
        return None;
    }
    let repo = event.repo_name.as_deref()?.to_ascii_lowercase();
    let is_listed = lists.iter().any(|list| list.holds(Some(&repo), None));
    is_listed.then(|| MissingCommits::of(event)).flatten()
}

/// The push to query GitHub with; `None` when the event does not say from where to where it went.
fn wanted_push(event: &Event<'_>, missing: MissingCommits<'_>) -> Option<WantedPush> {
    let repo = event.repo_name.as_deref().filter(|name| name.contains('/'))?;
    let (head, before) = missing.range?;
    let repo_url = missing.repo_url.map(std::borrow::Cow::into_owned);
    Some(WantedPush { repo_id: event.repo_id?, repo: repo.to_owned(), repo_url, head, before })
}

/// The repository languages that the event contains.
fn cached(event: &Event<'_>, missing: Option<&MissingFields<'_>>) -> Vec<CachedLanguage> {
    let named = |text: &str| json::text(text).map(std::borrow::Cow::into_owned);
    if let Some(missing) = missing {
        let Some(sent) = missing.sent_language else { return Vec::new() };
        let language = named(sent);
        let is_known = sent == "null" || language.is_some();
        let key = missing.base_repo_id.filter(|_| is_known);
        return key.map(|id| (RepoKey(id), language)).into_iter().collect();
    }
    if event.key.kind != "ForkEvent" {
        return Vec::new();
    }
    let [forkee] = event.payload.map_or([None], |payload| json::pick(payload, ["forkee"]));
    let [id, language] = forkee.map_or([None; 2], |forkee| json::pick(forkee, ["id", "language"]));
    // A fork starts with the language of its parent. A null only means that GitHub has not looked
    // yet.
    let Some(language) = language.and_then(named) else { return Vec::new() };
    let ids = [id.and_then(json::whole), event.repo_id];
    ids.into_iter().flatten().map(|id| (RepoKey(id), Some(language.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taught_by(text: &str) -> Vec<CachedLanguage> {
        let event = Event::read(text).unwrap();
        cached(&event, MissingFields::of(&event).as_ref())
    }

    #[test]
    fn a_fork_teaches_its_language_and_its_parents() {
        let fork = |language: &str| {
            format!(
                r#"{{"id":"1","type":"ForkEvent","repo":{{"id":5,"name":"a/b"}},
                "payload":{{"forkee":{{"id":9,"language":{language}}}}}}}"#
            )
        };
        let zig = || Some("Zig".to_owned());
        assert_eq!(taught_by(&fork("\"Zig\"")), [(RepoKey(9), zig()), (RepoKey(5), zig())]);
        assert_eq!(taught_by(&fork("null")), []);
    }

    #[test]
    fn only_old_payloads_teach_the_base_repository() {
        let pull = |language: &str| {
            format!(
                r#"{{"id":"1","type":"PullRequestEvent","payload":{{"pull_request":
                {{"base":{{"repo":{{"id":9{language}}}}}}}}}}}"#
            )
        };
        assert_eq!(taught_by(&pull(",\"language\":\"C\"")), [(RepoKey(9), Some("C".to_owned()))]);
        assert_eq!(taught_by(&pull(",\"language\":null")), [(RepoKey(9), None)]);
        assert_eq!(taught_by(&pull(",\"language\":7")), []);
        assert_eq!(taught_by(&pull("")), []);
    }

    #[test]
    fn commits_are_wanted_of_listed_repositories_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine.txt"), "Own/*\na/b\n@ann\n").unwrap();
        let lists = crate::lists::Lists::open(dir.path()).all();
        let [head, before] = ["a", "b"].map(|digit| digit.repeat(40));
        let push = |repo: &str, actor: &str, commits: &str| {
            format!(
                r#"{{"id":"1","type":"PushEvent","actor":{{"login":"{actor}"}},
                "repo":{{"id":5,"name":"{repo}"}},
                "payload":{{"head":"{head}","before":"{before}"{commits}}}}}"#
            )
        };
        let wanted = |text: &str, lists: &[Arc<LiveList>]| {
            let event = Event::read(text).unwrap();
            let missing = missing_commits(&event, lists)?;
            wanted_push(&event, missing)
        };
        let found = wanted(&push("A/B", "x", ""), &lists).unwrap();
        assert_eq!((found.repo_id, &*found.repo, &found.head), (5, "A/B", &head));
        assert!(wanted(&push("own/any", "x", ""), &lists).is_some());
        assert_eq!(wanted(&push("c/d", "ann", ""), &lists), None, "who pushes does not matter");
        assert_eq!(wanted(&push("a/b", "x", r#","commits":[]"#), &lists), None);
        assert_eq!(wanted(&push("a/b", "x", ""), &[]), None);
    }

    #[test]
    fn clock_that_steps_ahead_makes_no_event_older() {
        let (wall, second) = (Timestamp::from_seconds(1_800_000_000), Duration::from_secs(1));
        let start = crate::clock::Clock::system().instant();
        let now = start + 100 * second;
        let of = |admitted_after, age| {
            ReadTime { wall, now, admitted_after }.of(wall.minus(age * second))
        };
        assert_eq!(of(None, 60), now - 60 * second, "after a restart its age counts");
        assert_eq!(of(Some(now - second), 60), now - second);
        assert_eq!(of(Some(start), 60), now - 60 * second);
    }
}
