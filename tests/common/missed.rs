//! Runs that miss a known part of a simulated feed: compares the estimate with the truth.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse::collect::coverage::Completeness;
use ghpulse::collect::entries::Entries;
use ghpulse::collect::overlap;
use ghpulse::config::Secret;
use ghpulse::github::rest::{PageOutcome, Rest};
use ghpulse::github::tokens::{Lease, PoolOptions, TokenGrant, TokenPool};
use ghpulse::model::coverage::Missed;
use ghpulse::simulate::{Control, Options, Shape, Simulation};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Reads of all pages per run.
const READS: usize = 20;
/// Enough tokens that no request has to wait.
const TOKENS: usize = 60;
/// The fraction of pushes, creations and deletions in the simulated feed.
const PUSHES: f64 = 0.555;

/// One run. Returns estimated and true numbers: of all pages together, then of each page.
pub async fn run(seed: u64, share: f64) -> [(Missed, f64); 4] {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let stop = CancellationToken::new();
    let options = Options { shape: Shape::Today, ..Options::by_hand(seed) };
    let simulation = Simulation::start(listener, options, Clock::system(), stop.clone());
    let simulation = simulation.expect("nothing is odd about it");
    let control = simulation.control();
    let mut reader = Reader::new(&simulation.url());
    let mut chance = fastrand::Rng::with_seed(seed);
    control.emit(1_000);
    reader.read().await;
    let before = unserved(&control);
    for _ in 0..READS {
        control.emit(step(share, &mut chance));
        reader.read().await;
    }
    let after = unserved(&control);
    stop.cancel();
    let (pushes, rest) = (after.0 - before.0, after.1 - before.1);
    let (report, _) = reader.completeness.assess(Clock::system().now(), |_| None);
    let known = |missed: Option<Missed>| missed.expect("all pages were read");
    let page = |at: usize| known(report.pages[at].figures.missed);
    [(known(report.all.missed), pushes + rest), (page(0), pushes), (page(1), rest), (page(2), rest)]
}

/// Whether the truth lies in the interval. Counts are integers, so half an event is tolerated.
pub fn holds((missed, truth): &(Missed, f64)) -> bool {
    (missed.low - 0.5..=missed.high + 0.5).contains(truth)
}

/// Number of events between two reads, chosen so that about this share is never shown.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand")]
fn step(share: f64, chance: &mut fastrand::Rng) -> usize {
    if share <= 0.0 {
        return chance.usize(20..140);
    }
    let missed =
        |n: f64| ((PUSHES * n - 100.0).max(0.0) + ((1.0 - PUSHES) * n - 200.0).max(0.0)) / n;
    let mut mean = 100.0;
    while missed(mean) < share {
        mean += 10.0;
    }
    (mean * (0.8 + 0.4 * chance.f64())) as usize
}

/// Pushes and other events that were emitted and never shown.
fn unserved(control: &Control) -> (f64, f64) {
    let served: HashSet<Arc<str>> = control.served().into_iter().collect();
    let mut counts = [0_u32; 2];
    for event in control.emitted() {
        if !served.contains(&event) {
            let pushed = ["Push", "Create", "Delete"]
                .iter()
                .any(|name| event.contains(&format!("\"type\":\"{name}Event\"")));
            counts[usize::from(!pushed)] += 1;
        }
    }
    (f64::from(counts[0]), f64::from(counts[1]))
}

struct Reader {
    rest: Rest,
    pool: Arc<TokenPool>,
    completeness: Completeness,
}

impl Reader {
    fn new(url: &str) -> Self {
        let clock = Clock::system();
        let timeout = Duration::from_secs(20);
        let tokens = (0..TOKENS).map(|n| Secret::new(format!("token-{n}"))).collect();
        Self {
            rest: Rest::new(url, timeout, clock).expect("it is an address"),
            pool: TokenPool::new(PoolOptions { tokens, share: 0.9, burst: 3 }, clock),
            completeness: Completeness::new(3, clock.now()),
        }
    }

    /// Reads all pages, the last first, because events move to later pages.
    async fn read(&mut self) {
        for at in [2, 1, 0] {
            let lease = self.lease().await;
            let slot = lease.slot();
            let number = u8::try_from(at + 1).expect("three");
            let answer = self.rest.fetch_page(number, lease, None).await;
            let PageOutcome::Fresh { body, .. } = answer.outcome else { panic!("{answer:?}") };
            let seen = overlap::sightings(&Entries::of_list(&body));
            self.completeness.read(at, slot, &seen, Clock::system().now());
        }
    }

    async fn lease(&self) -> Lease {
        loop {
            match self.pool.grant() {
                TokenGrant::Go(lease) => return lease,
                TokenGrant::Wait(until) => {
                    let clock = Clock::system();
                    clock.sleep(until.saturating_duration_since(clock.instant())).await;
                }
            }
        }
    }
}
