//! How complete polling can be: for a number of tokens and a rate of events, the share of pushes
//! and of pull requests that appears on a page that is read. Runs in simulated time, with the
//! poller's own schedule, its token pool with budgets, and GitHub's limit on work. The feed is
//! split as GitHub splits it, and responses take as long as GitHub's.
//!
//! This is a model: GitHub's pages are not a steady window, and events that it never shows are not
//! in any figure.

use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse::collect::coverage::Completeness;
use ghpulse::collect::overlap::PageSighting;
use ghpulse::collect::poller::{POLL_SHARE, PageSchedule, PollRule};
use ghpulse::config::Secret;
use ghpulse::github::limits::{RateLimits, Reset};
use ghpulse::github::tokens::{Lease, PoolOptions, TokenGrant, TokenPool, TokenVerdict};
use ghpulse::model::window::Timestamp;
use tokio::time::Instant;

/// Share of pushes, creations and deletions; all other events are on pages 2 and 3.
pub const PUSHES: f64 = 0.375;
/// GitHub's response time for page 1, and for the other pages.
const ANSWERS: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1_400)];
const LOOP_BREAK: Duration = Duration::from_secs(1);
/// The poll interval that GitHub requests from an address without a token.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Simulated time. Its first part is not counted: the budget of the first hour is known only from
/// the first response on.
const TIME: Duration = Duration::from_secs(1_800);
const WARM_UP: Duration = Duration::from_secs(300);
const WINDOW: i64 = 3_600;

/// A part of the feed: events are numbered in order; pages show the newest.
struct Part {
    rate: f64,
    seen: Vec<bool>,
}

/// A request in flight.
struct Flight {
    page: usize,
    lease: Lease,
    /// When GitHub reads the page, and when its response arrives.
    looked_at: Instant,
    lands_at: Instant,
}

impl Part {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of events")]
    fn new(rate: f64) -> Self {
        Self { rate, seen: vec![false; (rate * TIME.as_secs_f64()) as usize + 1_000] }
    }

    /// The number of the newest event after this time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of events")]
    fn newest(&self, after: Duration) -> usize {
        (self.rate * after.as_secs_f64()) as usize
    }

    /// The fraction of the events between two times that was shown.
    #[expect(clippy::cast_precision_loss, reason = "counts of events")]
    fn share(&self, from: Duration, to: Duration) -> f64 {
        let seen = &self.seen[self.newest(from)..self.newest(to)];
        seen.iter().filter(|seen| **seen).count() as f64 / seen.len() as f64
    }
}

/// The share of pushes and that of all other events that is seen with this many tokens, at a rate
/// of events a second.
pub fn shares(tokens: usize, rate: f64) -> (f64, f64) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a timer is all it has").block_on(follow(tokens, rate))
}

/// Runs the poller's own schedule and token pool against a feed of this rate.
async fn follow(tokens: usize, rate: f64) -> (f64, f64) {
    let clock = Clock::starting_at(Timestamp::from_seconds(1_800_000_000));
    let secrets = (0..tokens).map(|n| Secret::new(format!("token-{n}"))).collect();
    let pool = TokenPool::new(PoolOptions { tokens: secrets, share: POLL_SHARE, burst: 3 }, clock);
    let mut completeness = Completeness::new(3, clock.now());
    let mut schedule = PageSchedule::new(3, LOOP_BREAK);
    let mut parts = [PUSHES, 1.0 - PUSHES].map(|part| Part::new(rate * part));
    let mut used = vec![0_u64; tokens + 1];
    let rule = if tokens == 0 { PollRule::Every(POLL_INTERVAL) } else { PollRule::Tokens };
    let start = clock.instant();
    let mut flights: Vec<Flight> = Vec::new();
    while clock.instant() - start < TIME {
        let now = clock.instant();
        let (landed, waiting) = flights.into_iter().partition(|flight| flight.lands_at <= now);
        flights = waiting;
        for Flight { page, lease, looked_at, .. } in landed {
            let part = &mut parts[usize::from(page > 0)];
            let newest = part.newest(looked_at - start).saturating_sub(100 * (page / 2));
            part.seen[newest.saturating_sub(100)..newest].fill(true);
            let shown = shown(page, newest);
            let overlap = completeness.read(page, lease.slot(), &shown, clock.now());
            schedule.answered(page, now, overlap.map(|share| 1.0 - share));
            let slot = pool.number(lease.slot()).expect("it is there");
            used[slot] += 1;
            settle(lease, used[slot], ANSWERS[usize::from(page > 0)], clock);
        }
        let mut allowed = None;
        let mut due = schedule.due(now, rule).0;
        completeness.by_need(&mut due, |page| schedule.asked_in(page), clock.now());
        for page in due {
            match pool.grant() {
                TokenGrant::Go(lease) => {
                    schedule.asked(page, now);
                    let takes = ANSWERS[usize::from(page > 0)];
                    let (looked_at, lands_at) = (now + takes / 2, now + takes);
                    flights.push(Flight { page, lease, looked_at, lands_at });
                }
                TokenGrant::Wait(until) => {
                    allowed = Some(until);
                    break;
                }
            }
        }
        let wake = allowed.or_else(|| schedule.due(now, rule).1);
        let lands = flights.iter().map(|flight| flight.lands_at).min();
        let next = wake.into_iter().chain(lands).min().expect("something is due or under way");
        let least = Duration::from_millis(1);
        clock.sleep(next.saturating_duration_since(now).max(least)).await;
    }
    (parts[0].share(WARM_UP, TIME), parts[1].share(WARM_UP, TIME))
}

fn settle(lease: Lease, used: u64, took: Duration, clock: Clock) {
    let limit = if lease.token().is_some() { 5_000 } else { 60 };
    let now = clock.now().micros() / 1_000_000;
    let epoch = (now / WINDOW + 1) * WINDOW;
    let after = Duration::from_secs(u64::try_from(epoch - now).unwrap_or(0));
    let limits = RateLimits {
        date: None,
        limit: Some(limit),
        remaining: Some(limit.saturating_sub(used)),
        reset: Some(Reset { epoch, after }),
        cost: None,
        retry_after: None,
        poll_interval: Some(POLL_INTERVAL),
    };
    lease.settle(TokenVerdict::Served, &limits, took);
}

/// The hundred events up to this one.
fn shown(page: usize, newest: usize) -> Vec<PageSighting> {
    let sequence = u64::from(page > 0);
    let number = |n: usize| u64::try_from(n).expect("counts of events");
    (number(newest.saturating_sub(100))..number(newest))
        .map(|n| PageSighting {
            hash: n * 2 + sequence,
            id: Some(n * 4),
            kind: usize::from(page > 0),
            created_at: None,
        })
        .collect()
}
