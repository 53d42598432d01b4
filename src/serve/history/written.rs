//! Kept counts serialised as JSON.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::csv::time;
use crate::model::activity::{
    Chart, ChartSlot, CountedHour, HourCompleteness, HourCounts, written,
};
use crate::model::audit::HourShares;
use crate::model::counts::{DayCounts, PullRequestCounts};
use crate::model::kinds::KINDS;
use crate::model::tally::Tally;
use crate::model::window::{Day, Hour, Timestamp};
use crate::serve::admin::operate::LanguageCounts;
use crate::serve::admin::report::ListReport;
use crate::serve::server::ServerState;

/// Most languages in the current and in the previous window.
const LANGUAGES: usize = 60;
/// Most entries of an aggregate.
const ENTRIES: usize = 12;
/// The rankings of repositories: the JSON name, and the name of the counter.
const BUSIEST: [(&str, &str); 3] =
    [("stars", "stars"), ("pull_requests", "pulls"), ("pushes", "pushes")];

/// A chart: counts by type and slot.
pub(super) fn chart(chart: &Chart) -> String {
    let slots = |column: usize| -> Vec<Value> {
        let count = |slot: &Option<ChartSlot>| slot.map(|slot| slot.counts[column]);
        chart.slots.iter().map(|slot| json!(count(slot))).collect()
    };
    let has = |column: &usize| chart.slots.iter().flatten().any(|slot| slot.counts[*column] > 0);
    let types: Map<String, Value> = (0..KINDS.len())
        .filter(has)
        .map(|column| (KINDS[column].to_owned(), Value::Array(slots(column))))
        .collect();
    let seconds: Vec<Option<u32>> =
        chart.slots.iter().map(|slot| slot.as_ref().map(|slot| slot.seconds)).collect();
    let seen: Vec<Option<f64>> =
        chart.seen.iter().map(|seen| seen.map(|seen| (seen * 1e3).round() / 1e3)).collect();
    json!({
        "from": chart.from.start(),
        "step_seconds": chart.step,
        "counted_seconds": seconds,
        "types": types,
        "seen_from": Timestamp::from_seconds(chart.first_minute.0.saturating_mul(60)),
        "seen": seen,
        "imported": chart.imported.iter().map(|hour| time(*hour)).collect::<Vec<_>>(),
    })
    .to_string()
}

/// The latest values.
pub(super) fn now(server: &ServerState, languages: Option<&LanguageCounts>) -> String {
    let now = server.clock.now();
    let counts = server.hub.latest_values().counts();
    let today = counts.days.get(&now.day()).copied();
    let today = today.filter(|_| counts.year == now.year());
    let aggregates = server.hub.aggregates();
    let all = aggregates.names().into_iter().filter_map(|name| {
        let topic = aggregates.get(&name)?;
        let mut about: Value = serde_json::from_str(&topic.about()).ok()?;
        if let Some(about) = about.as_object_mut() {
            about.remove("sample");
        }
        let shown = topic.latest();
        Some(json!({
            "about": about,
            "from": shown.as_ref().map(|shown| shown.from.start()),
            "to": shown.as_ref().map(|shown| shown.to.start()),
            "value": shown.as_ref().map(|shown| ranked(&shown.value, ENTRIES)),
        }))
    });
    let busiest = BUSIEST.map(|(name, counter)| {
        let topic = server.hub.rolling().get(&format!("busiest-{counter}/1h"));
        let shown = topic.and_then(|topic| topic.latest());
        (name.to_owned(), json!(shown.map(|shown| ranked(&shown.value, ENTRIES))))
    });
    json!({
        "at": now,
        "simulated": server.operate.simulated(),
        "last_minute": last_minute(server),
        "pull_requests": {
            "day": now.day().to_string(),
            "opened": today.map_or(0, |day| day.open),
            "merged": today.map_or(0, |day| day.merge),
            "closed": today.map_or(0, |day| day.close),
            "developers": today.map_or(0, |day| day.developers),
            "year_developers": counts.sums.developers,
        },
        "languages": languages.map(|languages| json!({
            "window_seconds": languages.seconds,
            "now": ranked(&languages.now, LANGUAGES),
            "before": languages.before.as_ref().map(|before| before.restricted(
                languages.now.top(LANGUAGES).iter().map(|(name, _)| name),
            )),
        })),
        "busiest": Map::from_iter(busiest),
        "aggregates": all.collect::<Vec<_>>(),
    })
    .to_string()
}

/// The pull requests of this UTC year by day, oldest first. A day without counts is left out.
pub(super) fn days(server: &ServerState, imported: &[Hour]) -> String {
    let year = server.clock.now().year();
    let counts = server.hub.latest_values().counts();
    let counts = if counts.year == year { (*counts).clone() } else { PullRequestCounts::of(year) };
    let mut imported_hours: BTreeMap<Day, u32> = BTreeMap::new();
    for hour in imported {
        *imported_hours.entry(hour.day()).or_default() += 1;
    }
    let mut days: BTreeMap<Day, DayCounts> = counts.filled_days().collect();
    for day in imported_hours.keys() {
        days.entry(*day).or_default();
    }
    let day = |(day, counts): (&Day, &DayCounts)| {
        json!({
            "day": day.to_string(),
            "opened": counts.open,
            "merged": counts.merge,
            "closed": counts.close,
            "developers": counts.developers,
            "imported_hours": imported_hours.get(day).copied().unwrap_or(0),
        })
    };
    json!({
        "year": year.0,
        "days": days.iter().map(day).collect::<Vec<_>>(),
        "developers": counts.sums.developers,
        "repositories": counts.sums.repositories,
        "additions": counts.sums.additions,
        "deletions": counts.sums.deletions,
    })
    .to_string()
}

/// Events of the last minute by type; `null` before anything was counted.
fn last_minute(server: &ServerState) -> Value {
    let latest = |name: &str| server.hub.rolling().get(name).and_then(|topic| topic.latest());
    let Some((activity, types)) = latest("activity/1m").zip(latest("types/1m")) else {
        return Value::Null;
    };
    // Seconds before this node started counting are unknown, not empty.
    let counted = activity.from.0.max(activity.counted_from.0);
    json!({
        "seconds": (activity.to.0 + 1 - counted).max(0),
        "events": activity.value.get("events"),
        "types": types.value,
    })
}

/// Names and counts in descending order of count.
pub(crate) fn ranked(tally: &Tally, most: usize) -> Vec<(String, i64)> {
    let top = tally.top(most);
    let mut all: Vec<_> = top.iter().map(|(name, n)| (name.to_string(), n)).collect();
    all.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    all
}

fn span(hours: &std::ops::Range<i64>) -> [Timestamp; 2] {
    [time(Hour(hours.start)), time(Hour(hours.end))]
}

/// Completeness by hour and type.
pub(super) fn completeness(
    (hours, shares): (&[HourCompleteness], &BTreeMap<i64, HourShares>),
    range: &std::ops::Range<i64>,
    lists: &[ListReport],
) -> String {
    let hour = |hour: &HourCompleteness| written::hour(hour, shares.get(&hour.hour.0));
    let [from, until] = span(range);
    json!({
        "method": written::METHOD,
        "from": from,
        "until": until,
        "hours": hours.iter().map(hour).collect::<Vec<_>>(),
        "lists": lists,
    })
    .to_string()
}

/// Counts by hour and origin.
pub(super) fn hours(hours: &[CountedHour], range: &std::ops::Range<i64>) -> String {
    let counts = |counts: HourCounts| {
        json!({
            "events": counts.events,
            "pull_requests": counts.pull_requests,
            "opened": counts.opened,
            "merged": counts.merged,
            "closed": counts.closed,
            "additions": counts.additions,
            "deletions": counts.deletions,
        })
    };
    let hour = |hour: &CountedHour| {
        json!({
            "hour": time(hour.hour),
            "stands": if hour.import.is_some() { "import" } else { "live" },
            "live": hour.live.map(counts),
            "import": hour.import.map(counts),
        })
    };
    let [from, until] = span(range);
    json!({
        "from": from,
        "until": until,
        "hours": hours.iter().map(hour).collect::<Vec<_>>(),
    })
    .to_string()
}
