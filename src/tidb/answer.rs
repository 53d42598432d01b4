//! Parses the results of the two queries from text columns into figures.
//!
//! A column goes to the figure of its name, in any order; remaining figures take the remaining
//! columns in their order. So a query with its own column names works, and one with the figures'
//! names may order them freely. NULL means no value, and a number may be a DECIMAL; any other value
//! is refused by row and column, because a misread figure would be shown to everybody.

use std::collections::BTreeMap;

use super::query::FigureQuery;
use crate::model::ledger::LedgerMetric;
use crate::model::window::{Day, Timestamp, Year};
use crate::store::keys::history::{HistoryFigure, HistoryMetric};

/// The columns of a result with languages; the last one may be absent.
pub(super) const LANGUAGE_COLUMNS: [&str; 3] = ["repo_id", "language", "as_of"];

/// The first columns of a result with days of repositories; the others are named like the metrics
/// of the ledger.
const REPO_DAY_COLUMNS: [&str; 3] = ["repo_id", "repo_name", "day"];

/// A result as the server sent it: every cell as text, NULL as `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AnswerTable {
    /// Names of the columns.
    pub(super) columns: Vec<String>,
    /// The rows.
    pub(super) rows: Vec<AnswerRow>,
}

/// The cells of a row.
pub(super) type AnswerRow = Vec<Option<String>>;

/// The most rows: more cannot be the days of a year.
pub(super) const MOST_ROWS: usize = 5_000;
/// The most characters of a refused text that an error quotes.
const QUOTED_CHARS: usize = 60;

/// An error in a result. Rows count from 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAnswer {
    /// Too few or too many columns.
    #[error("it has {} columns ({}), not {wanted}: {needed}", found.len(), found.join(", "))]
    Columns {
        /// Their names.
        found: Vec<String>,
        /// How many there should be.
        wanted: usize,
        /// Names of the needed columns.
        needed: String,
    },
    /// Too few columns that are known by their names, or others.
    #[error("its columns ({}) are not {needed}", found.join(", "))]
    Names {
        /// Their names.
        found: Vec<String>,
        /// Names of the needed columns.
        needed: String,
    },
    /// Too many rows.
    #[error("it has more than {most} rows")]
    Rows {
        /// The limit.
        most: usize,
    },
    /// Too many bytes.
    #[error("it takes more than {most} MiB of memory")]
    Bytes {
        /// The limit.
        most: usize,
    },
    /// A text that is not a value of its column.
    #[error("column {column} of row {row} is {text:?}; must be {wanted}")]
    Cell {
        /// Which row.
        row: usize,
        /// Which column, by the server's name.
        column: String,
        /// The text.
        text: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A row of another day than the one that was asked for.
    #[error("row {row} is of {text:?}, not of {day}: select by @ghpulse_day")]
    OtherDay {
        /// Which row.
        row: usize,
        /// The text.
        text: String,
        /// The day that was asked for.
        day: Day,
    },
    /// A day that an earlier row has too.
    #[error("row {row} is for {day}, as an earlier row is: group by day")]
    Twice {
        /// Which row.
        row: usize,
        /// The day.
        day: Day,
    },
}

/// What the text of a count must be: up to [`i64::MAX`].
pub(super) const NUMBER: &str = "a whole number from 0 to 9223372036854775807";
/// What the text of a time must be.
pub(super) const TIME: &str = "a time like 2026-01-31 12:34:56";
/// What the text of a date must be.
const DATE: &str = "a date like 2026-01-31";

/// What a column is for: the day, or a metric, with its accepted names.
type WantedColumn = (&'static str, Option<HistoryMetric>);

const DAILY: [WantedColumn; 5] = [
    ("event_day", None),
    ("developers", Some(HistoryMetric::Developers)),
    ("opened_prs", Some(HistoryMetric::Opened)),
    ("closed_prs", Some(HistoryMetric::Closed)),
    ("merged_prs", Some(HistoryMetric::Merged)),
];
const YEARLY: [WantedColumn; 4] = [
    ("developers", Some(HistoryMetric::YearDevelopers)),
    ("repos", Some(HistoryMetric::YearRepositories)),
    ("additions", Some(HistoryMetric::YearAdditions)),
    ("deletions", Some(HistoryMetric::YearDeletions)),
];

fn wanted(query: FigureQuery) -> &'static [WantedColumn] {
    match query {
        FigureQuery::Daily => &DAILY,
        FigureQuery::Yearly => &YEARLY,
    }
}

/// Whether columns with these names can be read; returns the index of each wanted one.
pub(super) fn places(
    query: FigureQuery,
    columns: &[String],
) -> Result<Vec<usize>, MalformedAnswer> {
    let names: Vec<&str> = wanted(query).iter().map(|(name, _)| *name).collect();
    places_of(&names, columns)
}

/// The same for columns of these names.
pub(super) fn places_of(
    wanted: &[&str],
    columns: &[String],
) -> Result<Vec<usize>, MalformedAnswer> {
    if columns.len() != wanted.len() {
        return Err(wrong_columns(columns, wanted.len(), wanted.join(", ")));
    }
    let named = |name: &str| columns.iter().position(|column| column.eq_ignore_ascii_case(name));
    let by_name: Vec<Option<usize>> = wanted.iter().map(|name| named(name)).collect();
    let mut others = (0..columns.len()).filter(|at| !by_name.contains(&Some(*at)));
    let place = |at: &Option<usize>| at.or_else(|| others.next());
    Ok(by_name.iter().filter_map(place).collect())
}

/// The same for a result with languages.
pub(super) fn language_places(columns: &[String]) -> Result<Vec<usize>, MalformedAnswer> {
    let wanted = if columns.len() == 2 { &LANGUAGE_COLUMNS[..2] } else { &LANGUAGE_COLUMNS };
    places_of(wanted, columns)
}

/// Indexes of a repository's columns (id, name, day), and those of its metrics.
pub(super) type RepoDayPlaces = ([usize; 3], Vec<(usize, LedgerMetric)>);

/// The same for a result with days of repositories.
pub(super) fn repo_day_places(columns: &[String]) -> Result<RepoDayPlaces, MalformedAnswer> {
    let named = |name: &str| columns.iter().position(|column| column.eq_ignore_ascii_case(name));
    let first: Option<Vec<usize>> = REPO_DAY_COLUMNS.iter().map(|name| named(name)).collect();
    let metrics = LedgerMetric::ALL.into_iter();
    let metrics: Vec<_> =
        metrics.filter_map(|metric| Some((named(metric.name())?, metric))).collect();
    match first.and_then(|first| <[usize; 3]>::try_from(first).ok()) {
        Some(first) if !metrics.is_empty() && columns.len() == 3 + metrics.len() => {
            Ok((first, metrics))
        }
        _ => {
            let all = LedgerMetric::ALL.map(LedgerMetric::name).join(", ");
            let first = REPO_DAY_COLUMNS.join(", ");
            let needed = format!("{first}, and by name one or more of {all}");
            let found = columns.iter().map(|name| quoted(name)).collect();
            Err(MalformedAnswer::Names { found, needed })
        }
    }
}

/// The figures of a result without zeros. `year` is that of a yearly result.
pub(super) fn read(
    query: FigureQuery,
    year: Year,
    table: &AnswerTable,
) -> Result<BTreeMap<HistoryFigure, i64>, MalformedAnswer> {
    let places = places(query, &table.columns)?;
    let most = match query {
        FigureQuery::Daily => MOST_ROWS,
        FigureQuery::Yearly => 1,
    };
    if table.rows.len() > most {
        return Err(MalformedAnswer::Rows { most });
    }
    let mut figures = BTreeMap::new();
    let mut days = std::collections::BTreeSet::new();
    for (row, cells) in table.rows.iter().enumerate() {
        let row = row + 1;
        let cell = |at: usize| cells.get(at).and_then(Option::as_deref);
        let mut day = year.first_day();
        for (&at, (_, metric)) in places.iter().zip(wanted(query)) {
            let refused = |text: &str, wanted| refused(row, table.columns.get(at), text, wanted);
            let Some(metric) = *metric else {
                // Events without a day: NULL, or MySQL's zero date.
                let Some(text) = cell(at).filter(|text| !is_no_date(text)) else { break };
                day = read_day(text).ok_or_else(|| refused(text, DATE))?;
                if !days.insert(day) {
                    return Err(MalformedAnswer::Twice { row, day });
                }
                continue;
            };
            let Some(text) = cell(at) else { continue };
            let n = read_number(text).ok_or_else(|| refused(text, NUMBER))?;
            if n > 0 {
                figures.insert(HistoryFigure { day, metric }, n);
            }
        }
    }
    Ok(figures)
}

/// `0000-00-00`, with or without a time: what `MySQL` stores for a missing date (its manual, "The
/// DATE, DATETIME, and TIMESTAMP Types").
fn is_no_date(text: &str) -> bool {
    text.trim().starts_with("0000-00-00")
}

/// A DATE, or the day of a DATETIME.
pub(super) fn read_day(text: &str) -> Option<Day> {
    let text = text.trim();
    let (date, rest) = text.split_at_checked(10)?;
    if !rest.is_empty() {
        Timestamp::parse_utc(text).or_else(|| Timestamp::parse(text))?;
    }
    Day::parse(date)
}

/// A count: digits, with an optional fraction, which is truncated, or a float. `None` above
/// [`i64::MAX`].
pub(super) fn read_number(text: &str) -> Option<i64> {
    let text = text.trim().trim_start_matches('+');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !text.is_empty() && digits(whole) && digits(fraction) && (whole, fraction) != ("", "") {
        return if whole.is_empty() { Some(0) } else { whole.parse().ok() };
    }
    let float: f64 = text.parse().ok().filter(|float: &f64| float.is_finite())?;
    // 2^63 is the first float out of range; every smaller integer part fits.
    let fits = (0.0..9_223_372_036_854_775_808.0).contains(&float);
    #[expect(clippy::cast_possible_truncation, reason = "a count's fraction means nothing")]
    fits.then_some(float as i64)
}

fn wrong_columns(columns: &[String], wanted: usize, needed: String) -> MalformedAnswer {
    let found = columns.iter().map(|name| quoted(name)).collect();
    MalformedAnswer::Columns { found, wanted, needed }
}

/// The error of a cell's text.
pub(super) fn refused(
    row: usize,
    column: Option<&String>,
    text: &str,
    wanted: &'static str,
) -> MalformedAnswer {
    let column = quoted(column.map_or("", String::as_str));
    MalformedAnswer::Cell { row, column, text: quoted(text), wanted }
}

pub(super) fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
