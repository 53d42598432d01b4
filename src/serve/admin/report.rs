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
use crate::model::part::{ListReport, Part, PartState, SourceReport};
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
    #[schemars(with = "String")]
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

/// Whether the appliance is ready: no part is down without which it cannot serve anything well.
#[must_use]
pub fn is_ready(parts: &[Part]) -> bool {
    let is_vital = |part: &Part| matches!(&*part.name, "store" | "bus" | "source");
    !parts.iter().any(|part| is_vital(part) && part.state == PartState::Down)
}
