//! Kept counts as JSON.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::activity::written::{self, WrittenCompleteness};
use crate::model::activity::{Chart, CountedHour, HourCompleteness, HourCounts};
use crate::model::audit::HourShares;
use crate::model::counts::{DayCounts, PullRequestCounts};
use crate::model::kinds::KINDS;
use crate::model::part::ListReport;
use crate::model::script_report::{CounterReport, ScriptStanding};
use crate::model::tally::Tally;
use crate::model::window::{Day, Hour, Timestamp};
use crate::serve::admin::operate::LanguageCounts;
use crate::serve::server::ServerState;

/// Most languages in the current and in the previous window.
const LANGUAGES: usize = 60;
/// Most entries of an aggregate.
const ENTRIES: usize = 12;

/// Names and counts in descending order of count.
pub(crate) type Ranked = Vec<(Arc<str>, i64)>;

/// `/history`: counts of each step, oldest first; `null` where they are not known.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ChartReport {
    /// The start of the first step.
    from: Timestamp,
    step_seconds: i64,
    /// Seconds of each step in which this node counted.
    counted_seconds: Vec<Option<u32>>,
    /// Events received in each step, by type.
    types: BTreeMap<&'static str, Vec<Option<u64>>>,
    /// The first minute of `seen`.
    seen_from: Timestamp,
    /// The part of all events that was received, 0 to 1, by minute.
    seen: Vec<Option<f64>>,
    /// Hours of `created_at` whose counts were imported.
    imported: Vec<Timestamp>,
}

/// `/now`: the latest values.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NowReport {
    at: Timestamp,
    /// Whether the events come from the simulated GitHub.
    simulated: bool,
    /// `null` before anything was counted.
    last_minute: Option<LastMinute>,
    pull_requests: PullRequestsToday,
    /// `null` while the counts cannot be read.
    languages: Option<RankedLanguages>,
    busiest: BusiestRepos,
    aggregates: Vec<AggregateNow>,
}

/// Events of the last minute.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct LastMinute {
    /// Seconds of the minute in which this node counted.
    seconds: i64,
    events: i64,
    /// Events by type.
    types: Tally,
}

/// Pull requests of the current UTC day.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct PullRequestsToday {
    day: String,
    opened: i64,
    merged: i64,
    closed: i64,
    /// Developers who were not seen before in this year.
    developers: i64,
    /// Different developers of the year.
    year_developers: i64,
}

/// Pull-request events by language.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct RankedLanguages {
    window_seconds: u32,
    now: Ranked,
    /// The same languages in the previous window; `null` unless all of it was counted.
    before: Option<Tally>,
}

/// The busiest repositories of the last hour; `null` before the first count.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct BusiestRepos {
    stars: Option<Ranked>,
    pull_requests: Option<Ranked>,
    pushes: Option<Ranked>,
}

/// An aggregate and its value; `null` before the first tick.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct AggregateNow {
    about: AboutNow,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    value: Option<Ranked>,
}

/// An aggregate: its script, and what it counts. Without the result for the sample, which never
/// changes.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct AboutNow {
    /// The name of the aggregate.
    name: Box<str>,
    #[serde(flatten)]
    script: ScriptStanding,
    #[serde(flatten)]
    counter: CounterReport,
}

/// `/days`: pull requests of this UTC year.
#[derive(Serialize, JsonSchema)]
pub(crate) struct YearReport {
    year: i32,
    /// Days with counts, oldest first.
    days: Vec<PullRequestDay>,
    /// Different developers.
    developers: i64,
    /// Different repositories.
    repositories: i64,
    additions: i64,
    deletions: i64,
}

/// Pull requests of a UTC day.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct PullRequestDay {
    #[schemars(extend("format" = "date"))]
    day: String,
    opened: i64,
    merged: i64,
    closed: i64,
    /// Developers who were not seen before in this year.
    developers: i64,
    /// Hours whose counts were imported.
    imported_hours: u32,
}

/// `/completeness`: how complete the events are.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CompletenessReport<'a> {
    /// How missed events are estimated.
    method: &'static str,
    from: Timestamp,
    until: Timestamp,
    /// Hours of receipt, oldest first.
    hours: Vec<WrittenCompleteness>,
    /// Lists of names, and how complete they are.
    lists: &'a [ListReport],
}

/// `/hours`: what was counted.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HoursReport {
    from: Timestamp,
    until: Timestamp,
    /// Hours of `created_at`, oldest first.
    hours: Vec<HourReport>,
}

/// The counts of an hour, by origin.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct HourReport {
    hour: Timestamp,
    /// The origin that the totals use.
    stands: CountOrigin,
    live: Option<HourCounts>,
    import: Option<HourCounts>,
}

/// Where counts come from.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum CountOrigin {
    /// The live events.
    Live,
    /// An imported archive.
    Import,
}

/// A chart: counts by type and slot.
pub(super) fn chart(chart: &Chart) -> ChartReport {
    let slots = |column: usize| -> Vec<Option<u64>> {
        chart.slots.iter().map(|slot| slot.as_ref().map(|slot| slot.counts[column])).collect()
    };
    let has = |column: &usize| chart.slots.iter().flatten().any(|slot| slot.counts[*column] > 0);
    let columns = (0..KINDS.len()).filter(has);
    let seconds = chart.slots.iter().map(|slot| slot.as_ref().map(|slot| slot.seconds));
    let seen = chart.seen.iter().map(|seen| seen.map(|seen| (seen * 1e3).round() / 1e3));
    ChartReport {
        from: chart.from.start(),
        step_seconds: chart.step,
        counted_seconds: seconds.collect(),
        types: columns.map(|column| (KINDS[column], slots(column))).collect(),
        seen_from: Timestamp::from_seconds(chart.first_minute.0.saturating_mul(60)),
        seen: seen.collect(),
        imported: chart.imported.iter().map(|hour| hour.start()).collect(),
    }
}

pub(super) fn now(server: &ServerState, languages: Option<&LanguageCounts>) -> NowReport {
    let now = server.clock.now();
    let counts = server.hub.latest_values.counts();
    let today = counts.days.get(&now.day()).copied();
    let today = today.filter(|_| counts.year == now.year()).unwrap_or_default();
    let aggregates = &server.hub.aggregates;
    let all = aggregates.names().into_iter().filter_map(|name| {
        let topic = aggregates.get(&name)?;
        let about = (*topic.about()?).clone();
        let about =
            AboutNow { name: about.name, script: about.script.state, counter: about.counter };
        let latest = topic.latest();
        let shown = latest.as_ref();
        Some(AggregateNow {
            about,
            from: shown.map(|shown| shown.from.start()),
            to: shown.map(|shown| shown.to.start()),
            value: shown.map(|shown| ranked(&shown.value, ENTRIES)),
        })
    });
    let busiest = |counter: &str| {
        let topic = server.hub.rolling.get(&format!("busiest-{counter}/1h"));
        Some(ranked(&topic?.latest()?.value, ENTRIES))
    };
    NowReport {
        at: now,
        simulated: server.operate.simulated(),
        last_minute: last_minute(server),
        pull_requests: PullRequestsToday {
            day: now.day().to_string(),
            opened: today.open,
            merged: today.merge,
            closed: today.close,
            developers: today.developers,
            year_developers: counts.sums.developers,
        },
        languages: languages.map(|languages| RankedLanguages {
            window_seconds: languages.seconds,
            now: ranked(&languages.now, LANGUAGES),
            before: languages.before.as_ref().map(|before| {
                before.restricted(languages.now.top(LANGUAGES).iter().map(|(name, _)| name))
            }),
        }),
        busiest: BusiestRepos {
            stars: busiest("stars"),
            pull_requests: busiest("pulls"),
            pushes: busiest("pushes"),
        },
        aggregates: all.collect(),
    }
}

/// The pull requests of this UTC year by day, oldest first. A day without counts is left out.
pub(super) fn days(server: &ServerState, imported: &[Hour]) -> YearReport {
    let year = server.clock.now().year();
    let counts = server.hub.latest_values.counts();
    let counts = if counts.year == year { (*counts).clone() } else { PullRequestCounts::of(year) };
    let mut imported_hours: BTreeMap<Day, u32> = BTreeMap::new();
    for hour in imported {
        *imported_hours.entry(hour.day()).or_default() += 1;
    }
    let mut days: BTreeMap<Day, DayCounts> = counts.filled_days().collect();
    for day in imported_hours.keys() {
        days.entry(*day).or_default();
    }
    let day = |(day, counts): (&Day, &DayCounts)| PullRequestDay {
        day: day.to_string(),
        opened: counts.open,
        merged: counts.merge,
        closed: counts.close,
        developers: counts.developers,
        imported_hours: imported_hours.get(day).copied().unwrap_or(0),
    };
    YearReport {
        year: year.0,
        days: days.iter().map(day).collect(),
        developers: counts.sums.developers,
        repositories: counts.sums.repositories,
        additions: counts.sums.additions,
        deletions: counts.sums.deletions,
    }
}

/// Events of the last minute by type; `None` before anything was counted.
fn last_minute(server: &ServerState) -> Option<LastMinute> {
    let latest = |name: &str| server.hub.rolling.get(name).and_then(|topic| topic.latest());
    let (activity, types) = latest("activity/1m").zip(latest("types/1m"))?;
    // Seconds before this node started counting are unknown, not empty.
    let counted = activity.from.0.max(activity.counted_from.0);
    Some(LastMinute {
        seconds: (activity.to.0 + 1 - counted).max(0),
        events: activity.value.get("events"),
        types: types.value,
    })
}

/// Names and counts in descending order of count.
pub(crate) fn ranked(tally: &Tally, most: usize) -> Ranked {
    let top = tally.top(most);
    let mut all: Ranked = top.iter().map(|(name, n)| (Arc::clone(name), n)).collect();
    all.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    all
}

/// Completeness by hour and type.
pub(super) fn completeness<'a>(
    hours: &[HourCompleteness],
    shares: &BTreeMap<i64, HourShares>,
    range: &Range<i64>,
    lists: &'a [ListReport],
) -> CompletenessReport<'a> {
    let hour = |hour: &HourCompleteness| written::hour(hour, shares.get(&hour.hour.0));
    CompletenessReport {
        method: written::METHOD,
        from: Hour(range.start).start(),
        until: Hour(range.end).start(),
        hours: hours.iter().map(hour).collect(),
        lists,
    }
}

/// Counts by hour and origin.
pub(super) fn hours(hours: &[CountedHour], range: &Range<i64>) -> HoursReport {
    let hour = |&CountedHour { hour, live, import }: &CountedHour| HourReport {
        hour: hour.start(),
        stands: if import.is_some() { CountOrigin::Import } else { CountOrigin::Live },
        live,
        import,
    };
    HoursReport {
        from: Hour(range.start).start(),
        until: Hour(range.end).start(),
        hours: hours.iter().map(hour).collect(),
    }
}
