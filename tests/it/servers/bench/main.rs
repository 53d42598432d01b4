//! `make bench-servers`: a collector and an edge on a real broker, next to a plain producer and
//! consumer of the same library in the same run. Nothing passes or fails here; compare only figures
//! of one machine and one run.
//!
//! `cargo bench --bench servers -- outage=60` sets for how many seconds the broker is away.
//! Collector, edge and plain clients share this process, so its memory is that of all of them. An
//! event counts as delivered when it is in the edge's tail, from which connections are served; that
//! is polled every millisecond.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]
#![expect(clippy::large_futures, reason = "the client library's are, and there are few of them")]

#[path = "../broker.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod broker;
#[path = "../../../common/mod.rs"]
mod common;
#[path = "../../../load/measure.rs"]
#[expect(dead_code, unreachable_pub, reason = "the other benchmarks use all of it")]
mod measure;
#[path = "../node.rs"]
#[expect(dead_code, reason = "the tests use all of it")]
mod node;
#[path = "../../../load/report.rs"]
#[expect(dead_code, unreachable_pub, reason = "the other benchmarks use all of it")]
mod report;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use ghpulse::bus::ProducerGrant;
use ghpulse::clock::{Clock, Stopwatch};
use ghpulse::config::{Compression, PulsarConfig};
use ghpulse::simulate::{Shape, World};
use pulsar::compression::CompressionLz4;
use pulsar::{Consumer, Producer, ProducerOptions, Pulsar, SubType, TokioExecutor};
use tempfile::{TempDir, tempdir};
use tokio::time::{Instant, MissedTickBehavior};

use broker::{Broker, shared};
use measure::{Process, Usage, resident_bytes};
use node::Node;
use report::{Aim, Bound, Report};

/// The same allocator as in the program.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Events sent as fast as possible.
const MANY: usize = 30_000;
/// Warm-up events of each kind: the JVM of a fresh broker spends some time compiling, on most of
/// two cores.
const WARM: usize = 20_000;
/// Events at [`STEADY`] per second.
const TIMED: usize = 2_000;
/// Events per second while latency is measured.
const STEADY: u64 = 100;
/// Events per second while the broker is away.
const WHILE_AWAY: u64 = 200;
/// Most bytes between admission and topic before more events are admitted.
const WAITING: u64 = 32 << 20;

const PLAIN: &str = "plain producer to plain consumer, the same bytes";
const COLLECTOR_TO_EDGE: &str = "collector to edge, from admission, both ends: ghpulse";

/// The targets, for a machine with two cores.
const AIMS: [Aim; 2] = [
    ("broker", COLLECTOR_TO_EDGE, "a second", Bound::AtLeast(10_000.0)),
    ("broker", COLLECTOR_TO_EDGE, "CPU each, us", Bound::AtMost(130.0)),
];

/// A collector and an edge.
struct Two {
    collector: Node,
    edge: Node,
    admitted: u64,
    /// Generated in advance, so that generating them is not measured.
    events: std::vec::IntoIter<String>,
    world: World,
    _dirs: [TempDir; 2],
}

impl Two {
    async fn on(broker: &Broker, topic: &str, events: usize) -> Self {
        let options = PulsarConfig { compression: Compression::Lz4, ..broker.options(topic) };
        let dirs = [tempdir().unwrap(), tempdir().unwrap()];
        let mut collector = Node::collector(&dirs[0], &options).await;
        let mut edge = Node::edge(&dirs[1], &options).await;
        collector.is(ProducerGrant::Granted).await;
        collector.is_connected(true).await;
        edge.is_connected(true).await;
        let mut world = World::new(1, Shape::Old);
        let events: Vec<_> = (0..events).map(|_| next(&mut world)).collect();
        let events = events.into_iter();
        let mut two = Self { collector, edge, admitted: 0, events, world, _dirs: dirs };
        // On an empty topic the relay waits two seconds, in case there is more. An empty topic
        // cannot always be reopened either.
        two.admit(1).await;
        two.has_come().await;
        two
    }

    async fn admit(&mut self, events: usize) {
        let made = |_| self.events.next().unwrap_or_else(|| next(&mut self.world));
        let page: Vec<_> = (0..events).map(made).collect();
        self.admitted += page.len() as u64;
        self.collector.admit(&page).await;
    }

    /// Sends this many events as fast as possible.
    async fn pass(&mut self, events: usize) {
        let end = self.admitted + events as u64;
        let mut waiting = self.collector.store.watermarks().backlog.subscribe();
        while self.admitted < end {
            self.admit(100).await;
            waiting.wait_for(|bytes| *bytes < WAITING).await.unwrap();
        }
        self.has_come().await;
    }

    /// Waits until the edge has all admitted events.
    async fn has_come(&self) {
        let mut looks = ticks(Duration::from_millis(1));
        while self.edge.applied() < self.admitted {
            looks.tick().await;
        }
    }

    async fn end(self) {
        self.collector.end().await;
        self.edge.end().await;
    }
}

fn next(world: &mut World) -> String {
    world.next_event(Clock::system().now()).to_string()
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn main() {
    let outage = std::env::args().find_map(|arg| arg.strip_prefix("outage=")?.parse().ok());
    let outage = Duration::from_secs(outage.unwrap_or(60));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let Some(pulsar) = shared("bench").await else { return };
        let broker = pulsar.broker;
        let mut report = Report::default();
        as_fast_as_it_goes(&mut report, broker).await;
        one_by_one(&mut report, broker).await;
        while_it_is_away(&mut report, broker, outage).await;
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let path = report.write(&PathBuf::from(target).join("bench-servers"), &AIMS);
        println!("report: {}", path.unwrap().display());
    });
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a benchmark are few")]
fn megabytes() -> f64 {
    resident_bytes(Process::This) as f64 / 1e6
}

async fn as_fast_as_it_goes(report: &mut Report, broker: &Broker) {
    let mut two = Two::on(broker, "fast", WARM + MANY).await;
    let (warm, many) = two.events.as_slice().split_at(WARM);
    let bytes: usize = many.iter().map(String::len).sum();
    let about = format!("{MANY} simulated events of {} bytes, after {WARM} others.", bytes / MANY);
    report.section("broker", &about);
    plain_fast(broker, warm).await;
    let usage_of_broker = || Usage::of(Process::Other(broker.pid()));
    let theirs = usage_of_broker();
    plain_fast(broker, many).await.add(report, "broker", PLAIN);
    let theirs = theirs.figures(MANY).cpu_micros_each();
    report.add("broker", PLAIN, "CPU of the broker each, us", theirs);
    two.pass(WARM).await;
    let (usage, theirs) = (Usage::now(), usage_of_broker());
    two.pass(MANY).await;
    usage.figures(MANY).add(report, "broker", COLLECTOR_TO_EDGE);
    let theirs = theirs.figures(MANY).cpu_micros_each();
    report.add("broker", COLLECTOR_TO_EDGE, "CPU of the broker each, us", theirs);
    report.add("broker", COLLECTOR_TO_EDGE, "resident, MB", megabytes());
    two.end().await;
}

/// Compressed as by our default.
fn lz4() -> ProducerOptions {
    let packed = pulsar::compression::Compression::Lz4(CompressionLz4::default());
    ProducerOptions { compression: Some(packed), ..ProducerOptions::default() }
}

/// A producer, a consumer, and their shared client.
async fn plain(
    broker: &Broker,
    topic: &str,
    options: ProducerOptions,
) -> (Producer<TokioExecutor>, Consumer<Vec<u8>, TokioExecutor>) {
    let client: Pulsar<_> = Pulsar::builder(broker.url(), TokioExecutor).build().await.unwrap();
    let consuming = client.consumer().with_topic(topic).with_subscription("plain");
    let consumer = consuming.with_subscription_type(SubType::Exclusive).build().await.unwrap();
    let producing = client.producer().with_topic(topic).with_options(options);
    (producing.build().await.unwrap(), consumer)
}

async fn plain_fast(broker: &Broker, events: &[String]) -> measure::Figures {
    let options = ProducerOptions {
        batch_size: Some(500),
        batch_timeout: Some(Duration::from_millis(20)),
        block_queue_if_full: true,
        ..lz4()
    };
    let (mut producer, mut consumer) = plain(broker, "plain-fast", options).await;
    let count = events.len();
    let events = events.to_vec();
    let usage = Usage::now();
    let producing = tokio::spawn(async move {
        let mut receipts = Vec::with_capacity(events.len());
        for event in events {
            receipts.push(producer.send_non_blocking(event.into_bytes()).await.unwrap());
        }
        producer.send_batch().await.unwrap();
        for receipt in receipts {
            receipt.await.unwrap();
        }
        producer
    });
    for _ in 0..count {
        let message = consumer.next().await.unwrap().unwrap();
        consumer.ack(&message).await.unwrap();
    }
    producing.await.unwrap();
    usage.figures(count)
}

/// Sends at a steady rate and reports the latency of each event; alternates between ours and the
/// plain ones, so that both see the same machine.
async fn one_by_one(report: &mut Report, broker: &Broker) {
    let clock = Clock::system();
    let mut two = Two::on(broker, "steady", 0).await;
    let start = two.edge.applied();
    let options = lz4();
    let (mut producer, mut consumer) = plain(broker, "plain-steady", options).await;
    let (mut sent, mut came) = (Vec::<Instant>::new(), Vec::<Duration>::new());
    let (mut plain_sent, mut plain_came) = (Vec::<Instant>::new(), Vec::<Duration>::new());
    let mut sends = ticks(Duration::from_micros(1_000_000 / STEADY));
    let mut looks = ticks(Duration::from_millis(1));
    let body = next(&mut two.world);
    while came.len() < TIMED || plain_came.len() < TIMED {
        tokio::select! {
            _ = sends.tick(), if sent.len() < TIMED => {
                sent.push(clock.instant());
                two.admit(1).await;
                plain_sent.push(clock.instant());
                drop(producer.send_non_blocking(body.clone().into_bytes()).await.unwrap());
            }
            _ = looks.tick() => {}
        }
        let now = clock.instant();
        while (came.len() as u64) < two.edge.applied() - start {
            came.push(now.duration_since(sent[came.len()]));
        }
        while let Some(message) = consumer.next().now_or_never() {
            consumer.ack(&message.unwrap().unwrap()).await.unwrap();
            plain_came.push(now.duration_since(plain_sent[plain_came.len()]));
        }
    }
    report.section("delay", &format!("{STEADY} events a second, from one end to the other."));
    let mut add = |row: &str, mut took: Vec<Duration>| {
        took.sort_unstable();
        let at = |percent: usize| took[took.len() * percent / 100].as_secs_f64() * 1e3;
        report.add("delay", row, "p50, ms", at(50));
        report.add("delay", row, "p99, ms", at(99));
    };
    add("from admission to the edge's readers: ghpulse", came);
    add("plain producer to plain consumer", plain_came);
    two.end().await;
}

async fn while_it_is_away(report: &mut Report, broker: &Broker, outage: Duration) {
    let mut two = Two::on(broker, "away", 0).await;
    let before = megabytes();
    broker.kill();
    let start = two.edge.applied();
    let watch = Stopwatch::start();
    let mut sends = ticks(Duration::from_millis(100));
    let together = usize::try_from(WHILE_AWAY / 10).unwrap();
    while watch.elapsed() < outage {
        sends.tick().await;
        two.admit(together).await;
    }
    let during = megabytes();
    broker.start();
    let mut looks = ticks(Duration::from_millis(1));
    while two.edge.applied() == start {
        tokio::select! {
            biased;
            _ = sends.tick() => two.admit(together).await,
            _ = looks.tick() => {}
        }
    }
    let grew = watch.elapsed().as_secs_f64();
    let (waiting, back) = (two.admitted - start, Stopwatch::start());
    two.has_come().await;
    let all = back.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "events of a benchmark are few")]
    let rate = waiting as f64 / all;
    let about = format!(
        "The broker is killed, and the edge gets the next event {grew:.0} s later; {WHILE_AWAY} \
         events a second meanwhile."
    );
    report.section("outage", &about);
    #[expect(clippy::cast_precision_loss, reason = "events of a benchmark are few")]
    let waited = waiting as f64;
    for (column, value) in [
        ("events that waited", waited),
        ("all there after, s", all),
        ("a second", rate),
        ("before, MB", before),
        ("at its end, MB", during),
        ("after, MB", megabytes()),
    ] {
        report.add("outage", "collector and edge: ghpulse", column, value);
    }
    two.end().await;
}
