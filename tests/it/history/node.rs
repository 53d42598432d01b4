//! A node reduced to the history: a store, the figures, and the stage that queries the database.

use std::path::Path;
use std::time::Duration;

use ghpulse::alerts::Alerts;
use ghpulse::clock::Clock;
use ghpulse::config::{IntervalConfig, TidbConfig};
use ghpulse::model::activity::{Coverage, Span};
use ghpulse::model::counts::{DayCounts, PullRequestCounts};
use ghpulse::model::envelope::{Facts, Flags};
use ghpulse::model::ledger::{FilledDays, LedgerMetric};
use ghpulse::model::part::Part;
use ghpulse::model::window::{Day, Timestamp, Year};
use ghpulse::store::keys::RepoKey;
use ghpulse::store::ledger::counting::{LedgerCounting, LedgerEvent};
use ghpulse::store::repos::RepoRow;
use ghpulse::store::{Durability, Store, activity};
use ghpulse::tidb::{History, QueryLimits, Setup, Synced};
use tokio_util::sync::CancellationToken;

use crate::common::running::soon;

/// Limits for healthy servers: only a failure takes this long.
pub const PATIENT: QueryLimits =
    QueryLimits { connect: Duration::from_secs(30), query: Duration::from_secs(30) };
/// Limits for faulty servers.
pub const HASTY: QueryLimits =
    QueryLimits { connect: Duration::from_secs(2), query: Duration::from_millis(1500) };

/// A node.
pub struct Node {
    store: Store,
    pub history: History,
    stop: CancellationToken,
    stage: tokio::task::JoinHandle<anyhow::Result<()>>,
}

/// An event of a pull request, as in the peer's table and on the bus.
#[derive(Debug, Clone, Copy)]
pub struct Pull {
    pub id: i64,
    pub actor: i64,
    pub repo: i64,
    /// `opened`, `closed` or `merged`.
    pub action: &'static str,
    pub lines: u64,
    pub created: &'static str,
    pub received: &'static str,
}

impl Pull {
    /// The row that another writer inserted into the database.
    pub fn row(&self) -> String {
        let (action, merged) = match self.action {
            "merged" => ("closed", true),
            other => (other, false),
        };
        let Self { id, actor, repo, lines, .. } = self;
        let (day, year) = (&self.created[..10], &self.created[..4]);
        format!(
            "INSERT INTO gharchive.github_events (id, type, repo_id, actor_id, additions, deletions, \
             action, pr_merged, pr_or_issue_id, event_day, event_year) VALUES ({id}, \
             'PullRequestEvent', {repo}, {actor}, {lines}, {lines}, '{action}', {merged}, {id}, \
             '{day}', {year});"
        )
    }

    fn facts(&self) -> (Facts, Timestamp) {
        let flags = Flags {
            pr: true,
            open: self.action == "opened",
            merge: self.action == "merged",
            close: self.action == "closed",
            dev_day: true,
            dev_year: true,
            repo_year: true,
        };
        let facts = Facts {
            received_at: at(self.received),
            flags,
            additions: Some(self.lines),
            deletions: Some(self.lines),
            ..Facts::default()
        };
        (facts, at(self.created))
    }
}

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

impl Node {
    /// A node whose clock starts at `now`; it queries only when a test calls `sync`.
    pub fn start(dir: &Path, tidb: TidbConfig, now: &str, limits: QueryLimits) -> Self {
        let clock = Clock::starting_at(at(now));
        let store = Store::open(dir, Durability::Every(Duration::from_millis(100)), clock).unwrap();
        let hour = Duration::from_secs(3600);
        let interval = IntervalConfig {
            daily: hour,
            day_count: hour,
            year_count: hour,
            retry: 3,
            retry_wait: Duration::from_millis(50),
            latest: Duration::from_secs(1),
            latest_during: 3600,
        };
        let setup = Setup { tidb: Some((tidb, limits)), interval, on_request: true };
        let (history, asking) = History::load(&store, setup, Alerts::off(), clock).unwrap();
        let stop = CancellationToken::new();
        let stage = tokio::spawn(asking.run(stop.clone()));
        Self { store, history, stop, stage }
    }

    /// Stops the node and closes its store.
    pub async fn end(self) {
        self.stop.cancel();
        soon("the stage stops", self.stage).await.unwrap().unwrap();
    }

    /// Applies events in one batch, as the apply stage does.
    pub async fn apply(&self, pulls: &[Pull]) {
        let history = self.history.clone();
        let events: Vec<_> = pulls.iter().map(Pull::facts).collect();
        let commit = self.store.commit(move |batch| {
            history.count(batch, events.iter().map(|(facts, at)| (facts, *at)));
            Ok(())
        });
        commit.await.unwrap();
    }

    /// Counts a star in the ledger, as the apply stage of a running node does.
    pub async fn count_star(&self, repo: u64, created: &str) {
        let created_at = at(created);
        let commit = self.store.commit(move |batch| {
            let mut counting = LedgerCounting::default();
            let (metric, name, language) = (LedgerMetric::Stars, None, None);
            let received_at = created_at;
            counting.count(
                batch,
                LedgerEvent { repo, name, created_at, received_at, metric, language },
            );
            let minute = Coverage { watched: 1, ..Coverage::default() };
            activity::put_coverage(batch, Span::Hour, created_at.hour().0, &minute);
            counting.write(batch)
        });
        commit.await.unwrap();
    }

    /// The stars of a repository by day, as the ledger has them.
    pub fn stars(&self, repo: u64) -> Vec<(String, u64)> {
        let days = Day::parse("2025-01-01").unwrap().0..Day::parse("2027-01-01").unwrap().0;
        let days = self.store.reader().ledger_of(repo, days).unwrap().into_iter();
        days.map(|(day, counts)| (day.to_string(), counts.get(LedgerMetric::Stars))).collect()
    }

    /// What was filled of the ledger's past.
    pub fn filled(&self) -> FilledDays {
        self.store.reader().filled_days().unwrap().unwrap()
    }

    pub async fn sync(&self) -> Synced {
        soon("the sync is done", self.history.sync_now()).await
    }

    /// Syncs; the sync must succeed.
    pub async fn synced(&self) {
        let synced = self.sync().await;
        assert!(synced.tried && synced.error.is_none(), "{synced}");
    }

    /// Syncs; the sync must fail. Returns the reason.
    pub async fn failed(&self) -> String {
        let synced = self.sync().await;
        let error = synced.error.unwrap_or_else(|| panic!("it succeeded"));
        assert!(!error.contains(super::database::PASSWORD), "{error}");
        error
    }

    /// The figures shown for a year, given what was counted here.
    pub fn shown(&self, ours: PullRequestCounts) -> PullRequestCounts {
        self.history.merge(Some(ours)).unwrap()
    }

    /// The figures shown for a year in which nothing was counted here.
    pub fn shown_alone(&self, year: i32) -> PullRequestCounts {
        self.shown(PullRequestCounts::of(Year(year)))
    }

    /// The known language of a repository, and its time.
    pub fn language(&self, repo: u64) -> Option<(String, Timestamp)> {
        let value = self.store.reader().get(&RepoKey(repo)).unwrap()?;
        let row = RepoRow::decode(&RepoKey(repo), &value).unwrap();
        Some((row.language.unwrap_or_default(), row.as_of))
    }

    pub fn health(&self) -> Part {
        self.history.health()
    }
}

/// The days shown: opened, merged, closed, developers.
pub fn days(counts: &PullRequestCounts) -> Vec<(String, [i64; 4])> {
    let figures = |day: DayCounts| [day.open, day.merge, day.close, day.developers];
    counts.filled_days().map(|(day, counts)| (day.to_string(), figures(counts))).collect()
}

/// The sums shown: additions, deletions, developers, repositories.
pub fn sums(counts: &PullRequestCounts) -> [i64; 4] {
    let sums = counts.sums;
    [sums.additions, sums.deletions, sums.developers, sums.repositories]
}

/// Counts of a year with one day counted here.
pub fn counted(year: i32, day: &str, opened: i64) -> PullRequestCounts {
    let mut counts = PullRequestCounts::of(Year(year));
    let figures = DayCounts { open: opened, ..DayCounts::default() };
    counts.days.insert(Day::parse(day).unwrap(), figures);
    counts
}
