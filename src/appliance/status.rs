//! Collects the status of the appliance for `/status` and `ghpulse status`.

use std::sync::Arc;

use tokio::sync::watch;

use super::chores::{BackupTimes, Chore, Failing};
use super::ledger::Rankings;
use super::renewed::RenewalState;
use super::watch::space;
use crate::apply::stage::Apply;
use crate::clock::Clock;
use crate::clock::witness::{ClockVerdict, Witness};
use crate::collect::audit::AuditReading;
use crate::collect::enrich::RecentShare;
use crate::collect::status::SourceStatus;
use crate::model::part::{AppReport, ListReport, Part, SourceReport};
use crate::serve::{
    BackupReport, BusReport, ClientReport, ClockReport, DiskReport, JournalReport, MemoryReport,
    Status, is_ready,
};
use crate::store::Store;

/// What other stages report for the status.
pub(super) struct StatusReadings {
    pub(super) enriched: watch::Receiver<RecentShare>,
    /// Reports of the lists; `None` on a node that does not poll.
    pub(super) listed: Option<watch::Receiver<Vec<ListReport>>>,
    /// The audit; `None` where there is none.
    pub(super) audit: Option<AuditReading>,
    pub(super) witness: Arc<Witness>,
    /// Files that were replaced by unusable ones.
    pub(super) files: RenewalState,
    /// The state of the GitHub App; `None` without one.
    pub(super) app: Option<watch::Receiver<AppReport>>,
}

/// What the status is read from, besides the parts.
pub(super) struct StatusSources {
    pub(super) readings: StatusReadings,
    /// The last stage, with the store, the history, the lists and the clock. It receives imported
    /// archives and retried dead letters.
    pub(super) apply: Apply,
    /// The ledger's rankings.
    pub(super) rankings: Rankings,
    /// Whether addresses in commits are hashed in exported hours.
    pub(super) hashes_emails: bool,
    pub(super) bus: &'static str,
    pub(super) node: String,
    /// Backups and exports that fail.
    pub(super) failing: watch::Receiver<Failing>,
    /// When backups are made.
    pub(super) backups: watch::Receiver<Option<BackupTimes>>,
}

impl StatusSources {
    /// The status. `parts` are the results of the parts' own checks.
    pub(super) fn report(
        &self,
        parts: Vec<Part>,
        source: Option<&SourceStatus>,
        clients: usize,
    ) -> Status {
        let completeness = source.and_then(|source| source.completeness.as_deref());
        let Apply { store, clock, .. } = &self.apply;
        Status {
            ready: is_ready(&parts),
            version: env!("CARGO_PKG_VERSION").into(),
            node: Some(self.node.clone()),
            simulated: source.is_some_and(|source| source.simulated),
            parts,
            source: source.map(|source| SourceReport {
                app: self.readings.app.as_ref().map(|app| app.borrow().clone()),
                ..source.report.clone()
            }),
            enrichment: source.map(|_| self.readings.enriched.borrow().figures(clock.now())),
            completeness: completeness
                .map(|report| report.shown_at(self.readings.witness.stamp()).into_owned()),
            lists: self.lists(),
            audit: self.readings.audit.as_ref().and_then(|audit| {
                audit.borrow().as_deref().map(|report| report.shown_at(clock.now()).into_owned())
            }),
            repo_days: store.reader().filled_days().ok().flatten(),
            bus: BusReport {
                kind: self.bus.into(),
                backlog_bytes: *store.watermarks().backlog.borrow(),
                admitted: *store.watermarks().inbox.borrow(),
            },
            clients: ClientReport { connections: clients },
            disk: disk(store),
            memory: memory(),
            backups: self.backups(),
            journal: journal(store, *clock),
            clock: clock_report(&self.readings.witness),
        }
    }

    /// The lists, and the errors of their files.
    pub(super) fn lists(&self) -> Vec<ListReport> {
        let known =
            self.readings.listed.as_ref().map(|listed| listed.borrow().clone()).unwrap_or_default();
        let lists = &self.apply.hub.lists;
        let reports = lists.all().into_iter().map(|list| {
            let known = known.iter().find(|known| known.name == list.name());
            let (names, error) = (list.names(), lists.error_of(list.name()));
            let complete = names.is_complete();
            let of_feeds = known.filter(|_| complete);
            ListReport {
                name: list.name().to_owned(),
                names: names.len(),
                complete,
                feeds: of_feeds.map(|known| known.feeds.clone().unwrap_or_default()),
                incomplete: of_feeds.map(|known| known.incomplete.clone()).unwrap_or_default(),
                error,
                ..known.cloned().unwrap_or_default()
            }
        });
        reports.collect()
    }

    /// When backups were made and are due; `None` without `backup.dir`.
    fn backups(&self) -> Option<BackupReport> {
        let BackupTimes { last, next } = (*self.backups.borrow())?;
        let failing = self.failing.borrow();
        let failed = failing.of(Chore::Backup);
        let failing_since = failed.map(|(_, since)| since);
        let error = failed.map(|(why, _)| why.to_owned());
        Some(BackupReport { last, next, failing_since, error })
    }
}

/// Memory of this process; `None` where the system does not report it.
fn memory() -> Option<MemoryReport> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(MemoryReport { resident_bytes: kib * 1_024 })
}

fn journal(store: &Store, clock: Clock) -> JournalReport {
    let reach = *store.watermarks().reach.borrow();
    let reach_seconds = reach.oldest.map(|oldest| clock.now().since(oldest).as_secs());
    JournalReport { bytes: reach.bytes, reach_seconds }
}

fn clock_report(witness: &Witness) -> ClockReport {
    let verdict = witness.judge();
    let who = match verdict {
        ClockVerdict::Disagrees { who, .. } => Some(who.name().into()),
        ClockVerdict::Agrees | ClockVerdict::Unconfirmed => None,
    };
    ClockReport {
        state: verdict.name().into(),
        seconds_ahead: verdict.seconds_ahead(),
        witness: who,
        last_retention_at: witness.last_pass(),
    }
}

fn disk(store: &Store) -> Option<DiskReport> {
    let (free_bytes, all_bytes) = space(store.dir())?;
    Some(DiskReport { free_bytes, all_bytes })
}
