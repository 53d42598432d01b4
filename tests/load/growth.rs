//! A simulated day at 300 events a second through pipeline and store: does anything grow with
//! history?
//!
//! `make bench ARGS=growth` takes 24 simulated hours, `ARGS="growth 2"` two of them. Time is
//! stepped from second to second, as fast as events are applied, with the default retention,
//! without scripts, aggregates and enrichment. Each simulated hour prints a row. Its last
//! [`ALONE`] seconds are admitted one by one, each after the one before is applied.
//!
//! Events are made from a few thousand simulated ones, each with ids, people, repositories and
//! objects of its own, so that what is remembered of a day grows as a day's does.

mod template;

use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use ghpulse::apply::numbers::bucket_span;
use ghpulse::clock::{Clock, Stopwatch};
use ghpulse::config;
use ghpulse::hub::{RetentionLimits, StreamJournal};
use ghpulse::model::ledger::{RankedBy, RankedWindow};
use ghpulse::model::position::{Cursor, Position};
use ghpulse::model::window::{Day, Timestamp};
use ghpulse::simulate::{Shape, World};
use ghpulse::store::ledger::rank::Ranking;
use ghpulse::store::retention::{self, RetentionOptions};
use ghpulse::store::{Store, periods};

use self::template::EventTemplate;
use crate::measure::{Figures, Process, Usage, bytes_on_disk, percentile, resident_bytes};
use crate::pipeline::{PAGE, RunningStages};
use crate::stream::{ask, serve_hub};

/// Hours without another number.
const DAY: u64 = 24;
/// Events a second.
const RATE: u64 = 300;
/// Seconds of an hour, and those of its end that are admitted one by one.
const HOUR: u64 = 3_600;
const ALONE: u64 = 100;
/// Seconds between two passes of retention, as in the program.
const RETENTION: u64 = 60;
/// Simulated events that all others are made from.
const TEMPLATES: usize = 5_000;
/// Duplicate pages, polls, and answers of each hour.
const LOOKS: usize = 200;
/// Events of one poll.
const POLLED: u64 = 100;

/// Microseconds that the simulated clock is ahead of the machine's.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Measures it once and prints the rows.
pub fn run(hours: Option<u64>) {
    let hours = hours.unwrap_or(DAY).clamp(1, DAY);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let path = dir.path().display();
    println!("growth: {hours} simulated hours at {RATE} events a second, in {path}");
    let watch = Stopwatch::start();
    runtime.block_on(async {
        let mut day = SimulatedDay::begin(dir.path()).await;
        day.print_cost_of_making();
        println!(
            "| hour | events | directory, MB | resident, MB | events a second | CPU an event, us \
             | a second's batch to journal, ms: p50 | p99 | page of duplicates, p99 ms \
             | `/stream` poll of {POLLED}, p99 ms | ranking of 24 hours, s | `/top`, p99 ms |"
        );
        println!("|{}", "---|".repeat(12));
        for hour in 1..=hours {
            println!("{}", day.hour(hour).await);
        }
        day.stages.end().await;
    });
    // Closes the store before its directory is removed.
    drop(runtime);
    println!("growth: measured in {:.0} s", watch.elapsed().as_secs_f64());
}

/// The pipeline, and how far the day has come.
struct SimulatedDay<'d> {
    dir: &'d Path,
    store: Store,
    stages: RunningStages,
    retention: RetentionOptions,
    address: String,
    clock: Clock,
    templates: Vec<EventTemplate>,
    random: fastrand::Rng,
    starts_at: Timestamp,
    /// Seconds that are over.
    seconds: u64,
}

impl<'d> SimulatedDay<'d> {
    async fn begin(dir: &'d Path) -> Self {
        let clock = Clock::stepped(&AHEAD);
        // From midnight on, so that sets of a day are filled once.
        let starts_at = Day(clock.now().day().0 + 1).start();
        step_to(clock, starts_at);
        let config = config::defaults();
        let store = Store::open(dir, config.store.sync, clock).expect("a new store opens");
        let stages = RunningStages::start(&store, clock);
        store.journal_was_read().expect("it is a new store");
        let kept = (config.store.journal_for, config.store.journal_bytes);
        stages.hub.attach_journal(StreamJournal {
            store: store.clone(),
            tag: store.bus_tag(),
            applied: None,
            simulated: false,
            kept: RetentionLimits { duration: kept.0, bytes: kept.1 },
        });
        let retention = RetentionOptions {
            tag: store.bus_tag(),
            seen_for: config.store.seen_for,
            buckets: bucket_span(config.interval.latest_during),
            journal_for: kept.0,
            journal_bytes: kept.1,
            held_by: None,
        };
        let address = serve_hub(&stages.hub).await;
        let mut world = World::new(1, Shape::Today);
        let made = (0..TEMPLATES).map(|_| EventTemplate::of(&world.next_event(starts_at)));
        let (templates, random) = (made.collect(), fastrand::Rng::with_seed(7));
        Self {
            dir,
            store,
            stages,
            retention,
            address,
            clock,
            templates,
            random,
            starts_at,
            seconds: 0,
        }
    }

    /// Takes the next hour, and returns its row.
    async fn hour(&mut self, hour: u64) -> String {
        let usage = Usage::now();
        while self.seconds < hour * HOUR - ALONE {
            self.second().await;
        }
        self.stages.applied().await;
        let bulk = usize::try_from((HOUR - ALONE) * RATE).expect("it is small");
        let bulk: Figures = usage.figures(bulk);
        let mut alone = Vec::new();
        while self.seconds < hour * HOUR {
            let watch = Stopwatch::start();
            self.second().await;
            self.stages.applied().await;
            alone.push(milliseconds(watch));
        }
        periods::sweep(&self.store, self.clock.now()).await.expect("the store takes it");
        assert_eq!(self.stages.hub.tail().end(), self.seconds * RATE);
        let (mut duplicates, mut polls) = (Vec::new(), Vec::new());
        for _ in 0..LOOKS {
            duplicates.push(self.admit_duplicates().await);
            polls.push(self.poll());
        }
        let (ranked, mut answers) = self.rank();
        format!(
            "| {hour} | {} | {} | {} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {ranked:.2} \
             | {:.2} |",
            self.seconds * RATE,
            bytes_on_disk(self.dir) / 1_000_000,
            resident_bytes(Process::This) / 1_000_000,
            bulk.each_second(),
            bulk.cpu_micros_each(),
            percentile(&mut alone, 50),
            percentile(&mut alone, 99),
            percentile(&mut duplicates, 99),
            percentile(&mut polls, 99),
            percentile(&mut answers, 99),
        )
    }

    /// Admits the events of the next second as one poll, and does what the program does each
    /// second and each minute.
    async fn second(&mut self) {
        let (from, until) = (self.seconds * RATE, (self.seconds + 1) * RATE);
        self.seconds += 1;
        step_to(self.clock, self.at(until));
        let page = u64::try_from(PAGE).expect("it is small");
        let pages: Vec<Bytes> = (from..until)
            .step_by(PAGE)
            .map(|first| self.page(first..until.min(first + page)))
            .collect();
        assert_eq!(self.stages.admit(&pages).await.new, RATE);
        if self.seconds.is_multiple_of(RETENTION) {
            let now = self.clock.now();
            let dropped = retention::drop_due(&self.store, self.retention, now).await;
            dropped.expect("the store takes it");
            // As the ticker does, which lets counts of past seconds go.
            drop(self.stages.numbers.window(now.second()));
            let figures = self.stages.numbers.refresh(&self.store, now.year());
            figures.expect("the store can be read");
        }
    }

    /// When an event happened.
    fn at(&self, number: u64) -> Timestamp {
        let seconds = i64::try_from(number / RATE).expect("it is a day");
        Timestamp::from_seconds(self.starts_at.second().0 + seconds)
    }

    /// The events of these numbers.
    fn page(&self, numbers: Range<u64>) -> Bytes {
        let count = u64::try_from(TEMPLATES).expect("it is small");
        let mut page = String::from("[");
        for number in numbers {
            let template = usize::try_from(number % count).expect("it is small");
            if page.len() > 1 {
                page.push(',');
            }
            let (round, at) = (number / count, self.at(number));
            self.templates[template].write(&mut page, number, round, at);
        }
        page.push(']');
        page.into()
    }

    /// How long it takes to find that all events of a page were seen.
    async fn admit_duplicates(&mut self) -> f64 {
        let page = u64::try_from(PAGE).expect("it is small");
        let first = self.random.u64(..self.seconds * RATE - page);
        let page = self.page(first..first + page);
        let watch = Stopwatch::start();
        let admitted = self.stages.admit(&[page]).await;
        let took = milliseconds(watch);
        assert_eq!((admitted.new, admitted.known), (0, POLLED));
        took
    }

    /// How long it takes to answer a poll from a cursor within the journal.
    fn poll(&mut self) -> f64 {
        let number = self.random.u64(1..self.seconds * RATE - POLLED);
        let cursor = Cursor { tag: self.store.bus_tag(), position: Position::counted(number) };
        let watch = Stopwatch::start();
        let params = format!("&limit={POLLED}&cursor={cursor}");
        let mut stream = ask(&self.address, &params, "identity");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is text");
        let took = milliseconds(watch);
        // Without the sizes of the chunks, which are lines before them.
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let body: String = body.split("\r\n").skip(1).step_by(2).collect();
        let events = body.matches("{\"type\":\"event\"").count();
        assert_eq!(events as u64, POLLED);
        took
    }

    /// Seconds to compute a ranking, and milliseconds of answers from it.
    fn rank(&self) -> (f64, Vec<f64>) {
        let watch = Stopwatch::start();
        let (day, now) = (RankedWindow::Day, self.clock.now());
        let ranking = Ranking::compute(self.store.reader(), day, now, None);
        let ranking = ranking.expect("it is readable");
        let computed = watch.elapsed().as_secs_f64();
        let answer = |look: usize| {
            let watch = Stopwatch::start();
            let by = RankedBy::ALL[look % RankedBy::ALL.len()];
            ranking.top(self.store.reader(), by, None, 25).expect("it is readable");
            milliseconds(watch)
        };
        (computed, (0..LOOKS).map(answer).collect())
    }

    /// Prints how much of the CPU of an event is the benchmark's own.
    fn print_cost_of_making(&self) {
        let usage = Usage::now();
        for number in (0..RATE * HOUR).step_by(PAGE) {
            std::hint::black_box(self.page(number..number + POLLED));
        }
        let made = usage.figures(usize::try_from(RATE * HOUR).expect("it is small"));
        let bytes = self.page(0..RATE).len() as u64 / RATE;
        println!(
            "growth: events of {bytes} bytes; making one takes {:.1} us of the CPU below",
            made.cpu_micros_each()
        );
    }
}

/// Steps the clock forward to a time; never back.
fn step_to(clock: Clock, at: Timestamp) {
    let ahead = at.micros() - clock.now().micros();
    AHEAD.fetch_add(ahead.max(0), Ordering::Relaxed);
}

fn milliseconds(watch: Stopwatch) -> f64 {
    watch.elapsed().as_secs_f64() * 1e3
}
