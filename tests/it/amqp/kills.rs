//! `kill -9` at seeded moments of an appliance with enrichment, aggregates and RabbitMQ: every
//! event reaches RabbitMQ's reader, and is counted once by store and aggregates.
//!
//! `make kills N=10000` runs a tenth of its kills here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse::simulate::{Fault, FaultKind, Shape};
use serde_json::{Value, json};

use super::broker::{Broker, PATIENCE, broker};
use crate::common::client::request;
use crate::common::model::{Key, key_of};
use crate::common::running::{soon, until_some};
use crate::crash::kills::number;
use crate::crash::{Site, end};

/// Kills in `make test`.
const KILLS: u64 = 20;
/// The part of a long run's kills that is made here.
const PART: u64 = 10;
/// Kills of one directory.
const OF_A_SITE: u64 = 50;

/// The ops listener of the process that runs on this directory.
async fn listener(data: &Path) -> SocketAddr {
    until_some("it listens", async || {
        let found = ghpulse::appliance::ops_file::read(data).ok()?;
        let address: SocketAddr = found.url.trim_start_matches("http://").parse().ok()?;
        // The file of a killed process names a port that nobody listens on any more.
        tokio::net::TcpStream::connect(address).await.ok().map(|_| address)
    })
    .await
}

/// Reads until every event that GitHub has shown has arrived.
async fn read_all(broker: &Broker, queue: &str, wanted: &BTreeSet<Key>) {
    let mut reader = broker.reader(queue, &["evt.#"]).await;
    let mut seen = BTreeSet::new();
    let reading = async {
        while !wanted.is_subset(&seen) {
            let message = reader.message().await;
            let event: Value = serde_json::from_str(message["body"].as_str().unwrap()).unwrap();
            seen.insert(key_of(&event));
        }
    };
    if tokio::time::timeout(PATIENCE, reading).await.is_err() {
        let missing: Vec<_> = wanted.difference(&seen).collect();
        panic!("RabbitMQ's reader lacks {} events: {missing:?}", missing.len());
    }
}

async fn killed_again_and_again(broker: &Broker, seed: u64, kills: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let site = Site::new(seed, Shape::Today).await;
    site.control.set_fault(Fault::new(FaultKind::QuerySlow).share(0.3));
    let queue = format!("kills-{seed}");
    // Binds the queue, so that nothing is published before it exists.
    drop(broker.reader(&queue, &["evt.#"]).await);
    let options = broker.options("ght-streams");
    let settings = [("GHPULSE_AMQP_URL", options.url.expose())];
    site.kill_at_random(&mut rng, kills, &settings).await;
    site.control.clear_faults();

    let mut child = site.start_with(None, &settings);
    let served = site.control.until(|control| control.unserved() == 0);
    soon("all is served", served).await;
    let parsed = site.control.emitted().into_iter().map(|event| serde_json::from_str(&event));
    let wanted: BTreeSet<Key> = parsed.map(|event| key_of(&event.unwrap())).collect();
    read_all(broker, &queue, &wanted).await;
    let mut types = BTreeMap::<&str, u64>::new();
    for (kind, _) in &wanted {
        *types.entry(kind).or_default() += 1;
    }
    let (types, address) = (json!(types), listener(site.dir.path()).await);
    until_some("the aggregate has counted every event once", async || {
        let answer = request(address, "GET", "/stream/types?window=24h", &[]).await;
        (answer.status == 200 && answer.json()["value"] == types).then_some(())
    })
    .await;
    end(&mut child).await;
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_with_rabbitmq_and_aggregates_lose_and_double_nothing() {
    let Some(broker) = broker("kills_with_rabbitmq").await else { return };
    let kills = number("TEST_KILLS").map_or(KILLS, |kills| kills.div_ceil(PART));
    let mut seed = number("TEST_KILLS_SEED").unwrap_or(1);
    let clock = Clock::system();
    let (began, mut done) = (clock.instant(), 0);
    while done < kills {
        let each = OF_A_SITE.min(kills - done);
        println!("seed {seed}: TEST_KILLS_SEED={seed} make kills N={}", PART * each);
        killed_again_and_again(&broker, seed, each).await;
        done += each;
        seed += 1;
    }
    let took: Duration = clock.instant() - began;
    println!("report: {done} kills with RabbitMQ in {took:?}: nothing lost, nothing twice");
}
