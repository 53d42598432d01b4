//! What is always counted: exact in each window, over restarts, and said when it is not whole.

use std::collections::BTreeSet;

use super::*;
use crate::model::position::Cursor;
use crate::store::journal::DROPPED;
use crate::store::keys::CursorKey;
use crate::store::rows::encode_cursor;

const NOW: i64 = 1_800_000_010;

fn some_events(rng: &mut fastrand::Rng, first: usize, count: usize, at: i64) -> Vec<Received> {
    let mut pick = |of: &[&'static str]| of[rng.usize(..of.len())];
    let kinds = ["PullRequestEvent", "PullRequestEvent", "PushEvent", "WatchEvent"];
    let list: Vec<_> = (first..first + count)
        .map(|id| {
            let (kind, actor) = (pick(&kinds), pick(&["a", "b", "c[bot]", "d"]));
            (id, kind, actor, pick(&["x/y", "x/z", "w/w"]), pick(&["Go", "C", "Rust"]))
        })
        .collect();
    let spread = |rng: &mut fastrand::Rng| match rng.u8(..4) {
        0 => rng.i64(0..60),
        1 => rng.i64(0..3_700),
        _ => rng.i64(0..100_000),
    };
    let mut times: Vec<i64> = list.iter().map(|_| at - spread(rng)).collect();
    times.sort_unstable();
    let events = list.into_iter().zip(times);
    events.map(|((id, k, a, r, l), at)| event(id, at, k, a, r, l)).collect()
}

/// The plain way, from the text.
fn recounted(events: &[Received], of: &str, from: i64, to: i64) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    let (mut repositories, mut developers) = (BTreeSet::new(), BTreeSet::new());
    for received in events.iter().filter(|event| (from..=to).contains(&event.at)) {
        let event: Value = serde_json::from_str(&received.text).unwrap();
        let kind = event["type"].as_str().unwrap().to_owned();
        let language = &event["payload"]["pull_request"]["base"]["repo"]["language"];
        let name = match of {
            "types" => Some(kind),
            "languages" => {
                (kind == "PullRequestEvent").then(|| language.as_str().unwrap().to_owned())
            }
            _ => {
                repositories.insert(event["repo"]["id"].as_u64());
                developers.insert(event["actor"]["id"].as_u64());
                Some("events".to_owned())
            }
        };
        if let Some(name) = name {
            *counts.entry(name).or_default() += 1;
        }
    }
    for (name, set) in [("repositories", repositories), ("developers", developers)] {
        if !set.is_empty() {
            counts.insert(name.to_owned(), i64::try_from(set.len()).unwrap());
        }
    }
    counts
}

fn assert_exact(bench: &Bench, events: &[Received]) {
    for of in ["languages", "types", "activity"] {
        for (window, seconds) in [("1m", 60), ("1h", 3_600), ("24h", 86_400)] {
            let told = bench.value(&format!("{of}/{window}"));
            let second =
                |key: &str| Timestamp::parse(told[key].as_str().unwrap()).unwrap().second().0;
            let (from, to) = (second("from"), second("to"));
            assert_eq!(to - from + 1, seconds, "{told}");
            assert!((NOW..NOW + 24).contains(&to), "{told}");
            let wanted = recounted(events, of, from, to);
            assert_eq!(told["value"], serde_json::json!(wanted), "{of} {window}");
            assert_eq!((&told["window"], &told["name"]), (&json!(window), &json!(of)));
            // The journal goes back further than any window.
            assert_eq!(told["complete"], true, "{told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_window_is_exact_and_so_is_it_after_a_restart() {
    for seed in 0..4 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (dir, none) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut events = vec![event(0, NOW - 200_000, "PushEvent", "a", "x/y", "Go")];
        events.extend(some_events(&mut rng, 1, 400, NOW));
        let store = open(dir.path());
        journal(&store, 1, &events).await;
        let bench = Bench::new(&store, none.path(), NOW).await.settle().await;
        assert_exact(&bench, &events);
        // More comes, and is read on.
        let mut more = some_events(&mut rng, 1_000, 50, NOW);
        for event in &mut more {
            event.at = NOW;
        }
        journal(&store, 1 + events.len() as u64, &more).await;
        let cursor = bench.value("types/1m")["cursor"].clone();
        events.extend(more);
        let mut bench = bench;
        // The next second has come.
        bench.at(NOW + 1);
        let bench = bench.settle().await;
        assert_ne!(bench.value("types/1m")["cursor"], cursor);
        // From when on it is counted depends on when the counting began.
        let day = |bench: &Bench| {
            let mut day = bench.value("types/24h");
            day["counted_from"].take();
            day
        };
        let before = day(&bench);
        drop((bench, store));
        let store = open(dir.path());
        let bench = Bench::new(&store, none.path(), NOW + 1).await.settle().await;
        assert_exact(&bench, &events);
        assert_eq!(day(&bench), before, "as if it had never stopped, seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn expired_events_are_reported_and_empty_journal_is_empty() {
    let (dir, none) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let bench = Bench::new(&store, none.path(), NOW).await.settle().await;
    let empty = bench.value("languages/1m");
    assert_eq!((&empty["value"], &empty["complete"]), (&json!({}), &json!(false)));
    journal(&store, 1, &[event(1, NOW, "PushEvent", "a", "x/y", "Go")]).await;
    let mut bench = bench;
    bench.at(NOW + 1);
    let bench = bench.settle().await;
    assert_eq!(bench.value("types/1h")["value"], json!({ "PushEvent": 1 }));
    // Begun from a journal of one minute.
    let bench = Bench::new(&store, none.path(), NOW + 100).await.settle().await;
    let (minute, hour) = (bench.value("types/1m"), bench.value("types/1h"));
    assert_eq!((&minute["complete"], &minute["value"]), (&json!(true), &json!({})));
    assert_eq!((&hour["complete"], &hour["value"]), (&json!(false), &json!({ "PushEvent": 1 })));
    assert_eq!(hour["counted_from"], Timestamp::from_seconds(NOW).to_string());
}

#[tokio::test(start_paused = true)]
async fn new_counter_overtaken_by_retention_reports_its_start() {
    let (dir, none) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let old: Vec<_> =
        (0..15_000).map(|id| event(id, NOW - 40_000, "PushEvent", "a", "x/y", "Go")).collect();
    journal(&store, 1, &old).await;
    journal(&store, 20_001, &[event(20_001, NOW - 30, "PushEvent", "b", "x/y", "Go")]).await;
    let Bench { mut state, hub, troubles } = Bench::new(&store, none.path(), NOW).await;
    // One beat reads a piece; then all of the old is dropped.
    state = beside(move || {
        assert!(state.beat().unwrap());
        state
    })
    .await;
    let drop_old = store.commit(|batch| {
        let at = |n| JournalKey { tag: TAG, position: Position::counted(n) };
        batch.delete_range(&at(0), &at(20_001))?;
        let dropped = Cursor { tag: TAG, position: Position::counted(20_000) };
        batch.put(&CursorKey(DROPPED.to_owned()), &encode_cursor(dropped));
        Ok(())
    });
    drop_old.await.unwrap();
    let bench = Bench { state, hub, troubles }.settle().await;
    let day = bench.value("types/24h");
    assert_eq!(day["complete"], false);
    assert_eq!(day["counted_from"], Timestamp::from_seconds(NOW - 30).to_string());
    assert_eq!(bench.value("types/1m")["value"], json!({ "PushEvent": 1 }));
    assert_eq!(bench.value("types/1m")["complete"], json!(true));
}

#[tokio::test(start_paused = true)]
async fn future_event_counts_in_its_second_and_hides_no_other() {
    let (dir, none) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let ago = |id, seconds, actor| event(id, NOW - seconds, "PushEvent", actor, "x/y", "Go");
    let events = [
        ago(1, 40, "a"),
        // Two hours, a day, and a year ahead; the first of a developer who is there now too.
        ago(2, -7_200, "a"),
        ago(3, -86_000, "b"),
        ago(4, -31_536_000, "c"),
        ago(5, 20, "a"),
        ago(6, 10, "d"),
    ];
    journal(&store, 1, &events).await;
    let mut bench = Bench::new(&store, none.path(), NOW).await.settle().await;
    for window in ["1m", "1h", "24h"] {
        let told = bench.value(&format!("activity/{window}"));
        let wanted = json!({ "developers": 2, "events": 3, "repositories": 1 });
        assert_eq!(told["value"], wanted, "{window}");
    }
    bench.at(NOW + 7_210);
    let bench = bench.settle().await;
    let told = bench.value("activity/1m");
    assert_eq!(told["value"], json!({ "developers": 1, "events": 1, "repositories": 1 }));
}

#[tokio::test(start_paused = true)]
async fn clock_set_back_leaves_every_window_as_a_restart_would() {
    let (dir, none) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let mut events = some_events(&mut fastrand::Rng::with_seed(7), 1, 200, NOW);
    events.insert(0, event(0, NOW - 200_000, "PushEvent", "a", "x/y", "Go"));
    journal(&store, 1, &events).await;
    let mut bench = Bench::new(&store, none.path(), NOW).await.settle().await;
    assert_exact(&bench, &events);
    // Thirty days ahead for a while, with events of that time.
    let ahead = NOW + 30 * 86_400;
    bench.at(ahead);
    let more = [event(900, ahead, "WatchEvent", "a", "x/y", "Go")];
    journal(&store, 1 + events.len() as u64, &more).await;
    let mut bench = bench.settle().await;
    assert_eq!(bench.value("types/1m")["value"], json!({ "WatchEvent": 1 }));
    let state = &mut bench.state;
    state.looked_at = Second(ahead);
    bench.at(NOW);
    let Bench { mut state, hub, troubles } = bench;
    state = beside(move || {
        while state.beat().unwrap() {}
        state
    })
    .await;
    assert_exact(&Bench { state, hub, troubles }, &events);
}

#[tokio::test(start_paused = true)]
async fn events_that_are_left_out_are_part_of_the_journal() {
    let (dir, none) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let old = event(1, NOW - 4_000, "PushEvent", "ann", "x/y", "Go");
    journal(&store, 1, &[old, event(2, NOW - 10, "PushEvent", "b", "x/y", "Go")]).await;
    store.privacy().set(&["ann".to_owned()], false);
    let bench = Bench::new(&store, none.path(), NOW).await.settle().await;
    let hour = bench.value("types/1h");
    assert_eq!((&hour["complete"], &hour["value"]), (&json!(true), &json!({ "PushEvent": 1 })));
}
