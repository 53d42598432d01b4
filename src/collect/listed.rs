//! The second source: reads the feeds of single repositories, owners and people that are on lists
//! marked `complete: true`, to fill what the public feed leaves out.
//!
//! Each feed has a pace of its own (`feeds`): about ten new events per read, at least once in
//! `lists.within`. Requests have a share of each token's budget; one whose answer is unchanged is
//! free. Events are admitted as those of the public feed are, so an event is admitted once,
//! whichever feed showed it first. Nothing here counts as a read of the public feed: coverage and
//! outages are judged by that alone.
//!
//! Times are those of the clock's witness. By a wrong clock of the machine, new events would be
//! passed over as too old, or events admitted again whose claims have expired.
//!
//! What is known of a feed is kept in the store after its events were admitted. A crash in between
//! reads the same pages again, and admits nothing twice.

mod feeds;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::feeds::{ListedFeeds, Settled};
use self::read::{FeedReader, FinishedRead};
use super::entries::Entries;
use super::ingest::{self, IngestRules};
use super::poller::MOST_REQUESTS;
use super::relay::granted;
use super::source::{Poll, PolledPage, SourceError};
use crate::bus::ProducerGrant;
use crate::clock::Clock;
use crate::clock::witness::Witness;
use crate::config::{Config, ListsConfig};
use crate::github::limits::MOST_AT_ONCE;
use crate::github::rest::Rest;
use crate::github::tokens::{TokenGrant, TokenPool};
use crate::lists::{ListedName, LiveList};
use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::part::ListReport;
use crate::store::feeds::{FeedKey, ListCounts};
use crate::store::{Database, Store, StoreError};

/// Feeds that are read at the same time.
const MOST_READS: u32 = 6;
const _: () = assert!(MOST_REQUESTS + MOST_READS <= MOST_AT_ONCE / 2);
/// The most feeds; of more names the first are read.
pub const MOST_FEEDS: usize = 50_000;
/// The longest time that rows of feeds are kept in memory before they are written: after a crash,
/// reads of that time are repeated.
const FLUSH: Duration = Duration::from_secs(5);
/// The longest pause between two checks of what is due, and between two reports.
const LOOK: Duration = Duration::from_secs(2);
/// Lines about single feeds, of which there are up to [`MOST_FEEDS`].
static FEED_LINES: LineLimit = LineLimit::per_minute(10);

/// The stage.
pub struct ListedSource {
    reader: Arc<FeedReader>,
    store: Store,
    rules: IngestRules,
    options: ListsConfig,
    /// Number of bytes between admission and journal at which reading pauses.
    backlog_bytes: u64,
    /// Whether this node may produce; `None` without a broker.
    grant: Option<watch::Receiver<ProducerGrant>>,
    figures: watch::Sender<Vec<ListReport>>,
    witness: Arc<Witness>,
    clock: Clock,
}

/// State between two turns of the loop.
struct ListedState {
    feeds: ListedFeeds,
    /// The complete lists that each name is on.
    on: BTreeMap<ListedName, Vec<Arc<LiveList>>>,
    in_flight: FuturesUnordered<BoxFuture<'static, FinishedRead>>,
    flushed_at: Instant,
    reported_at: Option<Instant>,
}

impl ListedSource {
    /// Creates the stage; it has not sent anything yet.
    ///
    /// # Errors
    /// When the URL is invalid or TLS cannot be set up.
    pub fn new(
        config: &Config,
        (pool, witness): (Arc<TokenPool>, Arc<Witness>),
        store: Store,
        rules: IngestRules,
        grant: Option<watch::Receiver<ProducerGrant>>,
        clock: Clock,
    ) -> Result<Self, SourceError> {
        let rest = Rest::new(&config.github.api_url, config.github.timeout, clock);
        let rest = rest.map_err(|error| SourceError(error.to_string()))?;
        let reader = Arc::new(FeedReader { rest, pool, witness: Arc::clone(&witness), clock });
        let figures = watch::Sender::new(Vec::new());
        let (options, backlog_bytes) = (config.lists.clone(), config.store.outbox_bytes);
        Ok(Self { reader, store, rules, options, backlog_bytes, grant, figures, witness, clock })
    }

    /// The reports of all lists, updated every two seconds.
    #[must_use]
    pub fn figures(&self) -> watch::Receiver<Vec<ListReport>> {
        self.figures.subscribe()
    }

    /// Reads feeds until `stop` is cancelled.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut changes = self.rules.lists.changes();
        let mut tokens = self.reader.pool.changes();
        let rows = self.store.read(Database::feeds).await?;
        let mut state = ListedState {
            feeds: ListedFeeds::new(rows, self.witness.stamp()),
            on: BTreeMap::new(),
            in_flight: FuturesUnordered::new(),
            flushed_at: self.clock.instant(),
            reported_at: None,
        };
        self.take_lists(&mut state);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.may_read() => {}
            }
            let wake = self.send_due(&mut state);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(read) = state.in_flight.next() => self.take(&mut state, read).await?,
                Ok(()) = changes.changed() => self.take_lists(&mut state),
                Ok(()) = tokens.changed() => {}
                () = self.clock.sleep(wake.min(LOOK)) => {}
            }
            self.flush(&mut state, FLUSH).await?;
            self.report(&mut state).await?;
        }
        Ok(self.flush(&mut state, Duration::ZERO).await?)
    }

    /// Waits until this node may produce, and the store has room.
    async fn may_read(&mut self) {
        if let Some(grant) = &mut self.grant {
            granted(grant).await;
        }
        let mut backlog = self.store.watermarks().backlog.subscribe();
        let limit = self.backlog_bytes;
        if backlog.wait_for(|bytes| *bytes <= limit).await.is_err() {
            std::future::pending::<()>().await;
        }
        self.store.disk_space().wait().await;
    }

    /// Takes over the names on complete lists.
    fn take_lists(&self, state: &mut ListedState) {
        state.on.clear();
        let all = self.rules.lists.all();
        for list in all.iter().filter(|list| list.names().is_complete()) {
            for name in list.names().iter() {
                state.on.entry(name).or_default().push(Arc::clone(list));
            }
        }
        let left_out = state.on.len().saturating_sub(MOST_FEEDS);
        if left_out > 0 {
            tracing::error!(left_out, "complete lists have more than {MOST_FEEDS} names");
            state.on = std::mem::take(&mut state.on).into_iter().take(MOST_FEEDS).collect();
        }
        state.feeds.set(state.on.keys(), self.witness.stamp());
        self.reader.pool.set_shares(|shares| {
            shares.feeds = if state.on.is_empty() { 0.0 } else { self.options.budget }
        });
        state.reported_at = None;
    }

    /// Starts reading due feeds, the most urgent first, within the budgets. Returns how long to
    /// wait before the next check.
    fn send_due(&self, state: &mut ListedState) -> Duration {
        let now = self.witness.stamp();
        state.feeds.correct(now);
        let (due, next) = state.feeds.due(now, self.options.within);
        let mut wake = next.map_or(LOOK, |at| at.since(now));
        for name in due {
            if state.in_flight.len() >= MOST_READS as usize {
                break;
            }
            match self.reader.pool.grant_feed(read::token_of(&name)) {
                TokenGrant::Go(lease) => {
                    let Some(row) = state.feeds.start(&name) else { continue };
                    let reader = Arc::clone(&self.reader);
                    state
                        .in_flight
                        .push(async move { reader.read(name, row, lease).await }.boxed());
                }
                TokenGrant::Wait(until) => {
                    let wait = until.saturating_duration_since(self.clock.instant());
                    wake = wake.min(wait.max(Duration::from_millis(10)));
                }
            }
        }
        wake
    }

    /// Admits what was read, and keeps what is then known of the feed.
    async fn take(&self, state: &mut ListedState, read: FinishedRead) -> Result<(), StoreError> {
        let now = self.witness.stamp();
        let page =
            |(entries, number): (&Entries, u8)| PolledPage { number, entries: entries.clone() };
        let pages: Vec<PolledPage> = read.pages.iter().zip(1..).map(page).collect();
        if !pages.is_empty() {
            let poll = Poll { pages, received_at: now };
            let admitted = ingest::admit_poll(&self.store, poll, None, &self.rules).await?;
            metrics::EVENTS_FILLED.add(admitted.new);
        }
        let within = self.options.within;
        if let Some(Settled { holes, message }) = state.feeds.settle(&read, within, now) {
            metrics::LIST_HOLES.add(holes);
            if let Some(message) = message {
                FEED_LINES.log(|left_out| tracing::warn!(left_out, "{message}"));
            }
        }
        Ok(())
    }

    /// Writes the rows that changed, if the last time was at least `after` ago.
    async fn flush(&self, state: &mut ListedState, after: Duration) -> Result<(), StoreError> {
        let now = self.clock.instant();
        if now.duration_since(state.flushed_at) < after {
            return Ok(());
        }
        state.flushed_at = now;
        let changed = state.feeds.take_changed();
        if changed.is_empty() {
            return Ok(());
        }
        let mut holes: BTreeMap<Box<str>, u64> = BTreeMap::new();
        for (name, _, new) in changed.iter().filter(|(_, _, new)| *new > 0) {
            for list in state.on.get(name).into_iter().flatten() {
                *holes.entry(list.name().into()).or_default() += new;
            }
        }
        let written = self.store.commit(move |batch| {
            for (name, row, _) in &changed {
                batch.put(&FeedKey(name.to_string()), &row.encode());
            }
            for (list, holes) in &holes {
                ListCounts { holes: *holes, ..ListCounts::default() }.add(batch, list)?;
            }
            Ok(())
        });
        written.await
    }

    /// Publishes the figures of all lists.
    async fn report(&self, state: &mut ListedState) -> Result<(), StoreError> {
        let now = self.clock.instant();
        if state.reported_at.is_some_and(|at| now.duration_since(at) < LOOK) {
            return Ok(());
        }
        state.reported_at = Some(now);
        let lists = self.rules.lists.all();
        let names: Vec<String> = lists.iter().map(|list| list.name().to_owned()).collect();
        let counts = self.store.read(move |reader| {
            names.iter().map(|name| reader.list_counts(name)).collect::<Result<Vec<_>, _>>()
        });
        let counts = counts.await?;
        let of = |(list, counts): (&Arc<LiveList>, ListCounts)| of_list(list, counts, &state.feeds);
        self.figures.send_replace(lists.iter().zip(counts).map(of).collect());
        let (all, _) = state.feeds.figures(None);
        for (label, count) in [("read", all.read), ("waiting", all.waiting), ("closed", all.closed)]
        {
            metrics::LIST_FEEDS.set_for(label, f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
        Ok(())
    }
}

/// The report of a list.
fn of_list(list: &LiveList, counts: ListCounts, feeds: &ListedFeeds) -> ListReport {
    let names = list.names();
    let complete = names.is_complete();
    let (feeds, incomplete) =
        if complete { feeds.figures(Some(&names)) } else { Default::default() };
    ListReport {
        name: list.name().to_owned(),
        names: names.len(),
        complete,
        seen: Some(counts.seen),
        filled: Some(counts.filled),
        certain_holes: Some(counts.holes),
        feeds: complete.then_some(feeds),
        incomplete,
        error: None,
    }
}
