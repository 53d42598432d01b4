//! Reads what the two queries answer: text in columns, into figures.
//!
//! A column goes to the figure that has its name, whatever its place; the figures that no column
//! is named after take the other columns in their order. So a query whose names are its own still
//! works, and one that names its columns may put them anywhere. NULL is nothing, a number may be a
//! DECIMAL; whatever else is there is refused by row and column, because a figure that is half
//! understood would be shown to everybody.

use std::collections::BTreeMap;

use super::query::Query;
use crate::model::window::{Day, Timestamp, Year};
use crate::store::keys::history::{HistoryFigure, HistoryMetric};

/// An answer as the server sent it, every cell as text, NULL as `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AnswerTable {
    /// Names of the columns.
    pub(super) columns: Vec<String>,
    /// The rows.
    pub(super) rows: Vec<Vec<Option<String>>>,
}

/// More rows than this are no days of a year.
pub(super) const MOST_ROWS: usize = 5_000;
/// So much of a text that is refused is quoted.
const QUOTED_CHARS: usize = 60;

/// What is wrong with an answer. Rows count from 1.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAnswer {
    /// Too few or too many columns.
    #[error("it has {} columns ({}), and {wanted} are needed: {needed}", found.len(), found.join(", "))]
    Columns {
        /// Their names.
        found: Vec<String>,
        /// How many there should be.
        wanted: usize,
        /// Their names.
        needed: String,
    },
    /// Too many rows.
    #[error("it has more than {most} rows")]
    Rows {
        /// The limit.
        most: usize,
    },
    /// A text that is no count.
    #[error(
        "column {column} of row {row} is {text:?}; must be a whole number from 0 to {}",
        i64::MAX
    )]
    Number {
        /// Which row.
        row: usize,
        /// Which column, by the server's name.
        column: String,
        /// What it says.
        text: String,
    },
    /// A text that is no time.
    #[error("column {column} of row {row} is {text:?}, which is no time like 2026-01-31 12:34:56")]
    Time {
        /// Which row.
        row: usize,
        /// Which column, by the server's name.
        column: String,
        /// What it says.
        text: String,
    },
    /// A text that is no day.
    #[error("column {column} of row {row} is {text:?}, which is no day like 2026-01-31")]
    Date {
        /// Which row.
        row: usize,
        /// Which column, by the server's name.
        column: String,
        /// What it says.
        text: String,
    },
    /// A day that was there before.
    #[error("row {row} is for {day}, and so is an earlier one: group by day")]
    Twice {
        /// Which row.
        row: usize,
        /// The day.
        day: Day,
    },
}

/// What a column is for: the day, or a metric, with the names it goes by.
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

fn wanted(query: Query) -> &'static [WantedColumn] {
    match query {
        Query::Daily => &DAILY,
        Query::Yearly => &YEARLY,
    }
}

/// Whether columns with these names can be read; says for each wanted one which it is.
pub(super) fn places(query: Query, columns: &[String]) -> Result<Vec<usize>, MalformedAnswer> {
    let names: Vec<&str> = wanted(query).iter().map(|(name, _)| *name).collect();
    places_of(&names, columns)
}

/// The same for columns of these names.
pub(super) fn places_of(
    wanted: &[&str],
    columns: &[String],
) -> Result<Vec<usize>, MalformedAnswer> {
    if columns.len() != wanted.len() {
        return Err(MalformedAnswer::Columns {
            found: columns.iter().map(|name| quoted(name)).collect(),
            wanted: wanted.len(),
            needed: wanted.join(", "),
        });
    }
    let named = |name: &str| columns.iter().position(|column| column.eq_ignore_ascii_case(name));
    let by_name: Vec<Option<usize>> = wanted.iter().map(|name| named(name)).collect();
    let mut others = (0..columns.len()).filter(|at| !by_name.contains(&Some(*at)));
    let place = |at: &Option<usize>| at.or_else(|| others.next());
    Ok(by_name.iter().filter_map(place).collect())
}

/// The figures of an answer; those that are zero are left out. `year` is that of a yearly answer.
pub(super) fn read(
    query: Query,
    year: Year,
    table: &AnswerTable,
) -> Result<BTreeMap<HistoryFigure, i64>, MalformedAnswer> {
    let places = places(query, &table.columns)?;
    let most = match query {
        Query::Daily => MOST_ROWS,
        Query::Yearly => 1,
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
            let column = || quoted(table.columns.get(at).map_or("", String::as_str));
            let Some(metric) = *metric else {
                // Events without a day belong to none: NULL, or MySQL's date that is none.
                let Some(text) = cell(at).filter(|text| !is_no_date(text)) else { break };
                let refuse = || MalformedAnswer::Date { row, column: column(), text: quoted(text) };
                day = read_day(text).ok_or_else(refuse)?;
                if !days.insert(day) {
                    return Err(MalformedAnswer::Twice { row, day });
                }
                continue;
            };
            let Some(text) = cell(at) else { continue };
            let refuse = || MalformedAnswer::Number { row, column: column(), text: quoted(text) };
            let n = read_number(text).ok_or_else(refuse)?;
            if n > 0 {
                figures.insert(HistoryFigure { day, metric }, n);
            }
        }
    }
    Ok(figures)
}

/// `0000-00-00`, with or without a time: what `MySQL` keeps where there is no date (its manual,
/// "The DATE, DATETIME, and TIMESTAMP Types").
fn is_no_date(text: &str) -> bool {
    text.trim().starts_with("0000-00-00")
}

/// A DATE, or the day of a DATETIME.
fn read_day(text: &str) -> Option<Day> {
    let text = text.trim();
    let (date, rest) = text.split_at_checked(10)?;
    if !rest.is_empty() {
        Timestamp::parse_utc(text).or_else(|| Timestamp::parse(text))?;
    }
    Day::parse(date)
}

/// A count: digits, perhaps with a fraction, which is cut off, or as a float is written. `None`
/// also beyond [`i64::MAX`]: a figure that nobody said is not shown.
pub(super) fn read_number(text: &str) -> Option<i64> {
    let text = text.trim().trim_start_matches('+');
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !text.is_empty() && digits(whole) && digits(fraction) && (whole, fraction) != ("", "") {
        return if whole.is_empty() { Some(0) } else { whole.parse().ok() };
    }
    let float: f64 = text.parse().ok().filter(|float: &f64| float.is_finite())?;
    // 2^63 is the first float beyond; below it every whole part fits.
    let fits = (0.0..9_223_372_036_854_775_808.0).contains(&float);
    #[expect(clippy::cast_possible_truncation, reason = "a count's fraction means nothing")]
    fits.then_some(float as i64)
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
