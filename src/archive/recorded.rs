//! Reads events of any year as far as they are counted.
//!
//! There are three formats: today's and the full one of 2015 to 2025 (and of 2011), which [`Event`]
//! reads, and the timeline's of 2012 to 2014. The latter has no event id, names the actor by login
//! only, has `repository` for `repo`, and Pacific times, at first written as `2012/03/11 12:00:00
//! -0700`. An actor or repository without an id gets a number derived from its name.

use std::borrow::Cow;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::model::envelope::{Facts, Flags};
use crate::model::event::{Event, EventId, InvalidEvent};
use crate::model::json;
use crate::model::ledger::LedgerMetric;
use crate::model::window::Timestamp;

/// Bit of numbers that are derived from a name: GitHub's ids are far below.
const OF_A_NAME: u64 = 1 << 63;

/// An event, as far as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordedEvent<'a> {
    /// Hash of type and id.
    pub(super) key: u128,
    pub(super) created_at: Option<Timestamp>,
    pub(super) pull: Option<RecordedPull>,
    pub(super) of_repo: Option<RecordedForRepo<'a>>,
}

/// What the ledger counts of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordedForRepo<'a> {
    pub(super) repo: u64,
    pub(super) metric: LedgerMetric,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) language: Option<String>,
}

/// A pull-request event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecordedPull {
    pub(super) flags: Flags,
    pub(super) additions: u64,
    pub(super) deletions: u64,
    pub(super) actor: Option<u64>,
    pub(super) repo: Option<u64>,
}

impl<'a> RecordedEvent<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, InvalidEvent> {
        let event = Event::read(text)?;
        let created_at = event.created_at.or_else(|| {
            let [at] = json::pick(text, ["created_at"]);
            first_form(&at.and_then(json::text)?)
        });
        let facts = Facts::of(&event, Timestamp::default());
        let (pull, of_repo) = (pull_of(&event, &facts), of_repo(&event, &facts));
        Ok(Self { key: key_of(&event), created_at, pull, of_repo })
    }
}

/// What the ledger counts; `None` for a repository without an id of GitHub.
fn of_repo<'a>(event: &Event<'a>, facts: &Facts) -> Option<RecordedForRepo<'a>> {
    let action = || {
        let [action] = json::pick(event.payload?, ["action"]);
        json::text(action?)
    };
    let metric = LedgerMetric::of(&event.key.kind, facts.flags, action)?;
    let language = facts.counted_language().map(str::to_owned);
    if let Some(repo) = event.repo_id {
        let name = event.repo_name.clone();
        return Some(RecordedForRepo { repo, metric, name, language });
    }
    let [repository] = json::pick(event.text, ["repository"]);
    let [id, owner, name] = json::pick(repository?, ["id", "owner", "name"]);
    let name = || {
        let (owner, name) = (json::text(owner?)?, json::text(name?)?);
        Some(Cow::Owned(format!("{owner}/{name}")))
    };
    Some(RecordedForRepo { repo: id.and_then(json::whole)?, metric, name: name(), language })
}

fn pull_of(event: &Event<'_>, facts: &Facts) -> Option<RecordedPull> {
    facts.flags.pr.then(|| {
        let lines = |n: Option<u64>| if facts.flags.merge { n.unwrap_or(0) } else { 0 };
        RecordedPull {
            flags: facts.flags,
            additions: lines(facts.additions),
            deletions: lines(facts.deletions),
            actor: event.actor_id.or_else(|| timeline_actor(event.text)),
            repo: event.repo_id.or_else(|| timeline_repository(event.text)),
        }
    })
}

/// Type and id in 128 bits, so that the few million events of an hour do not collide.
pub(super) fn key_of(event: &Event<'_>) -> u128 {
    key_of_parts(&event.key.id, &event.key.kind)
}

/// The same of an id and a type; the type is empty when there is none.
pub(super) fn key_of_parts(id: &EventId, kind: &str) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(kind.as_bytes());
    match id {
        EventId::Number(number) => {
            hash.update(&[0]);
            hash.update(&number.to_be_bytes());
        }
        EventId::Text(text) => {
            hash.update(&[1]);
            hash.update(text.as_bytes());
        }
    }
    hash.digest128()
}

fn timeline_actor(text: &str) -> Option<u64> {
    let [actor, attributes] = json::pick(text, ["actor", "actor_attributes"]);
    let [login] = attributes.map_or([None], |object| json::pick(object, ["login"]));
    let login = actor.and_then(json::text).or_else(|| login.and_then(json::text));
    login.filter(|login| !login.is_empty()).map(|login| number_of(&login))
}

fn timeline_repository(text: &str) -> Option<u64> {
    let [repository] = json::pick(text, ["repository"]);
    let [id, url] = json::pick(repository?, ["id", "url"]);
    let url = || url.and_then(json::text).filter(|url| !url.is_empty());
    id.and_then(json::whole).or_else(|| url().map(|url| number_of(&url)))
}

/// A number derived from a name, ignoring case as GitHub does.
fn number_of(name: &str) -> u64 {
    OF_A_NAME | xxh3_64(name.to_ascii_lowercase().as_bytes())
}

/// Reads `2012/03/11 12:00:00 -0700`.
fn first_form(text: &str) -> Option<Timestamp> {
    let mut parts = text.split_ascii_whitespace();
    let (date, time, offset) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (hours, minutes) = offset.split_at_checked(3)?;
    Timestamp::parse(&format!("{}T{time}{hours}:{minutes}", date.replace('/', "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMELINE: &str = r#"{"created_at":"2012/03/11 12:00:00 -0700","public":true,
        "type":"PullRequestEvent","actor":"Ann","actor_attributes":{"login":"Ann","type":"User"},
        "url":"https://github.com/ann/tool/pull/3","payload":{"number":3,"action":"closed",
        "pull_request":{"id":5,"merged":true,"additions":7,"deletions":2}},
        "repository":{"id":9,"name":"tool","owner":"ann","url":"https://github.com/ann/tool"}}"#;

    #[test]
    fn the_timelines_shape_is_counted_too() {
        let read = RecordedEvent::read(TIMELINE).unwrap();
        assert_eq!(read.created_at.unwrap().to_string(), "2012-03-11T19:00:00Z");
        let pull = read.pull.clone().unwrap();
        assert!(pull.flags.merge && !pull.flags.close);
        assert_eq!((pull.additions, pull.deletions, pull.repo), (7, 2, Some(9)));
        let lower = TIMELINE.replace("Ann", "ann");
        let lower = RecordedEvent::read(&lower).unwrap();
        assert_eq!(lower.pull.unwrap().actor, pull.actor);
        assert!(pull.actor.unwrap() >= OF_A_NAME);
        // Without an id, the text identifies the event.
        assert_eq!(RecordedEvent::read(TIMELINE).unwrap().key, read.key);
        assert_ne!(RecordedEvent::read(&TIMELINE.replace(":7,", ":8,")).unwrap().key, read.key);
    }

    #[test]
    fn a_repository_without_an_id_is_known_by_its_address() {
        let text = TIMELINE.replace("\"id\":9,", "");
        let repo = RecordedEvent::read(&text).unwrap().pull.unwrap().repo.unwrap();
        assert!(repo >= OF_A_NAME);
    }

    #[test]
    fn later_timelines_write_times_as_today() {
        let text = TIMELINE.replace("2012/03/11 12:00:00 -0700", "2013-01-01T00:47:10-08:00");
        let read = RecordedEvent::read(&text).unwrap();
        assert_eq!(read.created_at.unwrap().to_string(), "2013-01-01T08:47:10Z");
        for wrong in ["", "2012/03/11", "2012/03/11 12:00:00 x", "2012/13/11 12:00:00 -0700"] {
            assert_eq!(first_form(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_shape_of_2015_has_ids() {
        let text = r#"{"id":"2489651045","type":"PullRequestEvent","actor":{"id":4,"login":"x"},
            "repo":{"id":8,"name":"x/y"},"payload":{"action":"opened","number":1,"pull_request":{
            "merged":false,"additions":5}},"created_at":"2015-01-01T15:00:00Z"}"#;
        let pull = RecordedEvent::read(text).unwrap().pull.unwrap();
        assert!(pull.flags.open);
        assert_eq!((pull.actor, pull.repo, pull.additions), (Some(4), Some(8), 0));
    }
}
