//! Counts of repositories by day from the database, which fill the ledger's past.
//!
//! The query is run for one day at a time, with the day in the session's variable `@ghpulse_day`
//! (`2026-01-31`): first the days since the last sync up to the day before yesterday, upwards, then
//! those of the past, downwards. So a day on which ghpulse did not run is asked for, and each day
//! once. Days that were counted here are not asked for. After [`EMPTY_DAYS`] days without rows the
//! database has none before. Where it continues is written in the last batch of each day, so a
//! crash or an error repeats one day at most.
//!
//! A day that cannot be read [`FAILURES`] times because of what is in it is stepped over. One whose
//! query times out, breaks off or is refused as often is postponed, so that it does not block the
//! others: it is asked for again once a day, when nothing else remains. When [`POSTPONED`] days are
//! postponed the cause is not a single day, and no other is: the next one waits, and is asked for
//! in turn with the postponed ones, until one of these is answered.

use std::time::Duration;

use super::answer::{self, AnswerRow, MalformedAnswer, NUMBER, RepoDayPlaces, quoted, refused};
use super::error::HistoryError;
use super::query::SqlText;
use super::server::TidbSession;
use crate::clock::Clock;
use crate::model::ledger::{FilledDays, LedgerCounts, PostponedDay};
use crate::model::window::Day;
use crate::store::ledger::fill::{self, LedgerDay};
use crate::store::{Database, Store};

/// The most rows of a day, those without counts included. GitHub has about a million repositories
/// with events a day.
const MOST_ROWS: usize = 2_000_000;
/// The most memory for the counts of a day, MiB.
const MOST_MIB: usize = 256;
/// The memory for the counts of a repository, without its name, bytes.
const REPO_BYTES: usize = 144;
/// The most days that are asked for in one sync.
const DAYS: usize = 100;
/// No further day is asked for in a sync after this time.
const LASTING: Duration = Duration::from_secs(60);
/// The most days that are looked at in one sync, asked for or not.
const LOOKS: usize = 10_000;
/// After this many days without a row, the database has no earlier one.
const EMPTY_DAYS: u32 = 31;
/// After this many failures a day is stepped over or postponed.
const FAILURES: u32 = 3;
/// The most days that are postponed.
const POSTPONED: usize = 31;

/// Fills the next days up to the day before yesterday. Returns how many were filled.
pub(super) async fn fetch(
    session: &mut TidbSession<'_>,
    store: &Store,
    (clock, today): (Clock, Day),
) -> Result<usize, HistoryError> {
    let (began, latest) = (clock.instant(), Day(today.0 - 2));
    let known = store.read(Database::filled_days).await?.unwrap_or_default();
    let mut progress = begun(known, session.hash_of(SqlText::RepoDays), latest);
    let (days, mut asked) = (progress.days, 0);
    for _ in 0..LOOKS {
        let Some(day) = next_day(&progress, latest) else { break };
        if store.read(move |reader| reader.has_ledger_day(day)).await? {
            looked_at(&mut progress, day, true);
            continue;
        }
        if asked == DAYS || clock.instant().duration_since(began) > LASTING {
            break;
        }
        asked += 1;
        let counts = match ask(session, day).await {
            Ok(counts) => counts,
            Err(error) => {
                let is_known = is_known(&progress, day, &error);
                failed(&mut progress, (day, latest), &error);
                if is_known {
                    tracing::warn!(%day, %error, "a postponed day of the database is not answered");
                    // The connection may be broken; the next sync continues.
                    break;
                }
                keep(store, progress).await?;
                return Err(error);
            }
        };
        looked_at(&mut progress, day, !counts.is_empty());
        let rows = counts.len();
        let filled = fill::fill_day(store, day, counts, move |batch, is_filled| {
            if is_filled {
                note(&mut progress, day, rows);
            }
            fill::put_progress(batch, &progress);
            Ok(progress)
        });
        progress = filled.await?;
    }
    let filled = usize::try_from(progress.days - days).unwrap_or(usize::MAX);
    keep(store, progress).await?;
    Ok(filled)
}

/// The progress to continue; another query begins anew.
fn begun(known: FilledDays, query: u64, latest: Day) -> FilledDays {
    let latest = Some(latest.to_string());
    if known.query == query {
        let looked_at = known.looked_at.clone().or(latest);
        return FilledDays { looked_at, ..known };
    }
    FilledDays {
        next: latest.clone(),
        looked_at: latest,
        empty: 0,
        failing: None,
        failures: 0,
        postponed: Vec::new(),
        query,
        ..known
    }
}

/// Whether a day is later than all that were looked at.
fn is_later(progress: &FilledDays, day: Day) -> bool {
    let looked_at = progress.looked_at.as_deref().and_then(Day::parse);
    looked_at.is_some_and(|looked_at| day.0 > looked_at.0)
}

/// The day to look at: those since the last sync first, then the past, then what was postponed. A
/// postponed one is first when another has failed as often and cannot be postponed.
fn next_day(progress: &FilledDays, latest: Day) -> Option<Day> {
    let waits = progress.failures >= FAILURES && progress.postponed.len() >= POSTPONED;
    if waits && let Some(due) = due_day(progress, latest) {
        return Some(due);
    }
    if is_later(progress, latest) {
        let looked_at = progress.looked_at.as_deref().and_then(Day::parse)?;
        return Some(Day(looked_at.0 + 1));
    }
    progress.next.as_deref().and_then(Day::parse).or_else(|| due_day(progress, latest))
}

/// The postponed day to ask for again: of those not tried today, the one tried longest ago.
fn due_day(progress: &FilledDays, latest: Day) -> Option<Day> {
    let latest = latest.to_string();
    let due = progress.postponed.iter().filter(|postponed| postponed.tried < latest);
    due.min_by(|one, other| one.tried.cmp(&other.tried)).and_then(|it| Day::parse(&it.day))
}

/// The place of a day among those that are postponed.
fn place_of(progress: &FilledDays, day: Day) -> Option<usize> {
    let text = day.to_string();
    progress.postponed.iter().position(|postponed| postponed.day == text)
}

/// Notes that a day is done; `has_counts` says whether anything is known of it.
fn looked_at(progress: &mut FilledDays, day: Day, has_counts: bool) {
    if progress.failing.as_deref() == Some(&*day.to_string()) {
        (progress.failing, progress.failures) = (None, 0);
    }
    if let Some(at) = place_of(progress, day) {
        progress.postponed.remove(at);
        return;
    }
    if is_later(progress, day) {
        progress.looked_at = Some(day.to_string());
        return;
    }
    progress.empty = if has_counts { 0 } else { progress.empty + 1 };
    let is_last = day.0 <= 0 || progress.empty >= EMPTY_DAYS;
    progress.next = (!is_last).then(|| Day(day.0 - 1).to_string());
}

/// Whether a day failed that is postponed, again, and the cause may be that day: no other is
/// delayed, and there is nothing to report.
fn is_known(progress: &FilledDays, day: Day, error: &HistoryError) -> bool {
    let is_single = progress.postponed.len() < POSTPONED && error.may_be_of_one_day();
    is_single && place_of(progress, day).is_some()
}

/// Notes that a day could not be read; `latest` is the latest day of this sync.
fn failed(progress: &mut FilledDays, (day, latest): (Day, Day), error: &HistoryError) {
    if !error.is_of_one_day() && !error.may_be_of_one_day() {
        return;
    }
    let (text, place) = (day.to_string(), place_of(progress, day));
    if let Some(at) = place {
        progress.postponed[at].tried = latest.to_string();
        // A day that waits for this one is next.
        progress.failures = progress.failures.min(FAILURES - 1);
    } else {
        if progress.failing.as_ref() != Some(&text) {
            (progress.failing, progress.failures) = (Some(text.clone()), 0);
        }
        progress.failures = progress.failures.saturating_add(1);
    }
    // A postponed day has failed often.
    if place.is_none() && progress.failures < FAILURES {
        return;
    }
    if error.is_of_one_day() {
        tracing::error!(%day, %error, "a day of the database cannot be read; it is not filled");
        looked_at(progress, day, true);
        progress.skipped += 1;
        progress.last_skipped = Some(text);
    } else if place.is_none() && progress.postponed.len() < POSTPONED {
        tracing::warn!(%day, %error, "a day of the database is not answered; it is postponed");
        looked_at(progress, day, true);
        progress.postponed.push(PostponedDay { day: text, tried: latest.to_string() });
    }
}

/// Notes that a day was filled.
fn note(progress: &mut FilledDays, day: Day, rows: usize) {
    let text = day.to_string();
    progress.days += 1;
    progress.rows += rows as u64;
    let oldest = progress.oldest.take();
    progress.oldest = Some(oldest.map_or(text.clone(), |it| it.min(text.clone())));
    progress.latest = progress.latest.take().max(Some(text));
}

/// Writes the progress, unless it is there.
async fn keep(store: &Store, progress: FilledDays) -> Result<(), HistoryError> {
    if store.read(Database::filled_days).await?.as_ref() == Some(&progress) {
        return Ok(());
    }
    let kept = store.commit(move |batch| {
        fill::put_progress(batch, &progress);
        Ok(())
    });
    Ok(kept.await?)
}

/// Asks for a day.
async fn ask(session: &mut TidbSession<'_>, day: Day) -> Result<LedgerDay, HistoryError> {
    let query = SqlText::RepoDays;
    session.set_day(day).await?;
    let mut read = RepoDayRows::of(day, MOST_MIB << 20);
    let take = |columns: &[String], row: AnswerRow| read.take(columns, &row);
    let columns = session.each_row(query, MOST_ROWS, take).await?;
    // Also of an answer without rows.
    let checked = answer::repo_day_places(&columns);
    checked.map_err(|cause| HistoryError::MalformedAnswer { query, cause })?;
    Ok(read.counts)
}

/// The counts of a day, added up row by row. A row without a repository or without counts is
/// ignored.
struct RepoDayRows {
    day: Day,
    rows: usize,
    /// Bytes that may still be taken.
    room: usize,
    places: Option<RepoDayPlaces>,
    counts: LedgerDay,
}

impl RepoDayRows {
    fn of(day: Day, room: usize) -> Self {
        Self { day, rows: 0, room, places: None, counts: LedgerDay::default() }
    }

    /// Adds a row.
    fn take(
        &mut self,
        columns: &[String],
        cells: &[Option<String>],
    ) -> Result<(), MalformedAnswer> {
        self.rows += 1;
        let (row, day) = (self.rows, self.day);
        let places = match self.places.take() {
            Some(places) => places,
            None => answer::repo_day_places(columns)?,
        };
        let ([repo, name, date], metrics) = self.places.insert(places);
        let cell = |at: usize| cells.get(at).and_then(Option::as_deref).map(str::trim);
        let number = |at: usize, text: &str| {
            let read = answer::read_number(text).and_then(|n| u64::try_from(n).ok());
            read.ok_or_else(|| refused(row, columns.get(at), text, NUMBER))
        };
        let Some(id) = cell(*repo) else { return Ok(()) };
        let id = number(*repo, id)?;
        let text = cell(*date).unwrap_or_default();
        if answer::read_day(text) != Some(day) {
            return Err(MalformedAnswer::OtherDay { row, text: quoted(text), day });
        }
        let mut of_repo = LedgerCounts::default();
        for (at, metric) in metrics.iter() {
            if let Some(text) = cell(*at) {
                of_repo.add(*metric, number(*at, text)?);
            }
        }
        if of_repo.is_empty() {
            return Ok(());
        }
        let (before, name) = (self.counts.len(), cell(*name));
        self.counts.add(id, name, &of_repo);
        if self.counts.len() > before {
            let bytes = REPO_BYTES + name.map_or(0, str::len);
            let full = MalformedAnswer::Bytes { most: MOST_MIB };
            self.room = self.room.checked_sub(bytes).ok_or(full)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
