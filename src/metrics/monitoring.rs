//! A Grafana dashboard and Prometheus alerting rules, generated from the table of metrics.
//!
//! `make documents` writes them to `config/grafana.json` and `config/prometheus-rules.yml`.
//! Generation fails if they name a metric, label or value that is missing from the table. A metric
//! without its own panel is added to the last row.

mod panels;
mod rules;
mod selectors;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::ALL;
use panels::{DashboardPanel, panels};
use rules::RULES;
use selectors::{is_known, names, scoped};

/// File name of the dashboard.
pub const DASHBOARD_FILE: &str = "grafana.json";
/// File name of the rules.
pub const RULES_FILE: &str = "prometheus-rules.yml";
/// Number of columns of a Grafana dashboard; then the width and height of our panels.
const COLUMNS: usize = 24;
const WIDTH: usize = 8;
const HEIGHT: usize = 7;

/// The alerting rules, as a Prometheus rules file.
///
/// # Panics
/// If a rule names anything that is missing from the table of metrics; a test covers all rules.
#[must_use]
pub fn prometheus_rules() -> String {
    let mut text = String::from(
        "# Made by `make documents` from src/metrics/monitoring/rules.rs; a test compares.\n\
         # The scrape job is expected to be named `ghpulse`. Each `description` says what to do.\n\
         groups:\n  - name: ghpulse\n    rules:\n",
    );
    for rule in RULES {
        assert_known(rule.expr);
        // A JSON string is also a valid YAML string.
        let quoted = |text: &str| Value::from(text).to_string();
        text.extend([
            format!("      - alert: {}\n        expr: {}\n", rule.name, quoted(rule.expr)),
            format!("        for: {}\n        labels:\n", rule.lasting),
            format!("          severity: {}\n        annotations:\n", rule.severity),
            format!("          summary: {}\n", quoted(rule.summary)),
            format!("          description: {}\n", quoted(rule.what_to_do)),
        ]);
    }
    text
}

/// The dashboard, as JSON that Grafana imports.
///
/// # Panics
/// If a panel names anything that is missing from the table of metrics; a test covers all panels.
#[must_use]
pub fn grafana_dashboard() -> String {
    let mut shown: Vec<Value> = Vec::new();
    let (mut y, mut column, mut row) = (0, 0, "");
    for panel in all_panels() {
        if panel.row != row {
            y += if column > 0 { HEIGHT } else { 0 };
            (column, row) = (0, panel.row);
            let place = json!({ "h": 1, "w": COLUMNS, "x": 0, "y": y });
            let id = shown.len() + 1;
            shown.push(json!({ "id": id, "type": "row", "title": row, "gridPos": place,
                "collapsed": false, "panels": [] }));
            y += 1;
        }
        let place = json!({ "h": HEIGHT, "w": WIDTH, "x": column, "y": y });
        shown.push(shown_panel(&panel, shown.len() + 1, &place));
        column += WIDTH;
        if column >= COLUMNS {
            (column, y) = (0, y + HEIGHT);
        }
    }
    let dashboard = json!({
        "title": "ghpulse",
        "uid": "ghpulse",
        "tags": ["ghpulse"],
        "schemaVersion": 39,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": { "from": "now-6h", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Source" },
            { "name": "instance", "type": "query", "label": "Node", "includeAll": true,
              "multi": true, "refresh": 2, "datasource": source(),
              "query": "label_values(ghpulse_build_info, instance)",
              "current": { "text": "All", "value": "$__all" } },
        ] },
        "panels": shown,
    });
    format!("{dashboard:#}\n")
}

/// All panels with their queries, including the generated ones for the remaining metrics.
fn all_panels() -> Vec<DashboardPanel> {
    let mut all = panels();
    let rest = ALL.iter().filter(|metric| {
        let in_a_panel = |query: &(String, String)| {
            names(&query.0).iter().any(|name| selectors::base_of(name) == metric.name)
        };
        !all.iter().flat_map(|panel| &panel.queries).any(in_a_panel)
    });
    let rest: Vec<DashboardPanel> = rest.map(DashboardPanel::of_metric).collect();
    all.extend(rest);
    all
}

fn shown_panel(panel: &DashboardPanel, id: usize, place: &Value) -> Value {
    let targets = panel.queries.iter().zip('A'..).map(|((expr, legend), letter)| {
        assert_known(expr);
        json!({ "refId": letter.to_string(), "expr": scoped(expr), "legendFormat": legend,
            "datasource": source() })
    });
    json!({
        "id": id, "type": "timeseries", "title": panel.title, "description": panel.help,
        "gridPos": place, "datasource": source(),
        "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0,
            "custom": { "fillOpacity": 8, "lineWidth": 1 } }, "overrides": [] },
        "options": { "legend": { "displayMode": "list", "placement": "bottom" },
            "tooltip": { "mode": "multi" } },
        "targets": targets.collect::<Vec<_>>(),
    })
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn assert_known(expr: &str) {
    if let Err(unknown) = is_known(expr) {
        panic!("`{expr}`: {unknown}");
    }
}

/// All expressions of the rules and panels, for a test that runs them in Prometheus.
#[must_use]
pub fn expressions() -> Vec<String> {
    let panels = all_panels().into_iter().flat_map(|panel| panel.queries);
    let rules = RULES.iter().map(|rule| rule.expr.to_owned());
    rules.chain(panels.map(|(expr, _)| expr)).collect()
}

/// The selectors of an expression, such as `ghpulse_alerts_total{outcome="failed"}`.
#[must_use]
pub fn selectors_of(expr: &str) -> Vec<String> {
    selectors::split(expr).into_iter().map(|(name, labels)| format!("{name}{labels}")).collect()
}
