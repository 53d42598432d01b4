//! Every promise of the README, of the architecture page and of the threat model names its tests,
//! as do those of the pages about state and configuration that are listed, and they exist.

use std::collections::BTreeSet;

use crate::source::{Source, files_below, read_rust};
use crate::{read, root, settle};

/// The tables of promises: page, heading, and the page that says what is promised, if another.
const TABLES: &[(&str, &str, Option<&str>)] = &[
    ("src/README.md", "## What survives what", None),
    ("src/THREATS.md", "## Strangers on the public port: cost", None),
    ("src/THREATS.md", "## Strangers: what they learn and reach", None),
    ("src/THREATS.md", "## Users of the machine", None),
    ("src/THREATS.md", "## Scripts", None),
    ("src/THREATS.md", "## Peers: GitHub, Pulsar, RabbitMQ, TiDB, issuers of tokens", None),
    ("tests/README.md", "## Promises of the README", Some("README.md")),
    ("tests/README.md", "## Promises of the architecture page", Some("src/README.md")),
    ("tests/README.md", "## Promises of the page about state", Some("data/README.md")),
    ("tests/README.md", "## Promises of the page about configuration", Some("config/README.md")),
];
/// The most lines between a test's attribute and its name.
const ATTRIBUTE_LINES: usize = 3;

/// Line number and cells of each row of the first table after a heading.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<(usize, Vec<&'a str>)> {
    let lines = page.lines().enumerate().skip_while(|(_, line)| *line != heading).skip(1);
    let table = lines
        .skip_while(|(_, line)| !line.starts_with('|'))
        .take_while(|(_, line)| line.starts_with('|'))
        .skip(2);
    let cells = |line: &'a str| line.trim_matches('|').split('|').map(str::trim).collect();
    table.map(|(at, line)| (at + 1, cells(line))).collect()
}

/// All tests as paths such as `tests::it::crash::kill_9_at_any_time`.
fn tests() -> BTreeSet<String> {
    let in_source = |source: &Source| {
        let module = source.path.trim_end_matches(".rs").replace('/', "::");
        let lines: Vec<&str> = source.code.lines().collect();
        let is_test = |at: usize| {
            let before = &lines[at.saturating_sub(ATTRIBUTE_LINES)..at];
            before.iter().any(|line| line.trim_start().starts_with("#[") && line.contains("test"))
        };
        let names = lines.iter().enumerate().filter(|(at, _)| is_test(*at));
        let names = names.filter_map(|(_, line)| line.split_once("fn ")?.1.split_once('('));
        names.map(|(name, _)| format!("{module}::{name}")).collect::<Vec<_>>()
    };
    ["src", "tests"]
        .iter()
        .flat_map(|top| read_rust(root(), top))
        .flat_map(|s| in_source(&s))
        .collect()
}

/// Text with each run of white space as one space.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_promise_names_tests_that_exist() {
    let tests = tests();
    assert!(tests.len() > 1_000, "{} tests are found", tests.len());
    let mut complaints = Vec::new();
    for (path, heading, promised) in TABLES {
        let page = read(path);
        let found = rows(&page, heading);
        assert!(found.len() > 3, "{path}: `{heading}` has {} rows", found.len());
        let promised = promised.map(|path| (path, on_one_line(&read(path))));
        for (line, cells) in found {
            let (promise, named) = (cells[0], cells.last().expect("a row has cells"));
            if let Some((from, text)) = &promised
                && !text.contains(promise)
            {
                complaints.push(format!(
                    "{path}:{line}: {from} does not say `{promise}`: write here what it says now, \
                     or remove the row with the promise"
                ));
            }
            let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
            if named.is_empty() {
                complaints.push(format!("{path}:{line}: names no test"));
            }
            for name in named {
                let end = format!("::{name}");
                if !tests.iter().any(|test| test.ends_with(&end)) {
                    complaints.push(format!("{path}:{line}: there is no test `{name}`"));
                }
            }
        }
    }
    settle(&complaints);
}

/// The number before these words, wherever the page has them.
fn numbers_before(page: &str, words: &str) -> Vec<usize> {
    let number = |at: usize| page[..at].rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
    page.match_indices(words).filter_map(|(at, _)| number(at)).collect()
}

#[test]
fn numbers_of_tests_are_those_counted() {
    let all = tests();
    let of = |module: &str| {
        let start = format!("tests::it::{module}::");
        all.iter().filter(|test| test.starts_with(&start)).count()
    };
    let patches = files_below(root(), "tests/mutants").len();
    let fault = read("src/fault.rs");
    let (_, list) = fault.split_once("POINTS: &[&str] = &[").expect("it has the list");
    let points = list.split("];").next().map_or(0, |list| list.matches('"').count() / 2);
    let counted = [
        (" deliberate bugs", patches),
        (" fuzz targets", of("fuzz")),
        (" targets (`it::fuzz`)", of("fuzz")),
        (" targets, with libFuzzer", of("fuzz")),
        (" places at which the process dies", points),
        (" fault points", points),
    ];
    let mut complaints = Vec::new();
    for path in ["tests/README.md", ".github/SECURITY.md"] {
        let page = on_one_line(&read(path));
        for (words, number) in counted {
            for written in numbers_before(&page, words) {
                if written != number {
                    complaints.push(format!("{path}:1: `{written}{words}`: there are {number}"));
                }
            }
        }
    }
    settle(&complaints);
}
