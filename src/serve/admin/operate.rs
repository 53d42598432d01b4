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

    /// Reads kept counts; an error if none are stored.
    fn kept(&self, query: KeptQuery) -> BoxFuture<'static, Result<KeptCounts, OpsError>> {
        let reason = format!("no counts are kept here: {query:?}");
        Box::pin(async { Err(OpsError { is_io: true, reason }) })
    }

    /// Reads the ledger; an error if none is kept.
    fn ledger(&self, query: LedgerQuery) -> BoxFuture<'static, Result<LedgerAnswer, OpsError>> {
        let reason = format!("no ledger is kept here: {query:?}");
        Box::pin(async { Err(OpsError { is_io: true, reason }) })
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
    fn archive(&self, request: ArchiveRequest) -> BoxFuture<'static, ArchiveAnswer>;

    /// Backs up or inspects the store, or retries dead letters; returns the result as JSON.
    fn store(&self, request: StoreRequest) -> BoxFuture<'static, StoreAnswer>;
}

/// Which kept counts to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptQuery {
    /// The last 15 minutes.
    Recent,
    /// The last 24 hours.
    Day,
    /// Completeness by hour of receipt, for this range of hours since 1970.
    Completeness(Range<i64>),
    /// Counts by hour of `created_at`, for this range of hours since 1970.
    Hours(Range<i64>),
    /// Pull-request events by language, in the rolling window and the previous one.
    Languages,
    /// Which hours of `created_at` were imported, for this range of hours since 1970.
    Imported(Range<i64>),
}

/// Kept counts.
#[derive(Debug, Clone, PartialEq)]
pub enum KeptCounts {
    /// A chart over a range of time.
    Chart(Chart),
    /// By hour, oldest first; and the audit's shares by hour since 1970.
    Completeness(Vec<HourCompleteness>, BTreeMap<i64, HourShares>),
    /// By hour, oldest first.
    Hours(Vec<CountedHour>),
    /// By language.
    Languages(LanguageCounts),
    /// Imported hours, oldest first.
    Imported(Vec<Hour>),
}

/// What to read of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerQuery {
    /// A repository by day.
    Repo {
        /// Its name, or an earlier one.
        name: String,
        /// The days since 1970.
        days: Range<i32>,
    },
    /// The first repositories of a window.
    Top {
        /// The figure.
        by: RankedBy,
        /// The window.
        window: RankedWindow,
        /// Of one language only.
        language: Option<String>,
        /// How many, at most.
        most: usize,
    },
}

/// What the ledger has.
#[derive(Debug, Clone, PartialEq)]
pub enum LedgerAnswer {
    /// A repository by day.
    Repo(RepoSeries),
    /// The first repositories of a window.
    Top(TopRepos),
    /// No such repository, or a ranking that is not computed yet.
    Nothing,
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

/// The result of a [`StoreRequest`], or why it failed.
pub type StoreAnswer = Result<Box<RawValue>, OpsError>;

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
    },
    /// Retries the dead letters.
    Requeue {},
}

/// The result of an [`ArchiveRequest`].
pub type ArchiveAnswer = Result<Box<RawValue>, OpsError>;

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
