//! The ledger with millions of repositories: size of its rows, start, look-up, rankings, folding.
//!
//! `make bench ARGS="ledger 10000000"` takes that many repositories; without a number a million.
//! Each of 40 days has events of a tenth of them, as GitHub has, most with one event. Rows are
//! written through the import of hours, four a day.

use ghpulse::clock::{Clock, Stopwatch};
use ghpulse::model::activity::{Coverage, MissedRange, Span};
use ghpulse::model::ledger::{LedgerMetric, RankedBy, RankedWindow};
use ghpulse::model::window::{Hour, Timestamp};
use ghpulse::store::inspect;
use ghpulse::store::keys::RepoKey;
use ghpulse::store::ledger::import::LedgerHour;
use ghpulse::store::ledger::rank::Ranking;
use ghpulse::store::ledger::seen::SeenDays;
use ghpulse::store::{Durability, Store, activity, repos};

/// Days that are written.
const DAYS: i32 = 40;
/// Hours of a day that have events.
const HOURS: [i64; 4] = [2, 8, 14, 20];
/// Repositories without another number.
const USUAL: u64 = 1_000_000;
/// Days of the longest series.
const YEARS: i64 = 731;
/// Look-ups of a measurement.
const LOOKS: usize = 5_000;

/// Measures it once and prints the result.
pub fn run(repos: Option<u64>) {
    let count = repos.unwrap_or(USUAL);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Clock::system();
    let open = || Store::open(dir.path(), Durability::EveryBatch, clock).expect("a new store");
    let today = clock.now().day().0;
    let store = open();
    let mut random = fastrand::Rng::with_seed(7);
    let watch = Stopwatch::start();
    let mut events = 0_u64;
    for day in today - DAYS + 1..=today {
        for hour in HOURS {
            let mut counts = LedgerHour::default();
            for _ in 0..count / 10 / HOURS.len() as u64 {
                events += count_one(&mut counts, &mut random, count);
            }
            let hour = Hour(i64::from(day) * 24 + hour);
            let written = store.commit(move |batch| counts.write(batch, hour));
            runtime.block_on(written).expect("the disk takes it");
        }
        if (today - day) % 10 == 0 {
            let seconds = watch.elapsed().as_secs_f64();
            println!("ledger: {} days are written after {seconds:.0} s", day - today + DAYS);
        }
    }
    let seconds = watch.elapsed().as_secs_f64();
    println!(
        "ledger: {count} repositories, {DAYS} days, {events} events, written in {seconds:.0} s"
    );
    languages(&runtime, &store, count, clock.now());
    drop(store);
    let watch = Stopwatch::start();
    let store = open();
    println!("ledger: open: {:.3} s", watch.elapsed().as_secs_f64());
    sizes(&store);
    looks(&store, &mut random, (count, today));
    seen(&runtime, &store, clock.now());
    rankings(&store, clock.now());
}

/// How long it takes to say how much of two years was seen: from the rows, and as answers do.
fn seen(runtime: &tokio::runtime::Runtime, store: &Store, now: Timestamp) {
    let (today, hour) = (now.day(), now.hour().0);
    let put = store.commit(move |batch| {
        for at in hour - YEARS * 24..=hour {
            let missed = MissedRange { low: 800.0, estimate: 900.0, high: 1_000.0 };
            let (seen, missed) = ([300_000, 9_000], [missed; 2]);
            let coverage = Coverage { watched: 60, known: 60, seen, missed, lag: Some(30_000) };
            activity::put_coverage(batch, Span::Hour, at, &coverage);
        }
        Ok(())
    });
    runtime.block_on(put).expect("the disk takes it");
    let days = today.0 - 730..today.0 + 1;
    let measure = |what: &str, read: &dyn Fn()| {
        let mut took: Vec<f64> = (0..200)
            .map(|_| {
                let watch = Stopwatch::start();
                read();
                watch.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        took.sort_by(f64::total_cmp);
        println!(
            "ledger: seen share of 731 days {what}: median {:.2} ms, p99 {:.2} ms",
            took[100], took[198]
        );
    };
    let reader = || store.reader();
    measure("from its rows", &|| _ = reader().days_seen(days.clone()).expect("it is readable"));
    let kept = SeenDays::default();
    let read = || kept.read(reader(), days.clone(), today).expect("it is readable");
    measure("as it is answered", &|| _ = read());
}

/// Counts one to a few events of a repository; small numbers have more than large ones.
fn count_one(counts: &mut LedgerHour, random: &mut fastrand::Rng, of: u64) -> u64 {
    let repo = id(random.u64(..of));
    let name = format!("owner-{}/repository-{repo}", repo % 1_000_003);
    let n = if random.u8(..) < 40 { random.u64(2..12) } else { 1 };
    for _ in 0..n {
        let metric = [LedgerMetric::Pushes, LedgerMetric::Stars, LedgerMetric::PullsOpened];
        counts.count(repo, metric[random.usize(..3)], [Some(&name), None]);
    }
    n
}

/// Ids are spread as GitHub's are.
fn id(n: u64) -> u64 {
    n * 109 + 1_000
}

/// A tenth of the repositories has a language.
fn languages(runtime: &tokio::runtime::Runtime, store: &Store, count: u64, now: Timestamp) {
    const NAMES: [&str; 8] = ["Rust", "Go", "C", "C++", "Python", "Java", "TypeScript", "Zig"];
    let all: Vec<u64> = (0..count).step_by(10).collect();
    for some in all.chunks(50_000) {
        let some = some.to_vec();
        let put = store.commit(move |batch| {
            for n in some {
                let language = NAMES[usize::try_from(n / 10).unwrap_or(0) % NAMES.len()];
                repos::remember(batch, RepoKey(id(n)), Some(language), now)?;
            }
            Ok(())
        });
        runtime.block_on(put).expect("the disk takes it");
    }
}

fn sizes(store: &Store) {
    for family in inspect::families(store.reader()).expect("it is readable") {
        if ["ledger", "ledger_months", "repo_names"].contains(&family.family.as_str()) {
            let inspect::InspectedFamily { family, about_rows, about_bytes, .. } = family;
            #[expect(clippy::cast_precision_loss, reason = "a size in bytes")]
            let each = about_bytes as f64 / about_rows.max(1) as f64;
            println!("ledger: {family}: {about_rows} rows, {about_bytes} B, {each:.1} B a row");
        }
    }
}

fn looks(store: &Store, random: &mut fastrand::Rng, (count, today): (u64, i32)) {
    for (what, days) in [("30 days", 30), ("365 days", 365)] {
        let mut took = Vec::with_capacity(LOOKS);
        for _ in 0..LOOKS {
            let repo = id(random.u64(..count));
            let name = format!("owner-{}/repository-{repo}", repo % 1_000_003);
            let watch = Stopwatch::start();
            let reader = store.reader();
            if let Some(repo) = reader.repo_named(&name).expect("it is readable") {
                let range = today - days + 1..today + 1;
                let counts = reader.ledger_of(repo, range.clone()).expect("it is readable");
                let seen = reader.days_seen(range).expect("it is readable");
                assert!(counts.len() <= seen.len());
            }
            took.push(watch.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        let (half, p99) = (took[LOOKS / 2], took[LOOKS * 99 / 100]);
        println!("ledger: look-up of {what}: median {half:.2} ms, p99 {p99:.2} ms");
    }
}

fn rankings(store: &Store, now: Timestamp) {
    for window in RankedWindow::ALL {
        let watch = Stopwatch::start();
        let ranking = Ranking::compute(store.reader(), window, now, None).expect("it is readable");
        let seconds = watch.elapsed().as_secs_f64();
        let mut took: Vec<f64> = (0..LOOKS)
            .map(|look| {
                let watch = Stopwatch::start();
                let by = RankedBy::ALL[look % 4];
                let language = (look % 2 == 0).then_some("Rust");
                ranking.top(store.reader(), by, language, 25).expect("it is readable");
                watch.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        took.sort_by(f64::total_cmp);
        println!(
            "ledger: ranking of {}: computed in {seconds:.2} s; an answer: p99 {:.2} ms",
            window.name(),
            took[LOOKS * 99 / 100]
        );
    }
}
