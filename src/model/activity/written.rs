//! The completeness of an hour as JSON: in `/completeness`, and beside exported hours.

use serde_json::{Map, Value, json};

use super::{HourCompleteness, MissedRange};
use crate::model::kinds::KINDS;
use crate::model::window::{Hour, Timestamp};

/// How the missed events of a type are estimated.
pub const METHOD: &str = "received: events by the hour in which they were received; missed: \
    estimated from gaps in GitHub's ids, by minute, added up over the known minutes, interval ends \
    too; of a type: its part of its sequence of ids; null: not known";

/// One hour; what is not known is `null`.
#[must_use]
pub fn hour(hour: &HourCompleteness) -> Value {
    Value::Object(members(hour))
}

/// One hour for itself, with the method; the events received are not known of one that nothing was
/// counted in and that no node watched.
#[must_use]
pub fn of_one(hour: &HourCompleteness) -> Value {
    let mut all = members(hour);
    if hour.coverage.watched == 0 && hour.counts.iter().all(|count| *count == 0) {
        all.insert("received".to_owned(), Value::Null);
    }
    all.insert("method".to_owned(), METHOD.into());
    Value::Object(all)
}

fn members(hour: &HourCompleteness) -> Map<String, Value> {
    let coverage = &hour.coverage;
    let all = coverage.missed();
    let seen = coverage.seen[0] + coverage.seen[1];
    let types: Map<String, Value> = (0..KINDS.len())
        .filter(|column| hour.counts[*column] > 0)
        .map(|column| {
            let value = json!({
                "received": hour.counts[column],
                "missed": missed(hour.missed_of(column)),
            });
            (KINDS[column].to_owned(), value)
        })
        .collect();
    [
        ("hour", json!(start(hour.hour))),
        ("received", json!(hour.counts.iter().sum::<u64>())),
        ("missed", missed(all)),
        ("missed_share", json!(all.map(|all| all.shares(seen)))),
        ("minutes_watched", json!(coverage.watched)),
        ("minutes_known", json!(coverage.known)),
        ("lag_seconds", json!(coverage.lag.map(|lag| f64::from(lag) / 1e3))),
        ("types", Value::Object(types)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn missed(missed: Option<MissedRange>) -> Value {
    let round = |number: f64| (number * 10.0).round() / 10.0;
    json!(missed.map(|missed| json!({
        "low": round(missed.low),
        "estimate": round(missed.estimate),
        "high": round(missed.high),
    })))
}

fn start(hour: Hour) -> Timestamp {
    Timestamp::from_seconds(hour.0.saturating_mul(3_600))
}
