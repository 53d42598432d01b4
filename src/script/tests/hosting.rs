//! Which script is in force, over saves, mistakes, restarts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio_util::sync::CancellationToken;

use super::super::{
    Merged, SHIPPED, SOURCE_BYTES, ScriptHost, ScriptKind, Trials, bench, check, run, watch,
};
use super::*;
use crate::clock::Clock;
use crate::model::json;
use crate::model::script_report::InForce;
use crate::model::window::Timestamp;
use crate::store::{Durability, Store};

const NAME: &str = "scripts/merge_latest.rhai";
pub(super) const DOUBLE: &str = "fn merge(window) { let t = Tally(); t.add(window, 2); t }";
const FOUR: &str = "fn merge(window) { let t = Tally(); t.add(window, 4); t }";
const BROKEN: &str = "fn merge(window) {\n  totl\n}";

pub(super) fn host(last_good: Option<&str>) -> ScriptHost {
    let clock = Clock::starting_at(Timestamp::from_seconds(1_000));
    ScriptHost::of(ScriptKind::Merge, NAME, last_good, None, clock)
}

pub(super) fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("merge_latest.rhai");
    (folder, path)
}

#[expect(clippy::unnecessary_wraps, reason = "there may be no window yet")]
pub(super) fn live() -> Option<WindowSnapshot> {
    Some(small())
}

/// How many times the native sum the script in force returns.
fn factor(host: &ScriptHost) -> i64 {
    let Merged { tally, diagnostic } = host.merge(&small());
    assert_eq!(diagnostic, None);
    tally.get("Rust") / 16
}

#[tokio::test]
async fn missing_file_means_the_built_in_script() {
    let (_folder, path) = folder();
    let host = host(None);
    assert_eq!(host.refresh(&path, |_| live()), None);
    let status = host.status();
    assert_eq!((status.in_force, status.diagnostic()), (InForce::BuiltIn, None));
    assert_eq!(host.source().as_deref(), Some(SHIPPED));
    assert_eq!(host.merge(&small()).tally, small().sum());
    fs::write(&path, BROKEN).unwrap();
    host.refresh(&path, |_| live());
    assert_eq!(host.status().in_force, InForce::LastGood, "the built-in one stays in force");
}

#[tokio::test]
async fn valid_file_comes_into_force_and_is_stored_once() {
    let (_folder, path) = folder();
    let host = host(None);
    fs::write(&path, DOUBLE).unwrap();
    assert_eq!(host.refresh(&path, |_| live()).as_deref(), Some(DOUBLE));
    assert_eq!(host.refresh(&path, |_| live()), None, "nothing changed");
    let status = host.status();
    assert_eq!((status.in_force, status.diagnostic()), (InForce::File, None));
    assert_eq!(status.hash.unwrap().len(), 16);
    assert_eq!(factor(&host), 2);
}

#[tokio::test]
async fn invalid_file_leaves_the_last_good_script_in_force() {
    let (_folder, path) = folder();
    let host = host(None);
    let wrongs: [(&[u8], &str); 5] = [
        (BROKEN.as_bytes(), ":2:3: undefined variable: totl"),
        (b"", ":1:1: function merge is missing; write fn merge(window) { … }"),
        (
            b"fn merge(window) { window.to }",
            ":1:1: merge returns a number; a Tally or a map of name -> number is accepted",
        ),
        (b"fn merge(window) { loop { } }", ":1:1: more than 5000000 operations"),
        (b"\xff\xfe", ": cannot be read: not UTF-8 text"),
    ];
    for (wrong, told) in wrongs {
        fs::write(&path, DOUBLE).unwrap();
        host.refresh(&path, |_| live());
        fs::write(&path, wrong).unwrap();
        assert_eq!(host.refresh(&path, |_| live()), None);
        let status = host.status();
        let diagnostic = status.diagnostic().unwrap().to_string();
        // On a busy machine the time may be over before the operations are.
        if !diagnostic.ends_with("ran longer than 200 ms") {
            assert_eq!(diagnostic, format!("{NAME}{told}"));
        }
        assert_eq!((status.in_force, factor(&host)), (InForce::LastGood, 2));
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(host.refresh(&path, |_| live()), None);
    assert_eq!((host.status().in_force, factor(&host)), (InForce::LastGood, 2));
    fs::create_dir(&path).unwrap();
    host.refresh(&path, |_| live());
    assert_eq!(host.status().refused.unwrap().reason, "cannot be read: it is not a file");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, DOUBLE).unwrap();
    host.refresh(&path, |_| live());
    assert_eq!((host.status().in_force, host.status().diagnostic()), (InForce::File, None));
}

#[tokio::test]
async fn byte_order_mark_at_the_beginning_is_not_an_error() {
    let (_folder, path) = folder();
    let host = host(None);
    fs::write(&path, format!("\u{feff}{DOUBLE}")).unwrap();
    assert_eq!(host.refresh(&path, |_| live()).as_deref(), Some(DOUBLE));
    assert_eq!((host.status().diagnostic(), factor(&host)), (None, 2));
    // What is behind the limit is not cut off silently.
    let long = format!("\u{feff}{DOUBLE}{}", " ".repeat(SOURCE_BYTES));
    fs::write(&path, long).unwrap();
    assert_eq!(host.refresh(&path, |_| live()), None);
    let refused = host.status().refused.unwrap().reason;
    assert!(refused.contains("262144 are allowed"), "{refused}");
}

#[tokio::test]
async fn script_failing_on_the_live_window_is_refused() {
    let (_folder, path) = folder();
    let host = host(None);
    fs::write(&path, "fn merge(window) { if window.to == 100 { throw \"live\" } #{} }").unwrap();
    assert_eq!(host.refresh(&path, |_| live()), None);
    assert_eq!(host.status().refused.unwrap().reason, "live");
}

#[tokio::test]
async fn last_good_script_survives_a_restart() {
    let (_folder, path) = folder();
    fs::write(&path, BROKEN).unwrap();
    let host = host(Some(DOUBLE));
    assert_eq!((host.status().in_force, factor(&host)), (InForce::LastGood, 2));
    host.refresh(&path, |_| live());
    assert_eq!((host.status().in_force, factor(&host)), (InForce::LastGood, 2));
    assert_eq!(host.status().refused.unwrap().line, Some(2));
    assert_eq!(host.source().as_deref(), Some(DOUBLE));
}

#[tokio::test]
async fn failing_last_good_script_is_reported_and_not_run() {
    let host = host(Some(BROKEN));
    let status = host.status();
    assert_eq!(status.in_force, InForce::NativeSum);
    assert!(status.refused.is_some());
}

#[tokio::test]
async fn a_failure_at_a_tick_is_the_native_sum_for_that_tick() {
    let (_folder, path) = folder();
    let host = host(None);
    let source = "fn merge(window) {\n let t = Tally(); t.add(window, 2);\n
        if t.get(\"Bad\") > 0 { throw \"bad\" }\n t }";
    fs::write(&path, source).unwrap();
    host.refresh(&path, |_| live());
    let bad = window(&[(100, "Bad", 1)]);
    let merged = host.merge(&bad);
    assert_eq!(merged.tally, bad.sum());
    let told = merged.diagnostic.unwrap().to_string();
    assert_eq!(told, "scripts/merge_latest.rhai:4:31: bad");
    let status = host.status();
    assert_eq!((status.in_force, status.failed.is_some()), (InForce::File, true));
    assert_eq!(status.diagnostic().unwrap().to_string(), told);
    assert_eq!(factor(&host), 2);
    assert_eq!(host.status().diagnostic(), None, "the next tick works again");
}

#[tokio::test(start_paused = true)]
async fn the_status_is_written_for_people_and_programs() {
    let host = host(None);
    assert_eq!(
        json::encoded(&host.report()),
        r#"{"file":"merge_latest.rhai","in_force":"native sum","since":"1970-01-01T00:16:40Z","#
            .to_owned()
            + r#""error":null,"line":null,"micros":null,"sample":null}"#
    );
}

/// An appliance's watch over a folder; what it kept.
struct Watched {
    host: Arc<ScriptHost>,
    kept: Arc<Mutex<Vec<String>>>,
    stop: CancellationToken,
    stage: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Watched {
    fn begin(path: &Path) -> Self {
        let host = Arc::new(host(None));
        let kept = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let told = Arc::clone(&kept);
        let keep = move |text: &str| told.lock().unwrap().push(text.to_owned());
        let clock = Clock::system();
        let stage = watch(Arc::clone(&host), path.to_owned(), live, keep, clock, stop.clone());
        Self { host, kept, stop, stage: tokio::spawn(stage) }
    }

    /// Waits for a state; the test's own limit is wide, for busy machines.
    async fn until(&self, what: &str, reached: impl Fn(&ScriptHost) -> bool) {
        let waiting = async {
            while !reached(&self.host) {
                Clock::system().sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        let limit = std::time::Duration::from_secs(60);
        let outcome = tokio::time::timeout(limit, waiting).await;
        assert!(outcome.is_ok(), "{what}: {:?}", self.host.status());
    }

    async fn end(self) -> Vec<String> {
        self.stop.cancel();
        self.stage.await.unwrap().unwrap();
        let kept = self.kept.lock().unwrap();
        kept.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_saving_is_followed() {
    let (folder, path) = folder();
    fs::write(&path, DOUBLE).unwrap();
    let watched = Watched::begin(&path);
    watched.until("the first text", |host| factor(host) == 2).await;

    fs::write(&path, FOUR).unwrap();
    watched.until("written in place", |host| factor(host) == 4).await;

    let beside = folder.path().join(".merge_latest.rhai.swp");
    fs::write(&beside, DOUBLE).unwrap();
    fs::rename(&beside, &path).unwrap();
    watched.until("renamed over it", |host| factor(host) == 2).await;

    fs::write(&path, BROKEN).unwrap();
    watched.until("broken", |host| host.status().in_force == InForce::LastGood).await;
    assert_eq!(factor(&watched.host), 2);

    fs::remove_file(&path).unwrap();
    let gone = |host: &ScriptHost| {
        host.status().refused.is_some_and(|told| told.reason == "there is no such file")
    };
    watched.until("deleted", gone).await;
    assert_eq!(factor(&watched.host), 2);

    fs::write(&path, FOUR).unwrap();
    watched.until("back again", |host| factor(host) == 4).await;
    assert_eq!(watched.end().await, [DOUBLE, FOUR, DOUBLE, FOUR]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_appears_later_and_swapped_links_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scripts").join("merge_latest.rhai");
    let watched = Watched::begin(&path);
    let built_in = |host: &ScriptHost| host.status().in_force == InForce::BuiltIn;
    watched.until("no folder", built_in).await;

    for (version, text) in [("one", DOUBLE), ("two", FOUR)] {
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(folder.path().join(version).join("merge_latest.rhai"), text).unwrap();
    }
    let link = folder.path().join("scripts");
    std::os::unix::fs::symlink(folder.path().join("one"), &link).unwrap();
    watched.until("the folder appears", |host| factor(host) == 2).await;
    let next = folder.path().join("next");
    std::os::unix::fs::symlink(folder.path().join("two"), &next).unwrap();
    fs::rename(&next, &link).unwrap();
    watched.until("the link is swapped", |host| factor(host) == 4).await;
    watched.end().await;
}

#[test]
fn check_reports_results_and_bench_costs() {
    let (_folder, path) = folder();
    fs::write(&path, SHIPPED).unwrap();
    let checked = check(None, &path, Some(&small())).unwrap();
    assert_eq!(checked.sample.result, checked.sample.native);
    assert_eq!(checked.live.as_ref().unwrap().result, small().sum());
    let text = checked.to_string();
    assert!(text.contains(": good (") && text.contains("JavaScript") && text.contains("live: "));
    let benched = bench(&path).unwrap();
    assert!(benched.script.min_micros > 0);
    assert!(benched.script.min_micros <= benched.script.median_micros);
    assert!(benched.to_string().contains("3600 seconds of 20 languages"));
    let json = serde_json::to_value(&benched).unwrap();
    assert_eq!((&json["seconds"], &json["languages"]), (&3_600.into(), &20.into()));
    fs::write(&path, BROKEN).unwrap();
    assert_eq!(check(None, &path, None).unwrap_err().line, Some(2));
    assert_eq!(bench(&path).unwrap_err().file.as_ref(), path.to_string_lossy());
    fs::remove_file(&path).unwrap();
    assert_eq!(check(None, &path, None).unwrap_err().reason, "there is no such file");
}

#[test]
fn without_a_directory_the_built_in_script_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scripts").join("merge_latest.rhai");
    let host = ScriptHost::of(ScriptKind::Merge, NAME, None, None, Clock::system());
    assert_eq!(host.refresh(&path, |_| None), None, "nothing to keep for the next start");
    let status = host.status();
    assert_eq!((status.in_force, status.diagnostic()), (InForce::BuiltIn, None));
    assert_eq!(host.source().as_deref(), Some(SHIPPED));
    // What a user writes takes its place; a directory that goes away does not bring it back.
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "fn merge(window) { #{ Mine: 1 } }").unwrap();
    assert!(host.refresh(&path, |_| None).is_some());
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    assert_eq!(host.refresh(&path, |_| None), None);
    assert_eq!(host.status().in_force, InForce::LastGood);
    assert!(host.status().diagnostic().unwrap().reason.contains("no such file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_the_process_died_under_is_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("merge_latest.rhai");
    let text = "fn merge(window) { #{ Go: 1 } }";
    fs::write(&file, text).unwrap();
    let data = dir.path().join("data");
    // One life: the store as a crash leaves it, with `last_good` of earlier lives.
    let life = |last_good: Option<&'static str>, dies: bool| {
        let (data, file) = (data.clone(), file.clone());
        tokio::task::spawn_blocking(move || {
            let store = Store::open(&data, Durability::EveryBatch, Clock::system()).unwrap();
            let trials = Trials::read(&store, "merge_latest").unwrap();
            if dies {
                trials.begin(run::hash(text));
                return None;
            }
            let name = "merge_latest.rhai";
            let host =
                ScriptHost::of(ScriptKind::Merge, name, last_good, Some(trials), Clock::system());
            host.refresh(&file, |_| None);
            Some(host.status())
        })
    };
    assert_eq!(life(None, false).await.unwrap().unwrap().in_force, InForce::File);
    assert!(life(None, true).await.unwrap().is_none());
    for _ in 0..2 {
        let status = life(None, false).await.unwrap().unwrap();
        assert_eq!(status.in_force, InForce::NativeSum);
        let told = status.diagnostic().unwrap().to_string();
        assert!(told.starts_with("merge_latest.rhai: the process ended while"), "{told}");
    }
    // One that worked in an earlier life is given a second chance.
    let proven = life(Some(text), false).await.unwrap().unwrap();
    assert_eq!((proven.in_force, proven.diagnostic()), (InForce::File, None));
    for (died, in_force) in [(1, InForce::File), (2, InForce::NativeSum)] {
        for _ in 0..died {
            life(None, true).await.unwrap();
        }
        let status = life(Some(text), false).await.unwrap().unwrap();
        assert_eq!(status.in_force, in_force, "{died}: {:?}", status.diagnostic());
    }
    // Another text is tried, and ends it.
    fs::write(&file, "fn merge(window) { #{ C: 1 } }").unwrap();
    assert_eq!(life(Some(text), false).await.unwrap().unwrap().in_force, InForce::File);
}

#[tokio::test]
async fn built_in_text_is_retried_after_any_number_of_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let tried = tokio::task::spawn_blocking(move || {
        let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
        let read = || Trials::read(&store, "merge_latest").unwrap();
        (0..3).for_each(|_| read().begin(run::hash(SHIPPED)));
        let file = dir.path().join("merge_latest.rhai");
        fs::write(&file, SHIPPED).unwrap();
        let name = "merge_latest.rhai";
        let host = ScriptHost::of(ScriptKind::Merge, name, None, Some(read()), Clock::system());
        host.refresh(&file, |_| None);
        host.status()
    });
    let status = tried.await.unwrap();
    assert_eq!((status.in_force, status.diagnostic()), (InForce::File, None));
}
