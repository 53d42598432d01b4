//! The messages of gauge topics.

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::tally::Tally;
use crate::model::window::Timestamp;

/// A message to a subscriber of a gauge topic.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum GaugeMessage<'a> {
    /// What the topic is.
    Hello {
        /// ghpulse's version.
        version: &'static str,
        /// Whether the events are simulated.
        simulated: bool,
        /// The topic.
        #[serde(flatten)]
        name: GaugeName<'a>,
    },
    /// The whole value, first.
    Snapshot(WholeGauge<'a>),
    /// The whole value, at a tick.
    Tick(WholeGauge<'a>),
    /// What has changed since the last message, added to or taken off.
    Delta {
        /// The members that all values have.
        #[serde(flatten)]
        head: GaugeHead<'a>,
        /// Changes by name.
        #[schemars(with = "std::collections::BTreeMap<String, i64>")]
        changes: &'a Tally,
    },
    /// Every 15 seconds: everything up to the cursor is counted.
    Heartbeat {
        /// The cursor of the last value that was received; absent before the first.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String")]
        cursor: Option<String>,
    },
    /// The end, and why.
    Bye {
        /// Why.
        reason: &'a str,
        /// After how many milliseconds the client should reconnect; absent if it should not.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "u64")]
        retry_after: Option<u64>,
        /// The cursor of the last value that was received; absent before the first.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "String")]
        cursor: Option<String>,
    },
}

/// A message with a whole value.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WholeGauge<'a> {
    /// The members that all values have.
    #[serde(flatten)]
    pub(in crate::hub) head: GaugeHead<'a>,
    /// Events that were not counted because a limit of names was reached, since the start; absent
    /// when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub(in crate::hub) left_out: Option<u64>,
    /// Counts by name.
    #[schemars(with = "std::collections::BTreeMap<String, u64>")]
    pub(in crate::hub) value: &'a Tally,
}

/// The members of all messages with a value.
#[derive(Debug, Serialize, JsonSchema)]
pub struct GaugeHead<'a> {
    /// The last event that is counted.
    pub(in crate::hub) cursor: String,
    /// The topic.
    #[serde(flatten)]
    pub(in crate::hub) name: GaugeName<'a>,
    /// The first second of the window.
    pub(in crate::hub) from: Timestamp,
    /// The last second of the window.
    pub(in crate::hub) to: Timestamp,
    /// The second from which on every event was counted.
    pub(in crate::hub) counted_from: Timestamp,
    /// Whether every event of the window was counted.
    pub(in crate::hub) complete: bool,
}

/// The name of a topic.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct GaugeName<'a> {
    name: &'a str,
    /// The window of the built-in topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    window: Option<&'a str>,
}

impl<'a> GaugeName<'a> {
    /// Of a topic's name, such as `languages/1h`.
    pub(in crate::hub) fn of(topic: &'a str) -> Self {
        match topic.split_once('/') {
            Some((name, window)) => Self { name, window: Some(window) },
            None => Self { name: topic, window: None },
        }
    }
}
