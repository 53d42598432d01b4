//! All metrics, in one table that the exposition is made from and the documents are checked
//! against.
//!
//! Adapter for the `metrics` crates. Each metric is a constant: `metrics::EVENTS_FETCHED.add(3)`.
//! A metric has at most one label, whose values are in the table and never come from outside. So
//! every series exists from the start, counters at 0: `increase(…)` over a series that appears with
//! its first failure would miss that failure. A gauge with an unknown value is NaN. `process_*`
//! come from the crate metrics-process, with the usual names.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only increases, from 0 at the start of the process.
    Counter,
    /// The value now.
    Gauge,
    /// A distribution, in the unit that ends the name.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in the exposition, which ends with the unit.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// The name of its label; empty without one.
    pub label: &'static str,
    /// All values of the label; empty without one.
    pub values: &'static [&'static str],
    /// Its help text: one sentence.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal $label:literal $([$($value:literal)*])? $help:literal;)*)
    => {
        $(#[doc = $help] pub const $id: Metric = Metric {
            name: $name, kind: MetricKind::$kind, label: $label, values: &[$($($value),*)?],
            help: $help };)*
        /// All metrics, in the order of the pipeline.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    REQUESTS Counter "ghpulse_github_requests_total" "outcome"
        ["fresh" "not_modified" "limited" "token_refused" "failed" "identity" "app"]
        "Requests to GitHub by outcome.";
    FEED_READS Counter "ghpulse_github_feed_requests_total" "outcome"
        ["fresh" "not_modified" "closed" "refused" "failed"]
        "Requests for feeds of what is on complete lists, by outcome; `not_modified` is free.";
    EVENTS_FETCHED Counter "ghpulse_events_fetched_total" "" "Events in the pages that GitHub served, duplicates included.";
    EVENTS_ADMITTED Counter "ghpulse_events_admitted_total" "" "Events seen for the first time and admitted.";
    EVENTS_DUPLICATE Counter "ghpulse_events_duplicate_total" "" "Events served again after they were admitted.";
    EVENTS_FILLED Counter "ghpulse_events_filled_total" "" "Admitted events that the feed of a name on a complete list showed before the public feed.";
    LIST_HOLES Counter "ghpulse_list_holes_total" "" "Times when more than 300 events of a name on a complete list came between two reads.";
    LIST_FEEDS Gauge "ghpulse_list_feeds" "state"
        ["read" "waiting" "closed"]
        "Feeds of what is on complete lists: `read`, `waiting` for the first read, `closed` by GitHub.";
    EVENTS_REJECTED Counter "ghpulse_events_rejected_total" "" "Invalid entries of pages, and events larger than the broker accepts; kept in the reject log.";
    EVENTS_LEFT_OUT Counter "ghpulse_events_left_out_total" "" "Events that `privacy.exclude` leaves out: neither kept nor counted anywhere else.";
    QUERIES Counter "ghpulse_github_queries_total" "outcome"
        ["answered" "partial" "too_heavy" "limited" "token_refused" "failed"]
        "GraphQL queries to GitHub by outcome.";
    EVENTS_ENRICHED Counter "ghpulse_events_enriched_total" "" "Events whose missing fields were added: of pull requests, and pushes to repositories on lists.";
    EVENTS_UNENRICHED Counter "ghpulse_events_unenriched_total" "reason"
        ["late" "gone" "forbidden" "full" "no_token"]
        "Events published without enrichment, by reason.";
    ENRICH_SECONDS Histogram "ghpulse_enrich_seconds" "" "Time that an event waited for its missing fields.";
    EVENTS_APPLIED Counter "ghpulse_events_applied_total" "" "Events counted and written to the journal.";
    EVENTS_REDELIVERED Counter "ghpulse_events_redelivered_total" "" "Deliveries of the bus that were applied before.";
    MESSAGES_PRODUCED Counter "ghpulse_messages_produced_total" "" "Messages that the broker has confirmed.";
    BUS_UP Gauge "ghpulse_bus_up" "" "1 while the consumer is connected to the broker, 0 while it is not, NaN without a broker.";
    BUS_PRODUCING Gauge "ghpulse_bus_producing" ""
        "1 while this collector produces to the topic, 0 while it does not, as on standby; NaN on an \
            edge and without a broker.";
    BUS_LOST Counter "ghpulse_bus_lost_total" "" "Times an open connection to the broker was lost, to consume or to produce.";
    BUS_BEHIND_SECONDS Gauge "ghpulse_bus_behind_seconds" "" "Age of the newest delivery of the broker while more are waiting; 0 when caught up.";
    MESSAGES_DEAD Counter "ghpulse_messages_dead_total" "" "Unreadable messages of the bus; kept in the dead-letter queue.";
    LETTERS_REQUEUED Counter "ghpulse_letters_requeued_total" "" "Dead letters that were applied by a retry.";
    COMMIT_SECONDS Histogram "ghpulse_store_commit_seconds" "" "Time of one write to the store, including its sync.";
    DISK_FREE_BYTES Gauge "ghpulse_disk_free_bytes" ""
        "Free bytes on the disk of the store; polling pauses below 1 GiB, or a twentieth of a smaller \
            disk.";
    JOURNAL_BYTES Gauge "ghpulse_journal_bytes" "" "Compressed size of the journal on the disk.";
    JOURNAL_REACH_SECONDS Gauge "ghpulse_journal_reach_seconds" "" "Time since the oldest event in the journal was received; 0 when it is empty.";
    CLOCK_OFFSET_SECONDS Gauge "ghpulse_clock_offset_seconds" ""
        "How far this machine's clock is ahead of the witness that contradicts it; negative when behind, \
            0 when confirmed, NaN without a witness. Nothing expires by age unless it is 0.";
    TOKENS_USABLE Gauge "ghpulse_github_tokens_usable" "" "GitHub tokens that are neither quarantined nor used up.";
    FEED_LAG_SECONDS Gauge "ghpulse_feed_lag_seconds" "" "Age of the newest event on the last page when it was received.";
    FEED_OVERLAP Gauge "ghpulse_feed_overlap_ratio" "" "Smallest share of a page that the previous read had too; 0 means that events were missed.";
    FEED_MISSED Gauge "ghpulse_feed_missed_ratio" "bound"
        ["estimate" "low" "high"]
        "Estimated share of all events that was missed in the last ten minutes: `estimate`, and \
            the `low` and `high` end of its 95 % interval.";
    EVENT_LAG_SECONDS Gauge "ghpulse_event_lag_seconds" "point"
        ["p50" "p90" "max"]
        "Time from `created_at` to the receipt of the newest events: `p50`, `p90`, `max`.";
    FEED_EVENTS Counter "ghpulse_feed_events_total" "page"
        ["1" "2" "3"]
        "New events, by the page that served them first.";
    FEED_TROUBLES Gauge "ghpulse_feed_troubles" "kind"
        ["frozen_feed" "stale_token" "page_missing"]
        "Problems of the feed now: `frozen_feed`, `stale_token` (number), `page_missing` (number).";
    AUDIT_SEEN Gauge "ghpulse_audit_seen_ratio" "kind"
        ["stars" "forks" "releases" "pull_requests" "issues" "numbers"]
        "Share of what happened that was seen here, by GitHub's totals of sampled repositories, \
            over 24 looks; NaN while unknown.";
    AUDIT_SEEN_LOW Gauge "ghpulse_audit_seen_low_ratio" "kind"
        ["stars" "forks" "releases" "pull_requests" "issues" "numbers"]
        "Low end of its 95 % interval.";
    AUDIT_SEEN_HIGH Gauge "ghpulse_audit_seen_high_ratio" "kind"
        ["stars" "forks" "releases" "pull_requests" "issues" "numbers"]
        "High end of its 95 % interval.";
    AUDIT_CONFLICT Gauge "ghpulse_audit_conflict" "" "1 while the estimate from ids has long been outside of the audit's interval, else 0.";
    AUDIT_REPOSITORIES Gauge "ghpulse_audit_repositories" "" "Repositories in the audit's sample.";
    AUDIT_POINTS Counter "ghpulse_audit_points_total" "" "Points of GitHub's GraphQL limit that the audit has spent.";
    FILE_UNUSABLE Gauge "ghpulse_file_unusable" "" "1 while a watched file or a list cannot be used; its last good content is in force, if there was one.";
    SCRIPT_SECONDS Histogram "ghpulse_script_seconds" "" "Time of one run of a script.";
    SCRIPT_FAILURES Counter "ghpulse_script_failures_total" "" "Ticks at which a script failed; the native sum was used, or its aggregate stayed.";
    TIDB_SYNCS Counter "ghpulse_tidb_syncs_total" "outcome"
        ["ok" "failed"]
        "Syncs with TiDB by outcome.";
    ALERTS Counter "ghpulse_alerts_total" "outcome"
        ["posted" "failed"]
        "Alerts posted to the webhook, by outcome.";
    BACKUPS Counter "ghpulse_backups_total" "outcome"
        ["made" "failed"]
        "Scheduled backups by outcome: `made`, `failed`.";
    BACKUP_AT Gauge "ghpulse_backup_timestamp_seconds" "" "When the newest backup of this store was made, seconds since 1970; 0 when there is none.";
    CONNECTIONS Gauge "ghpulse_connections" "endpoint"
        ["/sampling" "/language/latest" "/language/watch" "/stream" "/stream/languages" "/aggregate"
         "/archive"]
        "Connected subscribers: WebSocket, SSE and NDJSON, and downloads of the archive.";
    AMQP_PUBLISHED Counter "ghpulse_amqp_published_total" "" "Messages that RabbitMQ has confirmed.";
    AMQP_UP Gauge "ghpulse_amqp_up" "" "1 while RabbitMQ is connected, 0 while it is not, NaN where nothing is published to it.";
    AMQP_LOST Counter "ghpulse_amqp_lost_total" "" "Times an open connection to RabbitMQ was lost.";
    AMQP_GAPS Counter "ghpulse_amqp_gaps_total" "" "Times events were dropped before they could be published to RabbitMQ.";
    AMQP_REFUSED Counter "ghpulse_amqp_refused_total" "" "Messages that RabbitMQ refused; they are kept in the reject log.";
    AMQP_REMOVED Counter "ghpulse_amqp_exchange_removed_total" "" "Times the exchange was missing and was declared again; its consumers have to bind again.";
    REFUSED Counter "ghpulse_refused_total" "reason"
        ["connections" "per_address" "origin" "chatter" "params_rate" "invalid_params"
         "message_bytes" "write_timeout" "silence" "searches" "handshake_timeout" "message_time"
         "downloads" "downloads_per_address" "downloads_per_minute"]
        "Connections and requests refused by a limit.";
    DELIVERIES Counter "ghpulse_deliveries_total" "endpoint"
        ["/sampling" "/language/latest" "/language/watch" "/stream" "/stream/languages" "/aggregate"]
        "Messages written to subscribers.";
    ARCHIVE_BYTES Counter "ghpulse_archive_sent_bytes_total" "" "Bytes of archived hours sent to clients.";
    SKIPPED Counter "ghpulse_skipped_events_total" "" "Events that slow subscribers of /sampling were moved past.";
    INBOX_ROWS Gauge "ghpulse_inbox_rows" "" "Events that wait for enrichment or for their turn.";
    OUTBOX_ROWS Gauge "ghpulse_outbox_rows" "" "Events that wait for the bus.";
    WRITES_STOPPED Gauge "ghpulse_store_writes_stopped" "" "1 while RocksDB stops writes until compaction has caught up, else 0.";
    WRITES_DELAYED Gauge "ghpulse_store_delayed_write_bytes_per_second" "" "Rate that RocksDB throttles writes to; 0 when it does not.";
    COMPACTION_PENDING Gauge "ghpulse_store_compaction_pending_bytes" "" "Bytes that RocksDB has yet to compact, by its own estimate.";
    BUILD_INFO Gauge "ghpulse_build_info" "" "Always 1; the labels are the version, the commit and the RocksDB of this build.";
    READER_BYTES Gauge "ghpulse_reader_bytes" ""
        "Bytes of messages held for subscribers; above 100 MB the largest wait.";
}

pub mod monitoring;

static EXPOSITION: OnceLock<Exposition> = OnceLock::new();

impl Metric {
    /// Adds to a counter.
    pub fn add(&self, n: u64) {
        debug_assert_eq!((self.kind, self.label), (MetricKind::Counter, ""));
        metrics::counter!(self.name).increment(n);
    }

    /// Adds to the series of a labelled counter; `value` must be in the table.
    pub fn add_for(&self, value: &'static str, n: u64) {
        self.series(value).increment(n);
    }

    /// The series of a labelled counter, for code that adds to it too often to look it up each
    /// time; `value` must be in the table.
    pub fn series(&self, value: &'static str) -> metrics::Counter {
        debug_assert_eq!(self.kind, MetricKind::Counter);
        debug_assert!(self.values.contains(&value), "{} has no {value}", self.name);
        metrics::counter!(self.name, self.label => value)
    }

    /// Sets a gauge.
    pub fn set(&self, value: f64) {
        debug_assert_eq!((self.kind, self.label), (MetricKind::Gauge, ""));
        metrics::gauge!(self.name).set(value);
    }

    /// Sets the series of a labelled gauge; `label` must be in the table.
    pub fn set_for(&self, label: &'static str, value: f64) {
        debug_assert_eq!(self.kind, MetricKind::Gauge);
        debug_assert!(self.values.contains(&label), "{} has no {label}", self.name);
        metrics::gauge!(self.name, self.label => label).set(value);
    }

    /// Changes the series of a labelled gauge by `by`.
    pub fn shift_for(&self, value: &'static str, by: f64) {
        debug_assert_eq!(self.kind, MetricKind::Gauge);
        metrics::gauge!(self.name, self.label => value).increment(by);
    }

    /// Records a duration in a histogram.
    pub fn record(&self, took: std::time::Duration) {
        debug_assert_eq!(self.kind, MetricKind::Histogram);
        metrics::histogram!(self.name).record(took.as_secs_f64());
    }
}

/// Gauges of the feed, which are unknown (NaN) until the first responses, and of brokers, until
/// one is used.
const UNKNOWN_AT_FIRST: &[Metric] = &[
    BUS_UP,
    BUS_PRODUCING,
    AMQP_UP,
    FEED_LAG_SECONDS,
    FEED_OVERLAP,
    FEED_MISSED,
    EVENT_LAG_SECONDS,
    AUDIT_SEEN,
    AUDIT_SEEN_LOW,
    AUDIT_SEEN_HIGH,
];

impl Metric {
    /// Describes the metric and creates all its series.
    fn register(&self) {
        match self.kind {
            MetricKind::Counter => metrics::describe_counter!(self.name, self.help),
            MetricKind::Gauge => metrics::describe_gauge!(self.name, self.help),
            MetricKind::Histogram => metrics::describe_histogram!(self.name, self.help),
        }
        let first = UNKNOWN_AT_FIRST.iter().any(|metric| metric.name == self.name);
        let first = if first { f64::NAN } else { 0.0 };
        match (self.kind, self.values) {
            (MetricKind::Counter, []) => metrics::counter!(self.name).increment(0),
            (MetricKind::Gauge, []) if self.name == BUILD_INFO.name => metrics::gauge!(
                self.name,
                "version" => env!("CARGO_PKG_VERSION"),
                "commit" => env!("BUILT_COMMIT"),
                "rocksdb" => env!("BUILT_ROCKSDB"),
            )
            .set(1.0),
            (MetricKind::Gauge, []) => metrics::gauge!(self.name).set(first),
            (MetricKind::Histogram, _) => drop(metrics::histogram!(self.name)),
            (MetricKind::Counter, values) => values
                .iter()
                .for_each(|value| metrics::counter!(self.name, self.label => *value).increment(0)),
            (MetricKind::Gauge, values) => values
                .iter()
                .for_each(|value| metrics::gauge!(self.name, self.label => *value).set(first)),
        }
    }
}

/// The recorded metrics, and the collector of the process's own.
struct Exposition {
    kept: PrometheusHandle,
    process: Collector,
}

fn recorder() -> metrics_exporter_prometheus::PrometheusRecorder {
    let buckets = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
    // Events may wait up to `github.enrich.deadline`.
    let waits = [0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &buckets)
        .expect("the list of buckets is not empty")
        .set_buckets_for_metric(Matcher::Full(ENRICH_SECONDS.name.into()), &waits)
        .expect("the list of buckets is not empty")
        .build_recorder()
}

/// Starts to record metrics. Before the call, counting has no effect. To be called once a process.
pub fn install() {
    EXPOSITION.get_or_init(|| {
        let recorder = recorder();
        let kept = recorder.handle();
        // Another library's recorder keeps its place; ours is then empty.
        let _ = metrics::set_global_recorder(recorder);
        ALL.iter().for_each(Metric::register);
        let process = Collector::default();
        process.describe();
        Exposition { kept, process }
    });
}

/// The Prometheus text exposition; empty before [`install`].
#[must_use]
pub fn render() -> String {
    EXPOSITION.get().map_or_else(String::new, |exposition| {
        exposition.process.collect();
        exposition.kept.run_upkeep();
        exposition.kept.render()
    })
}

#[cfg(test)]
mod tests;
