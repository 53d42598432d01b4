//! Answers the server's requests to the appliance.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::broker::{BrokerLook, BrokerState};
use super::part_dates::PartDates;
use super::rabbit::RabbitState;
use super::status::StatusSources;
use super::{copies, exchange, kept, ledger};
use crate::apply::stage::Apply;
use crate::archive;
use crate::clock::witness::ClockVerdict;
use crate::collect::enrich::EnrichWarning;
use crate::collect::status::SourceStatus;
use crate::config::HourFormat;
use crate::lists::ListSet;
use crate::model::activity::{Chart, CountedHour};
use crate::model::ledger::{RepoSeries, TopRepos};
use crate::model::part::{ListReport, Part, PartState};
use crate::model::script_report::{InForce, ScriptReport};
use crate::model::window::{Day, Hour, Timestamp};
use crate::script::LiveWindow;
use crate::script::{self, ScriptHost};
use crate::serve::{
    ArchiveRequest, ChartSpan, CompletenessByHour, LanguageCounts, Operate, OpsAnswer, OpsError,
    ScriptState, Status, StoreReading, StoreRequest, SyncAnswer, TopQuery,
};
use crate::store::{Reader, StoreError, charts};
use crate::sync::blocking;
use crate::sync::lock;

/// How long the loss of the end of the store's log is shown.
const LOSS_SHOWN: Duration = Duration::from_secs(3_600);

pub(super) struct Operator {
    source: Option<watch::Receiver<SourceStatus>>,
    enrichment: watch::Receiver<EnrichWarning>,
    /// `None` with the embedded bus.
    bus: Option<BrokerState>,
    /// `None` where nothing feeds RabbitMQ.
    fed: Option<RabbitState>,
    scripts: Scripts,
    sight: StatusSources,
    started_at: Timestamp,
    dates: Mutex<PartDates>,
}

/// The state of the scripts.
pub(super) struct Scripts {
    /// The script that makes the language map.
    pub(super) merge: Arc<ScriptHost>,
    /// Diagnostics of the other scripts.
    pub(super) troubles: watch::Receiver<Vec<script::ScriptDiagnostic>>,
}

/// The note on the bus of a collector that does not produce.
const ON_STANDBY: &str = "on standby: another collector produces";
/// The note on the source of a collector that does not produce.
const NOT_POLLING: &str = "on standby: it polls GitHub when it gets the topic";
/// The message for a journal with an unreadable part.
const DAMAGED_JOURNAL: &str = "a part of the journal is damaged, and readers get a gap there: look \
                               at the disk, and restore a backup when it is convenient";

impl Operator {
    pub(super) fn new(
        source: Option<watch::Receiver<SourceStatus>>,
        enrichment: watch::Receiver<EnrichWarning>,
        (bus, fed): (Option<BrokerState>, Option<RabbitState>),
        scripts: Scripts,
        sight: StatusSources,
    ) -> Self {
        let started_at = sight.apply.clock.now();
        let dates = Mutex::new(PartDates::new(started_at));
        Self { source, enrichment, bus, fed, scripts, sight, started_at, dates }
    }

    fn now(&self) -> Timestamp {
        self.sight.apply.clock.now()
    }

    /// Reads the counts by time.
    fn counts<T: Send + 'static>(
        &self,
        work: impl FnOnce(Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreReading<T> {
        kept::read(&self.sight.apply.store, "the kept counts", work)
    }

    /// A store that fails stops the process. Reported here are a data directory that was removed
    /// or replaced, low disk space, a contradicted clock, a damaged journal, failing backups or
    /// exports, and for [`LOSS_SHOWN`] the loss of the end of the log in an earlier crash.
    fn store(&self) -> Part {
        let (store, now) = (&self.sight.apply.store, self.now());
        let verdict = self.sight.readings.witness.judge();
        let clock = matches!(verdict, ClockVerdict::Disagrees { .. }).then(|| verdict.to_string());
        let lost = store.lost_tail().filter(|lost| now.since(lost.noticed_at) < LOSS_SHOWN);
        let lost = lost.map(ToString::to_string);
        let failing = self.sight.failing.borrow().words();
        let damaged = store.is_journal_damaged().then(|| DAMAGED_JOURNAL.to_owned());
        let removed = store.paths().lost().map(|error| error.to_string());
        let is_removed = removed.is_some();
        let all = [removed, store.disk_space().warning(), clock, damaged, lost, failing];
        let all: Vec<String> = all.into_iter().flatten().collect();
        let error = Some(all.join("; ")).filter(|all| !all.is_empty());
        let state = match error {
            _ if is_removed => PartState::Down,
            Some(_) => PartState::Degraded,
            None => PartState::Ok,
        };
        Part { name: "store".into(), state, since: self.started_at, error, note: None }
    }

    fn source(&self) -> Part {
        let (name, off) = ("source".into(), PartState::Off);
        let Some(source) = &self.source else {
            return Part { name, state: off, since: self.started_at, error: None, note: None };
        };
        if self.is_standby() {
            let note = Some(NOT_POLLING.into());
            return Part { name, state: off, since: self.now(), error: None, note };
        }
        let status = source.borrow();
        let state = status.state;
        let error =
            status.report.last_error.as_ref().map(|last| format!("{} ({})", last.message, last.at));
        // Events arrive, but fewer than with all tokens.
        let app = self.sight.readings.app.as_ref().and_then(|app| app.borrow().words());
        let (state, error) = match app {
            Some(words) if state != PartState::Down => (PartState::Degraded, Some(words)),
            _ => (state, error),
        };
        // All events arrive, but without their missing fields.
        let (state, error) = match *self.enrichment.borrow() {
            Some(words) if state == PartState::Ok => (PartState::Degraded, Some(words.to_owned())),
            _ => (state, error),
        };
        Part { name, state, since: status.report.since, error, note: None }
    }

    /// A failure of an embedded bus stops the process, so it is well while that answers.
    fn bus(&self) -> Part {
        let bus = self.joined("bus", self.bus.as_ref().map(BrokerState::look), PartState::Ok);
        Part { note: self.is_standby().then(|| ON_STANDBY.into()), ..bus }
    }

    fn is_standby(&self) -> bool {
        self.bus.as_ref().is_some_and(BrokerState::is_standby)
    }

    /// A part that needs a broker; `without` is its state where none is configured.
    fn joined(&self, name: &'static str, looked: Option<BrokerLook>, without: PartState) -> Part {
        let (state, since, error) = looked.unwrap_or((without, self.started_at, None));
        Part { name: name.into(), state, since, error, note: None }
    }

    fn scripts(&self) -> Part {
        let status = self.scripts.merge.status();
        let merge = status.diagnostic().map(ToString::to_string);
        let others = self.scripts.troubles.borrow();
        let all: Vec<String> =
            merge.into_iter().chain(others.iter().map(ToString::to_string)).collect();
        let error = Some(all.join("; ")).filter(|all| !all.is_empty());
        // A script reports since when it is in use; an error counts from when it was first seen.
        let (state, since) = match error {
            Some(_) => (PartState::Degraded, self.started_at),
            None => (PartState::Ok, status.since),
        };
        Part { name: "scripts".into(), state, since, error, note: None }
    }

    /// Files that were replaced by unusable ones; `None` while there are none.
    fn files(&self) -> Option<Part> {
        let found = self.sight.readings.files.borrow();
        let since = found.iter().map(|file| file.since).min()?;
        let words: Vec<&str> = found.iter().map(|file| &*file.words).collect();
        let error = Some(words.join("; "));
        Some(Part { name: "files".into(), state: PartState::Degraded, since, error, note: None })
    }

    /// Files of lists that cannot be used; `None` while there are none.
    fn list_files(&self) -> Option<Part> {
        let error = Some(self.sight.apply.hub.lists.trouble()?);
        let (state, since) = (PartState::Degraded, self.now());
        Some(Part { name: "lists".into(), state, since, error, note: None })
    }
}

impl Operate for Operator {
    fn parts(&self) -> Vec<Part> {
        // Held from the first look on: of two looks at once, the later one is dated later.
        let mut dates = lock(&self.dates);
        let parts = [
            self.store(),
            self.source(),
            self.bus(),
            self.sight.apply.history.health(),
            self.joined("amqp", self.fed.as_ref().map(RabbitState::look), PartState::Off),
            self.scripts(),
        ];
        let parts = parts.into_iter().chain(self.files()).chain(self.list_files()).collect();
        dates.date(parts, self.now())
    }

    fn sync(&self) -> BoxFuture<'static, SyncAnswer> {
        let history = self.sight.apply.history.clone();
        Box::pin(async move {
            let synced = history.sync_now().await;
            SyncAnswer {
                synced: synced.is_complete(),
                failed: synced.tried && synced.error.is_some(),
                message: synced.to_string(),
            }
        })
    }

    fn simulated(&self) -> bool {
        // An edge, and a collector on standby, have only the word of the events themselves.
        self.sight.apply.hub.is_simulated()
            || self.source.as_ref().is_some_and(|source| source.borrow().simulated)
    }

    fn status(&self, clients: usize) -> Status {
        // On standby its figures are of the past.
        let source = self.source.as_ref().filter(|_| !self.is_standby());
        let source = source.map(|source| source.borrow().clone());
        let report = self.sight.report(self.parts(), source.as_ref(), clients);
        Status { simulated: self.simulated(), ..report }
    }

    fn lists(&self) -> Vec<ListReport> {
        self.sight.lists()
    }

    fn script(&self) -> ScriptState {
        let status = self.scripts.merge.status();
        let name = match status.in_force {
            InForce::File => status.file.to_string(),
            InForce::BuiltIn => "the built-in merge_latest.rhai".to_owned(),
            InForce::LastGood => format!("{} (the last good one)", status.file),
            InForce::NativeSum | InForce::Nothing => "the native sum".to_owned(),
        };
        let error = status.diagnostic().map(ToString::to_string);
        let current = matches!(status.in_force, InForce::File | InForce::BuiltIn);
        ScriptState { name, current, error }
    }

    fn merge_script(&self) -> Option<ScriptReport> {
        Some(self.scripts.merge.report())
    }

    fn chart(&self, span: ChartSpan) -> StoreReading<Chart> {
        let (now, since) = (self.now(), self.started_at);
        self.counts(move |reader| match span {
            ChartSpan::Recent => charts::recent(reader, now, since),
            ChartSpan::Day => charts::day(reader, now, since),
        })
    }

    fn completeness(&self, hours: Range<i64>) -> StoreReading<CompletenessByHour> {
        self.counts(|reader| {
            let shares = reader.audit_shares(hours.clone())?;
            Ok((charts::completeness(reader, hours)?, shares))
        })
    }

    fn counted_hours(&self, hours: Range<i64>) -> StoreReading<Vec<CountedHour>> {
        self.counts(|reader| charts::counted_hours(reader, hours))
    }

    fn imported_hours(&self, hours: Range<i64>) -> StoreReading<Vec<Hour>> {
        self.counts(|reader| reader.imported_hours(hours))
    }

    fn languages(&self) -> StoreReading<LanguageCounts> {
        let (numbers, now) = (Arc::clone(&self.sight.apply.numbers), self.now());
        self.counts(move |reader| kept::languages(reader, &numbers, now))
    }

    fn repo(&self, name: String, days: Range<i32>) -> StoreReading<Option<RepoSeries>> {
        let StatusSources { rankings, readings, .. } = &self.sight;
        let days = (days, self.now().day());
        ledger::repo(&self.sight.apply.store, rankings.clone(), readings.audit.as_ref(), name, days)
    }

    fn top(&self, query: TopQuery) -> StoreReading<Option<TopRepos>> {
        let StatusSources { rankings, readings, .. } = &self.sight;
        ledger::top(&self.sight.apply.store, rankings, readings.audit.as_ref(), query)
    }

    fn window(&self) -> Option<serde_json::Value> {
        let window = self.sight.apply.numbers.window(self.now().second());
        serde_json::to_value(LiveWindow::of(&window)).ok()
    }

    fn archive(&self, request: ArchiveRequest) -> BoxFuture<'static, OpsAnswer> {
        let Apply { store, numbers, .. } = self.sight.apply.clone();
        let (hashes_emails, now) = (self.sight.hashes_emails, self.now());
        Box::pin(async move {
            match request {
                ArchiveRequest::Import { from, file } => {
                    let (file, _lock) = exchange::file_in(store.dir(), &from, &file)?;
                    let imported = archive::import(&store, &file, now, |_| ()).await?;
                    // Readers are notified at the next tick.
                    if let Some(day) = imported.day {
                        numbers.touch(Day(day));
                    }
                    copies::written(&imported)
                }
                ArchiveRequest::Export { from, until, into } => {
                    let export = move || {
                        let (dir, _lock) = exchange::make(store.dir(), &into)?;
                        let to = archive::ArchiveTarget {
                            dir,
                            format: HourFormat::Json,
                            hashes_emails,
                            lists: ListSet::default(),
                        };
                        Ok::<_, OpsError>(archive::export(&store, Hour(from), Hour(until), &to)?)
                    };
                    copies::written(&blocking(export).await??)
                }
            }
        })
    }

    fn store(&self, request: StoreRequest) -> BoxFuture<'static, OpsAnswer> {
        Box::pin(copies::answer(self.sight.apply.clone(), request))
    }
}
