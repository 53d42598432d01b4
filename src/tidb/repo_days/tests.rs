//! What the rows of a day say, and which day is asked for.

use super::*;
use crate::model::ledger::LedgerMetric;

fn read(
    columns: &[&str],
    rows: &[&[Option<&str>]],
    room: usize,
) -> Result<LedgerDay, MalformedAnswer> {
    let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    let mut read = RepoDayRows::of(Day::parse("2026-01-31").unwrap(), room);
    for row in rows {
        let cells: AnswerRow = row.iter().map(|cell| cell.map(str::to_owned)).collect();
        read.take(&columns, &cells)?;
    }
    Ok(read.counts)
}

#[test]
fn rows_of_the_day_are_read_by_name_and_others_refused() {
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
    // Rows without counts take no room; repositories have their limit.
    let all = REPO_BYTES + 3;
    assert_eq!(read(&columns, rows, all).unwrap(), wanted);
    let full = read(&columns, rows, REPO_BYTES + 2).unwrap_err();
    assert_eq!(full, MalformedAnswer::Bytes { most: MOST_MIB });
    let refused = |columns: &[&str], row: &[Option<&str>]| {
        read(columns, &[row], 1_000).unwrap_err().to_string()
    };
    let words = refused(&columns, &[Some("2026-01-30"), None, None, Some("7"), None]);
    assert!(words.contains("row 1 is of \"2026-01-30\", not of 2026-01-31"), "{words}");
    let words = refused(&columns, &[Some("2026-01-31"), Some("-1"), None, Some("7"), None]);
    assert!(words.contains("column Stars of row 1 is \"-1\""), "{words}");
    let unknown = &["repo_id", "repo_name", "day", "stars", "other"][..];
    for columns in [&["repo_id", "day", "stars"][..], &["repo_id", "repo_name", "day"], unknown] {
        let words = refused(columns, &[None, None, None]);
        assert!(words.contains("repo_id, repo_name, day, and by name one or more of"), "{words}");
        assert!(words.starts_with("its columns (repo_id, "), "{words}");
    }
}

#[test]
fn days_are_looked_at_once_and_stepped_over_after_failures() {
    let day = |text: &str| Day::parse(text).unwrap();
    let mut progress = begun(FilledDays::default(), 7, day("2026-03-08"));
    let looks = |progress: &mut FilledDays, latest: &str, most: usize| {
        let mut days = Vec::new();
        while days.len() < most
            && let Some(next) = next_day(progress, day(latest))
        {
            looked_at(progress, next, true);
            days.push(next.to_string());
        }
        days
    };
    assert_eq!(looks(&mut progress, "2026-03-08", 2), ["2026-03-08", "2026-03-07"]);
    // Days that have passed since then come first, then the past.
    let mut progress = begun(progress, 7, day("2026-03-10"));
    let days = looks(&mut progress, "2026-03-10", 3);
    assert_eq!(days, ["2026-03-09", "2026-03-10", "2026-03-06"]);

    let cause = MalformedAnswer::Rows { most: 1 };
    let error = HistoryError::MalformedAnswer { query: SqlText::RepoDays, cause };
    assert!(error.is_of_one_day());
    let latest = day("2026-03-10");
    for failures in 1..FAILURES {
        failed(&mut progress, (day("2026-03-05"), latest), &error);
        assert_eq!((progress.failures, progress.skipped), (failures, 0));
        assert_eq!(next_day(&progress, day("2026-03-10")), Some(day("2026-03-05")));
    }
    failed(&mut progress, (day("2026-03-05"), latest), &error);
    assert_eq!((progress.skipped, progress.last_skipped.as_deref()), (1, Some("2026-03-05")));
    assert_eq!((progress.failures, progress.failing.as_deref()), (0, None));
    assert_eq!(next_day(&progress, day("2026-03-10")), Some(day("2026-03-04")));

    // A day that is not answered does not block the earlier ones.
    let after = Duration::from_secs(60);
    let slow = HistoryError::QueryTimeout { query: SqlText::RepoDays, after };
    for _ in 0..FAILURES {
        assert_eq!(next_day(&progress, latest), Some(day("2026-03-04")));
        failed(&mut progress, (day("2026-03-04"), latest), &slow);
    }
    assert_eq!(next_day(&progress, latest), Some(day("2026-03-03")));
    assert_eq!(progress.postponed.len(), 1);

    // After a month without rows the database has no earlier day; later ones are asked for.
    for _ in 0..EMPTY_DAYS {
        let next = next_day(&progress, day("2026-03-10")).unwrap();
        looked_at(&mut progress, next, false);
    }
    assert_eq!(next_day(&progress, day("2026-03-10")), None);
    assert_eq!(next_day(&progress, day("2026-03-11")), Some(day("2026-03-11")));
    looked_at(&mut progress, day("2026-03-11"), true);
    // Then it is asked for again, once a day, until it is read.
    assert_eq!(next_day(&progress, day("2026-03-11")), Some(day("2026-03-04")));
    failed(&mut progress, (day("2026-03-04"), day("2026-03-11")), &slow);
    assert_eq!(next_day(&progress, day("2026-03-11")), None);
    looked_at(&mut progress, day("2026-03-12"), true);
    assert_eq!(next_day(&progress, day("2026-03-12")), Some(day("2026-03-04")));
    looked_at(&mut progress, day("2026-03-04"), true);
    assert_eq!((next_day(&progress, day("2026-03-12")), progress.postponed.len()), (None, 0));

    // Up to [`POSTPONED`] days are postponed; then the cause is not a single day.
    let days = |progress: &FilledDays| progress.next.as_deref().and_then(Day::parse).unwrap();
    let mut progress = begun(FilledDays::default(), 8, latest);
    for _ in 0..100 {
        let day = days(&progress);
        failed(&mut progress, (day, latest), &slow);
    }
    assert_eq!(progress.postponed.len(), POSTPONED);
    assert_eq!(days(&progress).0, latest.0 - 31);
}

/// A day that is not answered.
fn slow() -> HistoryError {
    HistoryError::QueryTimeout { query: SqlText::RepoDays, after: Duration::from_secs(60) }
}

/// The progress after the past, with postponed days.
fn postponed(days: &[&str], tried: &str) -> FilledDays {
    let postponed = |day: &&str| PostponedDay { day: (*day).to_owned(), tried: tried.to_owned() };
    FilledDays {
        looked_at: Some(tried.to_owned()),
        postponed: days.iter().map(postponed).collect(),
        ..FilledDays::default()
    }
}

#[test]
fn a_postponed_day_that_is_never_answered_delays_no_other() {
    let day = |text: &str| Day::parse(text).unwrap();
    let mut progress = postponed(&["2026-02-01", "2026-01-15"], "2026-03-10");
    // One sync a day: the first fails, and the next sync takes the other.
    progress.looked_at = Some("2026-03-12".to_owned());
    let latest = day("2026-03-11");
    assert_eq!(next_day(&progress, latest), Some(day("2026-02-01")));
    failed(&mut progress, (day("2026-02-01"), latest), &slow());
    let latest = day("2026-03-12");
    assert_eq!(next_day(&progress, latest), Some(day("2026-01-15")));
    looked_at(&mut progress, day("2026-01-15"), true);
    assert_eq!(next_day(&progress, latest), Some(day("2026-02-01")));
    assert_eq!(progress.postponed.len(), 1);
}

#[test]
fn a_full_list_and_another_bad_day_do_not_end_the_filling() {
    let latest = Day::parse("2026-03-10").unwrap();
    let mut progress = begun(FilledDays::default(), 8, latest);
    while progress.failures < FAILURES {
        let day = next_day(&progress, latest).unwrap();
        failed(&mut progress, (day, latest), &slow());
    }
    let bad = Day(latest.0 - 31);
    assert_eq!(progress.failing, Some(bad.to_string()));
    // All were tried today.
    assert_eq!((progress.postponed.len(), next_day(&progress, latest)), (POSTPONED, Some(bad)));

    // From the next day on one of the postponed days and this one take turns.
    progress.looked_at = Some(Day(latest.0 + 1).to_string());
    let tomorrow = Day(latest.0 + 1);
    for at in 0..3 {
        let day = next_day(&progress, tomorrow);
        assert_eq!(day, Some(Day(latest.0 - at)), "the one that was postponed first");
        failed(&mut progress, (day.unwrap(), tomorrow), &slow());
        assert_eq!(next_day(&progress, tomorrow), Some(bad));
        failed(&mut progress, (bad, tomorrow), &slow());
    }
    // One is answered: there is room for the bad day, and the past continues.
    let day = next_day(&progress, tomorrow).unwrap();
    looked_at(&mut progress, day, true);
    assert_eq!(next_day(&progress, tomorrow), Some(bad));
    failed(&mut progress, (bad, tomorrow), &slow());
    assert_eq!(progress.postponed.len(), POSTPONED);
    assert_eq!(next_day(&progress, tomorrow), Some(Day(bad.0 - 1)));
}

#[test]
fn a_postponed_day_that_cannot_be_read_is_stepped_over() {
    let mut progress = postponed(&["2026-02-01"], "2026-03-10");
    let cause = MalformedAnswer::Rows { most: 1 };
    let error = HistoryError::MalformedAnswer { query: SqlText::RepoDays, cause };
    let days = ["2026-02-01", "2026-03-11"].map(|day| Day::parse(day).unwrap());
    failed(&mut progress, (days[0], days[1]), &error);
    assert_eq!((progress.skipped, progress.postponed.len()), (1, 0));
}
