//! Counts of repositories by day from the database, which fill the ledger's past.
//!
//! The query is run for one day at a time, with the day in the session's variable `@ghpulse_day`
//! (`2026-01-31`), from the day before yesterday back. Days of which anything was counted here are
//! not asked for. After [`EMPTY_DAYS`] days without rows the database has none before. Where it
//! continues is written in the batch of each day, so a crash or an error repeats one day at most.

use std::time::Duration;

use super::answer::{self, AnswerTable, MalformedAnswer, quoted};
use super::error::HistoryError;
use super::query::SqlText;
use super::server::TidbSession;
use crate::clock::Clock;
use crate::model::ledger::{FilledDays, LedgerCounts};
use crate::model::window::Day;
use crate::store::Store;
use crate::store::ledger::fill::{self, LedgerDay};

/// The most rows of a day.
const MOST_ROWS: usize = 300_000;
/// The most days that are asked for in one sync.
const DAYS: usize = 100;
/// No further day is asked for in a sync after this time.
const LASTING: Duration = Duration::from_secs(60);
/// The most days that are looked at in one sync, asked for or not.
const LOOKS: usize = 10_000;
/// After so many days without a row, the database has none before.
const EMPTY_DAYS: u32 = 31;
/// Fills the next days. Returns how many were filled.
pub(super) async fn fetch(
    session: &mut TidbSession<'_>,
    store: &Store,
    clock: Clock,
) -> Result<usize, HistoryError> {
    let (began, today) = (clock.instant(), clock.now().day().0);
    let known = store.read(|reader| reader.filled_days()).await?.unwrap_or_default();
    let query = session.hash_of(SqlText::RepoDays);
    let mut progress = if known.query == query {
        known
    } else {
        let next = Some(Day(today - 2).to_string());
        FilledDays { next, empty: 0, query, ..known }
    };
    let (days, mut asked) = (progress.days, 0);
    for _ in 0..LOOKS {
        let Some(day) = progress.next.as_deref().and_then(Day::parse) else { break };
        let before = (day.0 > 0).then(|| Day(day.0 - 1).to_string());
        if store.read(move |reader| reader.has_ledger_day(day)).await? {
            (progress.next, progress.empty) = (before, 0);
            continue;
        }
        if asked == DAYS || clock.instant().duration_since(began) > LASTING {
            break;
        }
        asked += 1;
        let counts = ask(session, day).await?;
        progress.empty = if counts.is_empty() { progress.empty + 1 } else { 0 };
        progress.next = before.filter(|_| progress.empty < EMPTY_DAYS);
        let filled = store.commit(move |batch| {
            if !counts.is_empty() && counts.write(batch, day)? {
                let text = day.to_string();
                progress.days += 1;
                progress.rows += counts.len() as u64;
                let oldest = progress.oldest.take();
                progress.oldest = Some(oldest.map_or(text.clone(), |it| it.min(text.clone())));
                progress.latest = progress.latest.take().max(Some(text));
            }
            fill::put_progress(batch, &progress);
            Ok(progress)
        });
        progress = filled.await?;
    }
    Ok(usize::try_from(progress.days - days).unwrap_or(usize::MAX))
}

/// Asks for a day.
async fn ask(session: &mut TidbSession<'_>, day: Day) -> Result<LedgerDay, HistoryError> {
    let query = SqlText::RepoDays;
    session.set_day(day).await?;
    let table = session.ask(query, MOST_ROWS).await?;
    read(&table, day).map_err(|cause| HistoryError::MalformedAnswer { query, cause })
}

/// The counts of a day; rows of one repository add up. A row without a repository is ignored.
fn read(table: &AnswerTable, day: Day) -> Result<LedgerDay, MalformedAnswer> {
    let ([repo, name, date], metrics) = answer::repo_day_places(&table.columns)?;
    let mut counts = LedgerDay::default();
    for (row, cells) in table.rows.iter().enumerate() {
        let row = row + 1;
        let cell = |at: usize| cells.get(at).and_then(Option::as_deref).map(str::trim);
        let column = |at: usize| quoted(table.columns.get(at).map_or("", String::as_str));
        let number = |at: usize, text: &str| {
            let read = answer::read_number(text).and_then(|n| u64::try_from(n).ok());
            read.ok_or_else(|| MalformedAnswer::Number {
                row,
                column: column(at),
                text: quoted(text),
            })
        };
        let Some(id) = cell(repo) else { continue };
        let id = number(repo, id)?;
        let text = cell(date).unwrap_or_default();
        if answer::read_day(text) != Some(day) {
            return Err(MalformedAnswer::OtherDay { row, text: quoted(text), day });
        }
        let mut of_repo = LedgerCounts::default();
        for (at, metric) in &metrics {
            if let Some(text) = cell(*at) {
                of_repo.add(*metric, number(*at, text)?);
            }
        }
        if !of_repo.is_empty() {
            counts.add(id, cell(name), &of_repo);
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ledger::LedgerMetric;

    fn table(columns: &[&str], rows: &[&[Option<&str>]]) -> AnswerTable {
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        let rows = rows.iter().map(|row| row.iter().map(|cell| cell.map(str::to_owned)).collect());
        AnswerTable { columns, rows: rows.collect() }
    }

    #[test]
    fn rows_of_the_day_are_read_by_name_and_others_refused() {
        let day = Day::parse("2026-01-31").unwrap();
        let columns = ["day", "Stars", "repo_name", "repo_id", "pushes"];
        let rows: &[&[_]] = &[
            &[Some("2026-01-31"), Some("3"), Some("a/b"), Some("7"), None],
            &[Some("2026-01-31 00:00:00"), Some("2.0"), Some("a/c"), Some("7"), Some("1")],
            &[Some("2026-01-31"), Some("0"), Some("a/d"), Some("8"), Some("0")],
            &[Some("2026-01-31"), Some("9"), Some("a/d"), None, Some("0")],
        ];
        let mut wanted = LedgerDay::default();
        let mut counts = LedgerCounts::default();
        counts.add(LedgerMetric::Stars, 5);
        counts.add(LedgerMetric::Pushes, 1);
        wanted.add(7, Some("a/b"), &counts);
        assert_eq!(read(&table(&columns, rows), day).unwrap(), wanted);
        let refused = |columns: &[&str], row: &[Option<&str>]| {
            read(&table(columns, &[row]), day).unwrap_err().to_string()
        };
        let words = refused(&columns, &[Some("2026-01-30"), None, None, Some("7"), None]);
        assert!(words.contains("row 1 is of \"2026-01-30\", not of 2026-01-31"), "{words}");
        let words = refused(&columns, &[Some("2026-01-31"), Some("-1"), None, Some("7"), None]);
        assert!(words.contains("column Stars of row 1 is \"-1\""), "{words}");
        for columns in [&["repo_id", "day", "stars"][..], &["repo_id", "repo_name", "day"]] {
            let words = refused(columns, &[None, None, None]);
            assert!(
                words.contains("repo_id, repo_name, day, and by name one or more of"),
                "{words}"
            );
        }
    }
}
