//! Extracts the series selectors of a `PromQL` expression and validates them against the table of
//! metrics.

use crate::metrics::{ALL, MetricKind};

/// Series outside the table: those of the process, and Prometheus' own series of a scrape.
const OTHERS: &[&str] = &[
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "up",
];
const PREFIXES: [&str; 2] = ["ghpulse_", "process_"];
const OF_HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Splits an expression into its selectors: each name, and its labels with their braces or nothing.
pub(super) fn split(expr: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = expr;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(start) = rest.find(is_word) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        let is_series = name == "up" || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if !is_series {
            continue;
        }
        let labels = match after.starts_with('{').then(|| after.find('}')).flatten() {
            Some(end) => &after[..=end],
            None => "",
        };
        rest = &after[labels.len()..];
        found.push((name.to_owned(), labels.to_owned()));
    }
    found
}

/// Returns the names of the series in an expression.
pub(super) fn names(expr: &str) -> Vec<String> {
    split(expr).into_iter().map(|(name, _)| name).collect()
}

/// Returns the metric that a series belongs to.
pub(super) fn base_of(name: &str) -> &str {
    let base = OF_HISTOGRAM.iter().find_map(|end| name.strip_suffix(end));
    let is_histogram = |base: &str| {
        ALL.iter().any(|metric| metric.name == base && metric.kind == MetricKind::Histogram)
    };
    base.filter(|base| is_histogram(base)).unwrap_or(name)
}

/// Checks that all series of an expression are in the table, with their labels and values.
pub(super) fn is_known(expr: &str) -> Result<(), String> {
    let selectors = split(expr);
    if selectors.is_empty() {
        return Err("it names no series".to_owned());
    }
    for (name, labels) in selectors {
        if OTHERS.contains(&name.as_str()) {
            continue;
        }
        let base = base_of(&name);
        let metric = ALL.iter().find(|metric| metric.name == base);
        let metric = metric.ok_or_else(|| format!("no metric `{name}`"))?;
        if metric.kind == MetricKind::Histogram && base == name {
            return Err(format!("`{name}` is a histogram: name its _bucket, _sum or _count"));
        }
        for pair in labels.trim_matches(['{', '}']).split(',').filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}`"))?;
            let value = value.trim_matches(['"', '~']);
            if label != metric.label || !value.split('|').all(|one| metric.values.contains(&one)) {
                return Err(format!("`{name}` has no {pair}"));
            }
        }
    }
    Ok(())
}

/// Restricts an expression to the nodes selected on the dashboard.
pub(super) fn scoped(expr: &str) -> String {
    const NODE: &str = "instance=~\"$instance\"";
    let mut scoped = String::new();
    let mut rest = expr;
    for (name, labels) in split(expr) {
        let whole = format!("{name}{labels}");
        let at = rest.find(&whole).expect("a selector stands in its expression");
        scoped.push_str(&rest[..at]);
        scoped.push_str(&name);
        match labels.strip_suffix('}') {
            Some(open) => scoped.extend([open, ",", NODE, "}"]),
            None => scoped.extend(["{", NODE, "}"]),
        }
        rest = &rest[at + whole.len()..];
    }
    scoped.push_str(rest);
    scoped
}
