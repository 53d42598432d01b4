//! The history from before the first start: queried from TiDB on an interval, stored, and merged
//! with our own figures.
//!
//! Guarantees: TiDB's figures survive restarts and are shown until it returns others; a figure is
//! never counted twice and may fall at a sync; when TiDB is unavailable, slow or wrong, only fresh
//! figures are missing. One task queries, so there is never more than one connection. A sync
//! requested while one runs starts after it, because the running one may have read the database
//! before the requester's change. The two queries have separate intervals, so each has its own
//! start and its own figures, and a failure of one does not affect the other. Whenever the daily
//! figures are queried, two more queries read languages of repositories, and days of the past for
//! the ledger.

mod answer;
mod error;
mod figures;
mod languages;
mod mysql;
mod query;
mod repo_days;
mod round;
mod schedule;
mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use answer::MalformedAnswer;
pub use error::HistoryError;
pub use query::{FigureQuery, SqlText};
pub use round::Synced;
pub use server::QueryLimits;

use self::figures::HistoryFigures;
use self::round::SyncRound;
use self::schedule::QuerySchedule;
use self::server::{TidbServer, TidbSession};
use crate::alerts::{AlertCondition, Alerts};
use crate::clock::Clock;
use crate::clock::witness::{ClockVerdict, LOOK, Witness};
use crate::config::{IntervalConfig, TidbConfig};
use crate::metrics;
use crate::model::counts::PullRequestCounts;
use crate::model::envelope::Facts;
use crate::model::part::{Part, PartState};
use crate::model::window::{Day, Timestamp};
use crate::store::{Batch, Store, StoreError};
use crate::sync::lock;

/// The most requests that wait for one sync; further ones are rejected.
const MOST_WAITING: usize = 64;

/// How long a sync waits for a first witness of the clock, with the connection open.
const FOR_A_WITNESS: Duration = Duration::from_secs(20);

/// How the history is queried.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The server, the queries and their time limits; `None` without a server.
    pub tidb: Option<(TidbConfig, QueryLimits)>,
    /// Intervals and retries.
    pub interval: IntervalConfig,
    /// Whether only [`History::sync_now`] starts a sync (`disable.interval`).
    pub on_request: bool,
}

/// Handle to the history, for counting, showing and refreshing it. Clones share the state.
#[derive(Debug, Clone)]
pub struct History(Arc<HistoryParts>);

#[derive(Debug)]
struct HistoryParts {
    figures: HistoryFigures,
    health: Mutex<Part>,
    requests: mpsc::Sender<oneshot::Sender<Synced>>,
    is_configured: bool,
}

/// The stage that queries TiDB.
pub struct HistorySync {
    history: History,
    store: Store,
    server: Option<TidbServer>,
    setup: Setup,
    alerts: Alerts,
    clock: Clock,
    witness: Option<Arc<Witness>>,
    requests: mpsc::Receiver<oneshot::Sender<Synced>>,
}

impl History {
    /// Reads the stored figures and creates the stage that refreshes them. Blocks.
    pub fn load(
        store: &Store,
        setup: Setup,
        alerts: Alerts,
        clock: Clock,
    ) -> Result<(Self, HistorySync), StoreError> {
        let figures = HistoryFigures::load(store)?;
        let server = setup.tidb.clone().map(|(tidb, limits)| TidbServer::new(tidb, limits));
        let state = match (&server, figures.has_base()) {
            (None, _) => PartState::Off,
            (Some(_), _) if setup.on_request => PartState::Off,
            (Some(_), true) => PartState::Ok,
            (Some(_), false) => PartState::Degraded,
        };
        let (sender, requests) = mpsc::channel(MOST_WAITING);
        let history = Self(Arc::new(HistoryParts {
            figures,
            health: Mutex::new(part(state, clock.now(), None)),
            requests: sender,
            is_configured: server.is_some(),
        }));
        let store = store.clone();
        let asking = HistorySync {
            history: history.clone(),
            store,
            server,
            setup,
            alerts,
            clock,
            witness: None,
            requests,
        };
        Ok((history, asking))
    }

    /// Counts events that are committed with this batch, each with the time it happened.
    pub fn count<'a>(
        &self,
        batch: &mut Batch<'_>,
        events: impl Iterator<Item = (&'a Facts, Timestamp)>,
    ) {
        self.0.figures.count(batch, events);
    }

    /// Merges our own figures with the history's; `None` when the result is unchanged. `ours` is
    /// `None` when our figures are unchanged since the last call.
    #[must_use]
    pub fn merge(&self, ours: Option<PullRequestCounts>) -> Option<PullRequestCounts> {
        self.0.figures.merge(ours)
    }

    /// Runs all queries now and returns the result. Requests that arrive before a sync starts share
    /// it; those that arrive while it runs share the next one.
    pub async fn sync_now(&self) -> Synced {
        if !self.0.is_configured {
            return Synced::refused("TiDB is not configured: set `tidb.host` and `tidb.db`");
        }
        let (sender, answer) = oneshot::channel();
        match self.0.requests.try_send(sender) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Synced::refused("too many requests wait for the sync: try again later");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Synced::refused(STOPPED),
        }
        answer.await.unwrap_or_else(|_| Synced::refused(STOPPED))
    }

    /// The current health: `Degraded` when figures exist and the last sync failed, or none exist
    /// and no sync has run yet; `Down` when none exist and the last sync failed.
    #[must_use]
    pub fn health(&self) -> Part {
        lock(&self.0.health).clone()
    }

    fn set_health(&self, error: Option<&str>, now: Timestamp) {
        let state = match (error, self.0.figures.has_base()) {
            (None, _) => PartState::Ok,
            (Some(_), true) => PartState::Degraded,
            (Some(_), false) => PartState::Down,
        };
        let mut health = lock(&self.0.health);
        let since = if health.state == state { health.since } else { now };
        *health = part(state, since, error.map(str::to_owned));
    }
}

fn part(state: PartState, since: Timestamp, error: Option<String>) -> Part {
    Part { name: "tidb".into(), state, since, error, note: None }
}

/// The answer to requests after the stage has ended.
const STOPPED: &str = "this node is stopping";

impl HistorySync {
    /// The same, filling days of the past only by a clock that this witness does not contradict.
    #[must_use]
    pub fn witnessed_by(self, witness: Arc<Witness>) -> Self {
        Self { witness: Some(witness), ..self }
    }

    /// Queries on the interval and on request, until `stop` is cancelled.
    ///
    /// # Errors
    /// Only when our own store fails.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let Some(server) = self.server.take() else {
            stop.cancelled().await;
            return Ok(());
        };
        let first = (!self.setup.on_request).then(|| self.clock.instant());
        let mut schedule = QuerySchedule::starting(first);
        loop {
            let mut waiting = Vec::new();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.clock.sleep_until(schedule.next()) => {}
                Some(asker) = self.requests.recv() => waiting.push(asker),
            }
            // All requests that arrived before it starts share this sync. Later ones may follow a
            // change that it has not read, and get the next sync.
            while let Ok(asker) = self.requests.try_recv() {
                waiting.push(asker);
            }
            let asked = if waiting.is_empty() {
                schedule.due(self.clock.instant())
            } else {
                FigureQuery::ALL.to_vec()
            };
            if asked.is_empty() {
                continue;
            }
            let began = self.clock.instant();
            let round = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                round = self.ask(&server, &asked) => round?,
            };
            let now = self.clock.instant();
            let synced = self.report(&server, &round, now - began);
            if self.setup.on_request {
                schedule = QuerySchedule::starting(None);
            } else {
                // Languages are queried together with the daily figures.
                let languages = !server.knows_languages() || round.languages.is_some();
                let failed = |query| {
                    let wrote = round.figures[query as usize].is_some();
                    round.is_transient() && !(wrote && (languages || query != FigureQuery::Daily))
                };
                schedule.advance(&asked, failed, &self.setup.interval, now);
            }
            for asker in waiting {
                // The requester may be gone.
                let _ = asker.send(synced.clone());
            }
        }
    }

    /// Runs each query once and keeps the first of several errors. A query that loses the
    /// connection costs no other query: the next one gets a new connection. Only a failure to
    /// connect or to log in ends the round. Returns an error only of our own store.
    async fn ask(
        &self,
        server: &TidbServer,
        asked: &[FigureQuery],
    ) -> Result<SyncRound, StoreError> {
        let mut round = SyncRound::default();
        let mut session = None;
        for text in server.texts(asked) {
            let mut open = match session.take() {
                Some(open) => open,
                None => match server.open(self.clock.now()).await {
                    Ok(open) => open,
                    Err(error) => {
                        round.error.get_or_insert(error);
                        return Ok(round);
                    }
                },
            };
            let error = match self.fetch(&mut open, text, &mut round).await {
                Ok(()) => None,
                Err(HistoryError::Store(error)) => return Err(error),
                Err(error) => Some(error),
            };
            if error.as_ref().is_none_or(HistoryError::leaves_connection) {
                session = Some(open);
            } else {
                open.close().await;
            }
            if let Some(error) = error {
                round.error.get_or_insert(error);
            }
        }
        if let Some(session) = session {
            session.close().await;
        }
        Ok(round)
    }

    /// Runs one query, writes its result, and records the number of figures in `round`.
    async fn fetch(
        &self,
        session: &mut TidbSession<'_>,
        text: SqlText,
        round: &mut SyncRound,
    ) -> Result<(), HistoryError> {
        match text {
            SqlText::Figures(query) => {
                round.figures[query as usize] = Some(self.fetch_figures(session, query).await?);
            }
            SqlText::Languages => {
                let taken = languages::fetch(session, &self.store, self.clock.now()).await?;
                round.languages = Some(taken);
            }
            SqlText::RepoDays => {
                let Some(today) = self.today().await else {
                    tracing::info!("the clock is not confirmed: the next sync fills past days");
                    return Ok(());
                };
                let time = (self.clock, today);
                round.repo_days = Some(repo_days::fetch(session, &self.store, time).await?);
            }
        }
        Ok(())
    }

    /// The current day by a clock that is not contradicted; waits a little for a first witness. A
    /// clock that is ahead would fill a day that is not over.
    async fn today(&self) -> Option<Day> {
        let Some(witness) = &self.witness else { return Some(self.clock.now().day()) };
        let began = self.clock.instant();
        loop {
            let now = witness.scheduled_now();
            let may_come = witness.judge() == ClockVerdict::Unconfirmed
                && self.clock.instant().duration_since(began) < FOR_A_WITNESS;
            if now.is_some() || !may_come {
                return now.map(Timestamp::day);
            }
            self.clock.sleep(LOOK).await;
        }
    }

    /// Runs one query and writes its result. Returns the number of figures.
    async fn fetch_figures(
        &self,
        session: &mut TidbSession<'_>,
        query: FigureQuery,
    ) -> Result<usize, HistoryError> {
        let figures = &self.history.0.figures;
        let now = self.clock.now();
        figures.begin(query, now);
        let answered = session.ask(query.into(), answer::MOST_ROWS).await.and_then(|table| {
            let read = answer::read(query, session.year, &table);
            read.map_err(|cause| HistoryError::MalformedAnswer { query: query.into(), cause })
        });
        let base = answered.inspect_err(|_| figures.give_up(query))?;
        let (history, wrote) = (self.history.clone(), base.len());
        self.store
            .commit(move |batch| {
                history.0.figures.replace(batch, query, &base);
                Ok(())
            })
            .await?;
        Ok(wrote)
    }

    /// Reports the result to the log, the metrics, the alerts and the requester.
    fn report(&self, server: &TidbServer, round: &SyncRound, took: Duration) -> Synced {
        let error = round.error.as_ref().map(ToString::to_string);
        if let Some(error) = &error {
            metrics::TIDB_SYNCS.add_for("failed", 1);
            tracing::warn!(%error, "TiDB sync failed");
            self.alerts.raise(AlertCondition::TidbFailing, error);
        } else {
            metrics::TIDB_SYNCS.add_for("ok", 1);
            self.alerts.clear(AlertCondition::TidbFailing);
        }
        self.history.set_health(error.as_deref(), self.clock.now());
        let synced = round.synced(took, error);
        if synced.error.is_none() {
            tracing::info!(at = server.at, took_ms = synced.took_ms, "{synced}");
        }
        synced
    }
}

/// Tests a server for `ghpulse check`: connects, logs in, and has the queries parsed without
/// running them. Returns a description of the server, or every error.
pub async fn check(
    tidb: &TidbConfig,
    limits: QueryLimits,
    clock: Clock,
) -> Result<String, Vec<HistoryError>> {
    let server = TidbServer::new(tidb.clone(), limits);
    let mut session = server.open(clock.now()).await.map_err(|error| vec![error])?;
    let mut wrong = Vec::new();
    for query in server.texts(&FigureQuery::ALL) {
        if let Err(error) = session.try_out(query).await {
            wrong.push(error);
        }
    }
    let version = session.version().await;
    session.close().await;
    match version {
        Err(error) if wrong.is_empty() => Err(vec![error]),
        Ok(version) if wrong.is_empty() => {
            let (db, user) = (&tidb.db, &tidb.user);
            let how = if tidb.tls { "with TLS" } else { "without TLS" };
            Ok(format!("{version} {how}, user `{user}`, database `{db}`: all queries are accepted"))
        }
        _ => Err(wrong),
    }
}
