//! Series and rankings as JSON and CSV.

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::json;
use crate::model::ledger::{
    DaySeen, LedgerCounts, LedgerMetric, RankedRepo, RepoDay, RepoSeries, StatedTotals, TopRepos,
    rounded,
};
use crate::model::window::Timestamp;
use crate::serve::admin::operate::TopQuery;

/// A repository by day.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RepoReport<'a> {
    /// GitHub's id, which stays when the repository is renamed.
    id: u64,
    /// Its current name.
    name: &'a str,
    /// Its language; null when it is unknown.
    language: Option<&'a str>,
    /// The first day.
    since: String,
    /// The last day.
    until: String,
    /// The sums of all days.
    totals: LedgerCounts,
    /// The totals that GitHub states; null unless the audit asks for those of the repository.
    stated: Option<StatedTotals>,
    /// The fraction of the stars and forks that it gained over the audit's last 24 looks which was
    /// seen, 0 to 1; null until it is known.
    seen: Option<f64>,
    /// How much of these days was seen.
    coverage: DaySeen,
    /// All days in order, also those without events.
    days: &'a [RepoDay],
}

/// One repository of a ranking.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RankedReport<'a> {
    /// Its rank, from 1.
    rank: usize,
    #[serde(flatten)]
    repo: &'a RankedRepo,
}

/// The first repositories of a window.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TopReport<'a> {
    /// The figure: `stars`, `forks`, `prs` (opened) or `pushes`.
    by: &'static str,
    /// The window: `24h`, `7d` or `30d`.
    window: &'static str,
    /// The language; null for all.
    language: Option<&'a str>,
    /// The start of the window, which ends with the hour of `computed_at`.
    from: Timestamp,
    /// When the ranking was computed.
    computed_at: Timestamp,
    /// How much of the window's days was seen.
    coverage: DaySeen,
    /// In descending order of count.
    repos: Vec<RankedReport<'a>>,
}

/// What was seen of all days of a series.
pub(super) fn seen_of(series: &RepoSeries) -> DaySeen {
    DaySeen::mean(series.days.iter().map(|day| day.seen))
}

/// A series as JSON.
pub(super) fn series(series: &RepoSeries) -> String {
    let mut totals = LedgerCounts::default();
    for day in &series.days {
        totals.add_all(&day.counts);
    }
    let day = |day: Option<&RepoDay>| day.map(|day| day.day.to_string()).unwrap_or_default();
    let report = RepoReport {
        id: series.id,
        name: &series.name,
        language: series.language.as_deref(),
        since: day(series.days.first()),
        until: day(series.days.last()),
        totals,
        stated: series.stated,
        seen: series.seen,
        coverage: seen_of(series),
        days: &series.days,
    };
    json::encoded(&report)
}

/// A series as CSV (RFC 4180).
pub(super) fn series_csv(series: &RepoSeries) -> String {
    let names = LedgerMetric::ALL.map(LedgerMetric::name).join(",");
    let mut lines = vec![format!("day,{names},seen,minutes_known,hours_imported,days_filled\r\n")];
    for RepoDay { day, counts, seen } in &series.days {
        let counts = counts.0.map(|count| count.to_string()).join(",");
        lines.push(format!("{day},{counts},{}\r\n", coverage(*seen)));
    }
    lines.concat()
}

/// A ranking as JSON.
pub(super) fn top(top: &TopRepos, asked: &TopQuery) -> String {
    let repos = top.repos.iter().zip(1..).map(|(repo, rank)| RankedReport { rank, repo });
    let report = TopReport {
        by: asked.by.name(),
        window: asked.window.name(),
        language: asked.language.as_deref(),
        from: top.from,
        computed_at: top.computed_at,
        coverage: top.seen,
        repos: repos.collect(),
    };
    json::encoded(&report)
}

/// A ranking as CSV (RFC 4180); the last columns are how much of the window was seen.
pub(super) fn top_csv(top: &TopRepos) -> String {
    let header = "rank,id,name,language,count,stated_stars,stated_forks,stated_at,seen,\
                  window_seen,minutes_known,hours_imported,days_filled\r\n";
    let coverage = coverage(top.seen);
    let line = |(repo, rank): (&RankedRepo, u64)| {
        let quoted = |text: &Option<String>| {
            let text = text.as_ref();
            text.map(|text| format!("\"{}\"", text.replace('"', "\"\""))).unwrap_or_default()
        };
        let (name, language) = (quoted(&repo.name), quoted(&repo.language));
        let stated = repo.stated.map_or(",,".to_owned(), |StatedTotals { stars, forks, at }| {
            format!("{stars},{forks},{at}")
        });
        let (id, count, seen) = (repo.id, repo.count, shown(repo.seen));
        format!("{rank},{id},{name},{language},{count},{stated},{seen},{coverage}\r\n")
    };
    let lines: Vec<String> = top.repos.iter().zip(1..).map(line).collect();
    format!("{header}{}", lines.concat())
}

/// The last four columns.
fn coverage(seen: DaySeen) -> String {
    let DaySeen { seen, minutes_known, hours_imported, days_filled } = seen;
    format!("{},{minutes_known},{hours_imported},{days_filled}", shown(seen.map(rounded)))
}

/// A fraction; nothing when it is unknown.
fn shown(share: Option<f64>) -> String {
    share.map(|share| share.to_string()).unwrap_or_default()
}
