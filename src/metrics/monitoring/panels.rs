//! The panels of the dashboard, in rows.

use super::selectors::{base_of, names};
use crate::metrics::{ALL, Metric, MetricKind};

/// Title of the row for metrics without their own panel.
const OTHERS: &str = "Other metrics";

/// One panel.
pub(super) struct DashboardPanel {
    pub(super) row: &'static str,
    pub(super) title: String,
    pub(super) help: String,
    /// A Grafana unit.
    pub(super) unit: &'static str,
    /// Expression and legend.
    pub(super) queries: Vec<(String, String)>,
}

impl DashboardPanel {
    fn new(row: &'static str, title: &str, unit: &'static str, queries: &[(&str, &str)]) -> Self {
        let helps = queries.iter().flat_map(|(expr, _)| names(expr));
        let helps =
            helps.filter_map(|name| ALL.iter().find(|metric| metric.name == base_of(&name)));
        let mut lines: Vec<&str> = helps.map(|metric| metric.help).collect();
        lines.dedup();
        let queries = queries.iter().map(|(expr, legend)| ((*expr).into(), (*legend).into()));
        let (title, help) = (title.to_owned(), lines.join("\n\n"));
        Self { row, title, help, unit, queries: queries.collect() }
    }

    /// The panel of a metric without its own.
    pub(super) fn of_metric(metric: &Metric) -> Self {
        let (name, label) = (metric.name, metric.label);
        let expr = match metric.kind {
            MetricKind::Counter => format!("rate({name}[5m])"),
            MetricKind::Gauge => name.to_owned(),
            MetricKind::Histogram => format!("rate({name}_sum[5m]) / rate({name}_count[5m])"),
        };
        let legend =
            if label.is_empty() { "{{instance}}".to_owned() } else { format!("{{{{{label}}}}}") };
        let unit = match metric.kind {
            MetricKind::Counter => "cps",
            _ if name.ends_with("_bytes") => "bytes",
            _ if name.ends_with("_seconds") => "s",
            _ => "short",
        };
        let help = metric.help.to_owned();
        Self { row: OTHERS, title: name.to_owned(), help, unit, queries: vec![(expr, legend)] }
    }
}

macro_rules! panels {
    ($($row:literal {
        $($title:literal $unit:literal $([$expr:literal $legend:literal])+;)*
    })*) => {
        pub(super) fn panels() -> Vec<DashboardPanel> {
            vec![$($(DashboardPanel::new($row, $title, $unit, &[$(($expr, $legend)),+])),*),*]
        }
    };
}

// A Grafana unit follows each title; a query is an expression and its legend.
panels! {
    "Feed" {
        "Events" "cps"
            ["rate(ghpulse_events_admitted_total[1m])" "new"]
            ["rate(ghpulse_events_applied_total[1m])" "counted"]
            ["rate(ghpulse_events_duplicate_total[1m])" "served again"];
        "Missed, estimate with 95 % interval" "percentunit"
            ["ghpulse_feed_missed_ratio" "{{bound}}"];
        "Seen by GitHub's totals, with 95 % interval" "percentunit"
            ["ghpulse_audit_seen_ratio" "{{kind}}"]
            ["ghpulse_audit_seen_low_ratio" "{{kind}} low"]
            ["ghpulse_audit_seen_high_ratio" "{{kind}} high"];
        "Audit" "short"
            ["ghpulse_audit_repositories" "repositories"]
            ["increase(ghpulse_audit_points_total[1h])" "points in an hour"]
            ["ghpulse_audit_conflict" "conflict with ids"];
        "Lag of the feed" "s"
            ["ghpulse_feed_lag_seconds" "newest event of a page"]
            ["ghpulse_event_lag_seconds" "{{point}}"];
        "Requests to GitHub" "cps"
            ["rate(ghpulse_github_requests_total[5m])" "{{outcome}}"];
        "GraphQL queries" "cps"
            ["rate(ghpulse_github_queries_total[5m])" "{{outcome}}"];
        "Tokens and troubles" "short"
            ["ghpulse_github_tokens_usable" "usable tokens"]
            ["ghpulse_feed_troubles" "{{kind}}"];
        "Enriched" "cps"
            ["rate(ghpulse_events_enriched_total[5m])" "enriched"]
            ["rate(ghpulse_events_unenriched_total[5m])" "not: {{reason}}"];
        "Time until enriched" "s"
            ["histogram_quantile(0.5, sum by (le) (rate(ghpulse_enrich_seconds_bucket[5m])))" "p50"]
            ["histogram_quantile(0.99, sum by (le) (rate(ghpulse_enrich_seconds_bucket[5m])))" "p99"];
        "Overlap of two reads of a page" "percentunit"
            ["ghpulse_feed_overlap_ratio" "least"];
    }
    "Readers" {
        "Readers connected" "short"
            ["ghpulse_connections" "{{endpoint}}"];
        "Messages delivered" "cps"
            ["rate(ghpulse_deliveries_total[1m])" "{{endpoint}}"];
        "Refused" "cps"
            ["rate(ghpulse_refused_total[5m])" "{{reason}}"];
        "Held for readers" "bytes"
            ["ghpulse_reader_bytes" "{{instance}}"];
        "Passed over for slow readers" "cps"
            ["rate(ghpulse_skipped_events_total[5m])" "{{instance}}"];
        "Scripts" "s"
            ["histogram_quantile(0.99, sum by (le) (rate(ghpulse_script_seconds_bucket[5m])))" "p99 of a run"]
            ["rate(ghpulse_script_failures_total[5m])" "failures a second"];
    }
    "Store" {
        "One write, sync included" "s"
            ["histogram_quantile(0.5, sum by (le) (rate(ghpulse_store_commit_seconds_bucket[5m])))" "p50"]
            ["histogram_quantile(0.99, sum by (le) (rate(ghpulse_store_commit_seconds_bucket[5m])))" "p99"];
        "Disk" "bytes"
            ["ghpulse_disk_free_bytes" "free"]
            ["ghpulse_journal_bytes" "journal"];
        "Reach of the journal" "s"
            ["ghpulse_journal_reach_seconds" "{{instance}}"];
        "Waiting" "short"
            ["ghpulse_inbox_rows" "for enrichment"]
            ["ghpulse_outbox_rows" "for the bus"];
        "Compaction" "bytes"
            ["ghpulse_store_compaction_pending_bytes" "pending"]
            ["ghpulse_store_delayed_write_bytes_per_second" "writes slowed to, a second"];
        "Writes stopped" "short"
            ["ghpulse_store_writes_stopped" "{{instance}}"];
        "Age of the newest backup" "s"
            ["time() - (ghpulse_backup_timestamp_seconds > 0)" "{{instance}}"];
    }
    "Servers it joins" {
        "Behind the topic" "s"
            ["ghpulse_bus_behind_seconds" "{{instance}}"];
        "Connected, producing" "short"
            ["ghpulse_bus_up" "{{instance}} connected to the broker"]
            ["ghpulse_bus_producing" "{{instance}} produces"]
            ["ghpulse_amqp_up" "{{instance}} connected to RabbitMQ"];
        "Broker" "cps"
            ["rate(ghpulse_messages_produced_total[5m])" "acknowledged"]
            ["rate(ghpulse_events_redelivered_total[5m])" "delivered again"]
            ["rate(ghpulse_messages_dead_total[5m])" "unreadable"]
            ["rate(ghpulse_bus_lost_total[5m])" "connection lost"];
        "RabbitMQ" "cps"
            ["rate(ghpulse_amqp_published_total[5m])" "confirmed"]
            ["rate(ghpulse_amqp_refused_total[5m])" "refused"]
            ["rate(ghpulse_amqp_lost_total[5m])" "connection lost"];
    }
    "Process" {
        "Memory" "bytes"
            ["process_resident_memory_bytes{job=\"ghpulse\"}" "{{instance}}"];
        "CPU" "percentunit"
            ["rate(process_cpu_seconds_total{job=\"ghpulse\"}[1m])" "{{instance}}"];
        "Files open" "short"
            ["process_open_fds{job=\"ghpulse\"}" "{{instance}}"];
        "Clock against GitHub's" "s"
            ["ghpulse_clock_offset_seconds" "{{instance}}"];
    }
}
