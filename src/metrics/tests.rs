//! The exposition before any event: its content, and the rules of promtool.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The series of an exposition: name with labels, and value.
fn series(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Names of the labels of a series.
fn labels(series: &str) -> Vec<&str> {
    let Some((_, inside)) = series.split_once('{') else { return Vec::new() };
    inside.split(',').filter_map(|pair| pair.split_once('=').map(|(name, _)| name)).collect()
}

/// The rules of `promtool check metrics` (promlint of Prometheus' client for Go) for the text
/// format. Returns a message for each violation.
fn lint(text: &str) -> Vec<String> {
    let of = |what: &str| -> BTreeMap<&str, &str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what));
        lines.filter_map(|line| line.split_once(' ')).collect()
    };
    let (help, kinds) = (of("# HELP "), of("# TYPE "));
    let mut said = Vec::new();
    let mut say = |name: &str, what: &str| said.push(format!("{name}: {what}"));
    for (name, kind) in &kinds {
        if help.get(name).is_none_or(|help| help.is_empty()) {
            say(name, "no help text");
        }
        let is_counter = *kind == "counter";
        if is_counter != name.ends_with("_total") {
            say(name, "counters, and only counters, end with _total");
        }
        if ["_count", "_sum", "_bucket", "_info_total"].iter().any(|end| name.ends_with(end)) {
            say(name, "a suffix that histograms and summaries have");
        }
        if name.split('_').any(|word| ["counter", "gauge", "histogram", "summary"].contains(&word))
        {
            say(name, "the type stands in the name");
        }
        let units = ["ms", "us", "ns", "milliseconds", "minutes", "minute", "hours", "kb", "mb"];
        if name.split('_').any(|word| units.contains(&word)) {
            say(name, "not a base unit (seconds, bytes)");
        }
        if name.contains(':') || name.chars().any(char::is_uppercase) {
            say(name, "colons are for rules, capitals for nobody");
        }
    }
    for series in series(text).keys() {
        let name = series.split('{').next().unwrap_or(series);
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let kind = kinds.get(name).or(base.and_then(|base| kinds.get(base)));
        match kind {
            None => say(name, "no TYPE line"),
            Some(kind) => {
                for (label, of) in [("quantile", "summary"), ("le", "histogram")] {
                    if labels(series).contains(&label) && *kind != of {
                        say(name, &format!("only a {of} has the label {label}"));
                    }
                }
            }
        }
        if labels(series).iter().any(|label| label.chars().any(char::is_uppercase)) {
            say(name, "a label in camelCase");
        }
    }
    said
}

#[test]
fn every_series_exists_before_anything_happened() {
    install();
    let text = render();
    let found = series(&text);
    for metric in ALL {
        assert_eq!(metric.label.is_empty(), metric.values.is_empty(), "{}", metric.name);
        let names: Vec<String> = match (metric.kind, metric.values) {
            (MetricKind::Histogram, _) => vec![format!("{}_count", metric.name)],
            (_, []) => vec![metric.name.to_owned()],
            (_, values) => {
                let one = |value| format!("{}{{{}=\"{value}\"}}", metric.name, metric.label);
                values.iter().map(one).collect()
            }
        };
        for name in names {
            let is_there = found.contains_key(&name) || name == BUILD_INFO.name;
            assert!(is_there, "{name} is not in\n{text}");
        }
    }
    let built = found.keys().find(|name| name.starts_with("ghpulse_build_info{")).unwrap();
    assert_eq!(labels(built).into_iter().collect::<BTreeSet<_>>().len(), 3, "{built}");
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"]
    {
        assert!(found[name].parse::<f64>().unwrap() > 0.0, "{name}");
    }
    assert!(found.contains_key("process_cpu_seconds_total"), "{text}");
}

#[test]
fn promtool_would_find_nothing_to_say() {
    install();
    let said = lint(&render());
    assert!(said.is_empty(), "{said:#?}");
    // This function finds what promtool itself found.
    let wrong = "# HELP a_seconds x\n# TYPE a_seconds gauge\na_seconds{quantile=\"p50\"} 1\n";
    assert_eq!(lint(wrong), ["a_seconds: only a summary has the label quantile"]);
    assert_eq!(lint("# TYPE b counter\nb 1\n").len(), 2);
}

/// The real promtool, if Debian's package `prometheus` is installed.
#[test]
fn promtool_itself_finds_nothing_to_say() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    install();
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        eprintln!("skipped: promtool_itself_finds_nothing_to_say: promtool is not installed");
        return;
    };
    promtool.stdin.take().unwrap().write_all(render().as_bytes()).unwrap();
    let ended = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
}
