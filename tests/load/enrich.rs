//! How many pull-request events are enriched in time at the highest estimated rate of GitHub's
//! feed, with few tokens, under the limits of GraphQL: points per hour, ten seconds per query, and
//! a minute of work per minute. The work of a query is a guess: GitHub does not publish it.

use std::time::Duration;

use ghpulse::bus::embedded::EmbeddedBus;
use ghpulse::bus::{Bus as _, Content};
use ghpulse::clock::{Clock, Stopwatch};
use ghpulse::collect::enrich::{Enrich, EnrichLookup};
use ghpulse::collect::ingest::{self, IngestOptions};
use ghpulse::collect::poller::Poller;
use ghpulse::config::{self, GitHubConfig, Secret};
use ghpulse::model::envelope::Envelope;
use ghpulse::simulate::{HIGH_LIMIT, Options, QueryOptions, Shape, Simulation};
use ghpulse::store::{Durability, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Pull-request events per second, then their share of all events.
const PULLS: f64 = 64.0;
const SHARE: f64 = 0.27;
/// Excluded from the figures, while budgets and the size of queries settle.
const WARM: Duration = Duration::from_secs(25);
const MEASURED: Duration = Duration::from_secs(60);
/// A query for 100 pull requests takes two seconds: a fixed part, and a part per pull request.
const DELAY: Duration = Duration::from_millis(300);
const DELAY_EACH: Duration = Duration::from_millis(17);
/// GitHub's points per hour.
const POINTS: u32 = 5_000;

/// The pull-request events seen.
#[derive(Default)]
struct Seen {
    delays: Vec<Duration>,
    enriched: usize,
}

/// Measures and prints.
pub fn run() {
    println!(
        "enrich: {PULLS} pull-request events a second; {POINTS} points an hour, half of them used; \
         a query takes {DELAY:?} and {DELAY_EACH:?} for each"
    );
    for tokens in [1, 3] {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.expect("a runtime starts").block_on(with_tokens(tokens));
    }
}

async fn with_tokens(tokens: usize) {
    let (clock, stop) = (Clock::system(), CancellationToken::new());
    let query = QueryOptions {
        limit: POINTS,
        delay: DELAY,
        delay_each: DELAY_EACH,
        ..QueryOptions::default()
    };
    let options = Options {
        shape: Shape::Today,
        rate: PULLS / SHARE,
        query,
        limit: HIGH_LIMIT,
        ..Options::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let simulation = Simulation::start(listener, options, clock, stop.clone());
    let simulation = simulation.expect("the options are good");
    let (url, control) = (simulation.url(), simulation.control());
    let names = (0..tokens).map(|n| Secret::new(format!("token-{n}")));
    let pace = Duration::from_millis(250);
    let github = GitHubConfig { api_url: url.clone(), pace, ..config::defaults().github };
    let poller = Poller::new(&github, names.collect(), clock).expect("the address is good");
    let url = format!("{url}/graphql");
    let lookup = EnrichLookup::new(&url, &github.enrich, poller.pool(), clock);
    let lookup = lookup.expect("the address is good");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path(), Durability::EveryBatch, clock).expect("a new store opens");
    let enrich = Enrich { lookup: Some(lookup), ..Enrich::without_asking(store.clone(), clock) };
    let limits =
        IngestOptions { backlog_bytes: 1 << 30, pages: 3, lists: std::sync::Arc::default(), clock };
    let ingest = ingest::run(poller, store.clone(), limits, stop.clone());
    let stages = [
        tokio::spawn(simulation.wait()),
        tokio::spawn(ingest),
        tokio::spawn(enrich.run(stop.clone())),
    ];
    watch(&store, clock, WARM).await;
    let queries = control.queries();
    let seen = watch(&store, clock, MEASURED).await;
    print(tokens, seen, control.queries() - queries);
    println!("    answers: {:?}", control.outcomes());
    stop.cancel();
    for stage in stages {
        stage.await.expect("no panic").expect("no failure");
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
fn print(tokens: usize, mut seen: Seen, queries: u64) {
    seen.delays.sort_unstable();
    let count = seen.delays.len().max(1);
    // A percentile of the delay.
    let at = |percent: usize| {
        let delay = seen.delays.get((count - 1) * percent / 100);
        delay.map_or(0.0, Duration::as_secs_f64)
    };
    let (all, seconds) = (count as f64, MEASURED.as_secs_f64());
    let points = f64::from(POINTS) * tokens as f64 / 3_600.0 * seconds;
    println!(
        "  {tokens} tokens: {:.1} % of {:.0} a second enriched in time; {:.1} queries for 1,000, \
         {:.0} % of the points; added delay p50 {:.1} s, p99 {:.1} s",
        100.0 * seen.enriched as f64 / all,
        all / seconds,
        1_000.0 * queries as f64 / all,
        100.0 * queries as f64 / points,
        at(50),
        at(99),
    );
}

/// Reads events from the bus for a while.
async fn watch(store: &Store, clock: Clock, span: Duration) -> Seen {
    let mut bus = EmbeddedBus::new(store.clone());
    let (mut seen, watch) = (Seen::default(), Stopwatch::start());
    while watch.elapsed() < span {
        let deliveries = bus.next().await.expect("the store is open");
        let now = clock.now();
        let mut receipts = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            if let Content::Event(Envelope { facts, .. }, ..) = delivery.content
                && facts.flags.pr
            {
                seen.delays.push(now.since(facts.received_at));
                seen.enriched += usize::from(facts.enriched);
            }
            receipts.push(delivery.receipt);
        }
        let settle = store.commit(move |batch| {
            EmbeddedBus::settle(&receipts, batch)?;
            Ok(receipts)
        });
        let receipts = settle.await.expect("the store is open");
        bus.acknowledge(receipts).await.expect("the store is open");
    }
    seen
}
