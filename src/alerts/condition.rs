//! The conditions that are reported.

use crate::model::names::names;

names! {
    /// A condition that is reported.
    pub enum AlertCondition {
        /// The bus cannot be reached.
        BusAway = "bus_away",
        /// GitHub cannot be polled.
        SourceAway = "source_away",
        /// The history is not being updated.
        TidbFailing = "tidb_failing",
        /// RabbitMQ is not being fed, or its consumers have missed messages.
        RabbitMqAway = "rabbitmq_away",
        /// A script fails; the last good one is in use.
        ScriptBroken = "script_broken",
        /// A file that is read while running, or that of a list, cannot be used.
        FileUnusable = "file_unusable",
        /// The disk of the store is almost full.
        DiskNearlyFull = "disk_nearly_full",
        /// GitHub answers without new events.
        FeedFrozen = "feed_frozen",
        /// A token gets stale pages.
        TokenStale = "token_stale",
        /// A page is missing, or events that it used to show are.
        PageMissing = "page_missing",
        /// Scheduled backups fail.
        BackupFailing = "backup_failing",
        /// Hours are not exported.
        ArchiveFailing = "archive_failing",
        /// GitHub's totals and the estimate from ids contradict each other.
        AuditConflict = "audit_conflict",
    }
}

impl AlertCondition {
    /// Its name for display.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::BusAway => "the bus is away",
            Self::SourceAway => "GitHub cannot be followed",
            Self::TidbFailing => "the sync with TiDB fails",
            Self::RabbitMqAway => "RabbitMQ is not fed",
            Self::ScriptBroken => "a script is broken",
            Self::FileUnusable => "a file cannot be used",
            Self::DiskNearlyFull => "the disk is nearly full",
            Self::FeedFrozen => "GitHub's feed is frozen",
            Self::TokenStale => "a GitHub token is shown old pages",
            Self::PageMissing => "a page of GitHub's feed is missing",
            Self::BackupFailing => "backups are not made",
            Self::ArchiveFailing => "hours are not exported",
            Self::AuditConflict => "GitHub's totals contradict the estimate of missed events",
        }
    }

    /// Whether it is a failure that may pass without intervention and is tolerated for a while.
    /// The others last until an operator acts, so they are reported at once.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::BusAway | Self::SourceAway | Self::TidbFailing | Self::RabbitMqAway)
    }
}
