//! The parts of the appliance: what stages report of themselves, as `/status` shows it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::names;
use super::window::Timestamp;

/// One part of the appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// `store`, `source`, `bus`, `tidb`, `amqp`, `scripts`, `files` or `lists`.
    pub name: Cow<'static, str>,
    /// Its state.
    pub state: PartState,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// The last error, if there was one.
    pub error: Option<String>,
    /// What else is to be known of it, such as that it is on standby: fixed words, for everybody.
    /// Omitted where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub note: Option<Cow<'static, str>>,
}

/// The state of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum PartState {
    /// It works.
    Ok,
    /// It works with something missing.
    Degraded,
    /// It does not work.
    Down,
    /// It is not configured, or on standby.
    Off,
}

/// An error and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReport {
    /// When it happened.
    pub at: Timestamp,
    /// The error in words.
    pub message: String,
}

/// Polling of GitHub.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SourceReport {
    /// `tokens` or `anonymous`.
    pub mode: Cow<'static, str>,
    /// `ok`, `degraded` or `down`.
    pub state: Cow<'static, str>,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Tokens neither quarantined nor used up for now.
    pub tokens_usable: usize,
    /// Tokens that GitHub refuses.
    pub tokens_benched: usize,
    /// Accounts of the tokens, as far as GitHub has named them.
    pub accounts: usize,
    /// Usual interval between two polls of a page, seconds.
    pub poll_interval_seconds: f64,
    /// When a page last received a response.
    pub last_poll_at: Option<Timestamp>,
    /// When the next page is due; `None` while one is in flight.
    pub next_poll_at: Option<Timestamp>,
    /// The GitHub App; `None` without one, and for the public.
    pub app: Option<AppReport>,
    /// The last error; it stays after recovery.
    pub last_error: Option<ErrorReport>,
}

/// A GitHub App (`github.app`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AppReport {
    /// Its id, as configured.
    pub id: String,
    /// Why its installations cannot be listed now.
    pub error: Option<String>,
    /// Its installations, by id.
    pub installations: Vec<InstallationReport>,
}

/// An installation of a GitHub App.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InstallationReport {
    /// GitHub's id of it.
    pub id: u64,
    /// The login of its account.
    pub account: String,
    /// When its token expires; `None` while it has none.
    pub token_expires_at: Option<Timestamp>,
    /// Why it has no token, or no new one.
    pub error: Option<String>,
}

/// A list of names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListReport {
    /// The name of the list.
    pub name: String,
    /// Number of names on it.
    pub names: usize,
    /// Whether it is marked `complete: true`.
    pub complete: bool,
    /// Events on it that were admitted since it exists; `None` on a node that does not poll.
    pub seen: Option<u64>,
    /// Those of them that the feed of a name showed before the public feed.
    pub filled: Option<u64>,
    /// Times when certainly not all events of a name were seen: more than the 300 that its feed
    /// shows came between two reads.
    pub certain_holes: Option<u64>,
    /// The feeds of its names; `None` unless it is complete.
    pub feeds: Option<ListFeedsReport>,
    /// The first 20 names that are not complete, and why.
    pub incomplete: Vec<IncompleteName>,
    /// Why its file is not in force; the last good text is.
    pub error: Option<String>,
}

/// The feeds of the names on a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListFeedsReport {
    /// Number of feeds that were read.
    pub read: usize,
    /// Number of feeds that wait for their first read.
    pub waiting: usize,
    /// Number of feeds that GitHub does not show.
    pub closed: usize,
}

/// A name on a complete list that is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncompleteName {
    /// The name.
    pub name: String,
    /// Why: its feed does not exist, is blocked, or has another name.
    pub reason: String,
    /// Since when, where it is known.
    pub since: Option<Timestamp>,
}

names!(PartState { Ok: "ok", Degraded: "degraded", Down: "down", Off: "off" });

impl AppReport {
    /// All that is wrong, for display; `None` when nothing is.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let id = &self.id;
        let whole = self.error.iter().map(|error| format!("GitHub App {id}: {error}"));
        let each = self.installations.iter().filter_map(|one| {
            let error = one.error.as_ref()?;
            Some(format!("GitHub App {id}, installation {} ({}): {error}", one.id, one.account))
        });
        let none = self.error.is_none() && self.installations.is_empty();
        let none = none.then(|| format!("GitHub App {id}: it is installed on no account"));
        let all: Vec<String> = whole.chain(each).chain(none).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_names_the_app_and_the_installation() {
        let one = |error: Option<&str>| InstallationReport {
            id: 42,
            account: "octo".to_owned(),
            token_expires_at: None,
            error: error.map(str::to_owned),
        };
        let mut report =
            AppReport { id: "123".to_owned(), error: None, installations: vec![one(None)] };
        assert_eq!(report.words(), None);
        report.installations[0] = one(Some("no token (403)"));
        report.error = Some("key refused (401)".to_owned());
        let expected = "GitHub App 123: key refused (401); \
                        GitHub App 123, installation 42 (octo): no token (403)";
        assert_eq!(report.words().as_deref(), Some(expected));
        let nowhere = AppReport { id: "123".to_owned(), ..AppReport::default() };
        assert!(nowhere.words().unwrap().ends_with("installed on no account"));
    }
}
