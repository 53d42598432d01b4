//! Follows GitHub's public events: rounds over the pages, as often as is allowed.
//!
//! Promises: a round asks for every page that is due and that the budgets allow, all at once, the
//! one that is to bring most first; rounds are `x-poll-interval` apart without a token and
//! `loop.break` with one; a page that fails is asked again later and later while the others go on;
//! nothing that GitHub or the network does ends it. It waits inside, and answers only with pages
//! that changed.
//!
//! Dropping the future loses nothing: a page's `ETag` is kept only when its body is handed out, so
//! what was fetched and not handed out is served again. Budgets are settled as answers come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use super::completeness::{Completeness, Report, STALE_REST, Trouble, TroubleKind};
use super::overlap;
use super::source::{Body, EventSource, Page, Poll, SourceError};
use super::status::{LastError, SourceMode, SourceState, SourceStatus};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::Secret;
use crate::github::rest::{Answer, Outcome, Rest, RestOptions};
use crate::github::tokens::{Grant, Lease, Mode, PoolOptions, SeatId, TokenPool};
use crate::metrics;

/// GitHub serves three; a server of one's own may have more.
pub const MOST_PAGES: u8 = 10;
/// The part of each token's limit that polling uses; the rest is kept for looking things up.
pub const POLL_SHARE: f64 = 0.9;
/// Without an answer for so long, a source that had answered is down.
const DOWN_AFTER: Duration = Duration::from_secs(30);
/// Waits after a failure that may pass.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The least wait after an answer that will be the same next time.
const HOPELESS_WAIT: Duration = Duration::from_secs(60);
/// Tokens whose `ETag` of a page is kept; beyond it all are forgotten, and pages come whole once.
const MOST_ETAGS: usize = 1_024;
/// Time between two looks at how complete the feed is.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is followed, and how.
#[derive(Debug, Clone)]
pub struct PollerOptions {
    /// The address that `/events` is below.
    pub api_url: String,
    /// Pages to follow, from the first; 1 to [`MOST_PAGES`].
    pub pages: u8,
    /// Longest time of one request.
    pub timeout: Duration,
    /// Time between two rounds with tokens.
    pub loop_break: Duration,
    /// Tokens; none is anonymous.
    pub tokens: Vec<Secret>,
}

/// The source that asks GitHub.
#[derive(Debug)]
pub struct Poller {
    rest: Rest,
    pool: Arc<TokenPool>,
    clock: Clock,
    loop_break: Duration,
    pages: Vec<PageState>,
    /// The number of the last round.
    round: u64,
    /// What the next one is an interval away from: the last one's beginning with tokens; without,
    /// its end, so that not even the network makes two look closer together to the server.
    last_round: Option<Instant>,
    /// What the last answer without a token said.
    poll_interval: Option<Duration>,
    last_answer: Option<Instant>,
    completeness: Completeness,
    last_look: Option<Instant>,
    status: watch::Sender<SourceStatus>,
}

#[derive(Debug)]
struct PageState {
    number: u8,
    /// `ETag`s differ by token.
    etags: HashMap<SeatId, String>,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// The last round that asked for it.
    asked_in: u64,
}

/// What to do now.
enum Plan {
    /// Ask for these pages (their places), each with a lease.
    Go(Vec<(usize, Lease)>),
    /// Nothing before then.
    Wait(Instant),
}

/// What a round came to, for the status.
#[derive(Default)]
struct Summary {
    /// A page came, or GitHub said that it has not changed.
    answered: bool,
    /// GitHub set a limit or refused a token: it is there.
    limited: bool,
    simulated: Option<bool>,
    trouble: Option<String>,
}

impl Poller {
    /// A poller that has asked for nothing yet.
    ///
    /// # Errors
    /// When the address is none, TLS cannot be set up, or the number of pages is out of range.
    pub fn new(options: PollerOptions, clock: Clock) -> Result<Self, SourceError> {
        if options.pages == 0 || options.pages > MOST_PAGES {
            let pages = options.pages;
            let reason = format!("{pages} pages cannot be followed; set github.pages to 1 to 3");
            return Err(SourceError::Client(reason));
        }
        let rest = RestOptions { api_url: options.api_url, timeout: options.timeout };
        let rest = Rest::new(&rest, clock).map_err(|e| SourceError::Client(e.to_string()))?;
        let burst = u32::from(options.pages);
        let pool = PoolOptions { tokens: options.tokens, share: POLL_SHARE, burst };
        let pool = TokenPool::new(pool, clock);
        let pages: Vec<_> = (1..=options.pages).map(PageState::new).collect();
        let mut status = SourceStatus::new(mode(pool.census().mode), clock.now());
        status.overlap = vec![None; pages.len()];
        Ok(Self {
            rest,
            pool,
            clock,
            loop_break: options.loop_break,
            pages,
            round: 0,
            last_round: None,
            poll_interval: None,
            last_answer: None,
            completeness: Completeness::new(usize::from(options.pages), clock.now()),
            last_look: None,
            status: watch::Sender::new(status),
        })
    }

    /// How it stands, as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<SourceStatus> {
        self.status.subscribe()
    }

    /// The tokens: to replace them, and to look things up with what polling leaves.
    #[must_use]
    pub fn pool(&self) -> Arc<TokenPool> {
        Arc::clone(&self.pool)
    }

    /// The shortest time between two rounds, now.
    fn interval(&self) -> Duration {
        match self.pool.census().mode {
            Mode::Tokens => self.loop_break,
            Mode::Anonymous => self.poll_interval.unwrap_or(self.loop_break),
        }
    }

    fn plan(&mut self) -> Plan {
        let now = self.clock.instant();
        let next = self.last_round.map_or(now, |last| last + self.interval());
        let page = self.pages.iter().map(|page| page.not_before.unwrap_or(now)).min();
        let earliest = next.max(page.unwrap_or(now));
        if earliest > now {
            return Plan::Wait(earliest);
        }
        let mut due: Vec<_> = (0..self.pages.len())
            .filter(|at| self.pages[*at].not_before.is_none_or(|from| from <= now))
            .collect();
        let asked = |at: usize| self.pages[at].asked_in;
        self.completeness.by_need(&mut due, asked, self.clock.now());
        let mut going = Vec::new();
        for at in due {
            match self.pool.grant() {
                Grant::Go(lease) => going.push((at, lease)),
                Grant::Wait(until) if going.is_empty() => return Plan::Wait(until),
                Grant::Wait(_) => break,
            }
        }
        Plan::Go(going)
    }

    /// Waits until something may be asked.
    async fn next_round(&mut self) -> Vec<(usize, Lease)> {
        loop {
            match self.plan() {
                Plan::Go(going) => {
                    self.round += 1;
                    self.last_round = Some(self.clock.instant());
                    for (at, _) in &going {
                        self.pages[*at].asked_in = self.round;
                    }
                    self.status.send_modify(|status| status.next_poll_at = None);
                    return going;
                }
                Plan::Wait(until) => {
                    let wait = until.saturating_duration_since(self.clock.instant());
                    let at = self.clock.now().plus(wait);
                    self.status.send_modify(|status| status.next_poll_at = Some(at));
                    self.clock.sleep(wait).await;
                }
            }
        }
    }

    /// Takes in the answers of a round; the pages that changed. Without any wait in it, so that
    /// it happens wholly or not at all.
    fn conclude(&mut self, answers: Vec<(usize, SeatId, Answer)>) -> Vec<Page> {
        let (now, wall) = (self.clock.instant(), self.clock.now());
        let (mut pages, mut failed, mut summary) = (Vec::new(), Vec::new(), Summary::default());
        let all = answers.len();
        for (at, seat, answer) in answers {
            if let Some(interval) = answer.limits.poll_interval {
                self.poll_interval = Some(interval);
            }
            summary.simulated = answer.simulated.or(summary.simulated);
            let page = &mut self.pages[at];
            match answer.outcome {
                Outcome::Fresh { body, etag } => {
                    summary.answered = true;
                    page.works();
                    let seen = overlap::look(&body);
                    page.keep(seat, etag.filter(|_| seen.is_some()));
                    if let Some(seen) = seen {
                        let overlap = self.completeness.read(at, seat, &seen, wall);
                        self.status.send_modify(|status| status.overlap[at] = overlap);
                    } else {
                        self.completeness.failed(at, wall);
                        let number = page.number;
                        summary.trouble = Some(format!("page {number} is no JSON list of events"));
                    }
                    pages.push(Page { number: page.number, body: Body::Array(body) });
                }
                Outcome::NotModified => {
                    summary.answered = true;
                    page.works();
                    self.completeness.unchanged(at, seat, wall);
                }
                Outcome::Limited { wait } => {
                    summary.limited = true;
                    let wait = wait.map_or_else(String::new, |w| format!(" for {} s", w.as_secs()));
                    summary.trouble = Some(format!("GitHub wants fewer requests{wait}"));
                }
                Outcome::TokenDead { reason } => {
                    summary.limited = true;
                    summary.trouble = Some(format!("GitHub refuses a token ({reason})"));
                }
                Outcome::Failed(error) => {
                    let least = if error.is_transient() { Duration::ZERO } else { HOPELESS_WAIT };
                    let wait = page.backoff.next_wait().max(least);
                    failed.push((at, wait.max(error.retry_after().unwrap_or_default())));
                    self.completeness.failed(at, wall);
                    summary.trouble = Some(error.to_string());
                }
            }
        }
        // What takes all pages away takes them away together, and they come back together.
        let together = failed.iter().map(|(_, wait)| *wait).max().filter(|_| failed.len() == all);
        for (at, wait) in failed {
            self.pages[at].not_before = Some(now + together.unwrap_or(wait));
        }
        self.tell(&summary);
        self.look(now);
        pages
    }

    /// Looks at how complete the feed is, now and then.
    fn look(&mut self, now: Instant) {
        if self.last_look.is_some_and(|last| now - last < LOOK_EVERY) {
            return;
        }
        self.last_look = Some(now);
        let pool = Arc::clone(&self.pool);
        let number = |seat| pool.number(seat);
        let (report, stale) = self.completeness.assess(self.clock.now(), number);
        for seat in stale {
            self.pool.rest(seat, STALE_REST);
        }
        publish(&report);
        self.status.send_modify(|status| {
            let before = status.completeness.as_ref().map_or(&[][..], |old| &old.troubles);
            tell_troubles(before, &report.troubles);
            status.completeness = Some(Arc::new(report));
        });
    }

    fn tell(&mut self, summary: &Summary) {
        let (now, wall) = (self.clock.instant(), self.clock.now());
        if summary.answered {
            self.last_answer = Some(now);
        }
        let census = self.pool.census();
        let lately = self.last_answer.is_some_and(|last| now - last < DOWN_AFTER);
        let failing = self.pages.iter().any(|page| page.backoff.times() > 0);
        let all_refused = census.tokens > 0 && census.mode == Mode::Anonymous;
        let state = if !(summary.answered || summary.limited || lately) {
            SourceState::Down
        } else if !summary.answered || summary.trouble.is_some() || failing || all_refused {
            SourceState::Degraded
        } else {
            SourceState::Ok
        };
        let interval = self.interval();
        let known = self.status.borrow().overlap.iter().flatten().copied().reduce(f64::min);
        if let Some(share) = known {
            metrics::FEED_OVERLAP.set(share);
        }
        self.status.send_modify(|status| {
            status.simulated = summary.simulated.unwrap_or(status.simulated);
            let turned = status.turn(state, wall);
            if let Some(message) = &summary.trouble {
                let again = status.last_error.as_ref().is_some_and(|last| last.message == *message);
                if turned || !again {
                    tracing::warn!(state = state.name(), "{message}");
                }
                status.last_error = Some(LastError { at: wall, message: message.clone() });
            } else if turned {
                tracing::info!(
                    state = state.name(),
                    simulated = status.simulated,
                    "GitHub answers"
                );
            }
            status.mode = mode(census.mode);
            status.tokens_usable = census.usable;
            status.tokens_benched = census.benched;
            status.poll_interval = interval;
            if summary.answered {
                status.last_poll_at = Some(wall);
            }
        });
    }
}

impl EventSource for Poller {
    async fn next_poll(&mut self) -> Result<Option<Poll>, SourceError> {
        loop {
            let going = self.next_round().await;
            let fetches = going.into_iter().map(|(at, lease)| {
                let (rest, page, seat) = (&self.rest, &self.pages[at], lease.seat());
                async move {
                    let etag = page.etags.get(&seat).map(String::as_str);
                    (at, seat, rest.fetch_page(page.number, lease, etag).await)
                }
            });
            let answers = join_all(fetches).await;
            if self.pool.census().mode == Mode::Anonymous {
                self.last_round = Some(self.clock.instant());
            }
            let pages = self.conclude(answers);
            if !pages.is_empty() {
                return Ok(Some(Poll { pages, received_at: self.clock.now() }));
            }
        }
    }
}

impl PageState {
    fn new(number: u8) -> Self {
        Self {
            number,
            etags: HashMap::new(),
            not_before: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            asked_in: 0,
        }
    }

    fn works(&mut self) {
        self.backoff.reset();
        self.not_before = None;
    }

    /// Keeps the `ETag` of what was read. What is no list has none: it is asked for again.
    fn keep(&mut self, seat: SeatId, etag: Option<String>) {
        if self.etags.len() >= MOST_ETAGS {
            self.etags.clear();
        }
        match etag {
            Some(etag) => self.etags.insert(seat, etag),
            None => self.etags.remove(&seat),
        };
    }
}

/// Says once that something is wrong, and once that it no longer is.
fn tell_troubles(before: &[Trouble], now: &[Trouble]) {
    let is_in = |all: &[Trouble], one: &Trouble| {
        all.iter().any(|other| (other.kind, other.of) == (one.kind, one.of))
    };
    for trouble in now.iter().filter(|trouble| !is_in(before, trouble)) {
        tracing::warn!(trouble = trouble.kind.name(), "{}", trouble.text);
    }
    for trouble in before.iter().filter(|trouble| !is_in(now, trouble)) {
        let since = trouble.since;
        tracing::info!(trouble = trouble.kind.name(), %since, "over: {}", trouble.text);
    }
}

fn publish(report: &Report) {
    let [low, share, high] = report.all.missed_share;
    for (bound, value) in [("low", low), ("estimate", share), ("high", high)] {
        metrics::FEED_MISSED.set_for(bound, value);
    }
    if let Some(lag) = report.all.lag_seconds {
        for (quantile, value) in [("p50", lag.p50), ("p90", lag.p90), ("max", lag.max)] {
            metrics::EVENT_LAG_SECONDS.set_for(quantile, value);
        }
    }
    metrics::FEED_EVENTS_MINUTE.set(report.all.events_a_minute);
    for kind in TroubleKind::ALL {
        let count = report.troubles.iter().filter(|trouble| trouble.kind == kind).count();
        metrics::FEED_TROUBLES.set_for(kind.name(), f64::from(u32::try_from(count).unwrap_or(0)));
    }
}

fn mode(mode: Mode) -> SourceMode {
    match mode {
        Mode::Anonymous => SourceMode::Anonymous,
        Mode::Tokens => SourceMode::Tokens,
    }
}

#[cfg(test)]
mod simulation_tests;
#[cfg(test)]
mod tests;
