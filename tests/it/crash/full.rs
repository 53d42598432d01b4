//! SIGTERM while the disk is full and a write waits for space: the process ends soon, reports that
//! a write is missing, and after the next start with free space nothing is lost or counted twice.

use std::collections::BTreeSet;

use serde_json::json;

use super::copies::bury;
use super::*;
use crate::common::model::{Key, key_of};
use crate::common::running::until_some;
use crate::common::small_disk::SmallDisk;

/// Size of the file system in MiB.
const SIZE: u64 = 400;
/// Events of the simulated GitHub.
const EMITTED: usize = 60;
/// Dead letters whose retry needs more space than the store has reserved for its log, and their
/// size in bytes.
const LETTERS: u64 = 400;
const LETTER_BYTES: usize = 100_000;

/// An event that takes much space.
fn large_event(number: u64) -> String {
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(LETTER_BYTES).collect();
    format!(
        concat!(
            r#"{{"id":"{}","type":"IssuesEvent","actor":{{"id":1}},"repo":{{"id":2}},"#,
            r#""payload":{{"action":"opened","text":"{}"}},"created_at":"2026-11-22T05:00:00Z"}}"#
        ),
        number, text
    )
}

/// Fills the dead-letter queue of a new store with events that this version can read.
async fn fill_with_letters(data: &Path) {
    let store = Store::open(data, Durability::EveryBatch, Clock::system()).unwrap();
    bury(&store, LETTERS, large_event).await;
}

/// Retries the dead letters through the appliance that has the store open.
fn requeue(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    command.args(["requeue", "--data"]).arg(data).env_clear().stdin(Stdio::null());
    command.kill_on_drop(true);
    command
}

/// Starts an appliance that logs to a file, and waits until it answers commands.
async fn start(site: &Site, data: &Path, log: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    command.args(["run", "--listen", "127.0.0.1:0"]);
    let log = log.to_str().unwrap();
    let settings = [("GHPULSE_LOG_FILE", log), ("GHPULSE_SERVER_GRACE", "2s")];
    let child = site.start_as(command, data, None, &settings);
    let ops = data.join("ops");
    until_some("it answers commands", async || ops.exists().then_some(())).await;
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_on_a_full_disk_ends_soon_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(SIZE) else {
        println!(
            "skipped: stop_on_a_full_disk_ends_soon_and_loses_nothing: no file system can be \
             mounted"
        );
        return;
    };
    let (data, around) = (disk.path().join("data"), tempfile::tempdir().unwrap());
    fill_with_letters(&data).await;
    let site = Site::new(37, Shape::Old).await;
    let log = around.path().join("log");
    let mut child = start(&site, &data, &log).await;
    site.control.emit(EMITTED);
    let requests = site.control.requests();
    let read = site.control.until(|c| c.unserved() == 0 && c.requests() > requests + 9);
    tokio::time::timeout(PATIENCE, read).await.expect("all is read in time");

    disk.fill_up();
    let mut retrying = requeue(&data).stderr(Stdio::null()).spawn().unwrap();
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    let waits = "the disk is full: writes wait";
    until_some("a write waits", async || logged().contains(waits).then_some(())).await;
    end(&mut child).await;
    let retried = tokio::time::timeout(PATIENCE, retrying.wait()).await.expect("it ends in time");
    assert!(!retried.unwrap().success(), "not all were retried");
    let text = logged();
    assert!(text.contains("closing the store: a write failed"), "{text}");
    disk.free();

    let mut child = start(&site, &data, &log).await;
    let retried = tokio::time::timeout(PATIENCE, requeue(&data).output()).await.unwrap().unwrap();
    assert!(retried.status.success(), "{retried:?}");
    let requests = site.control.requests();
    let read = site.control.until(|c| c.requests() > requests + 9);
    tokio::time::timeout(PATIENCE, read).await.expect("all is read in time");
    end(&mut child).await;
    stored::assert_agrees_with_itself(&data);
    let stored = stored::journal(&data);
    let keys: BTreeSet<Key> = stored.iter().map(|(_, _, event)| key_of(event)).collect();
    let letter = |id: u64| json!({ "id": id.to_string(), "type": "IssuesEvent" });
    let mut wanted: BTreeSet<Key> = (1..=LETTERS).map(|id| key_of(&letter(id))).collect();
    for event in site.control.emitted() {
        wanted.insert(key_of(&serde_json::from_str(&event).unwrap()));
    }
    assert_eq!(wanted.len(), usize::try_from(LETTERS).unwrap() + EMITTED);
    assert_eq!((stored.len(), keys), (wanted.len(), wanted));
    site.stop.cancel();
}
