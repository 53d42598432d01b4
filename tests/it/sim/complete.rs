//! The whole of completeness in one run: most of the public feed is missed and the process is
//! killed again and again, and still a list is complete, its counts are exact, the audit knows the
//! share that was seen, a chart says it, and the served hours have each event of the list once.

use std::collections::BTreeSet;
use std::path::Path;

use ghpulse::archive::{self, ArchiveTarget};
use ghpulse::clock::Clock;
use ghpulse::config::HourFormat;
use ghpulse::lists::ListSet;
use ghpulse::model::window::Hour;

use super::*;
use crate::archive::columns::{counted, python};
use crate::common::listed::ListedFiles;
use crate::common::stored::released;
use crate::crash::Site;

/// The share of events that the public feed does not show.
const MISSED: f64 = 0.9;
/// Repositories on the list.
const LISTED: usize = 20;
/// Kills before the first check, and again before the last one.
const KILLS: u64 = 4;
/// Events for each step of the feed, and the time between two: 120 a second.
const STEP: (usize, Duration) = (6, Duration::from_millis(50));

/// Events by repository, each once, as `DuckDB` reads them from URLs.
const BY_REPOSITORY: &str = r#"
import datetime, duckdb, fsspec, json, sys
class Http(fsspec.get_filesystem_class("http")):
    def modified(self, path):
        return datetime.datetime.now()
duckdb.register_filesystem(Http())
rows = duckdb.execute("""
    select repo_name, count(*), count(distinct type || id) from read_parquet(?) group by 1
""", [sys.argv[1:]]).fetchall()
assert all(count == keys for _, count, keys in rows)
print(json.dumps({name: count for name, count, _ in rows}))
"#;

/// What GitHub has emitted in the repositories of the list.
struct ListedTruth {
    /// Types and ids: the ids of pushes and of other events are two sequences.
    keys: BTreeSet<[String; 2]>,
    /// Events by repository.
    by_repo: BTreeMap<String, u64>,
    /// GitHub's ids of the repositories.
    ids: BTreeMap<String, u64>,
    ledger: Expected,
    /// The share of all opened pull requests that an appliance sees which has the whole list.
    opened_seen: f64,
}

impl ListedTruth {
    fn of(control: &ghpulse::simulate::Control, names: &BTreeSet<String>) -> Self {
        let (mut keys, mut by_repo, mut texts) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        let mut ids = BTreeMap::new();
        let (mut opened, mut listed) = (0_u32, 0_u32);
        let emitted = control.emitted();
        for text in &emitted {
            let event: Value = serde_json::from_str(text).unwrap();
            let name = event["repo"]["name"].as_str().unwrap();
            let is_opened =
                event["type"] == "PullRequestEvent" && event["payload"]["action"] == "opened";
            opened += u32::from(is_opened);
            if !names.contains(name) {
                continue;
            }
            listed += u32::from(is_opened);
            keys.insert(["type", "id"].map(|key| event[key].as_str().unwrap().to_owned()));
            *by_repo.entry(name.to_owned()).or_default() += 1;
            ids.insert(name.to_owned(), event["repo"]["id"].as_u64().unwrap());
            texts.push(text.as_ref());
        }
        let listed = f64::from(listed) / f64::from(opened);
        let opened_seen = listed + (1.0 - MISSED) * (1.0 - listed);
        Self { keys, by_repo, ids, ledger: Expected::of(texts), opened_seen }
    }
}

/// The repositories with the most events so far.
fn busiest(control: &ghpulse::simulate::Control) -> BTreeSet<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for text in control.emitted() {
        let event: Value = serde_json::from_str(&text).unwrap();
        *counts.entry(event["repo"]["name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.clone()));
    counts.into_iter().take(LISTED).map(|(name, _)| name).collect()
}

async fn get(running: &Running, path: &str) -> Value {
    client::request(running.public, "GET", path, &[]).await.json()
}

/// Waits until exactly the events of the list are there, and the ledger has counted them.
async fn until_exact(running: &Running, truth: &ListedTruth) {
    until_some(&format!("the {} events of the list", truth.keys.len()), async || {
        let path = "/stream?poll=1&list=mine&fields=event.type,event.id";
        let answer = client::request(running.public, "GET", path, &[]).await;
        let lines = answer.body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let events = lines.filter(|line| line["type"] == "event");
        let key = |line: Value| {
            ["event.type", "event.id"].map(|key| line["fields"][key].as_str().unwrap().to_owned())
        };
        let keys: Vec<[String; 2]> = events.map(key).collect();
        let found: BTreeSet<[String; 2]> = keys.iter().cloned().collect();
        assert_eq!(found.len(), keys.len(), "none twice");
        assert!(found.is_subset(&truth.keys), "only what happened");
        (found == truth.keys).then_some(())
    })
    .await;
    let list = get(running, "/status?format=json").await["lists"][0].clone();
    assert_eq!((&list["name"], &list["certain_holes"]), (&"mine".into(), &0.into()), "{list}");
    for (name, id) in &truth.ids {
        let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
        for ((_, _), counts) in truth.ledger.ledger.iter().filter(|((of, _), _)| of == id) {
            for (metric, n) in counts {
                *wanted.entry(metric).or_default() += n;
            }
        }
        // Not all types are counted.
        if wanted.is_empty() {
            continue;
        }
        let repo = get(running, &format!("/repo/{name}?since=3d")).await;
        let totals = repo["totals"].as_object();
        let totals = totals.unwrap_or_else(|| panic!("no totals of {name}: {repo}"));
        for (metric, wanted) in &wanted {
            assert_eq!(totals[*metric].as_u64(), Some(*wanted), "{metric} of {name}: {repo}");
        }
        for (metric, n) in totals {
            let is_counted = wanted.contains_key(metric.as_str()) || n.as_u64() == Some(0);
            assert!(is_counted, "{metric} of {name}: {repo}");
        }
    }
}

/// Waits for a reading of the audit whose interval holds the truth: one in twenty does not.
async fn until_audited(running: &Running, truth: f64) {
    until_some("an interval of the audit that holds the truth", async || {
        let status = get(running, "/status?format=json").await;
        let share = status["audit"]["shares"]["pull_requests"]["share"].clone();
        let [low, _, high]: [f64; 3] = serde_json::from_value(share).ok()?;
        // The simulated feed shows one in 40 events later than the audit waits here.
        (low < truth + 0.03 && high > truth * 0.9 && high < 0.6).then_some(())
    })
    .await;
}

/// Waits until the chart of a listed repository has its stars, GitHub's total, and its coverage.
async fn until_charted(running: &Running, truth: &ListedTruth) {
    until_some("a star chart with its coverage", async || {
        for name in truth.by_repo.keys() {
            let path = format!("/repo/{name}.svg?by=stars");
            let chart = client::request(running.public, "GET", &path, &[]).await;
            let is_whole = ["GitHub states ", " stars in 90 days", " of its growth"]
                .iter()
                .all(|words| chart.body.contains(words));
            if chart.status == 200 && is_whole {
                return Some(());
            }
        }
        None
    })
    .await;
}

/// Exports all hours of a store, the present one too. Returns the names of their files of columns.
async fn export(data: &Path, hours: &Path) -> Vec<String> {
    let store = released(data).await;
    let target = ArchiveTarget {
        dir: hours.to_owned(),
        format: HourFormat::Both,
        hashes_emails: true,
        lists: ListSet::default(),
    };
    let until = Hour(Clock::system().now().hour().0 + 2);
    let exported = archive::export(&store, Hour(0), until, &target).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let names = exported.hours.iter().map(|hour| name(&hour.file));
    names.map(|name| name.replace(".json.gz", ".parquet")).collect()
}

/// Reads hours from the URL where the appliance serves them.
async fn assert_served(running: &Running, names: Vec<String>, truth: &ListedTruth) {
    let Some(python) = python() else {
        println!("skipped: what_matters_is_complete_while_most_is_missed: no DuckDB here");
        return;
    };
    let url = |name: &String| format!("http://{}/archive/{name}", running.public);
    let urls: Vec<String> = names.iter().map(url).collect();
    let read = tokio::task::spawn_blocking(move || counted(&python, BY_REPOSITORY, &urls));
    let read = read.await.unwrap();
    for (name, count) in &truth.by_repo {
        assert_eq!(read.get(name), Some(count), "{name} in the served hours: {read:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_matters_is_complete_while_most_is_missed() {
    let site = Site::new(41, Shape::Today).await;
    let control = &site.control;
    control.set_fault(Fault::new(FaultKind::Withheld).share(MISSED));
    control.emit(400);
    let names = busiest(control);
    let files = ListedFiles::new("mine", &names);
    let settings = files.settings(&[("GHPULSE_GITHUB_ENRICH_DEADLINE", "10m")]);
    let mut rng = fastrand::Rng::with_seed(41);
    site.kill_at_random(&mut rng, KILLS, &settings).await;

    let running = Running::start(site.dir.path(), &site.url, &settings).await;
    let feeding = async {
        loop {
            control.emit(STEP.0);
            Clock::system().sleep(STEP.1).await;
        }
    };
    let truth = || ListedTruth::of(control, &names);
    let audited = async {
        until_audited(&running, truth().opened_seen).await;
        until_charted(&running, &truth()).await;
    };
    tokio::select! {
        () = feeding => {}
        () = audited => {}
    }
    until_exact(&running, &truth()).await;
    running.end().await;

    site.kill_at_random(&mut rng, KILLS, &settings).await;
    let running = Running::start(site.dir.path(), &site.url, &settings).await;
    until_exact(&running, &truth()).await;
    running.end().await;
    let exported = export(site.dir.path(), files.hours()).await;
    let running = Running::start(site.dir.path(), &site.url, &settings).await;
    assert_served(&running, exported, &truth()).await;
    running.end().await;
    stored::assert_agrees_with_itself(site.dir.path());
}
