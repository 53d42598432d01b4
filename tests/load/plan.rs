//! What can be caught: for so many tokens and so many events a second, which part of the pushes and
//! of the pull requests is on a page that is read. In simulated time, by the poller's own rules:
//! its pool of tokens with their budgets and GitHub's seconds of work, its rounds, its order of
//! pages. The feed is split as GitHub splits it, and answers take as long as GitHub's do.
//!
//! It is a model: GitHub's pages are no steady window, and what it never shows is in no figure.

use std::sync::Arc;
use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse::collect::completeness::Completeness;
use ghpulse::collect::overlap::Sighting;
use ghpulse::collect::poller::POLL_SHARE;
use ghpulse::config::Secret;
use ghpulse::github::limits::{Limits, Reset};
use ghpulse::github::tokens::{Grant, Lease, PoolOptions, TokenPool, Verdict};
use ghpulse::model::window::Timestamp;

const TOKENS: [usize; 4] = [0, 1, 3, 10];
const RATES: [u32; 4] = [50, 100, 160, 250];
/// Of all events: pushes, creations and deletions; the others are on pages 2 and 3.
const PUSHES: f64 = 0.375;
/// How long GitHub takes for page 1, and for the others.
const ANSWERS: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1_400)];
const LOOP_BREAK: Duration = Duration::from_secs(1);
/// What an address without a token is told to wait.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Simulated time, of which the first part is not counted: the first hour's budget is only known
/// from the first answer on.
const TIME: Duration = Duration::from_secs(1_800);
const WARM_UP: Duration = Duration::from_secs(300);
const WINDOW: i64 = 3_600;

pub fn run() {
    println!("plan: share of pushes / of pull requests on pages that are read");
    println!("| events a second | {} |", TOKENS.map(|n| format!("{n} tokens")).join(" | "));
    println!("|---|{}", "---|".repeat(TOKENS.len()));
    for rate in RATES {
        let cells = TOKENS.map(|tokens| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build();
            let (pushes, rest) =
                runtime.expect("a timer is all it has").block_on(follow(tokens, f64::from(rate)));
            format!("{:.0} % / {:.0} %", pushes * 100.0, rest * 100.0)
        });
        println!("| {rate} | {} |", cells.join(" | "));
    }
}

/// A part of the feed: events are numbered as they come; pages show the newest.
#[derive(Default)]
struct Part {
    rate: f64,
    /// Up to which number all is seen or gone, and how many were seen.
    to: f64,
    seen: f64,
}

impl Part {
    /// A page showed the events from `from` to `to`; those of two pages at once come in order.
    fn show(&mut self, from: f64, to: f64) {
        if to > self.to {
            self.seen += to - from.max(self.to);
            self.to = to;
        }
    }
}

async fn follow(tokens: usize, rate: f64) -> (f64, f64) {
    let clock = Clock::starting_at(Timestamp::from_seconds(1_800_000_000));
    let secrets = (0..tokens).map(|n| Secret::new(format!("token-{n}"))).collect();
    let pool = TokenPool::new(PoolOptions { tokens: secrets, share: POLL_SHARE, burst: 3 }, clock);
    let mut completeness = Completeness::new(3, clock.now());
    let mut parts =
        [PUSHES, 1.0 - PUSHES].map(|part| Part { rate: rate * part, ..Part::default() });
    let mut asked = [0_u64; 3];
    let mut used = vec![0_u64; tokens + 1];
    let start = clock.instant();
    let mut warm = None;
    for round in 1_u64.. {
        let begin = clock.instant();
        let seconds = (begin - start).as_secs_f64();
        if warm.is_none() && begin - start >= WARM_UP {
            warm = Some((seconds, parts.each_ref().map(|part| part.seen)));
        }
        if begin - start >= TIME {
            let (from, before) = warm.expect("the warm-up is shorter");
            let share =
                |at: usize| (parts[at].seen - before[at]) / (parts[at].rate * (seconds - from));
            return (share(0).min(1.0), share(1).min(1.0));
        }
        let mut due = vec![0, 1, 2];
        completeness.by_need(&mut due, |at| asked[at], clock.now());
        let (leases, wait) = grants(&pool, &due);
        if leases.is_empty() {
            clock.sleep(wait.unwrap_or(LOOP_BREAK)).await;
            continue;
        }
        let mut pages: Vec<usize> = leases.iter().map(|(at, _)| *at).collect();
        // Deeper pages first: what they show is older.
        pages.sort_unstable_by(|a, b| b.cmp(a));
        let longest = pages.iter().map(|at| ANSWERS[usize::from(*at > 0)]).max();
        clock.sleep(longest.expect("there is one")).await;
        for at in pages {
            asked[at] = round;
            let part = &mut parts[usize::from(at > 0)];
            let above = if at == 2 { 100.0 } else { 0.0 };
            let newest = (part.rate * seconds - above).max(0.0);
            part.show((newest - 100.0).max(0.0), newest);
            completeness.read(at, leases[0].1.seat(), &page(at, newest), clock.now());
        }
        for (at, lease) in leases {
            let seat = pool.number(lease.seat()).expect("it is there");
            used[seat] += 1;
            settle(lease, used[seat], ANSWERS[usize::from(at > 0)], clock);
        }
        let (from, interval) =
            if tokens == 0 { (clock.instant(), POLL_INTERVAL) } else { (begin, LOOP_BREAK) };
        let next = from + interval;
        clock.sleep(next.saturating_duration_since(clock.instant())).await;
    }
    unreachable!("rounds go on until the time is over")
}

/// As many leases as there are, for the first pages; else how long to wait.
fn grants(pool: &Arc<TokenPool>, due: &[usize]) -> (Vec<(usize, Lease)>, Option<Duration>) {
    let mut leases = Vec::new();
    for at in due {
        match pool.grant() {
            Grant::Go(lease) => leases.push((*at, lease)),
            Grant::Wait(until) => {
                let wait = until.saturating_duration_since(Clock::system().instant());
                return (leases, Some(wait.max(Duration::from_millis(10))));
            }
        }
    }
    (leases, None)
}

fn settle(lease: Lease, used: u64, took: Duration, clock: Clock) {
    let limit = if lease.token().is_some() { 5_000 } else { 60 };
    let now = clock.now().micros() / 1_000_000;
    let epoch = (now / WINDOW + 1) * WINDOW;
    let after = Duration::from_secs(u64::try_from(epoch - now).unwrap_or(0));
    let limits = Limits {
        limit: Some(limit),
        remaining: Some(limit.saturating_sub(used)),
        reset: Some(Reset { epoch, after }),
        retry_after: None,
        poll_interval: Some(POLL_INTERVAL),
    };
    lease.settle(Verdict::Served, &limits, took);
}

/// The hundred events up to that one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of events")]
fn page(at: usize, newest: f64) -> Vec<Sighting> {
    let newest = newest as u64;
    let sequence = u64::from(at > 0);
    (newest.saturating_sub(100)..newest)
        .map(|n| Sighting {
            hash: n * 2 + sequence,
            id: Some(n * 4),
            kind: usize::from(at > 0),
            created_at: None,
        })
        .collect()
}
