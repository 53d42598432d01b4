//! The alerting rules: condition, severity, and what the operator should do.

/// One rule.
pub(super) struct AlertRule {
    pub(super) name: &'static str,
    pub(super) expr: &'static str,
    /// How long the expression must hold.
    pub(super) lasting: &'static str,
    /// `critical`: requires immediate action. `warning`: can wait for working hours.
    pub(super) severity: &'static str,
    pub(super) summary: &'static str,
    pub(super) what_to_do: &'static str,
}

macro_rules! rules {
    ($($name:ident $severity:ident $lasting:literal $expr:literal
        $summary:literal $what_to_do:literal;)*) => {
        pub(super) const RULES: &[AlertRule] = &[$(AlertRule {
            name: stringify!($name),
            expr: $expr,
            lasting: $lasting,
            severity: stringify!($severity),
            summary: $summary,
            what_to_do: $what_to_do,
        }),*];
    };
}

rules! {
    GhpulseDown critical "2m"
        "up{job=\"ghpulse\"} == 0"
        "{{ $labels.instance }} does not answer"
        "Read `journalctl -u ghpulse -n 50`; the exit code is explained in the manual under \
         Stopping, exit codes, logs. `ghpulse check` names what keeps it from starting.";
    GhpulseRestarts warning "0m"
        "changes(process_start_time_seconds{job=\"ghpulse\"}[1h]) > 3"
        "{{ $labels.instance }} was started {{ $value }} times within an hour"
        "Read `journalctl -u ghpulse`: the last error before each start says why it ended.";
    GhpulseNothingApplied critical "10m"
        "rate(ghpulse_events_applied_total[10m]) == 0"
        "{{ $labels.instance }} has counted no event for 10 minutes"
        "`ghpulse status` names the part that is down: GitHub, the bus or the store.";
    GhpulseGithubFails warning "10m"
        "sum by (instance) (rate(ghpulse_github_requests_total{outcome=\"failed\"}[10m])) \
         > 0.5 * sum by (instance) (rate(ghpulse_github_requests_total[10m]))"
        "More than half of the requests to GitHub fail on {{ $labels.instance }}"
        "Look at githubstatus.com, then at the network and proxy of this machine. Polling \
         continues by itself; what was missed is reported as a gap.";
    GhpulseTokenRefused warning "0m"
        "increase(ghpulse_github_requests_total{outcome=\"token_refused\"}[15m]) > 0"
        "GitHub refuses a token of {{ $labels.instance }}"
        "`ghpulse check` says which token was revoked or expired; replace it in github.tokens or \
         github.tokensFile. The file is read again without a restart.";
    GhpulseEventsMissed warning "15m"
        "ghpulse_feed_missed_ratio{bound=\"low\"} > 0.05"
        "{{ $labels.instance }} misses at least {{ $value | humanizePercentage }} of all events"
        "Add a token of another account (tokens of one account share its limits). `ghpulse status` \
         shows how often each page is read.";
    GhpulseAuditConflict warning "0m"
        "ghpulse_audit_conflict > 0"
        "GitHub's totals contradict what {{ $labels.instance }} estimates from ids"
        "`ghpulse status` says which kinds, and how much of them was seen. GitHub may hide events \
         from the feed: the ids cannot show that, the totals can. The page How complete says what \
         else raises totals.";
    GhpulseFeedTrouble warning "10m"
        "ghpulse_feed_troubles > 0"
        "{{ $labels.instance }}: {{ $labels.kind }}"
        "frozen_feed: GitHub serves the same page to everyone, wait. stale_token: replace the \
         token that `ghpulse status` names. page_missing: GitHub left out a page, wait.";
    GhpulseFeedLags warning "15m"
        "ghpulse_feed_lag_seconds > 300"
        "The newest event of {{ $labels.instance }} was {{ $value | humanizeDuration }} old"
        "GitHub delivers late (githubstatus.com), or this machine's clock is wrong (timedatectl).";
    GhpulseUnenriched warning "30m"
        "sum by (instance) (rate(ghpulse_events_unenriched_total[15m])) \
         > 0.2 * sum by (instance) (rate(ghpulse_events_enriched_total[15m])) + 0.1"
        "Pull requests of {{ $labels.instance }} are published without their missing fields"
        "The panel Not enriched says why. full or late: add a token of another account. no_token: \
         set one. forbidden: a repository is closed to this token, nothing to do.";
    GhpulseDiskFull critical "5m"
        "ghpulse_disk_free_bytes < 2 * 1024 ^ 3"
        "{{ $value | humanize1024 }}B are free for the store of {{ $labels.instance }}"
        "Polling pauses below 1 GiB. Free space, or lower store.journal.bytes; nothing is lost \
         that GitHub still shows afterwards, the rest is reported as a gap.";
    GhpulseDiskFills warning "1h"
        "predict_linear(ghpulse_disk_free_bytes[6h], 86400) < 1024 ^ 3"
        "The disk of {{ $labels.instance }} is full within a day at this pace"
        "Lower store.journal.bytes or store.journal.for, remove old backups and hours, or give it \
         a larger disk.";
    GhpulseWritesStopped critical "2m"
        "ghpulse_store_writes_stopped == 1"
        "RocksDB of {{ $labels.instance }} has stopped writes"
        "The disk is too slow for compaction. Look at its load (iostat -x 5); another process may \
         take it. It continues by itself when compaction has caught up.";
    GhpulseStoreSlow warning "15m"
        "histogram_quantile(0.99, sum by (instance, le) \
         (rate(ghpulse_store_commit_seconds_bucket[10m]))) > 1"
        "One of a hundred writes of {{ $labels.instance }} takes longer than a second"
        "The disk is slow or shared (iostat -x 5). `store.sync: 1s` syncs once a second and may \
         lose that second in a power cut.";
    GhpulseInboxGrows warning "15m"
        "ghpulse_inbox_rows > 20000"
        "{{ $value }} events wait for their enrichment on {{ $labels.instance }}"
        "GraphQL is slow or its limit is used up: add a token of another account. Events leave \
         after github.enrich.deadline in any case.";
    GhpulseOutboxGrows warning "15m"
        "ghpulse_outbox_rows > 20000"
        "{{ $value }} events wait for the bus on {{ $labels.instance }}"
        "`ghpulse check` tries Pulsar. Nothing is lost: the outbox grows up to store.outboxBytes, \
         then polling pauses.";
    GhpulseBusBehind warning "10m"
        "ghpulse_bus_behind_seconds > 120"
        "{{ $labels.instance }} is {{ $value | humanizeDuration }} behind the topic"
        "After a start this is catching up and ends without intervention. Otherwise look at the disk and the \
         CPU of this node, and at Pulsar's subscription.";
    GhpulseBusAway critical "5m"
        "ghpulse_bus_up == 0"
        "{{ $labels.instance }} has not been connected to the broker for five minutes"
        "`ghpulse check` says what the broker answers. A collector keeps what it polls up to \
         store.outboxBytes, then polling pauses.";
    GhpulseBusLost warning "0m"
        "increase(ghpulse_bus_lost_total[15m]) > 5"
        "{{ $labels.instance }} loses the connection to the broker again and again"
        "`ghpulse check` says what the broker answers; look at the broker's log and the network.";
    GhpulseNobodyProduces critical "5m"
        "max by (job) (ghpulse_bus_producing) == 0 \
         and on (job) max by (job) (ghpulse_bus_up) == 1"
        "No collector produces to the topic"
        "`ghpulse status` on each collector says whether it is on standby or cannot reach the \
         broker. If all are on standby, something else produces to the topic: \
         `pulsar-admin topics stats TOPIC` names it under publishers.";
    GhpulseDeadLetters warning "0m"
        "increase(ghpulse_messages_dead_total[1h]) > 0"
        "{{ $labels.instance }} received messages that it cannot read"
        "`ghpulse inspect dead` shows them with the reason. When the producer or this version is \
         mended, `ghpulse requeue` tries them again.";
    GhpulseScriptFails warning "0m"
        "increase(ghpulse_script_failures_total[10m]) > 0"
        "A script of {{ $labels.instance }} fails"
        "`ghpulse script check --url URL` shows the error with its line; the last good script \
         stays in use until then.";
    GhpulseFileUnusable warning "5m"
        "ghpulse_file_unusable > 0"
        "A file of {{ $labels.instance }} cannot be used"
        "`ghpulse check` names it with what is wrong: a certificate, a file of tokens or of names, \
         or a list. Its last good content, if it had one, is in force until it is mended; with such \
         a certificate or file of tokens the node does not start again.";
    GhpulseTidbFails warning "0m"
        "sum by (instance) (increase(ghpulse_tidb_syncs_total{outcome=\"failed\"}[3h])) > 0 \
         and sum by (instance) (increase(ghpulse_tidb_syncs_total{outcome=\"ok\"}[3h])) == 0"
        "No sync of {{ $labels.instance }} with TiDB has succeeded for three hours"
        "`ghpulse check` says what TiDB answers. The figures of the last \
         good sync are shown meanwhile.";
    GhpulseBackupFails warning "0m"
        "increase(ghpulse_backups_total{outcome=\"failed\"}[1d]) > 0"
        "A backup of {{ $labels.instance }} failed"
        "The log says why: no space in backup.dir, or it does not belong to the service's user.";
    GhpulseBackupOld critical "1h"
        "time() - ghpulse_backup_timestamp_seconds > 2 * 86400 and ghpulse_backup_timestamp_seconds > 0"
        "The newest backup of {{ $labels.instance }} is {{ $value | humanizeDuration }} old"
        "Make one now with `ghpulse backup DIR`, then read in the log why backup.every did not.";
    GhpulseRabbitmqAway warning "5m"
        "ghpulse_amqp_up == 0"
        "{{ $labels.instance }} has not been connected to RabbitMQ for five minutes"
        "`ghpulse check` says what RabbitMQ answers. Events are kept for it up to \
         store.journal.bytes.";
    GhpulseRabbitmqLost warning "0m"
        "increase(ghpulse_amqp_lost_total[15m]) > 3"
        "{{ $labels.instance }} loses the connection to RabbitMQ again and again"
        "`ghpulse check` says what RabbitMQ answers. Events are kept for it up to \
         store.journal.bytes.";
    GhpulseRabbitmqGap critical "0m"
        "increase(ghpulse_amqp_gaps_total[1h]) > 0"
        "Events of {{ $labels.instance }} were dropped before RabbitMQ received them"
        "RabbitMQ was away longer than the journal reaches: raise store.journal.bytes. Its readers \
         find the gap in the log.";
    GhpulseRabbitmqRefused warning "0m"
        "increase(ghpulse_amqp_refused_total[1h]) > 0"
        "RabbitMQ refuses messages of {{ $labels.instance }}"
        "`ghpulse inspect rejects` shows them: mostly longer than max_message_size.";
    GhpulseExchangeRemoved warning "0m"
        "increase(ghpulse_amqp_exchange_removed_total[1h]) > 0"
        "Somebody deleted the exchange of {{ $labels.instance }} in RabbitMQ"
        "Its readers have to bind again. Set amqp.source, so that readers cannot delete bindings.";
    GhpulseClockOff warning "10m"
        "abs(ghpulse_clock_offset_seconds) > 2"
        "The clock of {{ $labels.instance }} is off by {{ $value | humanizeDuration }}"
        "Let chrony or systemd-timesyncd set it (`timedatectl`). Nothing expires by age meanwhile.";
    GhpulseFull warning "0m"
        "increase(ghpulse_refused_total{reason=\"connections\"}[15m]) > 0"
        "{{ $labels.instance }} refuses readers: all places are taken"
        "Raise server.limits.connections and LimitNOFILE, or add an edge.";
    GhpulseMemory warning "15m"
        "process_resident_memory_bytes{job=\"ghpulse\"} > 900 * 1024 ^ 2"
        "{{ $labels.instance }} takes {{ $value | humanize1024 }}B of memory"
        "The unit slows it down at 1 GiB and starts it again at 2 GiB. Look at the number of \
         readers and at ghpulse_reader_bytes; with few readers, report it with the log.";
    GhpulseFilesRunOut warning "10m"
        "process_open_fds{job=\"ghpulse\"} / process_max_fds{job=\"ghpulse\"} > 0.9"
        "{{ $labels.instance }} has nearly as many files open as it may"
        "Raise LimitNOFILE in the unit (`systemctl edit ghpulse`).";
    GhpulseAlertsFail warning "0m"
        "increase(ghpulse_alerts_total{outcome=\"failed\"}[1h]) > 0"
        "{{ $labels.instance }} cannot post to its webhook"
        "`ghpulse check` tries alerts.webhook; the log has the answer of the webhook's host.";
}
