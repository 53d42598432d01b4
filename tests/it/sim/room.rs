//! A full disk: polling pauses with a named reason, readers are still served, and polling resumes
//! when there is space again. Uses a separate real file system, where one can be mounted.

use ghpulse::clock::Clock;
use ghpulse::store::{Durability, Store};

use super::*;
use crate::common::client::request;
use crate::common::small_disk::SmallDisk;

/// Size of the file system in MiB; a twentieth of it is kept in reserve.
const SIZE: u64 = 400;

async fn store_part(appliance: &Running) -> Value {
    let status = request(appliance.ops, "GET", "/status?format=json", &[]).await.json();
    status["parts"][0].clone()
}

async fn until(appliance: &Running, what: &str, wanted: &str) -> Value {
    until_some(what, async || {
        Some(store_part(appliance).await).filter(|part| part["state"] == wanted)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_pauses_fetching_until_there_is_room() {
    let test = "a_disk_that_fills_up_pauses_fetching_until_there_is_room";
    let Some(disk) = SmallDisk::mount(SIZE) else {
        println!("skipped: {test}: no file system can be mounted");
        return;
    };
    let dir = disk.path();
    let data = dir.join("data");
    let github = GitHub::start(Options { shape: Shape::Old, ..Options::by_hand(77) }).await;
    let appliance = Running::start(&data, &github.url, PATIENT).await;
    github.control.emit(50);
    let served = github.control.until(|control| control.unserved() == 0);
    soon("all is served", served).await;
    until_replayed(&appliance, &github).await;

    disk.fill(8);
    let part = until(&appliance, "fetching pauses", "degraded").await;
    let error = part["error"].as_str().unwrap();
    assert!(error.contains("polling paused") && error.contains("free some space"), "{error}");
    // Only the poll in flight completes.
    let requests = github.control.requests();
    github.control.emit(60);
    for _ in 0..3 {
        until(&appliance, "still", "degraded").await;
    }
    let asked = github.control.requests() - requests;
    assert!(asked <= 12, "{asked} requests while fetching is paused");
    // Readers are served, and the process still counts as healthy.
    let ready = request(appliance.public, "GET", "/readyz", &[]).await;
    assert_eq!(ready.status, 200);
    let accept = ["accept: application/x-ndjson"];
    let replay = request(appliance.public, "GET", "/stream?poll=1", &accept).await.body;
    assert!(replay.lines().filter(|line| line.contains("\"type\":\"event\"")).count() >= 50);

    disk.free();
    until(&appliance, "there is room", "ok").await;
    let served = github.control.until(|control| control.unserved() == 0);
    soon("all is served", served).await;
    until_replayed(&appliance, &github).await;
    appliance.end().await;
    stored::assert_holds(&data, &expected(&github));
}

#[tokio::test(flavor = "multi_thread")]
async fn start_on_a_full_disk_ends_with_74() {
    let test = "start_on_a_full_disk_ends_with_74";
    let Some(disk) = SmallDisk::mount(16) else {
        println!("skipped: {test}: no file system can be mounted");
        return;
    };
    let data = disk.path().join("data");
    let refused = async || {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_ghpulse"));
        // Nobody answers at that address.
        command.args(["run", "--listen", "127.0.0.1:0", "--github", "http://127.0.0.1:9"]);
        command.arg("--data").arg(&data).env("GHPULSE_OPS_LISTEN", "off").kill_on_drop(true);
        let ended = soon("it ends", command.output()).await.unwrap();
        let log = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(74), "{log}");
        println!("{log}");
        let is_named = ["is full: free some space", "No space left on device"];
        assert!(is_named.iter().any(|words| log.contains(words)), "{log}");
    };
    disk.fill_up();
    refused().await;
    // The same with a store that was there before.
    disk.free();
    drop(Store::open(&data, Durability::EveryBatch, Clock::system()).unwrap());
    disk.fill_up();
    refused().await;
}
