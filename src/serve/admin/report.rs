//! The contents of `/status`, `/readyz` and `ghpulse status`.
//!
//! [`Status`] is written as JSON, rendered as text by [`Status::screen`], and read back by
//! `ghpulse status`. Reading fills fields that another version does not send with their defaults.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::audit::AuditReport;
use crate::model::coverage::{Enriched, Report};
use crate::model::ledger::FilledDays;
use crate::model::names::names;
use crate::model::window::Timestamp;

/// The state of the whole appliance.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Status {
    /// Whether no vital part is down.
    pub ready: bool,
    /// The version that answers.
    pub version: Cow<'static, str>,
    /// The node's name; omitted on the public listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Whether the events come from the simulated GitHub.
    pub simulated: bool,
    /// Each part, in reading order.
    pub parts: Vec<Part>,
    /// Polling of GitHub; `None` on a node that does not poll.
    pub source: Option<SourceReport>,
    /// Enrichment; `None` on a node that does not poll.
    pub enrichment: Option<Enriched>,
    /// Coverage of GitHub's feed; `None` before the first responses.
    pub completeness: Option<Report>,
    /// Lists of names (`lists.dir`), by name.
    pub lists: Vec<ListReport>,
    /// The audit; `None` without a token, before the first report, and where nothing is polled.
    pub audit: Option<AuditReport>,
    /// What `tidb.sql.repoDays` has filled of the ledger's past; `None` before the first time.
    #[serde(default)]
    pub repo_days: Option<FilledDays>,
    /// The bus between ingest and the last stage.
    pub bus: BusReport,
    /// Clients of the public listeners.
    pub clients: ClientReport,
    /// The file system of the data directory; `None` if its state cannot be read.
    pub disk: Option<DiskReport>,
    /// Memory of the process; `None` if the system does not report it.
    pub memory: Option<MemoryReport>,
    /// Backups on a schedule; `None` without `backup.dir`.
    pub backups: Option<BackupReport>,
    /// The journal.
    pub journal: JournalReport,
    /// This machine's clock.
    pub clock: ClockReport,
}

/// One part of the appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// `store`, `source`, `bus`, `tidb`, `amqp`, `scripts` or `files`.
    pub name: Cow<'static, str>,
    /// Its state.
    pub state: PartState,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// The last error, if there was one.
    pub error: Option<String>,
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
    /// It is not configured.
    Off,
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

/// An error and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReport {
    /// When it happened.
    pub at: Timestamp,
    /// The error in words.
    pub message: String,
}

/// The bus.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BusReport {
    /// `embedded` or `pulsar`.
    pub kind: Cow<'static, str>,
    /// Bytes of events that are not applied yet.
    pub backlog_bytes: u64,
    /// Events admitted since the store was created.
    pub admitted: u64,
}

/// Clients.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClientReport {
    /// Connections to the public listeners.
    pub connections: usize,
}

/// Memory of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MemoryReport {
    /// Bytes in main memory.
    pub resident_bytes: u64,
}

/// Backups on a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackupReport {
    /// When the newest backup was made; `None` without one.
    pub last: Option<Timestamp>,
    /// When the next backup is due.
    pub next: Timestamp,
    /// Since when backups have failed; `None` while they succeed.
    pub failing_since: Option<Timestamp>,
    /// Why backups fail, without a path.
    pub error: Option<String>,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DiskReport {
    /// Bytes that an ordinary user can still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub all_bytes: u64,
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct JournalReport {
    /// Bytes on disk, compressed, and in memory.
    pub bytes: u64,
    /// Age of its oldest event, seconds; `None` while it is empty.
    pub reach_seconds: Option<u64>,
}

/// The clock of this machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClockReport {
    /// `agrees`, `unconfirmed` or `disagrees`.
    pub state: Cow<'static, str>,
    /// How far it is ahead of the witness, in seconds; `None` without a witness.
    pub seconds_ahead: Option<f64>,
    /// The witness that disagrees.
    pub witness: Option<Cow<'static, str>>,
    /// When expired data were last deleted.
    pub last_retention_at: Option<Timestamp>,
}

impl Part {
    /// Whether the appliance cannot serve anything well without this part.
    fn is_vital(&self) -> bool {
        matches!(&*self.name, "store" | "bus" | "source")
    }
}

/// Whether the appliance is ready: no vital part is down.
#[must_use]
pub fn is_ready(parts: &[Part]) -> bool {
    !parts.iter().any(|part| part.is_vital() && part.state == PartState::Down)
}

names!(PartState { Ok: "ok", Degraded: "degraded", Down: "down", Off: "off" });
