//! The interface through which the server uses the appliance.
//!
//! Files are exchanged through directories in the data directory with unguessable names. The
//! command and the appliance may see different file systems (a sandbox, another user), and the
//! appliance opens no other file on behalf of a network client.

use std::collections::BTreeMap;
use std::ops::Range;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::report::Status;
use crate::model::activity::{Chart, CountedHour, HourCompleteness};
use crate::model::audit::HourShares;
use crate::model::ledger::{RankedBy, RankedWindow, RepoSeries, TopRepos};
use crate::model::part::{ListReport, Part};
use crate::model::script_report::ScriptReport;
use crate::model::tally::Tally;
use crate::model::window::Hour;

/// The operations of the appliance that the server exposes.
pub trait Operate: Send + Sync + 'static {
    /// The state of each part, in reading order.
    fn parts(&self) -> Vec<Part>;

    /// Updates the counts from `TiDB` now. Concurrent calls share one run.
    fn sync(&self) -> BoxFuture<'static, SyncAnswer>;

    /// Whether the events come from the simulated GitHub.
    fn simulated(&self) -> bool;

    /// The status; `clients` is the number of connections to the public listeners.
    fn status(&self, clients: usize) -> Status;

    /// The lists of names, and how complete they are.
    fn lists(&self) -> Vec<ListReport>;

    /// The merge script in use.
    fn script(&self) -> ScriptState;

    /// Events by type and step, and the part of all that was seen.
    fn chart(&self, _: ChartSpan) -> StoreReading<Chart> {
        nothing_kept()
    }

    /// Completeness by hour of receipt, oldest first, for this range of hours since 1970; and the
    /// audit's shares by hour.
    fn completeness(&self, _: Range<i64>) -> StoreReading<CompletenessByHour> {
        nothing_kept()
    }

    /// Counts by hour of `created_at`, oldest first, for this range of hours since 1970.
    fn counted_hours(&self, _: Range<i64>) -> StoreReading<Vec<CountedHour>> {
        nothing_kept()
    }

    /// Which hours of `created_at` were imported, oldest first, in this range of hours since 1970.
    fn imported_hours(&self, _: Range<i64>) -> StoreReading<Vec<Hour>> {
        nothing_kept()
    }

    /// Pull-request events by language, in the rolling window and the previous one.
    fn languages(&self) -> StoreReading<LanguageCounts> {
        nothing_kept()
    }

    /// A repository by day, by its name or an earlier one, for this range of days since 1970;
    /// `None` when nothing of it was counted.
    fn repo(&self, _name: String, _days: Range<i32>) -> StoreReading<Option<RepoSeries>> {
        nothing_kept()
    }

    /// The first repositories of a window; `None` before the ranking is computed.
    fn top(&self, _: TopQuery) -> StoreReading<Option<TopRepos>> {
        nothing_kept()
    }

    /// The state of the merge script; `None` without one.
    fn merge_script(&self) -> Option<ScriptReport> {
        None
    }

    /// The live window passed to the merge script, as JSON; `None` without one.
    fn window(&self) -> Option<serde_json::Value> {
        None
    }

    /// Imports or exports recorded hours; returns the result as JSON.
    fn archive(&self, request: ArchiveRequest) -> BoxFuture<'static, OpsAnswer>;

    /// Backs up or inspects the store, or retries dead letters; returns the result as JSON.
    fn store(&self, request: StoreRequest) -> BoxFuture<'static, OpsAnswer>;
}

/// What is read from the store, or why it cannot be read.
pub type StoreReading<T> = BoxFuture<'static, Result<T, OpsError>>;

/// Completeness by hour, oldest first; and the audit's shares by hour since 1970.
pub type CompletenessByHour = (Vec<HourCompleteness>, BTreeMap<i64, HourShares>);

fn nothing_kept<T: Send + 'static>() -> StoreReading<T> {
    let reason = "no counts are kept here".to_owned();
    Box::pin(async { Err(OpsError { is_io: true, reason }) })
}

/// The time of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChartSpan {
    /// The last 15 minutes.
    Recent,
    /// The last 24 hours.
    Day,
}

/// Which repositories of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopQuery {
    /// The figure.
    pub by: RankedBy,
    /// The window.
    pub window: RankedWindow,
    /// Of one language only.
    pub language: Option<String>,
    /// How many, at most.
    pub most: usize,
}

/// Pull-request events by language.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageCounts {
    /// Seconds of the window.
    pub seconds: u32,
    /// In the rolling window.
    pub now: Tally,
    /// In the previous window; `None` unless this node counted through all of it.
    pub before: Option<Tally>,
}

/// The result of a [`StoreRequest`] or an [`ArchiveRequest`] as JSON, or why it failed.
pub type OpsAnswer = Result<Box<RawValue>, OpsError>;

/// Why a [`StoreRequest`] or an [`ArchiveRequest`] failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpsError {
    /// Whether a file or the disk failed; otherwise the request is invalid.
    pub is_io: bool,
    /// What failed, and what to do.
    pub reason: String,
}

/// A request about the store of a running appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum StoreRequest {
    /// Makes a backup, as `backup` in an exchange directory.
    Backup {
        /// Name of the exchange directory, which is created.
        #[schemars(regex(pattern = r"^\.exchange-[0-9a-f]{32}$"))]
        into: String,
    },
    /// Shows the column families, or rows of one.
    Inspect {
        /// The column family; `None` shows statistics of all families.
        family: Option<String>,
        /// Prefix of the keys to show.
        prefix: String,
        /// Maximum number of rows.
        #[schemars(range(min = 1))]
        limit: usize,
        /// The last rows instead of the first; `prefix` is not used then.
        #[serde(default)]
        last: bool,
    },
    /// Retries the dead letters.
    Requeue {},
}

/// A request to import or export recorded hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ArchiveRequest {
    /// Imports the file of an hour.
    Import {
        /// Name of the exchange directory that holds the file.
        #[schemars(regex(pattern = r"^\.exchange-[0-9a-f]{32}$"))]
        from: String,
        /// Name of the file.
        file: String,
    },
    /// Exports the files of hours.
    Export {
        /// The first hour, in hours since 1970.
        from: i64,
        /// The hour after the last.
        until: i64,
        /// Name of the exchange directory for the files, which is created.
        #[schemars(regex(pattern = r"^\.exchange-[0-9a-f]{32}$"))]
        into: String,
    },
}

/// The result of a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SyncAnswer {
    /// Whether counts were written.
    pub synced: bool,
    /// Whether a query failed.
    #[serde(skip)]
    pub failed: bool,
    /// What was written, or why nothing was.
    pub message: String,
}

/// The merge script in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScriptState {
    /// What is in use: a file, the built-in script, or the native sum.
    pub name: String,
    /// Whether the running script is the current content of the file.
    pub current: bool,
    /// Why it is not, with line and column.
    pub error: Option<String>,
}
