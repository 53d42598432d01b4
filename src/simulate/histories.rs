//! The events of single repositories, owners and people, as `/repos/…/events` and the like show
//! them: the newest 300 of the last 30 days, each from some time after it was put in.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::faults::lot;
use super::feed::{FeedEntry, VISIBLE};
use crate::model::window::Timestamp;

/// How long events are shown.
const SHOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Mixed into the randomness of the time after which an event is visible.
const SALT: u64 = 65;

/// Whose events a feed shows; names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum HistoryOf {
    /// A repository, as `owner/name`.
    Repository(String),
    /// An organization.
    Organization(String),
    /// A person.
    Person(String),
}

/// An event, and when feeds show it.
struct HistoryEntry {
    entry: FeedEntry,
    visible_at: Timestamp,
    created_at: Option<Timestamp>,
    of: Vec<HistoryOf>,
}

/// All events that are remembered.
#[derive(Default)]
pub(super) struct Histories {
    limit: usize,
    delay: Duration,
    /// The number of the first event that is still remembered.
    first: u64,
    entries: VecDeque<HistoryEntry>,
    /// Numbers of the events of each, oldest first.
    by: HashMap<HistoryOf, VecDeque<u64>>,
    /// Owners of repositories that are no organizations.
    people: HashSet<String>,
    /// Feeds that are refused with this status.
    pub(super) closed: HashMap<HistoryOf, u16>,
    /// Old names of repositories, and their new ones.
    pub(super) renamed: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Named {
    repo: Option<NamedRepository>,
    actor: Option<NamedAccount>,
    org: Option<NamedAccount>,
    created_at: Option<String>,
}

#[derive(Deserialize)]
struct NamedRepository {
    name: String,
}

#[derive(Deserialize)]
struct NamedAccount {
    login: String,
}

impl Histories {
    /// Remembers up to `limit` events, each of which is visible within `delay`.
    pub(super) fn new(limit: usize, delay: Duration) -> Self {
        Self { limit, delay, ..Self::default() }
    }

    /// Puts in the event with this number, which is one more than that of the last one.
    pub(super) fn put(&mut self, seed: u64, number: u64, text: &Arc<str>, now: Timestamp) {
        let named = serde_json::from_str::<Named>(text).ok();
        let mut of = Vec::new();
        let created_at = named.as_ref().and_then(|named| named.created_at.as_deref());
        let created_at = created_at.and_then(Timestamp::parse);
        if let Some(Named { repo, actor, org, .. }) = named {
            let lower = |text: &str| text.to_ascii_lowercase();
            let repo = repo.map(|repo| lower(&repo.name));
            let owner = repo.as_deref().and_then(|name| name.split_once('/')).map(|(o, _)| o);
            match (org, owner) {
                (Some(org), _) => of.push(HistoryOf::Organization(lower(&org.login))),
                (None, Some(owner)) => _ = self.people.insert(owner.to_owned()),
                (None, None) => {}
            }
            of.extend(repo.map(HistoryOf::Repository));
            of.extend(actor.map(|actor| HistoryOf::Person(lower(&actor.login))));
        }
        for of in &of {
            self.by.entry(of.clone()).or_default().push_back(number);
        }
        let delay = self.delay.mul_f64(lot(seed, number, SALT).f64());
        let entry = FeedEntry { number, text: text.clone() };
        self.entries.push_back(HistoryEntry { entry, visible_at: now.plus(delay), created_at, of });
        if self.entries.len() > self.limit
            && let Some(gone) = self.entries.pop_front()
        {
            self.first += 1;
            for of in gone.of {
                if let Some(numbers) = self.by.get_mut(&of) {
                    numbers.pop_front();
                    if numbers.is_empty() {
                        self.by.remove(&of);
                    }
                }
            }
        }
    }

    /// Whether this owner of repositories is known to be a person.
    pub(super) fn is_person(&self, login: &str) -> bool {
        self.people.contains(login)
            && !self.by.contains_key(&HistoryOf::Organization(login.to_owned()))
    }

    /// A page, newest first; pages count from 1.
    pub(super) fn page(
        &self,
        of: &HistoryOf,
        (page, per_page): (usize, usize),
        now: Timestamp,
    ) -> Vec<FeedEntry> {
        let numbers = self.by.get(of).into_iter().flatten().rev();
        let oldest = now.minus(SHOWN_FOR);
        numbers
            .filter_map(|number| self.entries.get(usize::try_from(number - self.first).ok()?))
            .filter(|entry| entry.visible_at <= now)
            .filter(|entry| entry.created_at.is_none_or(|at| at >= oldest))
            .take(VISIBLE)
            .skip((page - 1) * per_page)
            .take(per_page)
            .map(|entry| entry.entry.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u64, repo: &str, actor: &str, org: Option<&str>) -> Arc<str> {
        let org = org.map(|org| format!(r#","org":{{"login":"{org}"}}"#)).unwrap_or_default();
        format!(r#"{{"id":"{id}","repo":{{"name":"{repo}"}},"actor":{{"login":"{actor}"}}{org}}}"#)
            .into()
    }

    #[test]
    fn each_has_its_newest_300_events() {
        let at = Timestamp::from_seconds(1_800_000_000);
        let mut all = Histories::new(1_000, Duration::ZERO);
        for id in 0..900 {
            let (repo, org) = if id % 2 == 0 { ("A/b", None) } else { ("C/d", Some("C")) };
            all.put(1, id, &event(id, repo, "Ann", org), at);
        }
        let page = |of: HistoryOf, page| {
            let entries = all.page(&of, (page, 100), at);
            (entries.len(), entries.first().map(|entry| entry.number))
        };
        let repo = HistoryOf::Repository("a/b".to_owned());
        assert_eq!(page(repo.clone(), 1), (100, Some(898)));
        assert_eq!(page(repo.clone(), 3), (100, Some(498)));
        assert_eq!(page(repo, 4), (0, None));
        assert_eq!(page(HistoryOf::Organization("c".to_owned()), 1), (100, Some(899)));
        assert_eq!(page(HistoryOf::Person("ann".to_owned()), 1), (100, Some(899)));
        assert_eq!(page(HistoryOf::Repository("x/y".to_owned()), 1), (0, None));
        assert!(all.is_person("a") && !all.is_person("c") && !all.is_person("x"));
    }

    #[test]
    fn events_become_visible_and_are_forgotten() {
        let at = Timestamp::from_seconds(1_800_000_000);
        let mut all = Histories::new(10, Duration::from_secs(60));
        for id in 0..30 {
            all.put(1, id, &event(id, "a/b", "ann", None), at);
        }
        let of = HistoryOf::Repository("a/b".to_owned());
        let seen = |seconds| all.page(&of, (1, 100), at.plus(Duration::from_secs(seconds))).len();
        assert!(seen(0) < 10 && seen(30) >= seen(0), "{} {}", seen(0), seen(30));
        assert_eq!(seen(60), 10);
    }
}
