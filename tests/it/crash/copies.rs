//! Backup, restore and retries of dead letters: the process dies midway and leaves no partial
//! result.

use std::path::Path;
use std::process::Command;

use ghpulse::clock::Clock;
use ghpulse::model::position::{Cursor, Position};
use ghpulse::store::keys::{BodyKey, DeadKey};
use ghpulse::store::rows::{DeadLetterOrigin, encode_dead_letter};
use ghpulse::store::{Durability, Store};

use crate::common::stored;

/// Runs a command; with a fault point, it must die.
fn ghpulse(data: &Path, arguments: &[&str], fault: Option<&str>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    command.args(arguments).arg("--data").arg(data).current_dir(data.parent().unwrap()).env_clear();
    if let Some(fault) = fault {
        command.env("GHPULSE_FAULT", fault);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.success(), fault.is_none(), "{arguments:?}: {output:?}");
}

fn open(data: &Path) -> Store {
    Store::open(data, Durability::EveryBatch, Clock::system()).unwrap()
}

fn event(id: u64) -> String {
    format!(
        concat!(
            r#"{{"id":"{}","type":"PullRequestEvent","actor":{{"id":1}},"repo":{{"id":2}},"#,
            r#""payload":{{"action":"opened"}},"created_at":"2026-11-22T05:00:00Z"}}"#
        ),
        id
    )
}

pub(super) async fn fill(data: &Path) {
    let store = open(data);
    let filled = store.commit(|batch| {
        (1..=100).for_each(|number| batch.put(&BodyKey(number), b"body"));
        Ok(())
    });
    filled.await.unwrap();
}

pub(super) fn bodies(data: &Path) -> usize {
    let store = open(data);
    let mut count = 0;
    let counting = |_: BodyKey, _: &[u8]| {
        count += 1;
        Ok(true)
    };
    store.reader().scan(&BodyKey(0), counting).unwrap();
    count
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_that_dies_has_no_name_and_the_next_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("backups").join("one"));
    fill(&data).await;
    let arguments = ["backup", to.to_str().unwrap()];
    ghpulse(&data, &arguments, Some("backup.before_rename"));
    assert!(!to.exists());
    ghpulse(&data, &arguments, None);
    assert_eq!(names_in(to.parent().unwrap()), ["one"], "what the first one left is gone");
    let restored = dir.path().join("restored");
    ghpulse(&restored, &["restore", to.to_str().unwrap()], None);
    assert_eq!((bodies(&restored), bodies(&data)), (100, 100));
}

#[tokio::test]
async fn a_restore_that_dies_leaves_no_store_and_the_next_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("backup"));
    fill(&data).await;
    ghpulse(&data, &["backup", to.to_str().unwrap()], None);
    let restored = dir.path().join("restored");
    let arguments = ["restore", to.to_str().unwrap()];
    for _ in 0..2 {
        ghpulse(&restored, &arguments, Some("restore.before_rename"));
        assert!(!restored.join("db").exists());
    }
    ghpulse(&restored, &arguments, None);
    assert_eq!(names_in(&restored), ["LOCK", "VERSION", "db"]);
    assert_eq!(bodies(&restored), 100);
}

/// Fills the dead-letter queue with messages that this version can read, of `count` events.
pub(super) async fn bury(
    store: &Store,
    count: u64,
    event: impl Fn(u64) -> String + Send + 'static,
) {
    let (tag, now) = (store.bus_tag(), Clock::system().now());
    let buried = store.commit(move |batch| {
        for number in 1..=count {
            let position = Position { ledger: 3, entry: number, index: 0 };
            let origin = DeadLetterOrigin {
                cursor: Cursor { tag, position }.to_string(),
                published_at: now.micros(),
                received: None,
                schema: None,
                simulated: false,
            };
            let body = format!(r#"{{"event":{},"payload":{{}}}}"#, event(number));
            let dead = encode_dead_letter(now, "why", &origin, body.as_bytes());
            batch.put(&DeadKey(number), &dead);
        }
        Ok(())
    });
    buried.await.unwrap();
}

async fn requeue_dies_at(point: &str) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let store = open(&data);
    bury(&store, 120, event).await;
    drop(store);
    // They are retried in several batches; the process dies in the second one.
    ghpulse(&data, &["requeue"], Some(&format!("{point}:2")));
    ghpulse(&data, &["requeue"], None);
    let journal = stored::journal(&data);
    let ids: Vec<&str> =
        journal.iter().map(|(_, _, event)| event["id"].as_str().unwrap()).collect();
    let wanted: Vec<String> = (1..=120).map(|id: u64| id.to_string()).collect();
    assert_eq!(ids, wanted, "each once, in its place");
    let firsts = journal.iter().filter(|(_, facts, _)| facts.flags.dev_day).count();
    assert_eq!(firsts, 1);
    let store = open(&data);
    let mut left = 0;
    let counting = |_: DeadKey, _: &[u8]| {
        left += 1;
        Ok(true)
    };
    store.reader().scan(&DeadKey(0), counting).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn death_before_the_commit_of_requeue() {
    requeue_dies_at("requeue.before_commit").await;
}

#[tokio::test]
async fn death_after_the_commit_of_requeue() {
    requeue_dies_at("requeue.after_commit").await;
}
