//! Backup, restore, inspect and requeue: through the ops listener of a running appliance, and on an
//! unused store.

use std::path::Path;
use std::process::Output;

use ghpulse::clock::Clock;
use ghpulse::model::position::{Cursor, Position};
use ghpulse::store::keys::DeadKey;
use ghpulse::store::rows::{DeadLetterOrigin, encode_dead_letter};
use ghpulse::store::{Durability, Store};
use serde_json::{Value, json};
use tokio::process::Command;

use super::events::{opened, push};
use super::site::Site;
use crate::common::client::request;
use crate::common::running::{Running, soon, until_some};
use crate::common::stored;

/// Runs a command on a data directory.
async fn ghpulse(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    command.args(arguments).arg("--data").arg(data).env_clear().env("GHPULSE_LOG_LEVEL", "error");
    let directory = data.parent().expect("a data directory is in another one");
    soon("a command ends", command.current_dir(directory).output()).await.unwrap()
}

fn read(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The command's output as JSON lines; the command must succeed.
async fn lines(data: &Path, arguments: &[&str]) -> Vec<Value> {
    let (code, stdout, stderr) = read(&ghpulse(data, arguments).await);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A site with this many pull requests applied.
async fn site_with(count: u64, settings: &[(&str, &str)]) -> Site {
    let site = Site::start(settings).await;
    let mut reader = site.sampling(r#"{"samplingRate":1,"filter":["event.id"]}"#).await;
    let events: Vec<String> = (1..=count).map(|id| opened(id, "Go")).collect();
    site.push(&events);
    site.settle(&mut reader, usize::try_from(count).unwrap()).await;
    site
}

async fn first_message(running: &Running) -> Value {
    let mut client = crate::common::client::Client::connect(running.public, "/sampling").await;
    client.json().await
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_backup_has_the_same_figures() {
    let site = site_with(40, &[]).await;
    let (data, around) = (site.dir.path(), tempfile::tempdir().unwrap());
    let to = around.path().join("deep").join("backup");
    let name = to.to_str().unwrap();
    let made = lines(data, &["backup", name, "--json"]).await;
    assert_eq!(made[0]["dir"], name);
    let again = read(&ghpulse(data, &["backup", name]).await);
    assert_eq!(again.0, Some(65), "{}", again.2);
    assert!(again.2.contains("is not empty"), "{}", again.2);
    let figures = first_message(&site.running).await;
    // A store in use is never replaced by a restore.
    let in_use = read(&ghpulse(data, &["restore", name]).await);
    assert_eq!(in_use.0, Some(75), "{}", in_use.2);
    let id = made[0]["store_id"].clone();
    let there = stored_count(data).await;
    site.push(&[push(99)]);
    site.running.end().await;
    let full = read(&ghpulse(data, &["restore", name]).await);
    assert_eq!(full.0, Some(65), "{}", full.2);
    let fresh = around.path().join("data");
    let (code, words, stderr) = read(&ghpulse(&fresh, &["restore", name]).await);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(words.contains(id.as_str().unwrap()) && words.contains("it holds everything up to"));
    assert!(words.contains("subscribers of the stream receive a gap"), "{words}");
    let meta = lines(&fresh, &["inspect", "meta", "--prefix", "store_id", "--json"]).await;
    assert_ne!(meta[0]["value"], id, "a restored store is another one");
    assert_eq!(stored::journal(&fresh).len(), there);
    let running = Running::start(&fresh, &site.github.url, &[]).await;
    let site = Site { running, github: site.github, dir: around };
    site.tick().await;
    assert_eq!(first_message(&site.running).await, figures);
    let stream = request(site.running.public, "GET", "/stream?poll=1", &[]).await.body;
    let gaps: Vec<&str> =
        stream.lines().filter(|line| line.starts_with(r#"{"type":"gap""#)).collect();
    assert!(gaps.len() == 1 && gaps[0].contains(r#""reason":"upstream""#), "{stream}");
    site.end().await;
}

/// The number of events in the journal, through the appliance if one has the store open.
async fn stored_count(data: &Path) -> usize {
    lines(data, &["inspect", "journal", "--limit", "1000", "--json"]).await.len()
}

/// Inspects a store with 30 events.
async fn look_into(data: &Path) -> [Vec<Value>; 2] {
    let families = lines(data, &["inspect", "--json"]).await;
    let journal = families.iter().find(|row| row["family"] == "journal").unwrap();
    assert_eq!(journal["about_rows"], 30, "{families:?}");
    let (code, table, _) = read(&ghpulse(data, &["inspect"]).await);
    assert!(code == Some(0) && table.contains("about rows"), "{table}");
    let rows = lines(data, &["inspect", "journal", "--limit", "3", "--json"]).await;
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["value"]["event"]["type"], "PullRequestEvent");
    let (_, stdout, stderr) = read(&ghpulse(data, &["inspect", "journal"]).await);
    assert_eq!(stdout.lines().count(), 20, "bounded unless asked otherwise");
    assert!(stderr.contains("there are more"), "{stderr}");
    let unknown = read(&ghpulse(data, &["inspect", "sean"]).await);
    assert_eq!(unknown.0, Some(65));
    assert!(unknown.2.contains("unknown column family `sean`"), "{}", unknown.2);
    [rows, lines(data, &["inspect", "buckets", "--json"]).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn store_is_inspected_alike_in_use_and_at_rest() {
    let site = site_with(30, &[]).await;
    let data = site.dir.path().to_owned();
    let online = look_into(&data).await;
    for path in ["/store", "/recorded"] {
        let public = request(site.running.public, "POST", path, &[]).await;
        assert_eq!(public.status, 404, "{}", public.body);
        let secret = Running::secret(&data);
        let page = ["content-type: application/json", "origin: http://127.0.0.1:8602", &secret];
        let page = request(site.running.ops, "POST", path, &page).await;
        assert_eq!(page.status, 415, "{}", page.body);
    }
    site.running.end().await;
    assert_eq!(look_into(&data).await, online);
    let nowhere = data.join("typo");
    let none = read(&ghpulse(&nowhere, &["inspect"]).await);
    assert!(none.0 == Some(65) && !nowhere.exists(), "{}", none.2);
}

/// Adds dead letters to an unused store: one is readable, one is an event that was already applied,
/// one is still not an event, one was truncated.
async fn bury(data: &Path, known: &str) {
    let clock = Clock::system();
    let store = Store::open(data, Durability::EveryBatch, clock).unwrap();
    let now = clock.now();
    let tag = store.bus_tag();
    let origin = move |entry| DeadLetterOrigin {
        cursor: Cursor { tag, position: Position { ledger: 0, entry, index: 0 } }.to_string(),
        published_at: now.micros(),
        received: Some(now.micros().to_string()),
        schema: None,
        simulated: false,
    };
    let message = |event: &str| format!(r#"{{"event":{event},"payload":{{}}}}"#).into_bytes();
    let letters = [
        message(&opened(1_000, "Zig")),
        message(known),
        b"hello".to_vec(),
        vec![b'x'; ghpulse::store::rows::DEAD_LETTER_BYTES + 1],
    ];
    let buried = store.commit(move |batch| {
        for (entry, letter) in (100..).zip(&letters) {
            let number = batch.next_number("dead")?;
            let dead = encode_dead_letter(now, "it was no event", &origin(entry), letter);
            batch.put(&DeadKey(number), &dead);
        }
        Ok(())
    });
    buried.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requeued_dead_letters_are_counted_once_in_place() {
    for online in [true, false] {
        let site = site_with(5, &[]).await;
        let url = site.github.url.clone();
        site.running.end().await;
        let data = site.dir.path();
        bury(data, &opened(3, "Go")).await;
        let dead = lines(data, &["inspect", "dead", "--json"]).await;
        assert_eq!(dead.len(), 4);
        assert_eq!(dead[0]["value"]["reason"], "it was no event");
        assert_eq!(dead[3]["value"]["whole"], false);
        let running = if online { Some(Running::start(data, &url, &[]).await) } else { None };
        let came = lines(data, &["requeue", "--json"]).await;
        let figures = |name: &str| came[0][name].as_u64().unwrap();
        let counted = ["tried", "applied", "known", "left_out", "dead"].map(figures);
        assert_eq!(counted, [4, 1, 1, 0, 2], "{came:?}");
        let reasons = came[0]["reasons"].to_string();
        assert!(reasons.contains("3: it was no event") && reasons.contains("4: it was too long"));
        let again = lines(data, &["requeue", "--json"]).await;
        assert_eq!(again[0]["applied"], 0, "{again:?}");
        let left = lines(data, &["inspect", "dead", "--json"]).await;
        assert_eq!(left.len(), 2, "{left:?}");
        let running = match running {
            Some(running) => running,
            None => Running::start(data, &url, &[]).await,
        };
        let site = Site { running, ..site };
        site.tick().await;
        let first = first_message(&site.running).await;
        let opened: u64 = first["openMap"]
            .as_object()
            .unwrap()
            .values()
            .map(|count| count.as_str().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(opened, 6, "{first}");
        let mut latest = site.latest("{}").await;
        assert_eq!(latest.json().await["Zig"], 1);
        drop(latest);
        let dir = site.dir.path().to_owned();
        site.running.end().await;
        let journal = stored::journal(&dir);
        assert_eq!(journal.len(), 6);
        assert_eq!(journal[5].0, Position::counted(100), "it is where it was");
        assert_eq!(journal[5].2["id"], json!("1000"));
        assert!(journal[5].1.flags.dev_day || journal[5].1.flags.pr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_data_directory_is_named_and_is_the_end_of_the_run() {
    let mut site = Site::start(&[]).await;
    std::fs::remove_file(site.dir.path().join("LOCK")).unwrap();
    let ops = site.running.ops;
    let ready = until_some("the store is down", async || {
        let ready = request(ops, "GET", "/readyz", &[]).await;
        (ready.status == 503).then(|| ready.json())
    });
    let ready = ready.await;
    let store = ready.as_array().unwrap().iter().find(|part| part["name"] == "store").unwrap();
    assert_eq!(store["state"], "down", "{store}");
    assert!(store["error"].as_str().unwrap().contains("LOCK was removed or replaced"), "{store}");
    site.running.stop.soft.cancel();
    let ended = soon("the appliance stops", site.running.ended()).await;
    assert!(ended.contains("LOCK was removed or replaced"), "{ended}");
}

/// Bytes that the store has written, all of them still in its write-ahead log.
fn written(data: &Path) -> u64 {
    let files = std::fs::read_dir(data.join("db")).unwrap().map(|entry| entry.unwrap());
    let logs = files.filter(|file| file.path().extension().is_some_and(|end| end == "log"));
    logs.map(|log| log.metadata().unwrap().len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn body_of_an_event_is_written_at_most_twice() {
    const BYTES: u64 = 1_000_000;
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1,"filter":["event.id"]}"#).await;
    let before = written(site.dir.path());
    let body: String = std::iter::repeat_with(fastrand::alphanumeric).take(1_000_000).collect();
    site.push(&[push(1).replace(r#""public""#, &format!(r#""pad":"{body}","public""#))]);
    site.settle(&mut reader, 1).await;
    let written = written(site.dir.path()) - before;
    assert!((2 * BYTES..2 * BYTES + BYTES / 10).contains(&written), "{written} bytes");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_writes_are_named_by_readiness_and_are_a_gap() {
    let site = site_with(5, &[]).await;
    let (data, url) = (site.dir.path().to_owned(), site.github.url.clone());
    site.running.end().await;
    drop(stored::released(&data).await);
    // As if the log had lost its last seven writes.
    let path = data.join("WRITTEN");
    let line = std::fs::read_to_string(&path).unwrap();
    let (rest, number) = line.trim_end().rsplit_once(' ').unwrap();
    let number: u64 = number.parse().unwrap();
    std::fs::write(&path, format!("{rest} {:020}\n", number + 7)).unwrap();
    let running = Running::start(&data, &url, &[]).await;
    let parts = request(running.ops, "GET", "/readyz", &[]).await;
    let store = &parts.json()[0];
    assert_eq!((&store["name"], &store["state"]), (&json!("store"), &json!("degraded")));
    assert!(store["error"].as_str().unwrap().contains("7 writes are missing"), "{store}");
    let site = Site { running, ..site };
    site.push(&[push(6)]);
    let gap = until_some("the gap before the next event", async || {
        let accept = ["accept: application/x-ndjson"];
        let replay = request(site.running.public, "GET", "/stream?poll=1", &accept).await.body;
        let messages = replay.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        messages.into_iter().find(|message| message["type"] == "gap")
    })
    .await;
    assert_eq!(gap["reason"], "upstream", "{gap}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduled_backups_start_at_once_and_are_measured() {
    let around = tempfile::tempdir().unwrap();
    let to = around.path().join("backups");
    let settings = [("GHPULSE_BACKUP_DIR", to.to_str().unwrap())];
    let site = Site::start(&settings).await;
    let mut ticks = site.latest("{}").await;
    let backup = loop {
        let entries = std::fs::read_dir(&to).into_iter().flatten().flatten();
        let mut named = entries.filter(|e| e.file_name().to_string_lossy().starts_with("ghpulse-"));
        if let Some(made) = named.next() {
            break made.path();
        }
        ticks.text().await;
    };
    drop(ticks);
    let fresh = around.path().join("data");
    let restored = ghpulse(&fresh, &["restore", backup.to_str().unwrap()]).await;
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    site.end().await;
}
