//! What the server asks of the appliance around it.
//!
//! Files pass through exchange directories, which lie in the data directory and have names that
//! nobody can guess: the command that asks and the appliance may see different file systems (a
//! sandbox, another user), and an appliance that is asked over the network opens no file elsewhere.

use std::ops::Range;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::report::{Part, Status};
use crate::model::activity::{Chart, CountedHour, HourCompleteness};
use crate::model::tally::Tally;

/// The appliance, as far as its server needs it. Implemented by the wiring.
pub trait Operate: Send + Sync + 'static {
    /// How each part is, in the order they should be read in.
    fn parts(&self) -> Vec<Part>;

    /// Brings the counts up to date with `TiDB` now; who asks while one runs gets its answer.
    fn sync(&self) -> BoxFuture<'static, SyncAnswer>;

    /// Whether the events come from the simulated GitHub.
    fn simulated(&self) -> bool;

    /// How everything is, with so many connections to the public listeners.
    fn status(&self, clients: usize) -> Status;

    /// The merge script in force.
    fn script(&self) -> ScriptState;

    /// Counts that are kept by time; an error where none are.
    fn kept(&self, query: KeptQuery) -> BoxFuture<'static, Result<KeptCounts, Refusal>> {
        let reason = format!("no counts are kept here: {query:?}");
        Box::pin(async { Err(Refusal { is_io: true, reason }) })
    }

    /// How the merge script is, as JSON for everybody; null where there is none.
    fn merge_script(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// The live window that the merge script is given, as JSON; `None` where there is none.
    fn window(&self) -> Option<serde_json::Value> {
        None
    }

    /// Takes recorded hours in or writes them out; the answer is what came of it, as JSON.
    fn archive(&self, request: ArchiveRequest) -> BoxFuture<'static, ArchiveAnswer>;

    /// Copies the store, looks into it, or tries dead letters again; the answer is what came of
    /// it, as JSON.
    fn store(&self, request: StoreRequest) -> BoxFuture<'static, StoreAnswer>;
}

/// Which kept counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptQuery {
    /// The last 15 minutes.
    Recent,
    /// The last 24 hours.
    Day,
    /// Completeness of these hours of receiving, in hours since 1970.
    Completeness(Range<i64>),
    /// What was counted of these hours of `created_at`, in hours since 1970.
    Hours(Range<i64>),
    /// Pull-request events by language, in the rolling window and the one before it.
    Languages,
}

/// Kept counts.
#[derive(Debug, Clone, PartialEq)]
pub enum KeptCounts {
    /// Over a time.
    Chart(Chart),
    /// By hour, oldest first.
    Completeness(Vec<HourCompleteness>),
    /// By hour, oldest first.
    Hours(Vec<CountedHour>),
    /// By language.
    Languages(LanguageCounts),
}

/// Pull-request events by language.
#[derive(Debug, Clone, PartialEq)]
pub struct LanguageCounts {
    /// Seconds of the window.
    pub seconds: u32,
    /// In the rolling window.
    pub now: Tally,
    /// In the one before it; `None` when this node did not count through all of it.
    pub before: Option<Tally>,
}

/// What came of a [`StoreRequest`], or why nothing did.
pub type StoreAnswer = Result<Box<RawValue>, Refusal>;

/// Why nothing came of a [`StoreRequest`] or an [`ArchiveRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whether a file or the disk failed; otherwise what was asked for is wrong.
    pub is_io: bool,
    /// Which, and what to do.
    pub reason: String,
}

/// Something about the store of a running appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum StoreRequest {
    /// Make a backup, as `backup` in an exchange directory.
    Backup {
        /// Name of the exchange directory, which is made.
        #[schemars(regex(pattern = r"^\.exchange-[0-9a-f]{32}$"))]
        into: String,
    },
    /// Show the families, or rows of one.
    Inspect {
        /// Which; all of them, in figures, without.
        family: Option<String>,
        /// How keys begin.
        prefix: String,
        /// Rows at most.
        #[schemars(range(min = 1))]
        limit: usize,
    },
    /// Try the dead letters again.
    Requeue {},
}

/// What came of an [`ArchiveRequest`], or why nothing did.
pub type ArchiveAnswer = Result<Box<RawValue>, Refusal>;

/// Recorded hours, in or out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ArchiveRequest {
    /// Take the file of an hour in.
    Import {
        /// Name of the exchange directory that it is in.
        #[schemars(regex(pattern = r"^\.exchange-[0-9a-f]{32}$"))]
        from: String,
        /// Its name.
        file: String,
    },
    /// Write the files of hours.
    Export {
        /// The first, in hours since 1970.
        from: i64,
        /// The first that is not written any more.
        until: i64,
        /// Name of the exchange directory of the files, which is made.
        #[schemars(regex(pattern = r"^\.exchange-[0-9a-f]{32}$"))]
        into: String,
    },
}

/// What came of a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SyncAnswer {
    /// Whether counts were written.
    pub synced: bool,
    /// Whether it was tried and failed.
    #[serde(skip)]
    pub failed: bool,
    /// What was written, or why nothing was.
    pub message: String,
}

/// The merge script in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScriptState {
    /// What runs: the file's name, or that the native sum stands in.
    pub name: String,
    /// Whether what runs is what the file says.
    pub current: bool,
    /// Why not, with line and column.
    pub error: Option<String>,
}
