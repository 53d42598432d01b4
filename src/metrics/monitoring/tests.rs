use std::collections::BTreeSet;

use super::*;

/// The content of a file in `config/`.
fn kept(name: &str) -> String {
    let path = format!("{}/config/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn shipped_monitoring_files_equal_the_generated_ones() {
    for (name, made) in [(DASHBOARD_FILE, grafana_dashboard()), (RULES_FILE, prometheus_rules())] {
        assert!(kept(name) == made, "config/{name} is old: run `make documents` and commit it");
    }
}

#[test]
fn every_metric_has_a_panel() {
    let shown: BTreeSet<String> = expressions().iter().flat_map(|expr| names(expr)).collect();
    let shown: BTreeSet<&str> = shown.iter().map(|name| selectors::base_of(name)).collect();
    for metric in ALL {
        assert!(shown.contains(metric.name), "{}", metric.name);
    }
}

#[test]
fn every_alert_rule_has_one_runbook_entry() {
    let mut known = BTreeSet::new();
    for rule in RULES {
        assert!(known.insert(rule.name), "{} is there twice", rule.name);
        assert!(rule.what_to_do.len() > 30, "{}", rule.name);
        assert!(matches!(rule.severity, "critical" | "warning"), "{}", rule.name);
    }
}

#[test]
fn unknown_series_labels_and_values_are_found() {
    for (expr, what) in [
        ("rate(ghpulse_nothing_total[5m])", "no metric"),
        ("ghpulse_alerts_total{outcome=\"lost\"} > 0", "has no outcome"),
        ("ghpulse_alerts_total{result=\"failed\"}", "has no result"),
        ("ghpulse_script_seconds > 1", "histogram"),
        ("ghpulse_outbox_rows_bucket", "no metric"),
        ("process_nothing", "no metric"),
        ("1 > 0", "no series"),
    ] {
        assert!(is_known(expr).is_err_and(|said| said.contains(what)), "{expr}");
    }
    is_known("sum by (le) (rate(ghpulse_script_seconds_bucket[5m])) > up{job=\"ghpulse\"}")
        .unwrap();
}

#[test]
fn selectors_keep_their_labels_and_get_the_node() {
    let expr = "a(ghpulse_x_total{b=\"c\"}[5m]) / ghpulse_y > 1";
    assert_eq!(selectors_of(expr), ["ghpulse_x_total{b=\"c\"}", "ghpulse_y"]);
    let wanted = "a(ghpulse_x_total{b=\"c\",instance=~\"$instance\"}[5m]) \
                  / ghpulse_y{instance=~\"$instance\"} > 1";
    assert_eq!(scoped(expr), wanted);
}
