//! What is shown of a script: at `/scripts`, `/aggregate` and `/now`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::tally::Tally;
use super::window::Timestamp;

/// The source of a script's tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum InForce {
    /// The file as it is on disk.
    File,
    /// An earlier text of the file: the file is gone, or its present text was refused.
    #[serde(rename = "last good")]
    LastGood,
    /// The built-in text: the file does not exist.
    #[serde(rename = "built-in")]
    BuiltIn,
    /// No script: plain addition.
    #[serde(rename = "native sum")]
    NativeSum,
    /// No script, and so no aggregate.
    Nothing,
}

/// A script, for everybody.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ScriptReport {
    /// Its state.
    #[serde(flatten)]
    pub state: ScriptStanding,
    /// Its result for the built-in sample.
    pub sample: Option<Tally>,
}

/// The state of a script, for everybody: without directories.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ScriptStanding {
    /// The name of its file.
    pub file: String,
    /// What is in force.
    pub in_force: InForce,
    /// Since when.
    pub since: Timestamp,
    /// Why the file's text is not in force, or why the script failed at the last tick.
    pub error: Option<String>,
    /// The line that the error concerns.
    pub line: Option<QuotedLine>,
    /// Microseconds that the last run took; `None` before the first.
    pub micros: Option<u64>,
}

/// A line of a script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct QuotedLine {
    /// From 1.
    pub number: u32,
    /// The column of the error in characters, from 1.
    pub column: Option<u32>,
    /// Its beginning.
    pub text: String,
}

/// An aggregate: its script, and what it counts.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct AggregateReport {
    /// The name of the aggregate.
    pub name: Box<str>,
    /// Its script.
    #[serde(flatten)]
    pub script: ScriptReport,
    /// Its counter.
    #[serde(flatten)]
    pub counter: CounterReport,
}

/// What an aggregate counts.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct CounterReport {
    /// The rule; `None` without a script in force.
    pub counts: Option<RuleReport>,
    /// Events counted since the rule came into force.
    pub counted: Option<u64>,
    /// A warning about a rule that counts nothing.
    pub note: Option<String>,
    /// Whether the journal is still being read.
    pub reading: bool,
}

/// The rule of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct RuleReport {
    /// The path that names what is counted.
    pub by: String,
    /// The accepted values by path; those with a leading `!` are excluded.
    #[serde(rename = "where")]
    pub conditions: BTreeMap<String, Vec<String>>,
    /// The length of the window, such as `1h`.
    pub window: String,
    /// The interval of the ticks, such as `1s`.
    pub tick: String,
}
