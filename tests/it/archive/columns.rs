//! Hours in columns hold the same events as the rows, also after a death between the two files, and
//! `DuckDB` and pandas read them, from files and from the served URL.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use ghpulse::simulate::{Options, Shape};
use serde_json::Value;

use super::{files_in, ghpulse, lines, live, world};
use crate::common::running::{GitHub, Running};
use crate::common::small_disk::SmallDisk;

/// What the tests read columns with.
const READERS: &str = "import duckdb, pandas, pyarrow, fsspec, aiohttp";

/// Counts, sums and JSON of all columns of a directory, by type.
const QUERY: &str = r#"
import duckdb, json, sys
rows = duckdb.sql(f"""
    select type, count(*), count(distinct id), count(created_at), count(payload),
           count(case when type = 'PullRequestEvent' then payload->>'action' end),
           coalesce(sum(case when action = payload->>'action' then 1 end), 0)
    from read_parquet('{sys.argv[1]}/*.parquet') group by 1 order by 1
""").fetchall()
print(json.dumps(rows))
"#;

/// Events by type, and whether the columns have their types, as pandas reads a directory.
const PANDAS: &str = r#"
import glob, json, pandas, sys
files = sorted(glob.glob(sys.argv[1] + "/*.parquet"))
frame = pandas.concat([pandas.read_parquet(file, engine="pyarrow") for file in files])
assert str(frame.created_at.dtype).startswith("datetime64") and "UTC" in str(frame.created_at.dtype)
pulls = frame[frame.type == "PullRequestEvent"]
actions = pulls.payload.map(lambda payload: json.loads(payload)["action"])
assert len(pulls) > 0 and (actions == pulls.action).all()
print(json.dumps(frame.groupby("type").size().to_dict()))
"#;

/// Events by type, as pandas and `DuckDB` read URLs. `DuckDB`'s own reader of URLs is an extension
/// that has to be downloaded; through Python's fsspec it asks for a time that HTTP need not have.
const URLS: &str = r#"
import datetime, duckdb, fsspec, json, pandas, sys
class Http(fsspec.get_filesystem_class("http")):
    def modified(self, path):
        return datetime.datetime.now()
duckdb.register_filesystem(Http())
rows = duckdb.execute("select type, count(*) from read_parquet(?) group by 1", [sys.argv[1:]])
counts = dict(rows.fetchall())
frame = pandas.concat([pandas.read_parquet(url) for url in sys.argv[1:]])
assert frame.groupby("type").size().to_dict() == counts
print(json.dumps(counts))
"#;

/// Runs a script that prints counts by type as JSON.
pub(crate) fn counted(python: &Path, script: &str, arguments: &[String]) -> BTreeMap<String, u64> {
    let output = Command::new(python).args(["-c", script]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Events of files of rows, by type.
fn types_of(rows: &[PathBuf]) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for event in live::events_of(rows) {
        let event: Value = serde_json::from_str(&event).unwrap();
        *counts.entry(event["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

/// The Python that has the readers of columns; `None` where they are not installed.
pub(crate) fn python() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    let python = cache.join("ghpulse-tests/python/bin/python");
    let found = Command::new(&python).args(["-c", READERS]).output().ok()?;
    found.status.success().then_some(python)
}

#[test]
fn columns_have_the_rows_events_and_others_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let (data, hours) = (dir.path().join("data"), dir.path().join("hours"));
    let to = hours.to_str().unwrap();
    let events = world(19, Shape::Old);
    live::apply(&data, &events);
    let both = ["export", "--json", "--since", "2026-01-01", "--to", to, "--format", "both"];
    // It dies when the rows of an hour have their name, and its columns have not.
    let killed = ghpulse(&data, &both, &[], Some("export.columns_before_rename:2"));
    assert_eq!(killed.status.code(), None);
    let exported = lines(&ghpulse(&data, &both, &[], None));
    let files = files_in(&hours);
    let (rows, columns): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|path| path.extension().is_some_and(|end| end == "gz"));
    assert_eq!(rows.len(), columns.len());
    assert_eq!(exported[0]["hours"].as_array().unwrap().len(), rows.len());
    // Columns alone have the same events.
    let alone = dir.path().join("alone");
    let to = alone.to_str().unwrap();
    let only = ["export", "--json", "--since", "2026-01-01", "--to", to, "--format", "parquet"];
    lines(&ghpulse(&data, &only, &[], None));
    assert_eq!(files_in(&alone).len(), columns.len());
    // A second export adds nothing.
    let again = lines(&ghpulse(&data, &only, &[], None));
    let fresh = |hour: &Value| hour["fresh"] == 0;
    assert!(again[0]["hours"].as_array().unwrap().iter().all(fresh), "{again:?}");

    let wanted = types_of(&rows);
    let Some(python) = python() else {
        println!("skipped: columns_have_the_rows_events_and_others_read_them: no readers here");
        return;
    };
    for place in [&hours, &alone] {
        let output = Command::new(&python).args(["-c", QUERY]).arg(place).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        let read: Vec<(String, u64, u64, u64, u64, u64, u64)> =
            serde_json::from_slice(&output.stdout).unwrap();
        for (kind, count, ids, times, payloads, actions, same) in &read {
            assert_eq!([ids, times, payloads], [count; 3], "{kind}");
            let of_pulls = if kind == "PullRequestEvent" { *count } else { 0 };
            assert_eq!(*actions, of_pulls, "{kind}");
            assert!(*same >= of_pulls, "{kind}");
        }
        let read: BTreeMap<String, u64> =
            read.into_iter().map(|(kind, count, ..)| (kind, count)).collect();
        assert_eq!(read, wanted);
        let directory = place.to_str().unwrap().to_owned();
        assert_eq!(counted(&python, PANDAS, &[directory]), wanted, "pandas");
    }
}

#[test]
fn full_disk_is_named_and_keeps_no_part_of_an_hour() {
    let Some(disk) = SmallDisk::mount(1) else {
        println!("skipped: full_disk_is_named_and_keeps_no_part_of_an_hour: no mount here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    live::apply(&data, &world(19, Shape::Old));
    disk.fill(0);
    let to = disk.path().to_str().unwrap();
    for format in ["json", "parquet", "both"] {
        let export = ["export", "--since", "2026-01-01", "--to", to, "--format", format];
        let output = ghpulse(&data, &export, &[], None);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{said}");
        assert!(said.contains("No space left on device"), "{said}");
        let left = std::fs::read_dir(disk.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let others = ["ballast", ".ghpulse.lock"];
        let left: Vec<_> = left.filter(|name| !others.iter().any(|other| name == other)).collect();
        assert!(left.is_empty(), "{format}: {left:?}");
    }
    disk.free();
    let export = ["export", "--json", "--since", "2026-01-01", "--to", to, "--format", "both"];
    assert!(!lines(&ghpulse(&data, &export, &[], None))[0]["hours"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn chart_of_the_page_is_made_from_served_hours() {
    let Some(python) = python() else {
        println!("skipped: chart_of_the_page_is_made_from_served_hours: no readers here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let (data, hours) = (dir.path().join("data"), dir.path().join("hours"));
    let store = data.clone();
    let applied = tokio::task::spawn_blocking(move || live::apply(&store, &world(20, Shape::Old)));
    applied.await.unwrap();
    let to = hours.to_str().unwrap();
    let both = ["export", "--json", "--since", "2026-01-01", "--to", to, "--format", "both"];
    lines(&ghpulse(&data, &both, &[], None));
    let github = GitHub::start(Options::by_hand(1)).await;
    let settings = [("GHPULSE_ARCHIVE_DIR", to)];
    let running = Running::start(&dir.path().join("served"), &github.url, &settings).await;

    let files = files_in(&hours);
    let (rows, columns): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|path| path.extension().is_some_and(|end| end == "gz"));
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let names: Vec<_> = columns.iter().map(stem).collect();
    let page = include_str!("../../../data/README.md");
    let code = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let known = code.lines().find(|line| line.starts_with("base, hours = ")).unwrap();
    let here = format!("base, hours = \"http://{}/archive/\", {names:?}", running.public);
    let output = tokio::process::Command::new(&python)
        .args(["-c", &code.replace(known, &here)])
        .current_dir(dir.path())
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let chart = String::from_utf8(output.stdout).unwrap();
    for shown in ["language", "opened", &"\u{2588}".repeat(40)] {
        assert!(chart.contains(shown), "no {shown}: {chart}");
    }

    // The same hours without a download.
    let url = |name: &String| format!("http://{}/archive/{name}.parquet", running.public);
    let urls: Vec<String> = names.iter().map(url).collect();
    let read = tokio::task::spawn_blocking(move || counted(&python, URLS, &urls));
    assert_eq!(read.await.unwrap(), types_of(&rows));
    running.end().await;
}
