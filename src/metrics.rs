//! What is measured: one table, one line a metric; the exposition and the README are made from it.
//!
//! Door to the `metrics` crates. A metric is a constant; `metrics::EVENTS_FETCHED.add(3)` counts.
//! Labels are few and bounded: at most one, with values from the table below, never from outside.
//! So every series exists from the start, counters at 0: `increase(…)` over a series that is born
//! with its first failure would not show that failure. A gauge whose value is not known yet is NaN.
//! `process_*` come from the crate metrics-process, under the names that dashboards know.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// What a metric's number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; starts at zero with the process.
    Counter,
    /// The value now.
    Gauge,
    /// A distribution, in the unit the name ends with.
    Histogram,
}

/// One measured thing.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name in the exposition; ends with its unit.
    pub name: &'static str,
    /// What its number means.
    pub kind: Kind,
    /// Name of its one label, or empty.
    pub label: &'static str,
    /// Every value of that label; empty without a label.
    pub values: &'static [&'static str],
    /// One sentence for whoever reads the dashboard.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal $label:literal $([$($value:literal)*])? $help:literal;)*)
    => {
        $(#[doc = $help] pub const $id: Metric = Metric {
            name: $name, kind: Kind::$kind, label: $label, values: &[$($($value),*)?],
            help: $help };)*
        /// All of them, in the order of the data's way.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    REQUESTS Counter "ghpulse_github_requests_total" "outcome"
        ["fresh" "not_modified" "limited" "token_refused" "failed" "identity"]
        "Requests to GitHub by what came of them.";
    EVENTS_FETCHED Counter "ghpulse_events_fetched_total" "" "Events in the pages that GitHub served, doubles included.";
    EVENTS_ADMITTED Counter "ghpulse_events_admitted_total" "" "Events seen for the first time and taken in.";
    EVENTS_DUPLICATE Counter "ghpulse_events_duplicate_total" "" "Events served again that were already taken in.";
    EVENTS_REJECTED Counter "ghpulse_events_rejected_total" "" "Entries of pages that are no events; kept in the reject log.";
    QUERIES Counter "ghpulse_github_queries_total" "outcome"
        ["answered" "partial" "too_heavy" "limited" "token_refused" "failed"]
        "GraphQL queries to GitHub by what came of them.";
    EVENTS_ENRICHED Counter "ghpulse_events_enriched_total" "" "Events that lacked something of a pull request and got it before they went on.";
    EVENTS_UNENRICHED Counter "ghpulse_events_unenriched_total" "reason"
        ["late" "gone" "forbidden" "full" "no_token"]
        "Events that went on without what they lacked, by why.";
    ENRICH_SECONDS Histogram "ghpulse_enrich_seconds" "" "Time that an event waited for what it lacked.";
    EVENTS_APPLIED Counter "ghpulse_events_applied_total" "" "Events counted and put into the journal.";
    EVENTS_REDELIVERED Counter "ghpulse_events_redelivered_total" "" "Deliveries of the bus that had been applied before.";
    MESSAGES_PRODUCED Counter "ghpulse_messages_produced_total" "" "Messages that the broker has acknowledged.";
    BUS_LOST Counter "ghpulse_bus_lost_total" "" "Times the connection to the broker was given up, at either end.";
    BUS_BEHIND_SECONDS Gauge "ghpulse_bus_behind_seconds" "" "Age of the newest delivery of the broker while more are waiting; 0 when caught up.";
    MESSAGES_DEAD Counter "ghpulse_messages_dead_total" "" "Messages of the bus that could not be read; kept in the dead-letter log.";
    LETTERS_REQUEUED Counter "ghpulse_letters_requeued_total" "" "Dead letters that could be read when they were tried again.";
    COMMIT_SECONDS Histogram "ghpulse_store_commit_seconds" "" "Time of one write to the store, its sync included.";
    DISK_FREE_BYTES Gauge "ghpulse_disk_free_bytes" ""
        "Bytes that are free on the disk of the store; fetching pauses below 1 GiB, or a twentieth of \
            a smaller disk.";
    JOURNAL_BYTES Gauge "ghpulse_journal_bytes" "" "Bytes that the journal takes on the disk, compressed.";
    JOURNAL_REACH_SECONDS Gauge "ghpulse_journal_reach_seconds" "" "How long ago the oldest event that the journal still has was received; 0 when it is empty.";
    CLOCK_OFFSET_SECONDS Gauge "ghpulse_clock_offset_seconds" ""
        "How far this machine's clock is ahead of the witness that contradicts it; negative: behind. 0 \
            when a witness confirms it, NaN when none can say: nothing is deleted unless it is 0.";
    TOKENS_USABLE Gauge "ghpulse_github_tokens_usable" "" "GitHub tokens that are neither benched nor used up.";
    FEED_LAG_SECONDS Gauge "ghpulse_feed_lag_seconds" "" "Age of the newest event on the last page when it came in.";
    FEED_OVERLAP Gauge "ghpulse_feed_overlap_ratio" "" "Least share of a page that the read before it had too; 0 means that events were missed.";
    FEED_MISSED Gauge "ghpulse_feed_missed_ratio" "bound"
        ["estimate" "low" "high"]
        "Estimated part of all events that was missed in the last ten minutes: `estimate`, and \
            the `low` and `high` end of its 95 % interval.";
    EVENT_LAG_SECONDS Gauge "ghpulse_event_lag_seconds" "point"
        ["p50" "p90" "max"]
        "How long after their `created_at` the newest events came in: `p50`, `p90`, `max`.";
    FEED_EVENTS Counter "ghpulse_feed_events_total" "page"
        ["1" "2" "3"]
        "Events that no page had shown before, by the page that showed them.";
    FEED_TROUBLES Gauge "ghpulse_feed_troubles" "kind"
        ["frozen_feed" "stale_token" "page_missing"]
        "What is wrong with the feed now: `frozen_feed`, `stale_token` (how many), `page_missing` (how many).";
    SCRIPT_SECONDS Histogram "ghpulse_script_seconds" "" "Time of one run of a script.";
    SCRIPT_FAILURES Counter "ghpulse_script_failures_total" "" "Ticks at which a script failed: the native sum stood in, or its aggregate stayed.";
    TIDB_SYNCS Counter "ghpulse_tidb_syncs_total" "outcome"
        ["ok" "failed"]
        "Syncs with TiDB by what came of them.";
    ALERTS Counter "ghpulse_alerts_total" "outcome"
        ["posted" "failed"]
        "Alerts posted to the webhook by what came of it.";
    BACKUPS Counter "ghpulse_backups_total" "outcome"
        ["made" "failed"]
        "Backups on the schedule by what came of them: `made`, `failed`.";
    BACKUP_AT Gauge "ghpulse_backup_timestamp_seconds" "" "When the newest backup of this store was made, seconds since 1970; 0 when there is none.";
    CONNECTIONS Gauge "ghpulse_connections" "endpoint"
        ["/sampling" "/language/latest" "/language/watch" "/stream" "/stream/languages" "/aggregate"]
        "Readers connected now: WebSocket, SSE and NDJSON.";
    AMQP_PUBLISHED Counter "ghpulse_amqp_published_total" "" "Messages that RabbitMQ has confirmed.";
    AMQP_LOST Counter "ghpulse_amqp_lost_total" "" "Times the connection to RabbitMQ was lost or not to be had.";
    AMQP_GAPS Counter "ghpulse_amqp_gaps_total" "" "Times events were dropped before they could be published to RabbitMQ.";
    AMQP_REFUSED Counter "ghpulse_amqp_refused_total" "" "Messages that RabbitMQ refused; they are kept in the reject log.";
    AMQP_REMOVED Counter "ghpulse_amqp_exchange_removed_total" "" "Times the exchange was missing and was declared again; its readers have to bind again.";
    REFUSED Counter "ghpulse_refused_total" "reason"
        ["connections" "per_address" "origin" "chatter" "params_rate" "invalid_params"
         "message_bytes" "write_timeout" "silence" "searches" "handshake_timeout" "message_time"]
        "Connections and requests refused by a limit.";
    DELIVERIES Counter "ghpulse_deliveries_total" "endpoint"
        ["/sampling" "/language/latest" "/language/watch" "/stream" "/stream/languages" "/aggregate"]
        "Messages written to readers.";
    SKIPPED Counter "ghpulse_skipped_events_total" "" "Events that slow readers of /sampling were moved past.";
    INBOX_ROWS Gauge "ghpulse_inbox_rows" "" "Events that wait for their enrichment or their turn.";
    OUTBOX_ROWS Gauge "ghpulse_outbox_rows" "" "Events that wait for the bus.";
    WRITES_STOPPED Gauge "ghpulse_store_writes_stopped" "" "1 while RocksDB stops writes until compaction has caught up, else 0.";
    WRITES_DELAYED Gauge "ghpulse_store_delayed_write_bytes_per_second" "" "Rate that RocksDB slows writes down to; 0 when it does not.";
    COMPACTION_PENDING Gauge "ghpulse_store_compaction_pending_bytes" "" "Bytes that RocksDB has still to compact, as it estimates them.";
    BUILD_INFO Gauge "ghpulse_build_info" "" "Always 1; its labels are the version, the commit and the RocksDB of this build.";
    READER_BYTES Gauge "ghpulse_reader_bytes" ""
        "Bytes of messages held for readers by all groups and connections; above 100 MB the largest wait.";
}

pub mod monitoring;

static EXPOSITION: OnceLock<Exposition> = OnceLock::new();

impl Metric {
    /// Adds to a counter.
    pub fn add(&self, n: u64) {
        debug_assert_eq!((self.kind, self.label), (Kind::Counter, ""));
        metrics::counter!(self.name).increment(n);
    }

    /// Adds to a counter under its label; `value` must be one of the table's.
    pub fn add_for(&self, value: &'static str, n: u64) {
        debug_assert_eq!(self.kind, Kind::Counter);
        debug_assert!(self.values.contains(&value), "{} has no {value}", self.name);
        metrics::counter!(self.name, self.label => value).increment(n);
    }

    /// Sets a gauge.
    pub fn set(&self, value: f64) {
        debug_assert_eq!((self.kind, self.label), (Kind::Gauge, ""));
        metrics::gauge!(self.name).set(value);
    }

    /// Sets a gauge under its label; `label` must be one of the table's.
    pub fn set_for(&self, label: &'static str, value: f64) {
        debug_assert_eq!(self.kind, Kind::Gauge);
        debug_assert!(self.values.contains(&label), "{} has no {label}", self.name);
        metrics::gauge!(self.name, self.label => label).set(value);
    }

    /// Moves a gauge up or down under its label.
    pub fn shift_for(&self, value: &'static str, by: f64) {
        debug_assert_eq!(self.kind, Kind::Gauge);
        metrics::gauge!(self.name, self.label => value).increment(by);
    }

    /// Records a duration in a histogram.
    pub fn record(&self, took: std::time::Duration) {
        debug_assert_eq!(self.kind, Kind::Histogram);
        metrics::histogram!(self.name).record(took.as_secs_f64());
    }
}

/// Gauges of the feed: unknown until the first answers came, which is not 0.
const UNKNOWN_AT_FIRST: &[Metric] =
    &[FEED_LAG_SECONDS, FEED_OVERLAP, FEED_MISSED, EVENT_LAG_SECONDS];

impl Metric {
    /// Describes it and makes all its series.
    fn register(&self) {
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, self.help),
            Kind::Histogram => metrics::describe_histogram!(self.name, self.help),
        }
        let first = UNKNOWN_AT_FIRST.iter().any(|metric| metric.name == self.name);
        let first = if first { f64::NAN } else { 0.0 };
        match (self.kind, self.values) {
            (Kind::Counter, []) => metrics::counter!(self.name).increment(0),
            (Kind::Gauge, []) if self.name == BUILD_INFO.name => metrics::gauge!(
                self.name,
                "version" => env!("CARGO_PKG_VERSION"),
                "commit" => env!("BUILT_COMMIT"),
                "rocksdb" => env!("BUILT_ROCKSDB"),
            )
            .set(1.0),
            (Kind::Gauge, []) => metrics::gauge!(self.name).set(first),
            (Kind::Histogram, _) => drop(metrics::histogram!(self.name)),
            (Kind::Counter, values) => values
                .iter()
                .for_each(|value| metrics::counter!(self.name, self.label => *value).increment(0)),
            (Kind::Gauge, values) => values
                .iter()
                .for_each(|value| metrics::gauge!(self.name, self.label => *value).set(first)),
        }
    }
}

/// What is kept of all that is counted, and what is measured of the process when it is shown.
struct Exposition {
    kept: PrometheusHandle,
    process: Collector,
}

fn recorder() -> metrics_exporter_prometheus::PrometheusRecorder {
    let buckets = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
    // Events may wait as long as `github.enrich.deadline` says.
    let waits = [0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &buckets)
        .expect("the list of buckets is not empty")
        .set_buckets_for_metric(Matcher::Full(ENRICH_SECONDS.name.into()), &waits)
        .expect("the list of buckets is not empty")
        .build_recorder()
}

/// Begins to keep what is counted; before it, counting costs nothing and is kept nowhere. Once a
/// process.
pub fn install() {
    EXPOSITION.get_or_init(|| {
        let recorder = recorder();
        let kept = recorder.handle();
        // A second recorder in one process (another library's) keeps its place; ours is empty then.
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
