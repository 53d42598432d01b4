//! `/completeness` and `/hours` as CSV (RFC 4180): a header line, then one line per row. Unknown
//! values are empty fields.

use std::collections::BTreeMap;

use crate::model::activity::{CountedHour, HourCompleteness, MissedRange};
use crate::model::audit::{AuditedKind, HourShares};
use crate::model::kinds::KINDS;

/// By hour and type, `all` first; types without events are omitted. The shares of the audit at the
/// end of each hour are in its row of `all`.
pub(super) fn completeness(
    hours: &[HourCompleteness],
    shares: &BTreeMap<i64, HourShares>,
) -> String {
    let audited = AuditedKind::ALL.map(AuditedKind::name);
    let audited = audited.map(|name| format!(",audit_{name}_low,audit_{name},audit_{name}_high"));
    let mut lines = vec![format!(
        "hour,type,received,missed_low,missed,missed_high,minutes_known,lag_seconds{}\r\n",
        audited.concat()
    )];
    for hour in hours {
        let audit = audit(shares.get(&hour.hour.0));
        let minutes = hour.coverage.known;
        let lag = hour.coverage.lag.map(|lag| format!("{:.1}", f64::from(lag) / 1e3));
        let lag = lag.unwrap_or_default();
        let all: u64 = hour.counts.iter().sum();
        let mut line = |kind: &str, received: u64, missed: Option<MissedRange>| {
            let missed =
                missed.map(|it| format!("{:.1},{:.1},{:.1}", it.low, it.estimate, it.high));
            let missed = missed.as_deref().unwrap_or(",,");
            let at = hour.hour.start();
            let audit = if kind == ALL { &audit } else { NO_AUDIT };
            lines.push(format!("{at},{kind},{received},{missed},{minutes},{lag}{audit}\r\n"));
        };
        line(ALL, all, hour.coverage.missed());
        for (column, kind) in KINDS.iter().enumerate().filter(|(at, _)| hour.counts[*at] > 0) {
            line(kind, hour.counts[column], hour.missed_of(column));
        }
    }
    lines.concat()
}

/// The type of an hour's first row.
const ALL: &str = "all";
/// Three empty fields for each kind.
const NO_AUDIT: &str = ",,,,,,,,,,,,,,,,,,";

/// The fields of the audit, each with a comma before it.
fn audit(shares: Option<&HourShares>) -> String {
    let fields = AuditedKind::ALL.map(|kind| {
        let known = shares.and_then(|shares| *shares.get(kind.name())?);
        known.map_or(",,,".to_owned(), |[low, share, high]| {
            format!(",{low:.4},{share:.4},{high:.4}")
        })
    });
    fields.concat()
}

/// By hour and origin.
pub(super) fn hours(hours: &[CountedHour]) -> String {
    let header = "hour,origin,stands,events,pull_requests,opened,merged,closed,additions,\
                  deletions\r\n";
    let mut lines = vec![header.to_owned()];
    for hour in hours {
        for (origin, counts) in [("live", hour.live), ("import", hour.import)] {
            let Some(c) = counts else { continue };
            let (at, stands) = (hour.hour.start(), (origin == "import") == hour.import.is_some());
            let events = c.events.map(|events| events.to_string()).unwrap_or_default();
            lines.push(format!(
                "{at},{origin},{stands},{events},{},{},{},{},{},{}\r\n",
                c.pull_requests, c.opened, c.merged, c.closed, c.additions, c.deletions
            ));
        }
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::window::Hour;

    #[test]
    fn shares_of_the_audit_are_in_the_row_of_all() {
        let mut hour = HourCompleteness::unknown(Hour(500_000));
        hour.counts[0] = 7;
        let mut shares = HourShares::new();
        shares.insert("stars".into(), Some([0.5, 0.625, 0.75]));
        shares.insert("numbers".into(), Some([0.1, 0.2, 0.3]));
        shares.insert("forks".into(), None);
        let text = completeness(&[hour], &BTreeMap::from([(500_000, shares)]));
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        let of = |row: usize, name: &str| {
            rows[row][rows[0].iter().position(|column| *column == name).unwrap()]
        };
        assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [26, 26, 26]);
        assert_eq!((of(1, "type"), of(2, "type")), ("all", KINDS[0]));
        let low_to_high = ["audit_stars_low", "audit_stars", "audit_stars_high"];
        assert_eq!(low_to_high.map(|name| of(1, name)), ["0.5000", "0.6250", "0.7500"]);
        assert_eq!((of(1, "audit_numbers_high"), of(1, "audit_forks")), ("0.3000", ""));
        assert_eq!(low_to_high.map(|name| of(2, name)), ["", "", ""]);
        let none = completeness(&[hour], &BTreeMap::new());
        assert_eq!(none.lines().nth(1).unwrap().split(',').count(), 26);
    }
}
