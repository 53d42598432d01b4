//! `/completeness` and `/hours` as CSV (RFC 4180): a header line, then one line per row. Unknown
//! values are empty fields.

use std::fmt::Write as _;

use crate::model::activity::{CountedHour, HourCompleteness, MissedRange};
use crate::model::kinds::KINDS;
use crate::model::window::{Hour, Timestamp};

/// By hour and type, `all` first; types without events are omitted.
pub(super) fn completeness(hours: &[HourCompleteness]) -> String {
    let mut text =
        "hour,type,received,missed_low,missed,missed_high,minutes_known,lag_seconds\r\n".to_owned();
    for hour in hours {
        let minutes = hour.coverage.known;
        let lag = hour.coverage.lag.map(|lag| format!("{:.1}", f64::from(lag) / 1e3));
        let lag = lag.unwrap_or_default();
        let all: u64 = hour.counts.iter().sum();
        let mut line = |kind: &str, received: u64, missed: Option<MissedRange>| {
            let MissedWords(low, most, high) = MissedWords::of(missed);
            let at = time(hour.hour);
            write!(text, "{at},{kind},{received},{low},{most},{high},{minutes},{lag}\r\n")
                .expect("a string takes all");
        };
        line("all", all, hour.coverage.missed());
        for (column, kind) in KINDS.iter().enumerate().filter(|(at, _)| hour.counts[*at] > 0) {
            line(kind, hour.counts[column], hour.missed_of(column));
        }
    }
    text
}

/// By hour and origin.
pub(super) fn hours(hours: &[CountedHour]) -> String {
    let mut text = "hour,origin,stands,events,pull_requests,opened,merged,closed,additions,\
                    deletions\r\n"
        .to_owned();
    for hour in hours {
        for (origin, counts) in [("live", hour.live), ("import", hour.import)] {
            let Some(counts) = counts else { continue };
            let stands = (origin == "import") == hour.import.is_some();
            let events = counts.events.map(|events| events.to_string()).unwrap_or_default();
            let (at, c) = (time(hour.hour), counts);
            write!(
                text,
                "{at},{origin},{stands},{events},{},{},{},{},{},{}\r\n",
                c.pull_requests, c.opened, c.merged, c.closed, c.additions, c.deletions
            )
            .expect("a string takes all");
        }
    }
    text
}

struct MissedWords(String, String, String);

impl MissedWords {
    fn of(missed: Option<MissedRange>) -> Self {
        let word = |number: f64| format!("{number:.1}");
        missed.map_or(Self(String::new(), String::new(), String::new()), |missed| {
            Self(word(missed.low), word(missed.estimate), word(missed.high))
        })
    }
}

/// The first instant of an hour, in UTC.
pub(super) fn time(hour: Hour) -> Timestamp {
    Timestamp::from_seconds(hour.0.saturating_mul(3_600))
}
