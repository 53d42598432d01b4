//! Imports and exports hours with the program itself: seen live and imported, twice, out of order,
//! killed midway, through a running appliance. An hour that is exported and imported elsewhere
//! gives the same numbers. The model computes the expected counts from the world's own list.

pub(crate) mod columns;
pub(crate) mod live;
mod served;
mod signals;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::common::client::request;
use crate::common::model::{Expected, key_of};
use crate::common::running::{GitHub, Running};
use flate2::Compression;
use flate2::write::GzEncoder;
use ghpulse::apply::numbers::NodeCounters;
use ghpulse::clock::Clock;
use ghpulse::model::window::{Timestamp, Year};
use ghpulse::simulate::{Options, Shape, World};
use ghpulse::store::{Durability, Store};
use serde_json::Value;

/// When the simulated events happen.
const FROM: &str = "2026-03-10T22:40:00Z";
/// Events of a test, spread over some hours of two days.
const EVENTS: usize = 900;
/// Seconds between two events.
const STEP: i64 = 8;

pub(crate) fn world(seed: u64, shape: Shape) -> Vec<String> {
    let mut world = World::new(seed, shape);
    let from = Timestamp::parse(FROM).unwrap().second().0;
    let at = |n: usize| Timestamp::from_seconds(from + STEP * i64::try_from(n).unwrap());
    (0..EVENTS).map(|n| world.next_event(at(n)).to_string()).collect()
}

/// Writes the events as an archive would: each to the file of the hour in which it was created.
pub(crate) fn archive(dir: &Path, events: &[String]) -> Vec<PathBuf> {
    let mut hours: BTreeMap<String, String> = BTreeMap::new();
    for event in events {
        let value: Value = serde_json::from_str(event).unwrap();
        let at = value["created_at"].as_str().unwrap();
        let (day, hour) = (&at[..10], at[11..13].parse::<u8>().unwrap());
        let file = hours.entry(format!("{day}-{hour}.json.gz")).or_default();
        file.extend([event.as_str(), "\n"]);
    }
    let write = |(name, text): (String, String)| {
        let path = dir.join(name);
        let mut gzip = GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap();
        path
    };
    hours.into_iter().map(write).collect()
}

/// Runs the program with a store; `fault` names the fault point at which it dies.
fn ghpulse(data: &Path, arguments: &[&str], files: &[PathBuf], fault: Option<&str>) -> Output {
    let (command, rest) = arguments.split_first().unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    process.arg(command).arg("--data").arg(data).args(rest).args(files);
    process.current_dir(data.parent().unwrap()).stdin(Stdio::null());
    if let Some(fault) = fault {
        process.env("GHPULSE_FAULT", fault);
    }
    process.output().unwrap()
}

/// The lines of JSON that the program prints.
fn lines(output: &Output) -> Vec<Value> {
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn import(data: &Path, files: &[PathBuf]) -> Vec<Value> {
    lines(&ghpulse(data, &["import", "--json"], files, None))
}

/// Panics unless readers would receive what the model counts.
pub(crate) fn assert_figures(data: &Path, expected: &Expected) {
    assert_eq!(figures(data), wanted(expected));
}

type Figures = (Vec<(String, [i64; 4])>, [i64; 4]);

fn figures(data: &Path) -> Figures {
    let clock = Clock::system();
    let store = Store::open(data, Durability::EveryBatch, clock).unwrap();
    let numbers = NodeCounters::load(&store, 3_600, clock).unwrap();
    let counts = numbers.refresh(&store, Year(2026)).unwrap().unwrap();
    let days = counts.days.iter().map(|(day, counts)| {
        (day.to_string(), [counts.open, counts.merge, counts.close, counts.developers])
    });
    let sums = counts.sums;
    let sums = [sums.additions, sums.deletions, sums.developers, sums.repositories];
    (days.filter(|(_, counts)| *counts != [0; 4]).collect(), sums)
}

fn wanted(expected: &Expected) -> Figures {
    let size = |n: usize| i64::try_from(n).unwrap();
    let days = expected.days.iter().map(|(day, counts)| {
        let developers = size(counts.developers.len());
        (day.clone(), [counts.open, counts.merge, counts.close, developers])
    });
    let lines = |of: fn(&crate::common::model::Day) -> i64| expected.days.values().map(of).sum();
    let year = &expected.years["2026"];
    let sums = [
        lines(|day| day.additions),
        lines(|day| day.deletions),
        size(year.developers.len()),
        size(year.repositories.len()),
    ];
    (days.collect(), sums)
}

pub(crate) fn model(events: &[String]) -> Expected {
    let expected = Expected::of(events.iter().map(String::as_str));
    assert!(expected.days.len() > 1, "the events are of more than one day");
    expected
}

#[test]
fn hours_imported_out_of_order_and_twice_are_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let events = world(3, Shape::Old);
    let mut files = archive(dir.path(), &events);
    files.reverse();
    assert!(files.len() > 2);
    let first = import(&data, &files);
    assert!(first.iter().all(|file| file["state"] == "imported" && file["strays"] == 0));
    let sum: u64 = first.iter().map(|file| file["events"].as_u64().unwrap()).sum();
    assert_eq!(sum, EVENTS as u64);
    assert_figures(&data, &model(&events));
    files.reverse();
    assert!(import(&data, &files).iter().all(|file| file["state"] == "unchanged"));
    assert_figures(&data, &model(&events));
    assert_eq!(crate::common::stored::journal(&data).len(), 0, "nothing of it is in the journal");
    let store = Store::open(&data, Durability::EveryBatch, Clock::system()).unwrap();
    crate::common::stored::assert_ledger(&store, &model(&events));
}

#[test]
fn imported_hour_replaces_its_live_counts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let events = world(5, Shape::Old);
    // The feed showed every third event; the last hours were not archived.
    let seen: Vec<String> = events.iter().step_by(3).cloned().collect();
    let files = archive(dir.path(), &events);
    live::apply(&data, &seen);
    assert_figures(&data, &Expected::of(seen.iter().map(String::as_str)));
    import(&data, &files);
    assert_figures(&data, &model(&events));
    // Live events of an hour that was imported before change nothing.
    live::apply(&data, &events);
    assert_figures(&data, &model(&events));
}

#[test]
fn killed_import_counts_nothing_and_the_next_finishes_it() {
    let events = world(7, Shape::Old);
    let expected = model(&events);
    for (point, done) in
        [("archive.before_commit", 1), ("archive.after_commit", 2), ("store.after_write", 2)]
    {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let files = archive(dir.path(), &events);
        let fault = format!("{point}:2");
        let killed = ghpulse(&data, &["import"], &files, Some(&fault));
        assert_eq!(killed.status.code(), None, "{point}: it was to die");
        let hours = live::events_of(&files[..done]);
        let half = Expected::of(hours.iter().map(String::as_str));
        assert_eq!(figures(&data).0, wanted_or_nothing(&half), "{point}");
        let states: Vec<Value> = import(&data, &files);
        let before = states.iter().take_while(|file| file["state"] == "unchanged").count();
        assert_eq!(before, done, "{point}");
        assert_figures(&data, &expected);
        let store = Store::open(&data, Durability::EveryBatch, Clock::system()).unwrap();
        crate::common::stored::assert_ledger(&store, &expected);
    }
}

fn wanted_or_nothing(expected: &Expected) -> Vec<(String, [i64; 4])> {
    if expected.years.is_empty() { Vec::new() } else { wanted(expected).0 }
}

#[test]
fn an_export_imported_elsewhere_gives_the_same_numbers() {
    for shape in [Shape::Old, Shape::Today] {
        let dir = tempfile::tempdir().unwrap();
        let (here, elsewhere) = (dir.path().join("here"), dir.path().join("elsewhere"));
        let hours = dir.path().join("hours");
        let to = hours.to_str().unwrap();
        let events = world(11, shape);
        live::apply(&here, &events);
        let arguments = ["export", "--json", "--since", "2026-01-01", "--to", to];
        // It dies before a file has its final name, and leaves no partial file.
        let killed = ghpulse(&here, &arguments, &[], Some("export.before_rename:2"));
        assert_eq!(killed.status.code(), None);
        assert_eq!(files_in(&hours).len(), 1);
        let exported = lines(&ghpulse(&here, &arguments, &[], None));
        let files = files_in(&hours);
        assert_eq!(exported[0]["hours"].as_array().unwrap().len(), files.len());
        import(&elsewhere, &files);
        assert_eq!(figures(&elsewhere), figures(&here));
        assert_figures(&elsewhere, &model(&events));
        let mut keys: Vec<_> = live::events_of(&files).iter().map(|text| key(text)).collect();
        let mut sent: Vec<_> = events.iter().map(|text| key(text)).collect();
        keys.sort();
        sent.sort();
        assert_eq!(keys, sent, "each event is in one file, once");
        let bytes = |file: &PathBuf| std::fs::read(file).unwrap();
        let before: Vec<_> = files.iter().map(bytes).collect();
        lines(&ghpulse(&here, &arguments, &[], None));
        assert_eq!(files.iter().map(bytes).collect::<Vec<_>>(), before);
    }
}

fn key(text: &str) -> crate::common::model::Key {
    key_of(&serde_json::from_str(text).unwrap())
}

/// The files whose name is that of an hour.
pub(crate) fn files_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_named = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        !name.starts_with('.') && !name.ends_with(".coverage.json")
    };
    let mut files: Vec<_> = entries.filter(is_named).collect();
    files.sort();
    files
}

#[test]
fn invalid_hour_file_is_reported_and_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let events = world(13, Shape::Old);
    let mut files = archive(dir.path(), &events);
    let whole = std::fs::read(&files[0]).unwrap();
    let half = dir.path().join("half-2026-03-01-1.json.gz");
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    files.insert(0, half);
    let output = ghpulse(&data, &["import"], &files, None);
    assert_eq!(output.status.code(), Some(65));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("half-2026-03-01-1.json.gz: truncated at line"), "{words}");
    assert_figures(&data, &model(&events));
}

#[tokio::test(flavor = "multi_thread")]
async fn running_appliance_imports_and_exports() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let events = world(17, Shape::Old);
    let files = archive(dir.path(), &events);
    let github = GitHub::start(Options::by_hand(1)).await;
    let running = Running::start(&data, &github.url, &[]).await;
    let (asked, place) = (files.clone(), data.clone());
    let imported = tokio::task::spawn_blocking(move || import(&place, &asked)).await.unwrap();
    assert_eq!(imported.len(), files.len());
    assert!(imported.iter().all(|file| file["state"] == "imported"));
    // Errors have the same message and exit code, whether or not an appliance has the store open.
    let (busy, free) = (data.clone(), dir.path().join("other"));
    let odd = [dir.path().join("2026-03-09-1.json.gz"), dir.path().join("notes.txt")];
    std::fs::create_dir(&odd[0]).unwrap();
    std::fs::write(&odd[1], "no hour").unwrap();
    let said = tokio::task::spawn_blocking(move || {
        let said = |data: &Path, file: &PathBuf| {
            let output = ghpulse(data, &["import"], std::slice::from_ref(file), None);
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        odd.map(|file| (said(&busy, &file), said(&free, &file)))
    });
    for ((asked, direct), code) in said.await.unwrap().into_iter().zip([74, 65]) {
        assert_eq!(asked.0, Some(code), "{}", asked.1);
        assert_eq!(asked, direct);
    }
    let export = ["export", "--json", "--since", "24h", "--to", "out"];
    let place = data.clone();
    let exported = tokio::task::spawn_blocking(move || ghpulse(&place, &export, &[], None));
    assert_eq!(lines(&exported.await.unwrap())[0]["hours"], serde_json::json!([]));
    // Requests need the secret, must come to the ops listener, and not from a web page.
    let refused = request(running.public, "POST", "/recorded", &[]).await;
    assert_eq!(refused.status, 404);
    let secret = Running::secret(&data);
    let headers = ["content-type: application/json", "origin: http://evil.example", &secret];
    assert_eq!(request(running.ops, "POST", "/recorded", &headers).await.status, 415);
    assert_eq!(request(running.ops, "POST", "/recorded", &headers[..2]).await.status, 401);
    running.end().await;
    assert!(!data.join("ops").exists() && !data.join("ops.secret").exists());
    assert_figures(&data, &model(&events));
}
