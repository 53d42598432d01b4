//! Polls GitHub's public events: each page at its own pace, as often as the limits allow.
//!
//! Guarantees: a page is requested when its schedule says so and a token's budget allows it, the
//! one expected to bring most first. A page that is slow or fails does not delay any other. No
//! failure of GitHub or the network ends the poller. It waits internally and returns only pages
//! that changed.
//!
//! Dropping the future loses nothing: requests in flight are kept and continue with the next call.
//! The `ETag` of a page is kept only when its body is returned, so a page that was fetched but not
//! returned is served again. Budgets are settled as responses arrive.
//!
//! With several tokens the poller also asks GitHub, once per token, which account each belongs to:
//! tokens of one account share its limits.

mod report;
mod schedule;
mod summary;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use self::schedule::MOST_IN_FLIGHT;
pub use self::schedule::{PageSchedule, PollRule};
use self::summary::Summary;
pub use self::summary::publish;
use super::coverage::{Completeness, STALE_REST};
use super::entries::Entries;
use super::overlap;
use super::source::{EventSource, Poll, PolledPage, SourceError};
use super::status::SourceStatus;
use crate::clock::Clock;
use crate::clock::witness::Witness;
use crate::config::{GitHubConfig, Secret};
use crate::github::limits::MOST_AT_ONCE;
use crate::github::rest::{PageOutcome, PageResponse, Rest};
use crate::github::tokens::{
    Identity, Lease, PoolOptions, TokenGrant, TokenMode, TokenPool, TokenSlotId,
};
use crate::model::window::Timestamp;

/// Maximum number of pages. GitHub serves three; other servers may have more.
pub const MOST_PAGES: u8 = 10;
/// The fraction of each token's limit that polling uses; the rest is kept for lookups.
pub const POLL_SHARE: f64 = 0.9;
/// Minimum wait after a failure that a retry does not cure, once more than [`SPORADIC_FAILURES`]
/// requests in a row have failed.
const PERMANENT_FAILURE_WAIT: Duration = Duration::from_secs(60);
/// Failures of a page in a row that may be accidents: a proxy on the way may answer oddly.
const SPORADIC_FAILURES: u32 = 2;
/// Maximum number of tokens whose `ETag` of a page is kept; beyond it all are dropped, and pages
/// are served in full once.
const MOST_ETAGS: usize = 1_024;
/// Maximum number of identity requests in flight.
const MOST_IDENTITY_REQUESTS: u32 = 4;
/// Maximum number of requests in flight.
pub(super) const MOST_REQUESTS: u32 = MOST_PAGES as u32 * MOST_IN_FLIGHT + MOST_IDENTITY_REQUESTS;
const _: () = assert!(MOST_REQUESTS <= MOST_AT_ONCE / 2);
/// A wall clock that advanced by this much more than the monotonic one: the machine was suspended.
const SUSPENDED: Duration = Duration::from_secs(10);
/// Waits are ended for that reason at most once in this time.
const RESUME_PAUSE: Duration = Duration::from_secs(10);
/// Interval between two coverage assessments.
const ASSESS_EVERY: Duration = Duration::from_secs(2);

/// The source that polls GitHub.
#[derive(Debug)]
pub struct Poller {
    rest: Arc<Rest>,
    pool: Arc<TokenPool>,
    clock: Clock,
    witness: Arc<Witness>,
    loop_break: Duration,
    schedule: PageSchedule,
    /// The `ETag`s of each page, which differ by token.
    etags: Vec<HashMap<TokenSlotId, String>>,
    /// The token last used for each page.
    last_slots: Vec<Option<TokenSlotId>>,
    in_flight: FuturesUnordered<BoxFuture<'static, Response>>,
    /// Number of requests in flight that ask for a token's account.
    identity_requests: u32,
    /// The poll interval in the last response without a token.
    poll_interval: Option<Duration>,
    last_answer: Option<(Instant, Timestamp)>,
    /// When the clocks were last read.
    looked_at: (Instant, Timestamp),
    /// When waits were last ended because the machine had been suspended.
    resumed_at: Option<Instant>,
    /// When the response before the newest one arrived, when that was long before it.
    outage_since: Option<Timestamp>,
    completeness: Completeness,
    assessed_at: Option<Instant>,
    status: watch::Sender<SourceStatus>,
    /// See [`TokenPool::changes`].
    token_changes: watch::Receiver<()>,
}

/// The result of a request.
#[derive(Debug)]
enum Response {
    /// A response to the request for a page, and the token used.
    Page { page: usize, slot: TokenSlotId, answer: Box<PageResponse> },
    /// The account of a token, where GitHub reported it.
    Identity { slot: TokenSlotId, identity: Option<Identity> },
}

impl Poller {
    /// Creates a poller with these tokens that has not sent anything yet; without any it polls
    /// anonymously.
    ///
    /// # Errors
    /// When the URL is invalid, TLS cannot be set up, or the number of pages is out of range.
    pub fn new(
        github: &GitHubConfig,
        tokens: Vec<Secret>,
        clock: Clock,
    ) -> Result<Self, SourceError> {
        let &GitHubConfig { pages, timeout, pace, .. } = github;
        if pages == 0 || pages > MOST_PAGES {
            let reason = format!("{pages} pages cannot be followed; set github.pages to 1 to 3");
            return Err(SourceError(reason));
        }
        let rest = Rest::new(&github.api_url, timeout, clock);
        let rest = rest.map_err(|error| SourceError(error.to_string()))?;
        let pool = PoolOptions { tokens, share: POLL_SHARE, burst: pages.into() };
        let pool = TokenPool::new(pool, clock);
        let token_changes = pool.changes();
        let pages = usize::from(pages);
        let status = SourceStatus::new(pool.census().mode, pages, clock.now());
        Ok(Self {
            rest: Arc::new(rest),
            pool,
            clock,
            witness: Arc::new(Witness::new(clock)),
            loop_break: pace,
            schedule: PageSchedule::new(pages, pace),
            etags: vec![HashMap::new(); pages],
            last_slots: vec![None; pages],
            in_flight: FuturesUnordered::new(),
            identity_requests: 0,
            poll_interval: None,
            last_answer: None,
            looked_at: (clock.instant(), clock.now()),
            resumed_at: None,
            outage_since: None,
            completeness: Completeness::new(pages, clock.now()),
            assessed_at: None,
            status: watch::Sender::new(status),
            token_changes,
        })
    }

    /// The status, updated as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<SourceStatus> {
        self.status.subscribe()
    }

    /// The observer of GitHub's clock, against which ours is checked.
    #[must_use]
    pub fn witness(&self) -> Arc<Witness> {
        Arc::clone(&self.witness)
    }

    /// The token pool, used to replace tokens and for lookups with what polling leaves.
    #[must_use]
    pub fn pool(&self) -> Arc<TokenPool> {
        Arc::clone(&self.pool)
    }

    /// The rule by which pages are requested now.
    fn rule(&self) -> PollRule {
        match self.pool.census().mode {
            TokenMode::Tokens => PollRule::Tokens,
            TokenMode::Anonymous => PollRule::Every(self.poll_interval.unwrap_or(self.loop_break)),
        }
    }

    /// Sends every request that is due and within budget. Returns when to check again; `None`
    /// means on the next response.
    fn send_due(&mut self) -> Option<Instant> {
        self.ask_identities();
        let now = self.clock.instant();
        let rule = self.rule();
        let (mut due, _) = self.schedule.due(now, rule);
        let asked = |page: usize| self.schedule.asked_in(page);
        self.completeness.by_need(&mut due, asked, self.witness.stamp());
        let mut allowed = None;
        for page in due {
            match self.pool.grant_after(self.last_slots[page]) {
                TokenGrant::Go(lease) => self.send(page, lease, now),
                TokenGrant::Wait(until) => {
                    allowed = Some(until);
                    break;
                }
            }
        }
        let wake = allowed.or_else(|| self.schedule.due(now, rule).1);
        let next = wake.filter(|_| self.in_flight.is_empty());
        let next = next.map(|at| self.clock.now().plus(at.saturating_duration_since(now)));
        self.status.send_if_modified(|status| {
            std::mem::replace(&mut status.report.next_poll_at, next) != next
        });
        wake
    }

    fn send(&mut self, page: usize, lease: Lease, now: Instant) {
        self.schedule.asked(page, now);
        let (rest, slot) = (Arc::clone(&self.rest), lease.slot());
        self.last_slots[page] = Some(slot);
        let etag = self.etags[page].get(&slot).cloned();
        let number = number(page);
        let request = async move {
            let answer = rest.fetch_page(number, lease, etag.as_deref()).await;
            Response::Page { page, slot, answer: Box::new(answer) }
        };
        self.in_flight.push(request.boxed());
    }

    /// Asks GitHub for the accounts of new tokens.
    fn ask_identities(&mut self) {
        while self.identity_requests < MOST_IDENTITY_REQUESTS
            && let Some(lease) = self.pool.grant_identity_request()
        {
            let (rest, slot) = (Arc::clone(&self.rest), lease.slot());
            let request = async move {
                let identity = rest.fetch_identity(lease).await;
                Response::Identity { slot, identity }
            };
            self.in_flight.push(request.boxed());
            self.identity_requests += 1;
        }
    }

    /// Ends waits that are over by the wall clock: the monotonic one stands still while the machine
    /// is suspended. Where the clock was only set forward, a request may come too early, and
    /// GitHub refuses it; so that happens once in [`RESUME_PAUSE`], however often it is set.
    fn look_at_clocks(&mut self) {
        let (now, wall) = (self.clock.instant(), self.clock.now());
        if self.resumed_at.is_some_and(|at| now.saturating_duration_since(at) < RESUME_PAUSE) {
            return;
        }
        let (last, at) = std::mem::replace(&mut self.looked_at, (now, wall));
        let time = wall.since(at).saturating_sub(now.saturating_duration_since(last));
        if time >= SUSPENDED {
            self.resumed_at = Some(now);
            let seconds = time.as_secs();
            tracing::info!(seconds, "the machine was suspended, or its clock was set forward");
            self.pool.was_suspended(time);
            self.schedule.end_waits();
        }
    }

    /// Waits for responses and returns those that have arrived, at least one.
    async fn receive(&mut self) -> Vec<Response> {
        loop {
            self.look_at_clocks();
            let wake = self.send_due();
            let now = self.clock.instant();
            // Without responses, known figures become unknown, so coverage is assessed then too.
            self.assess_coverage(now);
            let wait = wake.map_or(ASSESS_EVERY, |at| at.saturating_duration_since(now));
            let asleep = self.clock.sleep(wait.min(ASSESS_EVERY));
            tokio::select! {
                biased;
                Some(response) = self.in_flight.next() => {
                    let mut all = vec![response];
                    while let Some(Some(response)) = self.in_flight.next().now_or_never() {
                        all.push(response);
                    }
                    return all;
                }
                // The tokens have changed or may be tried again, or the machine was suspended:
                // every wait is over.
                Ok(()) = self.token_changes.changed() => self.schedule.end_waits(),
                () = asleep => {}
            }
        }
    }

    /// Processes responses and returns the pages that changed. Does not await, so it runs wholly
    /// or not at all.
    fn settle(&mut self, answers: Vec<Response>) -> Vec<PolledPage> {
        let now = self.clock.instant();
        let (mut pages, mut summary) = (Vec::new(), Summary::default());
        let any_page = answers.iter().any(|response| matches!(response, Response::Page { .. }));
        for response in answers {
            match response {
                Response::Page { page, slot, answer } => {
                    let (outcome, remaining) = (answer.outcome.name(), answer.limits.remaining);
                    tracing::debug!(page = number(page), outcome, remaining, "GitHub answered");
                    if let Some(date) = answer.limits.date {
                        self.witness.record_date(date);
                    }
                    if let Some(interval) = answer.limits.poll_interval {
                        self.poll_interval = Some(interval);
                    }
                    summary.simulated = answer.simulated.or(summary.simulated);
                    pages.extend(self.take((page, slot), *answer, now, &mut summary));
                }
                Response::Identity { slot, identity } => {
                    self.identity_requests -= 1;
                    if let Some(identity) = identity {
                        self.pool.set_identity(slot, identity);
                    }
                }
            }
        }
        if any_page {
            self.report(&summary);
            self.assess_coverage(now);
        }
        pages
    }

    /// Processes one response. Returns the page when it changed.
    fn take(
        &mut self,
        (at, slot): (usize, TokenSlotId),
        answer: PageResponse,
        now: Instant,
        summary: &mut Summary,
    ) -> Option<PolledPage> {
        let wall = self.witness.stamp();
        match answer.outcome {
            PageOutcome::Fresh { body, etag } => {
                summary.answered = true;
                let is_simulated = answer.simulated == Some(true);
                let entries = Entries::of_list(&body).with_simulated(is_simulated);
                // A damaged page is requested again in full.
                self.keep_etag(at, slot, etag.filter(|_| entries.is_whole()));
                if entries.is_list() && !entries.is_whole() {
                    let (number, (parts, _)) = (number(at), entries.broken());
                    summary.trouble =
                        Some(format!("page {number} is damaged: {parts} parts of it are not JSON"));
                }
                if entries.is_list() {
                    let seen = overlap::sightings(&entries);
                    let overlap = self.completeness.read(at, slot, &seen, wall);
                    self.schedule.answered(at, now, overlap.map(|share| 1.0 - share));
                    self.status.send_modify(|status| status.overlap[at] = overlap);
                } else {
                    self.completeness.failed(at, wall);
                    self.schedule.refused(at, now);
                    let number = number(at);
                    summary.trouble = Some(format!("page {number} is not a JSON list of events"));
                }
                return Some(PolledPage { number: number(at), entries });
            }
            PageOutcome::NotModified => {
                summary.answered = true;
                self.schedule.answered(at, now, Some(0.0));
                self.completeness.unchanged(at, slot, wall);
            }
            PageOutcome::Limited { wait } => {
                summary.limited = true;
                self.schedule.refused(at, now);
                let wait = wait.map_or_else(String::new, |w| format!(" for {} s", w.as_secs()));
                summary.trouble = Some(format!("GitHub wants fewer requests{wait}"));
            }
            PageOutcome::TokenDead { reason } => {
                summary.limited = true;
                self.schedule.refused(at, now);
                let trouble =
                    format!("GitHub refuses a token ({reason}): replace it in github.tokens");
                summary.trouble = Some(trouble);
            }
            PageOutcome::Failed(error) => {
                let is_lasting =
                    !error.is_transient() && self.schedule.failures(at) >= SPORADIC_FAILURES;
                let least = if is_lasting { PERMANENT_FAILURE_WAIT } else { Duration::ZERO };
                let least = least.max(error.retry_after().unwrap_or_default());
                self.schedule.failed(at, now, least);
                self.completeness.failed(at, wall);
                summary.trouble = Some(error.to_string());
            }
        }
        None
    }

    /// Keeps the `ETag` of what was read. A body that is not a list has none and is requested
    /// again.
    fn keep_etag(&mut self, page: usize, slot: TokenSlotId, etag: Option<String>) {
        let etags = &mut self.etags[page];
        if etags.len() >= MOST_ETAGS {
            etags.clear();
        }
        match etag {
            Some(etag) => etags.insert(slot, etag),
            None => etags.remove(&slot),
        };
    }

    /// Assesses coverage at the interval [`ASSESS_EVERY`].
    fn assess_coverage(&mut self, now: Instant) {
        if self.assessed_at.is_some_and(|last| now - last < ASSESS_EVERY) {
            return;
        }
        self.assessed_at = Some(now);
        let pool = Arc::clone(&self.pool);
        let number = |slot| pool.number(slot);
        let (report, stale) = self.completeness.assess(self.witness.stamp(), number);
        for slot in stale {
            self.pool.rest(slot, STALE_REST);
        }
        summary::publish(&report);
        self.status.send_modify(|status| {
            let before = status.completeness.as_ref().map_or(&[][..], |old| &old.troubles);
            summary::troubles(before, &report.troubles);
            status.completeness = Some(Arc::new(report));
        });
    }
}

impl EventSource for Poller {
    async fn next_poll(&mut self) -> Poll {
        loop {
            let answers = self.receive().await;
            let pages = self.settle(answers);
            if !pages.is_empty() {
                // While GitHub contradicts our clock, the clock must not put an event into another
                // day.
                return Poll { pages, received_at: self.witness.stamp() };
            }
        }
    }

    fn outage_since(&mut self) -> Option<Timestamp> {
        self.outage_since.take()
    }
}

/// The number of a page, from 1.
fn number(page: usize) -> u8 {
    u8::try_from(page + 1).expect("there are at most ten")
}

#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod tests;
