//! Counts the simulated world's events in the simplest possible way.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Type and id.
pub type Key = (String, String);

/// The expected state after all events were applied once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub events: BTreeMap<Key, Value>,
    pub days: BTreeMap<String, Day>,
    pub years: BTreeMap<String, Year>,
    pub languages: BTreeMap<String, i64>,
    /// By repository and day, then by the ledger's name of what is counted.
    pub ledger: BTreeMap<(u64, String), BTreeMap<&'static str, u64>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Day {
    pub open: i64,
    pub merge: i64,
    pub close: i64,
    pub additions: i64,
    pub deletions: i64,
    pub developers: BTreeSet<u64>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Year {
    pub developers: BTreeSet<u64>,
    pub repositories: BTreeSet<u64>,
}

impl Expected {
    /// Counts events; duplicates count once.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a str>) -> Self {
        let mut expected = Self::default();
        for text in events {
            expected.add(text);
        }
        expected
    }

    /// Counts one event.
    pub fn add(&mut self, text: &str) {
        let event: Value = serde_json::from_str(text).expect("the world makes JSON");
        let key = key_of(&event);
        if self.events.contains_key(&key) {
            return;
        }
        if key.0 == "PullRequestEvent" {
            self.add_pull_request(&event);
        }
        self.add_to_ledger(&event);
        self.events.insert(key, event);
    }

    fn add_to_ledger(&mut self, event: &Value) {
        let merged = event["payload"]["pull_request"]["merged"] == true;
        let kind = event["type"].as_str().unwrap_or_default();
        let name = match (kind, event["payload"]["action"].as_str().unwrap_or_default()) {
            ("WatchEvent", _) => "stars",
            ("ForkEvent", _) => "forks",
            ("PushEvent", _) => "pushes",
            ("PullRequestEvent", "opened") => "prs_opened",
            ("PullRequestEvent", "merged") => "prs_merged",
            ("PullRequestEvent", "closed") if merged => "prs_merged",
            ("PullRequestEvent", "closed") => "prs_closed",
            ("IssuesEvent", "opened") => "issues_opened",
            ("IssuesEvent", "closed") => "issues_closed",
            ("ReleaseEvent", "published") => "releases",
            _ => return,
        };
        let Some(repo) = event["repo"]["id"].as_u64() else { return };
        let day = event["created_at"].as_str().expect("the world's events have a time");
        let day = self.ledger.entry((repo, day[..10].to_owned())).or_default();
        *day.entry(name).or_default() += 1;
    }

    fn add_pull_request(&mut self, event: &Value) {
        let created_at = event["created_at"].as_str().expect("the world's events have a time");
        let day = self.days.entry(created_at[..10].to_owned()).or_default();
        let year = self.years.entry(created_at[..4].to_owned()).or_default();
        let pull = &event["payload"]["pull_request"];
        let merged = pull["merged"] == true;
        match event["payload"]["action"].as_str() {
            Some("opened") => day.open += 1,
            Some("closed") if !merged => day.close += 1,
            Some("closed" | "merged") => {
                day.merge += 1;
                day.additions += pull["additions"].as_i64().unwrap_or(0);
                day.deletions += pull["deletions"].as_i64().unwrap_or(0);
            }
            _ => {}
        }
        if let Some(actor) = event["actor"]["id"].as_u64() {
            day.developers.insert(actor);
            year.developers.insert(actor);
        }
        if let Some(repo) = event["repo"]["id"].as_u64() {
            year.repositories.insert(repo);
        }
        if let Some(language) = pull["base"]["repo"]["language"].as_str() {
            *self.languages.entry(language.to_owned()).or_default() += 1;
        }
    }
}

/// GitHub's data about pull requests by number, from `Control::pull_requests`.
pub struct Truth(BTreeMap<u64, Value>);

impl Truth {
    pub fn of(pulls: &[String]) -> Self {
        let pull = |text: &String| serde_json::from_str::<Value>(text).expect("it is JSON");
        let numbered = |pull: Value| (pull["id"].as_u64().expect("each has a number"), pull);
        Self(pulls.iter().map(pull).map(numbered).collect())
    }

    /// Fills in the pull-request fields that GitHub left out of the event.
    pub fn completed(&self, text: &str) -> String {
        let mut event: Value = serde_json::from_str(text).expect("the world makes JSON");
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        let Some(pull) = event.pointer_mut("/payload/pull_request") else { return text.to_owned() };
        let truth = &self.0[&pull["id"].as_u64().expect("each has a number")];
        let mut put = |object: &str, name: &str, value: &Value| {
            let object = pull.pointer_mut(object).and_then(Value::as_object_mut);
            object.expect("it is there").entry(name).or_insert_with(|| value.clone());
        };
        if kind == "PullRequestEvent" {
            for name in ["additions", "deletions", "changed_files", "title", "draft"] {
                put("", name, &truth[name]);
            }
        }
        let language = &truth["base"]["repo"]["language"];
        if kind == "PullRequestEvent" || !language.is_null() {
            put("/base/repo", "language", language);
        }
        event.to_string()
    }
}

pub fn key_of(event: &Value) -> Key {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    (text("type"), text("id"))
}

/// Restores an event that readers received to the form in which GitHub sent it: adds `merged` where
/// it was left out.
pub fn as_sent(mut event: Value, sent: &Value) -> Value {
    if sent["payload"]["pull_request"].get("merged").is_none()
        && let Some(Value::Object(pull)) = event.pointer_mut("/payload/pull_request")
    {
        pull.remove("merged");
    }
    event
}
