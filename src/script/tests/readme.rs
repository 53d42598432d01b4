//! The examples of `scripts/README.md` do what it says.

use super::super::{ScriptKind, sample};
use super::*;
use crate::aggregates::AGGREGATES;
use crate::script::rule;

const README: &str = include_str!("../../../scripts/README.md");

/// Heading -> script, for each script in the README.
fn examples() -> Vec<(String, String)> {
    let mut examples = Vec::new();
    let mut heading = "";
    let mut script: Option<String> = None;
    for line in README.lines() {
        match &mut script {
            Some(text) if line == "```" => {
                examples.push((heading.to_owned(), std::mem::take(text)));
                script = None;
            }
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
            None if line == "```rhai" => script = Some(String::new()),
            None => {
                heading = line.strip_prefix('#').map_or(heading, |h| h.trim_matches(['#', ' ']));
            }
        }
    }
    examples
}

fn example(heading: &str) -> String {
    let found = examples().into_iter().find(|(at, _)| at == heading);
    found.unwrap_or_else(|| panic!("no example under {heading}")).1
}

#[test]
fn every_example_runs_on_an_hour_within_its_limits() {
    let examples = examples();
    assert_eq!(examples.len(), 8);
    for (heading, source) in examples {
        let window = sample::window(str::to_owned);
        let result = match super::super::run::kind_of(&source) {
            ScriptKind::Merge => run(&source, &window),
            ScriptKind::Aggregate => {
                Compiled::aggregate(&source, "x.rhai", ScriptLimits::default())
                    .and_then(|script| script.run(&window))
            }
        };
        assert!(result.is_ok_and(|tally| !tally.is_empty()), "{heading}");
    }
}

/// An hour up to 100,000: one count of each name at each age.
fn at_ages(ages: &[(i64, &str, i64)]) -> WindowSnapshot {
    let mut buckets = Buckets::default();
    for &(age, name, n) in ages {
        buckets.add(Second(100_000 - age), name, n).unwrap();
    }
    buckets.snapshot(Window::ending_with(Second(100_000), 3_600))
}

#[test]
fn fade_halves_the_older_half() {
    let window = at_ages(&[(0, "Go", 10), (1_799, "Go", 10), (1_800, "Go", 10), (3_599, "C", 3)]);
    assert_eq!(run(&example("Fade"), &window).unwrap(), tally(&[("C", 2), ("Go", 25)]));
}

#[test]
fn a_quarter_of_an_hour_is_900_seconds() {
    let window = at_ages(&[(0, "Go", 1), (899, "Go", 2), (900, "Go", 4), (3_599, "C", 8)]);
    assert_eq!(run(&example("A quarter of an hour"), &window).unwrap(), tally(&[("Go", 3)]));
}

#[test]
fn notebooks_are_counted_as_python() {
    let window = at_ages(&[(0, "Jupyter Notebook", 1), (5, "Python", 2), (9, "C", 4)]);
    let expected = tally(&[("C", 4), ("Python", 3)]);
    assert_eq!(run(&example("Notebooks are Python"), &window).unwrap(), expected);
}

#[test]
fn html_and_css_are_left_out() {
    let window = at_ages(&[(0, "HTML", 1), (5, "CSS", 2), (9, "C", 4)]);
    assert_eq!(run(&example("Without HTML"), &window).unwrap(), tally(&[("C", 4)]));
}

#[test]
fn the_rest_is_summed_beside_the_thirty_largest() {
    let names: Vec<String> = (10..50).map(|n| format!("L{n}")).collect();
    let entries: Vec<_> = (10..50).zip(&names).map(|(n, name)| (0, name.as_str(), n)).collect();
    let result = run(&example("The thirty largest, and the rest"), &at_ages(&entries)).unwrap();
    assert_eq!(result.len(), 31);
    assert_eq!(
        (result.get("Other"), result.get("L20"), result.get("L19")),
        ((10..20).sum(), 20, 0)
    );
}

#[test]
fn growth_example_returns_differences() {
    let window = at_ages(&[(0, "Go", 9), (0, "C", 4), (3_600, "Go", 5), (3_600, "C", 5)]);
    assert_eq!(run(&example("What grows"), &window).unwrap(), tally(&[("Go", 4)]));
}

#[test]
fn the_lua_script_word_by_word_is_the_plain_sum() {
    let window = sample::window(str::to_owned);
    assert_eq!(run(&example("From the Lua script"), &window).unwrap(), window.sum());
}

#[test]
fn the_limits_it_names_are_the_limits() {
    let limits = ScriptLimits::default();
    assert_eq!(limits.deadline.as_millis(), 200);
    assert_eq!(limits.operations, 5_000_000);
    let words = README.split_whitespace().collect::<Vec<_>>().join(" ");
    for number in ["200 ms", "5,000,000 operations", "64 bytes", "10,000 names"] {
        assert!(words.contains(number), "{number}");
    }
    let of_aggregates = (AGGREGATES, rule::NAMES, rule::NAME_BYTES, rule::CELLS, rule::BUCKETS);
    assert_eq!(of_aggregates, (16, 30_000, 256, 500_000, 3_600));
    for number in ["16 aggregates", "30,000 names", "256 bytes", "500,000 counts", "3,600 buckets"]
    {
        assert!(words.contains(number), "{number}");
    }
}
