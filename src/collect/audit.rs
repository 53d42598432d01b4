//! The audit: measures against GitHub's own totals how much of what happened was seen.
//!
//! Ids cannot tell what GitHub never shows. Totals can: a random sample of the repositories of
//! which anything was ever received is looked at regularly, and what its stars, forks, releases,
//! pull requests and issues grew by between two looks is compared with the events received of that
//! time. Without any request, holes in the numbers of issues and pull requests say the same of
//! opened ones. Repositories that people look at are asked for as well, and enter no share. The
//! method and its limits are on the page of this module's `README.md`.
//!
//! Events are read from the journal, and the state is written with the position up to which it
//! counts, so a crash neither loses nor doubles a count; looks since the last write are lost, which
//! makes their intervals longer and nothing wrong.

mod conflict;
mod interval;
mod number_gaps;
mod panel;
mod sighting;
mod state;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::panel::{AuditTimes, DueRepo};
use self::state::AuditState;
use crate::clock::Clock;
use crate::config::AuditConfig;
use crate::github::graphql::{CountsLookup, GraphQl, MOST_REPOSITORIES, QueryOutcome};
use crate::github::limits::AUDIT_POINTS;
use crate::github::tokens::{TokenGrant, TokenPool};
use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::audit::{AuditReport, AuditedKind};
use crate::model::position::BusTag;
use crate::model::window::Timestamp;
use crate::store::{Reader, Store, StoreError, audit};

/// Interval between two reads of the journal.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Interval between two reports, at most.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Interval between two writes of the state, at most.
const WRITE_EVERY: Duration = Duration::from_secs(300);
/// How long nothing is asked after a query failed.
const PAUSE: Duration = Duration::from_secs(60);
/// Late events are waited for during this many looks at most, so that a look is kept for each.
const MOST_WAITS: u32 = 24;

/// Lines about queries that become smaller: GitHub may answer each one so.
static SHRUNK: LineLimit = LineLimit::per_minute(10);

/// After this many queries for the sample, one is for watched repositories that are due.
const SAMPLED_FIRST: u32 = 4;

/// Reads which repositories are watched besides the sample: ids and names, the most important
/// first. It is called before each report, and may block.
pub type WatchedNames =
    Arc<dyn Fn(Reader<'_>) -> Result<Vec<(u64, String)>, StoreError> + Send + Sync>;

/// Where the latest report is read; there is none before the first one.
pub type AuditReading = watch::Receiver<Option<Arc<AuditReport>>>;

/// The stage.
pub struct Audit {
    store: Store,
    tag: BusTag,
    graphql: Arc<GraphQl>,
    pool: Arc<TokenPool>,
    times: AuditTimes,
    size: usize,
    watched: WatchedNames,
    report: watch::Sender<Option<Arc<AuditReport>>>,
    clock: Clock,
}

/// A query that has ended.
struct EndedQuery {
    /// Whether it was for watched repositories, not for the sample.
    is_watched: bool,
    wanted: Vec<DueRepo>,
    /// The middle of the time that it took.
    at: Timestamp,
    outcome: QueryOutcome<CountsLookup>,
    cost: Option<u64>,
}

/// What the stage does next, and when.
struct AuditPlan {
    in_flight: JoinSet<EndedQuery>,
    ask_at: Instant,
    report_at: Instant,
    write_at: Instant,
    /// Repositories in a query: halved after one that was too heavy.
    batch: usize,
    /// Queries for the sample since the last one for watched repositories.
    sampled: u32,
}

impl Audit {
    /// An audit at the URL of the GraphQL API, with the tokens of `pool`, of the journal of `tag`.
    /// Sends nothing yet.
    ///
    /// # Errors
    /// When the URL is invalid or TLS cannot be set up.
    pub fn new(
        (url, options): (&str, &AuditConfig),
        (store, tag): (Store, BusTag),
        pool: Arc<TokenPool>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let graphql = GraphQl::new(url, clock).context("github.graphqlUrl")?;
        pool.set_shares(|shares| shares.audits = options.budget);
        let wait = options.wait.min(options.every * MOST_WAITS);
        Ok(Self {
            store,
            tag,
            graphql: Arc::new(graphql),
            pool,
            times: AuditTimes { every: options.every, wait },
            size: options.repositories,
            watched: Arc::new(|_| Ok(Vec::new())),
            report: watch::Sender::new(None),
            clock,
        })
    }

    /// The same, watching these repositories besides the sample.
    #[must_use]
    pub fn watching(self, watched: WatchedNames) -> Self {
        Self { watched, ..self }
    }

    /// The latest report; `None` before the first one.
    #[must_use]
    pub fn report(&self) -> AuditReading {
        self.report.subscribe()
    }

    /// Audits until `stop` is cancelled.
    ///
    /// # Errors
    /// Only when the store cannot be read or written.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (tag, now) = (self.tag, self.clock.now());
        let mut state = self.store.read(move |reader| AuditState::load(reader, tag, now)).await?;
        let start = self.clock.instant();
        let mut plan = AuditPlan {
            in_flight: JoinSet::new(),
            ask_at: start,
            report_at: start,
            write_at: start + self.every(WRITE_EVERY),
            batch: MOST_REPOSITORIES,
            sampled: 0,
        };
        let interval = self.every(READ_EVERY);
        let mut is_behind = false;
        loop {
            let pause = if is_behind { Duration::ZERO } else { interval };
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = plan.in_flight.join_next() => {
                    self.take(&mut state, &mut plan, ended?);
                }
                () = self.clock.sleep(pause) => {}
            }
            let (times, size) = (self.times, self.size);
            let caught = self.store.read(move |reader| state.catch_up(reader, tag, times, size));
            (state, is_behind) = caught.await?;
            if is_behind {
                continue;
            }
            self.ask(&mut state, &mut plan);
            let now = self.clock.instant();
            if now >= plan.report_at {
                plan.report_at = now + self.every(REPORT_EVERY);
                state = self.publish(state).await?;
            }
            if now >= plan.write_at {
                plan.write_at = now + self.every(WRITE_EVERY);
                state = self.write(state).await?;
            }
        }
        self.write(state).await?;
        Ok(())
    }

    /// An interval of this length, shorter where looks follow each other quickly.
    fn every(&self, usual: Duration) -> Duration {
        usual.min(self.times.every / 10).max(Duration::from_millis(50))
    }

    /// Asks for the totals of the repositories that are due, one query at a time.
    fn ask(&self, state: &mut AuditState, plan: &mut AuditPlan) {
        let now = self.clock.instant();
        if !plan.in_flight.is_empty() || now < plan.ask_at {
            return;
        }
        let (at, every) = (self.clock.now(), self.times.every);
        let is_sample_due = state.panel.has_due(at, every);
        let is_watched =
            (!is_sample_due || plan.sampled >= SAMPLED_FIRST) && state.watched.has_due(at, every);
        if !is_sample_due && !is_watched {
            return;
        }
        let lease = match self.pool.grant_audit() {
            Some(TokenGrant::Go(lease)) => lease,
            Some(TokenGrant::Wait(until)) => {
                plan.ask_at = until;
                return;
            }
            None => {
                plan.ask_at = now + PAUSE;
                return;
            }
        };
        let wanted = state.sample(is_watched).due(at, every, plan.batch);
        plan.sampled = if is_watched { 0 } else { plan.sampled.saturating_add(1) };
        let (graphql, clock) = (Arc::clone(&self.graphql), self.clock);
        plan.in_flight.spawn(async move {
            let names: Vec<String> = wanted.iter().map(|repo| repo.name.clone()).collect();
            let begin = clock.now();
            let (outcome, cost) = graphql.ask_totals(&names, lease).await;
            let at = begin.plus(clock.now().since(begin) / 2);
            EndedQuery { is_watched, wanted, at, outcome, cost }
        });
    }

    /// Takes what GitHub states.
    fn take(&self, state: &mut AuditState, plan: &mut AuditPlan, ended: EndedQuery) {
        let EndedQuery { is_watched, wanted, at, outcome, cost } = ended;
        let now = self.clock.instant();
        let is_charged = !matches!(outcome, QueryOutcome::Limited { .. } | QueryOutcome::Failed(_));
        if is_charged {
            let points = cost.unwrap_or(AUDIT_POINTS);
            state.spent(self.clock.now(), points);
            metrics::AUDIT_POINTS.add(points);
        }
        let sample = state.sample(is_watched);
        match outcome {
            QueryOutcome::Answered(found) => {
                plan.batch = (plan.batch + 1).min(MOST_REPOSITORIES);
                for (repo, found) in wanted.iter().zip(&found) {
                    sample.answered(repo, at, found);
                }
                return;
            }
            QueryOutcome::TooHeavy { why, .. } => {
                plan.batch = (wanted.len() / 2).max(1);
                SHRUNK.log(|left_out| {
                    let to = plan.batch;
                    tracing::info!(to, why, left_out, "asking for fewer repositories at once");
                });
            }
            QueryOutcome::Failed(error) => {
                tracing::warn!(%error, "totals of repositories cannot be asked for; trying again");
                plan.ask_at = now + self.every(PAUSE);
            }
            QueryOutcome::Limited { .. } | QueryOutcome::TokenDead { .. } => {}
        }
        for repo in &wanted {
            sample.unanswered(repo.hash);
        }
    }

    /// Closes intervals, and publishes what is known.
    async fn publish(&self, mut state: AuditState) -> anyhow::Result<AuditState> {
        let (times, size, now) = (self.times, self.size, self.clock.now());
        let watched = Arc::clone(&self.watched);
        let excluded = self.store.privacy().excluded();
        if !excluded.is_empty() {
            state.leave_out(|name| excluded.hold(None, None, Some(name)));
        }
        let made = self.store.read(move |reader| {
            state.watched.choose(watched(reader)?, &state.panel, now);
            let report = state.report(reader, now, times, size)?;
            Ok((state, report))
        });
        let (state, report) = made.await?;
        publish(&report);
        let (shares, hour) = (report.all_shares(), now.hour());
        let is_known = shares.values().any(Option::is_some);
        self.report.send_replace(Some(Arc::new(report)));
        if is_known {
            let put = self.store.commit(move |batch| audit::put_shares(batch, hour, &shares));
            put.await?;
        }
        Ok(state)
    }

    /// Writes the state.
    async fn write(&self, state: AuditState) -> anyhow::Result<AuditState> {
        let written = self.store.commit(move |batch| {
            audit::put_state(batch, &state.encode());
            Ok(state)
        });
        Ok(written.await?)
    }
}

/// Sets the metrics.
fn publish(report: &AuditReport) {
    for kind in AuditedKind::ALL {
        let [low, estimate, high] = report.share(kind).unwrap_or([f64::NAN; 3]);
        metrics::AUDIT_SEEN_LOW.set_for(kind.name(), low);
        metrics::AUDIT_SEEN.set_for(kind.name(), estimate);
        metrics::AUDIT_SEEN_HIGH.set_for(kind.name(), high);
    }
    metrics::AUDIT_CONFLICT.set(f64::from(u8::from(report.conflict.is_some())));
    #[expect(clippy::cast_precision_loss, reason = "a sample is small")]
    metrics::AUDIT_REPOSITORIES.set(report.panel.repositories as f64);
}
