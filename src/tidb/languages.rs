//! Languages of repositories that TiDB knows, which saves requests to GitHub and works without a
//! token.
//!
//! Columns: `repo_id`, `language` and, where the database has it, `as_of`; a row without a language
//! is ignored. Accepted rows go into the store's cache of languages, and never replace a newer one.

use std::collections::BTreeMap;

use super::answer::{self, AnswerTable, MalformedAnswer, NUMBER, TIME, refused};
use super::error::HistoryError;
use super::query::SqlText;
use super::server::TidbSession;
use crate::model::window::Timestamp;
use crate::store::keys::RepoKey;
use crate::store::{Store, repos};

/// The most repositories of one query.
const MOST_REPOS: usize = 100_000;
/// The most rows of one write.
const BATCH: usize = 5_000;
/// A repository's language, with its date.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RepoLanguage {
    repo: u64,
    language: String,
    as_of: Option<Timestamp>,
}

/// Runs the query and stores new languages. Returns the number of repositories that changed.
pub(super) async fn fetch(
    session: &mut TidbSession<'_>,
    store: &Store,
    now: Timestamp,
) -> Result<usize, HistoryError> {
    let query = SqlText::Languages;
    let table = session.ask(query, MOST_REPOS).await?;
    let read = read(&table).map_err(|cause| HistoryError::MalformedAnswer { query, cause })?;
    let mut taken = 0;
    for part in read.chunks(BATCH) {
        let part = part.to_vec();
        let keep = store.commit(move |batch| {
            let mut taken = 0;
            for RepoLanguage { repo, language, as_of } in &part {
                let key = RepoKey(*repo);
                taken += usize::from(repos::remember_foreign(batch, key, language, *as_of, now)?);
            }
            Ok(taken)
        });
        taken += keep.await?;
    }
    Ok(taken)
}

/// The rows with a language; the newest of each repository.
fn read(table: &AnswerTable) -> Result<Vec<RepoLanguage>, MalformedAnswer> {
    let places = answer::language_places(&table.columns)?;
    let mut newest: BTreeMap<u64, RepoLanguage> = BTreeMap::new();
    for (row, cells) in table.rows.iter().enumerate() {
        let row = row + 1;
        let cell = |of: usize| {
            let at = *places.get(of)?;
            let text = cells.get(at).and_then(Option::as_deref)?;
            Some((table.columns.get(at), text.trim()))
        };
        let (Some((column, id)), Some((_, language))) = (cell(0), cell(1)) else { continue };
        let number = answer::read_number(id).and_then(|id| u64::try_from(id).ok());
        let repo = number.ok_or_else(|| refused(row, column, id, NUMBER))?;
        let as_of = match cell(2) {
            None => None,
            Some((column, text)) => {
                Some(read_time(text).ok_or_else(|| refused(row, column, text, TIME))?)
            }
        };
        let is_newer = newest.get(&repo).is_none_or(|known| known.as_of < as_of);
        if is_newer && !language.is_empty() {
            newest.insert(repo, RepoLanguage { repo, language: language.to_owned(), as_of });
        }
    }
    Ok(newest.into_values().collect())
}

/// A DATETIME or a DATE, in UTC.
fn read_time(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    Timestamp::parse(&format!("{date}T{}Z", time.trim_end_matches('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[&str], rows: &[&[Option<&str>]]) -> AnswerTable {
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        let rows = rows.iter().map(|row| row.iter().map(|cell| cell.map(str::to_owned)).collect());
        AnswerTable { columns, rows: rows.collect() }
    }

    fn told(repo: u64, language: &str, as_of: Option<&str>) -> RepoLanguage {
        let as_of = as_of.map(|text| Timestamp::parse(text).unwrap());
        RepoLanguage { repo, language: language.to_owned(), as_of }
    }

    #[test]
    fn columns_match_by_name_or_position_time_is_optional() {
        let rows: &[&[_]] = &[
            &[Some("2026-01-31 12:34:56.5"), Some("7"), Some("C")],
            &[None, Some("8"), Some("Zig")],
            &[Some("2026-01-31"), Some("9"), None],
            &[Some("2026-01-30"), Some("7"), Some("Ada")],
        ];
        let by_name = read(&table(&["as_of", "repo_id", "language"], rows)).unwrap();
        let seven = told(7, "C", Some("2026-01-31T12:34:56.5Z"));
        assert_eq!(by_name, [seven, told(8, "Zig", None)]);
        let by_place = table(&["id", "primary_language"], &[&[Some("5"), Some("C")]]);
        assert_eq!(read(&by_place).unwrap(), [told(5, "C", None)]);
    }

    #[test]
    fn invalid_cells_and_missing_columns_are_refused_by_place() {
        let refused = |columns: &[&str], row: &[Option<&str>]| {
            read(&table(columns, &[row])).unwrap_err().to_string()
        };
        let words = refused(&["repo_id", "language"], &[Some("-1"), Some("C")]);
        assert!(words.contains("column repo_id of row 1 is \"-1\""), "{words}");
        let words = refused(&answer::LANGUAGE_COLUMNS, &[Some("1"), Some("C"), Some("yesterday")]);
        assert!(words.contains("must be a time like"), "{words}");
        let words = refused(&["repo_id"], &[Some("1")]);
        assert!(words.contains("repo_id, language, as_of"), "{words}");
    }
}
