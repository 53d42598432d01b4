use proptest::prelude::*;

use super::*;

fn table(columns: &[&str], rows: &[&[Option<&str>]]) -> AnswerTable {
    AnswerTable {
        columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        rows: rows
            .iter()
            .map(|row| row.iter().map(|cell| cell.map(str::to_owned)).collect())
            .collect(),
    }
}

fn daily(
    columns: &[&str],
    rows: &[&[Option<&str>]],
) -> Result<BTreeMap<HistoryFigure, i64>, MalformedAnswer> {
    read(FigureQuery::Daily, Year(2026), &table(columns, rows))
}

fn yearly(
    columns: &[&str],
    row: &[Option<&str>],
) -> Result<BTreeMap<HistoryFigure, i64>, MalformedAnswer> {
    read(FigureQuery::Yearly, Year(2026), &table(columns, &[row]))
}

fn on(day: &str, metric: HistoryMetric) -> HistoryFigure {
    HistoryFigure { day: Day::parse(day).unwrap(), metric }
}

const ROW: &[Option<&str>] = &[Some("2026-03-04"), Some("1"), Some("2"), Some("3"), Some("4.000")];

fn row_read() -> BTreeMap<HistoryFigure, i64> {
    [
        (on("2026-03-04", HistoryMetric::Developers), 1),
        (on("2026-03-04", HistoryMetric::Opened), 2),
        (on("2026-03-04", HistoryMetric::Closed), 3),
        (on("2026-03-04", HistoryMetric::Merged), 4),
    ]
    .into()
}

#[test]
fn columns_are_found_by_name() {
    let names = ["event_day", "developers", "opened_prs", "closed_prs", "merged_prs"];
    assert_eq!(daily(&names, &[ROW]).unwrap(), row_read());
    let mut turned: Vec<_> = names.iter().zip(ROW).collect();
    turned.reverse();
    let (names, row): (Vec<&str>, Vec<Option<&str>>) = turned.into_iter().unzip();
    assert_eq!(daily(&names, &[&row]).unwrap(), row_read());
    let upper = ["EVENT_DAY", "Developers", "OPENED_PRS", "closed_prs", "MERGED_PRS"];
    assert_eq!(daily(&upper, &[ROW]).unwrap(), row_read());
}

#[test]
fn columns_without_a_known_name_are_taken_by_position() {
    assert_eq!(daily(&["a", "b", "c", "d", "e"], &[ROW]).unwrap(), row_read());
    // Two are named and change places; the others keep their order around them.
    let names = ["merged_prs", "day", "devs", "opened", "closed_prs"];
    let row = [Some("4"), Some("2026-03-04"), Some("1"), Some("2"), Some("3")];
    assert_eq!(daily(&names, &[&row]).unwrap(), row_read());
}

#[test]
fn a_wrong_number_of_columns_is_refused_by_name() {
    let error = yearly(&["developers", "repos"], &[Some("1"), Some("2")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it has 2 columns (developers, repos), not 4: developers, repos, additions, \
         deletions"
    );
    assert!(daily(&["a"; 6], &[]).is_err());
}

#[test]
fn an_empty_year_and_null_are_nothing() {
    let names = ["developers", "repos", "additions", "deletions"];
    assert_eq!(yearly(&names, &[Some("0"), Some("0"), None, None]).unwrap(), BTreeMap::new());
    assert_eq!(
        read(FigureQuery::Yearly, Year(2026), &table(&names, &[])).unwrap(),
        BTreeMap::new()
    );
    assert_eq!(daily(&["a", "b", "c", "d", "e"], &[]).unwrap(), BTreeMap::new());
    let no_day = [None, Some("9"), Some("9"), Some("9"), Some("9")];
    assert_eq!(daily(&["a", "b", "c", "d", "e"], &[&no_day, ROW]).unwrap(), row_read());
    // MySQL's date that is none is the same as NULL, also twice.
    for none in ["0000-00-00", "0000-00-00 00:00:00"] {
        let no_day = [Some(none), Some("9"), Some("9"), Some("9"), Some("9")];
        let rows: [&[_]; 3] = [&no_day, ROW, &no_day];
        assert_eq!(daily(&["a", "b", "c", "d", "e"], &rows).unwrap(), row_read());
    }
}

#[test]
fn sums_are_stored_under_the_first_day_of_the_year() {
    let names = ["developers", "repos", "additions", "deletions"];
    let row = [Some("7"), Some("8"), Some("64787714692.00"), Some("1e3")];
    let expected: BTreeMap<HistoryFigure, i64> = [
        (on("2026-01-01", HistoryMetric::YearDevelopers), 7),
        (on("2026-01-01", HistoryMetric::YearRepositories), 8),
        (on("2026-01-01", HistoryMetric::YearAdditions), 64_787_714_692),
        (on("2026-01-01", HistoryMetric::YearDeletions), 1000),
    ]
    .into();
    assert_eq!(yearly(&names, &row).unwrap(), expected);
    let two = table(&names, &[&row, &row]);
    assert_eq!(read(FigureQuery::Yearly, Year(2026), &two), Err(MalformedAnswer::Rows { most: 1 }));
}

#[test]
fn numbers_are_read_in_every_spelling_of_a_count() {
    let read = [
        ("0", Some(0)),
        (" 12 ", Some(12)),
        ("+5", Some(5)),
        ("007", Some(7)),
        ("3.99", Some(3)),
        (".5", Some(0)),
        ("5.", Some(5)),
        ("1.5e3", Some(1500)),
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775808", None),
        ("99999999999999999999999999", None),
        ("9.3e18", None),
        ("1e300", None),
        ("", None),
        (".", None),
        ("-1", None),
        ("abc", None),
        ("12a", None),
        ("1,000", None),
        ("NaN", None),
        ("inf", None),
        ("0x10", None),
    ];
    for (text, number) in read {
        assert_eq!(read_number(text), number, "{text:?}");
    }
}

#[test]
fn days_are_read_from_dates_and_times() {
    let day = Day::parse("2026-03-04");
    for text in ["2026-03-04", "2026-03-04 00:00:00", "2026-03-04T10:00:00Z", " 2026-03-04 "] {
        assert_eq!(read_day(text), day, "{text}");
    }
    for text in
        ["", "0000-00-00", "2026-02-30", "2026-3-4", "20260304", "2026-03-041", "2026-03-04 ?", "ä"]
    {
        assert_eq!(read_day(text), None, "{text}");
    }
}

#[test]
fn unreadable_value_is_refused_by_row_and_column() {
    let names = ["event_day", "developers", "opened_prs", "closed_prs", "merged_prs"];
    let bad = [Some("2026-03-05"), Some("1"), Some("many"), Some("3"), Some("4")];
    assert_eq!(
        daily(&names, &[ROW, &bad]).unwrap_err().to_string(),
        "column opened_prs of row 2 is \"many\"; must be a whole number from 0 to \
         9223372036854775807"
    );
    let bad = [Some("soon"), Some("1"), Some("2"), Some("3"), Some("4")];
    assert_eq!(
        daily(&names, &[&bad]).unwrap_err().to_string(),
        "column event_day of row 1 is \"soon\"; must be a date like 2026-01-31"
    );
    assert_eq!(
        daily(&names, &[ROW, ROW]).unwrap_err().to_string(),
        "row 2 is for 2026-03-04, as an earlier row is: group by day"
    );
    let long = "x".repeat(500);
    let bad = [Some("2026-03-05"), Some(long.as_str()), Some("2"), Some("3"), Some("4")];
    assert!(daily(&names, &[&bad]).unwrap_err().to_string().len() < 200);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_and_never_panics(
        cells in proptest::collection::vec(proptest::option::of(".{0,14}"), 0..7),
        columns in proptest::collection::vec(".{0,12}", 3..7),
    ) {
        let table = AnswerTable { columns, rows: vec![cells] };
        for query in FigureQuery::ALL {
            let _ = read(query, Year(2026), &table);
        }
    }

    #[test]
    fn whole_numbers_are_read_exactly(n in 0..=i64::MAX) {
        prop_assert_eq!(read_number(&n.to_string()), Some(n));
        prop_assert_eq!(read_number(&format!("{n}.000")), Some(n));
    }
}
