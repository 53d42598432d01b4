//! Aggregates of scripts: the shipped ones against recounts, saves, mistakes, restarts, limits.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::model::script_report::InForce;
use crate::model::tally::{Buckets, Tally};
use crate::script::rule::Subject;
use crate::script::{ScriptHost, ScriptKind, check};

const NOW: i64 = 1_800_000_010;
const STARS: &str = include_str!("../../../scripts/stars.rhai");
const BOTS: &str = include_str!("../../../scripts/bots.rhai");
const GROWTH: &str = include_str!("../../../scripts/growth.rhai");

/// What a script makes of events, by its own rule, as the stage does it.
fn made(source: &str, events: &[Received]) -> Tally {
    let host = ScriptHost::of(
        ScriptKind::Aggregate,
        "x.rhai",
        Some(source),
        None,
        Clock::starting_at(Timestamp::default()),
    );
    let rule = host.rule().unwrap();
    let mut buckets = Buckets::with_layout(rule.shape());
    for event in events {
        let facts =
            Facts::of(&Event::read(&event.text).unwrap(), Timestamp::from_seconds(event.at));
        if let Some(name) = rule.name(&Subject::new(&facts, &event.text)) {
            buckets.add(Second(event.at), &name, 1).unwrap();
        }
    }
    let window = buckets.window(Second(NOW), rule.window());
    host.run(&buckets.snapshot(window)).unwrap().unwrap()
}

fn events() -> impl Strategy<Value = Vec<Received>> {
    let kinds = prop::sample::select(vec!["PullRequestEvent", "WatchEvent", "PushEvent"]);
    let actors = prop::sample::select(vec!["ann", "bob", "dependabot[bot]", "x[bot]"]);
    let one = (0_i64..7_300, kinds, actors, "[a-d]/[a-h]", "[A-F]");
    prop::collection::vec(one, 0..120).prop_map(|all| {
        let made = |(id, (age, kind, actor, repo, language)): (
            usize,
            (i64, &str, &str, String, String),
        )| { event(id, NOW - age, kind, actor, &repo, &language) };
        all.into_iter().enumerate().map(made).collect()
    })
}

/// Counts of the events of a type in the hour `hours` ago, by a member of the event's text.
fn counted(events: &[Received], kind: &str, path: &str, hours: i64) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for received in events {
        let event: Value = serde_json::from_str(&received.text).unwrap();
        if event["type"] == kind && (NOW - received.at) / 3_600 == hours {
            let name = event.pointer(path).unwrap().as_str().unwrap();
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_shipped_stars_are_a_plain_recount(events in events()) {
        let counts = counted(&events, "WatchEvent", "/repo/name", 0);
        let mut ranked: Vec<_> = counts.into_iter().collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let wanted: Tally = ranked.into_iter().take(20).collect();
        prop_assert_eq!(made(STARS, &events), wanted);
    }

    #[test]
    fn the_shipped_bots_are_a_plain_recount(events in events()) {
        let counts = counted(&events, "PullRequestEvent", "/actor/login", 0);
        let all: i64 = counts.values().sum();
        let bots: i64 = counts.iter().filter(|(n, _)| n.ends_with("[bot]")).map(|(_, n)| n).sum();
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small")]
        let percent = (100.0 * bots as f64 / all.max(1) as f64).round() as i64;
        let wanted = [("bots", bots), ("people", all - bots), ("bots percent", percent)];
        let wanted: Tally = wanted.into_iter().filter(|(_, n)| *n > 0).collect();
        prop_assert_eq!(made(BOTS, &events), wanted);
    }

    #[test]
    fn the_shipped_growth_is_a_plain_recount(events in events()) {
        let path = "/payload/pull_request/base/repo/language";
        let now = counted(&events, "PullRequestEvent", path, 0);
        let before = counted(&events, "PullRequestEvent", path, 1);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small")]
        let percent = |(name, n): (&String, &i64)| {
            let then = before.get(name)?;
            Some((name.clone(), (100.0 * *n as f64 / *then as f64).round() as i64))
        };
        prop_assert_eq!(made(GROWTH, &events), now.iter().filter_map(percent).collect::<Tally>());
    }
}

#[test]
fn shipped_scripts_pass_the_check() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
    let (found, refused) = files(Path::new(folder)).unwrap();
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["bots", "growth", "stars"]);
    assert_eq!(refused, []);
    for (_, path) in &found {
        assert!(
            check(Some(ScriptKind::Aggregate), path, None).unwrap().config.is_some(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn config_errors_name_their_line_and_column() {
    let merge = "fn merge(window) { Tally() }\n";
    for (config, said) in [
        ("", "x.rhai:1:1: function config is missing; write fn config() {"),
        ("fn config(a) { 1 }", "x.rhai:2:1: config takes 1 parameters; write fn config()"),
        ("fn config() { 1 }", "x.rhai:2:1: config must return a map such as #{ by:"),
        ("fn config() { #{ bye: 1 } }", "x.rhai:2:1: unknown key `bye` in config; use by, where,"),
        ("fn config() { #{ by: \"repo\" } }", "x.rhai:2:1: by: `repo` begins with neither"),
        (
            "fn config() { #{ by: \"key\", window: \"25h\" } }",
            "x.rhai:2:1: window: 25h is not accepted",
        ),
        (
            "fn config() { #{ by: \"key\", tick: \"soon\" } }",
            "x.rhai:2:1: tick: invalid duration \
                                                              `soon`",
        ),
        ("fn config() { #{ by: \"key\", where: 1 } }", "x.rhai:2:1: where: write a map"),
        (
            "fn config() { #{ by: \"key\", where: #{ list: \"m*\" } } }",
            "x.rhai:2:1: where: `list` takes 1 to 10 names of lists",
        ),
        ("fn config() {\n  #{ by: who }\n}", "x.rhai:3:10: undefined variable: who"),
    ] {
        let host = |text: &str| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x.rhai");
            fs::write(&path, text).unwrap();
            let diagnostic =
                check(Some(ScriptKind::Aggregate), &path, None).unwrap_err().to_string();
            diagnostic.rsplit_once('/').unwrap().1.to_owned()
        };
        let diagnostic = host(&format!("{merge}{config}"));
        assert!(diagnostic.starts_with(said), "{diagnostic}");
    }
}

fn pushes(factor: &str) -> String {
    format!(
        "fn config() {{ #{{ by: \"event.repo.name\", where: #{{ \"event.type\": \"PushEvent\" }} }} }}\n\
         fn merge(window) {{ let t = Tally(); t.add(window, {factor}); t }}\n"
    )
}

#[tokio::test(start_paused = true)]
async fn a_changed_list_counts_the_whole_window_again() {
    let (dir, scripts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let listed = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let push = |id, actor, repo| event(id, NOW - 60, "PushEvent", actor, repo, "Go");
    let events = [
        push(1, "ann", "X/y"),
        push(2, "bob", "x/z"),
        push(3, "Ann", "q/q"),
        push(4, "bot", "x/y"),
    ];
    journal(&store, 1, &events).await;
    fs::write(listed.path().join("bots.txt"), "@bot").unwrap();
    let source = pushes("1").replace("where: #{ ", "where: #{ list: [\"mine\", \"!bots\"], ");
    fs::write(scripts.path().join("pushes.rhai"), source).unwrap();
    let lists = Arc::new(Lists::open(listed.path()));
    let (mut changes, stop) = (lists.changes(), CancellationToken::new());
    let following = Arc::clone(&lists).follow(Clock::system(), stop.clone());
    let following = tokio::spawn(following);
    let troubles = |bench: &Bench| -> Vec<String> {
        bench.troubles.borrow().iter().map(ToString::to_string).collect()
    };
    let mut bench = Bench::with_lists(&store, scripts.path(), NOW, lists).await.settle().await;
    assert_eq!(bench.value("pushes"), Value::Null, "the list does not exist yet");
    let said = troubles(&bench);
    assert!(said[0].ends_with("where: list: no list `mine`: the only list is bots"), "{said:?}");
    let about = bench.hub.aggregates.get("pushes").unwrap().about().unwrap();
    assert!(
        about.script.state.error.as_ref().unwrap().contains("no list `mine`")
            && !about.counter.reading
    );

    let texts = [
        ("x/*", json!({ "X/y": 1, "x/z": 1 })),
        ("x/z\n@ann", json!({ "X/y": 1, "x/z": 1, "q/q": 1 })),
        ("q/q", json!({ "q/q": 1 })),
    ];
    for ((text, wanted), second) in texts.into_iter().zip(1..) {
        fs::write(listed.path().join("mine.txt"), text).unwrap();
        changes.changed().await.unwrap();
        bench.at(NOW + second);
        bench = bench.settle().await;
        assert_eq!(bench.value("pushes")["value"], wanted, "{text}");
        assert_eq!(troubles(&bench), [""; 0], "{text}");
    }
    // The names of a removed list are counted until the next start.
    fs::remove_file(listed.path().join("mine.txt")).unwrap();
    changes.changed().await.unwrap();
    journal(&store, 5, &[push(5, "cid", "Q/q"), push(6, "cid", "x/y")]).await;
    bench.at(NOW + 4);
    let mut bench = bench.settle().await;
    assert_eq!(bench.value("pushes")["value"], json!({ "q/q": 1, "Q/q": 1 }));
    // Also when everything is counted again.
    store.privacy().set(&["cid".to_owned()], false);
    bench.at(NOW + 5);
    let bench = bench.settle().await;
    assert_eq!(bench.value("pushes")["value"], json!({ "q/q": 1 }));
    assert!(troubles(&bench)[0].contains("no list `mine`"), "{:?}", troubles(&bench));
    stop.cancel();
    following.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn script_file_adds_and_removes_its_aggregate() {
    let (dir, scripts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = scripts.path().join("pushes.rhai");
    let store = open(dir.path());
    journal(&store, 1, &[event(1, NOW - 90_000, "PushEvent", "a", "x/y", "Go")]).await;
    journal(&store, 2, &[event(2, NOW - 900, "PushEvent", "a", "x/y", "Go")]).await;
    // A directory without a script has the built-in ones; the first file decides.
    let bench = Bench::new(&store, scripts.path(), NOW).await.settle().await;
    assert_eq!(bench.hub.aggregates.names(), ["bots", "growth", "stars"].map(Box::from));
    fs::write(&path, pushes("1")).unwrap();
    fs::write(scripts.path().join("README.md"), "nothing to run").unwrap();
    fs::write(scripts.path().join("no name.rhai"), pushes("1")).unwrap();
    fs::write(scripts.path().join(".hidden.rhai"), "broken").unwrap();
    let mut bench = bench.settle().await;
    bench.at(NOW + 1);
    let bench = bench.settle().await;
    let value = bench.value("pushes");
    assert_eq!((&value["value"], &value["complete"]), (&json!({ "x/y": 1 }), &json!(true)));
    let troubles = bench.troubles.borrow().clone();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(troubles[0].to_string().contains("no name.rhai: invalid aggregate name"));
    // The same rule, another sum: what is counted stays.
    fs::write(&path, pushes("3")).unwrap();
    let mut bench = bench;
    bench.at(NOW + 3);
    let bench = bench.settle().await;
    assert_eq!(bench.value("pushes")["value"], json!({ "x/y": 3 }));
    // Broken: the last good one stays in force, also after a restart.
    fs::write(&path, "fn config() { #{ by: \"key\" } }\nfn merge(window) { totl }").unwrap();
    let mut bench = bench;
    bench.at(NOW + 5);
    let bench = bench.settle().await;
    assert_eq!(bench.value("pushes")["value"], json!({ "x/y": 3 }));
    let said = bench.troubles.borrow().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(said.iter().any(|said| said.contains("pushes.rhai:2:20: ")), "{said:?}");
    drop((bench, store));
    let store = open(dir.path());
    let bench = Bench::new(&store, scripts.path(), NOW + 6).await.settle().await;
    assert_eq!(bench.value("pushes")["value"], json!({ "x/y": 3 }));
    let about = bench.hub.aggregates.get("pushes").unwrap().about().unwrap();
    assert_eq!(about.script.state.in_force, InForce::LastGood);
    // A folder that is away takes nothing with it; a file that is gone its aggregate.
    let away = scripts.path().with_extension("away");
    fs::rename(scripts.path(), &away).unwrap();
    let bench = bench.settle().await;
    assert_eq!(bench.value("pushes")["value"], json!({ "x/y": 3 }));
    fs::rename(&away, scripts.path()).unwrap();
    fs::remove_file(&path).unwrap();
    let bench = bench.settle().await;
    assert_eq!((bench.value("pushes"), bench.hub.aggregates.names().len()), (Value::Null, 0));
    drop((bench, store));
    let store = open(dir.path());
    let bench = Bench::new(&store, scripts.path(), NOW + 7).await.settle().await;
    assert_eq!(bench.hub.aggregates.names().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn directory_that_is_missing_at_the_start_is_an_empty_one() {
    let (dir, parent) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [scripts, away] = ["scripts", "away"].map(|name| parent.path().join(name));
    fs::create_dir(&scripts).unwrap();
    fs::write(scripts.join("pushes.rhai"), pushes("1")).unwrap();
    let start = async || {
        let store = open(dir.path());
        Bench::new(&store, &scripts, NOW).await.settle().await
    };
    let names = |bench: &Bench| bench.hub.aggregates.names();
    let (mine, built_in) = (["pushes"].map(Box::from), ["bots", "growth", "stars"].map(Box::from));
    let bench = start().await;
    assert_eq!(names(&bench), mine);
    drop(bench);
    fs::rename(&scripts, &away).unwrap();
    let bench = start().await;
    assert_eq!(names(&bench), built_in);
    assert_eq!(bench.troubles.borrow().len(), 0);
    // A file decides as soon as there is one; a directory that goes away later takes nothing.
    fs::rename(&away, &scripts).unwrap();
    let bench = bench.settle().await;
    assert_eq!(names(&bench), mine);
    fs::rename(&scripts, &away).unwrap();
    let bench = bench.settle().await;
    assert_eq!(names(&bench), mine);
    drop(bench);
    // A link says that there is a directory, which is not there at the moment.
    std::os::unix::fs::symlink(parent.path().join("not mounted"), &scripts).unwrap();
    let bench = start().await;
    assert_eq!(names(&bench), mine);
}

#[tokio::test(start_paused = true)]
async fn a_script_that_fails_at_a_tick_leaves_its_value_as_it_was() {
    let (dir, scripts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = pushes("1").replace("t }", "if t.get(\"x/y\") == 2 { throw \"two\"; } t }");
    fs::write(scripts.path().join("pushes.rhai"), source).unwrap();
    let store = open(dir.path());
    journal(&store, 1, &[event(1, NOW, "PushEvent", "a", "x/y", "Go")]).await;
    let mut bench = Bench::new(&store, scripts.path(), NOW).await.settle().await;
    let first = bench.value("pushes");
    assert_eq!(first["value"], json!({ "x/y": 1 }));
    journal(&store, 2, &[event(2, NOW, "PushEvent", "a", "x/y", "Go")]).await;
    for (later, known) in [(1, true), (2, true)] {
        bench.at(NOW + later);
        bench = bench.settle().await;
        assert_eq!(bench.value("pushes") == first, known);
    }
    assert!(bench.troubles.borrow()[0].to_string().contains("two"));
    journal(&store, 3, &[event(3, NOW, "PushEvent", "a", "x/y", "Go")]).await;
    bench.at(NOW + 3);
    let mut bench = bench.settle().await;
    assert_eq!(bench.value("pushes")["value"], json!({ "x/y": 3 }));
    bench.at(NOW + 4);
    let bench = bench.settle().await;
    assert_eq!(bench.troubles.borrow().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn names_that_are_too_long_are_left_out_and_counted() {
    let (dir, scripts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(scripts.path().join("pushes.rhai"), pushes("1")).unwrap();
    let store = open(dir.path());
    // GitHub's longest has 140 bytes, and a script may set and return it.
    let (long, longest) = ("x".repeat(257), "x".repeat(256));
    let repos = [long.as_str(), longest.as_str(), "x/y", long.as_str()];
    let all = repos.iter().enumerate();
    let all: Vec<_> = all.map(|(id, repo)| event(id, NOW, "PushEvent", "a", repo, "Go")).collect();
    journal(&store, 1, &all).await;
    let bench = Bench::new(&store, scripts.path(), NOW).await.settle().await;
    let told = bench.value("pushes");
    assert_eq!(told["value"], json!({ longest: 1, "x/y": 1 }));
    assert_eq!(told["left_out"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_long_window_has_wide_buckets_and_the_one_before_it() {
    let (dir, scripts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = "fn config() { #{ by: \"event.type\", window: \"24h\" } }\n\
                  fn merge(window) {\n\
                    let t = Tally(); t.add(window); let b = Tally(); b.add(window.previous);\n\
                    t.set(\"before\", b.sum(\"*\"));\n\
                    for bucket in window { t.set(`${bucket.age}`, bucket.total); }\n\
                    t.set(\"at\", window.at(window.to).total); t\n\
                  }";
    fs::write(scripts.path().join("day.rhai"), source).unwrap();
    let store = open(dir.path());
    // 1,800,000,000 is a multiple of 24, so the current bucket began ten seconds ago.
    let ages = [0, 9, 11, 40_000, 86_399, 86_500, 172_000, 180_000];
    let all = ages.iter().rev().enumerate();
    let all: Vec<_> =
        all.map(|(id, age)| event(id, NOW - age, "PushEvent", "a", "x/y", "Go")).collect();
    journal(&store, 1, &all).await;
    let bench = Bench::new(&store, scripts.path(), NOW).await.settle().await;
    let told = bench.value("day");
    let wanted = json!({ "PushEvent": 4, "before": 3, "0": 2, "24": 1, "40008": 1, "at": 2 });
    assert_eq!(told["value"], wanted);
    assert_eq!(told["to"], Timestamp::from_seconds(NOW + 13).to_string());
}

#[test]
fn files_beyond_the_limit_are_refused_by_name() {
    let scripts = tempfile::tempdir().unwrap();
    for n in 0..AGGREGATES + 2 {
        fs::write(scripts.path().join(format!("a{n:02}.rhai")), "").unwrap();
    }
    let (found, refused) = files(scripts.path()).unwrap();
    assert_eq!((found.len(), refused.len()), (AGGREGATES, 2));
    assert!(refused[0].to_string().contains("a16.rhai: more than 16 aggregates"), "{}", refused[0]);
}

#[tokio::test(start_paused = true)]
async fn values_with_names_are_withdrawn_until_they_are_counted_again() {
    let (dir, scripts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let events =
        ["PushEvent", "WatchEvent"].map(|kind| event(1, NOW - 60, kind, "ann", "ann/x", "Go"));
    journal(&store, 1, &events).await;
    fs::write(scripts.path().join("pushes.rhai"), pushes("1")).unwrap();
    let bench = Bench::new(&store, scripts.path(), NOW).await.settle().await;
    let named = |bench: &Bench| {
        let values = ["pushes", "busiest-stars/1h"].map(|name| bench.value(name));
        values.map(|value| value.to_string().contains("ann/x"))
    };
    assert_eq!(named(&bench), [true, true]);
    bench.state.withdraw_names();
    assert_eq!(bench.value("pushes"), Value::Null);
    assert_eq!(named(&bench), [false, false]);
    assert_ne!(bench.value("languages/1h"), Value::Null);
}
