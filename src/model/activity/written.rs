//! The completeness of an hour as JSON: in `/completeness`, and beside exported hours.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{HourCompleteness, MissedRange};
use crate::model::audit::HourShares;
use crate::model::kinds::KINDS;
use crate::model::window::Timestamp;

/// How the missed events of a type are estimated.
pub const METHOD: &str = "received: events by the hour in which they were received; missed: \
    estimated from gaps in GitHub's ids, by minute, added up over the known minutes, interval ends \
    too; of a type: its part of its sequence of ids; audit: the seen share, 95 % interval, by what \
    GitHub's totals of sampled repositories grew by over a day; null: not known";

/// An hour as it is written; what is not known is `null`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct WrittenCompleteness {
    hour: Timestamp,
    /// Events received in the hour.
    received: Option<u64>,
    /// Events missed in the known minutes.
    missed: Option<MissedRange>,
    /// The missed share of all events, 0 to 1: lower bound, estimate, upper bound.
    missed_share: Option<[f64; 3]>,
    /// Minutes in which a node ran.
    minutes_watched: u16,
    /// Minutes for which the number of missed events is known.
    minutes_known: u16,
    /// The median lag behind `created_at`, a mean over the minutes.
    lag_seconds: Option<f64>,
    /// Types with events.
    types: BTreeMap<&'static str, WrittenType>,
    /// The seen shares by GitHub's totals, as they were known at the end of the hour.
    audit: Option<HourShares>,
    /// Whether the beginning of the hour's file may be missing; only beside a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    cut: Option<bool>,
    /// How the figures were estimated; only beside a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    method: Option<&'static str>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
struct WrittenType {
    /// Events received.
    received: u64,
    /// Events missed in the known minutes.
    missed: Option<MissedRange>,
}

/// One hour of several, with the audit's shares at its end.
#[must_use]
pub fn hour(hour: &HourCompleteness, audit: Option<&HourShares>) -> WrittenCompleteness {
    let coverage = &hour.coverage;
    let all = coverage.missed();
    let seen = coverage.seen[0] + coverage.seen[1];
    let of = |column: usize| WrittenType {
        received: hour.counts[column],
        missed: hour.missed_of(column).map(MissedRange::rounded),
    };
    let types = (0..KINDS.len()).filter(|column| hour.counts[*column] > 0);
    WrittenCompleteness {
        hour: hour.hour.start(),
        received: Some(hour.counts.iter().sum()),
        missed: all.map(MissedRange::rounded),
        missed_share: all.map(|all| all.shares(seen)),
        minutes_watched: coverage.watched,
        minutes_known: coverage.known,
        lag_seconds: coverage.lag.map(|lag| f64::from(lag) / 1e3),
        types: types.map(|column| (KINDS[column], of(column))).collect(),
        cut: None,
        audit: audit.cloned(),
        method: None,
    }
}

/// One hour alone, with the method. The number of received events is unknown when no node ran in
/// the hour and nothing was counted. `cut` says whether the beginning of its file may be missing.
#[must_use]
pub fn of_one(
    one: &HourCompleteness,
    audit: Option<&HourShares>,
    cut: bool,
) -> WrittenCompleteness {
    let is_unknown = one.coverage.watched == 0 && one.counts.iter().all(|count| *count == 0);
    let written = hour(one, audit);
    let received = written.received.filter(|_| !is_unknown);
    WrittenCompleteness { received, cut: Some(cut), method: Some(METHOD), ..written }
}
